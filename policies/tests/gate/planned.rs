//! Accepted functions plan and run in a real session that holds nothing but the gate's registry; plans are walked.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, MemorySchemaProvider, SchemaProvider};
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::{LogicalPlan, TableSource};
use datafusion::prelude::{SessionConfig, SessionContext};
use policies::functions::is_too_large;
use policies::{GateLimits, Limit, StatementFault, check, check_plan, registry};

/// `a.b` with two rows, in a session built as the engine builds it.
pub(crate) fn session() -> SessionContext {
    let rows = RecordBatch::try_from_iter([
        ("i", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef),
        ("f", Arc::new(Float64Array::from(vec![1.5, 2.5])) as ArrayRef),
        ("s", Arc::new(StringArray::from(vec![Some("x,y"), None])) as ArrayRef),
        ("d", Arc::new(Date32Array::from(vec![0, 20_000])) as ArrayRef),
    ])
    .unwrap();
    session_over(rows)
}

fn session_over(rows: RecordBatch) -> SessionContext {
    let functions = registry();
    let config = SessionConfig::new()
        .with_default_catalog_and_schema("hub", "none")
        .with_information_schema(false)
        .with_target_partitions(2);
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_scalar_functions(functions.scalar)
        .with_aggregate_functions(functions.aggregate)
        .with_window_functions(functions.window)
        .with_expr_planners(functions.planners)
        .build();
    let context = SessionContext::new_with_state(state);
    let table = MemTable::try_new(rows.schema(), vec![vec![rows]]).unwrap();
    let library = MemorySchemaProvider::new();
    library.register_table("b".into(), Arc::new(table)).unwrap();
    let catalog = MemoryCatalogProvider::new();
    catalog.register_schema("a", Arc::new(library)).unwrap();
    context.register_catalog("hub", Arc::new(catalog));
    context
}

async fn plan(context: &SessionContext, sql: &str) -> Result<LogicalPlan, DataFusionError> {
    let statement = check(sql, &GateLimits::default()).unwrap_or_else(|fault| panic!("{sql}: {fault}"));
    let state = context.state();
    state.statement_to_plan(statement.into_df_statement()).await
}

pub(crate) async fn run(context: &SessionContext, sql: &str) -> Result<Vec<RecordBatch>, DataFusionError> {
    let plan = plan(context, sql).await?;
    check_plan(&plan, &GateLimits::default(), &|_| true).unwrap_or_else(|fault| panic!("{sql}: {fault}"));
    context.execute_logical_plan(plan).await?.collect().await
}

fn calls() -> Vec<(&'static str, &'static str)> {
    let text1 = [
        "ascii",
        "bit_length",
        "character_length",
        "length",
        "char_length",
        "initcap",
        "lower",
        "upper",
        "btrim",
        "trim",
        "ltrim",
        "rtrim",
        "octet_length",
        "reverse",
    ]
    .map(|f| (f, "s"));
    let number1 = [
        "abs", "ceil", "floor", "round", "trunc", "sqrt", "cbrt", "exp", "ln", "log", "log2", "log10",
        "signum", "sign", "isnan", "iszero", "sin", "cos", "tan", "asin", "acos", "atan", "degrees",
        "radians",
    ]
    .map(|f| (f, "f"));
    let aggregate1 = [
        "any_value",
        "avg",
        "mean",
        "first_value",
        "last_value",
        "max",
        "median",
        "min",
        "stddev",
        "stddev_samp",
        "stddev_pop",
        "sum",
        "var",
        "var_samp",
        "var_sample",
        "var_pop",
        "var_population",
        "count",
    ]
    .map(|f| (f, "f"));
    text1.into_iter().chain(number1).chain(aggregate1).chain(OTHER.iter().copied()).collect()
}

