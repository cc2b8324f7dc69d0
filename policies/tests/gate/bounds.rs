//! Ceilings: just below is accepted, just above is refused, far above is refused fast and on a small stack.

use std::time::{Duration, Instant};

use policies::Limit::*;
use policies::{GateLimits, StatementFault, check};

use super::Answer::{self, Accept, Over, Stmt, Syntax};
use super::answer;

fn list(item: &str, count: usize, between: &str) -> String {
    vec![item; count].join(between)
}

fn nested(open: &str, core: &str, close: &str, depth: usize) -> String {
    format!("{}{core}{}", open.repeat(depth), close.repeat(depth))
}

/// The best of a few tries: another process may have had the processor.
fn quickest(sql: &str, millis: u128) -> u128 {
    let mut best = u128::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        let _ = answer(sql);
        best = best.min(start.elapsed().as_millis());
        if best <= millis {
            break;
        }
    }
    best
}

/// Runs on a stack as small as a worker's, in a debug build; the time is ten times what a release build may take.
fn on_small_stack(cases: Vec<(&'static str, String, &'static [Answer])>, millis: u128) {
    let run = move || {
        let mut wrong = Vec::new();
        for (id, sql, allowed) in cases {
            let got = answer(&sql);
            let took = quickest(&sql, millis);
            if !got.as_ref().is_ok_and(|got| allowed.contains(got)) || took > millis {
                wrong.push(format!("{id}: {got:?} after {took} ms, {} bytes", sql.len()));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap();
}

#[test]
fn far_above() {
    let text: &[Answer] = &[Over(Text)];
    let chain: &[Answer] = &[Over(Chain)];
    let chain_or_tokens: &[Answer] = &[Over(Chain), Over(Tokens), Over(Text)];
    let nesting: &[Answer] = &[Over(Nesting)];
    on_small_stack(
        vec![
            ("A141", format!("SELECT 1 FROM a.b WHERE {}", list("a = 1", 4_000, " AND ")), chain_or_tokens),
            ("A142", format!("SELECT 1 FROM a.b WHERE {}", list("a=1", 20_000, " OR ")), chain_or_tokens),
            ("A142b", format!("SELECT 1 FROM a.b WHERE {}", list("a", 20_000, " OR ")), chain_or_tokens),
            ("A143", format!("SELECT {}", list("1", 8_000, "+")), chain_or_tokens),
            ("A145 parentheses", format!("SELECT {}", nested("(", "1", ")", 3_000)), nesting),
            ("A145 functions", format!("SELECT {}", nested("abs(", "1", ")", 3_000)), nesting),
            (
                "A145 case",
                format!("SELECT {}", nested("CASE WHEN a THEN ", "1", " END", 1_900)),
                &[Over(Text), Over(Nesting), Over(Chain)],
            ),
            (
                "A145 case, few",
                format!("SELECT {}", nested("CASE WHEN true THEN ", "1", " END", 200)),
                &[Over(Nesting), Over(Chain)],
            ),
            ("A145 not", format!("SELECT {}", nested("NOT ", "true", "", 3_000)), nesting),
            ("A145 minus", format!("SELECT {}", nested("- ", "1", "", 3_000)), nesting),
            ("A145 subqueries", format!("SELECT {}", nested("(SELECT ", "1", ")", 3_000)), nesting),
            ("A145 in from", nested("SELECT * FROM (", "SELECT 1", ") x", 1_200), nesting),
            ("A145 arrays", format!("SELECT {}", nested("[", "1", "]", 3_000)), nesting),
            ("A145 casts", format!("SELECT 1{}", "::int".repeat(3_000)), chain),
            ("A145 is null", format!("SELECT 1{}", " IS NULL".repeat(3_000)), chain),
            ("A145 between", format!("SELECT 1{}", " BETWEEN 1 AND 2".repeat(1_500)), chain),
            ("A145 collate", format!("SELECT 1{}", " COLLATE x".repeat(1_500)), chain),
            (
                "A145 cte",
                format!("{}SELECT 1{} SELECT 1", "WITH x AS (".repeat(1_000), ") SELECT 1".repeat(999) + ")"),
                nesting,
            ),
            (
                "A145 types",
                format!("SELECT CAST(1 AS {}INT{})", "ARRAY<".repeat(2_000), ">".repeat(2_000)),
                &[Over(Nesting), Over(Chain), Stmt],
            ),
            ("A145 joins in brackets", format!("SELECT * FROM {}", nested("(", "a.b", ")", 1_000)), nesting),
            ("A145 unclosed", format!("SELECT {}", "(".repeat(5_000)), nesting),
            ("A145 unclosed from", format!("SELECT * FROM {}", "(".repeat(5_000)), nesting),
            ("A146", format!("SELECT 1 FROM a.b WHERE a IN ({})", list("1", 200_000, ",")), text),
            ("A146b", format!("SELECT 1 FROM a.b WHERE a IN ({})", list("1", 30_000, ",")), &[Over(Tokens)]),
            ("A149", format!("SELECT 1 FROM {}", list("a.b", 60, " NATURAL JOIN ")), &[Over(Joins)]),
            ("A149b", format!("SELECT 1 FROM {}", list("a.b", 60, ",")), &[Over(Joins)]),
            ("A150", format!("SELECT '{}'", "x".repeat(20 << 20)), text),
            ("A150b", format!("SELECT 1{}", " ".repeat(64 * 1024)), text),
            ("unions", list("SELECT 1", 1_000, " UNION ALL "), &[Over(Chain), Over(SetBranches)]),
            ("unions with commas", list("SELECT 1,2", 600, " UNION ALL "), &[Over(SetBranches)]),
            ("keywords as columns", format!("SELECT {}", list("year", 3_000, "+")), chain),
            ("after a period", format!("SELECT {}", list("t.select", 2_400, "+")), chain),
            (
                "text joined",
                format!("SELECT {}", list("'a'", 4_000, " ")),
                &[Accept, Syntax, Over(Chain), Over(Nesting)],
            ),
            ("commas", format!("SELECT {}", ",".repeat(9_000)), &[Syntax]),
            ("dots", format!("SELECT a{}", ".a".repeat(4_000)), &[Stmt]),
        ],
        100,
    );
}

#[test]
fn brackets_that_make_parsers_try_twice() {
    let any: &[Answer] = &[Accept, Stmt, Syntax, Over(Nesting), Over(Chain), Over(Joins), Over(SetBranches)];
    let mut cases = Vec::new();
    for depth in [10, 20, 30, 40, 48] {
        cases.push(("from", format!("SELECT * FROM {}", nested("(", "a.b", ")", depth)), any));
        cases.push(("from, broken", format!("SELECT * FROM {}", nested("(", "a.b x y z", ")", depth)), any));
        cases.push(("from, open", format!("SELECT * FROM {}", "(".repeat(depth)), any));
        cases.push((
            "from, joins",
            format!("SELECT * FROM {}a.b{}", "(".repeat(depth), " JOIN a.c ON true)".repeat(depth)),
            any,
        ));
        cases.push(("from, query", format!("SELECT * FROM {}", nested("(", "SELECT 1", ")", depth)), any));
        cases.push((
            "from, broken query",
            format!("SELECT * FROM {}", nested("(", "SELECT 1 1", ")", depth)),
            any,
        ));
        cases.push(("queries", nested("(", "SELECT 1", ")", depth), any));
        cases.push(("queries, unions", nested("(", "SELECT 1", " UNION SELECT 1)", depth), any));
        cases.push(("expression", format!("SELECT {}", nested("(", "1", ")", depth)), any));
        cases.push(("expression, broken", format!("SELECT {}", nested("(", "1 1 1", ")", depth)), any));
        cases.push(("expression, open", format!("SELECT {}", "(".repeat(depth)), any));
        cases.push(("rows", format!("SELECT {}", nested("(1,", "1", ")", depth)), any));
        cases.push(("in", format!("SELECT {}", nested("1 IN (", "1", ")", depth)), any));
        cases.push(("exists", format!("SELECT {}", nested("EXISTS (SELECT ", "1", ")", depth)), any));
        cases.push(("calls", format!("SELECT {}", nested("abs(", "1", ")", depth)), any));
        cases.push(("calls, broken", format!("SELECT {}", nested("abs(", "1 1 1", ")", depth)), any));
        cases.push(("case", format!("SELECT {}", nested("CASE WHEN ", "1", " THEN 1 END", depth)), any));
        cases.push((
            "case operand",
            format!("SELECT {}", nested("CASE ", "1", " WHEN 1 THEN 1 END", depth)),
            any,
        ));
        cases.push(("case, open", format!("SELECT {}", "CASE ".repeat(depth)), any));
        cases.push(("cast", format!("SELECT {}", nested("CAST(", "1", " AS INT)", depth)), any));
        cases.push(("interval", format!("SELECT {}1", "INTERVAL ".repeat(depth)), any));
        cases.push(("struct", format!("SELECT {}", nested("STRUCT(", "1", ")", depth)), any));
        cases.push(("braces", format!("SELECT {}", nested("{'a':", "1", "}", depth)), any));
        cases.push(("arrays", format!("SELECT {}", nested("[", "1", "]", depth)), any));
        cases.push(("not exists", format!("SELECT {}", nested("NOT (", "1", ")", depth)), any));
        cases.push(("lambda", format!("SELECT {}", nested("(x, ", "y", ") -> 1", depth)), any));
        cases.push(("over", format!("SELECT {}", nested("sum(1) OVER (ORDER BY ", "1", ")", depth)), any));
        cases.push((
            "with",
            format!("{}SELECT 1{}", "WITH x AS (".repeat(depth), ") SELECT 1".repeat(depth)),
            any,
        ));
        cases.push((
            "types",
            format!("SELECT CAST(1 AS {}INT{})", "ARRAY<".repeat(depth), ">".repeat(depth)),
            any,
        ));
        cases.push(("lateral", nested("SELECT * FROM a.b, LATERAL (", "SELECT 1", ") x", depth), any));
        cases.push(("table", format!("SELECT * FROM {}", nested("TABLE(", "1", ")", depth)), any));
        cases.push((
            "values",
            format!("SELECT * FROM {}", nested("(VALUES (1), (", "2", ")) x", depth / 2)),
            any,
        ));
    }
    on_small_stack(cases, 100);
}

#[test]
fn at_the_edge() {
    let cases: Vec<(&'static str, String, &'static [Answer])> = vec![
        ("and 257 terms", format!("SELECT 1 FROM a.b WHERE {}", list("a = 1", 257, " AND ")), &[Accept]),
        ("and 258 terms", format!("SELECT 1 FROM a.b WHERE {}", list("a = 1", 258, " AND ")), &[Over(Chain)]),
        (
            "or 257 terms",
            format!("SELECT 1 FROM a.b WHERE {}", list("a IS NOT NULL", 257, " OR ")),
            &[Accept],
        ),
        ("sum 257 terms", format!("SELECT {}", list("1", 257, "+")), &[Accept]),
        ("sum 258 terms", format!("SELECT {}", list("1", 258, "-")), &[Over(Chain)]),
        ("sum mixed", format!("SELECT {}", list("1+1", 150, "-")), &[Over(Chain)]),
        ("text 258 terms", format!("SELECT {}", list("'a'", 258, "||")), &[Over(Chain)]),
        ("brackets 50", format!("SELECT {}", nested("(", "1", ")", 50)), &[Accept]),
        ("brackets 51", format!("SELECT {}", nested("(", "1", ")", 51)), &[Over(Nesting)]),
        ("sums in brackets 50", format!("SELECT {}", nested("(1+", "1", ")", 50)), &[Accept]),
        ("calls 50", format!("SELECT {}", nested("abs(", "1", ")", 50)), &[Accept]),
        ("queries 50", format!("SELECT {}", nested("(SELECT ", "1", ")", 50)), &[Accept]),
        ("derived 50", nested("SELECT * FROM (", "SELECT 1", ") AS x", 50), &[Accept]),
        ("not 50", format!("SELECT {}", nested("NOT ", "true", "", 50)), &[Accept]),
        ("not 51", format!("SELECT {}", nested("NOT ", "true", "", 51)), &[Over(Nesting)]),
        ("in 1000", format!("SELECT 1 FROM a.b WHERE a IN ({})", list("1", 1_000, ",")), &[Accept]),
        ("in 1001", format!("SELECT 1 FROM a.b WHERE a IN ({})", list("1", 1_001, ",")), &[Over(InList)]),
        ("joins 16", format!("SELECT 1 FROM {}", list("a.b", 17, " NATURAL JOIN ")), &[Accept]),
        ("joins 17", format!("SELECT 1 FROM {}", list("a.b", 18, " NATURAL JOIN ")), &[Over(Joins)]),
        (
            "joins in subqueries",
            format!("SELECT 1 FROM a.b, a.b WHERE EXISTS (SELECT 1 FROM {})", list("a.b", 17, ",")),
            &[Over(Joins)],
        ),
        ("unions 32", list("SELECT 1", 32, " UNION ALL "), &[Accept]),
        ("unions 33", list("SELECT 1", 33, " UNION ALL "), &[Over(SetBranches)]),
        ("columns 512", format!("SELECT {}", list("1", 512, ",")), &[Accept]),
        ("columns 513", format!("SELECT {}", list("1", 513, ",")), &[Over(OutputColumns)]),
        (
            "nodes",
            format!("SELECT {}", list("a=1", 510, ",")) + " WHERE " + &list("a+1", 256, "+"),
            &[Over(Nodes), Over(Chain)],
        ),
        ("nodes in calls", format!("SELECT coalesce({})", list("a+1", 900, ",")), &[Over(Nodes)]),
    ];
    on_small_stack(cases, 200);
}

#[test]
fn what_with_and_subqueries_grow_into() {
    let ctes = |n: usize, body: &str| {
        let mut sql = "WITH c0 AS (SELECT 1 AS x FROM a.b)".to_owned();
        for i in 1..n {
            sql += &format!(", c{i} AS ({})", body.replace('#', &format!("c{}", i - 1)));
        }
        format!("{sql} SELECT * FROM c{} WHERE x > 0", n - 1)
    };
    let cases: Vec<(&'static str, String, &'static [Answer])> = vec![
        ("expansion", ctes(8, "SELECT l.x FROM # l, # r"), &[Over(Relations), Over(Joins)]),
        ("expansion of 64", ctes(7, "SELECT l.x FROM # l, # r"), &[Accept]),
        (
            "expansion of constants",
            ctes(14, "SELECT l.x FROM # l, # r").replace(" FROM a.b", ""),
            &[Over(Nodes)],
        ),
        ("growth", ctes(30, "SELECT x + x AS x FROM #"), &[Over(Growth)]),
        ("no growth", ctes(30, "SELECT x AS x FROM #"), &[Accept]),
        (
            "growth by nesting",
            nested("SELECT x * x AS x FROM (", "SELECT a AS x FROM a.b", ") t", 20),
            &[Over(Growth)],
        ),
        (
            "growth by renaming",
            ctes(30, "SELECT y + y FROM # AS t(y)").replace(" AS (SELECT y", "(x) AS (SELECT y"),
            &[Over(Growth)],
        ),
        (
            "growth by union",
            ctes(20, "SELECT x FROM # UNION ALL SELECT x+x FROM #"),
            &[Over(Growth), Over(Relations), Over(SetBranches)],
        ),
    ];
    on_small_stack(cases, 200);
}

#[test]
fn ceilings_are_told_and_configured() {
    let limits = GateLimits { chain_max: 3, ..GateLimits::default() };
    let fault = check("SELECT 1+1+1+1+1", &limits).unwrap_err();
    assert_eq!(fault, StatementFault::TooComplex(Chain, 3));
    assert_eq!(
        fault.to_string(),
        "too complex: at most 3 operators in a row; use IN, `lookup` or split the statement"
    );
    let odd = GateLimits { nesting_max: 0, chain_max: 0, tokens_max: 0, ..GateLimits::default() };
    assert!(check("SELECT 1", &odd).is_err());
}

#[test]
fn a_full_statement_is_checked_quickly() {
    let sql = format!(
        "SELECT 1 FROM a.b WHERE a IN ({}) AND {}",
        list("'0123456789'", 1_000, ","),
        list("b = 1", 200, " AND ")
    );
    let start = Instant::now();
    check(&sql, &GateLimits::default()).unwrap();
    assert!(start.elapsed() < Duration::from_millis(300), "{:?}", start.elapsed());
}
