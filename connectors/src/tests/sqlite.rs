//! SQLite keeps what it is given: pushed filters may not lose a row for it, and a statement ends when nobody listens.

use std::time::{Duration, Instant};

use super::*;
use crate::table::{Kind, SourceTable};

const LOOSE: &str = "CREATE TABLE t (t TEXT COLLATE NOCASE, n INTEGER, x, m NUMERIC, f REAL);\
    INSERT INTO t VALUES ('a', 1, 12, '007', 1), ('A', '2', '12', 'x', 0.0), ('12', 'three', '012', 7, -0.0),\
    (x'41', 3.0, 12.5, 7.5, 'no'), (NULL, NULL, NULL, NULL, NULL), (12, x'00', x'3132', '7 ', 9007199254740993),\
    (CAST(x'ff41' AS TEXT), 9223372036854775807, 'a', 'A', 9e999), ('', 1e30, '', '', 2.5);";

async fn loose(bench: &Bench) -> Resource {
    sqlite(&bench.path().join("l.db"), LOOSE).await;
    let binding = Binding::Sqlite { path: "l.db".to_owned(), table: "t".to_owned() };
    let items = vec![
        item("t", ItemType::Text, None),
        item("n", ItemType::Integer, None),
        item("x", ItemType::Text, None),
        item("m", ItemType::Text, None),
        item("f", ItemType::Float, None),
        item("id", ItemType::Text, Some("x")),
    ];
    resource(binding, items)
}

#[tokio::test]
async fn pushed_filters_lose_no_row_of_loose_cells() {
    let bench = Bench::new();
    let asked = loose(&bench).await;
    let sources = bench.sources(SourceLimits::default());
    let source = sources.open(&asked).await.expect("open");
    let session = SessionContext::new();
    session.register_table("t", source.table()).expect("register");
    // The reference: the same rows in memory, where nothing is pushed.
    let rows = session.sql("select * from t").await.expect("sql").collect().await.expect("rows");
    let memory = datafusion::datasource::MemTable::try_new(asked.schema(), vec![rows]).expect("memory");
    session.register_table("r", Arc::new(memory)).expect("register");
    let mut filters: Vec<String> = Vec::new();
    for column in ["t", "x", "m"] {
        for literal in ["'a'", "'A'", "'12'", "'012'", "'7'", "'007'", "'7 '", "''", "'x'"] {
            for operator in ["=", "<>", "<", "<=", ">", ">="] {
                filters.push(format!("{column} {operator} {literal}"));
            }
            filters.push(format!("{column} in ({literal}, 'zz')"));
            filters.push(format!("{column} not in ({literal}, 'zz')"));
        }
    }
    for (column, literals) in [
        ("n", ["1", "3", "-5", "9223372036854775807", "0", "2"]),
        ("f", ["1.0", "0.0", "-0.0", "2.5", "9007199254740992.0", "1e300"]),
    ] {
        for literal in literals {
            for operator in ["=", "<>", "<", "<=", ">", ">="] {
                filters.push(format!("{column} {operator} {literal}"));
            }
            filters.push(format!("{column} between {literal} and 5"));
            filters.push(format!("{column} not between {literal} and 5"));
        }
    }
    for column in ["t", "n", "x", "m", "f"] {
        filters.push(format!("{column} is null"));
        filters.push(format!("{column} is not null"));
    }
    for filter in filters {
        for filter in [
            filter.clone(),
            format!("not ({filter})"),
            format!("({filter}) or n = 1"),
            format!("not ({filter} and n > 0)"),
        ] {
            let count = async |table: &str| {
                let sql = format!("select t, n, x, m, f from {table} where {filter} order by 1, 2, 3, 4, 5");
                let answer = session.sql(&sql).await.expect("sql").collect().await.expect("answer");
                pretty_format_batches(&answer).expect("pretty").to_string()
            };
            assert_eq!(count("t").await, count("r").await, "{filter}");
        }
    }
}

#[tokio::test]
async fn a_lookup_in_an_untyped_column_finds_numbers_and_text() {
    let bench = Bench::new();
    let asked = loose(&bench).await;
    let source = bench.sources(SourceLimits::default()).open(&asked).await.expect("open");
    let keys: Vec<String> = ["12", "012", "a", "A", "12.5"].map(str::to_owned).to_vec();
    let found = source.lookup("id", &keys, &[2]).await.expect("found");
    assert_eq!(found.key_index, [0, 0, 1, 2]);
}

