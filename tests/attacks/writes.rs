//! Section 3: no writes, no files, no settings, one statement, parameters stay data (A096–A120).

use serde_json::{Value, json};

use super::fixture::GOVERNED;
use super::range::{ATTACKER, Case, NO_PARAMS, Range, Want};
use crate::support::PURPOSE;
use Want::{Code, Rows, Same};

const STATEMENTS: &[(&str, &str)] = &[
    ("A096", "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'"),
    ("A098", "COPY (SELECT * FROM fix_.pay) TO '/any/path.csv'"),
    ("A098b", "COPY fix_.pay FROM '/etc/passwd'"),
    ("A099", "INSERT INTO fix_.pay VALUES (1)"),
    ("A099b", "INSERT INTO fix_.pay SELECT * FROM fix_.pay"),
    ("A100", "UPDATE fix_.pay SET salary = 1"),
    ("A101", "DELETE FROM fix_.pay"),
    ("A102", "TRUNCATE TABLE fix_.pay"),
    ("A103", "MERGE INTO fix_.pay USING fix_.pay b ON true WHEN MATCHED THEN DELETE"),
    ("A104a", "CREATE TABLE t AS SELECT * FROM fix_.pay"),
    ("A104b", "CREATE VIEW v AS SELECT * FROM fix_.pay"),
    ("A104c", "CREATE SCHEMA s"),
    ("A104d", "CREATE DATABASE d"),
    ("A104e", "CREATE INDEX i ON fix_.pay (id)"),
    ("A104f", "CREATE TEMPORARY VIEW v AS SELECT 1"),
    ("A105a", "DROP TABLE fix_.pay"),
    ("A105b", "DROP VIEW v"),
    ("A105c", "DROP FUNCTION abs"),
    ("A106", "CREATE FUNCTION f() RETURNS INT RETURN 1"),
    ("A107", "SET datafusion.runtime.memory_limit = '1K'"),
    ("A108", "SET datafusion.runtime.temp_directory = '/etc'"),
    ("A109", "SET datafusion.execution.target_partitions = 4096"),
    ("A110", "SET datafusion.catalog.information_schema = true"),
    ("A111", "RESET datafusion.runtime.memory_limit"),
    ("A112a", "PREPARE p AS SELECT * FROM fix_.pay"),
    ("A112b", "EXECUTE p"),
    ("A112c", "DEALLOCATE p"),
    ("A113a", "BEGIN"),
    ("A113b", "COMMIT"),
    ("A113c", "ROLLBACK"),
    ("A113d", "SAVEPOINT a"),
    ("A114a", "SELECT 1; DROP TABLE fix_.pay"),
    ("A114b", "SELECT 1;;"),
    ("A114c", "SELECT 1; SELECT 2"),
    ("A114d", "SELECT 1 /* ; */ ; -- x\n ;"),
    ("A115a", "ATTACH 'x' AS y"),
    ("A115b", "PRAGMA table_info(pay)"),
    ("A115c", "INSTALL httpfs"),
    ("A115d", "LOAD httpfs"),
    ("A115e", "VACUUM"),
    ("A115f", "ANALYZE TABLE fix_.pay"),
    ("A115g", "KILL 1"),
    ("A115h", "CALL f()"),
    ("A115i", "GRANT SELECT ON fix_.pay TO x"),
    ("A115j", "LISTEN x"),
    ("A115k", "LOCK TABLES fix_.pay READ"),
    ("A115l", "USE fix_"),
    ("A115m", "DECLARE c CURSOR FOR SELECT 1"),
    ("A115n", "UNLOAD (SELECT 1) TO 's3://x'"),
    ("A115o", "COMMENT ON TABLE fix_.pay IS 'x'"),
    ("A115p", "ALTER TABLE fix_.pay ADD COLUMN a INT"),
    ("A115q", "SELECT * INTO t FROM fix_.pay"),
    ("A115r", "SELECT * FROM fix_.pay FOR UPDATE"),
    ("A115s", "WITH x AS (DELETE FROM fix_.pay RETURNING *) SELECT * FROM x"),
    ("A115u", "TABLE fix_.pay"),
];

