//! Rows by declared key: the key is used and never echoed, a row says which key it answers.

use serde_json::{Value, json};

use super::{OPERATOR, note_terms, publish_csv};
use crate::support::{PURPOSE, TestHub, terms};

/// `(id number, residence code, birth date)` of every synthetic resident, read from the file itself.
pub fn residents(hub: &TestHub) -> Vec<(String, String)> {
    use arrow::array::AsArray;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    let file = std::fs::File::open(hub.sources().join("population/resident.parquet")).expect("residents");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet").build().expect("a reader");
    let mut found = Vec::new();
    for batch in reader {
        let batch = batch.expect("a batch");
        let column = |name: &str| batch.column_by_name(name).expect("a column").as_string::<i32>().clone();
        let (ids, codes) = (column("id_number"), column("residence_code"));
        for (id, code) in ids.iter().zip(codes.iter()) {
            if let (Some(id), Some(code)) = (id, code) {
                found.push((id.to_owned(), code.to_owned()));
            }
        }
    }
    found
}

fn key(id: &str) -> Value {
    json!({"id_number": id})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_found_by_key_and_the_key_is_not_told() {
    let hub = TestHub::start().await;
    hub.grant_residents().await;
    let people = residents(&hub);
    let inside: Vec<&str> =
        people.iter().filter(|(_, code)| code.starts_with("33")).map(|(id, _)| id.as_str()).take(3).collect();
    let outside = &people.iter().find(|(_, code)| !code.starts_with("33")).expect("somebody elsewhere").0;
    let nobody = "110101190001010015";
    let keys =
        json!([key(inside[1]), key(nobody), key(inside[0]), key(outside), key(inside[1]), key("x' OR 1=1")]);
    let said = hub.lookup(OPERATOR, "population.resident", keys).await;
    let rows = said.rows();
    let answered: Vec<&Value> = rows.iter().map(|row| &row["key_index"]).collect();
    assert!([0, 2, 4].iter().all(|index| answered.contains(&&json!(index))), "{answered:?}");
    assert!(
        ![1, 3, 5].iter().any(|index| answered.contains(&&json!(index))),
        "a miss has a row: {answered:?}"
    );
    for row in &rows {
        assert!(row.get("id_number").is_none(), "{row}");
        assert!(row["residence_code"].as_str().expect("code").starts_with("33"), "{row}");
        assert!(row["name"].as_str().expect("name").ends_with("***"), "{row}");
        assert!(row["birth_date"].as_str().expect("date").ends_with("-01-01"), "{row}");
    }
    for id in &inside {
        assert!(!said.text().contains(id), "the answer tells the key");
    }
    assert_eq!(said.json()["columns"][0], json!({"name": "key_index", "type": "integer"}));
    // A person outside the scope, one who does not exist and a key of another form: the same answer.
    let alone = async |id: &str| {
        let said = hub.lookup(OPERATOR, "population.resident", json!([key(id)])).await;
        let mut body = said.json();
        body["receipt"].take();
        (said.status, body)
    };
    let (hidden, missing) = (alone(outside).await, alone(nobody).await);
    assert_eq!(hidden, missing);
    assert_eq!((hidden.0, &hidden.1["rows"]), (200, &json!([])));
    assert_eq!(alone(inside[0]).await.1["rows"].as_array().map(Vec::len), Some(1));
    let entry = hub.audit("SELECT * FROM system.audit WHERE operation = 'lookup' ORDER BY index").await;
    let text = json!(entry).to_string();
    for id in inside.iter().copied().chain([outside.as_str()]) {
        assert!(!text.contains(id), "the record tells the key");
    }
    assert_eq!(entry[0]["subjects"].as_str().map(|text| text.split(',').count()), Some(6), "{}", entry[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lookup_gives_the_items_asked_for_of_those_granted() {
    let hub = TestHub::start().await;
    hub.grant_residents().await;
    let people = residents(&hub);
    let id = &people.iter().find(|(_, code)| code.starts_with("33")).expect("somebody").0;
    let ask = async |resource: &str, keys: Value, more: Value| {
        let mut body = json!({"resource": resource, "keys": keys, "purpose": PURPOSE, "case": "c", "operator": OPERATOR});
        for (member, value) in more.as_object().expect("members") {
            body[member] = value.clone();
        }
        hub.post(OPERATOR, "/v1/lookups", &body).await
    };
    let one = |items: Value| json!({ "items": items });
    let said = ask("population.resident", json!([key(id)]), one(json!(["sex", "name"]))).await;
    let columns = said.json()["columns"].clone();
    let names: Vec<&Value> =
        columns.as_array().expect("columns").iter().map(|column| &column["name"]).collect();
    assert_eq!(names, ["key_index", "sex", "name"], "in the order asked for");
    assert_eq!(said.rows()[0].as_object().map(serde_json::Map::len), Some(3));
    let resident = "population.resident";
    let missing = ask("population.nobody", json!([key(id)]), json!({})).await.expect(404, "not_found");
    for items in [
        json!(["residence_address"]),
        json!(["no_such_item"]),
        json!(["id_number"]),
        json!(["name", "nation"]),
    ] {
        let said = ask(resident, json!([key(id)]), one(items.clone())).await.expect(404, "not_found");
        assert_eq!(said.text(), missing.text(), "{items}");
    }
    for item in ["household_number", "residence_address", "name", "no_such_item", ""] {
        let said = ask(resident, json!([{item: "1"}]), json!({})).await.expect(404, "not_found");
        assert_eq!(said.text(), missing.text(), "{item}");
    }
    let invalid = [
        (json!([]), json!({}), "/keys"),
        (json!([{}]), json!({}), "/keys/0"),
        (json!([{"id_number": ""}]), json!({}), "/keys/0"),
        (json!([{"id_number": null}]), json!({}), "/keys/0"),
        (json!([{"id_number": 1.5}]), json!({}), "/keys/0"),
        (json!([{"id_number": [id]}]), json!({}), "/keys/0"),
        (json!([{"id_number": "9".repeat(257)}]), json!({}), "/keys/0"),
        (json!([key(id), {"name": "x"}]), json!({}), "/keys/1"),
        (json!([key(id), {"id_number": id, "name": "x"}]), json!({}), "/keys/1"),
        (json!(vec![key(id); 1_001]), json!({}), "/keys"),
        (json!([key(id)]), one(json!([])), "/items"),
        (json!([key(id)]), one(json!(["name", "name"])), "/items"),
    ];
    for (keys, more, pointer) in invalid {
        let said = ask(resident, keys, more).await.expect(422, "invalid");
        assert_eq!(said.json()["faults"][0]["pointer"], json!(pointer), "{}", said.text());
        assert!(!said.text().contains(id.as_str()), "the fault tells a key: {}", said.text());
        assert!(said.receipt().is_some(), "{}", said.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_several_rows_gives_them_all_and_rows_are_counted() {
    let hub = TestHub::start().await;
    publish_csv(&hub, "city.notes", "key,note\na,1\nb,2\na,3\n,4\na,5\n", json!({})).await;
    let mut few = note_terms();
    few["rows_per_answer_max"] = json!(4);
    hub.grant("city.notes", "civil-affairs", "public-security", &few).await;
    let said = hub.lookup(OPERATOR, "city.notes", json!([{"key": "b"}, {"key": "a"}])).await;
    let mut told: Vec<(u64, String)> = said
        .rows()
        .iter()
        .map(|row| {
            (row["key_index"].as_u64().expect("index"), row["note"].as_str().expect("note").to_owned())
        })
        .collect();
    told.sort();
    let expected = [(0, "2"), (1, "1"), (1, "3"), (1, "5")];
    assert_eq!(told, expected.map(|(index, note)| (index, note.to_owned())));
    let said = hub.lookup(OPERATOR, "city.notes", json!([{"key": "a"}, {"key": "a"}])).await;
    let said = said.expect(422, "too_many_rows");
    assert!(said.text().contains("more than 4 rows"), "{}", said.text());
    hub.lookup(OPERATOR, "city.notes", json!([{"key": "c"}])).await.expect(200, "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_item_cannot_be_read_by_query() {
    let hub = TestHub::start().await;
    hub.grant_residents().await;
    let only = terms(&["lookup"], &["subject"], json!([{"item": "kind"}]), None);
    hub.grant("credit.penalty", "civil-affairs", "credit-office", &only).await;
    for sql in [
        "SELECT id_number FROM population.resident",
        "SELECT name FROM population.resident WHERE id_number = '1'",
        "SELECT name FROM population.resident ORDER BY id_number",
        "SELECT count(DISTINCT id_number) AS n FROM population.resident",
    ] {
        hub.query(OPERATOR, sql).await.expect(404, "not_found");
    }
    let said = hub.query(OPERATOR, "SELECT kind FROM credit.penalty").await.expect(403, "refused");
    assert_eq!(said.json()["reasons"][0]["rule"], json!("operation"), "{}", said.text());
    let subject = hub.lookup(OPERATOR, "credit.penalty", json!([{"subject": "x"}])).await;
    assert_eq!(subject.rows(), Vec::<Value>::new());
}
