//! Section 1: row filters and masks are not passed by predicates, casts, joins, names or parameters (A001–A070).

use super::range::{Case, NO_PARAMS, Range, Want};
use Want::{Code, Count, Ordered, Rows, Same};

#[tokio::test(flavor = "multi_thread")]
async fn hidden_rows_and_masked_values_do_not_answer() {
    let range = Range::open().await;
    range.check(ROWS).await;
    range.check(COLUMNS).await;
    range.check(MASKS).await;
    range.check(NAMES).await;
    range.check(TYPES).await;
    range.finish().await;
}

const ROWS: &[Case<'static>] = &[
    ("A001", "SELECT id FROM fix_.pay WHERE 1/(salary-200)>-10", NO_PARAMS, Same),
    (
        "A002",
        "SELECT id FROM fix_.pay WHERE CAST(CASE WHEN name LIKE 'CANARY%' THEN name ELSE '1' END AS INT)=1",
        NO_PARAMS,
        Same,
    ),
    (
        "A003",
        "SELECT id FROM fix_.pay WHERE arrow_cast(CASE WHEN salary BETWEEN 200 AND 249 THEN name ELSE '1' END,'Int32')=1",
        NO_PARAMS,
        Code("function_not_allowed"),
    ),
    ("A004", "SELECT id FROM fix_.pay WHERE CASE WHEN salary=200 THEN 1/0 ELSE 1 END=1", NO_PARAMS, Same),
    ("A005", "SELECT id FROM fix_.pay WHERE id IN (1,2) AND CAST(name AS INT)=1", NO_PARAMS, Rows("[]")),
    ("A006", "SELECT salary FROM fix_.pay GROUP BY salary HAVING 1/(salary-200)>-10", NO_PARAMS, Same),
    ("A008", "SELECT DISTINCT 1/(salary-200) AS q FROM fix_.pay", NO_PARAMS, Same),
    (
        "A009",
        "SELECT a.id FROM fix_.pay a JOIN fix_.pay b ON 1/(a.salary-200)=1/(b.salary-200)",
        NO_PARAMS,
        Same,
    ),
    ("A010", "SELECT id FROM fix_.pay LEFT JOIN (SELECT 1 k) x ON CAST(name AS INT)=x.k", NO_PARAMS, Same),
    (
        "A011",
        "SELECT id FROM fix_.pay WHERE EXISTS (SELECT 1 FROM fix_.pay p2 WHERE p2.name LIKE 'CANARY%')",
        NO_PARAMS,
        Rows("[]"),
    ),
    ("A013", "SELECT (SELECT count(*) FROM fix_.pay) AS n", NO_PARAMS, Rows(r#"[{"n":7}]"#)),
    ("A014", "SELECT count(*) AS n FROM fix_.pay", NO_PARAMS, Rows(r#"[{"n":7}]"#)),
    (
        "A015",
        "SELECT min(salary), max(salary), sum(salary), avg(salary), median(salary) FROM fix_.pay",
        NO_PARAMS,
        Same,
    ),
    ("A016", "SELECT approx_distinct(salary) FROM fix_.pay", NO_PARAMS, Code("function_not_allowed")),
    ("A017", "SELECT count(*) FILTER (WHERE dept='B') AS n FROM fix_.pay", NO_PARAMS, Rows(r#"[{"n":0}]"#)),
    ("A018", "SELECT * FROM fix_.pay LIMIT 2", NO_PARAMS, Count(2)),
    ("A018b", "SELECT id FROM fix_.pay LIMIT 100", NO_PARAMS, Count(7)),
    (
        "A020",
        "SELECT id, row_number() OVER (ORDER BY salary, id) AS r FROM fix_.pay ORDER BY r",
        NO_PARAMS,
        Ordered,
    ),
    (
        "A022",
        "SELECT id, ntile(100) OVER (ORDER BY salary, id) AS t, percent_rank() OVER (ORDER BY salary) AS p FROM fix_.pay",
        NO_PARAMS,
        Same,
    ),
    ("A024", "SELECT id FROM fix_.pay TABLESAMPLE SYSTEM (10)", NO_PARAMS, Code("statement_not_allowed")),
    ("A025", "SELECT dept FROM fix_.pay WHERE dept='B'", NO_PARAMS, Rows("[]")),
    (
        "A064",
        "SELECT id FROM fix_.pay WHERE random()<0.5 AND 1/(salary-200)>0",
        NO_PARAMS,
        Code("function_not_allowed"),
    ),
];

const COLUMNS: &[Case<'static>] = &[
    ("A026", "SELECT * FROM fix_.population WHERE phone LIKE '138%'", NO_PARAMS, Code("not_found")),
    ("A027", "SELECT id FROM fix_.population ORDER BY phone LIMIT 1", NO_PARAMS, Code("not_found")),
    ("A028a", "SELECT count(phone) FROM fix_.population", NO_PARAMS, Code("not_found")),
    ("A028b", "SELECT count(*) FROM fix_.population GROUP BY phone", NO_PARAMS, Code("not_found")),
    ("A028c", "SELECT max(phone) FROM fix_.population", NO_PARAMS, Code("not_found")),
    (
        "A029",
        "SELECT a.id FROM fix_.population a JOIN fix_.population b USING (phone)",
        NO_PARAMS,
        Code("not_found"),
    ),
    (
        "A030",
        "SELECT * FROM fix_.legal_entity NATURAL JOIN (SELECT id, region FROM fix_.population) p",
        NO_PARAMS,
        Same,
    ),
    ("A031a", "SELECT * EXCLUDE (id) FROM fix_.population", NO_PARAMS, Same),
    ("A031b", "SELECT fix_.population.* FROM fix_.population", NO_PARAMS, Same),
    // The engine knows a table's `*` by its full name or its alias only.
    ("A031f", "SELECT population.* FROM fix_.population", NO_PARAMS, Code("invalid")),
    ("A031g", "SELECT p.* FROM fix_.population p", NO_PARAMS, Same),
    ("A031c", "SELECT COLUMNS('.*') FROM fix_.population", NO_PARAMS, Code("function_not_allowed")),
    ("A031d", "SELECT * EXCLUDE (phone) FROM fix_.population", NO_PARAMS, Code("not_found")),
    ("A031e", "SELECT * FROM fix_.population", NO_PARAMS, Same),
    ("A034", "SELECT phone FROM (SELECT * FROM fix_.population)", NO_PARAMS, Code("not_found")),
    (
        "A035",
        "WITH population AS (SELECT * FROM fix_.population) SELECT phone FROM population",
        NO_PARAMS,
        Code("not_found"),
    ),
];

const MASKS: &[Case<'static>] = &[
    ("A037a", "SELECT id FROM fix_.population WHERE id_card LIKE '3101%'", NO_PARAMS, Rows("[]")),
    (
        "A037b",
        "SELECT count(*) AS n FROM fix_.population WHERE id_card LIKE '*%'",
        NO_PARAMS,
        Rows(r#"[{"n":3}]"#),
    ),
    ("A038", "SELECT id FROM fix_.population WHERE id_card='310101199007130010'", NO_PARAMS, Rows("[]")),
    ("A038p", "SELECT id FROM fix_.population WHERE id_card=$1", r#"["310101199007130010"]"#, Rows("[]")),
    ("A039", "SELECT id FROM fix_.population WHERE substr(id_card,7,8)='19900713'", NO_PARAMS, Rows("[]")),
    (
        "A040",
        "SELECT id_card FROM fix_.population GROUP BY id_card",
        NO_PARAMS,
        Rows(r#"[{"id_card":"***"}]"#),
    ),
    ("A041", "SELECT count(DISTINCT id_card) AS n FROM fix_.population", NO_PARAMS, Rows(r#"[{"n":1}]"#)),
    ("A042", "SELECT id_card FROM fix_.population ORDER BY id_card LIMIT 1", NO_PARAMS, Ordered),
    (
        "A043",
        "SELECT count(*) AS n FROM fix_.population a JOIN fix_.population b ON a.id_card=b.id_card",
        NO_PARAMS,
        Rows(r#"[{"n":9}]"#),
    ),
    (
        "A044",
        "SELECT max(id_card) AS m, string_agg(id_card,',') AS s FROM fix_.population",
        NO_PARAMS,
        Code("function_not_allowed"),
    ),
    (
        "A046",
        "SELECT id FROM fix_.population WHERE md5(id_card)=md5('110101199001011234')",
        NO_PARAMS,
        Code("function_not_allowed"),
    ),
    (
        "A047",
        "SELECT CASE WHEN id_card='310101199007130010' THEN 1 END AS c FROM fix_.population",
        NO_PARAMS,
        Rows(r#"[{"c":null},{"c":null},{"c":null}]"#),
    ),
    ("A049a", "SELECT id FROM fix_.population WHERE birth='1990-07-13'", NO_PARAMS, Rows("[]")),
    (
        "A049b",
        "SELECT count(*) AS n FROM fix_.population WHERE birth='1990-01-01'",
        NO_PARAMS,
        Rows(r#"[{"n":2}]"#),
    ),
    ("A049c", "SELECT id FROM fix_.population WHERE date_part('month', birth) > 1", NO_PARAMS, Rows("[]")),
    (
        "A050",
        "SELECT DISTINCT length(id_card) AS c, length(name) AS n FROM fix_.population",
        NO_PARAMS,
        Rows(r#"[{"c":3,"n":4}]"#),
    ),
];

const NAMES: &[Case<'static>] = &[
    ("A052", "SELECT * FROM fix_.credit", NO_PARAMS, Code("not_found")),
    ("A053a", "SELECT * FROM hub.fix_.credit", NO_PARAMS, Code("not_found")),
    ("A053b", "SELECT * FROM \"fix_\".\"credit\"", NO_PARAMS, Code("not_found")),
    ("A053c", "SELECT * FROM FIX_.CREDIT", NO_PARAMS, Code("not_found")),
    ("A053d", "SELECT * FROM \"fix_.credit\"", NO_PARAMS, Code("not_found")),
    ("A053e", "SELECT * FROM credit", NO_PARAMS, Code("not_found")),
    ("A053f", "SELECT * FROM public.credit", NO_PARAMS, Code("not_found")),
    ("A053g", "SELECT * FROM fix_.U&\"\\0063redit\"", NO_PARAMS, Code("invalid")),
    ("A053h", "SELECT * FROM \"FIX_\".\"CREDIT\"", NO_PARAMS, Code("not_found")),
    (
        "A054",
        "SELECT 1 AS one FROM fix_.legal_entity WHERE EXISTS (SELECT 1 FROM fix_.credit)",
        NO_PARAMS,
        Code("not_found"),
    ),
    (
        "A054b",
        "SELECT 1 AS one FROM fix_.legal_entity WHERE false AND EXISTS (SELECT 1 FROM fix_.credit)",
        NO_PARAMS,
        Code("not_found"),
    ),
    (
        "A054c",
        "WITH unused AS (SELECT * FROM fix_.credit) SELECT id FROM fix_.legal_entity",
        NO_PARAMS,
        Code("not_found"),
    ),
    (
        "A055a",
        "SELECT id FROM fix_.legal_entity UNION ALL SELECT id FROM fix_.credit",
        NO_PARAMS,
        Code("not_found"),
    ),
    (
        "A055b",
        "SELECT id FROM fix_.legal_entity INTERSECT SELECT id FROM fix_.credit",
        NO_PARAMS,
        Code("not_found"),
    ),
    (
        "A055c",
        "SELECT id FROM fix_.legal_entity EXCEPT SELECT id FROM fix_.credit",
        NO_PARAMS,
        Code("not_found"),
    ),
    (
        "A057",
        "SELECT * FROM fix_.legal_entity l, LATERAL (SELECT * FROM fix_.credit c WHERE c.id=l.id) x",
        NO_PARAMS,
        Code("not_found"),
    ),
    ("A059a", "SELECT * FROM 'file:///data/pay.parquet'", NO_PARAMS, Code("not_found")),
    ("A059b", "SELECT * FROM \"s3://bucket/pay.parquet\"", NO_PARAMS, Code("not_found")),
    ("A059c", "SELECT * FROM 'http://127.0.0.1/pay.csv'", NO_PARAMS, Code("not_found")),
    ("A059d", "SELECT * FROM \"fix_/pay.parquet\"", NO_PARAMS, Code("not_found")),
    ("A059e", "SELECT * FROM '../fix_/pay.csv'", NO_PARAMS, Code("not_found")),
];

/// Types, overflow and failing expressions: what fails on visible rows fails without a value; what would fail on
/// hidden rows only does not fail.
const TYPES: &[Case<'static>] = &[
    ("A067a", "SELECT id FROM fix_.population WHERE name = 5", NO_PARAMS, Code("expression_failed")),
    ("A067b", "SELECT id FROM fix_.population WHERE birth > 'x'", NO_PARAMS, Code("expression_failed")),
    ("A067c", "SELECT id FROM fix_.pay WHERE salary = 'abc'", NO_PARAMS, Code("expression_failed")),
    ("A067d", "SELECT id FROM fix_.pay WHERE name = 5", NO_PARAMS, Same),
    // Visible salaries times that do not fit, so it fails; times the next hidden ones would not, so it does not.
    ("A068a", "SELECT salary*100000000000000000 AS x FROM fix_.pay", NO_PARAMS, Code("expression_failed")),
    ("A068b", "SELECT salary*10000000000000000 AS x FROM fix_.pay", NO_PARAMS, Same),
    ("A068c", "SELECT CAST(salary AS TINYINT) AS x FROM fix_.pay", NO_PARAMS, Code("expression_failed")),
    ("A068d", "SELECT CAST(salary AS SMALLINT) AS x FROM fix_.pay", NO_PARAMS, Same),
    ("A068e", "SELECT factorial(salary) FROM fix_.pay", NO_PARAMS, Code("function_not_allowed")),
    ("A068f", "SELECT chr(salary*100000) FROM fix_.pay", NO_PARAMS, Code("function_not_allowed")),
    ("A068g", "SELECT make_date(salary,1,1) FROM fix_.pay", NO_PARAMS, Code("function_not_allowed")),
    (
        "A068h",
        "SELECT split_part(name,'-',salary-200) AS x FROM fix_.pay WHERE salary IS NOT NULL",
        NO_PARAMS,
        Same,
    ),
    ("A068i", "SELECT decode(name,'base64') FROM fix_.pay", NO_PARAMS, Code("function_not_allowed")),
    ("A068j", "SELECT to_timestamp(name) AS x FROM fix_.population", NO_PARAMS, Code("expression_failed")),
    ("A069", "SELECT regexp_like(name,'(') FROM fix_.pay", NO_PARAMS, Code("function_not_allowed")),
];
