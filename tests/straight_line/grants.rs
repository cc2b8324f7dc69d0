//! Grants as facts: two signatures, never wider than applied for, effective and ended at once, seen by the two sides only.

use serde_json::{Value, json};
use tongqu::clock::Clock;

use super::{OPERATOR, PROVIDER, note_terms, publish_csv};
use crate::support::{NOW_US, PURPOSE, Said, TestHub, terms};

const APPLICANT: &str = "civil-affairs.sharing-head";
const NOTES: &str = "SELECT key FROM city.notes";

async fn notes(hub: &TestHub) {
    publish_csv(hub, "city.notes", "key,note\na,1\nb,2\n", json!({})).await;
}

async fn apply(hub: &TestHub, account: &str, resource: &str, terms: &Value) -> Said {
    hub.post(account, "/v1/applications", &json!({"resource": resource, "terms": terms})).await
}

async fn change(hub: &TestHub, account: &str, grant: &str, verb: &str) -> Said {
    hub.post(account, &format!("/v1/grants/{grant}/{verb}"), &json!({"reason": "test"})).await
}

fn rule(said: &Said) -> String {
    said.json()["reasons"][0]["rule"].as_str().unwrap_or("?").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_lives_and_ends_with_the_next_call() {
    let hub = TestHub::start().await;
    notes(&hub).await;
    let grant = hub.grant("city.notes", "civil-affairs", "public-security", &note_terms()).await;
    hub.query(OPERATOR, NOTES).await.expect(200, "ok");
    for _ in 0..20 {
        change(&hub, PROVIDER, &grant, "suspend").await.expect(200, "ok");
        let said = hub.query(OPERATOR, NOTES).await.expect(403, "refused");
        assert_eq!(rule(&said), "grant-active");
        hub.lookup(OPERATOR, "city.notes", json!([{"key": "a"}])).await.expect(403, "refused");
        change(&hub, PROVIDER, &grant, "resume").await.expect(200, "ok");
        hub.query(OPERATOR, NOTES).await.expect(200, "ok");
    }
    let read = hub.get(APPLICANT, &format!("/v1/grants/{grant}")).await;
    assert_eq!(read.json()["version"], json!(41), "{}", read.text());
    change(&hub, PROVIDER, &grant, "resume").await.expect(409, "conflict");
    change(&hub, PROVIDER, &grant, "revoke").await.expect(200, "ok");
    for verb in ["resume", "suspend", "revoke"] {
        for account in [PROVIDER, "data-authority.authority"] {
            change(&hub, account, &grant, verb).await.expect(409, "conflict");
        }
    }
    assert_eq!(rule(&hub.query(OPERATOR, NOTES).await.expect(403, "refused")), "grant-active");
    let hub = hub.restart(Clock::system()).await;
    assert_eq!(rule(&hub.query(OPERATOR, NOTES).await.expect(403, "refused")), "grant-active");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_authority_suspends_only_the_authority_resumes() {
    let hub = TestHub::start().await;
    notes(&hub).await;
    let grant = hub.grant("city.notes", "civil-affairs", "public-security", &note_terms()).await;
    let authority = "data-authority.authority";
    change(&hub, authority, &grant, "suspend").await.expect(200, "ok");
    assert_eq!(
        rule(&change(&hub, PROVIDER, &grant, "resume").await.expect(403, "refused")),
        "resume-after-authority"
    );
    change(&hub, PROVIDER, &grant, "suspend").await.expect(409, "conflict");
    assert_eq!(
        rule(&change(&hub, PROVIDER, &grant, "resume").await.expect(403, "refused")),
        "resume-after-authority"
    );
    change(&hub, authority, &grant, "resume").await.expect(200, "ok");
    hub.query(OPERATOR, NOTES).await.expect(200, "ok");
    change(&hub, PROVIDER, &grant, "suspend").await.expect(200, "ok");
    change(&hub, PROVIDER, &grant, "resume").await.expect(200, "ok");
    for account in [APPLICANT, OPERATOR, "public-security.head", "public-security.operator"] {
        for verb in ["suspend", "resume", "revoke"] {
            change(&hub, account, &grant, verb).await.expect(403, "refused");
        }
    }
    for account in
        ["human-resources.sharing-head", "data-authority.security-admin", "data-authority.reviewer"]
    {
        change(&hub, account, &grant, "revoke").await.expect(404, "not_found");
    }
    hub.query(OPERATOR, NOTES).await.expect(200, "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_term_begins_and_ends_to_the_microsecond() {
    let clock = Clock::fixed(NOW_US);
    let hub = TestHub::start_with(clock.clone(), |_| ()).await;
    notes(&hub).await;
    let mut terms = note_terms();
    terms["valid_from"] = json!(NOW_US + 1_000_000);
    terms["valid_until"] = json!(NOW_US + 5_000_000);
    hub.grant("city.notes", "civil-affairs", "public-security", &terms).await;
    for (turn_us, expected) in
        [(0, 403), (999_999, 403), (1, 200), (3_999_999, 200), (1, 403), (-1, 200), (86_400_000_000, 403)]
    {
        clock.turn(turn_us);
        let said = hub.query(OPERATOR, NOTES).await;
        assert_eq!(said.status, expected, "after {turn_us} µs: {}", said.text());
        if expected == 403 {
            assert_eq!(rule(&said), "grant-term");
        }
    }
    let said = apply(&hub, APPLICANT, "city.notes", &terms).await.expect(422, "invalid");
    assert_eq!(said.json()["faults"][0]["pointer"], json!("/terms/valid_until"), "{}", said.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_narrows_and_never_widens() {
    let hub = TestHub::start().await;
    let mut asked = terms(
        &["query"],
        &["id_number"],
        json!([{"item": "name", "mask": {"keep_first": 1}}, {"item": "residence_code"}]),
        Some(json!({"compare": {"item": "residence_code", "op": "like_prefix", "value": "33"}})),
    );
    asked["rows_per_answer_max"] = json!(100);
    let applied =
        apply(&hub, APPLICANT, "population.resident", &asked).await.expect(201, "ok").json()["id"].clone();
    let grant = async |terms: Value| {
        hub.post(PROVIDER, "/v1/grants", &json!({"application": applied, "terms": terms})).await
    };
    let wider_scope = json!({"compare": {"item": "residence_code", "op": "like_prefix", "value": "3"}});
    let wider = [
        (json!({"operations": ["query", "lookup"]}), "/terms/operations/1"),
        (json!({"input": ["id_number", "household_number"]}), "/terms/input/1"),
        (json!({"output": [{"item": "name"}]}), "/terms/output/0/mask"),
        (json!({"output": [{"item": "name", "mask": {"keep_first": 2}}]}), "/terms/output/0/mask"),
        (
            json!({"output": [{"item": "name", "mask": {"keep_first": 1}}, {"item": "nation"}]}),
            "/terms/output/1/item",
        ),
        (json!({"scope": null}), "/terms/scope"),
        (json!({"scope": wider_scope}), "/terms/scope"),
        (json!({"scope": {"any": [asked["scope"], wider_scope]}}), "/terms/scope"),
        (json!({"purpose": "credit-review"}), "/terms/purpose"),
        (json!({"basis": "another"}), "/terms/basis"),
        (json!({"systems": ["civil-affairs.system", "another"]}), "/terms/systems/1"),
        (json!({"standing": [{"rule": "auto-2"}]}), "/terms/standing/0"),
        (json!({"joins": ["credit.penalty"]}), "/terms/joins/0"),
        (json!({"valid_until": NOW_US + 401 * 86_400_000_000_i64}), "/terms/valid_until"),
        (json!({"rows_per_answer_max": 101}), "/terms/rows_per_answer_max"),
        (json!({"rows_per_day_max": 10_000_001}), "/terms/rows_per_day_max"),
        (json!({"rows_per_answer_max": "9"}), "/terms/rows_per_answer_max"),
        (json!({"surprise": 1}), "/terms/surprise"),
        (json!({"output": [["name", null]]}), "/terms/output/0"),
        (json!({"scope": {"compare": ["residence_code", "like_prefix", "33"]}}), "/terms/scope/compare"),
    ];
    for (terms, pointer) in wider {
        let said = grant(terms.clone()).await.expect(422, "invalid");
        let faults = said.json()["faults"].clone();
        let pointers: Vec<&Value> =
            faults.as_array().expect("faults").iter().map(|fault| &fault["pointer"]).collect();
        assert_eq!(pointers, [&json!(pointer)], "{terms}: {}", said.text());
    }
    let narrower = json!({
        "output": [{"item": "name", "mask": {"keep_first": 1}}, {"item": "residence_code", "mask": {"region_prefix": 2}}],
        "scope": {"all": [asked["scope"], {"compare": {"item": "sex", "op": "=", "value": "1"}}]},
        "rows_per_answer_max": 50, "input": [],
    });
    let granted = grant(narrower).await.expect(201, "ok");
    assert_eq!((&granted.json()["version"], &granted.json()["state"]), (&json!(1), &json!("active")));
    grant(json!({})).await.expect(409, "conflict");
    let said = hub.query(OPERATOR, "SELECT name, residence_code FROM population.resident LIMIT 50").await;
    for row in said.rows() {
        assert!(row["name"].as_str().expect("name").ends_with("***"), "{row}");
        assert!(row["residence_code"].as_str().expect("code").starts_with("33"), "{row}");
        assert_ne!(
            row["residence_code"].as_str().map(|code| &code[2..]),
            Some("0101"),
            "a masked code: {row}"
        );
    }
    hub.query(OPERATOR, "SELECT name FROM population.resident").await.expect(422, "too_many_rows");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_names_declared_systems_only() {
    let hub = TestHub::start().await;
    let mut asked = terms(&["query"], &[], json!([{"item": "sex"}]), None);
    asked["systems"] = json!(["civil-affairs.system", "civil-affairs.nobody", "civil-affairs.operator"]);
    let applied = apply(&hub, APPLICANT, "population.resident", &asked).await.expect(201, "ok").json();
    let said = hub.post(PROVIDER, "/v1/grants", &json!({"application": applied["id"]})).await;
    let faults = said.expect(422, "invalid").json()["faults"].clone();
    assert_eq!(
        (&faults[0]["pointer"], &faults[1]["pointer"]),
        (&json!("/terms/systems/1"), &json!("/terms/systems/2"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_grants_to_themselves_and_nothing_withheld_is_granted() {
    let hub = TestHub::start().await;
    notes(&hub).await;
    let own = apply(&hub, PROVIDER, "city.notes", &note_terms()).await.expect(403, "refused");
    assert_eq!(rule(&own), "apply-elsewhere");
    for account in [OPERATOR, "data-authority.authority", "data-authority.reviewer", crate::support::SYSTEM] {
        assert_eq!(
            rule(&apply(&hub, account, "city.notes", &note_terms()).await.expect(403, "refused")),
            "no-rule-permits"
        );
    }
    let application =
        apply(&hub, APPLICANT, "city.notes", &note_terms()).await.expect(201, "ok").json()["id"].clone();
    let grant = json!({"application": application});
    assert_eq!(
        rule(&hub.post(APPLICANT, "/v1/grants", &grant).await.expect(403, "refused")),
        "no-self-approval"
    );
    for account in ["public-security.head", "public-security.operator"] {
        assert_eq!(
            rule(&hub.post(account, "/v1/grants", &grant).await.expect(403, "refused")),
            "no-rule-permits"
        );
    }
    for account in
        ["human-resources.sharing-head", "data-authority.authority", "data-authority.security-admin"]
    {
        hub.post(account, "/v1/grants", &grant).await.expect(404, "not_found");
    }
    let withheld = json!({"class": "withheld", "condition": null, "legal_basis": "Order 809 art. 14", "binding": "unmounted"});
    publish_csv(&hub, "city.secret", "key,note\na,1\n", withheld).await;
    let said = apply(&hub, APPLICANT, "city.secret", &note_terms()).await.expect(403, "refused");
    assert_eq!(rule(&said), "apply-withheld");
    let item = json!({"items": [
        {"name": "key", "title": "key", "type": "text", "key": true, "classification": "personal"},
        {"name": "note", "title": "note", "type": "text", "classification": "general", "class": "withheld"},
    ], "legal_basis": "Order 809 art. 14"});
    publish_csv(&hub, "city.half", "key,note\na,1\n", item).await;
    let said = apply(&hub, APPLICANT, "city.half", &note_terms()).await.expect(422, "invalid");
    assert_eq!(said.json()["faults"][0]["pointer"], json!("/terms/output/1/item"), "{}", said.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_applications_and_receipts_are_seen_by_the_two_sides() {
    let hub = TestHub::start().await;
    notes(&hub).await;
    let application =
        apply(&hub, APPLICANT, "city.notes", &note_terms()).await.expect(201, "ok").json()["id"].clone();
    let granted =
        hub.post(PROVIDER, "/v1/grants", &json!({"application": application})).await.expect(201, "ok");
    let receipt = hub.query(OPERATOR, NOTES).await.receipt().expect("a receipt").to_owned();
    let body = json!({"sql": NOTES, "purpose": PURPOSE});
    let refusal = hub
        .post(OPERATOR, "/v1/queries", &body)
        .await
        .expect(403, "refused")
        .receipt()
        .expect("a receipt")
        .to_owned();
    let things = [
        ("/v1/applications", application.as_str().expect("an id").to_owned()),
        ("/v1/grants", granted.json()["id"].as_str().expect("an id").to_owned()),
        ("/v1/receipts", receipt),
        ("/v1/receipts", refusal),
    ];
    let sees = |path: &str, department: &str, account: &str| match path {
        "/v1/receipts" => department == "civil-affairs" || account == "data-authority.reviewer",
        "/v1/grants" if account == "data-authority.authority" => true,
        _ => department == "civil-affairs" || department == "public-security",
    };
    for (account, department, _) in crate::support::PEOPLE {
        for (path, id) in &things {
            let said = hub.get(account, &format!("{path}/{id}")).await;
            let expected = if sees(path, department, account) { 200 } else { 404 };
            assert_eq!(said.status, expected, "{account} {path}/{id}: {}", said.text());
            if *path != "/v1/receipts" {
                let listed = hub.get(account, path).await.expect(200, "ok");
                assert_eq!(
                    listed.text().contains(id),
                    expected == 200,
                    "{account} {path}: {}",
                    listed.text()
                );
            }
        }
    }
}
