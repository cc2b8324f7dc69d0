//! Section 2: no plan, no metadata, no suggestion, no count tells of what is hidden (A071–A095).

use serde_json::json;

use super::fixture::GOVERNED;
use super::range::{ATTACKER, Case, NEIGHBOUR, NO_PARAMS, Range, Want};
use Want::{Code, Rows};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_told_about_what_is_hidden() {
    let range = Range::open().await;
    range.check(PLANS).await;
    range.check(CATALOGUES).await;
    range.check(FUNCTIONS).await;
    suggestions_name_nothing(&range).await;
    headers_count_nothing(&range).await;
    the_record_is_not_for_consumers(&range).await;
    range.check(TEXTS).await;
    range.finish().await;
}

const STATEMENT: Want = Code("statement_not_allowed");
const FUNCTION: Want = Code("function_not_allowed");
const MISSING: Want = Code("not_found");

const PLANS: &[Case<'static>] = &[
    ("A071", "EXPLAIN SELECT * FROM fix_.pay", NO_PARAMS, STATEMENT),
    ("A072", "EXPLAIN ANALYZE SELECT * FROM fix_.pay", NO_PARAMS, STATEMENT),
    ("A073", "EXPLAIN VERBOSE SELECT * FROM fix_.pay", NO_PARAMS, STATEMENT),
    ("A074a", "EXPLAIN FORMAT pgjson SELECT * FROM fix_.pay", NO_PARAMS, STATEMENT),
    ("A074b", "EXPLAIN FORMAT tree SELECT * FROM fix_.pay", NO_PARAMS, STATEMENT),
    ("A074c", "EXPLAIN FORMAT graphviz SELECT * FROM fix_.pay", NO_PARAMS, STATEMENT),
    ("A075a", "DESCRIBE fix_.pay", NO_PARAMS, STATEMENT),
    ("A075b", "DESCRIBE fix_.credit", NO_PARAMS, STATEMENT),
    ("A076", "SHOW TABLES", NO_PARAMS, STATEMENT),
    ("A077", "SHOW COLUMNS FROM fix_.credit", NO_PARAMS, STATEMENT),
    ("A078", "SHOW CREATE TABLE fix_.pay", NO_PARAMS, STATEMENT),
    ("A079", "SHOW ALL", NO_PARAMS, STATEMENT),
    ("A080", "SHOW FUNCTIONS", NO_PARAMS, STATEMENT),
];

const CATALOGUES: &[Case<'static>] = &[
    ("A081a", "SELECT * FROM information_schema.tables", NO_PARAMS, MISSING),
    ("A081b", "SELECT * FROM information_schema.columns", NO_PARAMS, MISSING),
    ("A081c", "SELECT * FROM information_schema.views", NO_PARAMS, MISSING),
    ("A081d", "SELECT * FROM information_schema.df_settings", NO_PARAMS, MISSING),
    ("A081e", "SELECT * FROM information_schema.routines", NO_PARAMS, MISSING),
    ("A081f", "SELECT * FROM information_schema.schemata", NO_PARAMS, MISSING),
    ("A081g", "SELECT * FROM pg_catalog.pg_class", NO_PARAMS, MISSING),
    ("A081h", "SELECT * FROM sys.tables", NO_PARAMS, MISSING),
    ("A081i", "SELECT * FROM datafusion.information_schema.columns", NO_PARAMS, MISSING),
    ("A081j", "SELECT * FROM hub.information_schema.columns", NO_PARAMS, MISSING),
    ("A081k", "SELECT * FROM system.grants", NO_PARAMS, MISSING),
    ("A081l", "SELECT * FROM sqlite_master", NO_PARAMS, MISSING),
    ("A081m", "SELECT * FROM fix_.sqlite_master", NO_PARAMS, MISSING),
    ("A082a", "SELECT phon FROM fix_.population", NO_PARAMS, MISSING),
    ("A082b", "SELECT population.phon FROM fix_.population", NO_PARAMS, MISSING),
    ("A082c", "SELECT bonu FROM fix_.pay", NO_PARAMS, MISSING),
    ("A082d", "SELECT id FROM fix_.population WHERE population.phone IS NULL", NO_PARAMS, MISSING),
    ("A082e", "SELECT x.id FROM fix_.population", NO_PARAMS, MISSING),
    ("A082f", "SELECT source.id FROM fix_.population", NO_PARAMS, MISSING),
    ("A093a", "SELECT * FROM system.audit", NO_PARAMS, MISSING),
    ("A093b", "SELECT count(*) FROM fix_.pay, system.audit", NO_PARAMS, MISSING),
];

