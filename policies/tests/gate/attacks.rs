//! The attack list, by number.

use policies::Limit::*;

use super::Answer::{Accept, Func, Over, Stmt, Syntax};
use super::{Case, check_all};

#[test]
fn row_filters_and_masks() {
    check_all(ROW_FILTERS_AND_MASKS);
}

const ROW_FILTERS_AND_MASKS: &[Case] = &[
    ("A001", "SELECT id FROM hr.pay WHERE 1/(salary-200)>-10", Accept),
    (
        "A002",
        "SELECT id FROM hr.pay WHERE CAST(CASE WHEN name LIKE 'CANARY%' THEN name ELSE '1' END AS INT)=1",
        Accept,
    ),
    (
        "A003",
        "SELECT id FROM hr.pay WHERE arrow_cast(CASE WHEN salary BETWEEN 200 AND 249 THEN name ELSE '1' END,'Int32')=1",
        Func("arrow_cast"),
    ),
    ("A004", "SELECT id FROM hr.pay WHERE CASE WHEN salary=200 THEN 1/0 ELSE 1 END=1", Accept),
    ("A005", "SELECT id FROM hr.pay WHERE id IN (1,2) AND CAST(name AS INT)=1", Accept),
    ("A006", "SELECT salary FROM hr.pay GROUP BY salary HAVING 1/(salary-200)>-10", Accept),
    ("A008", "SELECT DISTINCT 1/(salary-200) FROM hr.pay", Accept),
    ("A009", "SELECT a.id FROM hr.pay a JOIN hr.pay b ON 1/(a.salary-200)=1/(b.salary-200)", Accept),
    ("A010", "SELECT 1 FROM hr.pay LEFT JOIN (SELECT 1 k) x ON CAST(name AS INT)=x.k", Accept),
    (
        "A011",
        "SELECT 1 FROM hr.pay WHERE EXISTS (SELECT 1 FROM hr.pay p2 WHERE p2.name LIKE 'CANARY%')",
        Accept,
    ),
    ("A013", "SELECT (SELECT count(*) FROM hr.pay)", Accept),
    ("A014", "SELECT count(*) FROM hr.pay", Accept),
    ("A015", "SELECT min(salary), max(salary), sum(salary), avg(salary), median(salary) FROM hr.pay", Accept),
    ("A016", "SELECT approx_distinct(salary) FROM hr.pay", Func("approx_distinct")),
    ("A017", "SELECT count(*) FILTER (WHERE dept='B') FROM hr.pay", Accept),
    ("A018", "SELECT * FROM hr.pay LIMIT 2", Accept),
    ("A020", "SELECT row_number() OVER (ORDER BY salary) FROM hr.pay", Accept),
    (
        "A022",
        "SELECT ntile(100) OVER (ORDER BY salary), percent_rank() OVER w FROM hr.pay WINDOW w AS (ORDER BY salary)",
        Accept,
    ),
    ("A024", "SELECT id FROM hr.pay TABLESAMPLE SYSTEM (10)", Stmt),
    ("A025", "SELECT dept FROM hr.pay WHERE dept='B'", Accept),
    ("A026", "SELECT * FROM p.population WHERE phone LIKE '138%'", Accept),
    ("A029", "SELECT a.id FROM p.population a JOIN p.population b USING (phone)", Accept),
    ("A030", "SELECT * FROM p.population NATURAL JOIN hr.pay", Accept),
    ("A031a", "SELECT * EXCLUDE (id) FROM p.population", Accept),
    ("A031b", "SELECT population.* FROM p.population", Accept),
    ("A031c", "SELECT COLUMNS('.*') FROM p.population", Func("COLUMNS")),
    ("A034", "SELECT phone FROM (SELECT * FROM p.population)", Accept),
    ("A035", "WITH population AS (SELECT * FROM population) SELECT phone FROM population", Accept),
    ("A041", "SELECT count(DISTINCT id_card) FROM p.population", Accept),
    ("A044", "SELECT max(id_card), string_agg(id_card,',') FROM p.population", Func("string_agg")),
    ("A046", "SELECT 1 FROM p.population WHERE md5(id_card)=md5('110101')", Func("md5")),
    ("A049", "SELECT 1 FROM p.population WHERE birth='1990-01-01' AND birth > DATE '1990-01-01'", Accept),
    ("A052", "SELECT * FROM credit", Accept),
    ("A053a", "SELECT * FROM hub.public.credit", Accept),
    ("A053b", "SELECT * FROM \"credit\"", Accept),
    ("A053c", "SELECT * FROM U&\"\\0063redit\"", Syntax),
    ("A054", "SELECT 1 FROM x.legal_entity WHERE EXISTS (SELECT 1 FROM x.credit)", Accept),
    ("A055", "SELECT id FROM x.a UNION ALL SELECT id FROM x.b INTERSECT SELECT 1 EXCEPT SELECT 2", Accept),
    ("A057", "SELECT * FROM x.legal_entity l, LATERAL (SELECT * FROM x.credit c WHERE c.id=l.id) x", Accept),
    ("A059a", "SELECT * FROM 'file:///data/pay.parquet'", Accept),
    ("A059b", "SELECT * FROM \"s3://bucket/x\"", Accept),
    ("A064", "SELECT 1 FROM hr.pay WHERE random()<0.5 AND 1/(salary-200)>0", Func("random")),
    ("A067", "SELECT 1 FROM p.population WHERE name = 5 AND birth > 'x'", Accept),
    ("A068a", "SELECT CAST(salary AS TINYINT) FROM hr.pay", Accept),
    ("A068b", "SELECT factorial(salary) FROM hr.pay", Func("factorial")),
    ("A068c", "SELECT chr(salary*100000) FROM hr.pay", Func("chr")),
    ("A068d", "SELECT make_date(salary,1,1) FROM hr.pay", Func("make_date")),
    ("A068e", "SELECT split_part(name,'-',salary-200) FROM hr.pay", Accept),
    ("A068f", "SELECT decode(name,'base64') FROM hr.pay", Func("decode")),
    ("A068g", "SELECT to_timestamp(name) FROM hr.pay", Accept),
    ("A069", "SELECT regexp_like(name,'(') FROM hr.pay", Func("regexp_like")),
];

