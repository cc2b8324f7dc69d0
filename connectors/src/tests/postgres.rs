//! PostgreSQL as a source: the same answers as any other, its own ways of comparing notwithstanding; read only, in time, without its words.

mod attacks;
mod rough;

use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::{
    postgres_server::{PASSWORD, PostgresServer, account, shared},
    *,
};
use crate::{
    PostgresConnection, PostgresTls,
    table::{Kind, SourceTable},
};

/// A database of one test, at the shared server.
pub(in crate::tests) struct Base {
    pub(super) server: &'static PostgresServer,
    pub(super) name: String,
    pub(super) folder: TempDir,
}

impl Base {
    /// A fresh database where `script` ran as its owner; the hub's account may then read everything in it.
    pub(in crate::tests) async fn new(script: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        Self::at(shared(), &format!("base_{}", NUMBER.fetch_add(1, Ordering::Relaxed)), script).await
    }

    pub(super) async fn at(server: &'static PostgresServer, name: &str, script: &str) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        fs::write(folder.path().join("password"), format!("{PASSWORD}\n")).expect("password");
        let base = Self { server, name: name.to_owned(), folder };
        let mut owner = PgConnection::connect(&server.url("postgres")).await.expect("the server");
        for sql in [account(), format!("CREATE DATABASE {name} TEMPLATE template0")] {
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut owner).await.expect("made");
        }
        base.run(script).await;
        base.run("GRANT SELECT ON ALL TABLES IN SCHEMA public TO hub").await;
        base
    }

    /// Runs SQL as the owner.
    pub(in crate::tests) async fn run(&self, script: &str) {
        let mut owner = self.owner().await;
        sqlx::raw_sql(AssertSqlSafe(script.to_owned())).execute(&mut owner).await.expect("script");
    }

    pub(super) async fn owner(&self) -> PgConnection {
        PgConnection::connect(&self.server.url(&self.name)).await.expect("the owner's connection")
    }

    pub(super) fn connection(&self) -> PostgresConnection {
        PostgresConnection {
            name: "market-registry".to_owned(),
            host: "127.0.0.1".to_owned(),
            port: self.server.port,
            database: self.name.clone(),
            user: "hub".to_owned(),
            password_file: Some(self.folder.path().join("password")),
            tls: PostgresTls::Disable,
            connections_max: 4,
            connect_timeout_ms: 20_000,
            statement_timeout_ms: 60_000,
            departments: vec!["market".into()],
        }
    }

    /// Sources that know this database as `market-registry`.
    pub(super) fn sources(&self, limits: SourceLimits) -> Sources {
        self.sources_with(limits, |_| ())
    }

    pub(super) fn sources_with(
        &self,
        limits: SourceLimits,
        set: impl FnOnce(&mut PostgresConnection),
    ) -> Sources {
        let mut connection = self.connection();
        set(&mut connection);
        let root = self.folder.path();
        Sources::new(root, &root.join("index"), limits).expect("sources").with_postgres(vec![connection])
    }
}

pub(in crate::tests) fn bound(table: &str) -> Binding {
    Binding::Postgres {
        connection: "market-registry".to_owned(),
        schema: "public".to_owned(),
        table: table.to_owned(),
    }
}

/// A table with the items `(item and column, type)`.
pub(super) fn table(name: &str, items: &[(&str, ItemType)]) -> Resource {
    resource(bound(name), items.iter().map(|(name, kind)| item(name, *kind, None)).collect())
}

/// The register of the other bindings, as a script.
pub(in crate::tests) fn companies(rows: impl Iterator<Item = i32>) -> String {
    let mut script = "CREATE TABLE \"the companies\" (unused bytea, share float8, founded date, \
        \"Company ID\" varchar, number int4, capital numeric);"
        .to_owned();
    for n in rows {
        let (id, number, founded, share, capital) = row(n);
        let quoted = |cell: Option<String>| cell.map_or("NULL".to_owned(), |cell| format!("'{cell}'"));
        script.push_str(&format!(
            "INSERT INTO \"the companies\" VALUES ('x', {}, {}, {}, {}, {});",
            share.map_or("NULL".to_owned(), |share| format!("{share:?}")),
            quoted(founded.map(iso)),
            quoted(id),
            number.map_or("NULL".to_owned(), |number| number.to_string()),
            quoted(capital),
        ));
    }
    script
}

