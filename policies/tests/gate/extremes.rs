//! What the gate accepts at its edge also plans and runs: on half the stack asked for, in time, without a panic.

use std::time::{Duration, Instant};

use policies::statement::STACK_BYTES;

use super::planned::{run, session};

/// Answers and errors are both fine; a panic, a dead stack or a long wait is not.
fn survive(statements: Vec<String>, seconds: u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_stack_size(STACK_BYTES / 2)
        .enable_all()
        .build()
        .unwrap();
    for sql in statements {
        let start = Instant::now();
        let shown: String = sql.chars().take(80).collect();
        let task = runtime.spawn(async move { run(&session(), &sql).await.map(|_| ()) });
        let ended = runtime.block_on(task);
        assert!(ended.is_ok(), "{shown}: {ended:?}");
        assert!(start.elapsed() < Duration::from_secs(seconds), "{shown}: {:?}", start.elapsed());
    }
}

#[test]
fn full_chains_and_depths_run() {
    let list = |item: &str, count: usize, between: &str| vec![item; count].join(between);
    survive(
        vec![
            format!("SELECT i FROM a.b WHERE {}", list("i = 1", 257, " AND ")),
            format!("SELECT i FROM a.b WHERE {}", list("i = 1 AND f > 0", 128, " OR ")),
            format!("SELECT {} FROM a.b", list("i", 257, "+")),
            format!("SELECT {} FROM a.b", list("s", 257, "||")),
            format!("SELECT {}i{} FROM a.b", "(1+".repeat(50), ")".repeat(50)),
            format!("SELECT {}i{} FROM a.b", "abs(".repeat(50), ")".repeat(50)),
            format!("SELECT {}true FROM a.b", "NOT ".repeat(50)),
            format!("{}SELECT i FROM a.b{}", "SELECT * FROM (".repeat(50), ") AS x".repeat(50)),
            format!("SELECT {}i{} FROM a.b", "CASE WHEN i = 1 THEN 1 ELSE ".repeat(20), " END".repeat(20)),
            format!("SELECT i FROM a.b WHERE i IN ({})", list("7", 1_000, ",")),
            list("SELECT i FROM a.b", 32, " UNION ALL "),
            format!("SELECT {} FROM a.b", (0..512).map(|n| format!("i+{n}")).collect::<Vec<_>>().join(",")),
        ],
        60,
    );
}

