//! Look-ups by key: true values find masked rows, hidden rows and missing ones look alike, keys stay data.

use serde_json::{Value, json};

use super::fixture::{COPY, GOVERNED};
use super::range::{ATTACKER, Range};
use crate::support::{PURPOSE, Said};

/// A visible person's true number, and a hidden one's.
const SHOWN: &str = "310101199007130010";
const HIDDEN: &str = "110101199001011234";
const NOBODY: &str = "110101200001011235";

#[tokio::test(flavor = "multi_thread")]
async fn keys_find_what_the_grant_shows_and_nothing_else() {
    let range = Range::open().await;
    for library in GOVERNED {
        true_keys(&range, library).await;
        hidden_is_missing(&range, library).await;
        as_the_copy(&range, library).await;
        no_keys(&range, library).await;
        names(&range, library).await;
        range.alive().await.expect("alive");
    }
    range.finish().await;
}

async fn true_keys(range: &Range, library: &str) {
    let id = "L: a true key finds the masked row, which does not echo the key";
    let said = range.lookup(id, library, "population", &json!([{"id_card": SHOWN}]), &Value::Null).await;
    let row = json!({"key_index": 0, "id": 3, "name": "张***", "id_card": "***", "birth": "1990-01-01", "region": "310000"});
    assert_eq!(said.rows(), [row], "{library}");
    let id = "L: the mask is no key";
    for mask in ["***", "3101*", ""] {
        let said = range.lookup(id, library, "population", &json!([{"id_card": mask}]), &Value::Null).await;
        assert!(said.code() == "invalid" || said.rows().is_empty(), "{library} {mask}: {}", said.text());
    }
}

async fn hidden_is_missing(range: &Range, library: &str) {
    let id = "L: a hidden row's key answers as one that is not there";
    let mut shapes = Vec::new();
    for key in [HIDDEN, NOBODY] {
        let said = range.lookup(id, library, "population", &json!([{"id_card": key}]), &Value::Null).await;
        assert!(said.rows().is_empty(), "{library}: {}", said.text());
        shapes.push(shape(&said));
    }
    for key in [json!(1), json!("1"), json!(4), json!(999)] {
        let said = range.lookup(id, library, "pay", &json!([{"id": key}]), &json!(["salary"])).await;
        assert!(said.rows().is_empty(), "{library}: {}", said.text());
    }
    assert_eq!(shapes[0], shapes[1], "{library}");
    let id = "L: hidden and missing keys among shown ones leave no gap but their index";
    let keys = json!([{"id": 1}, {"id": 5}, {"id": 999}, {"id": 5}, {"id": 13}]);
    let said = range.lookup(id, library, "pay", &keys, &json!(["id"])).await;
    let mut found: Vec<(i64, i64)> = said
        .rows()
        .iter()
        .map(|row| (row["key_index"].as_i64().expect("an index"), row["id"].as_i64().expect("an id")))
        .collect();
    found.sort_unstable();
    assert_eq!(found, [(1, 5), (3, 5), (4, 13)], "{library}");
}

/// Bytes without receipt and date.
fn shape(said: &Said) -> (u16, Vec<String>, String) {
    let text = said.text();
    let end = text.rfind(",\"receipt\":").unwrap_or(text.len());
    (said.status, said.headers.keys().cloned().collect(), text[..end].to_owned())
}

/// The same keys of the copy give the same rows.
async fn as_the_copy(range: &Range, library: &str) {
    let id = "L: look-ups as those of the copy";
    for (table, keys) in [
        ("pay", json!([{"name": "1"}, {"name": "CANARY-pay-1"}, {"name": "7"}])),
        ("pay", json!((0..1_000).map(|id| json!({"id": id})).collect::<Vec<_>>())),
        ("legal_entity", json!([{"id": 1}, {"id": "2"}, {"id": -1}, {"id": "9223372036854775807"}])),
        ("legal_entity", json!([{"id": "1.0"}])),
        ("legal_entity", json!([{"id": " 1"}])),
        ("legal_entity", json!([{"id": "01"}])),
        ("legal_entity", json!([{"id": "1e0"}])),
        ("legal_entity", json!([{"id": "9223372036854775808"}])),
    ] {
        let mut answers = Vec::new();
        for library in [library, COPY] {
            let said = range.lookup(id, library, table, &keys, &Value::Null).await;
            assert_eq!(said.status, 200, "{library}.{table} {keys}: {}", said.text());
            let mut rows: Vec<String> = said.rows().iter().map(Value::to_string).collect();
            rows.sort();
            answers.push((said.json()["columns"].clone(), rows));
        }
        assert_eq!(answers[0], answers[1], "{library}.{table} {keys}");
    }
}