#[tokio::test]
async fn postgres_answers_as_sqlite_does() {
    let (bench, base) = (Bench::new(), Base::new(&companies(0..ROWS)).await);
    let bindings = three_bindings(&bench).await;
    let (_, reference) = bindings.last().expect("sqlite");
    let asked = resource(bound("the companies"), company_items());
    let (sources, others) = (base.sources(SourceLimits::default()), bench.sources(SourceLimits::default()));
    let checked = sources.check(&asked).await.expect("check");
    assert_eq!((checked.files, checked.rows), (0, None));
    for sql in super::bindings::QUESTIONS {
        let expect = ask(&others, reference, sql).await.expect(sql);
        assert_eq!(ask(&sources, &asked, sql).await.expect(sql), expect, "{sql}");
    }
    let shown = ask(&sources, &asked, "explain select id from t").await.expect("explain");
    assert!(!shown.contains("market") && !shown.contains("compan"), "{shown}");
}

#[tokio::test]
async fn values_are_bound_and_limits_wait_for_filters() {
    let base = Base::new(&companies(0..50)).await;
    let asked = resource(bound("the companies"), company_items());
    let sources = base.sources(SourceLimits { line_bytes_max: 9, ..SourceLimits::default() });
    let source = sources.open(&asked).await.expect("open").table();
    let table = (source.as_ref() as &dyn std::any::Any).downcast_ref::<SourceTable>().expect("table");
    let Kind::Postgres(table) = &table.kind else { panic!("postgres") };
    let from = "FROM \"public\".\"the companies\" AS s";
    let id = "CASE WHEN octet_length(s.\"Company ID\"::text) <= 9 THEN s.\"Company ID\"::text ELSE left(s.\"Company ID\"::text, 10) END";
    for (sql, expect, params) in [
        ("select count(*) from t", format!("SELECT count(*) {from}"), 0),
        ("select number from t limit 3", format!("SELECT s.\"number\" {from} LIMIT 3"), 0),
        (
            "select number from t where id = 'x'' or 1=1 --' limit 3",
            format!("SELECT {id}, s.\"number\" {from} WHERE s.\"Company ID\" = ANY($1)"),
            1,
        ),
        (
            "select number from t where number > 5 and founded > date '2000-01-01' and capital <= 7.5",
            format!(
                "SELECT s.\"number\", s.\"founded\", s.\"capital\"::text {from} WHERE \
                (s.\"number\" > ($1)[1] AND s.\"founded\" > ($2)[1] AND s.\"capital\" <= ($3::numeric[])[1])"
            ),
            3,
        ),
        (
            "select number from t where id > 'a' and id not in ('b', 'c', 'd', 'e')",
            format!(
                "SELECT {id}, s.\"number\" {from} WHERE \
                (s.\"Company ID\" COLLATE \"C\" > ($1)[1] AND s.\"Company ID\" <> ALL($2))"
            ),
            2,
        ),
        ("select number from t where upper(id) = 'X'", format!("SELECT {id}, s.\"number\" {from}"), 0),
    ] {
        table.sent.lock().expect("sent").clear();
        ask(&sources, &asked, sql).await.expect(sql);
        let sent = table.sent.lock().expect("sent").clone();
        assert_eq!(sent.iter().map(|sent| sent.sql.clone()).collect::<Vec<_>>(), [expect], "{sql}");
        assert_eq!(sent.iter().map(|sent| sent.params.len()).sum::<usize>(), params, "{sql}");
    }
}

