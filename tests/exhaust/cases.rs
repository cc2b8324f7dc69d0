//! The list: what is sent, and what may be said to it.

use super::statement;

/// How a case reaches the hub.
pub enum Way {
    Statement(String),
    /// An answer nobody reads, left after a while.
    Unread(String),
    /// A client that goes away at once.
    Gone(String),
    /// So many at the same time; the codes are what each may be told.
    Crowd(usize, String),
    /// A body of so many bytes, all the same letter.
    Body(usize),
    /// A body sent byte by byte, never ended.
    Drip,
    /// A body that says it is compressed.
    Compressed,
    /// An entry published over a file made for it.
    Publish(&'static str, File),
}

/// A source that is not what it seems.
#[derive(Debug, Clone, Copy)]
pub enum File {
    /// One line without an end.
    Line(usize),
    /// So many columns in the header.
    Columns(usize),
    /// A Parquet file whose pages unpack to a hundred thousand times their size.
    Bomb,
    /// A Parquet file whose footer is cut.
    Footer,
}

pub struct Case {
    pub id: &'static str,
    pub way: Way,
    /// Problem codes, `ok`, or `cut` for a connection that was closed.
    pub codes: &'static [&'static str],
    /// Runs until something ends it.
    pub endless: bool,
}

impl Case {
    pub fn fits(&self, said: &str) -> bool {
        said.split('+').all(|said| self.codes.contains(&said))
    }
}

const FUNCTION: &[&str] = &["function_not_allowed"];
const COMPLEX: &[&str] = &["too_complex"];
const MEMORY: &[&str] = &["too_much_memory"];
/// `cut`: ended after its first bytes were out.
const BOUNDED: &[&str] = &["deadline", "too_much_memory", "too_many_rows", "cut"];
const BOMB: &[&str] =
    &["expression_failed", "ok", "deadline", "too_much_memory", "invalid", "source_unavailable"];
const ANY: &[&str] = &["ok", "deadline", "too_much_memory", "too_many_rows", "too_complex"];

fn endless(id: &'static str, sql: impl Into<String>) -> Case {
    Case { endless: true, ..statement(id, sql, BOUNDED) }
}

/// At the gate's ceilings or a little below: what passes must be planned and run in time and memory.
fn at_the_gate() -> Vec<Case> {
    let many = |count: usize, part: &dyn Fn(usize) -> String, between: &str| {
        (0..count).map(part).collect::<Vec<_>>().join(between)
    };
    let from = "FROM big.rows";
    let any = |id, sql: String| statement(id, sql, ANY);
    let wide_cell = "(SELECT x, repeated || repeated || repeated || repeated AS t FROM (SELECT x, c || c || c || c \
                     || c || c || c || c AS repeated FROM big.rows) q) q";
    vec![
        any(
            "T-and",
            format!("SELECT count(*) AS n {from} WHERE {}", many(250, &|at| format!("id <> {at}"), " AND ")),
        ),
        any("T-plus", format!("SELECT max(id{}) AS n {from}", "+1".repeat(250))),
        any(
            "T-case",
            format!(
                "SELECT max(CASE {} END) AS n {from}",
                many(300, &|at| format!("WHEN id = {at} THEN {at}"), " ")
            ),
        ),
        any(
            "T-in",
            format!("SELECT count(*) AS n {from} WHERE id IN ({})", many(1_000, &|at| at.to_string(), ",")),
        ),
        any(
            "T-columns",
            format!("SELECT {} {from} ORDER BY 1 LIMIT 5", many(500, &|at| format!("id AS c{at}"), ",")),
        ),
        // Every column as large as one array may be: 500 of them are gigabytes if nothing adds them up.
        any(
            "T-wide",
            format!(
                "SELECT {} FROM {wide_cell} LIMIT 5",
                many(120, &|at| format!("concat(t, '{at}') AS c{at}"), ",")
            ),
        ),
        any(
            "T-wide-sum",
            format!(
                "SELECT {} FROM {wide_cell}",
                many(120, &|at| format!("max(length(concat(t, '{at}'))) AS c{at}"), ",")
            ),
        ),
        any(
            "T-joins",
            format!(
                "SELECT count(*) AS n FROM big.rows a{}",
                many(15, &|at| format!(" JOIN big.rows j{at} ON j{at}.id = a.id"), "")
            ),
        ),
        any("T-union", many(32, &|at| format!("SELECT id, x, c {from} WHERE x = {at}"), " UNION ")),
    ]
}

