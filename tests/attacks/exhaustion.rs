//! Section 4: what would eat memory, stack or time ends in bounds, and the neighbour does not notice (A121–A154).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;

use super::fixture::{GOVERNED, big};
use super::range::{ATTACKER, Case, NO_PARAMS, Range, Want, over};
use crate::support::PURPOSE;
use Want::Code;

/// One at a time: what one of them takes of the engine, another must not miss.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

const FUNCTION: Want = Code("function_not_allowed");
const DEADLINE_MS: u64 = 1_500;

const GROWTH: &[Case<'static>] = &[
    ("A121", "SELECT length(repeat('x',2000000000)) FROM fix_.pay", NO_PARAMS, FUNCTION),
    ("A122", "SELECT rpad(name,100000000) FROM fix_.pay", NO_PARAMS, FUNCTION),
    ("A123", "SELECT lpad(name,100000000) FROM fix_.pay", NO_PARAMS, FUNCTION),
    ("A124", "SELECT array_repeat(1,500000000) FROM fix_.pay", NO_PARAMS, FUNCTION),
    ("A125", "SELECT array_repeat(array_repeat(1,50000),50000) FROM fix_.pay", NO_PARAMS, FUNCTION),
    ("A126a", "SELECT range(0,1000000000)", NO_PARAMS, FUNCTION),
    ("A126b", "SELECT * FROM range(0,1000000000)", NO_PARAMS, FUNCTION),
    ("A128", "SELECT regexp_replace(name,'1','aaaaaaaaaaaaaaaaaaaa','g') FROM fix_.pay", NO_PARAMS, FUNCTION),
    ("A130a", "SELECT array_agg(a.id) FROM fix_.pay a, fix_.pay b", NO_PARAMS, FUNCTION),
    ("A131", "SELECT sum(value) FROM generate_series(1,9000000000000000000)", NO_PARAMS, FUNCTION),
    ("A132", "SELECT unnest(range(0,200000000))", NO_PARAMS, FUNCTION),
    (
        "A133",
        "WITH RECURSIVE t AS (SELECT 1 n UNION ALL SELECT n+1 FROM t) SELECT * FROM t",
        NO_PARAMS,
        Code("statement_not_allowed"),
    ),
    (
        "A139",
        "SELECT 1 FROM fix_.pay GROUP BY CUBE(id,dept,name,salary,score,rate,hired,id+1,id+2,id+3,id+4,id+5,id+6,id+7)",
        NO_PARAMS,
        Code("too_complex"),
    ),
    (
        "A151",
        "SELECT id FROM fix_.pay WHERE name ~ '(((a{1,100}){1,100}){1,100})'",
        NO_PARAMS,
        Code("statement_not_allowed"),
    ),
    (
        "A151b",
        "SELECT id FROM fix_.pay WHERE name SIMILAR TO '(((a{1,100}){1,100}){1,100})'",
        NO_PARAMS,
        Code("statement_not_allowed"),
    ),
];

/// A text that doubles over and over.
fn doubling(operator: &str, times: usize) -> String {
    let mut from = "SELECT name || 'xxxxxxxxxxxxxxxx' AS t FROM fix_.pay".to_owned();
    for _ in 0..times {
        from = match operator {
            "||" => format!("SELECT t || t AS t FROM ({from}) q"),
            "concat" => format!("SELECT concat(t, t) AS t FROM ({from}) q"),
            _ => format!("SELECT replace(t, 'x', 'xx') AS t FROM ({from}) q"),
        };
    }
    format!("SELECT length(t) AS n FROM ({from}) q")
}

