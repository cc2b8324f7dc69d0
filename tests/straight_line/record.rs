//! The record beside every answer: refusals, windows, restarts, and a folder that verifies.

use serde_json::{Value, json};
use tongqu::audit::verify::{verify_directory, verify_receipt};
use tongqu::clock::Clock;

use super::OPERATOR;
use crate::support::{PURPOSE, TestHub};

const SQL: &str = "SELECT name FROM population.resident LIMIT 3";

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_has_its_receipt_and_its_entry() {
    let hub = TestHub::start().await;
    hub.grant_residents().await;
    let body = |sql: &str, more: Value| {
        let mut body = json!({"sql": sql, "purpose": PURPOSE, "case": "case-77", "operator": OPERATOR});
        for (member, value) in more.as_object().expect("members") {
            body[member] = value.clone();
        }
        body
    };
    let calls = [
        (body(SQL, json!({"purpose": "credit-review"})), 403, "refused", "purpose"),
        (body("SELECT nation FROM population.resident", json!({})), 404, "not_found", ""),
        (body("SELECT * FROM credit.penalty", json!({})), 404, "not_found", ""),
        (body("DELETE FROM population.resident", json!({})), 422, "statement_not_allowed", ""),
        (body("SELECT version() FROM population.resident", json!({})), 422, "function_not_allowed", ""),
        (body("SELECT name FROM population.resident WHERE", json!({})), 422, "invalid", ""),
        (body(SQL, json!({"surprise": 1})), 422, "invalid", ""),
        (
            body(
                "SELECT name FROM population.resident WHERE 1 / (CASE WHEN sex = '1' THEN 0 ELSE 0 END) = 1",
                json!({}),
            ),
            422,
            "expression_failed",
            "",
        ),
    ];
    let key = hub.hub.keys.verifier_key().to_owned();
    for (body, status, code, rule) in calls {
        let said = hub.post(OPERATOR, "/v1/queries", &body).await.expect(status, code);
        let receipt = said.receipt().expect("a receipt").to_owned();
        let proof = hub.get(OPERATOR, &format!("/v1/receipts/{receipt}")).await.expect(200, "ok");
        verify_receipt(&proof.bytes, &key, None).expect("it verifies");
        let sql = format!(
            "SELECT status, code, reasons, account, rows, case_digest FROM system.audit WHERE receipt = '{receipt}'"
        );
        let entries = hub.audit(&sql).await;
        assert_eq!(entries.len(), 1, "{body}");
        let entry = &entries[0];
        assert_eq!((&entry["status"], &entry["code"]), (&json!(status), &json!(code)), "{body}");
        let rule = if rule.is_empty() { Value::Null } else { json!(rule) };
        assert_eq!((&entry["reasons"], &entry["account"]), (&rule, &json!(OPERATOR)), "{body}");
        assert!(entry["rows"].is_null(), "a refusal gives no rows: {entry}");
        assert!(!entry.to_string().contains("case-77"), "the case stands in clear: {entry}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn acts_and_refused_acts_are_on_record_with_the_hash_of_their_text() {
    let hub = TestHub::start().await;
    let grant = hub.grant_residents().await;
    let path = format!("/v1/grants/{grant}/suspend");
    let text = json!({"reason": "usage record not filed"});
    hub.post(OPERATOR, &path, &text).await.expect(403, "refused");
    hub.post("public-security.sharing-head", &path, &text).await.expect(200, "ok");
    let acts = hub
        .audit("SELECT operation, account, code, payload, grants, reasons FROM system.audit WHERE kind = 'act' AND account <> 'hub' ORDER BY index")
        .await;
    let told: Vec<(&str, &str)> = acts
        .iter()
        .map(|act| (act["operation"].as_str().expect("text"), act["code"].as_str().expect("text")))
        .collect();
    assert_eq!(told, [("apply", "ok"), ("grant", "ok"), ("suspend", "refused"), ("suspend", "ok")]);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.to_string().as_bytes());
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((&acts[2]["payload"], &acts[3]["payload"]), (&json!(hex), &json!(hex)));
    assert_eq!(acts[3]["grants"], json!(format!("{grant}@2")));
    assert_eq!(acts[2]["reasons"], json!("no-rule-permits"));
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_log_ins_are_one_window_not_one_entry_each() {
    let hub = TestHub::start().await;
    let before = hub.audit("SELECT count(*) AS n FROM system.audit").await[0]["n"].as_u64().expect("a count");
    for round in 0..150 {
        let call = hub.http.get(format!("{}/v1/grants", hub.base_url)).bearer_auth(format!("x.y.{round}"));
        hub.send(call).await.expect(401, "unauthenticated");
    }
    hub.hub.record_windows().await;
    let windows = hub
        .audit("SELECT rows, code, account FROM system.audit WHERE kind = 'window' AND operation = 'unauthenticated'")
        .await;
    let counted: u64 = windows.iter().map(|window| window["rows"].as_u64().expect("rows")).sum();
    assert_eq!(counted, 150);
    let after = hub.audit("SELECT count(*) AS n FROM system.audit").await[0]["n"].as_u64().expect("a count");
    // Two readings of the record stand between; the keeper may close a window each second.
    assert!(after - before < 20, "{} entries for 150 failures", after - before);
    assert!(
        windows.iter().all(|window| !window["account"].as_str().expect("text").contains("127.0.0.1")),
        "{windows:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_facts_and_continues_the_record() {
    let hub = TestHub::start().await;
    let grant = hub.grant_residents().await;
    let said = hub.query(OPERATOR, SQL).await.expect(200, "ok");
    let receipt = said.receipt().expect("a receipt").to_owned();
    let key = hub.hub.keys.verifier_key().to_owned();
    let mut size = hub.hub.log.size();
    let mut hub = hub;
    for _ in 0..3 {
        hub = hub.restart(Clock::system()).await;
        assert_eq!(hub.hub.keys.verifier_key(), key, "the log's key is the same");
        let grown = hub.hub.log.size();
        assert!(grown > size, "the tree grows over a restart: {size} → {grown}");
        size = grown;
        hub.query(OPERATOR, SQL).await.expect(200, "ok");
        let proof = hub.get(OPERATOR, &format!("/v1/receipts/{receipt}")).await.expect(200, "ok");
        verify_receipt(&proof.bytes, &key, Some(&said.bytes))
            .expect("an old receipt verifies under the new head");
        let read = hub.get(OPERATOR, &format!("/v1/grants/{grant}")).await.expect(200, "ok");
        assert_eq!(read.json()["version"], json!(1));
    }
    let starts = hub.audit("SELECT count(*) AS n FROM system.audit WHERE kind = 'started'").await;
    assert_eq!(starts[0]["n"], json!(4));
    let loads = hub.audit("SELECT count(*) AS n FROM system.audit WHERE operation = 'load'").await;
    assert_eq!(
        loads[0]["n"],
        hub.audit("SELECT count(DISTINCT resources) AS n FROM system.audit WHERE operation = 'load'").await
            [0]["n"]
    );
    let indexes = hub
        .audit(
            "SELECT count(*) AS n, max(index) AS last, count(DISTINCT receipt) AS receipts FROM system.audit",
        )
        .await;
    assert_eq!(
        indexes[0]["n"].as_u64(),
        indexes[0]["last"].as_u64().map(|last| last + 1),
        "no index is left out"
    );
    assert_eq!(indexes[0]["n"], indexes[0]["receipts"]);
    let size = hub.hub.log.size();
    hub.stop().await;
    let report = verify_directory(&hub.directory().join("audit"), &key).expect("the record verifies");
    assert_eq!((report.unclosed, report.torn_bytes, report.unpublished), (0, 0, 0), "{report}");
    assert!(report.size >= size, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_is_read_by_reviewers_for_audit_only_and_that_is_recorded() {
    let hub = TestHub::start().await;
    let sql = "SELECT index FROM system.audit";
    for (account, _, roles) in crate::support::PEOPLE {
        let body = json!({"sql": sql, "purpose": "audit"});
        let said = hub.post(account, "/v1/queries", &body).await;
        let expected = if roles.contains(&"reviewer") { 200 } else { 404 };
        assert_eq!(said.status, expected, "{account}: {}", said.text());
    }
    let body = json!({"sql": sql, "purpose": PURPOSE});
    let said = hub.post("data-authority.reviewer", "/v1/queries", &body).await.expect(403, "refused");
    assert_eq!(said.json()["reasons"][0]["rule"], json!("record-purpose"), "{}", said.text());
    let readings = hub
        .audit("SELECT code FROM system.audit WHERE account = 'data-authority.reviewer' AND resources LIKE 'system.audit@%' ORDER BY index")
        .await;
    assert_eq!(readings, [json!({"code": "ok"}), json!({"code": "refused"})]);
}
