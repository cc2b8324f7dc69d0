//! The judge of store and record: every effective fact has its entry, every entry of an act its facts, in both directions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Row};

use super::ledger::{Client, REVIEWER};

/// Acts on record by the store revision they made.
type Acts = BTreeMap<i64, Value>;

/// What both sides agreed on.
#[derive(Debug, PartialEq, Eq)]
pub struct Agreed {
    pub revisions: usize,
    pub facts: usize,
}

/// Entries as `system.audit` shows them to the reviewer of a running hub.
pub async fn shown(client: &Client) -> Vec<Value> {
    let ask = json!({
        "sql": "SELECT kind, code, store_revision, receipt, account, operation, payload, status, grants, resources
                FROM system.audit WHERE kind = 'act' AND code = 'ok'",
        "purpose": "audit",
    });
    let answer = client.ask(REVIEWER, "/v1/queries", &ask).await.expect("the hub answers");
    let mut entries =
        answer.json()["rows"].as_array().unwrap_or_else(|| panic!("no record: {answer:?}")).clone();
    for entry in &mut entries {
        for list in ["grants", "resources"] {
            let members: Vec<&str> =
                entry[list].as_str().map_or(Vec::new(), |text| text.split(',').collect());
            entry[list] = json!(members);
        }
    }
    entries
}

/// Entries from their stored bytes.
pub fn stored(entries: &[Vec<u8>]) -> Vec<Value> {
    entries.iter().map(|bytes| serde_json::from_slice(bytes).expect("JSON")).collect()
}

/// Acts that took effect.
fn acts(entries: Vec<Value>, faults: &mut Vec<String>) -> Acts {
    let mut acts = Acts::new();
    for entry in entries {
        let revision = entry["store_revision"].as_i64();
        if entry["kind"] == "act"
            && entry["code"] == "ok"
            && let Some(revision) = revision
            && let Some(twice) = acts.insert(revision, entry)
        {
            faults.push(format!("revision {revision} is on record twice: {twice}"));
        }
    }
    acts
}

async fn open(directory: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(directory.join("store.sqlite")).read_only(true);
    options.connect().await.expect("the store opens")
}

/// Compares a store with the whole record of a hub that is stopped or quiet; panics with every difference.
pub async fn agree(directory: &Path, entries: Vec<Value>) -> Agreed {
    let mut faults = Vec::new();
    let acts = acts(entries, &mut faults);
    let mut store = open(directory).await;
    outbox(&mut store, &acts, &mut faults).await;
    let facts = facts(&mut store, &acts, &mut faults).await;
    store.close().await.expect("closed");
    assert!(faults.is_empty(), "store and record disagree: {faults:#?}");
    Agreed { revisions: acts.len(), facts }
}

/// Every change has its entry, of the very draft it was stored with, and every entry its change.
async fn outbox(store: &mut SqliteConnection, acts: &Acts, faults: &mut Vec<String>) {
    let rows = sqlx::query("SELECT revision, entry, recorded FROM outbox ORDER BY revision")
        .fetch_all(store)
        .await
        .expect("the outbox");
    let mut seen = BTreeSet::new();
    for row in rows {
        let (revision, recorded): (i64, i64) = (row.get("revision"), row.get("recorded"));
        seen.insert(revision);
        if recorded != 1 {
            faults.push(format!("revision {revision} is not marked as recorded"));
        }
        let Some(entry) = acts.get(&revision) else {
            faults.push(format!("revision {revision} is in the store and not on record"));
            continue;
        };
        let draft: Value = serde_json::from_str(row.get("entry")).expect("JSON");
        for name in ["receipt", "account", "operation", "payload", "grants", "resources", "status"] {
            let same = draft[name] == entry[name] || is_empty(&draft[name]) && is_empty(&entry[name]);
            if !same {
                faults.push(format!("revision {revision}: `{name}` {} and {}", draft[name], entry[name]));
            }
        }
    }
    let newest = seen.last().copied().unwrap_or(0);
    if seen != (1..=newest).collect() {
        faults.push(format!("revisions are not 1 to {newest}: {seen:?}"));
    }
    faults.extend(
        acts.keys()
            .filter(|revision| !seen.contains(revision))
            .map(|revision| format!("revision {revision} is on record and not in the store")),
    );
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || *value == "" || value.as_array().is_some_and(Vec::is_empty)
}

