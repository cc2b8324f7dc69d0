//! One resource, caller, terms and batch for this crate's unit tests; people in it are invented.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use catalog::Resource;
use serde_json::{Value, json};

use crate::{AccountKind, Caller, Identity, PseudonymKey, Scope, Terms};

pub(crate) const DAY_US: i64 = 86_400_000_000;

pub(crate) fn resource() -> Resource {
    let item = |name: &str, item_type: &str, more: Value| {
        let mut item = json!({"name": name, "title": name, "type": item_type, "classification": "personal"});
        item.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        item
    };
    let derived = json!({"derived_from": "id_number"});
    serde_json::from_value(json!({
        "name": "population.resident", "title": "人口", "abstract": "test", "provider": "public-security",
        "class": "conditional", "condition": "by application", "update_cycle": "daily",
        "items": [
            item("id_number", "text", json!({"key": true})),
            item("name", "text", json!({})),
            item("birth_date", "date", derived.clone()),
            item("sex", "text", derived.clone()),
            item("region", "text", derived),
            item("residence_code", "text", json!({})),
            item("salary", "integer", json!({})),
            item("balance", "decimal", json!({})),
            item("score", "float", json!({})),
            item("seen_at", "timestamp", json!({})),
            item("active", "boolean", json!({})),
            item("photo", "binary", json!({})),
            item("secret", "text", json!({"class": "withheld"})),
        ],
        "binding": {"files": {"format": "parquet", "path": "resident.parquet"}},
    }))
    .unwrap()
}

pub(crate) fn caller(attributes: &[(&str, &str)]) -> Caller {
    Caller::verified(Identity {
        account: "acc-1".to_owned(),
        kind: AccountKind::Person,
        department: "civil-affairs".into(),
        roles: BTreeSet::new(),
        attributes: attributes
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect::<BTreeMap<_, _>>(),
        valid_until: i64::MAX,
    })
}

pub(crate) fn master() -> PseudonymKey {
    PseudonymKey::master(&[7; 32])
}

/// Good terms, with the fields of `change` put over them.
pub(crate) fn terms(change: Value) -> Terms {
    let mut terms = json!({
        "operations": ["query", "lookup"], "input": ["id_number"],
        "output": [{"item": "name"}, {"item": "salary"}],
        "purpose": "benefits", "basis": "Order 809 art. 20", "standing": ["operator"],
        "valid_from": 0, "valid_until": DAY_US * 365,
        "rows_per_answer_max": 1_000, "rows_per_day_max": 10_000, "calls_per_minute_max": 60,
    });
    terms.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    serde_json::from_value(terms).unwrap()
}

pub(crate) fn scope(text: Value) -> Scope {
    serde_json::from_value(text).unwrap()
}

/// Four rows: full, other full, one of nulls, one of odd values.
pub(crate) fn batch() -> RecordBatch {
    let text = |cells: [Option<&str>; 4]| Arc::new(StringArray::from(cells.to_vec())) as ArrayRef;
    let columns: Vec<ArrayRef> = vec![
        text([Some("110101199001011234"), Some("640102198512310021"), None, Some("x")]),
        text([Some("张三丰"), Some("CANARY"), None, Some("李")]),
        Arc::new(Date32Array::from(vec![Some(7_305), Some(5_843), None, Some(-1)])),
        text([Some("1"), Some("2"), None, Some("?")]),
        text([Some("110101"), Some("640102"), None, Some("64")]),
        text([Some("110105"), Some("640105"), None, Some("")]),
        Arc::new(Int64Array::from(vec![Some(100), Some(200), None, Some(-1)])),
        Arc::new(
            Decimal128Array::from(vec![Some(12_500), Some(99_999), None, Some(-1)])
                .with_precision_and_scale(38, 4)
                .unwrap(),
        ),
        Arc::new(Float64Array::from(vec![Some(1.5), Some(-2.5), None, Some(f64::NAN)])),
        Arc::new(
            TimestampMicrosecondArray::from(vec![Some(0), Some(DAY_US * 400), None, Some(-1)])
                .with_timezone("UTC"),
        ),
        Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, Some(true)])),
        Arc::new(BinaryArray::from(vec![Some(b"a".as_slice()), Some(b"bb"), None, Some(b"")])),
        text([Some("s"), Some("s"), None, Some("s")]),
    ];
    RecordBatch::try_new(resource().schema(), columns).unwrap()
}
