//! Cases of our own: each names the rule it tests.

use serde_json::{Value, json};

use super::fixture::{GOVERNED, tables};
use super::range::{ATTACKER, Case, NEIGHBOUR, NO_PARAMS, Range, Want};
use crate::support::PURPOSE;
use Want::{Code, Count, Ordered, Rows, Same};

#[tokio::test(flavor = "multi_thread")]
async fn rules_hold_beyond_the_list() {
    let range = Range::open().await;
    range.check(PREDICATES).await;
    range.check(AGGREGATES).await;
    range.check(JOINS).await;
    range.check(NAMES).await;
    two_callers_in_turn(&range).await;
    ask_in_other_words(&range).await;
    range.finish().await;
}

const N: &str = NO_PARAMS;
const FAILED: Want = Code("expression_failed");
const MISSING: Want = Code("not_found");

const PREDICATES: &[Case<'static>] = &[
    (
        "T01 a pushed filter cannot reach hidden rows",
        "SELECT id FROM fix_.pay WHERE salary = 200",
        N,
        Rows("[]"),
    ),
    ("T02 nor a range", "SELECT id FROM fix_.pay WHERE salary BETWEEN 200 AND 250", N, Rows(r#"[{"id":9}]"#)),
    ("T03 nor IN", "SELECT id FROM fix_.pay WHERE salary IN (200,250,0,987123456789)", N, Rows("[]")),
    ("T04 nor IS NULL", "SELECT id FROM fix_.pay WHERE hired IS NULL", N, Rows(r#"[{"id":9}]"#)),
    ("T05 nor NOT", "SELECT count(*) AS n FROM fix_.pay WHERE NOT (salary > 0)", N, Rows(r#"[{"n":0}]"#)),
    ("T06 OR true shows no hidden row", "SELECT id FROM fix_.pay WHERE salary=200 OR true", N, Same),
    ("T07 a null scope item hides", "SELECT id FROM fix_.pay WHERE dept IS NULL", N, Rows("[]")),
    ("T08 nor unless distinct", "SELECT id FROM fix_.pay WHERE dept IS DISTINCT FROM 'A'", N, Rows("[]")),
    ("T09 log of hidden zero", "SELECT id, ln(score) AS l FROM fix_.pay", N, Same),
    ("T10 sqrt of hidden negative", "SELECT id FROM fix_.pay WHERE sqrt(score) > 0", N, Same),
    ("T11 power overflows hidden only", "SELECT id FROM fix_.pay WHERE power(score, 2) < 1e9", N, Same),
    ("T12 narrow cast of hidden", "SELECT CAST(salary AS INT) AS c FROM fix_.pay", N, Same),
    ("T13 modulo by zero in hidden", "SELECT id FROM fix_.pay WHERE 1000 % (salary-250) >= 0", N, Same),
    ("T14 negation overflow", "SELECT -salary AS m FROM fix_.pay", N, Same),
    ("T15 decimal overflow in hidden", "SELECT CAST(rate AS DECIMAL(6,2)) AS c FROM fix_.pay", N, Same),
    ("T16 date cast of hidden text", "SELECT id FROM fix_.pay WHERE CAST(name AS DOUBLE) > 0", N, Same),
    ("T17 date overflow in hidden", "SELECT hired + INTERVAL '1 day' AS d FROM fix_.pay", N, Same),
    ("T18 a value is not told on failure", "SELECT CAST(name AS INT) AS c FROM fix_.population", N, FAILED),
    ("T19 division on visible rows fails dumb", "SELECT 1/(salary-300) AS q FROM fix_.pay", N, FAILED),
    (
        "T20 CASE order is kept",
        "SELECT CASE WHEN salary=300 THEN 0 ELSE 1/(salary-300) END AS q FROM fix_.pay",
        N,
        Same,
    ),
    ("T21 coalesce is lazy alike", "SELECT coalesce(salary, 1/(salary-200)) AS q FROM fix_.pay", N, Same),
    (
        "T22 AND order is no oracle",
        "SELECT id FROM fix_.pay WHERE dept='B' AND 1/(salary-200)>0",
        N,
        Rows("[]"),
    ),
    (
        "T23 the scope's own item as filter",
        "SELECT id FROM fix_.pay WHERE dept >= 'A' AND dept <= 'Z'",
        N,
        Count(7),
    ),
    ("T24 LIKE on the scope's item", "SELECT id FROM fix_.pay WHERE dept LIKE '%'", N, Count(7)),
    ("T25 NULLIF guard", "SELECT sum(100/nullif(salary-300,0)) AS s FROM fix_.pay", N, Same),
    (
        "T26 interval arithmetic on masks",
        "SELECT birth + INTERVAL '200 days' AS d FROM fix_.population",
        N,
        Same,
    ),
    (
        "T27 text compare with a mask",
        "SELECT id FROM fix_.population WHERE name > '李' AND name < '李CZ'",
        N,
        Same,
    ),
    (
        "T28 split of a mask",
        "SELECT DISTINCT split_part(name,'CANARY',2) AS s FROM fix_.population",
        N,
        Rows(r#"[{"s":""}]"#),
    ),
    ("T29 reverse of a mask", "SELECT reverse(name) AS r FROM fix_.population", N, Same),
    ("T30 strpos in a mask", "SELECT id FROM fix_.population WHERE strpos(name,'CAN') > 0", N, Rows("[]")),
    ("T31 trunc of a masked date", "SELECT date_trunc('day', birth) AS d FROM fix_.population", N, Same),
    ("T32 cast of a masked date", "SELECT CAST(birth AS VARCHAR) AS d FROM fix_.population", N, Same),
    (
        "T33 concat of masks",
        "SELECT name || id_card || CAST(birth AS VARCHAR) AS c FROM fix_.population",
        N,
        Same,
    ),
    ("T34 constant folding fails dumb", "SELECT 1/0 AS x FROM fix_.pay", N, FAILED),
    (
        "T35 a false filter runs nothing",
        "SELECT 1/(salary-300) AS q FROM fix_.pay WHERE false",
        N,
        Rows("[]"),
    ),
    ("T36 LIMIT 0", "SELECT 1/(salary-300) AS q FROM fix_.pay LIMIT 0", N, Rows("[]")),
    (
        "T37 OFFSET counts visible rows",
        "SELECT id FROM fix_.pay ORDER BY id OFFSET 6",
        N,
        Rows(r#"[{"id":13}]"#),
    ),
    ("T38 OFFSET beyond visible", "SELECT id FROM fix_.pay OFFSET 7", N, Rows("[]")),
    (
        "T39 ORDER BY hidden extremes",
        "SELECT id FROM fix_.pay ORDER BY salary DESC NULLS LAST, id LIMIT 1",
        N,
        Ordered,
    ),
    (
        "T40 top of a bounded sort",
        "SELECT score FROM fix_.pay ORDER BY score DESC NULLS LAST LIMIT 1",
        N,
        Rows(r#"[{"score":8.0}]"#),
    ),
];

const AGGREGATES: &[Case<'static>] = &[
    (
        "T41 extremes come from rows, not statistics",
        "SELECT min(id) AS a, max(id) AS z FROM fix_.pay",
        N,
        Rows(r#"[{"a":5,"z":13}]"#),
    ),
    ("T42 dates too", "SELECT min(hired) AS a, max(hired) AS z FROM fix_.pay", N, Same),
    ("T43 null counts too", "SELECT count(*) - count(hired) AS n FROM fix_.pay", N, Rows(r#"[{"n":1}]"#)),
    ("T44 distinct counts too", "SELECT count(DISTINCT dept) AS n FROM fix_.pay", N, Rows(r#"[{"n":1}]"#)),
    ("T45 sums do not overflow by hidden", "SELECT sum(salary*10000000) AS s FROM fix_.pay", N, Same),
    ("T46 float sums", "SELECT sum(score) AS s FROM fix_.pay", N, Rows(r#"[{"s":24.75}]"#)),
    (
        "T47 groups of hidden rows are not there",
        "SELECT dept, count(*) AS n FROM fix_.pay GROUP BY dept",
        N,
        Rows(r#"[{"dept":"A","n":7}]"#),
    ),
    (
        "T48 grouping sets",
        "SELECT dept, hired, count(*) AS n FROM fix_.pay GROUP BY ROLLUP(dept, hired)",
        N,
        Same,
    ),
    (
        "T49 HAVING on hidden groups",
        "SELECT salary FROM fix_.pay GROUP BY salary HAVING count(*) = 2",
        N,
        Rows(r#"[{"salary":300}]"#),
    ),
    ("T50 a windows frame skips hidden", "SELECT id, lag(id) OVER (ORDER BY id) AS p FROM fix_.pay", N, Same),
    ("T51 running sums", "SELECT id, sum(salary) OVER (ORDER BY id) AS s FROM fix_.pay", N, Same),
    (
        "T52 first_value",
        "SELECT first_value(salary) OVER (ORDER BY salary NULLS LAST) AS f FROM fix_.pay",
        N,
        Same,
    ),
    ("T53 partitions", "SELECT id, count(*) OVER (PARTITION BY hired) AS n FROM fix_.pay", N, Same),
    (
        "T54 all rows in one cell, past the rows a day",
        "SELECT string_agg(name, ',' ORDER BY name) AS s FROM fix_.pay",
        N,
        Code("function_not_allowed"),
    ),
    ("T55 median of masks' years", "SELECT min(birth) AS a, max(birth) AS z FROM fix_.population", N, Same),
    (
        "T56 an empty scan with no column",
        "SELECT count(1) AS n FROM fix_.population WHERE region <> '310000'",
        N,
        Rows(r#"[{"n":0}]"#),
    ),
    (
        "T57 FILTER with a failing expression",
        "SELECT count(*) FILTER (WHERE 1/(salary-200) > -10) AS n FROM fix_.pay",
        N,
        Same,
    ),
];

const JOINS: &[Case<'static>] = &[
    (
        "T58 self join on the scope's item",
        "SELECT count(*) AS n FROM fix_.pay a JOIN fix_.pay b ON a.dept = b.dept",
        N,
        Rows(r#"[{"n":49}]"#),
    ),
    (
        "T59 full join brings no hidden row",
        "SELECT count(*) AS n FROM fix_.pay a FULL JOIN fix_.legal_entity b ON a.id = b.id",
        N,
        Rows(r#"[{"n":11}]"#),
    ),
    (
        "T60 right join",
        "SELECT l.id FROM fix_.pay p RIGHT JOIN fix_.legal_entity l ON p.id = l.id WHERE p.id IS NULL",
        N,
        Count(4),
    ),
    (
        "T61 anti join",
        "SELECT id FROM fix_.legal_entity l WHERE NOT EXISTS (SELECT 1 FROM fix_.pay p WHERE p.id = l.id)",
        N,
        Count(4),
    ),
    (
        "T62 IN subquery",
        "SELECT id FROM fix_.legal_entity WHERE id IN (SELECT id FROM fix_.pay)",
        N,
        Rows("[]"),
    ),
    (
        "T63 NOT IN subquery with nulls",
        "SELECT id FROM fix_.legal_entity WHERE id NOT IN (SELECT salary FROM fix_.pay)",
        N,
        Same,
    ),
    (
        "T64 correlated scalar",
        "SELECT id, (SELECT count(*) FROM fix_.pay p WHERE p.salary > l.id) AS n FROM fix_.legal_entity l",
        N,
        Code("statement_not_allowed"),
    ),
    (
        "T65 scalar of hidden is null",
        "SELECT (SELECT salary FROM fix_.pay WHERE id = 1) AS s",
        N,
        Rows(r#"[{"s":null}]"#),
    ),
    ("T66 union keeps scopes", "SELECT id FROM fix_.pay UNION SELECT id FROM fix_.population", N, Same),
    (
        "T67 except shows no hidden row",
        "SELECT id FROM fix_.legal_entity EXCEPT SELECT id FROM fix_.pay",
        N,
        Count(4),
    ),
    (
        "T68 intersect",
        "SELECT region FROM fix_.legal_entity INTERSECT SELECT region FROM fix_.population",
        N,
        Rows(r#"[{"region":"310000"}]"#),
    ),
    (
        "T69 dynamic filters stay above",
        "SELECT p.id FROM fix_.pay p JOIN (SELECT 200 AS s) x ON p.salary = x.s",
        N,
        Rows("[]"),
    ),
    (
        "T70 join on a mask",
        "SELECT count(*) AS n FROM fix_.population a JOIN fix_.population b USING (name)",
        N,
        Rows(r#"[{"n":3}]"#),
    ),
    (
        "T71 masks join with literals",
        "SELECT p.id FROM fix_.population p JOIN (SELECT '310101199007130010' AS k) x ON p.id_card = x.k",
        N,
        Rows("[]"),
    ),
    (
        "T72 cross join counts visible",
        "SELECT count(*) AS n FROM fix_.pay, fix_.population, fix_.legal_entity",
        N,
        Rows(r#"[{"n":84}]"#),
    ),
    (
        "T73 a CTE named as a resource",
        "WITH pay AS (SELECT 1 AS id) SELECT id FROM pay",
        N,
        Rows(r#"[{"id":1}]"#),
    ),
    (
        "T74 a CTE twice",
        "WITH p AS (SELECT * FROM fix_.pay) SELECT count(*) AS n FROM p a JOIN p b ON a.id = b.id",
        N,
        Rows(r#"[{"n":7}]"#),
    ),
    (
        "T75 limits below joins",
        "SELECT count(*) AS n FROM (SELECT id FROM fix_.pay LIMIT 3) a JOIN fix_.pay b ON a.id = b.id",
        N,
        Rows(r#"[{"n":3}]"#),
    ),
];

const NAMES: &[Case<'static>] = &[
    ("T76 a denied column is one that is not there", "SELECT bonus FROM fix_.pay", N, MISSING),
    ("T77 quoted", "SELECT \"bonus\" FROM fix_.pay", N, MISSING),
    ("T78 qualified", "SELECT fix_.pay.bonus FROM fix_.pay", N, MISSING),
    ("T79 through an alias", "SELECT p.note FROM fix_.pay p", N, MISSING),
    ("T80 by position", "SELECT * FROM fix_.pay ORDER BY 8", N, Code("invalid")),
    (
        "T81 column aliases do not reach it",
        "SELECT h FROM fix_.pay AS t(a,b,c,d,e,f,g,h)",
        N,
        Code("invalid"),
    ),
    ("T82 EXCEPT names", "SELECT * EXCEPT (bonus) FROM fix_.pay", N, MISSING),
    ("T83 REPLACE", "SELECT * REPLACE (bonus AS id) FROM fix_.pay", N, MISSING),
    ("T84 in a window", "SELECT row_number() OVER (ORDER BY bonus) AS r FROM fix_.pay", N, MISSING),
    ("T85 in a subquery", "SELECT id FROM fix_.pay WHERE EXISTS (SELECT bonus FROM fix_.pay)", N, MISSING),
    (
        "T86 correlated",
        "SELECT id FROM fix_.legal_entity l WHERE id IN (SELECT id FROM fix_.pay p WHERE p.bonus = l.id)",
        N,
        MISSING,
    ),
    ("T87 in GROUP BY", "SELECT count(*) AS n FROM fix_.pay GROUP BY note", N, MISSING),
    ("T88 in HAVING", "SELECT dept FROM fix_.pay GROUP BY dept HAVING max(bonus) > 0", N, MISSING),
    ("T89 in FILTER", "SELECT count(*) FILTER (WHERE note LIKE 'C%') AS n FROM fix_.pay", N, MISSING),
    ("T90 in USING", "SELECT a.id FROM fix_.pay a JOIN fix_.pay b USING (bonus)", N, MISSING),
    ("T91 system columns", "SELECT rowid FROM fix_.pay", N, MISSING),
    ("T92 more system columns", "SELECT _rowid_, ctid, oid FROM fix_.pay", N, MISSING),
    ("T93 dialect tables", "SELECT * FROM fix_.pay_fts", N, MISSING),
    ("T94 a path in a name", "SELECT * FROM \"fix_\".\"../copy/pay\"", N, MISSING),
    ("T95 table function form", "SELECT * FROM fix_.pay(1)", N, Code("function_not_allowed")),
    (
        "T96 hints are comments",
        "SELECT /*+ FULL(pay) */ count(*) AS n FROM fix_.pay",
        N,
        Rows(r#"[{"n":7}]"#),
    ),
    ("T97 case folding", "SELECT ID FROM FIX_.Pay WHERE Salary = 199", N, Rows(r#"[{"id":8}]"#)),
    ("T98 quoted case is kept", "SELECT \"ID\" FROM fix_.pay", N, MISSING),
    ("T99 full-width letters are other names", "SELECT ｂonus FROM fix_.pay", N, MISSING),
    (
        "T100 a long name",
        "SELECT aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa FROM fix_.pay",
        N,
        MISSING,
    ),
];

/// A060, A091: what one caller may see is not what the next one gets, on one connection, same statement, either order.
async fn two_callers_in_turn(range: &Range) {
    for library in GOVERNED {
        let mut pay = tables().remove(1);
        pay.scope = Some(json!({"compare": {"item": "dept", "op": "=", "value": "C"}}));
        pay.output.retain(|(item, _)| *item != "salary");
        range.grant(&pay, library, "human-resources").await;
        let sql = format!("SELECT count(*) AS n, max(id) AS z FROM {library}.pay");
        for _ in 0..3 {
            for (account, row) in
                [(ATTACKER, json!({"n": 7, "z": 13})), (NEIGHBOUR, json!({"n": 1, "z": 11}))]
            {
                let said = ask(range, account, &sql, |_| ()).await;
                assert_eq!(said, (200, json!([row])), "{library} {account}");
            }
        }
        let star = format!("SELECT salary FROM {library}.pay");
        assert_eq!(ask(range, NEIGHBOUR, &star, |_| ()).await.0, 404);
        assert_eq!(ask(range, ATTACKER, &star, |_| ()).await.0, 200);
    }
}

/// The call's other members open nothing: another purpose, another's grant, no case, nobody behind it.
async fn ask_in_other_words(range: &Range) {
    type Change = fn(&mut Value);
    let changes: [(Change, u16); 8] = [
        (|body| body["purpose"] = json!("statistics"), 403),
        (|body| body["purpose"] = json!("audit"), 403),
        (|body| body["purpose"] = json!("no-such-purpose"), 403),
        (|body| body["case"] = Value::Null, 403),
        (|body| body["operator"] = Value::Null, 403),
        (|body| body["operator"] = json!(NEIGHBOUR), 422),
        (|body| body["grants"] = json!(["grant_00000000000000000000000000000000"]), 404),
        (|body| body["role"] = json!("reviewer"), 422),
    ];
    for library in GOVERNED {
        let sql = format!("SELECT id FROM {library}.population");
        for (at, (change, status)) in changes.iter().enumerate() {
            let said = ask(range, ATTACKER, &sql, change).await;
            assert_eq!(said.0, *status, "{library} change {at}: {}", said.1);
        }
    }
}

async fn ask(range: &Range, account: &'static str, sql: &str, change: impl Fn(&mut Value)) -> (u16, Value) {
    let mut body = json!({"sql": sql, "purpose": PURPOSE, "case": "case-1", "operator": account});
    change(&mut body);
    let said = range.post("T words", account, "/v1/queries", &body).await;
    let answer = said.json();
    (said.status, if said.status == 200 { answer["rows"].clone() } else { answer })
}
