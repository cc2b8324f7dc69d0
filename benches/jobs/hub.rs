//! The hub under measurement: a demo directory, one grant without narrow limits, `tongqu serve`.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::Options;
use crate::client::Connection;
use crate::people::People;

pub const OPERATOR: &str = "civil-affairs.operator";
pub const NEIGHBOUR: &str = "human-resources.operator";
pub const REVIEWER: &str = "data-authority.reviewer";
/// First code of the scoped grant's province, and the first beyond it.
pub const PROVINCE: (&str, &str) = ("330000", "340000");
/// What statements may use.
const STATEMENT_ITEMS: [&str; 5] = ["sex", "birth_date", "residence_code", "marital_status", "education"];
pub const ITEMS: [&str; 6] = ["name", "sex", "birth_date", "residence_code", "marital_status", "record_flag"];

pub struct Hub {
    child: Child,
    directory: PathBuf,
    pub address: SocketAddr,
    /// By account.
    tokens: HashMap<String, String>,
    grants: Grants,
}

/// What the calls of a run are made under.
#[derive(Default)]
pub struct Grants {
    /// Look-up of residents: masked, no row scope.
    pub lookup: String,
    /// The same for the other department.
    pub lookup_neighbour: String,
    /// Statements on residents of one province.
    pub scoped: String,
    /// Statements on all residents.
    pub whole: String,
    /// Statements of the other department.
    pub neighbour: String,
}

/// The widest that terms may be.
pub const PURPOSE: &str = "employment-support";

impl Hub {
    /// Fills the directory when it is new, starts, and makes the grants.
    pub fn start(options: &Options) -> anyhow::Result<Self> {
        let directory = demo(options)?;
        let (child, address) = serve(&options.hub, &directory.join("tongqu.toml"))?;
        let mut hub = Self { child, directory, address, tokens: HashMap::new(), grants: Grants::default() };
        hub.tokens = tokens(&hub.directory)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        hub.grants = runtime.block_on(hub.granted())?;
        Ok(hub)
    }

