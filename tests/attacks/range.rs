//! The range the attacks are fired on: a hub with all sources and grants, the oracle, and what was seen on the way.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde_json::{Value, json};
use tongqu::clock::Clock;
use tongqu::config::Config;

use super::fixture::{COPY, GOVERNED, Table, credit, database, tables};
use super::scan;
use crate::postgres_base::PostgresBase;
use crate::support::{PURPOSE, SYSTEM, Said, TestHub, terms};

/// Who attacks, and another department that only counts.
pub const ATTACKER: &str = "civil-affairs.operator";
pub const NEIGHBOUR: &str = "human-resources.operator";

/// What a case must give, of each source and of the copy alike.
#[derive(Debug, Clone, Copy)]
pub enum Want {
    /// The copy's rows, in any order.
    Same,
    /// The copy's rows in the copy's order.
    Ordered,
    /// The copy's rows, and exactly these.
    Rows(&'static str),
    /// This many rows; which ones the statement leaves open.
    Count(usize),
    /// This problem, in the copy's bytes.
    Code(&'static str),
}

/// Number in the list (or `T` and the rule it tests), statement over library `fix_`, parameters, what it must give.
pub type Case<'a> = (&'a str, &'a str, &'a str, Want);

pub const NO_PARAMS: &str = "[]";

/// One call with the code that must be on record for it.
struct Asked {
    id: String,
    receipt: String,
    code: String,
    account: &'static str,
}

pub struct Range {
    pub hub: TestHub,
    base: PostgresBase,
    /// Body of a resource that does not exist: what every E_NAME must be.
    missing: Vec<u8>,
    asked: Mutex<Vec<Asked>>,
    /// Everything that came back, by the case's name.
    seen: Mutex<Vec<(String, Vec<u8>)>>,
}

impl Range {
    pub async fn open() -> Self {
        Self::open_with(|_| ()).await
    }

    pub async fn open_with(set: impl FnOnce(&mut Config)) -> Self {
        scan::capture();
        let base = PostgresBase::new().await;
        let hub = TestHub::start_with(Clock::system(), |config| {
            set(config);
            config.sources.postgres.push(base.config("all", &["public-security"]));
        })
        .await;
        let missing = hub.query(ATTACKER, "SELECT * FROM no_such.table").await;
        assert_eq!((missing.status, missing.code().as_str()), (404, "not_found"));
        let range =
            Self { hub, base, missing: missing.bytes, asked: Mutex::default(), seen: Mutex::default() };
        range.mount().await;
        range
    }

    /// Sources, entries and grants of all libraries.
    async fn mount(&self) {
        let sources = self.hub.sources();
        for library in GOVERNED {
            let mut tables = tables();
            tables.push(credit());
            let mut sqlite = match library {
                "fixs" => Some(database(&sources.join("public-security/fixs/all.sqlite")).await),
                _ => None,
            };
            for table in &tables {
                let path = |ending: &str| format!("public-security/{library}/{}.{ending}", table.name);
                let binding = if let Some(connection) = &mut sqlite {
                    table.write_sqlite(connection).await;
                    json!({"sqlite": {"path": "public-security/fixs/all.sqlite", "table": table.name}})
                } else if library == "fixg" {
                    self.base.run(&table.postgres()).await;
                    json!({"postgres": {"connection": "all", "table": table.name}})
                } else if library == "fixp" {
                    table.write_parquet(&sources.join(path("parquet")), 4);
                    json!({"files": {"format": "parquet", "path": path("parquet")}})
                } else if library == "fixj" {
                    table.write_json(&sources.join(path("json")));
                    json!({"files": {"format": "json", "path": path("json")}})
                } else if library == "fixa" {
                    table.write_arrow(&sources.join(path("arrow")));
                    json!({"files": {"format": "arrow", "path": path("arrow")}})
                } else {
                    table.write_csv(&sources.join(path("csv")));
                    json!({"files": {"format": "csv", "path": path("csv")}})
                };
                self.publish(table, library, &binding).await;
                if table.name != "credit" {
                    self.grant(table, library, "civil-affairs").await;
                }
            }
        }
        for table in tables() {
            self.copy(&table.copy()).await;
        }
        let entities = tables().pop().expect("legal_entity");
        self.grant(&entities.copy(), COPY, "human-resources").await;
    }

