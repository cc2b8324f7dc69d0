//! A whole hub in this process, with small synthetic sources, its people and their tokens, spoken to over HTTP.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};
use tempfile::TempDir;
use tongqu::authn::signing::SigningKey;
use tongqu::clock::Clock;
use tongqu::config::Config;
use tongqu::demo::synthetic::{Plan, generate};
use tongqu::hub::Hub;
use tongqu::publish;
use tongqu::store::organisation::Organisation;

pub const HUB_ID: &str = "tongqu.test";
pub const ISSUER: &str = "https://issuer.test";
/// 2026-06-01T00:00:00Z: where a fixed clock begins.
pub const NOW_US: i64 = 1_780_272_000_000_000;

/// `(account, department, roles)`.
pub const PEOPLE: &[(&str, &str, &[&str])] = &[
    ("civil-affairs.operator", "civil-affairs", &["operator"]),
    ("civil-affairs.sharing-head", "civil-affairs", &["sharing-head"]),
    ("human-resources.operator", "human-resources", &["operator"]),
    ("human-resources.sharing-head", "human-resources", &["sharing-head"]),
    ("public-security.operator", "public-security", &["operator"]),
    ("public-security.head", "public-security", &["head"]),
    ("public-security.sharing-head", "public-security", &["sharing-head"]),
    ("market-regulation.head", "market-regulation", &["head"]),
    ("market-regulation.sharing-head", "market-regulation", &["sharing-head"]),
    ("credit-office.head", "credit-office", &["head"]),
    ("credit-office.sharing-head", "credit-office", &["sharing-head"]),
    ("data-authority.authority", "data-authority", &["authority"]),
    ("data-authority.security-admin", "data-authority", &["security-admin"]),
    ("data-authority.system-admin", "data-authority", &["system-admin"]),
    ("data-authority.reviewer", "data-authority", &["reviewer"]),
];

/// The system whose key tests hold.
pub const SYSTEM: &str = "civil-affairs.system";

/// Synthetic libraries of 2,000 residents, made once per test run.
pub fn libraries() -> &'static Path {
    static SOURCES: OnceLock<TempDir> = OnceLock::new();
    SOURCES
        .get_or_init(|| {
            let folder = tempfile::tempdir().expect("a folder");
            let root = folder.path().to_owned();
            let plan = Plan { residents: 2_000, entities: 400, credit_records: 1_200, seed: 7 };
            std::thread::spawn(move || {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(generate(&root, &plan, &|_, _, _| ())).expect("synthetic libraries");
            })
            .join()
            .expect("generation ends");
            folder
        })
        .path()
}

/// A running hub; everything is gone when it is dropped.
pub struct TestHub {
    pub hub: Arc<Hub>,
    pub base_url: String,
    pub issuer: SigningKey,
    pub system: SigningKey,
    pub http: reqwest::Client,
    directory: Arc<TempDir>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    server: Option<tokio::task::JoinHandle<anyhow::Result<()>>>,
}

/// What a call gave.
#[derive(Debug, Clone)]
pub struct Said {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub bytes: Vec<u8>,
}

impl Said {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    /// Problem code, or `ok`.
    pub fn code(&self) -> String {
        if self.status < 300 {
            "ok".to_owned()
        } else {
            self.json()["code"].as_str().unwrap_or("?").to_owned()
        }
    }

    pub fn receipt(&self) -> Option<&str> {
        self.headers.get("tongqu-receipt").map(String::as_str)
    }

    #[track_caller]
    pub fn rows(&self) -> Vec<Value> {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()["rows"].as_array().expect("rows").clone()
    }

    #[track_caller]
    pub fn expect(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{}", self.text());
        self
    }
}

impl TestHub {
    /// A hub with the base libraries, and a system clock.
    pub async fn start() -> Self {
        Self::start_with(Clock::system(), |_| ()).await
    }

    /// A hub under a clock, its configuration changed.
    pub async fn start_with(clock: Clock, set: impl FnOnce(&mut Config)) -> Self {
        let directory = Arc::new(tempfile::tempdir().expect("a folder"));
        let keys = directory.path().join("test-keys");
        std::fs::create_dir_all(&keys).expect("a folder");
        SigningKey::create(&keys.join("issuer.pem")).expect("a key");
        SigningKey::create(&keys.join("system.pem")).expect("a key");
        let mut config = Config::default();
        set(&mut config);
        let sources = directory.path().join("hub/sources");
        link_tree(libraries(), &sources);
        for provider in ["public-security", "market-regulation", "credit-office"] {
            std::fs::create_dir_all(sources.join(provider)).expect("a folder");
            std::fs::copy(
                sources.join("legal_entity/registry.sqlite"),
                sources.join(provider).join("registry.sqlite"),
            )
            .expect("copied");
        }
        Self::open(directory, clock, config).await
    }

