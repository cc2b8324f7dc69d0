//! A real OpenID provider over TLS: its keys change under load, it is killed and comes back, and calls go on as the rules say.
//!
//! `TONGQU_ROTATION_CALLS=10000` is the long form.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::RwLock;
use tongqu::authn::fetch::Door;
use tongqu::clock::Clock;
use tongqu::config::IssuerConfig;

use super::accounts::declare;
use super::forge::assert_refused;
use super::generated::{node_folder, script};
use crate::support::{Said, TestHub};
use crate::tls::certificates::Authority;

const PROVIDER: &str = "https://provider.test";
const PERSON: &str = "civil-affairs.provided";
const WORKERS: usize = 8;
const UNKNOWN_AGAIN: Duration = Duration::from_millis(1_200);
/// A removed key is refused so long after the regular fetch is due, at the latest.
const REMOVED_WITHIN: Duration = Duration::from_secs(20);

/// The provider's process; killed by its own id when dropped.
struct Provider {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    port: u64,
}

impl Provider {
    fn start(authority: &Authority, port: u64) -> Self {
        let mut child = Command::new("node")
            .arg(script("provider.mjs"))
            .arg(node_folder())
            .args(["provider.pem", "provider.key", "store.json"].map(|name| authority.path(name)))
            .arg(port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("`node` starts; `tests/run` says what to install");
        let (input, output) = (child.stdin.take().expect("input"), child.stdout.take().expect("output"));
        let mut provider = Self { child, input, output: BufReader::new(output), port: 0 };
        provider.port = provider.line()["port"].as_u64().expect("a port");
        provider
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        serde_json::from_str(&line).expect("JSON; the provider ended")
    }

    fn tell(&mut self, what: &str) -> Value {
        writeln!(self.input, "{what}").expect("told");
        self.line()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// A hub that trusts the provider, and whoever is going to ask it.
struct Stage {
    hub: TestHub,
    http: reqwest::Client,
    authority: Authority,
    provider: Provider,
}

impl Stage {
    async fn open() -> Self {
        let authority = Authority::new();
        authority.issue("provider");
        let provider = Provider::start(&authority, 0);
        let ca = authority.path("ca.pem");
        let pem = std::fs::read(&ca).expect("a certificate");
        let http = reqwest::Client::builder()
            .no_proxy()
            // The provider ends idle connections when it likes.
            .pool_max_idle_per_host(0)
            .tls_certs_only(reqwest::Certificate::from_pem_bundle(&pem).expect("a certificate"))
            .build()
            .expect("a client");
        let url = format!("https://127.0.0.1:{}/jwks", provider.port);
        let issuer = |ca: Option<&Path>| -> IssuerConfig {
            let text = json!({"issuer": PROVIDER, "jwks_url": url, "ca": ca, "private_addresses": true});
            serde_json::from_value(text).expect("an issuer")
        };
        let hub = TestHub::start_with(Clock::system(), |config| {
            config.limits.unauthenticated_per_minute = 60_000;
            config.limits.account_per_minute = 1_000_000;
            config.authn.refresh_s = 1;
            config.authn.unknown_key_interval_s = 1;
            config.authn.unknown_key_wait_ms = 10_000;
            config.authn.issuers.push(issuer(Some(&ca)));
        })
        .await;
        for (ca, trusted) in [(Some(ca.as_path()), true), (None, false)] {
            let door = Door::new(&issuer(ca), &hub.hub.config.authn).expect("a door");
            assert_eq!(door.fetch().await.is_ok(), trusted, "only `ca` trusts this certificate");
        }
        let account = json!({"id": PERSON, "kind": "person", "issuer": PROVIDER, "subject": PERSON,
            "posts": [{"department": "civil-affairs", "role": "operator"}]});
        declare(&hub, "civil-affairs", account).await.expect("declared");
        Self { hub, http, authority, provider }
    }

    /// A token as a client gets it.
    async fn token(&self) -> String {
        let asked = "grant_type=client_credentials&client_id=civil-affairs.provided&client_secret=not-a-secret\
            &resource=urn:tongqu:hub&scope=ask";
        let call = self.http.post(format!("https://127.0.0.1:{}/token", self.provider.port));
        let call = call.header("content-type", "application/x-www-form-urlencoded").body(asked);
        let said = call.send().await.expect("the provider answers");
        let said: Value = said.json().await.expect("JSON");
        said["access_token"].as_str().unwrap_or_else(|| panic!("no token: {said}")).to_owned()
    }

    async fn probe(&self, token: &str) -> Said {
        super::forge::probe(&self.hub, token).await
    }

    /// Until a token whose key was removed is refused; then it is refused for good.
    async fn until_refused(&self, token: &str) {
        let start = Instant::now();
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        while self.probe(token).await.status != 401 {
            assert!(start.elapsed() < REMOVED_WITHIN, "a removed key counts for too long");
            pace.tick().await;
        }
        assert_refused("a removed key", &self.probe(token).await);
    }
}

/// Workers that ask all the time with whatever token is current.
struct Load {
    token: Arc<RwLock<String>>,
    calls: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
    stop: tokio_util::sync::CancellationToken,
    workers: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(hub: &TestHub, token: String) -> Self {
        let (token, stop) = (Arc::new(RwLock::new(token)), tokio_util::sync::CancellationToken::new());
        let (calls, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let workers = (0..WORKERS).map(|_| {
            let (token, calls, refused, stop) = (token.clone(), calls.clone(), refused.clone(), stop.clone());
            let (http, url) = (hub.http.clone(), format!("{}/v1/grants?limit=1", hub.base_url));
            tokio::spawn(async move {
                while !stop.is_cancelled() {
                    // Held over the call: nobody takes a key away from under it.
                    let token = token.read().await;
                    let said = http.get(&url).bearer_auth(&*token).send().await.expect("the hub answers");
                    calls.fetch_add(1, Ordering::SeqCst);
                    if said.status().as_u16() != 200 {
                        refused.fetch_add(1, Ordering::SeqCst);
                    }
                }
            })
        });
        let workers = workers.collect();
        Self { token, calls, refused, stop, workers }
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// So many calls more, and long enough that the hub may ask about an unknown key again.
    async fn more(&self, calls: usize) {
        let (start, until) = (Instant::now(), self.calls() + calls);
        let mut pace = tokio::time::interval(Duration::from_millis(5));
        while self.calls() < until || start.elapsed() < UNKNOWN_AGAIN {
            assert!(start.elapsed() < Duration::from_secs(120), "calls have stopped");
            pace.tick().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_real_provider_rotate_under_load_and_nobody_notices() {
    let calls = std::env::var("TONGQU_ROTATION_CALLS").ok().and_then(|text| text.parse().ok());
    let calls: usize = calls.unwrap_or(2_000);
    let mut stage = Stage::open().await;
    let first = stage.token().await;
    assert_eq!(stage.probe(&first).await.status, 200, "the provider's token counts");
    let load = Load::start(&stage.hub, first.clone());
    let (mut old, mut rotations) = (first, 0);
    let algorithms = ["RS256", "EdDSA", "PS256", "ES256"];
    while load.calls() < calls || rotations < algorithms.len() {
        load.more(calls / 10).await;
        stage.provider.tell(&format!("rotate {}", algorithms[rotations % algorithms.len()]));
        let new = stage.token().await;
        assert_ne!(new, old);
        // Whoever is first with a new key waits for it, and no longer.
        load.token.write().await.clone_from(&new);
        load.more(calls / 20).await;
        assert_eq!(stage.provider.tell("drop")["published"], 1);
        stage.until_refused(&old).await;
        (old, rotations) = (new, rotations + 1);
    }
    // Killed: what it signed still counts. Back with the key it had, then with another.
    let port = stage.provider.port;
    stage.provider.child.kill().expect("killed");
    stage.provider.child.wait().expect("ended");
    load.more(calls / 10).await;
    stage.provider = Provider::start(&stage.authority, port);
    stage.provider.tell("rotate ES256");
    load.token.write().await.clone_from(&stage.token().await);
    load.more(calls / 20).await;
    stage.provider.tell("drop");
    stage.until_refused(&old).await;
    load.stop.cancel();
    let (total, refused) = (load.calls(), load.refused.load(Ordering::SeqCst));
    for worker in load.workers {
        worker.await.expect("a worker ends");
    }
    println!("{total} calls, {} key changes, one kill: {refused} refused falsely", rotations + 1);
    assert_eq!(refused, 0, "of {total} calls");
}
