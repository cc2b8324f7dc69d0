//! One change to a good entry at a time, and the fault it must give.

use super::*;
use crate::ids::ResourceName;
use crate::resource::FileFormat;

fn good() -> Resource {
    let item = |name: &str| Item {
        name: name.into(),
        title: format!("Item {name}"),
        item_type: ItemType::Text,
        column: None,
        key: name == "number",
        classification: Classification::General,
        class: None,
        derived_from: None,
    };
    Resource {
        name: "water.meter".into(),
        title: "Meters".into(),
        summary: "One row a meter".into(),
        provider: "water-supply".into(),
        class: SharingClass::Unconditional,
        condition: None,
        legal_basis: None,
        update_cycle: "daily".into(),
        items: ["number", "place", "owner"].map(item).to_vec(),
        never_join: vec![],
        binding: Binding::Files { format: FileFormat::Csv, path: "water/meter.csv".into() },
    }
}

/// `expect` is `pointer: part of the message`, or empty for no fault.
#[track_caller]
fn check(change: impl FnOnce(&mut Resource), expect: &str) {
    let mut resource = good();
    change(&mut resource);
    let told: Vec<String> = resource
        .faults()
        .0
        .into_iter()
        .map(|fault| format!("{}: {}", fault.pointer, fault.message))
        .collect();
    match expect.split_once(": ") {
        None => assert!(told.is_empty(), "{told:?}"),
        Some((pointer, part)) => {
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(told[0].starts_with(&format!("{pointer}: ")) && told[0].contains(part), "{told:?}");
            assert!(!told[0].ends_with('.'), "{told:?}");
        }
    }
}

#[test]
fn names() {
    check(|_| {}, "");
    check(|r| r.name = "meter".into(), "/name: `meter`");
    check(|r| r.name = "water.meter.x".into(), "/name: `water.meter.x`");
    check(|r| r.name = "Water.meter".into(), "/name: lower case");
    check(|r| r.name = "water.\"m".into(), "/name: no resource name");
    check(|r| r.name = "".into(), "/name: ``");
    for library in RESERVED_LIBRARIES {
        check(|r| r.name = ResourceName(format!("{library}.x")), "/name: reserved");
    }
    check(|r| r.provider = "Water".into(), "/provider: `Water`");
    check(|r| r.provider = "".into(), "/provider: ``");
    check(|r| r.provider = "water-".into(), "/provider: `water-`");
    check(|r| r.items[1].name = "Place".into(), "/items/1/name: `Place`");
    check(|r| r.items[1].name = "p".repeat(64), "/items/1/name: at most 63");
    check(|r| r.items[1].name = "key_index".into(), "/items/1/name: answers");
    check(|r| r.items[1].name = "number".into(), "/items/1/name: stands twice");
}

#[test]
fn texts() {
    check(|r| r.title = " ".into(), "/title: empty");
    check(|r| r.title = "水".repeat(TITLE_CHARS_MAX), "");
    check(|r| r.title = "水".repeat(TITLE_CHARS_MAX + 1), "/title: longer than 200");
    check(|r| r.title = "a\u{7}b".into(), "/title: control");
    check(|r| r.summary = "x".repeat(TEXT_CHARS_MAX + 1), "/abstract: longer than 4000");
    check(|r| r.summary = "two\nlines".into(), "");
    check(|r| r.items[2].title = "x".repeat(201), "/items/2/title: longer");
    check(|r| r.items[2].title = String::new(), "/items/2/title: empty");
    check(|r| r.update_cycle = "hourly".into(), "/update_cycle: `hourly`");
    check(|r| r.update_cycle = "x".repeat(1_000), "/update_cycle: …`");
}

#[test]
fn classes() {
    let conditional = |r: &mut Resource| r.class = SharingClass::Conditional;
    check(conditional, "/condition: say them");
    check(|r| (conditional(r), r.condition = Some("for permits".into())).1, "");
    check(|r| (conditional(r), r.condition = Some(" ".into())).1, "/condition: empty");
    check(|r| r.condition = Some("be nice".into()), "/condition: has no condition");
    check(|r| (conditional(r), r.condition = Some("x".repeat(TEXT_CHARS_MAX + 1))).1, "/condition: longer");
}

