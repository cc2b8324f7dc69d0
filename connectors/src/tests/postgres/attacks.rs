//! What a PostgreSQL source could do to the hub or to an answer, each with the rule it tests.

use super::*;

/// Cells on which PostgreSQL and Arrow do not agree by themselves.
const LOOSE: &str = "CREATE EXTENSION citext;\
    CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);\
    CREATE COLLATION german (provider = icu, locale = 'de');\
    CREATE DOMAIN code AS text;\
    CREATE TABLE t (s text, l text COLLATE loose, g text COLLATE german, x citext, c char(4), d code, v varchar,\
      n int4, q numeric, f float8, r float4, day date, ts timestamp, tz timestamptz, b bool);\
    INSERT INTO t VALUES \
    ('a','a','a','a','a','a','a',1,1,1,1,'2024-02-29','2024-02-29','2024-02-29 00:00+00',true),\
    ('A','A','A','A','A','A','A',-1,1.5,'NaN','NaN','infinity','infinity','infinity',false),\
    ('a ','a ','a ','a ','a ','a ','a ',0,'NaN',0.0,0.0,'-infinity','-infinity','-infinity',NULL),\
    ('ä','ä','ä','ä','ä','ä','ä',7,99999999999999999999999999999999999999999999,-0.0,-0.0,'0044-03-15 BC','0044-03-15 BC','0044-03-15 BC',true),\
    ('','','','','','','',2147483647,-0.00001,'Infinity','Infinity','0001-01-01','0001-01-01','0001-01-01 00:00+00',false),\
    ('Z','Z','Z','Z','Z','Z','Z',-2147483648,0.0001,2.5,0.1,'9999-12-31','9999-12-31 23:59:59.999999','9999-12-31 23:59:59.999999+00',NULL),\
    ('张','张','张','张','张','张','张',3,12.5000,'-Infinity',16777217,'10000-01-01','10000-01-01','10000-01-02',true),\
    (NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);";

fn loose() -> Resource {
    use ItemType::*;
    table(
        "t",
        &[
            ("s", Text),
            ("l", Text),
            ("g", Text),
            ("x", Text),
            ("c", Text),
            ("d", Text),
            ("v", Text),
            ("n", Integer),
            ("q", Decimal),
            ("f", Float),
            ("r", Float),
            ("day", Date),
            ("ts", Timestamp),
            ("tz", Timestamp),
            ("b", Boolean),
        ],
    )
}

fn filters() -> Vec<String> {
    let mut filters = Vec::new();
    let mut compare = |columns: &[&str], literals: &[&str]| {
        for column in columns {
            for literal in literals {
                for operator in ["=", "<>", "<", "<=", ">", ">="] {
                    filters.push(format!("{column} {operator} {literal}"));
                }
                filters.push(format!("{column} in ({literal}, {})", literals[0]));
                filters.push(format!("{column} not in ({literal}, {})", literals[0]));
                filters.push(format!("{column} between {} and {literal}", literals[0]));
            }
            filters.push(format!("{column} is null"));
            filters.push(format!("{column} is not null"));
        }
    };
    compare(&["s", "l", "g", "x", "c", "d", "v"], &["'a'", "'a '", "'ä'", "'B'"]);
    compare(&["n"], &["1", "0", "-2147483648", "9223372036854775807"]);
    compare(
        &["q"],
        &["CAST(1 AS DECIMAL(38,4))", "CAST(0.0001 AS DECIMAL(38,4))", "CAST(-1 AS DECIMAL(38,4))"],
    );
    compare(&["f", "r"], &["1.0", "0.0", "-0.0", "0.1", "1e300", "16777216.0"]);
    compare(&["day"], &["DATE '2024-02-29'", "DATE '0001-01-01'", "DATE '9999-12-31'"]);
    let instants = [
        "arrow_cast('2024-02-29T00:00:00Z', 'Timestamp(Microsecond, Some(\"UTC\"))')",
        "arrow_cast('9999-12-31T23:59:59.999999Z', 'Timestamp(Microsecond, Some(\"UTC\"))')",
    ];
    compare(&["ts", "tz"], &instants);
    compare(&["b"], &["true", "false"]);
    filters
}