#[test]
fn plans_metadata_and_errors() {
    check_all(PLANS_METADATA_AND_ERRORS);
}

const PLANS_METADATA_AND_ERRORS: &[Case] = &[
    ("A071", "EXPLAIN SELECT 1", Stmt),
    ("A072", "EXPLAIN ANALYZE SELECT 1", Stmt),
    ("A073", "EXPLAIN VERBOSE SELECT 1", Stmt),
    ("A074", "EXPLAIN FORMAT pgjson SELECT 1", Stmt),
    ("A075", "DESCRIBE hr.pay", Stmt),
    ("A075b", "DESC hr.pay", Stmt),
    ("A076", "SHOW TABLES", Stmt),
    ("A077", "SHOW COLUMNS FROM credit", Stmt),
    ("A078", "SHOW CREATE TABLE pay", Stmt),
    ("A079", "SHOW ALL", Stmt),
    ("A080", "SHOW FUNCTIONS", Stmt),
    ("A081", "SELECT * FROM information_schema.tables", Accept),
    ("A081b", "SELECT * FROM datafusion.information_schema.columns", Accept),
    ("A083", "SELECT nosuchfn(1)", Func("nosuchfn")),
    ("A084a", "SELECT input_file_name()", Func("input_file_name")),
    ("A084b", "SELECT file_row_index()", Func("file_row_index")),
    ("A084c", "SELECT arrow_metadata(1)", Func("arrow_metadata")),
    ("A084d", "SELECT arrow_field(1)", Func("arrow_field")),
    ("A084e", "SELECT version()", Func("version")),
    ("A084f", "SELECT pg_backend_pid()", Func("pg_backend_pid")),
    ("A084g", "SELECT current_setting('x')", Func("current_setting")),
    ("A084h", "SELECT getenv('PATH')", Func("getenv")),
    ("A084i", "SELECT read_text('/etc/passwd')", Func("read_text")),
    ("A084j", "SELECT @@version", Stmt),
    ("A084k", "SELECT current_user", Func("current_user")),
    ("A094", "SELECT '\\n{\"decision\":\"allow\"}\u{2028}\u{1b}[31m'", Accept),
];

#[test]
fn writes_settings_and_sessions() {
    check_all(&REFUSED.map(|sql| ("A096-A115", sql, Stmt)));
    check_all(&[
        ("A115", "INSTALLX httpfs", Syntax),
        ("A115", "NOTIFYME x", Syntax),
        ("A114", "SELECT 1;", Accept),
        ("A114", "SELECT 1 ; -- done", Accept),
        ("A114", "-- first\nSELECT 1 /* ; DROP TABLE t */ ;", Accept),
        ("A105", "SELECT abs(-1)", Accept),
        ("A116", "SELECT $1, $256", Accept),
        ("A116", "SELECT $999999", Over(Parameters)),
        ("A116", "SELECT $0", Stmt),
        ("A116", "SELECT $99999999999999999999", Over(Parameters)),
        ("A116", "SELECT ?", Stmt),
        ("A116", "SELECT $name", Stmt),
        ("A116", "SELECT :name", Stmt),
    ]);
}

#[test]
fn exhaustion_by_function() {
    check_all(EXHAUSTION_BY_FUNCTION);
}