#[test]
fn withheld() {
    let withheld = |r: &mut Resource| {
        r.class = SharingClass::Withheld;
        r.legal_basis = Some("Law on X, art. 1".into());
        r.binding = Binding::Unmounted;
    };
    check(withheld, "");
    check(|r| (withheld(r), r.legal_basis = None).1, "/legal_basis: name it");
    check(|r| (withheld(r), r.binding = good().binding).1, "/binding: cannot be mounted");
    check(|r| r.items[0].class = Some(SharingClass::Withheld), "/legal_basis: name it");
    check(|r| (withheld(r), r.items[0].class = Some(SharingClass::Conditional)).1, "/items/0/class: laxer");
    let mut resource = good();
    assert!(resource.mountable());
    withheld(&mut resource);
    assert!(!resource.mountable());
    resource.binding = good().binding;
    assert!(!resource.mountable());
}

#[test]
fn the_stricter_class_counts() {
    let resource = good();
    let check = |class, expect| {
        let item = Item { class, ..resource.items[0].clone() };
        assert_eq!(resource.class_of(&item), expect);
    };
    check(None, SharingClass::Unconditional);
    check(Some(SharingClass::Withheld), SharingClass::Withheld);
}

#[test]
fn items() {
    check(|r| r.items.clear(), "/items: this one 0");
    let many = |r: &mut Resource, count: usize| {
        r.items = (0..count).map(|n| Item { name: format!("i{n}"), ..good().items[1].clone() }).collect();
    };
    check(|r| many(r, ITEMS_MAX), "");
    check(|r| many(r, ITEMS_MAX + 1), "/items: this one 513");
    check(|r| r.items[1].column = Some("PLACE_TEXT".into()), "");
    check(|r| r.items[1].column = Some("地点".into()), "");
    check(|r| r.items[1].column = Some("Owner".into()), "/items/2/column: read by another");
    check(|r| r.items[1].column = Some("number".into()), "/items/1/column: read by another");
    check(|r| r.items[1].column = Some(String::new()), "/items/1/column: no column name");
    check(|r| r.items[1].column = Some("a\0b".into()), "/items/1/column: control");
    check(|r| r.items[1].column = Some("c".repeat(129)), "/items/1/column: 128 bytes");
    check(|r| r.items[0].item_type = ItemType::Float, "/items/0/key: a key is");
    check(|r| r.items[0].item_type = ItemType::Date, "");
}

#[test]
fn derivations() {
    let derive = |r: &mut Resource, from: usize, to: &str| r.items[from].derived_from = Some(to.into());
    check(|r| derive(r, 1, "number"), "");
    check(|r| (derive(r, 1, "number"), derive(r, 2, "place")).1, "");
    check(|r| derive(r, 1, "weight"), "/items/1/derived_from: `weight` is no item");
    check(|r| derive(r, 1, "place"), "/items/1/derived_from: from itself");
    check(|r| (derive(r, 2, "place"), derive(r, 1, "place")).1, "/items/1/derived_from: from itself");
    let mut ring = good();
    derive(&mut ring, 0, "place");
    derive(&mut ring, 1, "owner");
    derive(&mut ring, 2, "number");
    assert_eq!(ring.faults().0.len(), 3);
}

#[test]
fn harmless_is_doubted() {
    let sensitive = "/items/1/classification: looks like";
    for name in
        ["id_number", "holder_id_number", "sfzh", "phone", "contact_mobile", "bank_card_no", "passport_no"]
    {
        check(|r| r.items[1].name = name.into(), sensitive);
    }
    for title in ["身份证号", "公民身份号码", "联系电话", "手机号", "银行卡号", "ID number", "Owner's phone"]
    {
        check(|r| r.items[1].title = title.into(), sensitive);
    }
    check(|r| r.items[1].column = Some("GMSFHM".into()), sensitive);
    for name in ["grid_number", "microphone", "phones", "idle", "mobility"] {
        check(|r| r.items[1].name = name.into(), "");
    }
    for class in [Classification::Commercial, Classification::Personal, Classification::Sensitive] {
        check(|r| (r.items[1].name = "phone".into(), r.items[1].classification = class).1, "");
    }
}

