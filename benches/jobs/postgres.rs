//! PostgreSQL 15 in a folder of its own, as a user who is not root, with durable commits as they come; and pgbench.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::client::Rate;
use crate::hub::ITEMS;
use crate::people::People;
use crate::{CONNECTIONS, LOAD_CPU, Options};

pub struct Postgres {
    programs: PathBuf,
    folder: TempDir,
    port: u16,
    /// `(uid, gid)` when the driver itself is root.
    user: Option<(u32, u32)>,
}

/// A port that is free now.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn id(option: &str, user: &[&str]) -> anyhow::Result<u32> {
    let said = Command::new("id").arg(option).args(user).output()?;
    Ok(String::from_utf8(said.stdout)?.trim().parse()?)
}

fn ran(command: &mut Command) -> anyhow::Result<String> {
    let said = command.output().with_context(|| format!("{command:?}"))?;
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    ensure!(said.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&said.stderr));
    Ok(text)
}

impl Postgres {
    pub fn start(options: &Options) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("postgres").tempdir_in(&options.dir)?;
        let user = match id("-u", &[])? {
            0 => Some((id("-u", &["postgres"])?, id("-g", &["postgres"])?)),
            _ => None,
        };
        if let Some((uid, gid)) = user {
            std::os::unix::fs::chown(folder.path(), Some(uid), Some(gid))?;
        }
        let postgres = Self { programs: options.postgres.clone(), folder, port: free_port()?, user };
        let data = postgres.place("data");
        ran(postgres
            .program("initdb")
            .args(["-A", "trust", "-U", "bench", "-E", "UTF8", "--locale", "C.UTF-8", "-D"])
            .arg(&data))?;
        let settings = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c shared_buffers=1GB -c max_connections=64",
            postgres.port
        );
        let log = postgres.place("log");
        ran(postgres
            .program("pg_ctl")
            .args(["-w", "-o", &settings, "-l"])
            .arg(log)
            .arg("-D")
            .arg(&data)
            .arg("start")
            .stdout(Stdio::null()))?;
        Ok(postgres)
    }

    fn place(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        self.as_user(&mut command);
        command
    }

    fn as_user(&self, command: &mut Command) {
        command.current_dir(self.folder.path());
        if let Some((uid, gid)) = self.user {
            command.gid(gid).uid(uid);
        }
    }

    fn at(&self, command: &mut Command) {
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "bench"]);
    }

    fn sql(&self, text: &str) -> anyhow::Result<String> {
        let mut psql = self.program("psql");
        self.at(&mut psql);
        ran(psql.args(["-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-c", text]))
    }

    /// The same rows, with a numbered key: pgbench draws numbers, not texts.
    pub fn load(&self, people: &People) -> anyhow::Result<()> {
        let columns =
            ITEMS.map(|item| format!("{item} {}", if item == "birth_date" { "date" } else { "text" }));
        self.sql(&format!("CREATE TABLE resident (n bigserial, id_number text, {})", columns.join(", ")))?;
        let names: Vec<String> =
            people.batches[0].schema().fields().iter().map(|field| field.name().clone()).collect();
        let mut psql = self.program("psql");
        self.at(&mut psql);
        let copy = format!("COPY resident ({}) FROM STDIN (FORMAT csv)", names.join(", "));
        let mut child = psql.args(["-q", "-d", "postgres", "-c", &copy]).stdin(Stdio::piped()).spawn()?;
        let mut writer =
            arrow::csv::WriterBuilder::new().with_header(false).build(child.stdin.take().context("stdin")?);
        for batch in &people.batches {
            writer.write(batch)?;
        }
        drop(writer);
        ensure!(child.wait()?.success(), "the rows could not be loaded");
        self.sql("ALTER TABLE resident ADD PRIMARY KEY (n)")?;
        self.sql("CREATE INDEX ON resident (id_number)")?;
        self.sql("VACUUM ANALYZE resident")?;
        let select = format!(
            "\\set n random(1, {})\nSELECT {} FROM resident WHERE n = :n;\n",
            people.id_numbers.len(),
            ITEMS.join(", ")
        );
        self.script("select", &select)
    }

    /// A table of entries as the record has them, one insert and commit each.
    pub fn entries(&self, bytes: usize) -> anyhow::Result<()> {
        self.sql("CREATE TABLE entry (n bigserial PRIMARY KEY, body text NOT NULL)")?;
        self.script("insert", &format!("INSERT INTO entry (body) VALUES ('{}');\n", "x".repeat(bytes)))
    }

    fn script(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.place(name);
        std::fs::write(&path, text)?;
        Ok(std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644))?)
    }

    /// Raw rows of some people, by ID number.
    pub fn rows_of(&self, ids: &[&str]) -> anyhow::Result<BTreeMap<String, Vec<Value>>> {
        let list = ids.iter().map(|id| format!("'{id}'")).collect::<Vec<_>>().join(",");
        let text =
            self.sql(&format!("SELECT to_json(resident) FROM resident WHERE id_number IN ({list})"))?;
        let mut rows: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for line in text.lines() {
            let row: Value = serde_json::from_str(line)?;
            rows.entry(row["id_number"].as_str().context("no key")?.to_owned()).or_default().push(row);
        }
        Ok(rows)
    }

    /// KiB of each of so many backends that ran one prepared select and wait.
    pub async fn backend_kib(&self, backends: usize) -> anyhow::Result<f64> {
        use sqlx::{Connection, PgConnection};
        let server: u32 = std::fs::read_to_string(self.place("data/postmaster.pid"))?
            .lines()
            .next()
            .context("no process")?
            .trim()
            .parse()?;
        let all = || -> anyhow::Result<u64> {
            let ids = crate::machine::children(server)?;
            // One that ends meanwhile has no memory.
            let sum: u64 = ids.into_iter().filter_map(|id| crate::machine::pss_kib(id).ok()).sum();
            Ok(sum + crate::machine::pss_kib(server)?)
        };
        let before = all()?;
        let url = format!("postgres://bench@127.0.0.1:{}/postgres", self.port);
        let mut open = Vec::with_capacity(backends);
        for _ in 0..backends {
            let mut connection = PgConnection::connect(&url).await?;
            sqlx::query("SELECT $1::int").bind(1).execute(&mut connection).await?;
            open.push(connection);
        }
        let now = all()?;
        for connection in open {
            connection.close().await?;
        }
        Ok(now.saturating_sub(before) as f64 / backends as f64)
    }

    /// Transactions a second of a script, 32 clients over TCP, statements prepared, pinned as our own client is.
    pub fn pgbench(&self, script: &str, length: Duration) -> anyhow::Result<Rate> {
        let program = ["/usr/bin/pgbench".into(), self.programs.join("pgbench")];
        let program = program.iter().rev().find(|path| Path::new(path).exists()).context("no pgbench")?;
        let mut command = Command::new("taskset");
        self.as_user(&mut command);
        command.args(["-c", LOAD_CPU]).arg(program);
        self.at(&mut command);
        command.args(["-n", "-M", "prepared", "-j", "1", "-c", &CONNECTIONS.to_string()]);
        command.args(["-T", &length.as_secs().to_string(), "-f"]).arg(self.place(script)).arg("postgres");
        let text = ran(&mut command)?;
        let number = |sign: &str| -> anyhow::Result<f64> {
            let rest = text.split(sign).nth(1).with_context(|| format!("pgbench said {text}"))?;
            Ok(rest.split_whitespace().next().unwrap_or_default().parse()?)
        };
        Ok(Rate { value: number("tps = ")?, p50_ms: Some(number("latency average = ")?), p99_ms: None })
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let stopped = ran(self
            .program("pg_ctl")
            .args(["-m", "immediate", "-w", "-D"])
            .arg(self.place("data"))
            .arg("stop"));
        if let Err(cause) = stopped {
            eprintln!("PostgreSQL did not stop: {cause}");
        }
    }
}
