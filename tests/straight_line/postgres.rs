//! A department's PostgreSQL table through the whole hub: named connections only, masked and scoped, away and back.

use serde_json::{Value, json};
use tongqu::clock::Clock;

use super::OPERATOR;
use crate::postgres_base::PostgresBase;
use crate::postgres_server::{PASSWORD, PostgresServer};
use crate::support::{TestHub, terms};

fn entry(library: &str, provider: &str, binding: Value) -> Value {
    json!({
        "name": format!("{library}.person"), "title": "People", "abstract": "of a test", "provider": provider,
        "class": "conditional", "condition": "as granted", "update_cycle": "real_time", "binding": binding,
        "items": [
            {"name": "code", "title": "Code", "type": "text", "key": true, "classification": "general"},
            {"name": "name", "title": "Name", "type": "text", "classification": "personal"},
            {"name": "seats", "title": "Seats", "type": "integer", "classification": "general"},
        ],
    })
}

fn bound(connection: &str, table: &str) -> Value {
    json!({"postgres": {"connection": connection, "table": table}})
}

const PEOPLE: &str = "CREATE TABLE person (code text PRIMARY KEY, name text, seats int4);\
    INSERT INTO person VALUES ('a', '张三', 4), ('b', '李四', 2), ('c', '王五', NULL)";

#[tokio::test(flavor = "multi_thread")]
async fn only_a_department_the_operator_lists_binds_to_a_connection() {
    let base = PostgresBase::new().await;
    base.run(PEOPLE).await;
    let hub = TestHub::start_with(Clock::system(), |config| {
        config.sources.postgres.push(base.config("security", &["public-security"]));
    })
    .await;
    let market = "market-regulation";
    let refused = async |binding: Value| {
        let said = hub.publish("market-regulation.head", &entry("market", market, binding)).await;
        let said = said.expect(422, "invalid");
        (said.json()["faults"][0]["pointer"].as_str().unwrap_or("?").to_owned(), said.text())
    };
    let (pointer, text) = refused(bound("security", "person")).await;
    assert_eq!(pointer, "/binding");
    assert!(text.contains("ask the operator to list `market-regulation`"), "{text}");
    let (_, unknown) = refused(bound("security-2", "person")).await;
    assert_eq!(
        unknown.replace("security-2", "security"),
        text,
        "whether another one has it is nobody's business"
    );
    for (binding, at) in [
        (json!({"postgres": {"connection": "security", "table": "person", "host": "evil.test"}}), ""),
        (bound("postgres://hub@localhost/x", "person"), "/binding/postgres/connection"),
    ] {
        let (pointer, text) = refused(binding).await;
        assert!(pointer.starts_with(at) && !text.contains(PASSWORD), "{text}");
    }
    let own = entry("security", "public-security", bound("security", "person"));
    let said = hub.publish("public-security.head", &own).await;
    assert_eq!(said.status, 201, "{}", said.text());
    let seen = hub.get(OPERATOR, "/v1/resources/security.person").await;
    assert!(seen.json().get("binding").is_none(), "{}", seen.text());
    let mut none = entry("security", "public-security", bound("security", "nobody"));
    none["name"] = json!("security.nobody");
    let said = hub.publish("public-security.head", &none).await.expect(422, "invalid");
    assert_eq!(said.json()["faults"][0]["pointer"], "/binding/postgres/table");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_away_is_source_unavailable_and_comes_back_by_itself() {
    let server: &'static PostgresServer = Box::leak(Box::new(PostgresServer::start()));
    let base = PostgresBase::at(server).await;
    base.run(PEOPLE).await;
    let hub = TestHub::start_with(Clock::system(), |config| {
        config.sources.postgres.push(base.config("security", &["public-security"]));
        config.sources.postgres[0].connect_timeout_ms = 1_000;
    })
    .await;
    let own = entry("security", "public-security", bound("security", "person"));
    assert_eq!(hub.publish("public-security.head", &own).await.status, 201);
    let output = json!([{"item": "code"}, {"item": "name", "mask": {"keep_first": 1}}, {"item": "seats"}]);
    let scope = json!({"compare": {"item": "seats", "op": ">=", "value": 2}});
    let granted = terms(&["query", "lookup"], &["code"], output, Some(scope));
    hub.grant("security.person", "civil-affairs", "public-security", &granted).await;
    let sql = "SELECT code, name FROM security.person ORDER BY code";
    let keys = json!([{"code": "a"}, {"code": "c"}, {"code": "' OR ''='"}]);
    let up = async || {
        let said = hub.query(OPERATOR, sql).await;
        assert_eq!(
            said.rows(),
            [json!({"code": "a", "name": "张***"}), json!({"code": "b", "name": "李***"})]
        );
        let found = hub.lookup(OPERATOR, "security.person", keys.clone()).await.rows();
        assert_eq!(found.len(), 1, "the third has no seats, so it is out of scope: {found:?}");
        assert_eq!((&found[0]["key_index"], &found[0]["name"]), (&json!(0), &json!("张***")));
    };
    let down = async || {
        for said in
            [hub.query(OPERATOR, sql).await, hub.lookup(OPERATOR, "security.person", keys.clone()).await]
        {
            let said = said.expect(502, "source_unavailable");
            assert!(said.receipt().is_some(), "on record too");
            for word in ["connection", "postgres", "FATAL", "localhost", PASSWORD] {
                assert!(!said.text().contains(word), "{}", said.text());
            }
        }
    };
    up().await;
    server.order("stop");
    down().await;
    server.order("start");
    up().await;
    server.order("hang");
    down().await;
    server.order("wake");
    up().await;
    base.run("ALTER TABLE person RENAME seats TO chairs").await;
    down().await;
    base.run("ALTER TABLE person RENAME chairs TO seats").await;
    up().await;
    server.order("stop");
}
