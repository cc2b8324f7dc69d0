//! Acts done once: idempotency keys, versions of an entry, and two at the same moment.

use serde_json::{Value, json};

use super::world::World;
use crate::support::{Said, terms};

const APPLICANT: &str = "civil-affairs.sharing-head";
const PROVIDER: &str = "public-security.sharing-head";
const HEAD: &str = "market-regulation.head";

async fn keyed(world: &World, account: &str, path: &str, key: &str, body: &Value) -> Said {
    let call = world.hub.call("POST", account, path).header("content-type", "application/json");
    world.hub.send(call.header("idempotency-key", key).body(body.to_string())).await
}

fn application() -> Value {
    let terms = terms(&["query"], &[], json!([{"item": "sex"}]), None);
    json!({"resource": "population.resident", "terms": terms})
}

async fn count(world: &World, sql: &str) -> u64 {
    world.hub.audit(sql).await[0]["n"].as_u64().expect("a count")
}

const APPLIED: &str = "SELECT count(*) AS n FROM system.audit WHERE operation = 'apply' AND code = 'ok' AND account = 'civil-affairs.sharing-head'";

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_key_gets_the_first_answer_and_does_nothing_more() {
    let world = World::new().await;
    let before = count(&world, APPLIED).await;
    let first = keyed(&world, APPLICANT, "/v1/applications", "key-1", &application()).await.expect(201, "ok");
    for _ in 0..3 {
        let again = keyed(&world, APPLICANT, "/v1/applications", "key-1", &application()).await;
        assert_eq!((again.status, again.text()), (201, first.text()));
    }
    assert_eq!(count(&world, APPLIED).await, before + 1);
    let mut other = application();
    other["terms"]["basis"] = json!("another");
    keyed(&world, APPLICANT, "/v1/applications", "key-1", &other).await.expect(409, "conflict");
    keyed(&world, APPLICANT, "/v1/grants", "key-1", &application()).await.expect(409, "conflict");
    let second =
        keyed(&world, APPLICANT, "/v1/applications", "key-2", &application()).await.expect(201, "ok");
    assert_ne!(second.json()["id"], first.json()["id"]);
    let theirs =
        keyed(&world, "human-resources.sharing-head", "/v1/applications", "key-1", &application()).await;
    assert_ne!(theirs.expect(201, "ok").json()["id"], first.json()["id"], "a key is its account's own");
    for key in ["", " ", "a b", &"k".repeat(129)] {
        let said = keyed(&world, APPLICANT, "/v1/applications", key, &application()).await;
        assert_eq!((said.status, said.code().as_str()), (422, "invalid"), "`{key}`: {}", said.text());
    }
    // The same key on another thing's path is another call.
    let reason = json!({"reason": "test"});
    let grant = |whose| format!("/v1/grants/{}/suspend", world.id("grant", whose));
    keyed(&world, "data-authority.authority", &grant("own"), "key-3", &reason).await.expect(200, "ok");
    keyed(&world, "data-authority.authority", &grant("other"), "key-3", &reason)
        .await
        .expect(409, "conflict");
    let again =
        keyed(&world, "data-authority.authority", &grant("own"), "key-3", &reason).await.expect(200, "ok");
    assert_eq!(again.json()["version"], json!(2));
    // A refusal is not kept: the same key may succeed when things have changed.
    let path = format!("/v1/grants/{}/resume", world.id("grant", "own"));
    keyed(&world, PROVIDER, &path, "key-4", &reason).await.expect(403, "refused");
    let restarted = world.hub.restart(tongqu::clock::Clock::fixed(crate::support::NOW_US)).await;
    let world = World { hub: restarted, ids: world.ids };
    let again = keyed(&world, APPLICANT, "/v1/applications", "key-1", &application()).await;
    assert_eq!((again.status, again.text()), (201, first.text()), "after a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn doubles_at_the_same_moment_have_one_effect() {
    let world = World::new().await;
    for round in 0..5 {
        let key = format!("double-{round}");
        let before = count(&world, APPLIED).await;
        let body = application();
        let calls = (0..8).map(|_| keyed(&world, APPLICANT, "/v1/applications", &key, &body));
        let said = futures::future::join_all(calls).await;
        let done: Vec<String> = said.iter().filter(|said| said.status == 201).map(Said::text).collect();
        assert!(!done.is_empty() && done.iter().all(|text| *text == done[0]), "{done:?}");
        assert!(said.iter().all(|said| said.status == 201 || said.status == 409), "{said:?}");
        assert_eq!(count(&world, APPLIED).await, before + 1, "round {round}");
        // Without a key, two answers to one application: one grant.
        let application: Value = serde_json::from_str(&done[0]).expect("JSON");
        let answer = json!({"application": application["id"]});
        let calls = (0..4).map(|_| world.hub.post(PROVIDER, "/v1/grants", &answer));
        let mut statuses: Vec<u16> =
            futures::future::join_all(calls).await.iter().map(|said| said.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409, 409, 409]);
    }
    let path = format!("/v1/grants/{}/suspend", world.id("grant", "own"));
    let reason = json!({"reason": "test"});
    let calls = (0..6).map(|_| world.hub.post(PROVIDER, &path, &reason));
    let done = futures::future::join_all(calls).await;
    assert_eq!(done.iter().filter(|said| said.status == 200).count(), 1, "{done:?}");
}

