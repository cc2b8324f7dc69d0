//! Statements, row scopes, terms and keys of look-ups: what is accepted reads back as the same thing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use catalog::{ItemType, Resource};
use policies::statement::{GateLimits, check};
use policies::{AccountKind, Caller, Identity, Scope, Terms};
use tongqu::acts::read_json;
use tongqu::query::LookupCall;

fn resident() -> &'static Resource {
    static RESIDENT: OnceLock<Resource> = OnceLock::new();
    RESIDENT.get_or_init(|| {
        let mut resident = catalog::embedded().expect("libraries").swap_remove(0);
        // One item of each type, so that every kind of literal is reached.
        for (name, item_type) in
            [("share", ItemType::Float), ("sum", ItemType::Decimal), ("count", ItemType::Integer)]
        {
            let like =
                resident.items.iter().find(|item| item.name == "residence_code").expect("an item").clone();
            resident.items.push(catalog::Item { name: name.to_owned(), item_type, ..like });
        }
        resident
    })
}

fn caller() -> Caller {
    let attributes = BTreeMap::from([("region_code".to_owned(), "330000".to_owned())]);
    Caller::verified(Identity {
        account: "a".to_owned(),
        kind: AccountKind::Person,
        department: "civil-affairs".into(),
        roles: BTreeSet::new(),
        attributes,
        valid_until: i64::MAX,
    })
}

/// What passed, written out again, passes again as the same: no second reading of the tree exists.
pub fn gate(bytes: &[u8]) {
    let Ok(sql) = std::str::from_utf8(bytes) else { return };
    let limits = GateLimits::default();
    let Ok(checked) = check(sql, &limits) else { return };
    assert!(checked.shape().is_ascii() && checked.shape().len() <= 16 << 10, "a shape is short and ASCII");
    let written = checked.statement().to_string();
    // The parser's own writing guesses whether doubled quotes are escaped already. The hub never writes a statement out.
    if written.len() > limits.text_bytes_max || sql.contains("''") || sql.contains("\"\"") {
        return;
    }
    let again = match check(&written, &limits) {
        Ok(again) => again,
        // Written out it may be longer than what was sent; that, and only that, may be too much.
        Err(policies::StatementFault::TooComplex(..)) => return,
        Err(fault) => panic!("accepted, then refused as it reads: {fault}: {written}"),
    };
    assert_eq!(again.relations(), checked.relations(), "{written}");
    assert_eq!(again.parameters(), checked.parameters(), "{written}");
}

pub fn scope(bytes: &[u8]) {
    let Ok(scope) = read_json::<Scope>(bytes) else { return };
    let faults = scope.faults(resident(), "/scope");
    let bound = scope.bind(resident(), &caller());
    if faults.0.is_empty() {
        assert!(
            !matches!(bound, Err(policies::ScopeFault::Unfit)),
            "no fault, but it does not fit: {scope:?}"
        );
    }
    if let Ok(bound) = bound {
        let columns = resident()
            .schema()
            .fields()
            .iter()
            .map(|field| arrow::array::new_null_array(field.data_type(), 2))
            .collect::<Vec<_>>();
        assert_eq!(bound.keep(&|at| columns.get(at)).expect("it runs").len(), 2);
    }
}

pub fn terms(bytes: &[u8]) {
    let Ok(terms) = read_json::<Terms>(bytes) else { return };
    if terms.faults(resident(), 1_780_272_000_000_000, &|_| true).0.is_empty() {
        same_json(&terms);
    }
}

pub fn keys(bytes: &[u8]) {
    let Ok(call) = read_json::<LookupCall>(bytes) else { return };
    let _standing = call.about().standing();
    let Ok(asked) = tongqu::query::call::keys(&call, 1_000) else { return };
    assert_eq!(asked.values.len(), call.keys.len(), "as many keys as were sent");
    assert!(call.keys.iter().all(|key| key.len() == 1 && key.contains_key(&asked.item)));
}

/// Stored as JSON and read again it is the same value.
pub fn same_json<T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) {
    let written = serde_json::to_string(value).expect("JSON");
    let again: T = serde_json::from_str(&written).unwrap_or_else(|fault| panic!("{fault}: {written}"));
    assert_eq!(*value, again, "{written}");
}