/// The same for what stands beside a plain scan: subqueries, windows, sets, sorts.
fn beside_the_scan() -> Vec<Case> {
    let many = |count: usize, part: &dyn Fn(usize) -> String, between: &str| {
        (0..count).map(part).collect::<Vec<_>>().join(between)
    };
    let from = "FROM big.rows";
    let any = |id, sql: String| statement(id, sql, ANY);
    let nested_exists = (0..20).fold("b.id > 0".to_owned(), |inner, _| {
        format!("EXISTS (SELECT 1 FROM big.rows b WHERE b.id = a.id AND {inner})")
    });
    vec![
        any("T-exists", format!("SELECT count(*) AS n FROM big.rows a WHERE {nested_exists}")),
        any(
            "T-windows",
            format!(
                "SELECT {} {from} LIMIT 5",
                many(60, &|at| format!("lag(id, {at}) OVER (ORDER BY x, id) AS c{at}"), ",")
            ),
        ),
        any(
            "T-sets",
            format!(
                "SELECT count(*) AS n FROM (SELECT id, x, c, count(*) AS n {from} GROUP BY CUBE(id, x, c)) q"
            ),
        ),
        any(
            "T-distinct",
            format!("SELECT count(DISTINCT c || id) AS a, count(DISTINCT c || x || id) AS b {from}"),
        ),
        any(
            "T-median",
            format!("SELECT {} {from}", many(100, &|at| format!("median(id + {at}) AS c{at}"), ",")),
        ),
        any(
            "T-sort",
            format!(
                "SELECT count(*) AS n FROM (SELECT row_number() OVER (ORDER BY c || c || c || c || c || c || id) AS r {from}) q WHERE r > 5"
            ),
        ),
    ]
}

/// What would run for ever.
fn without_end() -> Vec<Case> {
    let product = "big.rows a CROSS JOIN big.rows b";
    vec![
        endless("A130", format!("SELECT max(a.c || b.c) AS n FROM {product}")),
        endless(
            "A135",
            "SELECT count(*) AS n FROM big.rows a, big.rows b, big.rows c, big.rows d WHERE a.id+b.id+c.id+d.id=7",
        ),
        endless("A135b", "SELECT a.id FROM big.rows a, big.rows b, big.rows c WHERE a.x+b.x+c.x = -1"),
        endless(
            "A135c",
            "SELECT count(*) AS n FROM big.rows a, big.rows b, big.rows c WHERE a.c || b.c || c.c = 'none'",
        ),
        endless(
            "A136",
            "SELECT count(*) AS n FROM big.rows a JOIN big.rows b ON a.id < b.id WHERE a.x + b.x < 0",
        ),
        endless("A136b", "SELECT count(*) AS n FROM big.rows a LEFT JOIN big.rows b ON a.x*b.x = -1"),
        endless(
            "A136c",
            "SELECT max(a.id) AS n FROM big.rows a JOIN big.rows b ON a.k = b.k WHERE a.id * b.id = -1",
        ),
        endless(
            "A138",
            format!(
                "SELECT a.id, b.id AS other, a.c, b.c AS beside FROM {product} ORDER BY a.c || b.c, 2, 1"
            ),
        ),
        endless("T-distinct-product", format!("SELECT DISTINCT a.id, b.id AS other FROM {product}")),
        endless(
            "T-group-product",
            format!("SELECT a.id, b.id AS other, count(*) AS n FROM {product} GROUP BY 1, 2"),
        ),
        // Windows hold their whole input.
        endless(
            "T-window-product",
            format!("SELECT max(n) AS n FROM (SELECT sum(a.id) OVER () AS n FROM {product}) q"),
        ),
        endless(
            "T-window-part",
            format!(
                "SELECT max(n) AS n FROM (SELECT sum(a.id) OVER (PARTITION BY a.k) AS n FROM {product}) q"
            ),
        ),
        endless(
            "T-window-order",
            format!(
                "SELECT max(n) AS n FROM (SELECT sum(a.id) OVER (ORDER BY b.id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS n FROM {product}) q"
            ),
        ),
        endless("T-median-product", format!("SELECT median(a.id + b.id) AS n FROM {product}")),
        endless(
            "T-first-product",
            format!("SELECT first_value(a.c ORDER BY b.c DESC, a.id) AS n FROM {product}"),
        ),
        endless(
            "T-union-product",
            format!("SELECT a.id FROM {product} UNION SELECT b.id + 1000000 FROM {product}"),
        ),
        endless(
            "T-intersect",
            format!("SELECT a.id, b.id AS o FROM {product} INTERSECT SELECT b.id, a.id FROM {product}"),
        ),
        endless("T-flood", format!("SELECT a.id, a.c, b.c AS beside FROM {product}")),
    ]
}

