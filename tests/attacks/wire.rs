//! Messages as no client library writes them: smuggling shapes, broken lengths, other versions, a thousand in a row.
//!
//! A case is a head (and what follows it), how many answers it may have, their status, and whether the connection ends:
//! what one side could read as a second message is never answered as one.

use std::fmt::Write as _;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::TestHub;

const PERSON: &str = "civil-affairs.operator";
/// An open connection says nothing more; so long is waited for it.
const SILENCE: Duration = Duration::from_millis(300);

/// `$G` a good GET up to its last header, `$P` a good POST, `$N` another whole call, `~` the end of a line.
const CASES: &[(&str, &str, u16, usize, bool)] = &[
    ("a good one", "$G~", 200, 1, false),
    ("empty lines before", "~~$G~", 200, 1, false),
    ("chunked and a length", "$Ptransfer-encoding: chunked~content-length: 4~~0~~$N", 422, 1, true),
    ("a length and chunked", "$Pcontent-length: 4~transfer-encoding: chunked~~0~~$N", 422, 1, true),
    ("two lengths that agree", "$Pcontent-length: 2~content-length: 2~~{}", 422, 1, false),
    ("two lengths that differ", "$Pcontent-length: 2~content-length: 3~~{} ", 400, 1, true),
    ("a list of lengths", "$Pcontent-length: 2, 2~~{}", 400, 1, true),
    ("a length with a sign", "$Pcontent-length: +2~~{}", 400, 1, true),
    ("a length below zero", "$Pcontent-length: -2~~{}", 400, 1, true),
    ("a length beyond numbers", "$Pcontent-length: 99999999999999999999~~{}", 400, 1, true),
    ("a hexadecimal length", "$Pcontent-length: 0x2~~{}", 400, 1, true),
    ("another coding", "$Ptransfer-encoding: xchunked~~0~~$N", 400, 1, true),
    ("identity", "$Ptransfer-encoding: identity~~$N", 400, 1, true),
    ("chunked not last", "$Ptransfer-encoding: chunked, gzip~~0~~$N", 400, 1, true),
    ("two codings", "$Ptransfer-encoding: chunked~transfer-encoding: identity~~0~~$N", 400, 1, true),
    ("a blank before the colon", "$Ptransfer-encoding : chunked~~0~~$N", 400, 1, true),
    (
        "chunked in HTTP/1.0",
        "POST /v1/queries HTTP/1.0~host: x~transfer-encoding: chunked~~0~~$N",
        400,
        1,
        true,
    ),
    ("a chunk length beyond numbers", "$Ptransfer-encoding: chunked~~FFFFFFFFFFFFFFFFF~{}~0~~", 400, 1, true),
    ("a chunk length below zero", "$Ptransfer-encoding: chunked~~-2~{}~0~~", 400, 1, true),
    ("chunks with bare line feeds", "$Ptransfer-encoding: chunked~~2\n{}\n0\n\n", 400, 1, true),
    ("chunk extensions", "$Ptransfer-encoding: chunked~~2;a=b~{}~0~~", 422, 1, false),
    ("a token in a trailer", "$Ptransfer-encoding: chunked~~2~{}~0~authorization: Bearer x~~", 422, 1, false),
    ("a folded header", "$Gx-a: b~ c~~", 400, 1, true),
    ("a fold at the first header", "GET /livez HTTP/1.1~ host: x~~", 400, 1, true),
    ("a bare carriage return", "$Gx-a: b\rc: d~~", 400, 1, true),
    ("a zero byte in a value", "$Gx-a: a\0b~~", 400, 1, true),
    ("a zero byte in a name", "$Gx\0a: b~~", 400, 1, true),
    ("no name", "$G: b~~", 400, 1, true),
    ("no colon", "$Gnonsense~~", 400, 1, true),
    ("no host", "GET /livez HTTP/1.1~~", 400, 1, false),
    ("two hosts", "GET /livez HTTP/1.1~host: a~host: b~~", 400, 1, false),
    ("two hosts that agree", "GET /livez HTTP/1.1~host: a~host: a~~", 400, 1, false),
    ("HTTP/1.0", "GET /livez HTTP/1.0~~", 200, 1, true),
    ("HTTP/0.9", "GET /livez~~", 400, 1, true),
    ("HTTP/1.2", "GET /livez HTTP/1.2~host: x~~", 400, 1, true),
    ("HTTP/2.0", "GET /livez HTTP/2.0~host: x~~", 400, 1, true),
    ("http/1.1", "GET /livez http/1.1~host: x~~", 400, 1, true),
    ("tabs in the first line", "GET\t/livez\tHTTP/1.1~host: x~~", 400, 1, true),
    ("a blank in the path", "GET /livez x HTTP/1.1~host: x~~", 400, 1, true),
    ("absolute form, another host", "GET http://evil.test/livez HTTP/1.1~host: x~~", 200, 1, false),
    ("authority form", "CONNECT evil.test:443 HTTP/1.1~host: x~~", 404, 1, false),
    ("asterisk form", "OPTIONS * HTTP/1.1~host: x~~", 404, 1, false),
    ("two slashes", "GET //v1/grants HTTP/1.1~host: x~~", 404, 1, false),
    ("dots in the path", "GET /v1/../livez HTTP/1.1~host: x~~", 404, 1, false),
    ("an upgrade to HTTP/2", "GET /livez HTTP/1.1~host: x~connection: upgrade~upgrade: h2c~~", 200, 1, false),
    (
        "a GET with a body, then another",
        "GET /livez HTTP/1.1~host: x~content-length: 5~~hello$N",
        200,
        2,
        false,
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_read_one_way_or_refused() {
    let hub = TestHub::start().await;
    let token = hub.token(PERSON);
    let good = format!("GET /v1/grants?limit=1 HTTP/1.1~host: x~authorization: Bearer {token}~");
    let post = format!(
        "POST /v1/queries HTTP/1.1~host: x~authorization: Bearer {token}~content-type: application/json~"
    );
    let mut faults = String::new();
    for (what, text, status, answers, ends) in CASES {
        let text = text.replace("$N", &format!("{good}~")).replace("$G", &good).replace("$P", &post);
        let (said, ended) = exchange(&hub, &text.replace('~', "\r\n"), *answers).await;
        let found = statuses(&said);
        if *status >= 400 && !said.contains("\r\n\r\n{\"type\":\"urn:tongqu:problem:") {
            let _written = writeln!(faults, "{what}: no problem in {said}");
        }
        if found.len() != *answers || found.iter().any(|one| one != status) || ended != *ends {
            let _written = writeln!(faults, "{what}: {found:?}, ended {ended}");
        }
    }
    assert!(faults.is_empty(), "{faults}");
    let many = "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1_000);
    let (said, _) = exchange(&hub, &many, 1_000).await;
    assert_eq!(statuses(&said), vec![200; 1_000], "a thousand in a row");
    let many: String = (0..10_000).map(|at| format!("x-{at}: 1\r\n")).collect();
    let (said, ended) = exchange(&hub, &format!("GET /livez HTTP/1.1\r\nhost: x\r\n{many}\r\n"), 1).await;
    assert_eq!((statuses(&said), ended), (vec![431], true), "ten thousand headers");
    assert!(said.contains("\"code\":\"too_large\"") && said.contains("a hundred headers"), "{said}");
    let metrics = hub.send(hub.http.get(format!("{}/metrics", hub.base_url))).await.text();
    let counted = |code: &str| {
        let line = metrics
            .lines()
            .find(|line| line.contains(&format!("code=\"{code}\"")) && line.contains("\"none\""));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).unwrap_or_default()
    };
    assert_eq!(counted("too_large"), 1, "counted: {metrics}");
    assert!(counted("invalid") > 20, "counted: {metrics}");
}

fn statuses(said: &str) -> Vec<u16> {
    said.match_indices("HTTP/1.").filter_map(|(at, _)| said.get(at + 9..at + 12)?.parse().ok()).collect()
}

/// Sends a text and reads until the hub ends the connection, or has answered so often and says nothing more.
async fn exchange(hub: &TestHub, text: &str, answers: usize) -> (String, bool) {
    let stream = TcpStream::connect(hub.base_url.trim_start_matches("http://")).await.expect("a connection");
    let (mut reader, mut writer) = stream.into_split();
    let bytes = text.as_bytes().to_vec();
    // The hub may refuse and close before all of it is taken.
    let sent = tokio::spawn(async move {
        let _taken = writer.write_all(&bytes).await;
        writer
    });
    let (mut said, mut chunk) = (String::new(), vec![0; 64 << 10]);
    let ended = loop {
        let wait = if statuses(&said).len() < answers { Duration::from_secs(20) } else { SILENCE };
        match tokio::time::timeout(wait, reader.read(&mut chunk)).await {
            Ok(Ok(0) | Err(_)) => break true,
            Ok(Ok(read)) => said.push_str(&String::from_utf8_lossy(chunk.get(..read).unwrap_or_default())),
            Err(_silent) => break false,
        }
    };
    drop(sent.await);
    (said, ended)
}
