//! Answers too large to hold: two entries, a receipt that runs, a commitment over all bytes, and ends that are not clean.

use std::time::Duration;

use serde_json::{Value, json};
use tongqu::clock::Clock;

use super::{OPERATOR, big_body, publish_big};
use crate::support::{NOW_US, PURPOSE, Said, TestHub};

const WITHIN: Duration = Duration::from_secs(5);

async fn hub_with(clock: Clock, rows: usize) -> (TestHub, String) {
    let hub = TestHub::start_with(clock, |config| config.engine.held_bytes_max = 16 << 10).await;
    let grant = publish_big(&hub, rows).await;
    (hub, grant)
}

async fn open_stream(hub: &TestHub, sql: &str) -> (reqwest::Response, String) {
    let call = hub.call("POST", OPERATOR, "/v1/queries").header("content-type", "application/json");
    let response = call.body(big_body(sql).to_string()).send().await.expect("the hub answers");
    assert_eq!(response.status().as_u16(), 200);
    let receipt = response.headers()["tongqu-receipt"].to_str().expect("text").to_owned();
    (response, receipt)
}

/// The receipt once its stream has ended.
async fn closed(hub: &TestHub, receipt: &str) -> Value {
    let path = format!("/v1/receipts/{receipt}");
    let wait = async {
        loop {
            let said = hub.get(OPERATOR, &path).await;
            assert_eq!(said.status, 200, "{}", said.text());
            if said.json()["state"] == json!("recorded") {
                return said.json();
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(WITHIN, wait).await.expect("the stream's outcome is recorded in time")
}

fn entry(receipt: &Value) -> Value {
    use base64::Engine;
    let bytes = base64::prelude::BASE64_STANDARD.decode(receipt["entry"].as_str().expect("an entry"));
    serde_json::from_slice(&bytes.expect("base64")).expect("JSON")
}

async fn read_to_end(mut response: reqwest::Response) -> (usize, bool) {
    let mut bytes = 0;
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes += chunk.len(),
            Ok(None) => return (bytes, true),
            Err(_aborted) => return (bytes, false),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_has_two_entries_and_a_commitment_to_every_byte() {
    let (hub, _grant) = hub_with(Clock::system(), 30_000).await;
    let said = hub.post(OPERATOR, "/v1/queries", &big_body("SELECT key, note FROM city.big")).await;
    assert_eq!(said.rows().len(), 30_000);
    assert!(!said.headers.contains_key("content-length"), "a stream has no length: {:?}", said.headers);
    let receipt = said.receipt().expect("a receipt").to_owned();
    assert_eq!(said.json()["receipt"], json!(receipt));
    let proof = hub.get(OPERATOR, &format!("/v1/receipts/{receipt}")).await;
    assert_eq!(proof.json()["state"], json!("recorded"), "closed before the last byte left");
    assert!(proof.json()["opened"].is_object(), "{}", proof.text());
    let key = hub.hub.keys.verifier_key().to_owned();
    tongqu::audit::verify::verify_receipt(&proof.bytes, &key, Some(&said.bytes)).expect("it verifies");
    let last = said.bytes.len() - 1;
    for at in [0, last / 2, last] {
        let mut changed = said.bytes.clone();
        changed[at] ^= 1;
        tongqu::audit::verify::verify_receipt(&proof.bytes, &key, Some(&changed))
            .expect_err("a changed byte");
    }
    tongqu::audit::verify::verify_receipt(&proof.bytes, &key, Some(&said.bytes[..last]))
        .expect_err("a cut answer");
    let entries = entries_of(&hub, &receipt).await;
    let told: Vec<(&Value, &Value)> = entries.iter().map(|entry| (&entry["kind"], &entry["code"])).collect();
    assert_eq!(told, [(&json!("opened"), &json!("running")), (&json!("closed"), &json!("ok"))]);
    assert_eq!((&entries[1]["rows"], &entries[1]["opened_index"]), (&json!(30_000), &entries[0]["index"]));
    assert_eq!(entries[1]["bytes"], json!(said.bytes.len()));
}

async fn entries_of(hub: &TestHub, receipt: &str) -> Vec<Value> {
    let sql = format!(
        "SELECT index, kind, code, status, rows, bytes, opened_index FROM system.audit WHERE receipt = '{receipt}' ORDER BY index"
    );
    hub.audit(&sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_is_recorded_as_cancelled() {
    let (hub, _grant) = hub_with(Clock::system(), 200_000).await;
    let (mut response, receipt) = open_stream(&hub, "SELECT key, note FROM city.big").await;
    response.chunk().await.expect("a chunk").expect("not the end");
    let running = hub.get(OPERATOR, &format!("/v1/receipts/{receipt}")).await;
    assert_eq!(running.json()["state"], json!("running"), "{}", running.text());
    let key = hub.hub.keys.verifier_key().to_owned();
    tongqu::audit::verify::verify_receipt(&running.bytes, &key, None)
        .expect("an open stream's receipt verifies");
    drop(response);
    let entry = entry(&closed(&hub, &receipt).await);
    assert_eq!((&entry["code"], &entry["status"]), (&json!("cancelled"), &json!(499)), "{entry}");
    assert!(entry["rows"].as_u64().expect("rows") < 200_000, "{entry}");
    let entries = entries_of(&hub, &receipt).await;
    assert_eq!((entries.len(), &entries[1]["kind"]), (2, &json!("closed")), "{entries:?}");
}

async fn suspend(hub: &TestHub, grant: &str) -> Said {
    let path = format!("/v1/grants/{grant}/suspend");
    hub.post("public-security.sharing-head", &path, &json!({"reason": "test"})).await.expect(200, "ok")
}

/// A statement whose scans end long before its rows do.
const JOINED: &str = "SELECT a.key, b.note, a.note AS beside FROM city.big AS a CROSS JOIN city.big AS b";

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_grant_aborts_running_streams_in_seconds() {
    for (what, sql, rows) in [("a scan", "SELECT key, note FROM city.big", 200_000), ("a join", JOINED, 900)]
    {
        let (hub, grant) = hub_with(Clock::system(), rows).await;
        let (mut response, receipt) = open_stream(&hub, sql).await;
        response.chunk().await.expect("a chunk").expect("not the end");
        suspend(&hub, &grant).await;
        let (_bytes, clean) = tokio::time::timeout(WITHIN, read_to_end(response)).await.expect(what);
        assert!(!clean, "{what}: the transfer ended as if it were whole");
        let entry = entry(&closed(&hub, &receipt).await);
        assert_eq!((&entry["code"], &entry["status"]), (&json!("conflict"), &json!(409)), "{what}: {entry}");
        let said = hub.post(OPERATOR, "/v1/queries", &big_body(sql)).await.expect(403, "refused");
        assert!(said.text().contains("grant-active"), "{}", said.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_nobody_reads_ends_with_its_grant_all_the_same() {
    let (hub, grant) = hub_with(Clock::system(), 200_000).await;
    let (response, receipt) = open_stream(&hub, "SELECT key, note FROM city.big").await;
    // Others are served meanwhile, so every buffer on the way is full.
    for _ in 0..200 {
        hub.get(OPERATOR, "/v1/resources").await.expect(200, "ok");
    }
    suspend(&hub, &grant).await;
    let entry = entry(&closed(&hub, &receipt).await);
    assert_eq!(entry["code"], json!("conflict"), "{entry}");
    let (_bytes, clean) = tokio::time::timeout(WITHIN, read_to_end(response)).await.expect("an end");
    assert!(!clean, "the transfer ended as if it were whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_when_its_grant_expires() {
    let clock = Clock::fixed(NOW_US);
    let (hub, grant) = hub_with(clock.clone(), 900).await;
    let end = hub.get(OPERATOR, &format!("/v1/grants/{grant}")).await.json()["terms"]["valid_until"].clone();
    // Ten seconds before its end, so that the call's own deadline is later.
    clock.turn(end.as_i64().expect("an instant") - NOW_US - 10_000_000);
    let (mut response, receipt) = open_stream(&hub, JOINED).await;
    response.chunk().await.expect("a chunk").expect("not the end");
    clock.turn(10_000_000);
    let (_bytes, clean) = tokio::time::timeout(WITHIN, read_to_end(response)).await.expect("an end");
    assert!(!clean, "the transfer ended as if it were whole");
    let entry = entry(&closed(&hub, &receipt).await);
    assert_eq!(entry["code"], json!("conflict"), "{entry}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_over_its_rows_is_cut_and_says_so() {
    let (hub, _grant) = hub_with(Clock::system(), 200_000).await;
    let (response, receipt) =
        open_stream(&hub, "SELECT a.key FROM city.big AS a CROSS JOIN city.big AS b").await;
    let (bytes, clean) = read_to_end(response).await;
    assert!(!clean && bytes > 0, "the transfer ended as if it were whole");
    let entry = entry(&closed(&hub, &receipt).await);
    assert_eq!((&entry["code"], &entry["status"]), (&json!("too_many_rows"), &json!(422)), "{entry}");
    let said = hub.post(OPERATOR, "/v1/queries", &json!({
        "sql": "SELECT count(*) AS n FROM city.big", "purpose": PURPOSE, "case": "c", "operator": OPERATOR,
    })).await;
    assert_eq!(said.rows()[0]["n"], json!(200_000));
}
