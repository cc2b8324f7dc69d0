//! Terms: every fault when a grant is made, and narrowing.

use serde_json::{Value, json};

use super::*;
use crate::fixture::{resource, terms};

fn faults(change: Value) -> Vec<String> {
    let faults = terms(change).faults(&resource(), 0, &|purpose| purpose == "benefits");
    faults.0.into_iter().map(|fault| format!("{}: {}", fault.pointer, fault.message)).collect()
}

fn output(items: &[(&str, Value)]) -> Value {
    let items: Vec<Value> = items
        .iter()
        .map(
            |(item, mask)| {
                if mask.is_null() { json!({"item": item}) } else { json!({"item": item, "mask": mask}) }
            },
        )
        .collect();
    json!({"operations": ["query"], "input": [], "output": items})
}

#[test]
fn good_terms_have_no_fault() {
    let check = |change: Value| assert_eq!(faults(change.clone()), [""; 0], "{change}");
    let clear = Value::Null;
    check(json!({}));
    check(json!({"scope": {"is_null": "name"}}));
    check(json!({"operations": ["lookup"], "output": []}));
    check(json!({"rows_per_answer_max": 1_000_000}));
    check(output(&[("id_number", json!("pseudonym")), ("birth_date", clear.clone())]));
    check(output(&[("id_number", json!({"keep_last": 4})), ("birth_date", json!("year"))]));
    check(output(&[("id_number", json!({"keep_last": 4})), ("sex", clear.clone())]));
    check(output(&[("id_number", json!({"region_prefix": 4})), ("residence_code", clear.clone())]));
    check(output(&[("id_number", json!({"region_prefix": 2})), ("region", json!({"region_prefix": 2}))]));
    check(output(&[("id_number", json!({"keep_last": 4})), ("region", json!({"region_prefix": 2}))]));
    check(output(&[("id_number", clear.clone()), ("birth_date", clear.clone()), ("sex", clear)]));
}

#[test]
fn every_fault_says_where_and_what() {
    let check = |change: Value, pointer: &str, says: &str| {
        let told = faults(change.clone());
        let found =
            told.iter().any(|fault| fault.starts_with(&format!("{pointer}: ")) && fault.contains(says));
        assert!(found, "{change} -> {told:?}");
    };
    check(json!({"operations": []}), "/operations", "no operation");
    check(json!({"operations": ["query", "query"]}), "/operations/1", "twice");
    check(json!({"input": []}), "/input", "needs an input");
    check(json!({"output": []}), "/output", "needs an output");
    check(json!({"input": ["name"]}), "/input/0", "not a key");
    check(json!({"input": ["nosuch"]}), "/input/0", "no item");
    check(json!({"input": ["id_number", "id_number"]}), "/input/1", "twice");
    check(json!({"output": [{"item": "nosuch"}]}), "/output/0/item", "no item `nosuch`");
    check(json!({"output": [{"item": "name"}, {"item": "name"}]}), "/output/1", "twice");
    check(json!({"output": [{"item": "secret"}]}), "/output/0/item", "withheld");
    check(json!({"output": [{"item": "secret", "mask": "hide"}]}), "/output/0/item", "withheld");
    check(json!({"output": [{"item": "name", "mask": "year"}]}), "/output/0/mask", "dates");
    check(json!({"scope": {"is_null": "nosuch"}}), "/scope/is_null", "no item");
    check(json!({"purpose": "fun"}), "/purpose", "`fun` is not known");
    check(json!({"basis": " "}), "/basis", "1 to 2000");
    check(json!({"basis": "x".repeat(2001)}), "/basis", "1 to 2000");
    check(json!({"standing": []}), "/standing", "personal");
    check(json!({"systems": vec!["s"; 65]}), "/systems", "at most 64");
    check(json!({"joins": ["nosuch"]}), "/joins/0", "library.resource");
    check(json!({"valid_until": 0}), "/valid_until", "before it begins");
    check(json!({"valid_from": -2, "valid_until": 0}), "/valid_until", "over already");
    check(json!({"valid_until": i64::MAX}), "/valid_until", "longer than");
    check(json!({"valid_from": i64::MIN, "valid_until": i64::MAX}), "/valid_until", "longer than");
    check(json!({"rows_per_answer_max": 0}), "/rows_per_answer_max", "1 to 1000000");
    check(json!({"rows_per_answer_max": 1_000_001}), "/rows_per_answer_max", "1 to 1000000");
    check(json!({"rows_per_day_max": 0}), "/rows_per_day_max", "1 to");
    check(json!({"calls_per_minute_max": 0}), "/calls_per_minute_max", "1 to");
    check(
        json!({"output": [{"item": "id_number", "mask": "pseudonym"}]}),
        "/output/0/mask",
        "read back by asking",
    );
}

