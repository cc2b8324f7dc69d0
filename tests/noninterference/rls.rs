//! The third oracle: PostgreSQL with row-level security over all rows, asked the part of SQL that both understand.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use catalog::ItemType;
use serde_json::Value as Json;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, Row};
use tempfile::TempDir;

use super::cells::Cell;
use super::expression::Column;
use super::reference::{CALLER, is_null};
use super::world::{Filling, Item, Table, World};
use super::write;

/// A server of its own in a folder of its own, on a free port of the loopback.
pub struct Postgres {
    programs: PathBuf,
    folder: TempDir,
    port: u16,
    user: Option<(u32, u32)>,
}

/// The newest installed one; `tests/run` installs what is missing.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("install `postgresql`, see tests/run");
    let mut found: Vec<PathBuf> = versions
        .flatten()
        .map(|version| version.path().join("bin"))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().expect("install `postgresql`, see tests/run")
}

fn id(option: &str, user: &[&str]) -> u32 {
    let said = Command::new("id").arg(option).args(user).output().expect("id runs");
    String::from_utf8_lossy(&said.stdout).trim().parse().expect("a number")
}

impl Postgres {
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("rls").tempdir().expect("a folder");
        let user = (id("-u", &[]) == 0).then(|| (id("-u", &["postgres"]), id("-g", &["postgres"])));
        if let Some((uid, gid)) = user {
            std::os::unix::fs::chown(folder.path(), Some(uid), Some(gid)).expect("chown");
        }
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = free.expect("a port").port();
        let postgres = Self { programs: programs(), folder, port, user };
        postgres.run("initdb", &["-A", "trust", "-U", "owner", "-E", "UTF8", "--locale", "C", "--no-sync"]);
        let settings = format!(
            "-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off -c timezone=UTC"
        );
        let log = postgres.folder.path().join("log");
        postgres.run("pg_ctl", &["-w", "-t", "120", "-o", &settings, "-l", &log.to_string_lossy(), "start"]);
        postgres
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = Command::new(self.programs.join(program));
        command
            .current_dir(self.folder.path())
            .args(arguments)
            .arg("-D")
            .arg(self.folder.path().join("data"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        if let Some((uid, gid)) = self.user {
            command.gid(gid).uid(uid);
        }
        let ran = command.status().is_ok_and(|status| status.success());
        // Stopping what never started must not hide why.
        assert!(ran || std::thread::panicking(), "{command:?}");
    }

    pub async fn connect(&self, user: &str) -> PgConnection {
        let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(self.port);
        PgConnection::connect_with(&options.username(user).database("postgres")).await.expect("a connection")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.run("pg_ctl", &["-m", "immediate", "stop"]);
    }
}

/// The items both may show alike: granted in the clear, and not bytes.
pub fn shared(table: &Table) -> Vec<Column> {
    table
        .output
        .iter()
        .filter(|(at, mask)| mask.is_none() && table.items[*at].kind != ItemType::Binary)
        .map(|(at, _)| (table.items[*at].name.clone(), table.items[*at].kind))
        .collect()
}

/// Minus zero is below zero for the hub's kernels and equal to it for PostgreSQL: such worlds are left out.
pub fn comparable(world: &World) -> bool {
    let minus =
        |cell: &Cell| matches!(cell, Cell::Float(number) if *number == 0.0 && number.is_sign_negative());
    let rows = world.tables.iter().flat_map(|table| &table.fillings[0].rows);
    !world.large && world.tables.iter().all(|table| !shared(table).is_empty()) && !rows.flatten().any(minus)
}

/// A table with all rows of a filling as SQL, its cells written by `cell`; texts under a collation or, where it is
/// empty, the database's.
pub fn create(
    name: &str,
    items: &[Item],
    filling: &Filling,
    collation: &str,
    cell: fn(&Cell) -> String,
) -> String {
    let columns: Vec<String> = items
        .iter()
        .map(|item| {
            let collation = if item.kind == ItemType::Text { collation } else { "" };
            format!("{} {} {collation}", item.name, column(item.kind))
        })
        .collect();
    let mut script = format!("CREATE TABLE {name} ({});", columns.join(", "));
    for row in &filling.rows {
        let cells: Vec<String> = row.iter().map(cell).collect();
        script += &format!("INSERT INTO {name} VALUES ({});", cells.join(", "));
    }
    script
}

/// All rows, hidden ones too, behind a policy that says the scope and a grant on the columns.
pub async fn fill(owner: &mut PgConnection, world: &World, schema: &str) {
    let mut script = format!("CREATE SCHEMA {schema}; GRANT USAGE ON SCHEMA {schema} TO reader;");
    for table in &world.tables {
        let name = format!("{schema}.{}", table.name);
        script += &create(&name, &table.items, &table.fillings[0], "", cell);
        let scope = table.scope.as_ref().map_or("true".to_owned(), |scope| predicate(scope, table));
        let shown: Vec<String> = shared(table).into_iter().map(|(name, _)| name).collect();
        script += &format!(
            "ALTER TABLE {name} ENABLE ROW LEVEL SECURITY; \
             CREATE POLICY scope ON {name} FOR SELECT TO reader USING ({scope}); \
             GRANT SELECT ({}) ON {name} TO reader;",
            shown.join(", ")
        );
    }
    sqlx::raw_sql(sqlx::AssertSqlSafe(script)).execute(owner).await.expect("filled");
}

fn column(kind: ItemType) -> &'static str {
    match kind {
        ItemType::Text => "text",
        ItemType::Integer => "bigint",
        ItemType::Decimal => "numeric(38,4)",
        ItemType::Float => "double precision",
        ItemType::Date => "date",
        ItemType::Timestamp => "timestamptz",
        ItemType::Boolean => "boolean",
        ItemType::Binary => "bytea",
    }
}