    /// Starts once more on the directory of an earlier start, which has its grants.
    pub fn again(options: &Options) -> anyhow::Result<Self> {
        let directory = options.dir.join(format!("demo-{}", options.residents));
        let (child, address) = serve(&options.hub, &directory.join("tongqu.toml"))?;
        let tokens = tokens(&directory)?;
        Ok(Self { child, directory, address, tokens, grants: Grants::default() })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn grants(&self) -> &Grants {
        &self.grants
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn resident_file(&self) -> PathBuf {
        self.directory.join("sources/population/resident.parquet")
    }

    /// A call with a token.
    pub fn post(&self, account: &str, path: &str, more: &str, body: &Value) -> Vec<u8> {
        let (body, token) = (body.to_string(), self.tokens.get(account).map_or("", String::as_str));
        format!(
            "POST {path} HTTP/1.1\r\nhost: hub\r\nauthorization: Bearer {token}\r\n{more}\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }

    /// A reading with a token.
    pub fn read(&self, account: &str, path: &str) -> Vec<u8> {
        let token = self.tokens.get(account).map_or("", String::as_str);
        format!("GET {path} HTTP/1.1\r\nhost: hub\r\nauthorization: Bearer {token}\r\n\r\n").into_bytes()
    }

    /// Applies and grants once a directory.
    async fn grant(&self, name: &str, grantee: &str, terms: &Value) -> anyhow::Result<String> {
        let mut connection = Connection::open(self.address).await?;
        let key = format!("idempotency-key: bench-2-{name}\r\n");
        let body = json!({"resource": "population.resident", "terms": terms});
        let call = self.post(&format!("{grantee}.sharing-head"), "/v1/applications", &key, &body);
        let application = made(connection.call(&call).await?)?;
        let text = json!({"application": application});
        let call = self.post("public-security.sharing-head", "/v1/grants", &key, &text);
        made(connection.call(&call).await?)
    }

    async fn granted(&self) -> anyhow::Result<Grants> {
        let masked: Vec<Value> = ITEMS
            .iter()
            .map(|item| match *item {
                "name" => json!({"item": item, "mask": {"keep_first": 1}}),
                "birth_date" => json!({"item": item, "mask": "year"}),
                _ => json!({"item": item}),
            })
            .collect();
        let plain: Vec<Value> = STATEMENT_ITEMS.iter().map(|item| json!({"item": item})).collect();
        let terms = |operation: &str, output: &[Value], scope: Option<Value>| {
            let input: &[&str] = if operation == "lookup" { &["id_number"] } else { &[] };
            let mut terms = json!({
                "operations": [operation], "input": input, "output": output,
                "purpose": PURPOSE, "basis": "bench", "standing": ["operator"], "systems": [],
                "valid_from": "2026-01-01T00:00:00+08:00", "valid_until": "2029-01-01T00:00:00+08:00",
                "rows_per_answer_max": 1_000_000, "rows_per_day_max": 100_000_000, "calls_per_minute_max": 1_200_000,
            });
            if let (Some(scope), Some(members)) = (scope, terms.as_object_mut()) {
                members.insert("scope".to_owned(), scope);
            }
            terms
        };
        let bound =
            |op: &str, value: &str| json!({"compare": {"item": "residence_code", "op": op, "value": value}});
        let province = json!({"all": [bound(">=", PROVINCE.0), bound("<", PROVINCE.1)]});
        let lookup = terms("lookup", &masked, None);
        Ok(Grants {
            lookup: self.grant("lookup", "civil-affairs", &lookup).await?,
            lookup_neighbour: self.grant("lookup-neighbour", "human-resources", &lookup).await?,
            scoped: self.grant("scoped", "civil-affairs", &terms("query", &plain, Some(province))).await?,
            whole: self.grant("whole", "civil-affairs", &terms("query", &plain, None)).await?,
            neighbour: self.grant("neighbour", "human-resources", &terms("query", &plain, None)).await?,
        })
    }

    /// One look-up by ID number.
    pub fn lookup(&self, id_number: &str) -> Vec<u8> {
        self.lookup_of(OPERATOR, &self.grants.lookup, id_number)
    }

    pub fn lookup_of(&self, account: &str, grant: &str, id_number: &str) -> Vec<u8> {
        let body = json!({
            "resource": "population.resident", "keys": [{"id_number": id_number}], "items": ITEMS,
            "purpose": PURPOSE, "case": "bench-1", "operator": account, "grants": [grant],
        });
        self.post(account, "/v1/lookups", "", &body)
    }

    pub fn statement(&self, account: &str, grant: &str, sql: &str) -> Vec<u8> {
        let body = json!({"sql": sql, "purpose": PURPOSE, "case": "bench-1", "operator": account, "grants": [grant]});
        self.post(account, "/v1/queries", "", &body)
    }

    /// Seconds and calls so far of every step of the line.
    pub async fn steps(&self) -> anyhow::Result<BTreeMap<String, (f64, f64)>> {
        let (_, text) = Connection::open(self.address).await?.call(&crate::client::get("/metrics")).await?;
        let mut steps: BTreeMap<String, (f64, f64)> = BTreeMap::new();
        for line in String::from_utf8(text)?.lines() {
            let Some(rest) = line.strip_prefix("tongqu_step_seconds_") else { continue };
            let Some((kind, rest)) = rest.split_once("{step=\"") else { continue };
            let Some((step, value)) = rest.split_once("\"} ") else { continue };
            let entry = steps.entry(step.to_owned()).or_default();
            match kind {
                "sum" => entry.0 = value.parse()?,
                "count" => entry.1 = value.parse()?,
                _ => {}
            }
        }
        Ok(steps)
    }

    /// The calls of a round, each of another person.
    pub fn lookups(&self, people: &People, round: usize) -> Vec<Vec<u8>> {
        people.sample(100_000, round).map(|id| self.lookup(id)).collect()
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

/// A directory with data, tokens of today and a configuration for load, its hub stopped.
pub fn demo(options: &Options) -> anyhow::Result<PathBuf> {
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
        // Only what would refuse a load test by its number of calls or connections; record, grant check and receipt stay.
        let limits = "[limits]\naccount_per_minute = 100000000\nunauthenticated_per_minute = 100000000\n\
                      connections_max = 20000\n\n[hub]\nlisten = \"127.0.0.1:0\"\n";
        std::fs::write(&config, text.replacen("[hub]\n", limits, 1))?;
    }
    Ok(directory)
}

/// A token of every account, for twelve hours.
pub fn tokens(directory: &Path) -> anyhow::Result<HashMap<String, String>> {
    let credentials: Value = serde_json::from_slice(&std::fs::read(directory.join("credentials.json"))?)?;
    Ok(serde_json::from_value(credentials["tokens"].clone())?)
}

pub fn serve(binary: &Path, config: &Path) -> anyhow::Result<(Child, SocketAddr)> {
    let mut child =
        Command::new(binary).arg("serve").arg("--config").arg(config).stderr(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(child.stderr.take().context("stderr")?).lines();
    let mut said = String::new();
    for line in lines.by_ref() {
        let line = line?;
        if let Some((_, address)) = line.split_once("serving address=") {
            let address = address.split_whitespace().next().context("an address")?.parse()?;
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
