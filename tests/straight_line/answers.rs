//! What an answer is: JSON or Arrow of the same rows, live from the source, joined only where all agree.

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};

use super::{OPERATOR, note_terms, publish_csv};
use crate::support::{PURPOSE, Said, TestHub, terms};

async fn ask_as(hub: &TestHub, accept: &str, sql: &str) -> Said {
    let body = json!({"sql": sql, "purpose": PURPOSE, "case": "c", "operator": OPERATOR});
    let call = hub.call("POST", OPERATOR, "/v1/queries").header("content-type", "application/json");
    hub.send(call.header("accept", accept).body(body.to_string())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn arrow_and_json_tell_the_same() {
    let hub = TestHub::start().await;
    hub.grant_residents().await;
    let sql = "SELECT name, sex, birth_date, char_length(residence_code) AS length FROM population.resident ORDER BY residence_code, name, birth_date, sex";
    let told = hub.query(OPERATOR, sql).await.rows();
    let media = "application/vnd.apache.arrow.stream";
    let said = ask_as(&hub, media, sql).await;
    assert_eq!((said.status, said.headers["content-type"].as_str()), (200, media));
    let reader =
        arrow::ipc::reader::StreamReader::try_new(said.bytes.as_slice(), None).expect("an Arrow stream");
    let mut rows = Vec::new();
    for batch in reader {
        let batch = batch.expect("a batch");
        let shown = |name: &str| {
            let column = arrow::compute::cast(
                batch.column_by_name(name).expect("a column"),
                &arrow::datatypes::DataType::Utf8,
            );
            column.expect("as text").as_string::<i32>().clone()
        };
        let (names, sexes, dates) = (shown("name"), shown("sex"), shown("birth_date"));
        let lengths = arrow::compute::cast(
            batch.column_by_name("length").expect("length"),
            &arrow::datatypes::DataType::Int64,
        );
        let lengths = lengths.expect("integers").as_primitive::<Int64Type>().clone();
        let text = |column: &arrow::array::StringArray, row: usize| {
            if column.is_null(row) { Value::Null } else { json!(column.value(row)) }
        };
        rows.extend((0..batch.num_rows()).map(|row| json!({
            "name": text(&names, row), "sex": text(&sexes, row), "birth_date": text(&dates, row), "length": lengths.value(row),
        })));
    }
    assert!(rows.len() > 100);
    assert_eq!(rows, told);
    let receipt = said.receipt().expect("a receipt");
    let proof = hub.get(OPERATOR, &format!("/v1/receipts/{receipt}")).await;
    let key = hub.hub.keys.verifier_key().to_owned();
    tongqu::audit::verify::verify_receipt(&proof.bytes, &key, Some(&said.bytes)).expect("it verifies");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_departments_database_is_read_as_it_is_now() {
    let hub = TestHub::start().await;
    let clear = json!([{"item": "uscc"}, {"item": "name"}, {"item": "status"}]);
    let register = terms(&["query", "lookup"], &["uscc"], clear, None);
    hub.grant("legal_entity.enterprise", "civil-affairs", "market-regulation", &register).await;
    let first = hub
        .query(OPERATOR, "SELECT uscc, name FROM legal_entity.enterprise ORDER BY uscc LIMIT 1")
        .await
        .rows();
    let uscc = first[0]["uscc"].as_str().expect("a code").to_owned();
    let url = format!("sqlite://{}", hub.sources().join("legal_entity/registry.sqlite").display());
    let mut source = SqliteConnection::connect(&url).await.expect("the department's own connection");
    let rename = async |source: &mut SqliteConnection, name: &str| {
        sqlx::query("UPDATE enterprise SET entname = $1 WHERE uniscid = $2")
            .bind(name.to_owned())
            .bind(uscc.clone())
            .execute(source)
            .await
            .expect("updated");
    };
    let read = async || {
        let said = hub
            .query_with(OPERATOR, "SELECT name FROM legal_entity.enterprise WHERE uscc = $1", json!([uscc]))
            .await;
        let found = hub.lookup(OPERATOR, "legal_entity.enterprise", json!([{"uscc": uscc}])).await;
        assert_eq!(said.rows()[0]["name"], found.rows()[0]["name"]);
        said.rows()[0]["name"].clone()
    };
    for name in ["改名一号有限公司", "改名二号有限公司"] {
        assert_ne!(read().await, json!(name));
        rename(&mut source, name).await;
        assert_eq!(read().await, json!(name), "a committed change is seen at once");
    }
    sqlx::query("BEGIN IMMEDIATE").execute(&mut source).await.expect("begun");
    rename(&mut source, "never committed").await;
    assert_eq!(read().await, json!("改名二号有限公司"), "an open transaction is not");
    sqlx::query("ROLLBACK").execute(&mut source).await.expect("rolled back");
    sqlx::query("DELETE FROM enterprise WHERE uniscid = $1")
        .bind(&uscc)
        .execute(&mut source)
        .await
        .expect("deleted");
    let said = hub.lookup(OPERATOR, "legal_entity.enterprise", json!([{"uscc": uscc}])).await;
    assert_eq!(said.rows(), Vec::<Value>::new());
}

const JOINED: &str = "SELECT count(*) AS n FROM city.left AS l JOIN city.right AS r ON l.key = r.key";

#[tokio::test(flavor = "multi_thread")]
async fn personal_resources_are_joined_only_where_both_grants_say_so() {
    let hub = TestHub::start().await;
    publish_csv(&hub, "city.left", "key,note\na,1\nb,2\n", json!({})).await;
    publish_csv(&hub, "city.right", "key,note\nb,3\nc,4\n", json!({})).await;
    let with = |joins: Value| {
        let mut terms = note_terms();
        terms["joins"] = joins;
        terms
    };
    let grant = async |resource: &str, joins: Value| {
        hub.grant(resource, "civil-affairs", "public-security", &with(joins)).await
    };
    let end = async |id: String| {
        let path = format!("/v1/grants/{id}/revoke");
        hub.post(super::PROVIDER, &path, &json!({"reason": "test"})).await.expect(200, "ok");
    };
    let left = grant("city.left", json!([])).await;
    let right = grant("city.right", json!(["city.left"])).await;
    let said = hub.query(OPERATOR, JOINED).await.expect(403, "refused");
    assert_eq!(said.json()["reasons"][0]["rule"], json!("join-granted"), "{}", said.text());
    end(left).await;
    let left = grant("city.left", json!(["city.right"])).await;
    let named = async |grants: Value| {
        let body =
            json!({"sql": JOINED, "purpose": PURPOSE, "case": "c", "operator": OPERATOR, "grants": grants});
        hub.post(OPERATOR, "/v1/queries", &body).await
    };
    assert_eq!(named(json!([left, right])).await.rows()[0]["n"], json!(1));
    end(right).await;
    let right = grant("city.right", json!([])).await;
    named(json!([left, right])).await.expect(403, "refused");
    let said =
        hub.query(OPERATOR, "SELECT (SELECT count(*) FROM city.right) AS n FROM city.left LIMIT 1").await;
    said.expect(403, "refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_can_forbid_a_join_whatever_grants_say() {
    let hub = TestHub::start().await;
    publish_csv(&hub, "city.left", "key,note\na,1\n", json!({"never_join": ["city.right"]})).await;
    publish_csv(&hub, "city.right", "key,note\na,3\n", json!({})).await;
    for (one, other) in [("city.left", "city.right"), ("city.right", "city.left")] {
        let mut terms = note_terms();
        terms["joins"] = json!([other]);
        hub.grant(one, "civil-affairs", "public-security", &terms).await;
    }
    for sql in [JOINED, "SELECT key FROM city.right UNION ALL SELECT key FROM city.left"] {
        let said = hub.query(OPERATOR, sql).await.expect(403, "refused");
        assert_eq!(said.json()["reasons"][0]["rule"], json!("never-join"), "{}", said.text());
    }
    for alone in ["SELECT key FROM city.left", "SELECT key FROM city.right"] {
        hub.query(OPERATOR, alone).await.expect(200, "ok");
    }
}