fn cell(cell: &Cell) -> String {
    if is_null(cell) {
        return "NULL".to_owned();
    }
    write::text(cell).map_or("NULL".to_owned(), |text| quoted(&text))
}

/// As it is, what does not fit its item included.
pub fn as_stored(cell: &Cell) -> String {
    write::text(cell).map_or("NULL".to_owned(), |text| quoted(&text))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A scope as SQL of PostgreSQL.
fn predicate(scope: &Json, table: &Table) -> String {
    let (kind, body) = scope.as_object().expect("a scope").iter().next().expect("one member");
    let parts = |word: &str| {
        let parts: Vec<String> =
            body.as_array().expect("parts").iter().map(|part| predicate(part, table)).collect();
        format!("({})", parts.join(word))
    };
    let item = body["item"].as_str().unwrap_or_default();
    let literal = |value: &Json| {
        let kind = column(table.items[table.place(item)].kind);
        let attribute = value.get("caller").and_then(Json::as_str);
        let text = match attribute {
            Some(name) => CALLER.iter().find(|(of, _)| *of == name).expect("an attribute").1.to_owned(),
            None => value.as_str().map_or_else(|| value.to_string(), str::to_owned),
        };
        format!("{}::{kind}", quoted(&text))
    };
    match kind.as_str() {
        "not" => format!("(NOT {})", predicate(body, table)),
        "all" => parts(" AND "),
        "any" => parts(" OR "),
        "is_null" => format!("({} IS NULL)", body.as_str().expect("an item")),
        "in" => {
            let values: Vec<String> =
                body["values"].as_array().expect("values").iter().map(literal).collect();
            format!("({item} IN ({}))", values.join(", "))
        }
        _ => match body["op"].as_str().expect("an operator") {
            "like_prefix" => format!("starts_with({item}, {})", literal(&body["value"])),
            op => format!("({item} {op} {})", literal(&body["value"])),
        },
    }
}

/// The statement's rows in a neutral form, sorted, or why PostgreSQL refuses it.
pub async fn ask(reader: &mut PgConnection, sql: &str) -> Result<Vec<String>, String> {
    let whole = format!("SELECT to_jsonb(q)::text FROM ({sql}) AS q");
    let rows = sqlx::query(sqlx::AssertSqlSafe(whole)).persistent(false).fetch_all(reader).await;
    let rows = rows.map_err(|refused| refused.to_string())?;
    let texts = rows.iter().map(|row| serde_json::from_str(&row.get::<String, _>(0)).expect("JSON"));
    Ok(neutral(&texts.collect::<Vec<Json>>()))
}

/// Rows as sorted texts: numbers without the zeros of their scale, times without those of their fraction.
pub fn neutral(rows: &[Json]) -> Vec<String> {
    let cell = |value: &Json| match value {
        Json::String(text) => plain(text.strip_suffix("+00:00").or(text.strip_suffix('Z')).unwrap_or(text)),
        other => plain(&other.to_string()),
    };
    let mut texts: Vec<String> = rows
        .iter()
        .map(|row| {
            let row = row.as_object().expect("a row");
            row.iter().map(|(name, value)| format!("{name}={}", cell(value))).collect::<Vec<_>>().join("|")
        })
        .collect();
    texts.sort();
    texts
}

fn plain(text: &str) -> String {
    let whole = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    match text.rsplit_once('.') {
        Some((before, fraction)) if !fraction.is_empty() && whole(fraction) => {
            format!("{before}.{fraction}").trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        _ => text.to_owned(),
    }
}