    /// A table whose whole content is granted.
    pub async fn copy(&self, table: &Table) {
        let path = format!("public-security/{COPY}/{}.parquet", table.name);
        table.write_parquet(&self.hub.sources().join(&path), 8_192);
        self.publish(table, COPY, &json!({"files": {"format": "parquet", "path": path}})).await;
        self.grant(table, COPY, "civil-affairs").await;
    }

    async fn publish(&self, table: &Table, library: &str, binding: &Value) {
        let said = self.hub.publish("public-security.head", &table.resource(library, binding)).await;
        assert_eq!(said.status, 201, "{library}.{}: {}", table.name, said.text());
    }

    pub async fn grant(&self, table: &Table, library: &str, grantee: &str) -> String {
        let output: Vec<Value> = table
            .output
            .iter()
            .map(|(item, mask)| match mask {
                Some(mask) => json!({"item": item, "mask": mask}),
                None => json!({"item": item}),
            })
            .collect();
        let keys = table.keys();
        let mut terms = terms(&["query", "lookup"], &keys, json!(output), table.scope.clone());
        let beside = ["population", "pay", "legal_entity"].iter().filter(|name| **name != table.name);
        terms["joins"] = beside.map(|name| json!(format!("{library}.{name}"))).collect();
        self.hub.grant(&format!("{library}.{}", table.name), grantee, "public-security", &terms).await
    }

    /// Sends a call, keeps all that came back and what must be on record.
    pub async fn post(&self, id: &str, account: &'static str, path: &str, body: &Value) -> Said {
        let said = self.hub.post(account, path, body).await;
        self.keep(id, account, &said);
        said
    }

    pub fn keep(&self, id: &str, account: &'static str, said: &Said) {
        let mut bytes = said.bytes.clone();
        for (name, value) in &said.headers {
            bytes.extend_from_slice(format!("\n{name}: {value}").as_bytes());
        }
        self.seen.lock().expect("free").push((id.to_owned(), bytes));
        if let Some(receipt) = said.receipt() {
            let (id, receipt, code) = (id.to_owned(), receipt.to_owned(), said.code());
            self.asked.lock().expect("free").push(Asked { id, receipt, code, account });
        }
    }

    pub async fn query(&self, id: &str, sql: &str, params: &Value) -> Said {
        let body =
            json!({"sql": sql, "params": params, "purpose": PURPOSE, "case": "case-1", "operator": ATTACKER});
        self.post(id, ATTACKER, "/v1/queries", &body).await
    }

    pub async fn lookup(&self, id: &str, library: &str, table: &str, keys: &Value, items: &Value) -> Said {
        let body = json!({
            "resource": format!("{library}.{table}"), "keys": keys, "items": items,
            "purpose": PURPOSE, "case": "case-1", "operator": ATTACKER,
        });
        self.post(id, ATTACKER, "/v1/lookups", &body).await
    }

    /// The hub is up and another department is served.
    pub async fn alive(&self) -> Result<(), String> {
        let ready = self.hub.get(ATTACKER, "/readyz").await;
        let body = json!({"sql": "SELECT count(*) AS n FROM copy.legal_entity", "purpose": PURPOSE, "case": "c", "operator": NEIGHBOUR});
        let said = self.post("neighbour", NEIGHBOUR, "/v1/queries", &body).await;
        if ready.status == 200 && said.status == 200 && said.json()["rows"] == json!([{"n": 4}]) {
            Ok(())
        } else {
            Err(format!("not alive: {} {} {}", ready.status, said.status, said.text()))
        }
    }

    /// Every case over every source; all that is wrong at once.
    pub async fn check(&self, cases: &[Case<'_>]) {
        let mut wrong = Vec::new();
        for case in cases {
            let (faults, alive) = tokio::join!(self.case(case), self.alive());
            wrong.extend(faults.into_iter().chain(alive.err()).map(|fault| {
                let sql: String = case.1.chars().take(300).collect();
                format!("{} {sql}\n    {fault}", case.0)
            }));
        }
        assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong.join("\n"));
    }

    async fn case(&self, (id, sql, params, want): &Case<'_>) -> Vec<String> {
        let params: Value = serde_json::from_str(params).expect("parameters");
        let mut wrong = Vec::new();
        let copy = self.query(id, &over(sql, COPY), &params).await;
        if let Err(fault) = self.fits(&copy, want) {
            wrong.push(format!("copy: {fault}"));
        }
        for library in GOVERNED {
            let said = self.query(id, &over(sql, library), &params).await;
            if let Err(fault) = self.fits(&said, want) {
                wrong.push(format!("{library}: {fault}"));
            }
            if !same(&said, &copy, library, want) {
                let (said, copy) = (shown(&said), shown(&copy));
                wrong.push(format!("{library} differs from the copy:\n      {said}\n      {copy}"));
            }
        }
        wrong
    }