const EXHAUSTION_BY_FUNCTION: &[Case] = &[
    ("A121", "SELECT length(repeat('x',2000000000))", Func("repeat")),
    ("A122", "SELECT rpad(s,100000000) FROM a.b", Func("rpad")),
    ("A123", "SELECT lpad(s,100000000) FROM a.b", Func("lpad")),
    ("A124", "SELECT array_repeat(1,500000000)", Func("array_repeat")),
    ("A126", "SELECT * FROM range(0,1000000000)", Func("range")),
    ("A126b", "SELECT range(0,1000000000)", Func("range")),
    ("A128", "SELECT regexp_replace('aaa','a','aaaaaaaa','g')", Func("regexp_replace")),
    ("A130", "SELECT array_agg(a.id) FROM a.b a, a.b b", Func("array_agg")),
    ("A131", "SELECT sum(value) FROM generate_series(1,9000000000000000000)", Func("generate_series")),
    ("A132", "SELECT unnest(range(0,2e8))", Func("unnest")),
    ("A132b", "SELECT * FROM unnest([1,2])", Func("unnest")),
    ("A132c", "SELECT * FROM TABLE(generate_series(1,2))", Stmt),
    ("A133", "WITH RECURSIVE t AS (SELECT 1 n UNION ALL SELECT n+1 FROM t) SELECT * FROM t", Stmt),
    ("A135", "SELECT * FROM x.a a,x.b b,x.c c,x.d d WHERE a.id+b.id+c.id+d.id=7", Accept),
    ("A136", "SELECT * FROM x.a a JOIN x.b b ON a.x<b.x", Accept),
    ("A139", "SELECT 1 FROM x.a GROUP BY CUBE(a,b,c,d,e,f,g,h,i,j,k,l,m,n)", Over(GroupingSets)),
    ("A139b", "SELECT 1 FROM x.a GROUP BY CUBE(a,b,c,d)", Accept),
    ("A139c", "SELECT 1 FROM x.a GROUP BY CUBE(a,b,c,d), ROLLUP(e)", Over(GroupingSets)),
    ("A151", "SELECT 1 FROM x.a WHERE a ~ '(((a{1,100}){1,100}){1,100})'", Stmt),
    ("A161", "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a) FROM x.a", Func("percentile_cont")),
];

const REFUSED: [&str; 57] = [
    "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
    "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION 'http://169.254.169.254/'",
    "COPY (SELECT 1) TO '/any/path'",
    "INSERT INTO hr.pay VALUES (1)",
    "UPDATE hr.pay SET a = 1",
    "DELETE FROM hr.pay",
    "TRUNCATE hr.pay",
    "MERGE INTO hr.pay USING x.y ON true WHEN MATCHED THEN DELETE",
    "CREATE TABLE t AS SELECT 1",
    "CREATE VIEW v AS SELECT 1",
    "CREATE SCHEMA s",
    "CREATE DATABASE d",
    "CREATE INDEX i ON t (a)",
    "DROP TABLE hr.pay",
    "DROP FUNCTION abs",
    "CREATE FUNCTION f() RETURNS INT RETURN 1",
    "SET datafusion.runtime.memory_limit = '1K'",
    "SET datafusion.execution.target_partitions = 4096",
    "RESET datafusion.runtime.memory_limit",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "DEALLOCATE p",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT a",
    "START TRANSACTION",
    "SELECT 1; DROP TABLE hr.pay",
    "SELECT 1;;",
    "SELECT 1; SELECT 2",
    "SELECT 1 /* x */ ; -- y\n ; ",
    "ATTACH 'x' AS y",
    "PRAGMA x",
    "INSTALL httpfs",
    "LOAD httpfs",
    "VACUUM",
    "ANALYZE TABLE t",
    "KILL 1",
    "CALL f()",
    "GRANT SELECT ON t TO x",
    "REVOKE SELECT ON t FROM x",
    "LISTEN x",
    "LOCK TABLES t READ",
    "USE x",
    "DECLARE c CURSOR FOR SELECT 1",
    "UNLOAD (SELECT 1) TO 's3://x'",
    "COMMENT ON TABLE t IS 'x'",
    "ALTER TABLE t ADD COLUMN a INT",
    "FROM hr.pay",
    "FROM hr.pay SELECT a",
    "TABLE pay",
    "(DELETE FROM hr.pay)",
    "WITH x AS (DELETE FROM hr.pay RETURNING *) SELECT * FROM x",
    "WITH x AS (INSERT INTO hr.pay VALUES (1)) SELECT * FROM x",
    "SELECT a INTO t FROM hr.pay",
    "SELECT a FROM hr.pay FOR UPDATE",
    "SELECT a FROM hr.pay FOR SHARE",
];
