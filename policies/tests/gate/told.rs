//! What a checked statement tells: relations, parameters, shape, places of faults.

use policies::{GateLimits, Relation, StatementFault, check};

fn checked(sql: &str) -> policies::CheckedStatement {
    check(sql, &GateLimits::default()).unwrap_or_else(|fault| panic!("{sql}: {fault}"))
}

#[track_caller]
fn relations(sql: &str, expect: &[&str]) {
    let statement = checked(sql);
    let told: Vec<String> = statement
        .relations()
        .iter()
        .map(|relation| match relation {
            Relation::Resource(name) => name.to_string(),
            Relation::Other(name) => format!("?{name}"),
        })
        .collect();
    assert_eq!(told, expect, "{sql}");
}

#[test]
fn which_relations() {
    relations("SELECT 1", &[]);
    relations("SELECT * FROM a.b", &["a.b"]);
    relations("SELECT * FROM A.B", &["a.b"]);
    relations("SELECT * FROM \"a\".\"b\"", &["a.b"]);
    relations("SELECT * FROM \"A\".b", &["?A.b"]);
    relations("SELECT * FROM `a`.b", &["a.b"]);
    relations("SELECT * FROM b", &["?b"]);
    relations("SELECT * FROM x.a.b", &["?x.a.b"]);
    relations("SELECT * FROM \"a.b\"", &["?a.b"]);
    relations("SELECT * FROM \"a.b\".c", &["?a.b.c"]);
    relations("SELECT * FROM \"a\".\"b.c\"", &["?a.b.c"]);
    relations("SELECT * FROM 'file:///data/pay.parquet'", &["?file:///data/pay.parquet"]);
    relations("SELECT * FROM 人口.居民", &["?人口.居民"]);
    relations("SELECT * FROM a.b, a.b c JOIN a.d ON EXISTS (SELECT 1 FROM a.e)", &["a.b", "a.d", "a.e"]);
    relations(
        "SELECT (SELECT max(x) FROM a.b) IN (SELECT 1 FROM a.c) ORDER BY (SELECT 1 FROM a.d)",
        &["a.b", "a.c", "a.d"],
    );
    relations(
        "SELECT 1 FROM a.b UNION SELECT 1 FROM (VALUES (1)) v, LATERAL (SELECT 1 FROM a.c) y",
        &["a.b", "a.c"],
    );
    relations(
        "SELECT count(*) FILTER (WHERE (SELECT true FROM a.c)) FROM (a.b JOIN a.d ON true)",
        &["a.b", "a.c", "a.d"],
    );
    relations("SELECT sum(1) OVER (ORDER BY (SELECT 1 FROM a.b)) LIMIT (SELECT 1 FROM a.c)", &["a.b", "a.c"]);
    relations("SELECT * REPLACE ((SELECT 1 FROM a.c) AS x) FROM a.b", &["a.b", "a.c"]);
}

#[test]
fn names_in_with() {
    relations("WITH x AS (SELECT * FROM a.b) SELECT * FROM x", &["a.b"]);
    relations("WITH x AS (SELECT * FROM a.b) SELECT * FROM X", &["a.b"]);
    relations("WITH \"X\" AS (SELECT * FROM a.b) SELECT * FROM x", &["a.b", "?x"]);
    relations("WITH x AS (SELECT * FROM x) SELECT * FROM x", &["?x"]);
    relations("WITH x AS (SELECT 1), y AS (SELECT * FROM x) SELECT * FROM y", &[]);
    relations("WITH y AS (SELECT * FROM x), x AS (SELECT 1) SELECT * FROM y", &["?x"]);
    relations("WITH x AS (SELECT 1) SELECT * FROM a.x", &["a.x"]);
    relations("WITH b AS (SELECT 1) SELECT * FROM a.b, b", &["a.b"]);
    relations("SELECT * FROM (WITH x AS (SELECT 1) SELECT * FROM x) t, x", &["?x"]);
    relations("WITH x AS (SELECT 1) SELECT * FROM (SELECT * FROM x) t WHERE EXISTS (SELECT 1 FROM x)", &[]);
    relations("WITH x AS (WITH y AS (SELECT 1 FROM a.b) SELECT * FROM y) SELECT * FROM x, y", &["a.b", "?y"]);
    relations("WITH x AS (SELECT 1 FROM a.b) SELECT 1", &["a.b"]);
    relations("SELECT 1 UNION (WITH x AS (SELECT 1) SELECT * FROM x) UNION SELECT 2 FROM x", &["?x"]);
}