    fn fits(&self, said: &Said, want: &Want) -> Result<(), String> {
        let told = || format!("wanted {want:?}, got {}", shown(said));
        let good = match want {
            Want::Same | Want::Ordered => said.status == 200,
            Want::Rows(rows) => {
                let rows: Value = serde_json::from_str(rows).expect("rows");
                said.status == 200 && said.json()["rows"] == rows
            }
            Want::Count(count) => said.status == 200 && said.rows().len() == *count,
            Want::Code("not_found") => said.status == 404 && said.bytes == self.missing,
            Want::Code(code) => said.code() == *code,
        };
        let typed = said.headers.get("content-type").is_some_and(|media| match said.status {
            200 => media == "application/json",
            _ => media == "application/problem+json",
        });
        if good && typed && said.receipt().is_some() { Ok(()) } else { Err(told()) }
    }

    /// Stops the hub; then every call has one entry with its outcome, and no canary is anywhere.
    pub async fn finish(mut self) {
        let asked = std::mem::take(&mut *self.asked.lock().expect("free"));
        self.recorded(&asked).await;
        let mut seen = std::mem::take(&mut *self.seen.lock().expect("free"));
        for one in &asked {
            let receipt = self.hub.get(one.account, &format!("/v1/receipts/{}", one.receipt)).await;
            assert_eq!(receipt.status, 200, "{}", one.id);
            seen.push((format!("receipt of {}", one.id), receipt.bytes));
        }
        let metrics = self.hub.get(ATTACKER, "/metrics").await;
        assert!(metrics.text().contains("tongqu_calls_total"), "{}", metrics.text());
        seen.push(("metrics".to_owned(), metrics.bytes));
        self.alive().await.expect("alive at the end");
        let directory = self.hub.directory();
        self.hub.stop().await;
        for folder in ["audit", "spill", "index"] {
            scan::files(&directory.join(folder), &mut seen);
        }
        assert!(seen.iter().any(|(name, _)| name.contains("audit/")), "the record's files are read");
        scan::clean(&seen);
    }

    async fn recorded(&self, asked: &[Asked]) {
        let rows = self.hub.audit("SELECT receipt, kind, code FROM system.audit").await;
        let mut entries: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for row in &rows {
            if matches!(row["kind"].as_str(), Some("call" | "closed")) {
                let (receipt, code) = (row["receipt"].as_str(), row["code"].as_str());
                entries.entry(receipt.expect("a receipt")).or_default().push(code.expect("a code"));
            }
        }
        for one in asked {
            let found = entries.get(one.receipt.as_str()).cloned().unwrap_or_default();
            assert_eq!(found, [one.code.as_str()], "entries of {}", one.id);
        }
        assert!(!asked.is_empty() && SYSTEM != ATTACKER);
    }
}

/// The statement over one library.
pub fn over(sql: &str, library: &str) -> String {
    sql.replace("fix_", library).replace("FIX_", &library.to_uppercase())
}

/// Body without the receipt's id and with the library's common name.
fn comparable(said: &Said, library: &str) -> String {
    let text = said.text();
    let text = match (said.status, text.rfind(",\"receipt\":")) {
        (200, Some(end)) => text[..end].to_owned(),
        _ => text,
    };
    text.replace(library, "fix_")
}

fn same(said: &Said, copy: &Said, library: &str, want: &Want) -> bool {
    let (one, other) = (comparable(said, library), comparable(copy, COPY));
    if said.status != copy.status || (one != other && said.status != 200) {
        return false;
    }
    match want {
        Want::Count(_) => said.json()["columns"] == copy.json()["columns"],
        Want::Same if said.status == 200 => sorted(&one) == sorted(&other),
        _ => one == other,
    }
}

/// Columns, and rows as a multiset.
fn sorted(text: &str) -> (Value, Vec<String>) {
    let answer: Value = serde_json::from_str(&format!("{text}}}")).expect("an answer");
    let mut rows: Vec<String> =
        answer["rows"].as_array().expect("rows").iter().map(Value::to_string).collect();
    rows.sort();
    (answer["columns"].clone(), rows)
}

fn shown(said: &Said) -> String {
    format!("{} {}", said.status, said.text().chars().take(400).collect::<String>())
}