fn entry(title: &str) -> Value {
    json!({
        "name": "legal_entity.short", "title": title, "abstract": "t", "provider": "market-regulation",
        "class": "unconditional", "update_cycle": "daily",
        "items": [{"name": "uscc", "title": "t", "type": "text", "column": "uniscid", "key": true, "classification": "general"}],
        "binding": {"sqlite": {"path": "market-regulation/registry.sqlite", "table": "enterprise"}},
    })
}

async fn publish(world: &World, tag: Option<&str>, body: &Value) -> Said {
    let mut call = world.hub.call("POST", HEAD, "/v1/resources").header("content-type", "application/json");
    if let Some(tag) = tag {
        call = call.header("if-match", tag);
    }
    world.hub.send(call.body(body.to_string())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_follows_the_one_that_was_read() {
    let world = World::new().await;
    publish(&world, Some("\"res_x.1\""), &entry("none yet")).await.expect(412, "conflict");
    let first = publish(&world, None, &entry("one")).await.expect(201, "ok").json();
    publish(&world, None, &entry("two")).await.expect(428, "conflict");
    let path = format!("/v1/resources/{}", first["id"].as_str().expect("an id"));
    let tag = world.hub.get(HEAD, &path).await.headers["etag"].clone();
    for stale in ["\"x\"", "x", "", &tag.replace(".1", ".2"), tag.trim_matches('"')] {
        publish(&world, Some(stale), &entry("two")).await.expect(412, "conflict");
    }
    let second = publish(&world, Some(&tag), &entry("two")).await.expect(201, "ok").json();
    assert_eq!((&second["id"], &second["version"]), (&first["id"], &json!(2)));
    publish(&world, Some(&tag), &entry("three")).await.expect(412, "conflict");
    let read = world.hub.get("civil-affairs.operator", "/v1/resources/legal_entity.short").await;
    assert_eq!(read.json()["title"], json!("two"));
    assert!(read.json().get("binding").is_none(), "where the bytes are is the provider's own business");
    let tag = read.headers["etag"].clone();
    let next = entry("at once");
    let calls = (0..6).map(|_| publish(&world, Some(&tag), &next));
    let done = futures::future::join_all(calls).await;
    assert_eq!(done.iter().filter(|said| said.status == 201).count(), 1, "{done:?}");
    assert!(done.iter().all(|said| [201, 409, 412].contains(&said.status)), "{done:?}");
    let mut stolen = entry("stolen");
    stolen["name"] = json!("population.resident");
    publish(&world, None, &stolen).await.expect(409, "conflict");
}

/// What an act's refusal leaves on record, whichever step refuses it.
#[tokio::test(flavor = "multi_thread")]
async fn an_act_refused_before_it_is_read_is_on_record() {
    let hub = crate::support::TestHub::start().await;
    let call = |body: &'static str, media: &'static str, key: &'static str| {
        hub.call("POST", "civil-affairs.sharing-head", "/v1/applications")
            .header("content-type", media)
            .header("idempotency-key", key)
            .body(body)
    };
    hub.send(call("{}", "text/plain", "a")).await.expect(415, "invalid");
    hub.send(call("{}", "application/json", "a b")).await.expect(422, "invalid");
    hub.send(call("not json", "application/json", "b")).await.expect(422, "invalid");
    let entries = hub
        .audit("SELECT status FROM system.audit WHERE kind = 'act' AND operation = 'apply' ORDER BY index")
        .await;
    let statuses: Vec<i64> = entries.iter().filter_map(|entry| entry["status"].as_i64()).collect();
    assert_eq!(statuses, [415, 422, 422]);
}

/// A reviewer had published another department's file as its own, reclassified it and read it.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_binds_only_what_lies_in_its_own_folder() {
    let hub = crate::support::TestHub::start().await;
    for path in ["legal_entity/registry.sqlite", "public-security/registry.sqlite", "registry.sqlite"] {
        let mut entry = entry("t");
        entry["binding"]["sqlite"]["path"] = json!(path);
        let said = hub.publish(HEAD, &entry).await.expect(422, "invalid");
        assert_eq!(said.json()["faults"][0]["pointer"], "/binding", "{path}");
    }
    hub.publish(HEAD, &entry("t")).await.expect(201, "ok");
}

/// The time of the statement is one instant and needs no data.
#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_a_statement_is_the_same_throughout() {
    let hub = crate::support::TestHub::start().await;
    let said = hub
        .query("civil-affairs.operator", "SELECT now() = now() AS same, current_date IS NULL AS none")
        .await;
    assert_eq!(said.rows(), [json!({"same": true, "none": false})]);
}