#[tokio::test]
async fn pushed_filters_lose_no_row_whatever_the_server_thinks_is_equal_or_less() {
    let base = Base::new(LOOSE).await;
    let (asked, sources) = (loose(), base.sources(SourceLimits::default()));
    let source = sources.open(&asked).await.expect("open");
    let session = SessionContext::new();
    session.register_table("t", source.table()).expect("register");
    // The reference: the same rows in memory, where nothing is pushed.
    let rows = session.sql("select * from t").await.expect("sql").collect().await.expect("rows");
    let memory = datafusion::datasource::MemTable::try_new(asked.schema(), vec![rows]).expect("memory");
    session.register_table("r", Arc::new(memory)).expect("register");
    let shown = async |sql: String| {
        let answer = session.sql(&sql).await.expect("sql").collect().await.expect("answer");
        pretty_format_batches(&answer).expect("pretty").to_string()
    };
    for filter in filters() {
        // One question a filter: the numbers of the rows that it and its contrary keep.
        let kept = async |table: &str| {
            let kept =
                |which: u8, filter: &str| format!("select {which} as f, n, q from {table} where {filter}");
            shown(format!(
                "{} union all {} order by 1, 2, 3",
                kept(0, &filter),
                kept(1, &format!("not ({filter})"))
            ))
            .await
        };
        assert_eq!(kept("t").await, kept("r").await, "{filter}");
    }
    // NaN, infinities, years before 1 and after 9999 and numbers that do not fit read null and are counted.
    let sources = base.sources(SourceLimits::default());
    ask(&sources, &asked, "select * from t").await.expect("all");
    let unfit = sources.open(&asked).await.expect("open").unfit();
    let unfit: Vec<(&str, u64)> = unfit.iter().map(|count| (count.item.as_str(), count.cells)).collect();
    assert_eq!(unfit, [("q", 3), ("f", 3), ("r", 2), ("day", 4), ("ts", 4), ("tz", 4)]);
    let extremes = ask(&sources, &asked, "select min(day), max(day), min(tz), max(tz), max(q) from t").await;
    let extremes = extremes.expect("extremes");
    for expect in
        ["0001-01-01", "9999-12-31", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "12.5000"]
    {
        assert!(extremes.contains(expect), "{extremes}");
    }
    let padded = ask(&sources, &asked, "select count(*) from t where c = 'a'").await.expect("padded");
    assert!(padded.contains("| 2 "), "char(n) reads without its padding: {padded}");
}

#[tokio::test]
async fn names_are_never_read_as_sql() {
    let column = "a\"; DROP TABLE victim; --";
    let schema = "sch\"ema; DROP TABLE victim; --";
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let (q, c) = (quoted(schema), quoted(column));
    let base = Base::new(&format!(
        "CREATE TABLE victim (n int4); INSERT INTO victim VALUES (1); CREATE SCHEMA {q}; GRANT USAGE ON SCHEMA {q} TO hub;\
        CREATE TABLE {q}.\"t'\"\"$1\" ({c} text, \"$1\" int4); INSERT INTO {q}.\"t'\"\"$1\" VALUES ('x', 5); GRANT SELECT ON {q}.\"t'\"\"$1\" TO hub",
    ))
    .await;
    let binding = Binding::Postgres {
        connection: "market-registry".to_owned(),
        schema: schema.to_owned(),
        table: "t'\"$1".to_owned(),
    };
    let items = vec![item("id", ItemType::Text, Some(column)), item("n", ItemType::Integer, Some("$1"))];
    let (asked, sources) = (resource(binding, items), base.sources(SourceLimits::default()));
    let shown = ask(&sources, &asked, "select id, n from t where id >= 'x' and n = 5").await.expect("names");
    assert!(shown.contains("| x  | 5 |"), "{shown}");
    let keys = ["x".to_owned(), "'; DROP TABLE victim; --".to_owned()];
    let found = sources.open(&asked).await.expect("open").lookup("id", &keys, &[1]).await.expect("found");
    assert_eq!(found.key_index, [0]);
    base.run("SELECT n FROM victim").await;
}

#[tokio::test]
async fn a_search_path_and_operators_of_the_source_change_no_meaning() {
    let base = Base::new(
        "CREATE TABLE t (s text, n int4); INSERT INTO t VALUES ('a', 1), ('b', 2);\
        CREATE SCHEMA evil; GRANT USAGE ON SCHEMA evil TO hub;\
        CREATE FUNCTION evil.never(text, text) RETURNS bool LANGUAGE sql AS 'SELECT false';\
        CREATE FUNCTION evil.octet_length(text) RETURNS int4 LANGUAGE sql AS 'SELECT 999999999';\
        CREATE OPERATOR evil.= (leftarg = text, rightarg = text, function = evil.never);\
        CREATE TABLE evil.pg_class (oid oid, relname text, relkind text, relnamespace oid);",
    )
    .await;
    base.run(&format!("ALTER ROLE hub IN DATABASE {} SET search_path = evil, pg_catalog, public", base.name))
        .await;
    base.run(&format!("ALTER ROLE hub IN DATABASE {} SET default_transaction_read_only = off", base.name))
        .await;
    let asked = table("t", &[("s", ItemType::Text), ("n", ItemType::Integer)]);
    let shown = ask(&base.sources(SourceLimits::default()), &asked, "select n from t where s = 'a'").await;
    assert!(shown.expect("rows").contains("| 1 |"));
}

