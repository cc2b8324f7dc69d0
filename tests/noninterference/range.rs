//! A hub with both databases of a world and the copy in it, asked through its own router without a socket between.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::hmac;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{Request, header};
use catalog::ItemType;
use serde_json::{Value as Json, json};
use tongqu::audit::Receipt;
use tongqu::clock::Clock;
use tower_service::Service;

use super::world::{Filling, Store, Table, World};
use super::{rls, write};
use crate::postgres_base::PostgresBase;
use crate::support::{PURPOSE, TestHub, terms};

pub const CALLER: &str = "civil-affairs.operator";
pub const JSON: &str = "application/json";
pub const ARROW: &str = "application/vnd.apache.arrow.stream";

/// One call over a library: `lib_` in its texts stands for the library's name.
#[derive(Debug, Clone)]
pub struct Call {
    pub path: &'static str,
    pub accept: &'static str,
    pub body: Json,
}

/// What came back, with everything taken out that may differ: ids, times, rates, the library's name.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    /// None where the transfer broke off.
    pub whole: bool,
}

impl Heard {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).chars().take(2_000).collect()
    }

    pub fn code(&self) -> String {
        if self.status == 200 {
            return "ok".to_owned();
        }
        let problem: Json = serde_json::from_slice(&self.body).unwrap_or_default();
        problem["code"].as_str().unwrap_or("?").to_owned()
    }
}

/// Three libraries of one world: two databases and the copy. Names are of one length, so that places in faults agree.
#[derive(Debug, Clone)]
pub struct Mounted {
    pub pair: [String; 2],
    pub copy: String,
}

pub struct Range {
    pub hub: TestHub,
    base: PostgresBase,
    router: axum::Router,
    token: Mutex<String>,
    mounted: AtomicUsize,
    master: Vec<u8>,
}

