//! The hub under measurement: a demo directory, one grant without narrow limits, `tongqu serve`.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::Options;
use crate::client::Connection;
use crate::people::People;

const OPERATOR: &str = "civil-affairs.operator";
pub const ITEMS: [&str; 6] = ["name", "sex", "birth_date", "residence_code", "marital_status", "record_flag"];

pub struct Hub {
    child: Child,
    directory: PathBuf,
    pub address: SocketAddr,
    token: String,
    grants: Vec<String>,
}

/// A grant allows 1,000 calls a second at most: calls take turns over so many of them.
const GRANTS: usize = 64;

impl Hub {
    /// Fills the directory when it is new, starts, and makes the grant.
    pub fn start(options: &Options) -> anyhow::Result<Self> {
        let directory = options.dir.join(format!("demo-{}", options.residents));
        let residents = options.residents.to_string();
        eprintln!("making or reusing a demo of {residents} residents");
        let told = Command::new(&options.hub)
            .args(["demo", "--once", "--listen", "127.0.0.1:0", "--residents", &residents, "--dir"])
            .arg(&directory)
            .output()?;
        ensure!(told.status.success(), "the demo failed: {}", String::from_utf8_lossy(&told.stderr));
        let config = directory.join("tongqu.toml");
        let text = std::fs::read_to_string(&config)?;
        if !text.contains("account_per_minute") {
            // Only what would refuse a load test by its number of calls; record, grant check and receipt stay.
            let limits = "[limits]\naccount_per_minute = 100000000\n\n[hub]\nlisten = \"127.0.0.1:0\"\n";
            std::fs::write(&config, text.replacen("[hub]\n", limits, 1))?;
        }
        let (child, address) = serve(&options.hub, &config)?;
        let mut hub = Self { child, directory, address, token: String::new(), grants: Vec::new() };
        hub.token = hub.token_of(OPERATOR)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        hub.grants = runtime.block_on(hub.granted())?;
        Ok(hub)
    }

    pub fn resident_file(&self) -> PathBuf {
        self.directory.join("sources/population/resident.parquet")
    }

    fn token_of(&self, account: &str) -> anyhow::Result<String> {
        let credentials: Value =
            serde_json::from_slice(&std::fs::read(self.directory.join("credentials.json"))?)?;
        Ok(credentials["tokens"][account].as_str().context("no such token")?.to_owned())
    }

    fn post(&self, token: &str, path: &str, key: &str, body: &Value) -> Vec<u8> {
        let body = body.to_string();
        format!(
            "POST {path} HTTP/1.1\r\nhost: hub\r\nauthorization: Bearer {token}\r\nidempotency-key: {key}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }

    /// Applications and grants: masked items, no row scope, the widest limits a grant may have.
    async fn granted(&self) -> anyhow::Result<Vec<String>> {
        let output: Vec<Value> = ITEMS
            .iter()
            .map(|item| match *item {
                "name" => json!({"item": item, "mask": {"keep_first": 1}}),
                "birth_date" => json!({"item": item, "mask": "year"}),
                _ => json!({"item": item}),
            })
            .collect();
        let terms = json!({
            "operations": ["lookup"], "input": ["id_number"], "output": output,
            "purpose": "employment-support", "basis": "bench", "standing": ["operator"], "systems": [],
            "valid_from": "2026-01-01T00:00:00+08:00", "valid_until": "2029-01-01T00:00:00+08:00",
            "rows_per_answer_max": 1000, "rows_per_day_max": 100_000_000,
            "calls_per_minute_max": 60_000,
        });
        let mut connection = Connection::open(self.address).await?;
        let applicant = self.token_of("civil-affairs.sharing-head")?;
        let provider = self.token_of("public-security.sharing-head")?;
        let body = json!({"resource": "population.resident", "terms": terms});
        let mut grants = Vec::new();
        for number in 0..GRANTS {
            let call = self.post(&applicant, "/v1/applications", &format!("bench-apply-{number}"), &body);
            let application = made(connection.call(&call).await?)?;
            let text = json!({"application": application});
            let call = self.post(&provider, "/v1/grants", &format!("bench-grant-{number}"), &text);
            grants.push(made(connection.call(&call).await?)?);
        }
        Ok(grants)
    }

    /// One look-up by ID number.
    pub fn lookup(&self, id_number: &str, turn: usize) -> Vec<u8> {
        let body = json!({
            "resource": "population.resident", "keys": [{"id_number": id_number}], "items": ITEMS,
            "purpose": "employment-support", "case": "bench-1", "operator": OPERATOR, "grants": [self.grants[turn % GRANTS]],
        })
        .to_string();
        format!(
            "POST /v1/lookups HTTP/1.1\r\nhost: hub\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        )
        .into_bytes()
    }

    /// The calls of a round, each of another person.
    pub fn lookups(&self, people: &People, round: usize) -> Vec<Vec<u8>> {
        people.sample(100_000, round).enumerate().map(|(turn, id)| self.lookup(id, turn)).collect()
    }

    /// As an operator stops it.
    pub fn stop(mut self) -> anyhow::Result<()> {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        ensure!(self.child.wait()?.success(), "the hub did not end well");
        Ok(())
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _code = self.child.wait();
    }
}

fn made((status, body): (u16, Vec<u8>)) -> anyhow::Result<String> {
    let text = String::from_utf8_lossy(&body).into_owned();
    ensure!(status == 201, "{status}: {text}");
    let value: Value = serde_json::from_slice(&body)?;
    Ok(value["id"].as_str().context("no id")?.to_owned())
}

fn serve(binary: &Path, config: &Path) -> anyhow::Result<(Child, SocketAddr)> {
    let mut child =
        Command::new(binary).arg("serve").arg("--config").arg(config).stderr(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(child.stderr.take().context("stderr")?).lines();
    let mut said = String::new();
    for line in lines.by_ref() {
        let line = line?;
        if let Some((_, address)) = line.split_once("serving address=") {
            let address = address.trim().parse()?;
            // The pipe must not fill up.
            std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| eprintln!("hub: {line}")));
            return Ok((child, address));
        }
        said.push_str(&line);
        said.push('\n');
    }
    let _code = child.wait();
    anyhow::bail!("the hub did not start: {said}")
}