#[tokio::test]
async fn literals_are_bound_and_limits_wait_for_filters() {
    let bench = Bench::new();
    write_sqlite(&bench.path().join("c.db"), 0..50).await;
    let binding = Binding::Sqlite { path: "c.db".to_owned(), table: "the companies".to_owned() };
    let asked = resource(binding, company_items());
    let sources = bench.sources(SourceLimits::default());
    let table = sources.open(&asked).await.expect("open").table();
    let table = (table.as_ref() as &dyn std::any::Any).downcast_ref::<SourceTable>().expect("table");
    let Kind::Sqlite(table) = &table.kind else { panic!("sqlite") };
    let from = "FROM main.\"the companies\" AS s";
    for (sql, expect, params) in [
        ("select count(*) from t", "SELECT count(*) FROM main.\"the companies\"".to_owned(), 0),
        ("select number from t limit 3", format!("SELECT s.\"number\" {from} LIMIT 3"), 0),
        (
            "select number from t where id = 'x'' or 1=1 --' limit 3",
            format!(
                "SELECT s.\"Company ID\", s.\"number\" {from} WHERE s.\"Company ID\" COLLATE BINARY IN (?)"
            ),
            1,
        ),
        (
            "select id from t where number > 5 and founded > date '2000-01-01'",
            format!(
                "SELECT s.\"Company ID\", s.\"number\", s.\"founded\" {from} WHERE s.\"number\" COLLATE BINARY > ?"
            ),
            1,
        ),
        ("select id from t where upper(id) = 'X'", format!("SELECT s.\"Company ID\" {from}"), 0),
    ] {
        table.sent.lock().expect("sent").clear();
        ask(&sources, &asked, sql).await.expect(sql);
        let sent = table.sent.lock().expect("sent").clone();
        assert_eq!(sent.iter().map(|sent| sent.sql.clone()).collect::<Vec<_>>(), [expect], "{sql}");
        assert_eq!(sent.iter().map(|sent| sent.params.len()).sum::<usize>(), params, "{sql}");
    }
}

#[tokio::test]
async fn a_statement_ends_at_its_deadline_and_the_connection_lives_on() {
    let bench = Bench::new();
    sqlite(
        &bench.path().join("slow.db"),
        "CREATE TABLE small (id TEXT); INSERT INTO small VALUES ('a');\
         CREATE VIEW slow AS WITH RECURSIVE c(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM c) SELECT id FROM c WHERE id < 0;",
    )
    .await;
    let table = |table: &str| {
        let binding = Binding::Sqlite { path: "slow.db".to_owned(), table: table.to_owned() };
        resource(binding, vec![item("id", ItemType::Text, None)])
    };
    let sources =
        bench.sources(SourceLimits { statement_ms_max: 200, connections_max: 1, ..SourceLimits::default() });
    let started = Instant::now();
    let answer = ask(&sources, &table("slow"), "select id from t").await;
    assert!(matches!(answer, Err(SourceError::Deadline)), "{answer:?}");
    ask(&sources, &table("slow"), "select id from t").await.expect_err("again");
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(ask(&sources, &table("small"), "select id from t").await.expect("small").contains("| a"));
}

#[tokio::test]
async fn a_dropped_scan_stops_its_statement() {
    let bench = Bench::new();
    sqlite(
        &bench.path().join("slow.db"),
        "CREATE VIEW slow AS WITH RECURSIVE c(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM c) SELECT id FROM c;",
    )
    .await;
    let binding = Binding::Sqlite { path: "slow.db".to_owned(), table: "slow".to_owned() };
    let asked = resource(binding, vec![item("id", ItemType::Text, None)]);
    let sources = bench.sources(SourceLimits { connections_max: 1, ..SourceLimits::default() });
    // The view never ends; a limit above the scan drops it. One connection serves every round.
    for _ in 0..3 {
        let shown =
            ask(&sources, &asked, "select count(*) as n from (select id from t where id <> 'x' limit 3)")
                .await;
        assert!(shown.expect("answer").contains("| 3 |"));
    }
}

#[tokio::test]
async fn the_source_is_never_written() {
    let bench = Bench::new();
    let asked = loose(&bench).await;
    let source = bench.sources(SourceLimits::default()).open(&asked).await.expect("open");
    let session = SessionContext::new();
    session.register_table("t", source.table()).expect("register");
    let insert = session.sql("insert into t values ('a', 1, 'b', 'c', 1.0, 'd')").await;
    let refused = match insert {
        Ok(plan) => plan.collect().await.is_err(),
        Err(_) => true,
    };
    assert!(refused);
}
