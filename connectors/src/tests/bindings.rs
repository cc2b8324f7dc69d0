//! The same questions over every binding have the same answers; what does not fit reads null.

use std::{fs, os::unix::fs::symlink, sync::Arc};

use arrow::array::{Float64Array, Int64Array, StringArray};
use catalog::{Binding, FileFormat, ItemType};
use datafusion::prelude::{SessionContext, col, lit};

use super::*;
use crate::UnfitCount;

/// Over table `t`, every binding of the register gives the same answers.
pub(super) const QUESTIONS: &[&str] = &[
    "select count(*) from t",
    "select count(*), count(id), count(number), count(founded), count(share), count(capital) from t",
    "select sum(number), min(founded), max(founded), sum(share), sum(capital) from t",
    "select * from t order by id nulls last, number nulls last, share nulls last, capital nulls last",
    "select id, same_id from t where id = 'C0042' order by id",
    "select count(*) from t where id = 'c0042'",
    "select id, number from t where id in ('C0042', 'C0043', null) order by 1, 2",
    "select count(*) from t where id not in ('C0042', 'C0043')",
    "select count(*) from t where id <> 'C0042'",
    "select count(*) from t where id > 'C0100' and id <= 'C0200'",
    "select count(*) from t where id is null",
    "select count(*) from t where id is not null and number is null",
    "select count(*) from t where not (id = 'C0042' or number > 10)",
    "select count(*) from t where number between 10 and 500",
    "select count(*) from t where number not between 10 and 500",
    "select count(*) from t where number = 20 or number < -50",
    "select count(*) from t where number > 10.5",
    "select count(*) from t where 100 >= number",
    "select count(*) from t where share > 12.25",
    "select count(*) from t where share <= -1.5 or share is null",
    "select count(*) from t where share < 0.0",
    "select count(*) from t where founded > date '2000-01-01'",
    "select count(*) from t where founded is null",
    "select count(*) from t where capital >= 5000.5",
    "select count(*) from t where id like 'C004%'",
    "select count(*) from t where upper(id) = 'C0042' and id = 'C0042'",
    "select count(*) from (select id from t limit 17)",
    "select count(*) from (select 1 from t where number > 0 limit 5)",
    "select count(*) from (select * from t where id > 'C0100' limit 7)",
    "select number % 10 as d, count(*), avg(share) from t group by 1 order by 1",
    "select count(*) from t a join t b on a.id = b.id where a.number = 20",
];

#[tokio::test]
async fn every_binding_gives_the_same_answers() {
    let bench = Bench::new();
    let bound = three_bindings(&bench).await;
    let sources = bench.sources(SourceLimits::default());
    let (_, reference) = bound.last().expect("sqlite");
    for sql in QUESTIONS {
        let expect = ask(&sources, reference, sql).await.expect(sql);
        for (name, resource) in &bound {
            assert_eq!(ask(&sources, resource, sql).await.expect(sql), expect, "{name}: {sql}");
        }
    }
    let count =
        ask(&sources, reference, "select count(*) as n from t where id = 'C0042'").await.expect("count");
    assert!(count.contains("| 2 |"), "{count}");
}

#[tokio::test]
async fn the_same_plan_runs_twice_and_says_nothing_of_its_files() {
    let bench = Bench::new();
    for (name, resource) in three_bindings(&bench).await {
        let sources = bench.sources(SourceLimits::default());
        let source = sources.open(&resource).await.expect(name);
        assert_eq!(source.table().schema(), resource.schema());
        let session = SessionContext::new();
        let plan = source.table().scan(&session.state(), Some(&vec![0]), &[], None).await.expect("plan");
        for _ in 0..2 {
            let rows = datafusion::physical_plan::collect(Arc::clone(&plan), session.task_ctx())
                .await
                .expect("rows");
            assert!(rows.iter().map(|batch| batch.num_rows()).sum::<usize>() == 1_000, "{name}");
        }
        let shown = ask(&sources, &resource, "explain select id from t").await.expect("explain");
        assert!(!shown.contains("market"), "{shown}");
    }
}