#[tokio::test]
async fn functions_below_a_view_write_nothing_leave_nothing_and_say_nothing() {
    let base = Base::new(
        "CREATE TABLE victim (n int4);\
        CREATE FUNCTION writes() RETURNS int4 LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.victim VALUES (1); RETURN 1; END $$;\
        CREATE FUNCTION opens() RETURNS int4 LANGUAGE plpgsql AS $$ BEGIN \
          PERFORM set_config('default_transaction_read_only', 'off', false); PERFORM set_config('search_path', 'public', false);\
          PERFORM set_config('TimeZone', 'Asia/Shanghai', false); RETURN 1; END $$;\
        CREATE FUNCTION frees() RETURNS int4 LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('transaction_read_only', 'off', false); RETURN 1; END $$;\
        CREATE FUNCTION tells() RETURNS int4 LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'CANARY 13800000000' USING DETAIL = 'CANARY'; END $$;\
        CREATE FUNCTION settings() RETURNS text LANGUAGE sql AS $$ SELECT concat_ws('|', current_setting('transaction_read_only'),\
          current_setting('search_path'), current_setting('TimeZone'), current_setting('client_min_messages')) $$;\
        CREATE VIEW w AS SELECT writes() AS n; CREATE VIEW o AS SELECT opens() AS n; CREATE VIEW f AS SELECT frees() AS n;\
        CREATE VIEW c AS SELECT tells() AS n; CREATE VIEW s AS SELECT settings() AS t; GRANT INSERT ON victim TO hub;",
    )
    .await;
    let sources = base.sources_with(SourceLimits::default(), |connection| connection.connections_max = 1);
    let number = |view: &str| table(view, &[("n", ItemType::Integer)]);
    for view in ["w", "f", "c"] {
        let error = ask(&sources, &number(view), "select n from t").await.expect_err(view);
        assert!(matches!(error, SourceError::Unavailable(_)), "{view}: {error:?}");
        assert!(!format!("{error} {error:?}").contains("CANARY"), "{error:?}");
    }
    // One connection: what the last view set would be there for the next.
    ask(&sources, &number("o"), "select n from t").await.expect("it may set what it likes");
    ask(&sources, &number("w"), "select n from t").await.expect_err("still read only");
    let settings =
        ask(&sources, &table("s", &[("t", ItemType::Text)]), "select t from t").await.expect("settings");
    assert!(settings.contains("| on|pg_catalog, pg_temp|UTC|error |"), "{settings}");
    base.run("DO $$ BEGIN IF EXISTS (SELECT FROM victim) THEN RAISE 'written'; END IF; END $$").await;
}

#[tokio::test]
async fn a_huge_cell_is_refused_and_never_fetched_whole() {
    let base = Base::new(
        "CREATE TABLE t (n int4, s text, j jsonb, z bytea); INSERT INTO t VALUES (1, 'small', '{}', 'x'),\
        (2, repeat('张', 3000000), NULL, NULL), (3, NULL, jsonb_build_object('a', repeat('x', 9000000)), NULL), (4, NULL, NULL, repeat('x', 9000000)::bytea)",
    )
    .await;
    let items =
        [("n", ItemType::Integer), ("s", ItemType::Text), ("j", ItemType::Text), ("z", ItemType::Binary)];
    let sources = base.sources(SourceLimits { line_bytes_max: 1_000, ..SourceLimits::default() });
    for (n, column) in [(2, "s"), (3, "j"), (4, "z")] {
        let told = ask(&sources, &table("t", &items), &format!("select {column} from t where n = {n}")).await;
        assert!(matches!(told, Err(SourceError::TooLarge(_))), "{column}: {told:?}");
    }
    let shown = ask(&sources, &table("t", &items), "select s, j from t where n = 1").await.expect("small");
    assert!(shown.contains("| small | {} |"), "{shown}");
    let counted = ask(&sources, &table("t", &items), "select count(*), sum(n) from t").await.expect("others");
    assert!(counted.contains("| 4        | 10 "), "{counted}");
}

