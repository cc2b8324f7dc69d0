//! The door itself: slow, large, packed and broken messages (A150), and what stands in no statement.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::range::{ATTACKER, Range};
use crate::support::{PURPOSE, Said};

const BODY_TIMEOUT_MS: u64 = 700;
const HEADER_TIMEOUT_MS: u64 = 600;
const HEADER_BYTES: usize = 8 << 10;

async fn range() -> Range {
    Range::open_with(|config| {
        config.limits.body_timeout_ms = BODY_TIMEOUT_MS;
        config.limits.header_timeout_ms = HEADER_TIMEOUT_MS;
        config.limits.header_bytes_max = HEADER_BYTES;
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_senders_are_cut_off() {
    let range = range().await;
    let head = head(&range, "content-length: 4000\r\n");
    let (text, took) = dribble(&range, &head).await;
    assert!(text.starts_with("HTTP/1.1 504") && text.contains("\"code\":\"deadline\""), "{text}");
    assert!(took < Duration::from_millis(BODY_TIMEOUT_MS + 2_000), "{took:?}");
    let (text, took) = dribble(&range, &self::head(&range, "transfer-encoding: chunked\r\n")).await;
    assert!(text.starts_with("HTTP/1.1 504"), "{text}");
    assert!(took < Duration::from_millis(BODY_TIMEOUT_MS + 2_000), "{took:?}");
    let (text, took) = dribble(&range, "POST /v1/queries HTTP/1.1\r\nhost: x\r\nx-slow: ").await;
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 408"), "{text}");
    assert!(took < Duration::from_millis(HEADER_TIMEOUT_MS + 2_000), "{took:?}");
    // Two calls reached the door as callers; both are on record with what became of them.
    let rows =
        range.hub.audit("SELECT code FROM system.audit WHERE kind = 'call' AND code = 'deadline'").await;
    assert_eq!(rows.len(), 2);
    range.alive().await.expect("alive");
    range.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_and_packed_messages_are_refused() {
    let range = range().await;
    let sql = json!({"sql": "SELECT 1", "purpose": PURPOSE, "case": "c", "operator": ATTACKER}).to_string();
    for (what, header, value, body, status, code) in [
        ("gzip", "content-encoding", "gzip", vec![0x1f, 0x8b, 8, 0], 415, "invalid"),
        ("deflate", "content-encoding", "deflate", sql.clone().into_bytes(), 415, "invalid"),
        ("identity is said too", "content-encoding", "identity", sql.clone().into_bytes(), 415, "invalid"),
        ("20 MB", "x-a", "b", vec![b' '; 20 << 20], 413, "too_large"),
        ("20 MB that claims a case", "x-a", "b", huge(), 413, "too_large"),
        ("no JSON", "x-a", "b", b"sql=SELECT 1".to_vec(), 422, "invalid"),
        ("no UTF-8", "x-a", "b", b"{\"sql\":\"\xff\xfe\"}".to_vec(), 422, "invalid"),
        ("nothing", "x-a", "b", Vec::new(), 422, "invalid"),
        ("deep JSON", "x-a", "b", "[".repeat(100_000).into_bytes(), 422, "invalid"),
        (
            "members twice",
            "x-a",
            "b",
            b"{\"sql\":\"SELECT 1\",\"sql\":\"SELECT 2\",\"purpose\":\"x\"}".to_vec(),
            422,
            "invalid",
        ),
        ("no answer fits", "accept", "text/html", sql.clone().into_bytes(), 406, "invalid"),
    ] {
        let call = range.hub.call("POST", ATTACKER, "/v1/queries").header("content-type", "application/json");
        let said = range.hub.send(call.header(header, value).body(body)).await;
        range.keep(what, ATTACKER, &said);
        assert_eq!((said.status, said.code().as_str()), (status, code), "{what}: {}", said.text());
        assert!(said.receipt().is_some(), "{what} is on record");
        range.alive().await.expect("alive");
    }
    for media in
        ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "multipart/form-data"]
    {
        let call = range.hub.call("POST", ATTACKER, "/v1/queries").header("content-type", media);
        let said = range.hub.send(call.body(sql.clone())).await;
        range.keep(media, ATTACKER, &said);
        assert_eq!((said.status, said.code().as_str()), (415, "invalid"), "{media}");
    }
    range.finish().await;
}

fn huge() -> Vec<u8> {
    let sql = "x".repeat(20 << 20);
    json!({"sql": sql, "purpose": PURPOSE, "case": "c", "operator": ATTACKER}).to_string().into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_have_a_ceiling_and_broken_ones_end_the_connection() {
    let range = range().await;
    let good = raw(&range, "GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(good.starts_with("HTTP/1.1 200"), "{good}");
    let long = "a".repeat(HEADER_BYTES + 4096);
    let many: String = (0..1_000).map(|at| format!("x-{at}: 1\r\n")).collect();
    for head in [
        format!("GET /livez HTTP/1.1\r\nhost: x\r\nx-long: {long}\r\n\r\n"),
        format!("GET /{long} HTTP/1.1\r\nhost: x\r\n\r\n"),
        format!("GET /livez HTTP/1.1\r\nhost: x\r\n{many}\r\n"),
        "GET /livez HTTP/9.9\r\nhost: x\r\n\r\n".to_owned(),
        "NONSENSE\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        "POST /v1/queries HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef"
            .to_owned(),
        "POST /v1/queries HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n".to_owned(),
        "GET /livez HTTP/1.1\r\nhost: x\r\nx-nul: a\u{0}b\r\n\r\n".to_owned(),
    ] {
        let text = raw(&range, &head).await;
        let first: String = head.chars().take(60).collect();
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{first:?}: {text}");
        range.alive().await.expect("alive");
    }
    // Smuggling: a body that is a second call is a body.
    let inner = "GET /v1/grants HTTP/1.1\r\nhost: x\r\n\r\n";
    let head = head(&range, "transfer-encoding: chunked\r\ncontent-length: 4\r\nconnection: close\r\n");
    let text = raw(&range, &format!("{head}0\r\n\r\n{inner}")).await;
    assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{text}");
    range.finish().await;
}

/// Whatever a call says about itself, however long, what becomes of it is on record, and no text of it in clear
/// unless it is a code the hub knows.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_call_says_of_itself_cannot_keep_it_off_the_record() {
    let range = range().await;
    let good =
        json!({"sql": "SELECT id FROM copy.pay", "purpose": PURPOSE, "case": "c", "operator": ATTACKER});
    for member in ["purpose", "case", "operator", "channel", "sql", "terminal", "rule"] {
        for text in
            ["x".repeat(3_000), "汉".repeat(60_000), "\u{0}".repeat(30_000), "310101199007130010".to_owned()]
        {
            let mut body = good.clone();
            if matches!(member, "terminal" | "rule") {
                body["operator"] = Value::Null;
            }
            body[member] = json!(text);
            let said = range.post(member, ATTACKER, "/v1/queries", &body).await;
            let first: String = text.chars().take(20).collect();
            assert!(
                said.receipt().is_some() && said.code() != "record_unavailable",
                "{member} {first}: {}",
                said.text()
            );
        }
    }
    for item in ["x".repeat(100_000), "310101199007130010".to_owned(), "\u{0}".repeat(5_000)] {
        let said = range.lookup("item", "copy", "pay", &json!([{item: 1}]), &Value::Null).await;
        assert!(said.code() == "not_found" && said.receipt().is_some(), "{}", said.text());
    }
    // A thousand of the longest keys do not fit the record whole: they are refused, or padding would hide one of them.
    for pad in ["x", "\u{1}"] {
        let key = pad.repeat(250);
        let keys: Vec<Value> = (0..1_000).map(|at| json!({"name": format!("{key}{at}")})).collect();
        let said = range.lookup("keys", "copy", "pay", &json!(keys), &Value::Null).await;
        assert_eq!((said.status, said.code().as_str()), (413, "too_large"), "{}", said.text());
        assert!(said.receipt().is_some());
    }
    let params: Vec<Value> = (0..4).map(|_| json!("p".repeat(60_000))).collect();
    let sql = "SELECT id FROM copy.pay WHERE name IN ($1, $2, $3, $4)";
    let said = range.query("params", sql, &json!(params)).await;
    assert_eq!((said.status, said.code().as_str()), (413, "too_large"), "{}", said.text());
    range.alive().await.expect("alive");
    range.finish().await;
}

/// Unknown members, wrong methods and odd paths say nothing of what is there.
#[tokio::test(flavor = "multi_thread")]
async fn paths_and_methods_tell_nothing() {
    let range = range().await;
    for (method, path, status) in [
        ("GET", "/v1/queries", 405),
        ("PUT", "/v1/lookups", 405),
        ("DELETE", "/v1/grants", 405),
        ("TRACE", "/v1/queries", 405),
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/resources/fixp.credit%00", 404),
        ("GET", "/v1/resources/..%2f..%2fetc%2fpasswd", 404),
        ("GET", "/v1/receipts/..%2fkeys", 404),
        ("GET", "/v1/audit/tile/..%2f..%2fkeys%2flog.pem", 404),
        ("GET", "/v1/grants/'%20OR%201=1", 404),
        ("GET", "/v1/resources?after=%27%20OR%201=1&limit=1", 200),
        ("GET", "/v1/resources?limit=100000", 422),
        ("GET", "/v1/resources?sql=1", 422),
        ("GET", "/v1/resources/fixp.credit?as=reviewer", 422),
        ("GET", "/v1/grants/x?department=data-authority", 422),
        ("GET", "/v1/audit/checkpoint?old=1", 422),
    ] {
        let said: Said = range.hub.send(range.hub.call(method, ATTACKER, path)).await;
        range.keep(path, ATTACKER, &said);
        assert_eq!(said.status, status, "{method} {path}: {}", said.text());
    }
    range.query("a call, so that the record is looked at", "SELECT 1 AS one", &json!([])).await;
    range.finish().await;
}

/// Head of a query with a token, up to its blank line.
fn head(range: &Range, more: &str) -> String {
    format!(
        "POST /v1/queries HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n{more}\r\n",
        range.hub.token(ATTACKER)
    )
}

async fn connect(range: &Range) -> TcpStream {
    TcpStream::connect(range.hub.base_url.trim_start_matches("http://")).await.expect("a connection")
}

/// Sends a text whole and reads until the hub ends the connection, or answers and stays silent.
async fn raw(range: &Range, text: &str) -> String {
    let mut stream = connect(range).await;
    // The hub may have answered and closed before all of it is taken.
    let _taken = stream.write_all(text.as_bytes()).await;
    let mut answer = Vec::new();
    let _reset = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends the head, then one byte (or a chunk of one) at a time until there is an answer or an end.
async fn dribble(range: &Range, head: &str) -> (String, Duration) {
    let (start, chunked) = (Instant::now(), head.contains("chunked"));
    let (mut reader, mut writer) = connect(range).await.into_split();
    writer.write_all(head.as_bytes()).await.expect("sent");
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    let mut answer = vec![0; 4096];
    let read = loop {
        tokio::select! {
            read = reader.read(&mut answer) => break read.unwrap_or(0),
            _now = pace.tick() => {
                let _gone = writer.write_all(if chunked { b"1\r\n \r\n" } else { b" " }).await;
            }
        }
        assert!(start.elapsed() < Duration::from_secs(20), "the hub never answers a slow sender");
    };
    (String::from_utf8_lossy(&answer[..read]).into_owned(), start.elapsed())
}