const AFTERWARDS: &[Case<'static>] = &[
    ("A105z", "SELECT abs(-1) AS a FROM fix_.legal_entity LIMIT 1", NO_PARAMS, Rows(r#"[{"a":1}]"#)),
    ("A114e", "SELECT count(*) AS n FROM fix_.pay ; -- done", NO_PARAMS, Rows(r#"[{"n":7}]"#)),
    ("A114f", "/* ; DROP TABLE x */ SELECT count(*) AS n FROM fix_.pay", NO_PARAMS, Rows(r#"[{"n":7}]"#)),
    // No table, no permit, nothing to see: a constant.
    ("A115t", "VALUES (1)", NO_PARAMS, Rows(r#"[{"column1":1}]"#)),
    ("A114g", "", NO_PARAMS, Code("invalid")),
    ("A114h", " -- nothing", NO_PARAMS, Code("invalid")),
];

const PARAMETERS: &[Case<'static>] = &[
    ("A116a", "SELECT id FROM fix_.pay WHERE id = $1", NO_PARAMS, Code("invalid")),
    ("A116b", "SELECT id FROM fix_.pay WHERE id = $1", "[5, 6]", Code("invalid")),
    ("A116c", "SELECT id FROM fix_.pay WHERE id = $1", "[5]", Rows(r#"[{"id":5}]"#)),
    ("A116d", "SELECT id FROM fix_.pay WHERE id = $1", "[1]", Rows("[]")),
    ("A116e", "SELECT id FROM fix_.pay WHERE id = $1", "[null]", Rows("[]")),
    ("A116f", "SELECT id FROM fix_.pay WHERE id = $1", "[[5]]", Code("invalid")),
    ("A116g", "SELECT id FROM fix_.pay WHERE id = $1", r#"[{"a":5}]"#, Code("invalid")),
    ("A116h", "SELECT id FROM fix_.pay WHERE name = $1", r#"["1' OR '1'='1"]"#, Rows("[]")),
    ("A116i", "SELECT id FROM fix_.pay WHERE name = $1", r#"["1'); DROP TABLE fix_.pay; --"]"#, Rows("[]")),
    ("A116j", "SELECT $999999 FROM fix_.pay", NO_PARAMS, Code("too_complex")),
    ("A116k", "SELECT $0 FROM fix_.pay", NO_PARAMS, Code("statement_not_allowed")),
    ("A116l", "SELECT ? FROM fix_.pay", NO_PARAMS, Code("statement_not_allowed")),
    ("A116m", "SELECT id FROM fix_.pay WHERE id = $1", r#"["x"]"#, Code("expression_failed")),
    ("A116n", "SELECT id FROM fix_.pay WHERE 1/(salary-$1)>-10", "[200]", Same),
    ("A116o", "SELECT id FROM fix_.pay WHERE 1/(salary-$1)>-10", "[300]", Code("expression_failed")),
    ("A116p", "SELECT id FROM fix_.pay WHERE dept = $1", r#"["B"]"#, Rows("[]")),
    ("A116q", "SELECT $2 AS x FROM fix_.pay", "[1]", Code("invalid")),
    ("A116r", "SELECT id FROM fix_.pay WHERE id = $1", "[18446744073709551615]", Code("invalid")),
    ("A120a", "SELECT id FROM $1", r#"["fix_.pay"]"#, Code("invalid")),
    ("A120b", "SELECT id FROM fix_.pay ORDER BY $1", r#"["salary"]"#, Same),
    ("A120c", "SELECT id FROM fix_.pay WHERE id IN ($1, $2)", "[5, 1]", Rows(r#"[{"id":5}]"#)),
    ("A120d", "SELECT id FROM fix_.pay ORDER BY id LIMIT $1", "[1]", Rows(r#"[{"id":5}]"#)),
    ("A120e", "SELECT id FROM fix_.pay LIMIT $1", "[-1]", Code("invalid")),
    ("A120f", "SELECT id FROM fix_.pay WHERE id IN $1", "[[5]]", Code("invalid")),
];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_and_parameters_stay_data() {
    let range = Range::open().await;
    let before = files(&range);
    let refused: Vec<Case<'_>> =
        STATEMENTS.iter().map(|(id, sql)| (*id, *sql, NO_PARAMS, Code("statement_not_allowed"))).collect();
    range.check(&refused).await;
    no_connection_leaves(&range).await;
    range.check(AFTERWARDS).await;
    range.check(PARAMETERS).await;
    large_parameters(&range).await;
    assert_eq!(files(&range), before, "no source is changed, added or taken away");
    range.finish().await;
}

/// A097: a listener that would be called is not.
async fn no_connection_leaves(range: &Range) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/x.csv", listener.local_addr().expect("an address"));
    let external = format!("CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '{url}'");
    let (table, copy) = (format!("SELECT * FROM '{url}'"), format!("COPY (SELECT 1) TO '{url}'"));
    let cases: [Case<'_>; 3] = [
        ("A097a", &external, NO_PARAMS, Code("statement_not_allowed")),
        ("A097b", &table, NO_PARAMS, Code("not_found")),
        ("A097c", &copy, NO_PARAMS, Code("statement_not_allowed")),
    ];
    range.check(&cases).await;
    let called = futures::poll!(std::pin::pin!(listener.accept()));
    assert!(called.is_pending(), "an outbound connection was made");
}

/// A116: 64 KiB is the most a parameter may be, and a body ends at its own ceiling.
async fn large_parameters(range: &Range) {
    for library in GOVERNED {
        let sql = format!("SELECT count(*) AS n FROM {library}.pay WHERE name = $1");
        for (bytes, code) in [(64 << 10, "ok"), ((64 << 10) + 1, "invalid"), (10 << 20, "too_large")] {
            let said = range.query("A116 large", &sql, &json!(["x".repeat(bytes)])).await;
            assert_eq!(said.code(), code, "{bytes} bytes: {}", said.text());
        }
        let many: Vec<Value> = (0..1_001).map(|number| json!(number)).collect();
        let said = range.query("A116 many", &sql, &json!(many)).await;
        assert_eq!(said.code(), "invalid", "{}", said.text());
    }
    let body = json!({"sql": "SELECT 1", "params": {"a": 1}, "purpose": PURPOSE});
    assert_eq!(range.post("A116 map", ATTACKER, "/v1/queries", &body).await.code(), "invalid");
}

/// Every source file with what is in it.
fn files(range: &Range) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for folder in ["fixp", "fixc", "copy"] {
        super::scan::files(&range.hub.sources().join(folder), &mut found);
    }
    found.sort();
    found
}