const FUNCTIONS: &[Case<'static>] = &[
    ("A083", "SELECT nosuchfn(1)", NO_PARAMS, FUNCTION),
    ("A084a", "SELECT input_file_name() FROM fix_.pay", NO_PARAMS, FUNCTION),
    ("A084b", "SELECT file_row_index() FROM fix_.pay", NO_PARAMS, FUNCTION),
    ("A084c", "SELECT arrow_metadata(id) FROM fix_.pay", NO_PARAMS, FUNCTION),
    ("A084d", "SELECT arrow_field(id) FROM fix_.pay", NO_PARAMS, FUNCTION),
    ("A084e", "SELECT arrow_typeof(id) FROM fix_.pay", NO_PARAMS, FUNCTION),
    ("A084f", "SELECT version()", NO_PARAMS, FUNCTION),
    ("A084g", "SELECT pg_backend_pid()", NO_PARAMS, FUNCTION),
    ("A084h", "SELECT current_setting('x')", NO_PARAMS, FUNCTION),
    ("A084i", "SELECT getenv('PATH')", NO_PARAMS, FUNCTION),
    ("A084j", "SELECT read_text('/etc/passwd')", NO_PARAMS, FUNCTION),
    ("A084k", "SELECT * FROM read_csv('/etc/passwd')", NO_PARAMS, FUNCTION),
    ("A084l", "SELECT load_extension('x')", NO_PARAMS, FUNCTION),
    ("A084m", "SELECT @@version", NO_PARAMS, STATEMENT),
    ("A084n", "SELECT current_user", NO_PARAMS, FUNCTION),
];

/// Hostile text comes back as data and breaks no line of record or log.
const TEXTS: &[Case<'static>] = &[
    (
        "A094a",
        "SELECT '\n{\"decision\":\"allow\"}\r\n' AS x FROM fix_.pay LIMIT 1",
        NO_PARAMS,
        Rows(r#"[{"x":"\n{\"decision\":\"allow\"}\r\n"}]"#),
    ),
    (
        "A094b",
        "SELECT '\u{2028}\u{1b}[31m\u{7}' AS x FROM fix_.pay LIMIT 1",
        NO_PARAMS,
        Rows("[{\"x\":\"\u{2028}\\u001b[31m\\u0007\"}]"),
    ),
    (
        "A094c",
        "SELECT $1 AS x FROM fix_.pay LIMIT 1",
        r#"["\r\n\u0000\u001b[2J\",\"code\":\"ok"]"#,
        Rows(r#"[{"x":"\r\n\u0000\u001b[2J\",\"code\":\"ok"}]"#),
    ),
    ("A094d", "SELECT 1 AS \"a\nb\" FROM fix_.pay LIMIT 1", NO_PARAMS, Rows(r#"[{"a\nb":1}]"#)),
];

/// A083: neither what exists nor what is near it is suggested.
async fn suggestions_name_nothing(range: &Range) {
    for (sql, hidden) in [
        ("SELECT nosuchfn(1)", "Did you mean"),
        ("SELECT cuont(id) FROM fixp.pay", "count"),
        ("SELECT phon FROM fixp.population", "phone"),
        ("SELECT bonu FROM fixp.pay", "bonus"),
        ("SELECT idd FROM fixp.pay", "Valid fields"),
    ] {
        let said = range.query("A083", sql, &json!([])).await;
        assert!(said.status >= 400 && !said.text().contains(hidden), "{sql}: {}", said.text());
    }
}

/// A085, A092: nothing but what every answer carries, whatever lies below.
async fn headers_count_nothing(range: &Range) {
    let names = ["cache-control", "content-length", "content-type", "date", "ratelimit", "ratelimit-policy"];
    let more = ["tongqu-receipt", "x-content-type-options"];
    for library in GOVERNED {
        for table in ["pay", "credit", "missing"] {
            let said = range.query("A085", &format!("SELECT id FROM {library}.{table}"), &json!([])).await;
            for name in said.headers.keys() {
                let known = names.iter().chain(&more).any(|known| known == name);
                assert!(known, "header {name} in {:?}", said.headers);
            }
        }
        let heads = ["credit", "missing"].map(|table| format!("SELECT * FROM {library}.{table}"));
        let one = range.query("A092", &heads[0], &json!([])).await;
        let other = range.query("A092", &heads[1], &json!([])).await;
        assert_eq!(one.headers.get("content-length"), other.headers.get("content-length"));
        assert_eq!(
            one.headers.keys().collect::<Vec<_>>(),
            other.headers.keys().collect::<Vec<_>>(),
            "the same headers"
        );
    }
}

/// A093: receipts of others, checkpoint tiles and the record itself are not for a consumer.
async fn the_record_is_not_for_consumers(range: &Range) {
    let said = range.query("A093", "SELECT id FROM fixp.pay", &json!([])).await;
    let receipt = said.receipt().expect("a receipt").to_owned();
    assert_eq!(range.hub.get(ATTACKER, &format!("/v1/receipts/{receipt}")).await.status, 200);
    let other = range.hub.get(NEIGHBOUR, &format!("/v1/receipts/{receipt}")).await;
    let missing = range.hub.get(NEIGHBOUR, &format!("/v1/receipts/{}", receipt.to_uppercase())).await;
    assert_eq!((other.status, &other.bytes), (404, &missing.bytes), "{}", other.text());
    let tile = range.hub.get(ATTACKER, "/v1/audit/tile/0/000").await;
    assert!(matches!(tile.status, 403 | 404), "{}", tile.text());
}