#[test]
fn bindings() {
    let path = |path: &str, expect: &str| {
        check(|r| r.binding = Binding::Files { format: FileFormat::Parquet, path: path.into() }, expect);
    };
    path("meter.parquet", "");
    path("water/2026/", "");
    path("水务/表.parquet", "");
    path("a..b/c", "");
    path("", "/binding/files/path: 1 to 1024");
    path(&"x".repeat(PATH_BYTES_MAX + 1), "/binding/files/path: 1 to 1024");
    for bad in ["/etc/passwd", "..", "../x", "a/../b", "a/..", "./a", "a//b", "a//", "/", " /x", "a/ .. /b"] {
        path(bad, "/binding/files/path: leaves the source root");
    }
    for bad in ["a\0b", "C:/x", "a\\..\\b", "file://x", "a\nb", "*.csv"] {
        path(bad, "/binding/files/path: write it plainly");
    }
    let table = |table: &str, expect: &str| {
        check(|r| r.binding = Binding::Sqlite { path: "a.sqlite".into(), table: table.into() }, expect);
    };
    table("enterprise", "");
    table("T_2026", "");
    for bad in ["", "1t", "a b", "a;b", "a\"b", "main.t", "sqlite_master", "SQLITE_seq", "表"] {
        table(bad, "/binding/sqlite/table: is no table");
    }
    check(
        |r| r.binding = Binding::Sqlite { path: "../a".into(), table: "t".into() },
        "/binding/sqlite/path: leaves",
    );
    check(|r| r.binding = Binding::Unmounted, "");
    let postgres = |connection: &str, schema: &str, table: &str, expect: &str| {
        let [connection, schema, table] = [connection, schema, table].map(str::to_owned);
        check(|r| r.binding = Binding::Postgres { connection, schema, table }, expect);
    };
    postgres("market_2-a", "public", "enterprise", "");
    postgres("market", "Öffentlich", "a \"b\"; drop table x", "");
    for bad in ["", "Market", "a b", "postgres://x", "../a", &"x".repeat(65)] {
        postgres(bad, "public", "t", "/binding/postgres/connection: names no connection");
    }
    for bad in ["", "pg_catalog", "pg_toast", "information_schema", "a\0b", &"x".repeat(64)] {
        postgres("market", bad, "t", "/binding/postgres/schema: is no schema");
    }
    for bad in ["", "a\0b", "a\nb", &"x".repeat(64)] {
        postgres("market", "public", bad, "/binding/postgres/table: is no table");
    }
}

#[test]
fn a_postgres_binding_is_in_schema_public_unless_it_says_otherwise() {
    let read = |text: &str| serde_json::from_str::<Binding>(text);
    let binding = read(r#"{"postgres": {"connection": "market", "table": "t"}}"#).expect("a binding");
    assert!(matches!(&binding, Binding::Postgres { schema, .. } if schema == "public"));
    for more in ["host", "password", "url"] {
        let text = format!(r#"{{"postgres": {{"connection": "market", "table": "t", "{more}": "x"}}}}"#);
        assert!(read(&text).is_err(), "{more}");
    }
}

#[test]
fn joins_forbidden() {
    check(|r| r.never_join = vec!["credit.penalty".into()], "");
    check(|r| r.never_join = vec!["credit.penalty".into(), "penalty".into()], "/never_join/1: `penalty`");
    check(|r| r.never_join = vec!["credit.penalty".into(); 65], "/never_join: more than 64");
}

#[test]
fn all_faults_come_at_once() {
    let mut resource = good();
    resource.name = "x".into();
    resource.title = String::new();
    resource.update_cycle = "x".into();
    resource.items[0].name = "X".into();
    resource.items[1].title = "身份证".into();
    resource.binding = Binding::Files { format: FileFormat::Csv, path: "..".into() };
    let pointers: Vec<String> = resource.faults().0.into_iter().map(|fault| fault.pointer).collect();
    assert_eq!(
        pointers,
        [
            "/name",
            "/title",
            "/update_cycle",
            "/items/0/name",
            "/items/1/classification",
            "/binding/files/path"
        ]
    );
}
