//! Purpose, case and who stands behind a call: without them personal data stays where it is.

use serde_json::{Value, json};

use super::{OPERATOR, note_terms, publish_csv};
use crate::support::{PURPOSE, SYSTEM, Said, TestHub, terms};

async fn ask(hub: &TestHub, account: &str, more: Value) -> Said {
    let mut body =
        json!({"sql": "SELECT count(*) AS n FROM population.resident", "purpose": PURPOSE, "case": "c"});
    for (member, value) in more.as_object().expect("members") {
        body[member] = value.clone();
    }
    hub.post(account, "/v1/queries", &body).await
}

fn rules(said: &Said) -> Vec<String> {
    let said = said.json();
    let reasons = said["reasons"].as_array().cloned().unwrap_or_default();
    reasons.iter().map(|reason| reason["rule"].as_str().expect("a rule").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_stand_behind_a_call() {
    let hub = TestHub::start().await;
    hub.grant_residents().await;
    let person = |more: Value| (OPERATOR, more);
    let permitted = [
        person(json!({"operator": OPERATOR})),
        person(json!({"terminal": "hall-3"})),
        person(json!({"rule": "auto-1"})),
        person(json!({"operator": OPERATOR, "channel": "counter"})),
        (SYSTEM, json!({"operator": OPERATOR})),
        (SYSTEM, json!({"terminal": "hall-3"})),
        (SYSTEM, json!({"rule": "auto-1"})),
    ];
    for (account, more) in permitted {
        let said = ask(&hub, account, more.clone()).await;
        assert_eq!(said.status, 200, "{account} {more}: {}", said.text());
    }
    let refused: [(&str, Value, &[&str]); 8] = [
        (OPERATOR, json!({}), &["standing"]),
        (SYSTEM, json!({}), &["standing"]),
        (OPERATOR, json!({"rule": "auto-2"}), &["standing"]),
        (OPERATOR, json!({"operator": OPERATOR, "case": null}), &["case-named"]),
        (OPERATOR, json!({"case": null}), &["case-named", "standing"]),
        (OPERATOR, json!({"operator": OPERATOR, "purpose": "credit-review"}), &["purpose"]),
        (OPERATOR, json!({"operator": OPERATOR, "purpose": "no-such-purpose"}), &["purpose"]),
        ("civil-affairs.sharing-head", json!({"terminal": "hall-3"}), &["operator-role"]),
    ];
    for (account, more, expected) in refused {
        let said = ask(&hub, account, more.clone()).await.expect(403, "refused");
        assert_eq!(rules(&said), expected, "{account} {more}");
        let reason = &said.json()["reasons"][0];
        assert!(
            !reason["message"].as_str().expect("text").is_empty()
                && !reason["apply"].as_str().expect("text").is_empty()
        );
        assert!(said.receipt().is_some(), "a refusal has its receipt");
    }
    let invalid = [
        (OPERATOR, json!({"operator": "human-resources.operator"}), "/operator"),
        (OPERATOR, json!({"operator": "civil-affairs.sharing-head"}), "/operator"),
        (SYSTEM, json!({"operator": "human-resources.operator"}), "/operator"),
        (SYSTEM, json!({"operator": "civil-affairs.sharing-head"}), "/operator"),
        (SYSTEM, json!({"operator": SYSTEM}), "/operator"),
        (SYSTEM, json!({"operator": "nobody"}), "/operator"),
        (OPERATOR, json!({"operator": OPERATOR, "terminal": "hall-3"}), ""),
        (OPERATOR, json!({"operator": ""}), "/operator"),
        (OPERATOR, json!({"operator": OPERATOR, "case": " "}), "/case"),
        (OPERATOR, json!({"operator": OPERATOR, "case": "c\u{7}"}), "/case"),
        (OPERATOR, json!({"operator": OPERATOR, "purpose": ""}), "/purpose"),
        (OPERATOR, json!({"terminal": "t".repeat(257)}), "/terminal"),
    ];
    for (account, more, pointer) in invalid {
        let said = ask(&hub, account, more.clone()).await;
        assert_eq!((said.status, said.code().as_str()), (422, "invalid"), "{account} {more}");
        assert_eq!(said.json()["faults"][0]["pointer"], json!(pointer), "{more}: {}", said.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_needs_to_be_named_and_a_public_register_needs_nobody() {
    let hub = TestHub::start().await;
    let mut unnamed = terms(&["query"], &[], json!([{"item": "name"}]), None);
    unnamed["systems"] = json!([]);
    unnamed["standing"] = json!([]);
    hub.grant("legal_entity.enterprise", "civil-affairs", "market-regulation", &unnamed).await;
    let body = json!({"sql": "SELECT count(*) AS n FROM legal_entity.enterprise", "purpose": PURPOSE});
    let said = hub.post(OPERATOR, "/v1/queries", &body).await;
    assert_eq!(said.rows()[0]["n"], json!(400));
    let said = hub.post(SYSTEM, "/v1/queries", &body).await.expect(403, "refused");
    assert_eq!(rules(&said), ["system-named"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_fitting_grants_must_be_told_apart() {
    let hub = TestHub::start().await;
    publish_csv(&hub, "city.notes", "key,note\na,1\nb,2\n", json!({})).await;
    let scoped = |value: &str| {
        let mut terms = note_terms();
        terms["scope"] = json!({"compare": {"item": "key", "op": "=", "value": value}});
        terms
    };
    let first = hub.grant("city.notes", "civil-affairs", "public-security", &scoped("a")).await;
    let second = hub.grant("city.notes", "civil-affairs", "public-security", &scoped("b")).await;
    let foreign = hub.grant("city.notes", "human-resources", "public-security", &scoped("a")).await;
    let mut other = scoped("a");
    other["purpose"] = json!("credit-review");
    let elsewhere = hub.grant("city.notes", "civil-affairs", "public-security", &other).await;
    let ask = async |grants: Value| {
        let body = json!({"sql": "SELECT key FROM city.notes", "purpose": PURPOSE, "case": "c", "operator": OPERATOR, "grants": grants});
        hub.post(OPERATOR, "/v1/queries", &body).await
    };
    let said = ask(json!([])).await.expect(409, "which_grant");
    let mut told: Vec<String> = serde_json::from_value(said.json()["grants"].clone()).expect("ids");
    told.sort();
    let mut own = vec![first.clone(), second.clone()];
    own.sort();
    assert_eq!(told, own, "the caller's own fitting grants and no other");
    assert!(said.receipt().is_some());
    assert_eq!(ask(json!([first])).await.rows(), [json!({"key": "a"})]);
    assert_eq!(ask(json!([second])).await.rows(), [json!({"key": "b"})]);
    ask(json!([first, second])).await.expect(409, "which_grant");
    assert_eq!(rules(&ask(json!([elsewhere])).await.expect(403, "refused")), ["purpose"]);
    let unknown = ask(json!(["grant_00000000000000000000000000000000"])).await.expect(404, "not_found");
    assert_eq!(ask(json!([foreign])).await.expect(404, "not_found").text(), unknown.text());
    let body = json!({"reason": "test"});
    hub.post(super::PROVIDER, &format!("/v1/grants/{first}/suspend"), &body).await.expect(200, "ok");
    assert_eq!(ask(json!([])).await.rows(), [json!({"key": "b"})], "one is left that fits");
    assert_eq!(rules(&ask(json!([first])).await.expect(403, "refused")), ["grant-active"]);
}