const OTHER: &[(&str, &str)] = &[
    ("coalesce", "s, 'z'"),
    ("nullif", "i, 1"),
    ("nvl", "s, 'z'"),
    ("ifnull", "s, 'z'"),
    ("nvl2", "s, 1, 2"),
    ("greatest", "i, 3"),
    ("least", "i, 3"),
    ("power", "i, 2"),
    ("pow", "f, 2"),
    ("nanvl", "f, 1.0"),
    ("pi", ""),
    ("atan2", "f, 1.0"),
    ("contains", "s, 'x'"),
    ("ends_with", "s, 'x'"),
    ("starts_with", "s, 'x'"),
    ("left", "s, 1"),
    ("right", "s, 1"),
    ("split_part", "s, ',', 1"),
    ("strpos", "s, 'x'"),
    ("instr", "s, 'x'"),
    ("position", "'x' IN s"),
    ("substr", "s, 1, 2"),
    ("substring", "s, 1, 2"),
    ("current_date", ""),
    ("today", ""),
    ("now", ""),
    ("current_timestamp", ""),
    ("date_part", "'year', d"),
    ("datepart", "'year', d"),
    ("date_trunc", "'month', d"),
    ("datetrunc", "'month', d"),
    ("to_date", "'2024-01-01'"),
    ("to_timestamp", "'2024-01-01'"),
    ("concat", "s, 1, d, f, NULL"),
    ("concat_ws", "'-', s, 1"),
    ("replace", "s, ',', ';'"),
    ("bool_and", "i > 0"),
    ("bool_or", "i > 0"),
    ("nth_value", "i, 1"),
    ("grouping", "i"),
];

#[tokio::test]
async fn every_accepted_function_runs() {
    let context = session();
    let windows = [
        ("row_number", ""),
        ("rank", ""),
        ("dense_rank", ""),
        ("percent_rank", ""),
        ("cume_dist", ""),
        ("ntile", "2"),
        ("lag", "i"),
        ("lead", "i, 1, 0"),
        ("first_value", "i"),
        ("last_value", "i"),
        ("nth_value", "i, 1"),
    ];
    let mut tried = std::collections::BTreeSet::new();
    for (function, arguments) in calls() {
        let tail = if function == "grouping" { " GROUP BY i" } else { "" };
        run(&context, &format!("SELECT {function}({arguments}) FROM a.b{tail}"))
            .await
            .unwrap_or_else(|e| panic!("{function}: {e}"));
        tried.insert(function);
    }
    for (function, arguments) in windows {
        let sql = format!("SELECT {function}({arguments}) OVER (ORDER BY i) FROM a.b");
        run(&context, &sql).await.unwrap_or_else(|e| panic!("{function}: {e}"));
        tried.insert(function);
    }
    let missing: Vec<_> = policies::functions::names().filter(|name| !tried.contains(name)).collect();
    assert!(missing.is_empty(), "not tried: {missing:?}");
}

