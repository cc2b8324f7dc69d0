//! Scopes: every fault, three-valued judgement, unset attributes.

use serde_json::{Value as Json, json};

use super::literal::successor;
use super::*;
use crate::fixture::{batch, caller, resource, scope};

/// The first fault as `pointer: message`, or nothing.
fn fault(text: Json) -> Option<String> {
    let faults = scope(text).faults(&resource(), "/scope");
    faults.0.first().map(|fault| format!("{}: {}", fault.pointer, fault.message))
}

fn compare(item: &str, op: &str, value: Json) -> Json {
    json!({"compare": {"item": item, "op": op, "value": value}})
}

#[test]
fn good_scopes_have_no_fault() {
    let check = |text: Json| assert_eq!(fault(text.clone()), None, "{text}");
    check(compare("residence_code", "like_prefix", json!("64")));
    check(compare("residence_code", "like_prefix", json!({"caller": "region_code"})));
    check(compare("residence_code", "=", json!({"caller": "department"})));
    check(compare("salary", ">=", json!(-5)));
    check(compare("balance", "<", json!(1.25)));
    check(compare("balance", "<", json!("1234567890123456789012345678901234.5678")));
    check(compare("score", "<>", json!(1)));
    check(compare("birth_date", "<=", json!("2000-02-29")));
    check(compare("seen_at", ">", json!("2000-02-29T23:59:59.999999Z")));
    check(compare("active", "<>", json!(true)));
    check(json!({"in": {"item": "salary", "values": [1, 2, 3]}}));
    check(json!({"is_null": "photo"}));
    check(json!({"not": {"any": [{"is_null": "salary"}, compare("salary", "=", json!(1))]}}));
}

#[test]
fn every_fault_says_where_and_what() {
    let check = |text: Json, pointer: &str, says: &str| {
        let told = fault(text.clone()).unwrap_or_else(|| panic!("no fault in {text}"));
        assert!(told.starts_with(&format!("{pointer}: ")) && told.contains(says), "{text} -> {told}");
    };
    check(compare("nosuch", "=", json!(1)), "/scope/compare/item", "no item `nosuch`");
    check(json!({"is_null": "nosuch"}), "/scope/is_null", "no item");
    check(json!({"in": {"item": "nosuch", "values": [1]}}), "/scope/in/item", "no item");
    check(json!({"in": {"item": "salary", "values": []}}), "/scope/in/values", "1 to 256");
    check(json!({"in": {"item": "salary", "values": vec![1; 257]}}), "/scope/in/values", "1 to 256");
    check(json!({"in": {"item": "salary", "values": [1, "2"]}}), "/scope/in/values/1", "whole number");
    check(json!({"in": {"item": "photo", "values": ["x"]}}), "/scope/in/values/0", "`is_null`");
    check(json!({"all": []}), "/scope/all", "empty");
    check(json!({"any": []}), "/scope/any", "empty");
    check(json!({"not": {"all": [{"is_null": "x"}]}}), "/scope/not/all/0/is_null", "no item");
    check(compare("salary", "=", json!("5")), "/scope/compare/value", "whole number");
    check(compare("salary", "=", json!(5.5)), "/scope/compare/value", "whole number");
    check(compare("name", "=", json!(5)), "/scope/compare/value", "a text");
    check(compare("name", "=", json!("x".repeat(257))), "/scope/compare/value", "256 characters");
    check(compare("balance", "=", json!(1.23456)), "/scope/compare/value", "4 decimal places");
    check(compare("balance", "=", json!("1e3")), "/scope/compare/value", "decimal");
    // Stored as JSON and read again it would be the next number.
    check(compare("score", "<", json!(1.1844674407370955e20)), "/scope/compare/value", "15 digits");
    check(compare("balance", "=", json!("")), "/scope/compare/value", "decimal");
    check(compare("balance", "=", json!("9".repeat(35))), "/scope/compare/value", "decimal");
    check(compare("score", "=", json!(9_007_199_254_740_993_i64)), "/scope/compare/value", "a number");
    check(compare("birth_date", "=", json!("2001-02-29")), "/scope/compare/value", "a date");
    check(compare("seen_at", "=", json!("2001-02-28")), "/scope/compare/value", "UTC time");
    check(compare("active", "<", json!(true)), "/scope/compare/value", "`=` and `<>`");
    check(compare("active", "=", json!(1)), "/scope/compare/value", "true or false");
    check(compare("photo", "=", json!("x")), "/scope/compare/value", "`is_null`");
    check(compare("salary", "like_prefix", json!(6)), "/scope/compare/value", "does not fit");
    check(compare("name", "like_prefix", json!("")), "/scope/compare/value", "at least one");
    check(compare("name", "=", json!({"caller": "rank"})), "/scope/compare/value", "no attribute `rank`");
    check(compare("salary", "=", json!({"caller": "account"})), "/scope/compare/value", "is text");
}