#[tokio::test]
async fn filters_are_applied_at_the_source_where_it_can() {
    let bench = Bench::new();
    for (name, resource) in three_bindings(&bench).await {
        let table = bench.sources(SourceLimits::default()).open(&resource).await.expect(name).table();
        let session = SessionContext::new();
        for (filter, least) in [
            (col("id").eq(lit("C0042")), 2),
            (col("id").eq(lit("C0042")).and(col("id").like(lit("%"))), 2),
            (col("number").lt(lit(-97_i64)), 3),
            (col("id").eq(lit("C0042")).or(col("id").like(lit("%"))), 1_000),
        ] {
            let plan = table
                .scan(&session.state(), None, std::slice::from_ref(&filter), Some(1))
                .await
                .expect("plan");
            let rows = datafusion::physical_plan::collect(plan, session.task_ctx()).await.expect("rows");
            let rows = rows.iter().map(|batch| batch.num_rows()).sum::<usize>();
            // The limit waits for the filter; text files give every row.
            let expect = if !name.starts_with("parquet") && name != "sqlite" { 1_000 } else { least };
            assert_eq!(rows, expect, "{name}: {filter}");
        }
    }
}

#[tokio::test]
async fn a_mount_tells_all_faults_at_once() {
    let bench = Bench::new();
    let mut checked = Vec::new();
    for (name, mut resource) in three_bindings(&bench).await {
        resource.items.push(item("nowhere", ItemType::Text, None));
        resource.items.push(item("nor_here", ItemType::Text, Some("NUMBER")));
        let sources = bench.sources(SourceLimits::default());
        let Err(SourceError::Mismatch(faults)) = sources.check(&resource).await else { panic!("{name}") };
        let pointers: Vec<&str> = faults.0.iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(pointers, ["/items/6/column", "/items/7/column"], "{name}");
        checked.push(name);
    }
    assert_eq!(checked.len(), 9);
    let sources = bench.sources(SourceLimits::default());
    let wrong = resource(
        files(FileFormat::Parquet, "market/companies.parquet"),
        vec![item("share", ItemType::Text, None), item("capital", ItemType::Binary, None)],
    );
    let Err(SourceError::Mismatch(faults)) = sources.check(&wrong).await else { panic!("types") };
    assert_eq!(faults.0.len(), 2);
    for table in ["none", "sqlite_schema", "the companies\" --"] {
        let binding = Binding::Sqlite { path: "market/companies.db".to_owned(), table: table.to_owned() };
        let wrong = resource(binding, company_items());
        assert!(matches!(sources.check(&wrong).await, Err(SourceError::Mismatch(_))), "{table}");
    }
    assert!(matches!(
        sources.open(&resource(Binding::Unmounted, company_items())).await,
        Err(SourceError::Unmounted)
    ));
}

#[tokio::test]
async fn a_check_says_what_was_mounted() {
    let bench = Bench::new();
    let sources = bench.sources(SourceLimits::default());
    for (name, resource) in three_bindings(&bench).await {
        let mounted = sources.check(&resource).await.expect(name);
        assert_eq!(mounted.rows, name.starts_with("parquet").then_some(1_000), "{name}");
        assert_eq!(mounted.files, if name.ends_with("folder") { 2 } else { 1 }, "{name}");
        assert_eq!(mounted, sources.check(&resource).await.expect(name), "{name}");
    }
}

#[tokio::test]
async fn paths_that_leave_the_root_are_refused() {
    let bench = Bench::new();
    let outside = tempfile::tempdir().expect("outside");
    write_parquet(&outside.path().join("x.parquet"), 0..5);
    symlink(outside.path().join("x.parquet"), bench.path().join("x.parquet")).expect("link");
    symlink(outside.path(), bench.path().join("folder")).expect("link");
    let sources = bench.sources(SourceLimits::default());
    for path in ["x.parquet", "folder", "folder/x.parquet", "../x", "/etc/passwd", "", "a/../../x", "none"] {
        for binding in [
            files(FileFormat::Parquet, path),
            Binding::Sqlite { path: path.to_owned(), table: "t".to_owned() },
        ] {
            let asked = resource(binding, company_items());
            assert!(matches!(sources.open(&asked).await, Err(SourceError::Path { .. })), "{path}");
            assert!(matches!(sources.check(&asked).await, Err(SourceError::Path { .. })), "{path}");
        }
    }
}