/// One fact: which operations may have made it, what its entry must name, and the text it was signed with.
struct Fact {
    revision: i64,
    what: String,
    operations: &'static [&'static str],
    names: Option<(&'static str, String)>,
    payload: Option<String>,
}

async fn facts(store: &mut SqliteConnection, acts: &Acts, faults: &mut Vec<String>) -> usize {
    let mut facts = grants(store).await;
    for row in rows(store, "SELECT name, version, revision FROM resource").await {
        let version = format!("{}@{}", row.get::<String, _>("name"), row.get::<i64, _>("version"));
        let names = Some(("resources", version.clone()));
        let operations = &["publish", "load"];
        facts.push(Fact { revision: row.get("revision"), what: version, operations, names, payload: None });
    }
    for row in rows(store, "SELECT id, text_sha256, revision FROM application").await {
        facts.push(Fact {
            revision: row.get("revision"),
            what: row.get("id"),
            operations: &["apply"],
            names: None,
            payload: Some(row.get("text_sha256")),
        });
    }
    for table in ["department_version", "account_version"] {
        for row in rows(store, &format!("SELECT id, revision FROM {table}")).await {
            let (revision, what) = (row.get("revision"), row.get("id"));
            facts.push(Fact { revision, what, operations: &["declare"], names: None, payload: None });
        }
    }
    for row in rows(store, "SELECT account, idempotency_key, revision FROM idempotency").await {
        let names = Some(("account", row.get("account")));
        let what: String = row.get("idempotency_key");
        facts.push(Fact { revision: row.get("revision"), what, operations: &[], names, payload: None });
    }
    facts.iter().for_each(|fact| compare(fact, acts, faults));
    every_act_made_facts(acts, &facts, faults);
    facts.len()
}

async fn grants(store: &mut SqliteConnection) -> Vec<Fact> {
    let found = rows(store, "SELECT id, version, state, text_sha256, revision FROM grant_version").await;
    let fact = |row: &sqlx::sqlite::SqliteRow| {
        let version: i64 = row.get("version");
        let what = format!("{}@{version}", row.get::<String, _>("id"));
        let operations: &[&str] = match row.get::<&str, _>("state") {
            "active" if version == 1 => &["grant"],
            "active" => &["resume"],
            "suspended" => &["suspend"],
            _ => &["revoke"],
        };
        Fact {
            revision: row.get("revision"),
            names: Some(("grants", what.clone())),
            what,
            operations,
            payload: Some(row.get("text_sha256")),
        }
    };
    found.iter().map(fact).collect()
}

async fn rows(store: &mut SqliteConnection, sql: &str) -> Vec<sqlx::sqlite::SqliteRow> {
    sqlx::query(sqlx::AssertSqlSafe(sql.to_owned())).fetch_all(store).await.expect("rows")
}

fn compare(fact: &Fact, acts: &Acts, faults: &mut Vec<String>) {
    let (what, revision) = (&fact.what, fact.revision);
    let Some(entry) = acts.get(&revision) else {
        faults.push(format!("`{what}` is a fact of revision {revision}, which is not on record"));
        return;
    };
    let operation = entry["operation"].as_str().unwrap_or_default();
    if !fact.operations.is_empty() && !fact.operations.contains(&operation) {
        faults.push(format!("`{what}` of revision {revision} was made by `{operation}`"));
    }
    if let Some((name, text)) = &fact.names {
        let named = entry[name] == text.as_str()
            || entry[name].as_array().is_some_and(|all| all.iter().any(|one| one == text.as_str()));
        if !named {
            faults.push(format!("the entry of revision {revision} does not name `{text}`: {entry}"));
        }
    }
    if let Some(payload) = &fact.payload
        && entry["payload"] != payload.as_str()
    {
        faults.push(format!("`{what}` of revision {revision} was signed with another text"));
    }
}

/// An act without its fact would be a change that is lost.
fn every_act_made_facts(acts: &Acts, facts: &[Fact], faults: &mut Vec<String>) {
    for (revision, entry) in acts {
        let operation = entry["operation"].as_str().unwrap_or_default();
        let made =
            facts.iter().any(|fact| fact.revision == *revision && fact.operations.contains(&operation));
        if !made {
            faults.push(format!("`{operation}` of revision {revision} is on record and made no fact"));
        }
    }
}