#[test]
fn a_mask_that_another_item_undoes_is_a_fault() {
    let check = |items: &[(&str, Value)], at: usize, says: &str| {
        let told = faults(output(items));
        let start = format!("/output/{at}/mask: ");
        assert!(
            told.len() == 1 && told[0].starts_with(&start) && told[0].contains(says),
            "{items:?} -> {told:?}"
        );
    };
    let clear = Value::Null;
    let origin = |mask: Value| ("id_number", mask);
    check(&[("birth_date", json!("year")), origin(clear.clone())], 0, "`id_number` in the same grant tells");
    check(&[("birth_date", json!("hide")), origin(clear.clone())], 0, "tells `birth_date`");
    check(&[origin(clear.clone()), ("sex", json!("hide"))], 1, "tells `sex`");
    check(&[("birth_date", json!("year")), origin(json!({"keep_first": 10}))], 0, "tells");
    check(&[("birth_date", json!("year")), origin(json!({"keep_last": 8}))], 0, "tells");
    check(&[("sex", json!("hide")), origin(json!({"keep_last": 4}))], 0, "tells");
    check(&[("region", json!({"region_prefix": 2})), origin(json!({"region_prefix": 6}))], 0, "tells");
    check(&[("region", json!({"region_prefix": 2})), origin(json!({"keep_first": 6}))], 0, "tells");
    check(&[origin(json!({"keep_last": 4})), ("birth_date", clear.clone())], 0, "give `id_number` back");
    check(&[origin(json!({"keep_first": 6})), ("sex", clear.clone()), ("region", clear.clone())], 0, "give");
    let parts = [("birth_date", clear.clone()), ("sex", clear.clone()), ("region", clear)];
    check(&[&[origin(json!("pseudonym"))], parts.as_slice()].concat(), 0, "give");
    check(&[&[origin(json!("hide"))], parts.as_slice()].concat(), 0, "give");
}

#[test]
fn granted_terms_are_within_the_applied_ones() {
    let scope = json!({"compare": {"item": "region", "op": "like_prefix", "value": "64"}});
    let other = json!({"is_null": "name"});
    let check = |applied: Value, granted: Value, expect: &[&str]| {
        let told = terms(granted.clone()).narrows(&terms(applied.clone()));
        let pointers: Vec<&str> = told.0.iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(pointers, expect, "{applied} -> {granted}");
    };
    let none = json!({});
    check(none.clone(), none.clone(), &[]);
    check(none.clone(), json!({"operations": ["query"], "input": []}), &[]);
    check(json!({"operations": ["query"]}), none.clone(), &["/operations/1"]);
    check(json!({"input": []}), none.clone(), &["/input/0"]);
    check(none.clone(), json!({"output": [{"item": "name", "mask": "hide"}]}), &[]);
    check(none.clone(), json!({"output": [{"item": "region"}]}), &["/output/0/item"]);
    check(
        json!({"output": [{"item": "name", "mask": "hide"}]}),
        json!({"output": [{"item": "name"}]}),
        &["/output/0/mask"],
    );
    check(
        json!({"output": [{"item": "name", "mask": "hide"}]}),
        json!({"output": [{"item": "name", "mask": {"keep_first": 1}}]}),
        &["/output/0/mask"],
    );
    check(none.clone(), json!({"scope": scope}), &[]);
    check(json!({"scope": scope}), none.clone(), &["/scope"]);
    check(json!({"scope": scope}), json!({"scope": scope}), &[]);
    check(json!({"scope": scope}), json!({"scope": {"all": [scope, other]}}), &[]);
    check(json!({"scope": scope}), json!({"scope": {"any": [scope, other]}}), &["/scope"]);
    check(json!({"scope": scope}), json!({"scope": other}), &["/scope"]);
    check(none.clone(), json!({"purpose": "audit"}), &["/purpose"]);
    check(none.clone(), json!({"basis": "other"}), &["/basis"]);
    check(none.clone(), json!({"valid_from": -1}), &["/valid_from"]);
    check(none.clone(), json!({"valid_from": 1, "valid_until": 2}), &[]);
    check(none.clone(), json!({"valid_until": DAY_US * 366}), &["/valid_until"]);
    check(none.clone(), json!({"rows_per_answer_max": 1_001}), &["/rows_per_answer_max"]);
    check(none.clone(), json!({"rows_per_day_max": 10_001}), &["/rows_per_day_max"]);
    check(none.clone(), json!({"calls_per_minute_max": 61}), &["/calls_per_minute_max"]);
    check(none.clone(), json!({"systems": ["s"]}), &["/systems/0"]);
    check(none.clone(), json!({"standing": [{"rule": "r"}]}), &["/standing/0"]);
    check(none.clone(), json!({"joins": ["a.b"]}), &["/joins/0"]);
    check(none, json!({"service_items": ["x"]}), &["/service_items/0"]);
}
