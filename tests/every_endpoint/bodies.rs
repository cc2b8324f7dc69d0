//! Bodies and headers that are not what they should be: a clear fault at its place, never the value.

use serde_json::{Value, json};

use super::with_body;
use super::world::{World, assert_headers, query};
use crate::support::Said;

const ACCOUNT: &str = "civil-affairs.operator";
/// Stands in bodies as a value that no answer may repeat.
const CANARY: &str = "330102199001011234";

async fn raw(world: &World, path: &str, headers: &[(&str, &str)], body: impl Into<reqwest::Body>) -> Said {
    let mut call = world.hub.call("POST", ACCOUNT, path);
    for (name, value) in headers {
        call = call.header(*name, *value);
    }
    let said = world.hub.send(call.body(body)).await;
    assert_headers(path, &said);
    assert!(!said.text().contains(CANARY), "{path} says the value back: {}", said.text());
    said
}

const AS_JSON: &[(&str, &str)] = &[("content-type", "application/json")];

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_another_media_type_is_not_read() {
    let world = World::new().await;
    for (name, path, body) in with_body() {
        let body = body.to_string();
        for headers in [
            &[][..],
            &[("content-type", "text/plain")],
            &[("content-type", "application/jsonx")],
            &[("content-type", "application/x-www-form-urlencoded")],
            &[("content-type", "multipart/form-data; boundary=application/json")],
            &[("content-type", "")],
            &[("content-type", "application/json"), ("content-encoding", "gzip")],
        ] {
            raw(&world, &path, headers, body.clone()).await.expect(415, "invalid");
        }
        for media in ["application/json; charset=utf-8", "Application/JSON", "application/json;charset=UTF-8"]
        {
            let said = raw(&world, &path, &[("content-type", media)], body.clone()).await;
            assert_ne!(said.status, 415, "{name} {media}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_too_large_is_cut_off_with_and_without_its_length() {
    let world = World::new().await;
    let large = json!({"reason": CANARY, "pad": "p".repeat(64 << 10)}).to_string();
    for (name, path, _) in with_body() {
        let said = raw(&world, &path, AS_JSON, large.clone()).await;
        assert_eq!((said.status, said.code().as_str()), (413, "too_large"), "{name}");
        let chunks: Vec<Result<Vec<u8>, std::io::Error>> =
            large.as_bytes().chunks(4_096).map(|chunk| Ok(chunk.to_vec())).collect();
        let body = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
        let said = raw(&world, &path, AS_JSON, body).await;
        assert_eq!((said.status, said.code().as_str()), (413, "too_large"), "{name} in chunks");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_must_be_something_the_hub_makes() {
    let world = World::new().await;
    let body = query(ACCOUNT, "SELECT name FROM population.resident LIMIT 1").to_string();
    for path in ["/v1/queries", "/v1/lookups"] {
        for accept in [
            "text/html",
            "text/csvx",
            "application/xml, image/*",
            "application/jsonx",
            "*/*;q=0",
            "text/csv;q=0.0",
        ] {
            let said = raw(&world, path, &[AS_JSON[0], ("accept", accept)], body.clone()).await;
            let said = said.expect(406, "invalid");
            assert!(said.receipt().is_some(), "{accept}");
        }
    }
    for (accept, media) in [
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("text/html, application/json;q=0.5", "application/json"),
        ("Application/Vnd.Apache.Arrow.Stream", "application/vnd.apache.arrow.stream"),
        ("application/json;q=0, text/*;q=0.1", "text/csv; charset=utf-8; header=present"),
        ("application/x-ndjson, application/json;q=0.9", "application/x-ndjson"),
        ("application/vnd.apache.parquet", "application/vnd.apache.parquet"),
    ] {
        let said = raw(&world, "/v1/queries", &[AS_JSON[0], ("accept", accept)], body.clone()).await;
        assert_eq!((said.status, said.headers["content-type"].as_str()), (200, media), "{accept}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_the_json_of_its_route_is_a_fault() {
    let world = World::new().await;
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    for (name, path, sample) in with_body() {
        let good = sample.to_string();
        let quoted = format!("\"{CANARY}\"");
        let mut bodies: Vec<Vec<u8>> = [
            "",
            " ",
            "null",
            "true",
            "1",
            "[]",
            "\"text\"",
            "{",
            "}",
            "{\"",
            "{\"reason\":}",
            "{'reason': 1}",
            "{reason: 1}",
            "NaN",
            "[1,2",
            "// no\n{}",
            "\u{feff}{}",
            quoted.as_str(),
            deep.as_str(),
            "{\"reason\": \"\\ud800\"}",
            "{\"reason\": \"a\u{1}\"}",
        ]
        .iter()
        .map(|text| text.as_bytes().to_vec())
        .collect();
        bodies.push(b"{\"reason\": \"\xff\xfe\"}".to_vec());
        bodies.push(format!("{good} {good}").into_bytes());
        bodies.push(format!("{good},").into_bytes());
        bodies.push(format!("{good}{quoted}").into_bytes());
        for body in bodies {
            let shown: String = String::from_utf8_lossy(&body).chars().take(80).collect();
            let said = raw(&world, &path, AS_JSON, body).await;
            assert_eq!(
                (said.status, said.code().as_str()),
                (422, "invalid"),
                "{name} `{shown}`: {}",
                said.text()
            );
            assert!(said.json()["faults"][0]["pointer"].is_string(), "{name} `{shown}`: {}", said.text());
        }
        let mut more = sample.clone();
        more["surprise"] = json!(CANARY);
        let said = raw(&world, &path, AS_JSON, more.to_string()).await.expect(422, "invalid");
        assert_eq!(said.json()["faults"][0]["pointer"], json!("/surprise"), "{name}: {}", said.text());
        let members: Vec<Value> = sample.as_object().expect("an object").values().cloned().collect();
        let said = raw(&world, &path, AS_JSON, Value::Array(members).to_string()).await;
        assert_eq!(
            (said.status, said.code().as_str()),
            (422, "invalid"),
            "{name} as a list: {}",
            said.text()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_stands_at_its_place_and_says_no_value() {
    let world = World::new().await;
    let base = json!({"sql": "SELECT 1", "purpose": "p"}).to_string();
    let with = |text: &str| base.replacen('{', &format!("{{{text},"), 1);
    let lookup =
        |keys: &str| format!(r#"{{"resource": "population.resident", "purpose": "p", "keys": {keys}}}"#);
    let terms = |terms: &str| format!(r#"{{"application": "x", "terms": {terms}}}"#);
    let canary = format!("\"{CANARY}\"");
    let cases: Vec<(&str, String, &str)> = vec![
        ("/v1/queries", r#"{"sql": "SELECT 1"}"#.to_owned(), ""),
        ("/v1/queries", format!(r#"{{"sql": {CANARY}, "purpose": "p"}}"#), "/sql"),
        ("/v1/queries", format!(r#"{{"sql": [{canary}], "purpose": "p"}}"#), "/sql"),
        ("/v1/queries", with(&format!(r#""params": {canary}"#)), "/params"),
        ("/v1/queries", with(&format!(r#""grants": [1, {canary}]"#)), "/grants/0"),
        ("/v1/queries", with(&format!(r#""case": {CANARY}"#)), "/case"),
        ("/v1/queries", with(r#""sql": "SELECT 2""#), "/sql"),
        ("/v1/queries", with(r#""case": "a", "case": "b""#), "/case"),
        ("/v1/queries", with(r#""c\u0061se": "a", "case": "b""#), "/case"),
        ("/v1/lookups", lookup(&canary), "/keys"),
        ("/v1/lookups", lookup(&format!("[{canary}]")), "/keys/0"),
        (
            "/v1/lookups",
            lookup(&format!(r#"[{{"id_number": {canary}, "id_number": "x"}}]"#)),
            "/keys/0/id_number",
        ),
        ("/v1/lookups", lookup(r#"[{"a": "1"}, {"a": "1", "\u0061": "2"}]"#), "/keys/1/a"),
        ("/v1/grants", terms(r#"{"basis": "a", "basis": "b"}"#), "/terms/basis"),
        (
            "/v1/grants",
            terms(r#"{"scope": {"all": [{"is_null": "a", "is_null": "b"}]}}"#),
            "/terms/scope/all/0/is_null",
        ),
        ("/v1/grants", terms(&canary), "/terms"),
        ("/v1/grants/x/suspend", r#"{"reason": "a", "reason": "b"}"#.to_owned(), "/reason"),
        ("/v1/grants/x/suspend", r#"{"reason": ""}"#.to_owned(), "/reason"),
        ("/v1/grants/x/suspend", format!(r#"{{"reason": "{}"}}"#, "r".repeat(1_001)), "/reason"),
        ("/v1/grants/x/suspend", format!(r#"{{"reason": {CANARY}}}"#), "/reason"),
    ];
    for (path, body, pointer) in cases {
        let said = raw(&world, path, AS_JSON, body.clone()).await;
        assert_eq!((said.status, said.code().as_str()), (422, "invalid"), "{path} {body}: {}", said.text());
        assert_eq!(said.json()["faults"][0]["pointer"], json!(pointer), "{path} {body}: {}", said.text());
    }
}