#[tokio::test]
async fn what_changed_since_the_check_is_refused_or_seen_never_guessed() {
    let base = Base::new("CREATE TABLE t (n int4, s text); INSERT INTO t VALUES (1, 'a')").await;
    let (asked, sources) = (
        table("t", &[("n", ItemType::Integer), ("s", ItemType::Text)]),
        base.sources(SourceLimits::default()),
    );
    let n = async || ask(&sources, &asked, "select n from t").await;
    assert!(n().await.expect("before").contains("| 1 |"));
    base.run("UPDATE t SET n = 2").await;
    assert!(n().await.expect("a committed change is seen at once").contains("| 2 |"));
    let mut owner = base.owner().await;
    for sql in ["BEGIN", "UPDATE t SET n = 3"] {
        sqlx::raw_sql(sql).execute(&mut owner).await.expect(sql);
    }
    assert!(n().await.expect("an open transaction is not").contains("| 2 |"));
    drop(owner);
    base.run("ALTER TABLE t ALTER n TYPE numeric").await;
    assert!(n().await.is_err(), "another type than checked");
    base.run("ALTER TABLE t ALTER n TYPE int4; ALTER TABLE t RENAME n TO m").await;
    assert!(n().await.is_err(), "no such column");
    base.run("ALTER TABLE t RENAME m TO n").await;
    assert!(n().await.expect("it is back by itself").contains("| 2 |"));
    base.run("REVOKE SELECT ON t FROM hub").await;
    assert!(n().await.is_err(), "no longer granted");
}

#[tokio::test]
async fn a_check_tells_all_faults_at_once_and_only_of_what_may_be_read() {
    let base = Base::new(
        "CREATE TABLE t (a text, b point, c int4[], d text); REVOKE SELECT ON ALL TABLES IN SCHEMA public FROM hub;\
        CREATE SCHEMA shut; CREATE TABLE shut.t (a text); GRANT SELECT ON shut.t TO hub;",
    )
    .await;
    base.run("REVOKE SELECT ON t FROM hub; GRANT SELECT (a, b, c) ON t TO hub").await;
    let sources = base.sources(SourceLimits::default());
    let pointers = async |asked: &Resource| match sources.check(asked).await {
        Err(SourceError::Mismatch(faults)) => {
            faults.0.into_iter().map(|fault| fault.pointer).collect::<Vec<_>>().join(" ")
        }
        other => format!("{other:?}"),
    };
    use ItemType::*;
    let all = [("a", Integer), ("b", Text), ("c", Text), ("d", Text), ("e", Text)];
    assert_eq!(
        pointers(&table("t", &all)).await,
        "/items/1/type /items/2/type /items/3/column /items/4/column"
    );
    for (schema, name) in
        [("public", "none"), ("shut", "t"), ("none", "t"), ("public", "T"), ("public", "t_pkey")]
    {
        let mut asked = table(name, &[("a", Text)]);
        asked.binding = Binding::Postgres {
            connection: "market-registry".to_owned(),
            schema: schema.to_owned(),
            table: name.to_owned(),
        };
        assert_eq!(pointers(&asked).await, "/binding/postgres/table", "{schema}.{name}");
    }
    let mut other = table("t", &[("a", Text)]);
    other.provider = "civil-affairs".into();
    assert_eq!(pointers(&other).await, "/binding", "another department's connection");
    let mut unknown = table("t", &[("a", Text)]);
    unknown.binding =
        Binding::Postgres { connection: "none".into(), schema: "public".into(), table: "t".into() };
    assert_eq!(pointers(&unknown).await, "/binding", "no such connection");
    assert!(matches!(sources.open(&other).await, Err(SourceError::Mismatch(_))), "nor is it opened");
}

#[tokio::test]
async fn views_materialized_views_and_partitions_are_tables_a_foreign_table_is_not() {
    let base = Base::new(
        "CREATE TABLE p (n int4) PARTITION BY RANGE (n); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);\
        INSERT INTO p VALUES (1), (2); CREATE VIEW v AS SELECT n FROM p WHERE n > 1; CREATE MATERIALIZED VIEW m AS SELECT n + 1 AS n FROM p;\
        CREATE EXTENSION postgres_fdw; CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw; CREATE FOREIGN TABLE f (n int4) SERVER s;",
    )
    .await;
    let sources = base.sources(SourceLimits::default());
    for (name, sum) in [("p", 3), ("p1", 3), ("v", 2), ("m", 5)] {
        let shown =
            ask(&sources, &table(name, &[("n", ItemType::Integer)]), "select sum(n) as s from t").await;
        assert!(shown.expect(name).contains(&format!("| {sum} |")), "{name}");
    }
    assert!(matches!(
        sources.check(&table("f", &[("n", ItemType::Integer)])).await,
        Err(SourceError::Mismatch(_))
    ));
}