/// Statements that are long, deep or wide.
fn large() -> Vec<(&'static str, String, Want)> {
    let over = Code("too_complex");
    let filter = |text: String| format!("SELECT id FROM fix_.pay WHERE {text}");
    let nested = |open: &str, inner: &str, close: &str, times: usize| {
        filter(format!("{}{inner}{} = 1", open.repeat(times), close.repeat(times)))
    };
    let list: Vec<String> = (0..200_000).map(|number| number.to_string()).collect();
    let joins: String = (0..60).map(|at| format!(" JOIN fix_.pay p{at} ON p{at}.id = p.id")).collect();
    let subqueries =
        format!("{}SELECT id FROM fix_.pay{}", "SELECT id FROM (".repeat(200), ") q".repeat(200));
    vec![
        ("A127a", doubling("||", 13), Code("too_much_memory")),
        ("A127b", doubling("concat", 13), Code("too_much_memory")),
        ("A127c", doubling("replace", 16), Code("too_much_memory")),
        ("A127d", doubling("||", 20), over),
        ("A127e", doubling("concat", 20), over),
        ("A141", filter(format!("id=1{}", " AND id=1".repeat(3_999))), over),
        ("A142", filter(format!("id=1{}", " OR id=1".repeat(19_999))), over),
        ("A143", format!("SELECT 1{} AS x FROM fix_.pay", "+1".repeat(7_999)), over),
        ("A143b", format!("SELECT 1{} AS x FROM fix_.pay", "+1".repeat(4_000)), over),
        ("A145a", nested("(", "id", ")", 3_000), over),
        ("A145b", nested("abs(", "id", ")", 3_000), over),
        ("A145c", subqueries, over),
        ("A145d", nested("[", "1", "]", 3_000), over),
        ("A145e", nested("CASE WHEN true THEN ", "id", " END", 3_000), over),
        ("A145f", filter(format!("{}true", "NOT ".repeat(3_000))), over),
        ("A145g", filter(format!("id = {}1", "- ".repeat(3_000))), over),
        ("A146", filter(format!("id IN ({})", list[..10_000].join(","))), over),
        ("A146b", filter(format!("id IN ({})", list[..1_001].join(","))), over),
        ("A149", format!("SELECT p.id FROM fix_.pay p{joins}"), over),
        ("A150a", filter(format!("name = '{}'", "x".repeat((64 << 10) - 60))), Want::Rows("[]")),
        ("A150b", filter(format!("name = '{}'", "x".repeat(64 << 10))), over),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn growth_is_refused_before_memory_is_taken() {
    let _alone = ALONE.lock().await;
    let range = Range::open().await;
    range.check(GROWTH).await;
    let large = large();
    let cases: Vec<Case<'_>> =
        large.iter().map(|(id, sql, want)| (*id, sql.as_str(), NO_PARAMS, *want)).collect();
    let start = Instant::now();
    range.check(&cases).await;
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    assert_eq!(range.hub.hub.engine.memory_bytes(), 0);
    range.finish().await;
}

/// A143, A150: a statement beyond the gate costs nothing to speak of.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused_at_once() {
    let _alone = ALONE.lock().await;
    let range = Range::open().await;
    for (id, sql, want) in large().into_iter().filter(|(_, _, want)| matches!(want, Code("too_complex"))) {
        let Code(code) = want else { unreachable!() };
        let start = Instant::now();
        let said = range.query(id, &over(&sql, GOVERNED[0]), &json!([])).await;
        assert_eq!(said.code(), code, "{id}");
        assert!(start.elapsed() < Duration::from_millis(500), "{id}: {:?}", start.elapsed());
    }
    range.finish().await;
}

/// A135, A136, A130: an endless join ends at the deadline, gives its memory back and leaves the processor alone.
#[tokio::test(flavor = "multi_thread")]
async fn endless_work_ends_at_the_deadline() {
    let _alone = ALONE.lock().await;
    let range = Range::open_with(|config| config.engine.deadline_ms = DEADLINE_MS).await;
    range.copy(&big(200_000)).await;
    for (id, sql) in [
        (
            "A135",
            "SELECT count(*) AS n FROM copy.big a, copy.big b, copy.big c, copy.big d WHERE a.id+b.id+c.id+d.id=7",
        ),
        ("A135b", "SELECT a.id FROM copy.big a, copy.big b, copy.big c WHERE a.x+b.x+c.x = -1"),
        ("A136", "SELECT count(*) AS n FROM copy.big a JOIN copy.big b ON a.x<b.x"),
        ("A136b", "SELECT count(*) AS n FROM copy.big a LEFT JOIN copy.big b ON a.x*b.x = -1"),
        ("A136c", "SELECT id FROM copy.big a WHERE NOT EXISTS (SELECT 1 FROM copy.big b WHERE b.x*a.x = -1)"),
    ] {
        let (start, before, params) = (Instant::now(), engine_ticks(), json!([]));
        let (said, alive) = tokio::join!(range.query(id, sql, &params), range.alive());
        let took = start.elapsed();
        alive.expect("the neighbour is served");
        // What piles up meets the memory ceiling first, on a fast machine sooner.
        let bounded = id.starts_with("A135") && said.code() == "too_much_memory";
        assert!(said.code() == "deadline" || bounded, "{id}: {}", said.text());
        assert!(took < Duration::from_millis(DEADLINE_MS + 500), "{id}: {took:?}");
        idle(&range, id, &before).await;
    }
    range.finish().await;
}

/// A154: who goes away stops the work, and that is on record.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_stops_its_work() {
    let _alone = ALONE.lock().await;
    let range = Range::open().await;
    range.copy(&big(200_000)).await;
    for sql in [
        "SELECT count(*) AS n FROM copy.big a JOIN copy.big b ON a.x<b.x",
        "SELECT a.id, b.x FROM copy.big a JOIN copy.big b ON a.x<b.x",
    ] {
        let body = json!({"sql": sql, "purpose": PURPOSE, "case": "gone", "operator": ATTACKER});
        let call = range.hub.call("POST", ATTACKER, "/v1/queries").header("content-type", "application/json");
        let before = engine_ticks();
        let sent = tokio::spawn(call.body(body.to_string()).send());
        until(Duration::from_secs(10), || range.hub.hub.engine.memory_bytes() > 0).await.expect("it runs");
        sent.abort();
        idle(&range, sql, &before).await;
    }
    let gone = "SELECT code FROM system.audit WHERE code = 'cancelled' AND kind IN ('call', 'closed')";
    let recorded = async {
        while range.hub.audit(gone).await.len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), recorded).await.expect("both are on record as cancelled");
    range.alive().await.expect("alive");
    range.finish().await;
}