#[tokio::test]
async fn every_accepted_clause_runs() {
    let context = session();
    for sql in [
        "SELECT EXTRACT(YEAR FROM d), substring(s FROM 1 FOR 2), position('x' IN s), trim(BOTH 'x' FROM s), ceil(f), floor(f) FROM a.b",
        "SELECT * EXCLUDE (i) FROM a.b",
        "SELECT * REPLACE (i + 1 AS i) FROM a.b",
        "SELECT i, count(*) FROM a.b GROUP BY ROLLUP (i)",
        "SELECT i, s, count(*) FROM a.b GROUP BY GROUPING SETS ((i), (s), ())",
        "SELECT i, count(*) FROM a.b GROUP BY ALL",
        "SELECT DISTINCT ON (i) i, s FROM a.b ORDER BY i",
        "SELECT i FROM a.b QUALIFY row_number() OVER (ORDER BY i) = 1",
        "SELECT sum(i) OVER w FROM a.b WINDOW w AS (PARTITION BY s ORDER BY i ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)",
        "SELECT * FROM a.b NATURAL JOIN a.b AS c",
        "SELECT * FROM a.b JOIN a.b c USING (i)",
        "SELECT x.i FROM a.b x LEFT SEMI JOIN a.b y ON x.i = y.i",
        "SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS t(p, q)",
        "SELECT i FROM a.b UNION SELECT 1 EXCEPT SELECT 2 INTERSECT SELECT 3 ORDER BY 1 LIMIT 1 OFFSET 1",
        "WITH t AS (SELECT i FROM a.b) SELECT (SELECT max(i) FROM t), i FROM t WHERE i IN (SELECT i FROM t) AND EXISTS (SELECT 1 FROM a.b WHERE b.i = t.i)",
        "SELECT d + INTERVAL '1 month', INTERVAL '1' DAY, DATE '2024-01-01' FROM a.b",
        "SELECT CAST(i AS TEXT), TRY_CAST(s AS INT), f::decimal(10, 2), CAST(d AS TIMESTAMP), i::tinyint AS small, CAST(i AS DOUBLE) AS wide FROM a.b",
        "SELECT CASE i WHEN 1 THEN 'a' ELSE 'b' END, NOT (i = 1), -i, i IS DISTINCT FROM 1, i BETWEEN 1 AND 2, s LIKE 'x%' FROM a.b",
        "SELECT count(DISTINCT i), count(*) FILTER (WHERE i > 1) FROM a.b",
        "SELECT E'a\\n', $$b$$, 1e3, true, NULL",
        "SELECT first_value(i) IGNORE NULLS OVER (ORDER BY i) FROM a.b",
    ] {
        run(&context, sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
}

#[tokio::test]
async fn bounded_text_is_right() {
    let context = session();
    let sql = "SELECT i || s AS a, concat(s, 'z', NULL) AS b, concat_ws('-', s, NULL, i) AS c, replace(s, ',', '::') AS d, \
               replace('abab', 'ab', '') AS e, replace('abc', '', 'x') AS f, 'a' || NULL AS g, concat_ws(NULL, 'a', 'b') AS h, \
               replace('aaa', 'aa', 'b') AS k FROM a.b ORDER BY i";
    let rows = run(&context, sql).await.unwrap();
    let shown = pretty_format_batches(&rows).unwrap().to_string();
    let cells: Vec<Vec<&str>> =
        shown.lines().filter(|l| l.contains("abc")).map(|l| l.split('|').map(str::trim).collect()).collect();
    assert_eq!(cells[0][1..10], ["1x,y", "x,yz", "x,y-1", "x::y", "", "abc", "", "", "ba"]);
    assert_eq!(cells[1][1..10], ["", "z", "2", "", "", "abc", "", "", "ba"]);
}

#[tokio::test]
async fn growth_is_refused_before_it_happens() {
    let big = StringArray::from(vec!["x".repeat(40_000); 300]);
    let rows = RecordBatch::try_from_iter([("s", Arc::new(big) as ArrayRef)]).unwrap();
    let context = session_over(rows);
    for sql in [
        "SELECT length(s || s) FROM a.b",
        "SELECT length(concat(s, s)) FROM a.b",
        "SELECT length(concat_ws(',', s, s)) FROM a.b",
        "SELECT length(replace(s, 'x', 'yy')) FROM a.b",
        "SELECT length(replace(replace(replace(s, 'x', $$xxxxxxxxxxxxxxxxxxxx$$), 'x', $$xxxxxxxxxxxxxxxxxxxx$$), 'x', 'xxxxxxx')) FROM a.b",
        "SELECT length(s || s2) FROM a.b, (SELECT substr(s, 1, 20000) AS s2 FROM a.b) t",
    ] {
        let error = run(&context, sql).await.expect_err(sql);
        assert!(is_too_large(&error), "{sql}: {error}");
    }
    run(&context, "SELECT length(substr(s, 1, 30000) || substr(s, 1, 20000)) FROM a.b")
        .await
        .expect("within");
}

#[tokio::test]
async fn plans_are_walked() {
    let context = session();
    let limits = GateLimits::default();
    let governed = |_: &Arc<dyn TableSource>| true;
    let ungoverned = |_: &Arc<dyn TableSource>| false;
    for sql in
        ["SELECT * FROM a.b", "SELECT 1 WHERE EXISTS (SELECT 1 FROM a.b)", "SELECT (SELECT max(i) FROM a.b)"]
    {
        let plan = plan(&context, sql).await.unwrap();
        assert_eq!(check_plan(&plan, &limits, &governed), Ok(()), "{sql}");
        let fault = check_plan(&plan, &limits, &ungoverned).unwrap_err();
        assert_eq!(fault, StatementFault::StatementNotAllowed("a relation outside this call"), "{sql}");
    }
    let literal = |bytes: usize, tail: &str| {
        format!("SELECT {} FROM a.b", tail.replace('#', &format!("'{}'", "x".repeat(bytes))))
    };
    for (sql, refused) in [
        (literal(2_048, "#"), false),
        (literal(2_049, "#"), true),
        (literal(60_000, "s = #"), false),
        (literal(60_000, "s IN (#, 'a')"), false),
        (literal(60_000, "coalesce(s, #) = 'a'"), true),
        (literal(60_000, "CASE WHEN s = # THEN 1 END"), false),
        (literal(60_000, "CASE WHEN s = 'a' THEN # END"), true),
    ] {
        let plan = plan(&context, &sql).await.unwrap();
        let expect = if refused { Err(StatementFault::TooComplex(Limit::Literal, 2_048)) } else { Ok(()) };
        assert_eq!(check_plan(&plan, &limits, &governed), expect, "{}", &sql[..30]);
    }
    let narrow = GateLimits { output_columns_max: 3, ..GateLimits::default() };
    let wide = plan(&context, "SELECT * FROM a.b").await.unwrap();
    assert_eq!(
        check_plan(&wide, &narrow, &governed),
        Err(StatementFault::TooComplex(Limit::OutputColumns, 3))
    );
}

#[tokio::test]
async fn parameters_are_measured_in_the_plan() {
    use datafusion::common::{ParamValues, ScalarValue};
    let context = session();
    let plan = plan(&context, "SELECT 1 FROM a.b WHERE s LIKE $1").await.unwrap();
    for (pattern, expect) in [
        ("x%".to_owned(), Ok(())),
        ("%a".repeat(600), Err(StatementFault::TooComplex(Limit::Pattern, 1_024))),
    ] {
        let values = ParamValues::from(vec![ScalarValue::Utf8(Some(pattern))]);
        let bound = plan.clone().with_param_values(values).unwrap();
        assert_eq!(check_plan(&bound, &GateLimits::default(), &|_| true), expect);
    }
}

/// Plans that never come from a checked statement, made with a session that allows everything.
#[tokio::test]
async fn foreign_plans_are_refused() {
    let open = SessionContext::new();
    open.sql("CREATE TABLE t (i INT, s TEXT) AS VALUES (1, 'a')").await.unwrap();
    for sql in [
        "EXPLAIN SELECT 1",
        "EXPLAIN ANALYZE SELECT 1",
        "DESCRIBE t",
        "CREATE VIEW v AS SELECT 1",
        "DROP TABLE t",
        "INSERT INTO t VALUES (2, 'b')",
        "COPY (SELECT 1) TO '/nowhere/x.csv' STORED AS CSV",
        "SET datafusion.execution.batch_size = 1",
        "PREPARE p AS SELECT 1",
        "WITH RECURSIVE r AS (SELECT 1 n UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT * FROM r",
        "SELECT i FROM t WHERE s ~ 'a'",
        "SELECT i FROM t WHERE s LIKE s",
        "SELECT i & 1 FROM t",
        "SELECT s || 'a' FROM t",
        "SELECT i FROM t WHERE s SIMILAR TO 'a'",
        "SELECT i = ANY (SELECT 1) FROM t",
    ] {
        let plan = open.state().create_logical_plan(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        let fault = check_plan(&plan, &GateLimits::default(), &|_| true);
        assert!(fault.is_err(), "{sql}");
    }
    for (sql, name) in [
        ("SELECT repeat('x', 3)", "repeat"),
        ("SELECT array_agg(i) FROM t", "array_agg"),
        ("SELECT i FROM t WHERE random() < 2", "random"),
        ("SELECT 1 WHERE EXISTS (SELECT version())", "version"),
    ] {
        let plan = open.state().create_logical_plan(sql).await.unwrap();
        let fault = check_plan(&plan, &GateLimits::default(), &|_| true);
        assert_eq!(fault, Err(StatementFault::FunctionNotAllowed(name.to_owned())), "{sql}");
    }
}