#[tokio::test]
async fn keys_are_found_in_every_type_that_holds_them() {
    let base = Base::new(
        "CREATE EXTENSION citext; CREATE DOMAIN code AS varchar CHECK (length(VALUE) < 9); CREATE TYPE mood AS ENUM ('glad', 'sad');\
        CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);\
        CREATE TABLE k (t text, v varchar(9), c char(9), x citext, d code, m mood, l text COLLATE loose, u uuid, n int2, b int8,\
          q numeric, day date, ts timestamp, tz timestamptz, js jsonb);\
        INSERT INTO k VALUES ('glad','glad','glad','glad','glad','glad','glad','0a0a0a0a-0000-4000-8000-00000000000a',7,7,7.5,\
          '2024-02-29','2024-02-29 01:02:03.000004','2024-02-29 01:02:03.000004+00','{}'),\
          ('GLAD','GLAD','GLAD','GLAD','GLAD','sad','GLAD',NULL,NULL,8,'NaN','infinity','infinity','-infinity',NULL);",
    )
    .await;
    let sources = base.sources(SourceLimits::default());
    let check = async |column: &str, kind: ItemType, key: &str, count: usize| {
        let asked =
            resource(bound("k"), vec![item("id", kind, Some(column)), item("b", ItemType::Integer, None)]);
        let keys = [key.to_owned(), "no\0such".to_owned(), "none".to_owned()];
        let found = sources.open(&asked).await.expect(column).lookup("id", &keys, &[1]).await.expect(column);
        assert_eq!(found.key_index, vec![0; count], "{column} {key}");
    };
    for column in ["t", "v", "c", "x", "d", "m", "l"] {
        check(column, ItemType::Text, "glad", 1).await;
        check(column, ItemType::Text, "Glad", 0).await;
        check(column, ItemType::Text, " glad ", 1).await;
        check(column, ItemType::Text, "glad' OR ''='", 0).await;
    }
    check("u", ItemType::Text, "0a0a0a0a-0000-4000-8000-00000000000a", 1).await;
    check("u", ItemType::Text, "0A0A0A0A-0000-4000-8000-00000000000A", 0).await;
    for column in ["n", "b"] {
        check(column, ItemType::Text, "7", 1).await;
        check(column, ItemType::Text, "07", 0).await;
        check(column, ItemType::Integer, "07", 1).await;
        check(column, ItemType::Integer, "99999999999999999999", 0).await;
        check(column, ItemType::Decimal, "7.0000", 1).await;
        check(column, ItemType::Decimal, "7.5", 0).await;
    }
    check("q", ItemType::Decimal, "7.50", 1).await;
    check("q", ItemType::Integer, "7", 0).await;
    check("day", ItemType::Date, "20240229", 1).await;
    check("ts", ItemType::Timestamp, "2024-02-29T01:02:03.000004Z", 1).await;
    check("tz", ItemType::Timestamp, "2024-02-29T09:02:03.000004+08:00", 1).await;
    let json = resource(bound("k"), vec![item("id", ItemType::Text, Some("js"))]);
    let Err(SourceError::Mismatch(faults)) = sources.check(&json).await else { panic!("a key in JSON") };
    assert_eq!(faults.0[0].pointer, "/items/0/key");
}

#[tokio::test]
async fn keys_and_equality_are_asked_so_that_an_index_answers() {
    let base = Base::new(
        "CREATE TABLE t (id varchar COLLATE \"und-x-icu\" PRIMARY KEY, number int4 UNIQUE, founded date UNIQUE)",
    )
    .await;
    let items = vec![
        item("id", ItemType::Text, None),
        item("number", ItemType::Integer, None),
        item("founded", ItemType::Date, None),
    ];
    let (asked, sources) = (resource(bound("t"), items), base.sources(SourceLimits::default()));
    let source = sources.open(&asked).await.expect("open");
    let table = source.table();
    let table = (table.as_ref() as &dyn std::any::Any).downcast_ref::<SourceTable>().expect("table");
    let Kind::Postgres(table) = &table.kind else { panic!("postgres") };
    for (key, value) in [("id", "x"), ("number", "7"), ("founded", "2024-02-29")] {
        source.lookup(key, &[value.to_owned()], &[0]).await.expect(key);
    }
    ask(&sources, &asked, "select number from t where id = 'x'").await.expect("equal");
    let mut owner = base.owner().await;
    sqlx::raw_sql("SET enable_seqscan = off; SET enable_bitmapscan = off")
        .execute(&mut owner)
        .await
        .expect("set");
    let sent = table.sent.lock().expect("sent").clone();
    assert_eq!(sent.len(), 4);
    for statement in sent {
        let array = match &statement.params[0] {
            crate::postgres_table::Values::Integer(_) => "'{7}'::int8[]",
            crate::postgres_table::Values::Day(_) => "'{2024-02-29}'::date[]",
            _ => "'{x}'::text[]",
        };
        let explain = format!("EXPLAIN {}", statement.sql.replace("$1", array));
        let plan: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(explain)).fetch_all(&mut owner).await.expect("a plan");
        assert!(plan.iter().any(|line| line.contains("Index Cond")), "{}: {plan:#?}", statement.sql);
    }
}