/// Memory back and the two threads that worked most since `before` at rest, within a second.
async fn idle(range: &Range, id: &str, before: &BTreeMap<u64, u64>) {
    let memory = until(Duration::from_secs(1), || range.hub.hub.engine.memory_bytes() == 0).await;
    assert!(memory.is_ok(), "{id}: {} bytes are still held", range.hub.hub.engine.memory_bytes());
    let mut last = engine_ticks();
    let used =
        |thread: &u64| last.get(thread).copied().unwrap_or(0) - before.get(thread).copied().unwrap_or(0);
    let mut busiest: Vec<u64> = last.keys().copied().filter(|thread| used(thread) > 0).collect();
    busiest.sort_by_key(|thread| std::cmp::Reverse(used(thread)));
    busiest.truncate(2);
    // Stopped within a tick of the clock, nothing was used that could go on.
    if busiest.is_empty() {
        return;
    }
    let mut since = Instant::now();
    let rest = until(Duration::from_secs(1), || {
        let now = engine_ticks();
        if busiest.iter().any(|thread| now.get(thread) != last.get(thread)) {
            (last, since) = (now, Instant::now());
        }
        since.elapsed() > Duration::from_millis(200)
    });
    rest.await.unwrap_or_else(|()| panic!("{id}: the engine is still at work"));
}

/// Polls without sleeping; leaves the processor to others in between.
async fn until(time: Duration, mut is: impl FnMut() -> bool) -> Result<(), ()> {
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let poll = async {
        while !is() {
            tick.tick().await;
        }
    };
    tokio::time::timeout(time, poll).await.map_err(|_late| ())
}

/// Clock ticks used by each thread named `engine`; other tests of this process have such threads too.
fn engine_ticks() -> BTreeMap<u64, u64> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("procfs");
    let stats = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
    stats
        .filter_map(|stat| {
            let (thread, rest) = stat.split_once(" (engine) ")?;
            let rest: Vec<&str> = rest.split_whitespace().collect();
            let ticks = rest.get(11)?.parse::<u64>().ok()? + rest.get(12)?.parse::<u64>().ok()?;
            Some((thread.parse().ok()?, ticks))
        })
        .collect()
}