    async fn open(directory: Arc<TempDir>, clock: Clock, mut config: Config) -> Self {
        let path = directory.path();
        let issuer = SigningKey::read(&path.join("test-keys/issuer.pem")).expect("a key");
        let system = SigningKey::read(&path.join("test-keys/system.pem")).expect("a key");
        let jwks = path.join("test-keys/issuer.jwks.json");
        std::fs::write(&jwks, json!({"keys": [issuer.jwk()]}).to_string()).expect("written");
        config.hub.id = HUB_ID.to_owned();
        config.hub.directory = path.join("hub");
        config.sources.root = path.join("hub/sources");
        config.authn.issuers.retain(|issuer| issuer.issuer != ISSUER);
        config
            .authn
            .issuers
            .push(serde_json::from_value(json!({"issuer": ISSUER, "jwks": jwks})).expect("an issuer"));
        crate::attacks::scan::capture();
        let hub = Hub::open(config, clock).await.expect("the hub opens");
        publish::declare(&hub, organisation(&system)).await.expect("organisation");
        publish::load(&hub, catalog::embedded().expect("libraries")).await.expect("resources");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base_url = format!("http://{}", listener.local_addr().expect("an address"));
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let server = tokio::spawn(tongqu::cli::serve_until(hub.clone(), listener, async move {
            let _told = stopped.await;
        }));
        Self {
            hub,
            base_url,
            issuer,
            system,
            // The hub closes a connection that is idle for ten seconds; a test must not use it just then.
            http: reqwest::Client::builder()
                .pool_idle_timeout(std::time::Duration::from_secs(3))
                .build()
                .expect("a client"),
            directory,
            stop: Some(stop),
            server: Some(server),
        }
    }

    /// Stops as an operator would and starts again on the same directory.
    pub async fn restart(self, clock: Clock) -> Self {
        self.restart_after(clock, || ()).await
    }

    /// The same, with something done while it is stopped.
    pub async fn restart_after(mut self, clock: Clock, change: impl FnOnce()) -> Self {
        let (directory, config) = (self.directory.clone(), self.hub.config.clone());
        self.stop().await;
        drop(self);
        change();
        Self::open(directory, clock, config).await
    }

    /// Drains and closes; the directory stays.
    pub async fn stop(&mut self) {
        if let (Some(stop), Some(server)) = (self.stop.take(), self.server.take()) {
            let _gone = stop.send(());
            server.await.expect("the server ends").expect("it ends well");
        }
    }

    pub fn directory(&self) -> PathBuf {
        self.directory.path().join("hub")
    }

    /// Folder below which bindings look for files.
    pub fn sources(&self) -> PathBuf {
        self.directory().join("sources")
    }

    pub fn now_s(&self) -> i64 {
        self.hub.clock.now_us() / 1_000_000
    }

    /// A good token: the issuer's for a person, an own assertion for the system.
    pub fn token(&self, account: &str) -> String {
        let now_s = self.now_s();
        let token = if account == SYSTEM {
            self.system.token(SYSTEM, SYSTEM, HUB_ID, now_s, 300)
        } else {
            self.issuer.token(ISSUER, account, HUB_ID, now_s, 3600)
        };
        token.expect("a token")
    }

    pub async fn send(&self, call: reqwest::RequestBuilder) -> Said {
        let response = call.send().await.expect("the hub answers");
        let status = response.status().as_u16();
        let headers = response.headers();
        let headers = headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        let bytes = response.bytes().await.expect("a whole body").to_vec();
        let said = Said { status, headers, bytes };
        if status >= 400 {
            crate::leaks::search_refusal(&format!("{:?} {}", said.headers, said.text()));
        }
        said
    }

    /// A call being built, with the account's token.
    pub fn call(&self, method: &str, account: &str, path: &str) -> reqwest::RequestBuilder {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        self.http.request(method, format!("{}{path}", self.base_url)).bearer_auth(self.token(account))
    }

    pub async fn post(&self, account: &str, path: &str, body: &Value) -> Said {
        let call = self.call("POST", account, path).header("content-type", "application/json");
        self.send(call.body(body.to_string())).await
    }

    pub async fn get(&self, account: &str, path: &str) -> Said {
        self.send(self.call("GET", account, path)).await
    }

    /// `POST /v1/queries` with case and operator, for the purpose every test grant has.
    pub async fn query(&self, account: &str, sql: &str) -> Said {
        self.query_with(account, sql, json!([])).await
    }