impl Range {
    pub async fn open() -> Self {
        let base = PostgresBase::new().await;
        let hub = TestHub::start_with(Clock::system(), |config| {
            config.sources.postgres.push(base.config("all", &["public-security"]));
            config.limits.account_per_minute = 100_000_000;
            config.limits.queries_at_once = 64;
            config.limits.queue_age_ms = 60_000;
            // One stream of rows: without ORDER BY two threads answer in either order by themselves.
            config.engine.threads = 1;
            config.engine.deadline_ms = 120_000;
        })
        .await;
        let key = std::fs::read_to_string(hub.directory().join("keys/pseudonym.key")).expect("a key");
        let digits = key.trim_end();
        let master = (0..digits.len() / 2)
            .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).expect("a byte"))
            .collect();
        let router = tongqu::api::router(hub.hub.clone());
        let token = Mutex::new(hub.token(CALLER));
        Self { hub, base, router, token, mounted: AtomicUsize::new(0), master }
    }

    /// Publishes and grants both databases and the copy.
    pub async fn mount(&self, world: &World) -> Mounted {
        *self.token.lock().expect("free") = self.hub.token(CALLER);
        let number = self.mounted.fetch_add(1, Ordering::Relaxed);
        let library = |side: char| format!("n{side}{number:05}");
        let pair = ['a', 'b'].map(library);
        for (side, library) in pair.iter().enumerate() {
            let tables: Vec<(&Table, &Filling)> =
                world.tables.iter().map(|table| (table, &table.fillings[side])).collect();
            self.publish(library, world.store, &tables).await;
        }
        let copies: Vec<Table> =
            world.tables.iter().map(|table| table.copy(&|text| self.pseudonym(text))).collect();
        let tables: Vec<(&Table, &Filling)> = copies.iter().map(|copy| (copy, &copy.fillings[0])).collect();
        let copy = library('c');
        self.publish(&copy, Store::Parquet, &tables).await;
        Mounted { pair, copy }
    }

    async fn publish(&self, library: &str, store: Store, tables: &[(&Table, &Filling)]) {
        let folder = format!("public-security/{library}");
        let place = |path: &str| self.hub.sources().join(path);
        std::fs::create_dir_all(place(&folder)).expect("a folder");
        if store == Store::Sqlite {
            let all: Vec<_> = tables
                .iter()
                .map(|(table, filling)| (table.name, table.items.as_slice(), *filling))
                .collect();
            write::sqlite(&all, &place(&format!("{folder}/all.sqlite"))).await;
        }
        if store == Store::Postgres {
            self.base.run(&format!("CREATE SCHEMA {library}; GRANT USAGE ON SCHEMA {library} TO hub")).await;
        }
        for (table, filling) in tables {
            let binding = match store {
                Store::Postgres => {
                    // Texts have an order of their own there, which no answer may follow.
                    let name = format!("{library}.{}", table.name);
                    let collation = "COLLATE \"und-x-icu\"";
                    self.base
                        .run(&rls::create(&name, &table.items, filling, collation, rls::as_stored))
                        .await;
                    json!({"postgres": {"connection": "all", "schema": library, "table": table.name}})
                }
                Store::Sqlite => {
                    json!({"sqlite": {"path": format!("{folder}/all.sqlite"), "table": table.name}})
                }
                Store::Csv => {
                    let path = format!("{folder}/{}.csv", table.name);
                    write::csv(&table.items, filling, &place(&path));
                    json!({"files": {"format": "csv", "path": path}})
                }
                Store::Parquet => {
                    let path = format!("{folder}/{}.parquet", table.name);
                    write::parquet(&table.items, filling, &place(&path));
                    json!({"files": {"format": "parquet", "path": path}})
                }
            };
            let said = self.hub.publish("public-security.head", &entry(table, library, &binding)).await;
            assert_eq!(said.status, 201, "{library}.{}: {}", table.name, said.text());
        }
        for (table, _) in tables {
            let name = format!("{library}.{}", table.name);
            self.hub.grant(&name, "civil-affairs", "public-security", &granted(table, library)).await;
        }
    }

    pub fn pseudonym(&self, text: &str) -> String {
        let sign = |key: &[u8], text: &[u8]| {
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec()
        };
        let mut label = b"tongqu/pseudonym/v1".to_vec();
        for part in ["civil-affairs", PURPOSE] {
            label.extend((part.len() as u64).to_be_bytes());
            label.extend(part.as_bytes());
        }
        let digest = sign(&sign(&self.master, &label), catalog::identifier::normalise(text).as_bytes());
        digest[..16].iter().fold("p:".to_owned(), |shown, byte| format!("{shown}{byte:02x}"))
    }

    /// Sends a call over one library; with it the receipt's id.
    pub async fn ask(&self, call: &Call, library: &str) -> (Heard, Option<String>) {
        let text = call.body.to_string().replace("lib_", library);
        let request = Request::post(call.path).header(header::ACCEPT, call.accept);
        let (heard, receipt) = self.send(request, text).await;
        (neutral(heard, library, receipt.as_deref()), receipt)
    }

    async fn send(&self, request: axum::http::request::Builder, body: String) -> (Heard, Option<String>) {
        let token = self.token.lock().expect("free").clone();
        let request = request
            .header(header::HOST, "127.0.0.1")
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, JSON)
            .extension(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 9))))
            .body(Body::from(body))
            .expect("a request");
        let response = match self.router.clone().call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let (parts, body) = response.into_parts();
        let headers: BTreeMap<String, String> = parts
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        let receipt = headers.get("tongqu-receipt").cloned();
        let (body, whole) = match to_bytes(body, 1 << 30).await {
            Ok(bytes) => (bytes.to_vec(), true),
            Err(_broken) => (Vec::new(), false),
        };
        (Heard { status: parts.status.as_u16(), headers, body, whole }, receipt)
    }

    /// What the caller can read of the entry: its fields without ids, times, hashes and the library's name.
    pub async fn entry(&self, receipt: &str, library: &str) -> String {
        let (heard, _) = self.send(Request::get(format!("/v1/receipts/{receipt}")), String::new()).await;
        let receipt: Receipt = serde_json::from_slice(&heard.body)
            .unwrap_or_else(|cause| panic!("{cause}: {} {}", heard.status, heard.text()));
        let mut draft = receipt.entry().expect("an entry").draft;
        draft.time_us = None;
        draft.store_revision = None;
        draft.grants.clear();
        draft.commitment.clear();
        draft.opened_index = None;
        // The hash of what was cut off covers the library's name.
        if let Some((kept, _hash)) = draft.shape.split_once("~sha256:") {
            draft.shape = kept.to_owned();
        }
        let mut value = serde_json::to_value(&draft).expect("JSON");
        value.as_object_mut().expect("an object").remove("receipt");
        value.to_string().replace(library, "lib_____")
    }
}