#[test]
fn size_is_bounded() {
    let leaf = || json!({"is_null": "salary"});
    let mut deep = leaf();
    for _ in 0..7 {
        deep = json!({"not": deep});
    }
    assert_eq!(fault(deep.clone()), None);
    let deeper = json!({"not": deep});
    assert!(fault(deeper.clone()).unwrap().contains("at most 8 deep"));
    assert!(scope(deeper).bind(&resource(), &caller(&[])).is_err());
    assert_eq!(fault(json!({"all": vec![leaf(); 63]})), None);
    assert!(fault(json!({"all": vec![leaf(); 64]})).unwrap().contains("at most 64 parts"));
}

/// Rows of the fixture that a scope keeps.
fn kept(text: Json, attributes: &[(&str, &str)]) -> Vec<usize> {
    let batch = batch();
    let bound = scope(text).bind(&resource(), &caller(attributes)).unwrap();
    let keep = bound.keep(&|index| batch.columns().get(index)).unwrap();
    (0..keep.len()).filter(|row| keep.value(*row)).collect()
}

#[test]
fn a_row_is_kept_only_when_true() {
    let check = |text: Json, expect: &[usize]| assert_eq!(kept(text.clone(), &[]), expect, "{text}");
    check(compare("salary", "=", json!(100)), &[0]);
    check(compare("salary", "<>", json!(100)), &[1, 3]);
    check(json!({"not": compare("salary", "=", json!(100))}), &[1, 3]);
    check(compare("salary", "<", json!(100)), &[3]);
    check(compare("salary", "<=", json!(100)), &[0, 3]);
    check(compare("salary", ">", json!(100)), &[1]);
    check(compare("salary", ">=", json!(100)), &[0, 1]);
    check(compare("balance", "=", json!("1.25")), &[0]);
    check(compare("balance", "=", json!(1.25)), &[0]);
    check(compare("balance", "<", json!(0)), &[3]);
    check(compare("birth_date", "=", json!("1990-01-01")), &[0]);
    check(compare("seen_at", "<", json!("1970-01-01T00:00:00Z")), &[3]);
    check(compare("active", "=", json!(true)), &[0, 3]);
    check(compare("score", "<", json!(0)), &[1]);
    check(compare("residence_code", "like_prefix", json!("64")), &[1]);
    check(json!({"not": compare("residence_code", "like_prefix", json!("64"))}), &[0, 3]);
    check(json!({"is_null": "salary"}), &[2]);
    check(json!({"not": {"is_null": "salary"}}), &[0, 1, 3]);
    check(json!({"in": {"item": "salary", "values": [100, -1]}}), &[0, 3]);
    check(json!({"not": {"in": {"item": "salary", "values": [100]}}}), &[1, 3]);
    check(json!({"any": [compare("salary", "=", json!(100)), {"is_null": "name"}]}), &[0, 2]);
    check(json!({"all": [compare("salary", ">", json!(0)), compare("sex", "=", json!("2"))]}), &[1]);
    // Unknown or unknown is unknown, and its negation too.
    let unknown = json!({"all": [compare("salary", ">", json!(0)), compare("sex", "=", json!("1"))]});
    check(json!({"not": unknown}), &[1, 3]);
}

#[test]
fn caller_attributes_are_bound_and_an_unset_one_refuses() {
    let by_region = compare("region", "like_prefix", json!({"caller": "region_code"}));
    assert_eq!(kept(by_region.clone(), &[("region_code", "64")]), [1, 3]);
    // Department and account are never read from the attribute list.
    let by_department = compare("name", "=", json!({"caller": "department"}));
    assert_eq!(kept(by_department, &[("department", "CANARY")]), [0_usize; 0]);
    let check = |text: Json, attributes: &[(&str, &str)]| {
        let refused = scope(text.clone()).bind(&resource(), &caller(attributes)).err();
        assert_eq!(refused, Some(ScopeFault::Unset("region_code".to_owned())), "{text}");
    };
    check(by_region.clone(), &[]);
    check(by_region.clone(), &[("region_code", "")]);
    check(json!({"not": by_region}), &[]);
    check(json!({"any": [{"not": {"is_null": "name"}}, by_region]}), &[]);
    check(json!({"in": {"item": "region", "values": ["64", {"caller": "region_code"}]}}), &[]);
}

#[test]
fn a_scope_that_no_longer_fits_refuses() {
    let check = |text: Json| {
        let refused = scope(text.clone()).bind(&resource(), &caller(&[("rank", "9")])).err();
        assert_eq!(refused, Some(ScopeFault::Unfit), "{text}");
    };
    check(compare("gone", "=", json!(1)));
    check(compare("salary", "=", json!("1")));
    check(compare("salary", "like_prefix", json!(1)));
    check(compare("name", "=", json!({"caller": "rank"})));
    check(compare("name", "like_prefix", json!("")));
    check(json!({"all": []}));
    check(json!({"in": {"item": "salary", "values": []}}));
    check(json!({"is_null": "gone"}));
}

#[test]
fn a_prefix_ends_where_its_successor_begins() {
    let check =
        |prefix: &str, expect: Option<&str>| assert_eq!(successor(prefix).as_deref(), expect, "{prefix:?}");
    check("64", Some("65"));
    check("69", Some("6:"));
    check("a\u{10FFFF}", Some("b"));
    check("\u{10FFFF}", None);
    check("\u{D7FF}", Some("\u{E000}"));
    check("宁夏", Some("宁夐"));
    check("%_", Some("%`"));
}