    pub async fn query_with(&self, account: &str, sql: &str, params: Value) -> Said {
        let body =
            json!({"sql": sql, "params": params, "purpose": PURPOSE, "case": "case-1", "operator": account});
        self.post(account, "/v1/queries", &body).await
    }

    pub async fn lookup(&self, account: &str, resource: &str, keys: Value) -> Said {
        let body = json!({"resource": resource, "keys": keys, "purpose": PURPOSE, "case": "case-1", "operator": account});
        self.post(account, "/v1/lookups", &body).await
    }

    /// What the reviewer reads of the record.
    pub async fn audit(&self, sql: &str) -> Vec<Value> {
        let body = json!({"sql": sql, "purpose": "audit"});
        self.post("data-authority.reviewer", "/v1/queries", &body).await.rows()
    }

    /// Publishes an entry as its provider's head.
    pub async fn publish(&self, head: &str, resource: &Value) -> Said {
        self.post(head, "/v1/resources", resource).await
    }

    /// Application and grant through the API; the grant's id.
    pub async fn grant(&self, resource: &str, grantee: &str, provider: &str, terms: &Value) -> String {
        let body = json!({"resource": resource, "terms": terms});
        let applied = self.post(&format!("{grantee}.sharing-head"), "/v1/applications", &body).await;
        assert_eq!(applied.status, 201, "{}", applied.text());
        let body = json!({"application": applied.json()["id"]});
        let granted = self.post(&format!("{provider}.sharing-head"), "/v1/grants", &body).await;
        assert_eq!(granted.status, 201, "{}", granted.text());
        granted.json()["id"].as_str().expect("an id").to_owned()
    }

    /// Residents to civil affairs: masked, region 33 only, query and look-up.
    pub async fn grant_residents(&self) -> String {
        let terms = terms(
            &["query", "lookup"],
            &["id_number"],
            json!([
                {"item": "name", "mask": {"keep_first": 1}}, {"item": "sex"}, {"item": "birth_date", "mask": "year"},
                {"item": "residence_code"}, {"item": "marital_status"},
            ]),
            Some(json!({"compare": {"item": "residence_code", "op": "like_prefix", "value": "33"}})),
        );
        self.grant("population.resident", "civil-affairs", "public-security", &terms).await
    }
}

/// Nothing that a hub of any test logged or recorded holds a canary.
impl Drop for TestHub {
    fn drop(&mut self) {
        crate::leaks::search_own(&self.directory());
    }
}

/// Purpose of every test grant.
pub const PURPOSE: &str = "minimum-living-allowance";

/// Terms as a test grant has them.
pub fn terms(operations: &[&str], input: &[&str], output: Value, scope: Option<Value>) -> Value {
    let mut terms = json!({
        "operations": operations, "input": input, "output": output, "purpose": PURPOSE, "basis": "test",
        "standing": ["operator", "terminal", {"rule": "auto-1"}], "systems": [SYSTEM],
        "valid_from": NOW_US - 86_400_000_000_i64, "valid_until": NOW_US + 400 * 86_400_000_000_i64,
        "rows_per_answer_max": 100_000, "rows_per_day_max": 10_000_000, "calls_per_minute_max": 60_000,
    });
    if let (Some(scope), Some(members)) = (scope, terms.as_object_mut()) {
        members.insert("scope".to_owned(), scope);
    }
    terms
}

fn organisation(system: &SigningKey) -> Organisation {
    let names: std::collections::BTreeSet<&str> =
        PEOPLE.iter().map(|(_, department, _)| *department).collect();
    let departments: Vec<Value> = names
        .iter()
        .enumerate()
        .map(|(index, id)| {
            let uscc = catalog::identifier::compose_uscc("11", "330000", &format!("0023000{}", index + 1));
            json!({"id": id, "name": id, "uscc": uscc.expect("a code"), "region_code": "330000"})
        })
        .collect();
    let mut accounts: Vec<Value> = PEOPLE
        .iter()
        .map(|(id, department, roles)| {
            let posts: Vec<Value> =
                roles.iter().map(|role| json!({"department": department, "role": role})).collect();
            json!({"id": id, "kind": "person", "issuer": ISSUER, "subject": id, "posts": posts})
        })
        .collect();
    accounts.push(json!({
        "id": SYSTEM, "kind": "system", "issuer": SYSTEM, "subject": SYSTEM, "keys": [system.jwk()],
        "posts": [{"department": "civil-affairs", "role": "operator"}],
    }));
    serde_json::from_value(json!({"department": departments, "account": accounts})).expect("an organisation")
}

/// The same files under another folder.
pub fn link_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            link_tree(&source, &target);
        } else {
            std::fs::copy(&source, &target).expect("copied");
        }
    }
}
