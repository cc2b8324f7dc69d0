//! The main flow: a governed answer, its entry, its receipt, its offline check; refusals and limits on the way.

mod answers;
mod formats;
mod grants;
mod limits;
mod lookups;
mod overload;
mod postgres;
mod record;
mod standing;
mod streams;

use serde_json::{Value, json};

use crate::support::{PURPOSE, TestHub, terms};

const OPERATOR: &str = "civil-affairs.operator";
const PROVIDER: &str = "public-security.sharing-head";

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_masked_scoped_recorded_and_proven() {
    let hub = TestHub::start().await;
    hub.grant_residents().await;
    let said = hub.query(OPERATOR, "SELECT name, birth_date, residence_code FROM population.resident").await;
    let rows = said.rows();
    assert!(rows.len() > 100, "{}", rows.len());
    for row in &rows {
        assert!(row["name"].as_str().expect("name").ends_with("***"), "{row}");
        assert!(row["birth_date"].as_str().expect("date").ends_with("-01-01"), "{row}");
        assert!(row["residence_code"].as_str().expect("code").starts_with("33"), "{row}");
    }
    let receipt = said.receipt().expect("a receipt").to_owned();
    assert_eq!(said.json()["receipt"], json!(receipt));
    let proof = hub.get(OPERATOR, &format!("/v1/receipts/{receipt}")).await;
    assert_eq!(proof.status, 200, "{}", proof.text());
    let key = hub.hub.keys.verifier_key().to_owned();
    tongqu::audit::verify::verify_receipt(&proof.bytes, &key, Some(&said.bytes)).expect("it verifies");
    let mut changed = said.bytes.clone();
    changed[10] ^= 1;
    tongqu::audit::verify::verify_receipt(&proof.bytes, &key, Some(&changed)).expect_err("a changed answer");
    let entry = hub
        .audit("SELECT account, rows, status, code, purpose, shape FROM system.audit WHERE kind = 'call' AND code = 'ok' ORDER BY index LIMIT 1")
        .await;
    assert_eq!(entry[0]["account"], json!(OPERATOR));
    assert_eq!(entry[0]["rows"], json!(rows.len()));
}

/// An entry over a CSV file of so many rows, published by public security.
async fn publish_csv(hub: &TestHub, name: &str, text: &str, more: Value) -> Value {
    let file = format!("public-security/{}.csv", name.replace('.', "_"));
    std::fs::write(hub.sources().join(&file), text).expect("written");
    let mut entry = json!({
        "name": name, "title": name, "abstract": "made for a test", "provider": "public-security",
        "class": "conditional", "condition": "for tests", "update_cycle": "daily",
        "items": [
            {"name": "key", "title": "key", "type": "text", "key": true, "classification": "personal"},
            {"name": "note", "title": "note", "type": "text", "classification": "general"},
        ],
        "binding": {"files": {"format": "csv", "path": file}},
    });
    for (member, value) in more.as_object().expect("members") {
        entry[member] = value.clone();
    }
    let said = hub.publish("public-security.head", &entry).await;
    assert_eq!(said.status, 201, "{}", said.text());
    said.json()
}

/// `key` and `note` in the clear, by query and look-up.
fn note_terms() -> Value {
    terms(&["query", "lookup"], &["key"], json!([{"item": "key"}, {"item": "note"}]), None)
}

/// `city.big` of so many rows, granted to civil affairs; the grant's id.
async fn publish_big(hub: &TestHub, rows: usize) -> String {
    let mut text = String::from("key,note\n");
    for row in 0..rows {
        text.push_str(&format!("k{row},{:0>96}\n", row));
    }
    publish_csv(hub, "city.big", &text, json!({})).await;
    let mut terms = note_terms();
    terms["rows_per_answer_max"] = json!(1_000_000);
    terms["rows_per_day_max"] = json!(100_000_000);
    hub.grant("city.big", "civil-affairs", "public-security", &terms).await
}

fn big_body(sql: &str) -> Value {
    json!({"sql": sql, "purpose": PURPOSE, "case": "case-1", "operator": OPERATOR})
}
