//! More cases of our own, from the rules behind the list: totals that must not move, shapes that must not open a way round.

use super::range::{Case, NO_PARAMS, Range, Want};
use Want::{Code, Count, Ordered, Rows, Same};

#[tokio::test(flavor = "multi_thread")]
async fn rules_hold_in_more_shapes() {
    let range = Range::open().await;
    range.check(NUMBERS).await;
    range.check(SHAPES).await;
    range.check(WORDS).await;
    range.finish().await;
}

const N: &str = NO_PARAMS;
const FAILED: Want = Code("expression_failed");
const MISSING: Want = Code("not_found");
const STATEMENT: Want = Code("statement_not_allowed");

/// Overflow, division and rounding: visible rows alone decide, and no wrong number is given out.
const NUMBERS: &[Case<'static>] = &[
    (
        "T101 a product that does not fit is a failure",
        "SELECT salary*100000000000000000 AS x FROM fix_.pay",
        N,
        FAILED,
    ),
    ("T102 a sum that does not fit", "SELECT salary+9223372036854775807 AS x FROM fix_.pay", N, FAILED),
    (
        "T103 a difference that does not fit",
        "SELECT -salary-9223372036854775807 AS x FROM fix_.pay",
        N,
        FAILED,
    ),
    ("T104 overflow of hidden rows alone", "SELECT salary*20000000000000000 AS x FROM fix_.pay", N, Same),
    ("T105 in a filter", "SELECT id FROM fix_.pay WHERE salary*100000000000000000 > 0", N, FAILED),
    ("T106 in a constant", "SELECT 9223372036854775807+1 AS x FROM fix_.pay", N, FAILED),
    ("T107 in a parameter", "SELECT id+$1 AS x FROM fix_.pay", "[9223372036854775807]", FAILED),
    ("T108 within 32 bits", "SELECT CAST(salary AS INT)*CAST(20000000 AS INT) AS x FROM fix_.pay", N, FAILED),
    (
        "T109 guarded by CASE",
        "SELECT CASE WHEN salary>250 THEN 0 ELSE salary*10000000000000000 END AS x FROM fix_.pay",
        N,
        Same,
    ),
    (
        "T110 in a join",
        "SELECT a.id FROM fix_.pay a JOIN fix_.pay b ON a.salary*20000000000000000 = b.salary",
        N,
        Rows("[]"),
    ),
    (
        "T111 in a subquery",
        "SELECT id FROM fix_.pay WHERE id IN (SELECT salary*100000000000000000 FROM fix_.pay)",
        N,
        FAILED,
    ),
    ("T112 in an order", "SELECT id FROM fix_.pay ORDER BY salary*100000000000000000", N, FAILED),
    ("T113 in a window", "SELECT sum(salary*2) OVER (ORDER BY id) AS s FROM fix_.pay", N, Same),
    ("T114 in a group", "SELECT id-5 AS g, count(*) AS n FROM fix_.pay GROUP BY id-5", N, Same),
    (
        "T115 a column without a name",
        "SELECT x FROM (SELECT id+1 FROM fix_.pay WHERE id=5) AS q(x)",
        N,
        Rows(r#"[{"x":6}]"#),
    ),
    ("T117 floats become no oracle", "SELECT count(*) AS n FROM fix_.pay WHERE score*1e308 > 1e308", N, Same),
    ("T118 modulo of the extremes", "SELECT salary % 7 AS m FROM fix_.pay WHERE salary IS NOT NULL", N, Same),
    ("T119 rounding", "SELECT round(score/3, 4) AS r FROM fix_.pay", N, Same),
    ("T120 averages of integers", "SELECT avg(salary) AS a FROM fix_.pay", N, Same),
];

/// Queries inside queries, and totals over them.
const SHAPES: &[Case<'static>] = &[
    (
        "T121 a lateral look at hidden rows",
        "SELECT l.id FROM fix_.legal_entity l WHERE EXISTS (SELECT 1 FROM fix_.pay p WHERE p.salary=200 AND p.id=l.id)",
        N,
        Rows("[]"),
    ),
    (
        "T122 NOT EXISTS of hidden rows is all",
        "SELECT count(*) AS n FROM fix_.legal_entity WHERE NOT EXISTS (SELECT 1 FROM fix_.pay WHERE salary=987123456789)",
        N,
        Rows(r#"[{"n":4}]"#),
    ),
    (
        "T123 a limit inside counts visible rows",
        "SELECT count(*) AS n FROM (SELECT id FROM fix_.pay LIMIT 100) q",
        N,
        Rows(r#"[{"n":7}]"#),
    ),
    (
        "T124 an offset inside too",
        "SELECT count(*) AS n FROM (SELECT id FROM fix_.pay OFFSET 3) q",
        N,
        Rows(r#"[{"n":4}]"#),
    ),
    (
        "T125 two limits",
        "SELECT count(*) AS n FROM (SELECT id FROM (SELECT id FROM fix_.pay LIMIT 5) q LIMIT 3) r",
        N,
        Rows(r#"[{"n":3}]"#),
    ),
    ("T126 DISTINCT of the scope's item", "SELECT DISTINCT dept FROM fix_.pay", N, Rows(r#"[{"dept":"A"}]"#)),
    (
        "T127 CUBE within its bound",
        "SELECT dept, id, count(*) AS n FROM fix_.pay GROUP BY CUBE(dept, id)",
        N,
        Same,
    ),
    (
        "T128 grouping sets tell no hidden group",
        "SELECT count(*) AS n FROM (SELECT dept FROM fix_.pay GROUP BY GROUPING SETS ((dept),())) q",
        N,
        Rows(r#"[{"n":2}]"#),
    ),
    (
        "T129 an outer join keeps nulls, not hidden rows",
        "SELECT count(*) AS n FROM fix_.legal_entity l LEFT JOIN fix_.pay p ON p.id = l.id WHERE p.id IS NOT NULL",
        N,
        Rows(r#"[{"n":0}]"#),
    ),
    (
        "T130 a cross join with nothing",
        "SELECT count(*) AS n FROM fix_.pay a, (SELECT id FROM fix_.pay WHERE salary=200) b",
        N,
        Rows(r#"[{"n":0}]"#),
    ),
    (
        "T131 a union of a table with itself",
        "SELECT count(*) AS n FROM (SELECT id FROM fix_.pay UNION ALL SELECT id FROM fix_.pay) q",
        N,
        Rows(r#"[{"n":14}]"#),
    ),
    (
        "T132 a union that removes doubles",
        "SELECT count(*) AS n FROM (SELECT dept FROM fix_.pay UNION SELECT dept FROM fix_.pay) q",
        N,
        Rows(r#"[{"n":1}]"#),
    ),
    (
        "T133 EXCEPT of hidden and visible",
        "SELECT 200 AS s EXCEPT SELECT salary FROM fix_.pay",
        N,
        Rows(r#"[{"s":200}]"#),
    ),
    ("T134 INTERSECT with a guess", "SELECT 200 AS s INTERSECT SELECT salary FROM fix_.pay", N, Rows("[]")),
    (
        "T135 a window counts what is visible",
        "SELECT DISTINCT count(*) OVER () AS n FROM fix_.pay",
        N,
        Rows(r#"[{"n":7}]"#),
    ),
    (
        "T136 ranks have no gaps of hidden rows",
        "SELECT max(r) AS m FROM (SELECT rank() OVER (ORDER BY id) AS r FROM fix_.pay) q",
        N,
        Rows(r#"[{"m":7}]"#),
    ),
    (
        "T137 lead does not step on hidden rows",
        "SELECT id, lead(id) OVER (ORDER BY id) AS x FROM fix_.pay",
        N,
        Same,
    ),
    ("T138 the last value", "SELECT last_value(id ORDER BY id) AS l FROM fix_.pay", N, Rows(r#"[{"l":13}]"#)),
    (
        "T139 nth_value past the end",
        "SELECT nth_value(id, 8 ORDER BY id) AS x FROM fix_.pay",
        N,
        Rows(r#"[{"x":null}]"#),
    ),
    ("T140 quartiles", "SELECT id, ntile(4) OVER (ORDER BY id) AS q FROM fix_.pay", N, Same),
    (
        "T141 cume_dist",
        "SELECT max(c) AS c FROM (SELECT cume_dist() OVER (ORDER BY id) AS c FROM fix_.pay) q",
        N,
        Rows(r#"[{"c":1.0}]"#),
    ),
    (
        "T142 bool_or over hidden truth",
        "SELECT bool_or(salary = 200) AS b FROM fix_.pay",
        N,
        Rows(r#"[{"b":false}]"#),
    ),
    (
        "T143 spread of hidden extremes",
        "SELECT round(stddev(score), 6) AS s, round(var_pop(score), 6) AS v FROM fix_.pay",
        N,
        Same,
    ),
    (
        "T144 WITH in WITH",
        "WITH a AS (SELECT * FROM fix_.pay), b AS (SELECT id FROM a) SELECT count(*) AS n FROM b",
        N,
        Rows(r#"[{"n":7}]"#),
    ),
    ("T145 an order of a mask", "SELECT id FROM fix_.population ORDER BY name, id", N, Ordered),
    ("T146 a group of a mask", "SELECT name, count(*) AS n FROM fix_.population GROUP BY name", N, Same),
    (
        "T147 masks of two tables join as shown",
        "SELECT count(*) AS n FROM fix_.population a JOIN fix_.population b ON substr(a.name,1,2)=substr(b.name,1,2)",
        N,
        Same,
    ),
    (
        "T148 VALUES with a guess",
        "SELECT count(*) AS n FROM (VALUES (200),(250)) AS g(s) JOIN fix_.pay p ON p.salary = g.s",
        N,
        Rows(r#"[{"n":0}]"#),
    ),
    (
        "T149 an empty IN of a hidden filter",
        "SELECT id FROM fix_.pay WHERE id NOT IN (SELECT id FROM fix_.pay WHERE dept='B')",
        N,
        Count(7),
    ),
    (
        "T150 ALL in disguise",
        "SELECT id FROM fix_.pay WHERE salary >= (SELECT max(salary) FROM fix_.pay)",
        N,
        Count(2),
    ),
];

/// What is written differently must not mean something else.
const WORDS: &[Case<'static>] = &[
    ("T151 a comment in a name", "SELECT id FROM fix_./**/credit", N, MISSING),
    ("T152 a line comment", "SELECT id FROM fix_.pay -- WHERE dept='B'", N, Count(7)),
    ("T154 a denied item behind a mask's name", "SELECT phone AS id_card FROM fix_.population", N, MISSING),
    (
        "T155 an alias named as a denied item",
        "SELECT id AS bonus FROM fix_.pay WHERE id=5",
        N,
        Rows(r#"[{"bonus":5}]"#),
    ),
    (
        "T156 ordered by such an alias",
        "SELECT id AS bonus FROM fix_.pay ORDER BY bonus LIMIT 1",
        N,
        Rows(r#"[{"bonus":5}]"#),
    ),
    ("T157 filtered by it reaches nothing", "SELECT id AS bonus FROM fix_.pay WHERE bonus = 5", N, MISSING),
    ("T158 a locking clause", "SELECT id FROM fix_.pay FOR UPDATE", N, STATEMENT),
    ("T159 FETCH", "SELECT id FROM fix_.pay FETCH FIRST 2 ROWS ONLY", N, STATEMENT),
    ("T160 INTO", "SELECT id INTO x FROM fix_.pay", N, STATEMENT),
    ("T162 a sample", "SELECT id FROM fix_.pay TABLESAMPLE BERNOULLI (50)", N, STATEMENT),
    (
        "T163 a function by another schema",
        "SELECT pg_catalog.count(*) FROM fix_.pay",
        N,
        Code("function_not_allowed"),
    ),
    ("T164 an escape in LIKE", "SELECT id FROM fix_.population WHERE name LIKE '%CANARY%'", N, Rows("[]")),
    (
        "T165 the wildcard alone",
        "SELECT count(*) AS n FROM fix_.population WHERE id_card LIKE '___'",
        N,
        Rows(r#"[{"n":3}]"#),
    ),
    (
        "T166 a parameter that is SQL stays text",
        "SELECT id FROM fix_.pay WHERE dept = $1",
        r#"["A' OR '1'='1"]"#,
        Rows("[]"),
    ),
    (
        "T167 a null parameter compares unknown",
        "SELECT id FROM fix_.pay WHERE dept = $1",
        "[null]",
        Rows("[]"),
    ),
];