#[test]
fn odd_arguments_do_not_panic() {
    let statements = [
        "SELECT lag(i, 9223372036854775807) OVER (ORDER BY i) FROM a.b",
        "SELECT lag(i, -9223372036854775808) OVER (ORDER BY i) FROM a.b",
        "SELECT lead(i, 9223372036854775807, 1) OVER (ORDER BY i) FROM a.b",
        "SELECT nth_value(i, 9223372036854775807) OVER (ORDER BY i) FROM a.b",
        "SELECT nth_value(i, -9223372036854775808) OVER (ORDER BY i) FROM a.b",
        "SELECT nth_value(i, 0) OVER (ORDER BY i) FROM a.b",
        "SELECT nth_value(i, -9223372036854775808) FROM a.b",
        "SELECT ntile(9223372036854775807) OVER (ORDER BY i) FROM a.b",
        "SELECT ntile(0) OVER (ORDER BY i) FROM a.b",
        "SELECT ntile(-1) OVER (ORDER BY i) FROM a.b",
        "SELECT sum(i) OVER (ORDER BY i ROWS 18446744073709551615 PRECEDING) FROM a.b",
        "SELECT sum(i) OVER (ORDER BY i ROWS BETWEEN 9223372036854775807 PRECEDING AND 9223372036854775807 FOLLOWING) FROM a.b",
        "SELECT sum(i) OVER (ORDER BY i RANGE 9223372036854775807 PRECEDING) FROM a.b",
        "SELECT sum(i) OVER (ORDER BY d RANGE INTERVAL '999999 years' PRECEDING) FROM a.b",
        "SELECT i FROM a.b LIMIT 9223372036854775807 OFFSET 9223372036854775807",
        "SELECT i FROM a.b LIMIT -1",
        "SELECT i FROM a.b LIMIT 18446744073709551615",
        "SELECT abs(CAST('-9223372036854775808' AS BIGINT)), -CAST('-9223372036854775808' AS BIGINT) FROM a.b",
        "SELECT i / 0, i % 0, f / 0 FROM a.b",
        "SELECT CAST('-9223372036854775808' AS BIGINT) / -1, CAST('-9223372036854775808' AS BIGINT) % -1 FROM a.b",
        "SELECT i * 9223372036854775807, i + 9223372036854775807 FROM a.b",
        "SELECT power(i, 9223372036854775807), power(10, -400), power(CAST(10 AS DECIMAL(38,0)), 40) FROM a.b",
        "SELECT round(f, 2147483647), round(f, -2147483648), trunc(f, 400), trunc(f, -400) FROM a.b",
        "SELECT round(CAST(f AS DECIMAL(38, 10)), 30), round(i, -30) FROM a.b",
        "SELECT log(0), ln(-1), sqrt(-1), log(1, 5), log(-1, 5), asin(2) FROM a.b",
        "SELECT left(s, -9223372036854775808), right(s, -9223372036854775808), left(s, 9223372036854775807) FROM a.b",
        "SELECT substr(s, -9223372036854775808, 9223372036854775807), substr(s, 9223372036854775807) FROM a.b",
        "SELECT substr(s, 1, -1) FROM a.b",
        "SELECT split_part(s, ',', -9223372036854775808), split_part(s, '', 1), split_part(s, ',', 0) FROM a.b",
        "SELECT split_part('日本語', '', 2), left('日本語', 1), substr('日本語', 2, 1), reverse('日本語'), strpos('日本語', '') FROM a.b",
        "SELECT date_trunc('nonsense', d) FROM a.b",
        "SELECT date_part('nonsense', d) FROM a.b",
        "SELECT date_trunc('millennium', CAST(d AS TIMESTAMP)), date_trunc('week', TIMESTAMP '1677-09-21 00:12:44') FROM a.b",
        "SELECT d + INTERVAL '999999 years' FROM a.b",
        "SELECT d - INTERVAL '2147483647 months' FROM a.b",
        "SELECT d + INTERVAL '2147483647 days', CAST(d AS TIMESTAMP) + INTERVAL '9223372036854775807 nanoseconds' FROM a.b",
        "SELECT INTERVAL '99999999999999999999 years', INTERVAL 'x', INTERVAL '' FROM a.b",
        "SELECT DATE '99999-99-99', TIMESTAMP '0000-00-00 00:00:00', DATE '' FROM a.b",
        "SELECT to_date('', ''), to_date('2024', '%Y%Q%'), to_timestamp('x', '%'), to_timestamp(9223372036854775807) FROM a.b",
        "SELECT to_date('2024-01-01', '%'), to_timestamp(1e308), to_timestamp(-9223372036854775808) FROM a.b",
        "SELECT CAST(1e308 AS BIGINT), TRY_CAST(1e308 AS INT), CAST(1e308 AS DECIMAL(38, 0)) FROM a.b",
        "SELECT CAST(i AS DECIMAL(1, 1)), CAST('9999999999999999999999999999999999999999' AS DECIMAL(38, 0)) FROM a.b",
        "SELECT CAST(9223372036854775807 AS TIMESTAMP), CAST(TIMESTAMP '9999-12-31 00:00:00' AS DATE) FROM a.b",
        "SELECT CAST('NaN' AS DOUBLE) = f, max(CAST('NaN' AS DOUBLE)), sum(CAST('inf' AS DOUBLE)) FROM a.b GROUP BY f",
        "SELECT sum(9223372036854775807), avg(9223372036854775807), stddev(1e308), var_pop(f * 1e308) FROM a.b",
        "SELECT 99999999999999999999999999999999999999999999999999, 1e999999999, 0.000000000000000000000000000000000000000001",
        "SELECT s LIKE '\\', s LIKE '%\\', s LIKE '_' ESCAPE '_', s ILIKE '%İ%' FROM a.b",
        "SELECT greatest(i, NULL), least(NULL, NULL), nullif(NULL, 1), coalesce(NULL, NULL) FROM a.b",
        "SELECT first_value(s ORDER BY i DESC), median(i) FROM a.b",
        "SELECT initcap('ß ŉ'), upper('ŉßﬃ'), lower('İ'), btrim(s, ''), ltrim(s, NULL) FROM a.b",
        "SELECT grouping(i) FROM a.b GROUP BY CUBE (i, s, d, f)",
        "SELECT i FROM a.b ORDER BY 99",
        "SELECT i FROM a.b ORDER BY 0",
        "SELECT i FROM a.b GROUP BY -1",
        "SELECT b.i.x.y FROM a.b",
        "SELECT a.b.i, hub.a.b.i FROM a.b",
    ];
    survive(statements.map(str::to_owned).to_vec(), 20);
}