fn neutral(mut heard: Heard, library: &str, receipt: Option<&str>) -> Heard {
    // A problem is a few hundred bytes, an answer may hold the names of its columns.
    heard.body = replaced(&heard.body, library.as_bytes(), b"lib_____");
    if let Some(receipt) = receipt {
        heard.body = replaced(&heard.body, receipt.as_bytes(), &vec![b'r'; receipt.len()]);
    }
    for name in ["tongqu-receipt", "ratelimit"] {
        if let Some(value) = heard.headers.get_mut(name) {
            "…".clone_into(value);
        }
    }
    heard
}

/// All occurrences of `needle` replaced by as many bytes.
fn replaced(bytes: &[u8], needle: &[u8], by: &[u8]) -> Vec<u8> {
    let mut replaced = bytes.to_vec();
    let mut at = 0;
    while at + needle.len() <= replaced.len() {
        if &replaced[at..at + needle.len()] == needle {
            replaced[at..at + needle.len()].copy_from_slice(&by[..needle.len()]);
            at += needle.len();
        } else {
            at += 1;
        }
    }
    replaced
}

fn entry(table: &Table, library: &str, binding: &Json) -> Json {
    let kind = |kind: ItemType| serde_json::to_value(kind).expect("a type");
    let items: Vec<Json> = table
        .items
        .iter()
        .map(|item| {
            json!({"name": item.name, "title": item.name, "type": kind(item.kind), "key": item.key,
                   "classification": "general"})
        })
        .collect();
    json!({
        "name": format!("{library}.{}", table.name), "title": table.name, "abstract": "of a pair",
        "provider": "public-security", "class": "conditional", "condition": "as the test grants it",
        "update_cycle": "daily", "items": items, "binding": binding,
    })
}

fn granted(table: &Table, library: &str) -> Json {
    let output: Vec<Json> = table
        .output
        .iter()
        .map(|(at, mask)| match mask {
            Some(mask) => json!({"item": table.items[*at].name, "mask": mask}),
            None => json!({"item": table.items[*at].name}),
        })
        .collect();
    let input: Vec<&str> = table.input.iter().map(|at| table.items[*at].name.as_str()).collect();
    let operations: &[&str] = if input.is_empty() { &["query"] } else { &["query", "lookup"] };
    let mut terms = terms(operations, &input, json!(output), table.scope.clone());
    let beside = ["t", "u"].into_iter().filter(|name| *name != table.name);
    terms["joins"] = beside.map(|name| json!(format!("{library}.{name}"))).collect();
    terms
}

/// A statement as a call.
pub fn query(sql: &str, params: &[Json], accept: &'static str) -> Call {
    let body =
        json!({"sql": sql, "params": params, "purpose": PURPOSE, "case": "case-1", "operator": CALLER});
    Call { path: "/v1/queries", accept, body }
}

pub fn lookup(
    table: &str,
    item: &str,
    keys: &[String],
    items: Option<&[String]>,
    accept: &'static str,
) -> Call {
    let keys: Vec<Json> = keys.iter().map(|key| json!({item: key})).collect();
    let mut body = json!({
        "resource": format!("lib_.{table}"), "keys": keys, "purpose": PURPOSE, "case": "case-1", "operator": CALLER,
    });
    if let Some(items) = items {
        body["items"] = json!(items);
    }
    Call { path: "/v1/lookups", accept, body }
}
