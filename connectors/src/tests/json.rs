//! JSON as departments write it, and as nobody should: a typed error within the ceilings, never a guess.

use std::fs;

use catalog::{FileFormat, ItemType};

use super::*;

fn items() -> Vec<Item> {
    vec![item("id", ItemType::Text, None), item("number", ItemType::Integer, None)]
}

async fn told(bench: &Bench, bytes: impl AsRef<[u8]>) -> String {
    fs::write(bench.path().join("d.json"), bytes).expect("write");
    let limits = SourceLimits { line_bytes_max: 1_000, columns_max: 5, ..SourceLimits::default() };
    let sources = bench.sources(limits);
    let asked = resource(files(FileFormat::Json, "d.json"), items());
    match ask(&sources, &asked, "select count(*) as n, min(id) as id, sum(number) as s from t").await {
        Ok(shown) => {
            let cells = shown.lines().nth(3).unwrap_or_default().split('|').map(str::trim);
            cells.filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join(" ")
        }
        Err(SourceError::TooLarge(what)) => format!("! {what}"),
        Err(SourceError::Unavailable(_) | SourceError::Damaged { .. }) => "! damaged".to_owned(),
        Err(SourceError::Mismatch(faults)) => format!("! {} faults", faults.0.len()),
        Err(other) => format!("! {other}"),
    }
}

#[tokio::test]
async fn lists_and_lines_are_read_and_what_is_broken_is_told() {
    let bench = Bench::new();
    let good = r#"{"id":"a","number":1}"#;
    for (text, expect) in [
        (good.to_owned(), "1 a 1"),
        (format!("{good}\n{good}\r\n\n{good}"), "3 a 3"),
        (format!("[{good}]"), "1 a 1"),
        (format!(" [\n{good} ,{good}\n]\n"), "2 a 2"),
        ("[]".to_owned(), "0"),
        ("{\"id\":\"a\",\n \"number\":\"7\"}\n{\"number\":8}".to_owned(), "2 a 15"),
        (format!("{good}\n{{\"number\":8,\"id\":\"b\",\"x\":[{{}}]}}\n{good}"), "3 a 10"),
        // Cells that do not fit read null.
        (format!("{good}\n{{\"id\":null,\"number\":1.5}}\n{{\"id\":true,\"number\":\"x\"}}"), "3 a 1"),
        (format!("{good}\n{{\"id\":[1],\"number\":1}}"), "! 1 faults"),
        (format!("{}{{\"id\":[1],\"number\":1}}", format!("{good}\n").repeat(1_000)), "1001 a 1001"),
        (format!("{good}\n{{}}"), "2 a 1"),
        (String::new(), "! damaged"),
        (" \n".to_owned(), "! damaged"),
        ("7".to_owned(), "! damaged"),
        ("[7]".to_owned(), "! damaged"),
        (format!("{good}{good}"), "! damaged"),
        (format!("{good} {good}"), "! damaged"),
        (format!("{good},\n{good}"), "! damaged"),
        (format!("[{good}"), "! damaged"),
        (format!("[{good},]"), "! damaged"),
        (format!("[,{good}]"), "! damaged"),
        (format!("[{good} {good}]"), "! damaged"),
        (format!("[{good}]]"), "! damaged"),
        (format!("[{good}]\n{good}"), "! damaged"),
        (format!("{good}\n{{\"id\":\"a"), "! damaged"),
        (format!("{good}\n[{good}]"), "! damaged"),
        (format!("{good}\n{{\"id\":\"a\",\"number\":1,\"id\":\"b\"}}"), "! damaged"),
        (format!("{good}\n{{\"id\":\"a\",\"x\":1,\"x\":1}}"), "! damaged"),
        (format!("{good}\n{{\"id\":\"a\",\"number\":NaN}}"), "! damaged"),
        (format!("{good}\n{{\"id\":\"a\",\"number\":1]"), "! damaged"),
        (format!("{good}\n{{\"id\":\"{}\"}}", "x".repeat(2_000)), "! a record above 1000 bytes"),
        (format!("{good}\n{{\"id\":{}", "[".repeat(100)), "! a record nested deeper than 64"),
        (format!("{good}\n{}{good}", " ".repeat(2_000)), "! white space above 1000 bytes"),
        (r#"{"id":1,"number":1,"a":1,"b":1,"c":1,"d":1}"#.to_owned(), "! more than 5 members in one record"),
    ] {
        assert_eq!(told(&bench, &text).await, expect, "{:?}", text.get(..60.min(text.len())));
    }
    let mut foreign = good.as_bytes().to_vec();
    foreign.extend_from_slice(b"\n{\"id\":\"\xd0\xd5\"}");
    assert_eq!(told(&bench, foreign).await, "! damaged", "GBK");
}

#[tokio::test]
async fn a_check_tells_members_that_are_not_there_and_nested_ones() {
    let bench = Bench::new();
    fs::write(bench.path().join("d.json"), r#"[{"id":{"x":1},"other":2}]"#).expect("write");
    let asked = resource(
        files(FileFormat::Json, "d.json"),
        [items(), vec![item("other", ItemType::Binary, None)]].concat(),
    );
    let Err(SourceError::Mismatch(faults)) = bench.sources(SourceLimits::default()).check(&asked).await
    else {
        panic!("faults expected")
    };
    let told: Vec<&str> = faults.0.iter().map(|fault| fault.pointer.as_str()).collect();
    assert_eq!(told, ["/items/2/type", "/items/0/column", "/items/1/column"]);
}

#[tokio::test]
async fn nothing_of_a_record_that_is_larger_than_memory_is_kept() {
    let bench = Bench::new();
    // One line of 10 GB that takes no disk: the reading must end at the ceiling, not at the end.
    let path = bench.path().join("d.json");
    fs::write(&path, "{\"id\":\"").expect("write");
    fs::OpenOptions::new().write(true).open(&path).expect("open").set_len(10 << 30).expect("long");
    let asked = resource(files(FileFormat::Json, "d.json"), items());
    let checked = bench.sources(SourceLimits::default()).check(&asked).await;
    assert!(matches!(checked, Err(SourceError::TooLarge(_))), "{checked:?}");
}
