//! Every format of an answer: the same rows, held and streamed, by query and by key, with a receipt over its bytes.

use std::collections::BTreeSet;

use arrow::array::{AsArray, RecordBatch};
use serde_json::{Value, json};

use super::{OPERATOR, big_body, publish_big, publish_csv};
use crate::support::{PURPOSE, Said, TestHub, terms};

const FORMATS: [(&str, &str); 5] = [
    ("application/json", "application/json"),
    ("application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.stream"),
    ("application/x-ndjson", "application/x-ndjson"),
    ("text/csv", "text/csv; charset=utf-8; header=present"),
    ("application/vnd.apache.parquet", "application/vnd.apache.parquet"),
];

async fn ask(hub: &TestHub, path: &str, accept: &str, body: &Value) -> Said {
    let call = hub.call("POST", OPERATOR, path).header("content-type", "application/json");
    let said = hub.send(call.header("accept", accept).body(body.to_string())).await;
    assert_eq!(said.status, 200, "{accept}: {}", said.text());
    said
}

fn cells(batches: impl Iterator<Item = RecordBatch>) -> Vec<Vec<Option<String>>> {
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| arrow::compute::cast(column, &arrow::datatypes::DataType::Utf8).expect("as text"))
            .collect();
        rows.extend((0..batch.num_rows()).map(|row| {
            let texts = columns.iter().map(|column| column.as_string::<i32>().iter().nth(row).flatten());
            texts.map(|text| text.map(str::to_owned)).collect()
        }));
    }
    rows
}

/// The rows of an answer as texts, read by a reader of the format.
fn rows(accept: &str, bytes: &[u8]) -> Vec<Vec<Option<String>>> {
    let text = |value: &Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let named = |row: &Value| vec![text(&row["key"]), text(&row["note"])];
    match accept {
        "application/json" => {
            let answer: Value = serde_json::from_slice(bytes).expect("JSON");
            answer["rows"].as_array().expect("rows").iter().map(named).collect()
        }
        "application/x-ndjson" => {
            let lines = std::str::from_utf8(bytes).expect("UTF-8").lines();
            lines.map(|line| named(&serde_json::from_str(line).expect("a line is JSON"))).collect()
        }
        "text/csv" => {
            let schema = arrow::datatypes::Schema::new(vec![
                arrow::datatypes::Field::new("key", arrow::datatypes::DataType::Utf8, true),
                arrow::datatypes::Field::new("note", arrow::datatypes::DataType::Utf8, true),
            ]);
            let reader = arrow::csv::ReaderBuilder::new(schema.into()).with_header(true).build(bytes);
            cells(reader.expect("CSV").map(|batch| batch.expect("rows")))
        }
        "application/vnd.apache.parquet" => {
            let folder = tempfile::tempdir().expect("folder");
            let path = folder.path().join("answer.parquet");
            std::fs::write(&path, bytes).expect("written");
            let file = std::fs::File::open(path).expect("open");
            let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file);
            let reader = reader.expect("Parquet").build().expect("a reader");
            cells(reader.map(|batch| batch.expect("rows")))
        }
        _ => {
            let reader = arrow::ipc::reader::StreamReader::try_new(bytes, None).expect("an Arrow stream");
            cells(reader.map(|batch| batch.expect("rows")))
        }
    }
}

/// Once the stream of the answer is closed on record.
async fn verified(hub: &TestHub, said: &Said) {
    let path = format!("/v1/receipts/{}", said.receipt().expect("a receipt"));
    let wait = async {
        loop {
            let proof = hub.get(OPERATOR, &path).await;
            if proof.json()["state"] == json!("recorded") {
                return proof;
            }
            tokio::task::yield_now().await;
        }
    };
    let proof =
        tokio::time::timeout(std::time::Duration::from_secs(30), wait).await.expect("recorded in time");
    let key = hub.hub.keys.verifier_key().to_owned();
    tongqu::audit::verify::verify_receipt(&proof.bytes, &key, Some(&said.bytes)).expect("it verifies");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_format_tells_the_same_rows_held_and_streamed() {
    let clock = tongqu::clock::Clock::fixed(crate::support::NOW_US);
    let hub = TestHub::start_with(clock, |config| config.engine.held_bytes_max = 64 << 10).await;
    publish_big(&hub, 5_000).await;
    for (sql, count) in [
        (
            "SELECT key, CASE WHEN key < 'k2' THEN NULL ELSE note END AS note FROM city.big ORDER BY key LIMIT 50",
            50,
        ),
        ("SELECT key, note FROM city.big ORDER BY key", 5_000),
    ] {
        let mut told: Option<Vec<Vec<Option<String>>>> = None;
        for (accept, media) in FORMATS {
            let said = ask(&hub, "/v1/queries", accept, &big_body(sql)).await;
            assert_eq!(said.headers["content-type"], media);
            let found = rows(accept, &said.bytes);
            assert_eq!(found.len(), count, "{accept}");
            let told = told.get_or_insert_with(|| found.clone());
            assert!(found == *told, "{accept} tells other rows than JSON");
            verified(&hub, &said).await;
        }
    }
    let keys: Vec<Value> = ["k7", "none", "k4999"].iter().map(|key| json!({"key": key})).collect();
    let body =
        json!({"resource": "city.big", "keys": keys, "purpose": PURPOSE, "case": "c", "operator": OPERATOR});
    for (accept, media) in FORMATS {
        let said = ask(&hub, "/v1/lookups", accept, &body).await;
        assert_eq!(said.headers["content-type"], media);
        if accept != "text/csv" && accept != "application/vnd.apache.parquet" && !accept.contains("arrow") {
            let notes: BTreeSet<Option<String>> =
                rows(accept, &said.bytes).into_iter().map(|row| row[1].clone()).collect();
            assert_eq!(notes.len(), 2, "{accept}");
        }
        verified(&hub, &said).await;
    }
}

/// Rows out of scope, and what a mask hides of the others, in no byte of an answer: not in a page, a buffer, a footer.
#[tokio::test(flavor = "multi_thread")]
async fn hidden_rows_and_masked_values_are_in_no_byte_of_any_format() {
    let hub = TestHub::start().await;
    let mut text = String::from("key,note\n");
    for row in 0..2_000 {
        let (seen, part) = if row % 2 == 0 { ("a", "CANARY-masked") } else { ("b", "CANARY-hidden") };
        text.push_str(&format!("{seen}{row},x{part}-{row}\n"));
    }
    publish_csv(&hub, "city.canary", &text, json!({})).await;
    let masked = json!([{"item": "key"}, {"item": "note", "mask": {"keep_first": 1}}]);
    let scope = json!({"compare": {"item": "key", "op": "like_prefix", "value": "a"}});
    let terms = terms(&["query", "lookup"], &["key"], masked, Some(scope));
    hub.grant("city.canary", "civil-affairs", "public-security", &terms).await;
    let sql = "SELECT key, note FROM city.canary WHERE key > 'a1' ORDER BY key DESC LIMIT 300";
    let keys = json!([{"key": "a0"}, {"key": "b1"}, {"key": "a2"}]);
    let lookup = json!({"resource": "city.canary", "keys": keys, "purpose": PURPOSE, "case": "c", "operator": OPERATOR});
    for (accept, _) in FORMATS {
        for (path, body) in [("/v1/queries", big_body(sql)), ("/v1/lookups", lookup.clone())] {
            let said = ask(&hub, path, accept, &body).await;
            let found = said.bytes.windows(6).any(|window| window == b"CANARY");
            assert!(!found, "{accept} {path}");
        }
    }
}