fn refused() -> Vec<Case> {
    let filter = |text: String| format!("SELECT id FROM big.rows WHERE {text}");
    let nested = |open: &str, inner: &str, close: &str, times: usize| {
        filter(format!("{}{inner}{} = 1", open.repeat(times), close.repeat(times)))
    };
    let mut doubled = "SELECT c || 'xxxxxxxxxxxxxxxx' AS t FROM big.rows".to_owned();
    for _ in 0..13 {
        doubled = format!("SELECT t || t AS t FROM ({doubled}) q");
    }
    let numbers: Vec<String> = (0..5_000).map(|number| number.to_string()).collect();
    let joins: String = (0..60).map(|at| format!(" JOIN big.rows p{at} ON p{at}.id = p.id")).collect();
    vec![
        statement("A121", "SELECT length(repeat('x',2000000000)) AS n FROM big.rows", FUNCTION),
        statement("A122", "SELECT rpad(c,100000000) AS n FROM big.rows", FUNCTION),
        statement("A123", "SELECT lpad(c,100000000) AS n FROM big.rows", FUNCTION),
        statement("A124", "SELECT array_repeat(1,500000000) AS n FROM big.rows", FUNCTION),
        statement("A126", "SELECT range(0,1000000000) AS n", FUNCTION),
        statement("A127", format!("SELECT max(length(t)) AS n FROM ({doubled}) q"), MEMORY),
        statement(
            "A128",
            "SELECT regexp_replace(c,'1','aaaaaaaaaaaaaaaaaaaa','g') AS n FROM big.rows",
            FUNCTION,
        ),
        statement("A131", "SELECT sum(value) AS n FROM generate_series(1,9000000000000000000)", FUNCTION),
        statement("A132", "SELECT unnest(range(0,200000000)) AS n", FUNCTION),
        statement(
            "A133",
            "WITH RECURSIVE t AS (SELECT 1 n UNION ALL SELECT n+1 FROM t) SELECT * FROM t",
            &["statement_not_allowed"],
        ),
        statement(
            "A139",
            "SELECT 1 AS n FROM big.rows GROUP BY CUBE(id,x,c,k,id+1,id+2,id+3,id+4,id+5)",
            COMPLEX,
        ),
        statement("A141", filter(format!("id=1{}", " AND id=1".repeat(3_999))), COMPLEX),
        statement("A142", filter(format!("id=1{}", " OR id=1".repeat(9_999))), &["too_complex", "too_large"]),
        statement("A143", format!("SELECT 1{} AS n FROM big.rows", "+1".repeat(7_999)), COMPLEX),
        statement("A145a", nested("(", "id", ")", 3_000), COMPLEX),
        statement("A145b", nested("abs(", "id", ")", 3_000), COMPLEX),
        statement("A145c", nested("CASE WHEN true THEN ", "id", " END", 2_000), COMPLEX),
        statement("A145d", filter(format!("{}true", "NOT ".repeat(3_000))), COMPLEX),
        statement("A146", filter(format!("id IN ({})", numbers.join(","))), COMPLEX),
        statement("A149", format!("SELECT p.id FROM big.rows p{joins}"), COMPLEX),
        statement("A150", filter(format!("c = '{}'", "x".repeat(64 << 10))), COMPLEX),
        statement(
            "A151",
            "SELECT id FROM big.rows WHERE c ~ '(((a{1,100}){1,100}){1,100})'",
            &["statement_not_allowed"],
        ),
    ]
}

/// Every case, the endless ones last.
pub fn all() -> Vec<Case> {
    let way = |id, way, codes, endless| Case { id, way, codes, endless };
    let flood = "SELECT a.id, a.c, b.c AS beside FROM big.rows a CROSS JOIN big.rows b".to_owned();
    let mut cases = refused();
    cases.extend([
        way("A150c", Way::Body(20 << 20), &["too_large", "cut"], false),
        way("A150d", Way::Drip, &["deadline", "cut"], true),
        way("A150e", Way::Compressed, &["invalid"], false),
        way(
            "A155",
            Way::Crowd(300, "SELECT count(*) AS n FROM big.rows WHERE id = 7".to_owned()),
            &["ok", "overloaded", "deadline"],
            false,
        ),
        way(
            "A156a",
            Way::Publish("line", File::Line(32 << 20)),
            &["invalid", "ok", "source_unavailable", "too_large"],
            false,
        ),
        way(
            "A156b",
            Way::Publish("columns", File::Columns(100_000)),
            &["invalid", "source_unavailable"],
            false,
        ),
        way("A156c", Way::Publish("bomb", File::Bomb), BOMB, true),
        way("A156d", Way::Publish("footer", File::Footer), &["invalid", "source_unavailable"], false),
    ]);
    cases.extend(at_the_gate());
    cases.extend(beside_the_scan());
    cases.extend(without_end());
    cases.extend([
        way("A153", Way::Unread(flood.clone()), &["cut", "ok"], true),
        way(
            "A153b",
            Way::Crowd(40, flood.clone()),
            &["cut", "overloaded", "deadline", "too_many_rows", "too_much_memory"],
            true,
        ),
        way("A154", Way::Gone(flood), &["cut"], true),
    ]);
    cases
}