#[test]
fn how_many_parameters() {
    for (sql, count) in [
        ("SELECT 1", 0),
        ("SELECT $1", 1),
        ("SELECT $3", 3),
        ("SELECT 1 FROM a.b WHERE x IN ($1, $2) AND y BETWEEN $2 AND $4 LIMIT $5", 5),
        ("SELECT '$7', \"$8\", $$ $9 $$", 0),
    ] {
        assert_eq!(checked(sql).parameters(), count, "{sql}");
    }
}

#[track_caller]
fn shape(sql: &str, expect: &str) {
    assert_eq!(checked(sql).shape(), expect, "{sql}");
}

#[test]
fn which_shape() {
    shape("select  1 -- x\n;", "SELECT ?");
    shape("SELECT a FROM x.y WHERE a='Zhang San' AND b = 5", "SELECT a FROM x . y WHERE a = ? AND b = ?");
    shape("SELECT a FROM x.y WHERE a IN (1, 2,3)", "SELECT a FROM x . y WHERE a IN ( ? )");
    shape(
        "SELECT a AS secret FROM x.y AS t WHERE t.a = $1",
        "SELECT a AS a1 FROM x . y AS a2 WHERE a2 . a = $1",
    );
    shape("WITH secret AS (SELECT 1) SELECT * FROM SECRET", "WITH a1 AS ( SELECT ? ) SELECT * FROM a1");
    shape("SELECT \"110101199001011234\" FROM x.y", "SELECT ? FROM x . y");
    shape("SELECT 姓名 FROM x.y", "SELECT ? FROM x . y");
    shape("SELECT DATE '2024-01-01', $$a$$, E'b', 1.5e3", "SELECT DATE ?");
    shape(
        "SELECT sum(a) OVER w FROM x.y WINDOW w AS (ORDER BY b)",
        "SELECT SUM ( a ) OVER a1 FROM x . y WINDOW a1 AS ( ORDER BY b )",
    );
}

#[test]
fn shapes_are_bounded() {
    let columns = vec!["abcdefghijklmnopqrstuvwxyz"; 512].join(", ");
    let sql = format!("SELECT {columns} FROM a.b UNION SELECT {columns} FROM a.b");
    let statement = checked(&sql);
    assert!(statement.shape().len() <= 16 * 1024 && statement.shape().ends_with(" ..."));
}

#[test]
fn where_it_cannot_be_read() {
    for (sql, line, column) in [
        ("SELECT 1 FROM a.b WHERE x = = 1", 1, 29),
        ("SELECT 1\nFROM a.b\nWHERE )", 3, 7),
        ("SELECT 'abc", 1, 8),
        ("SELECT 1)", 1, 9),
        ("1", 1, 1),
        ("", 1, 1),
    ] {
        assert_eq!(
            check(sql, &GateLimits::default()).err(),
            Some(StatementFault::Syntax { line, column }),
            "{sql}"
        );
    }
}

#[test]
fn what_is_said() {
    for (sql, code, said) in [
        (
            "SELECT FROM 'x' 'y",
            "invalid",
            "the statement cannot be read at line 1, column 17; correct the SQL there",
        ),
        (
            "DROP TABLE x",
            "statement_not_allowed",
            "DROP is not allowed; send one SELECT of columns, allowed functions and allowed operators",
        ),
        (
            "SELECT Repeat('x', 9)",
            "function_not_allowed",
            "function `Repeat` is not on the list of allowed functions; use one that is",
        ),
        ("SELECT $300", "too_complex", "too complex: at most 256 parameters; ask with `lookup`"),
    ] {
        let fault = check(sql, &GateLimits::default()).unwrap_err();
        assert_eq!((fault.code(), fault.to_string().as_str()), (code, said));
    }
    let long = check(&format!("SELECT {}(1)", "f".repeat(1_000)), &GateLimits::default());
    assert_eq!(long.err(), Some(StatementFault::FunctionNotAllowed("f".repeat(64))));
    let odd = check("SELECT \"a\nb\u{1b}\"(1)", &GateLimits::default());
    assert_eq!(odd.err(), Some(StatementFault::FunctionNotAllowed("\"a\u{fffd}b\u{fffd}\"".to_owned())));
}

#[test]
fn limits_are_read_with_defaults() {
    let limits: GateLimits = serde_json::from_str("{\"joins_max\": 2}").unwrap();
    assert_eq!(limits, GateLimits { joins_max: 2, ..GateLimits::default() });
    assert!(serde_json::from_str::<GateLimits>("{\"join_max\": 2}").is_err());
}
