//! The main flow: a governed answer, its entry, its receipt, its offline check; refusals and limits on the way.

use serde_json::json;
use tongqu::clock::Clock;

use crate::support::{NOW_US, SYSTEM, TestHub, terms};

const OPERATOR: &str = "civil-affairs.operator";

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