#[tokio::test]
async fn cells_that_do_not_fit_are_null_and_counted() {
    let bench = Bench::new();
    let numbers = ["1", "two", " 3 ", "4.5", ""];
    write_columns(
        &bench.path().join("p.parquet"),
        vec![
            ("number", Arc::new(StringArray::from(numbers[..4].to_vec())) as _),
            ("share", Arc::new(Float64Array::from(vec![1.0, f64::NAN, 3.0, f64::INFINITY])) as _),
            ("when", Arc::new(Int64Array::from(vec![20240229, 0, 20240301, -1])) as _),
        ],
        2,
    );
    fs::write(
        bench.path().join("c.csv"),
        "number,share,when\n1,1,20240229\ntwo,NaN,0\n 3 ,3.0,2024-03-01\n4.5,inf,-1\n",
    )
    .expect("csv");
    sqlite(
        &bench.path().join("s.db"),
        "CREATE TABLE t (number, share, \"when\"); INSERT INTO t VALUES (1, 1, 20240229), ('two', 'NaN', 0), \
         (' 3 ', 3.0, '2024-03-01'), (4.5, 9e999, -1);",
    )
    .await;
    let sources = bench.sources(SourceLimits::default());
    let items = || {
        vec![
            item("number", ItemType::Integer, None),
            item("share", ItemType::Float, None),
            item("when", ItemType::Date, None),
        ]
    };
    let sqlite = Binding::Sqlite { path: "s.db".to_owned(), table: "t".to_owned() };
    for binding in [files(FileFormat::Parquet, "p.parquet"), files(FileFormat::Csv, "c.csv"), sqlite] {
        let asked = resource(binding, items());
        let shown = ask(
            &sources,
            &asked,
            "select sum(number), count(number), sum(share), count(share), count(\"when\"), count(*) from t",
        );
        let shown = shown.await.expect("answer");
        assert!(
            shown.contains(
                "| 4             | 2               | 4.0          | 2              | 2             | 4"
            ),
            "{shown}"
        );
        let hidden =
            ask(&sources, &asked, "select count(*) as n from t where number is null and \"when\" is null");
        assert!(hidden.await.expect("answer").contains("| 2 |"));
        let unfit = sources.open(&asked).await.expect("open").unfit();
        let count = |item: &str, cells| UnfitCount { item: item.to_owned(), cells };
        // `number` and `when` were read twice.
        assert_eq!(unfit, [count("number", 4), count("share", 2), count("when", 4)], "{:?}", asked.binding);
    }
}

#[tokio::test]
async fn a_ragged_csv_row_shows_nothing_under_a_wrong_name() {
    let bench = Bench::new();
    let mut bytes = b"id,number,open\na,1,x\nb,2\nc,3,y,secret\nd,4,".to_vec();
    bytes.extend_from_slice(b"\xd0\xd5\n");
    fs::write(bench.path().join("r.csv"), bytes).expect("csv");
    let items = vec![
        item("id", ItemType::Text, None),
        item("number", ItemType::Integer, None),
        item("open", ItemType::Text, None),
    ];
    let asked = resource(files(FileFormat::Csv, "r.csv"), items);
    let sources = bench.sources(SourceLimits::default());
    let shown = ask(
        &sources,
        &asked,
        "select count(*) as n, count(id) as i, max(number) as m, count(open) as o from t",
    );
    assert!(shown.await.expect("answer").contains("| 4 | 2 | 4 | 1 |"));
    let source = sources.open(&asked).await.expect("open");
    assert_eq!(source.ragged_rows(), 2);
    assert_eq!(source.unfit().len(), 1, "the cell that is not UTF-8");
}

#[test]
fn errors_never_show_the_root() {
    let missing = Sources::new(Path::new("/nowhere/at/all"), Path::new("/tmp"), SourceLimits::default());
    let error = missing.expect_err("missing root").to_string();
    assert!(!error.contains("nowhere"), "{error}");
}