/// What is no key is told as a fault, and what only looks like SQL is a text that nobody has.
async fn no_keys(range: &Range, library: &str) {
    let many: Vec<Value> = (0..1_001).map(|id| json!({"id": id})).collect();
    for (id, keys, code) in [
        ("L: SQL in a key is text", json!([{"name": "1' OR '1'='1"}]), "ok"),
        ("L: SQL in a key is text", json!([{"name": "1; DROP TABLE pay; --"}]), "ok"),
        ("L: wildcards are text", json!([{"name": "%"}, {"name": "_"}, {"name": "*"}]), "ok"),
        ("L: NUL is text", json!([{"name": "1\u{0}"}, {"name": "\u{0}"}]), "ok"),
        ("L: a bell is text", json!([{"name": "\u{7}\u{1b}[31m\r\n"}]), "ok"),
        ("L: an empty key", json!([{"name": ""}]), "invalid"),
        ("L: a key of 10 KB", json!([{"name": "x".repeat(10_240)}]), "invalid"),
        ("L: a float", json!([{"id": 5.5}]), "invalid"),
        ("L: a float that is whole", json!([{"id": 5.0}]), "invalid"),
        ("L: an array", json!([{"id": [5]}]), "invalid"),
        ("L: an object", json!([{"id": {"=": 5}}]), "invalid"),
        ("L: null", json!([{"id": null}]), "invalid"),
        ("L: true", json!([{"id": true}]), "invalid"),
        ("L: beyond 64 bits", json!([{"id": 18_446_744_073_709_551_615_u64}]), "invalid"),
        ("L: no key", json!([]), "invalid"),
        ("L: a key without item", json!([{}]), "invalid"),
        ("L: two items in a key", json!([{"id": 5, "name": "1"}]), "invalid"),
        ("L: two items in turn", json!([{"id": 5}, {"name": "1"}]), "invalid"),
        ("L: keys as an object", json!({"id": 5}), "invalid"),
        ("L: keys as text", json!("id=5"), "invalid"),
        ("L: 1,001 keys", json!(many), "invalid"),
        ("L: an item that is no key", json!([{"salary": 200}]), "not_found"),
        ("L: a denied item", json!([{"bonus": 7}]), "not_found"),
        ("L: an item that is not there", json!([{"nosuch": 1}]), "not_found"),
        ("L: an item as SQL", json!([{"id = 1 OR 1": 1}]), "not_found"),
        ("L: the answer's own item", json!([{"key_index": 1}]), "not_found"),
    ] {
        let said = range.lookup(id, library, "pay", &keys, &Value::Null).await;
        assert_eq!(said.code(), code, "{library} {id}: {}", said.text());
        if code == "ok" {
            assert!(said.rows().is_empty(), "{library} {id}: {}", said.text());
        }
    }
    let said = range
        .lookup("L: a masked item", library, "population", &json!([{"name": "张***"}]), &Value::Null)
        .await;
    assert_eq!(said.code(), "not_found", "{}", said.text());
}

/// Resources and items that are not the caller's are the one answer.
async fn names(range: &Range, library: &str) {
    let missing = range.lookup("L: missing", "no_such", "table", &json!([{"id": 1}]), &Value::Null).await;
    assert_eq!((missing.status, missing.code().as_str()), (404, "not_found"));
    for (resource, keys, items) in [
        ("credit", json!([{"id": 1}]), Value::Null),
        ("credit", json!([{"nosuch": 1}]), Value::Null),
        ("Pay", json!([{"id": 5}]), Value::Null),
        ("pay ", json!([{"id": 5}]), Value::Null),
        ("pay;", json!([{"id": 5}]), Value::Null),
        ("pay", json!([{"bonus": 7_770_010_000_000_001_i64}]), Value::Null),
        ("pay", json!([{"id": 5}]), json!(["bonus"])),
        ("pay", json!([{"id": 1}]), json!(["bonus"])),
        ("pay", json!([{"id": 5}]), json!(["id", "nosuch"])),
        ("pay", json!([{"id": 5}]), json!(["key_index"])),
        ("pay", json!([{"id": 5}]), json!(["*"])),
        ("population", json!([{"phone": "13800000001"}]), Value::Null),
    ] {
        let said = range.lookup("L: not yours", library, resource, &keys, &items).await;
        assert_eq!((said.status, &said.bytes), (404, &missing.bytes), "{library}.{resource} {keys}");
    }
    for items in [json!(["id", "id"]), json!([]), json!("id"), json!([1])] {
        let said = range.lookup("L: items", library, "pay", &json!([{"id": 5}]), &items).await;
        assert_eq!(said.code(), "invalid", "{items}: {}", said.text());
    }
    let body = json!({
        "resource": "system.audit", "keys": [{"index": 1}], "purpose": PURPOSE, "case": "c", "operator": ATTACKER,
    });
    let said = range.post("L: the record", ATTACKER, "/v1/lookups", &body).await;
    assert_eq!((said.status, &said.bytes), (404, &missing.bytes));
}
