//! Random text, random tokens and mutated statements: never a panic, never slow.

use std::time::{Duration, Instant};

use policies::{GateLimits, Relation, check};
use proptest::prelude::*;

const WORDS: &[&str] = &[
    "SELECT",
    "FROM",
    "WHERE",
    "(",
    ")",
    "(",
    ")",
    ",",
    "*",
    "1",
    "'x'",
    "a",
    "a.b",
    "\"q\"",
    "AND",
    "OR",
    "NOT",
    "=",
    "<>",
    "+",
    "-",
    "/",
    "||",
    "~",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "IN",
    "BETWEEN",
    "LIKE",
    "IS",
    "NULL",
    "JOIN",
    "ON",
    "USING",
    "LEFT",
    "UNION",
    "ALL",
    "EXCEPT",
    "WITH",
    "AS",
    "RECURSIVE",
    "GROUP",
    "BY",
    "ORDER",
    "LIMIT",
    "OFFSET",
    "OVER",
    "PARTITION",
    "ROWS",
    "PRECEDING",
    "INTERVAL",
    "CAST",
    "::",
    "int",
    "[",
    "]",
    "{",
    "}",
    ";",
    "$1",
    "?",
    "EXISTS",
    "abs",
    "count",
    "LATERAL",
    "VALUES",
    "TABLE",
    "PIVOT",
    "MATCH_RECOGNIZE",
    "INTO",
    "FOR",
    "UPDATE",
    "FILTER",
    "DISTINCT",
    "STRUCT",
    "ARRAY",
    "MAP",
    "->",
    "=>",
    ":=",
    "|>",
    "@x",
    "DATE",
    "EXTRACT",
    "YEAR",
    ".",
    "CUBE",
    "ROLLUP",
    "GROUPING",
    "SETS",
    "QUALIFY",
    "WINDOW",
    "AT",
    "TIME",
    "ZONE",
    "COLLATE",
    "NATURAL",
    "CROSS",
    "/*",
    "*/",
    "--",
    "\n",
    "'",
    "$$",
    "E'\\'",
    "XMLTABLE",
    "JSON_TABLE",
    "UNNEST",
    "SUBSTRING",
    "TRIM",
    "POSITION",
    "OVERLAY",
    "CONVERT",
    "PRIOR",
    "TOP",
    "FETCH",
    "TABLESAMPLE",
];

const SEEDS: &[&str] = &[
    "SELECT a, count(*) FILTER (WHERE b > 1) FROM x.y WHERE c IN (1,2,3) GROUP BY ROLLUP (a) HAVING sum(d) > 5 ORDER BY 1 LIMIT 3",
    "WITH t AS (SELECT a FROM x.y) SELECT * FROM t JOIN x.z USING (a) WHERE EXISTS (SELECT 1 FROM t WHERE t.a = z.a)",
    "SELECT CASE WHEN a LIKE 'x%' THEN a || 'b' ELSE CAST(b AS TEXT) END, row_number() OVER (PARTITION BY c ORDER BY d ROWS 3 PRECEDING) FROM x.y",
    "SELECT 1 UNION ALL (SELECT 2 EXCEPT SELECT 3) ORDER BY 1",
    "SELECT EXTRACT(YEAR FROM d), substring(a FROM 1 FOR 2), INTERVAL '1 day', E'a\\n', $$x$$, $1 FROM x.y AS t(a, d)",
];

fn quick(sql: &str) -> Result<(), TestCaseError> {
    let start = Instant::now();
    let checked = check(sql, &GateLimits::default());
    prop_assert!(start.elapsed() < Duration::from_secs(1), "{:?} for {sql:?}", start.elapsed());
    match checked {
        Ok(statement) => {
            prop_assert!(statement.shape().is_ascii() && statement.shape().len() <= 16 * 1024);
            prop_assert!(!statement.shape().contains(char::is_control));
            for relation in statement.relations() {
                if let Relation::Resource(name) = relation {
                    prop_assert!(name.parts().is_some());
                }
            }
        }
        Err(fault) => {
            let said = fault.to_string();
            prop_assert!(said.len() < 400 && !said.contains(char::is_control) && !said.ends_with('.'));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_text(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        quick(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn random_characters(text in "\\PC{0,200}") {
        quick(&format!("SELECT {text}"))?;
    }

    #[test]
    fn random_tokens(picks in proptest::collection::vec(0..WORDS.len(), 0..120), select in any::<bool>()) {
        let words: Vec<&str> = picks.iter().map(|at| WORDS[*at]).collect();
        let head = if select { "SELECT " } else { "" };
        quick(&format!("{head}{}", words.join(" ")))?;
    }

    #[test]
    fn mutated_statements(seed in 0..SEEDS.len(), edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..WORDS.len(), 0..3u8), 1..6)) {
        let mut words: Vec<&str> = SEEDS[seed].split(' ').collect();
        for (at, word, kind) in &edits {
            let at = at.index(words.len());
            match kind {
                0 => words[at] = WORDS[*word],
                1 => words.insert(at, WORDS[*word]),
                _ if words.len() > 1 => drop(words.remove(at)),
                _ => {}
            }
        }
        quick(&words.join(" "))?;
    }

    #[test]
    fn literals_never_show(secret in "[A-Z]{12}", seed in 0..4usize) {
        let sql = [
            format!("SELECT '{secret}' FROM a.b WHERE x = '{secret}'"),
            format!("SELECT a AS \"{secret}\" FROM a.b /* {secret} */ -- {secret}"),
            format!("SELECT '{secret}' FROM FROM '{secret}"),
            format!("SELECT CAST('{secret}' AS JSON) FROM a.b WHERE '{secret}' ~ '{secret}'"),
        ];
        match check(&sql[seed], &GateLimits::default()) {
            Ok(statement) => {
                prop_assert!(!statement.shape().contains(&secret));
                let shown = format!("{statement:?}");
                prop_assert!(!shown.contains(&secret));
            }
            Err(fault) => {
                let shown = format!("{fault} {fault:?}");
                prop_assert!(!shown.contains(&secret));
            }
        }
    }
}

#[test]
fn seeds_are_accepted() {
    for sql in SEEDS {
        check(sql, &GateLimits::default()).unwrap();
    }
}
