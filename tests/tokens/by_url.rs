//! An issuer's keys by URL and by file: they change without a restart, and an issuer that fails or misleads adds nothing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tongqu::authn::signing::SigningKey;
use tongqu::clock::Clock;
use tongqu::config::{Config, IssuerConfig};

use super::accounts::declare;
use super::forge::{assert_refused, probe};
use crate::support::{HUB_ID, ISSUER, NOW_US, TestHub};

const URL_ISSUER: &str = "https://by-url.test";
const PERSON: &str = "civil-affairs.by-url";

/// Serves one answer to whoever connects, and counts them.
pub struct Publisher {
    pub url: String,
    answer: Arc<Mutex<Vec<u8>>>,
    hits: Arc<AtomicUsize>,
}

impl Publisher {
    pub async fn open() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/jwks", listener.local_addr().expect("an address"));
        let (answer, hits) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let publisher = Self { url, answer: answer.clone(), hits: hits.clone() };
        tokio::spawn(async move {
            while let Ok((mut stream, _peer)) = listener.accept().await {
                let (answer, hits) = (answer.clone(), hits.clone());
                tokio::spawn(async move {
                    let mut head = [0; 4096];
                    let _read = stream.read(&mut head).await;
                    hits.fetch_add(1, Ordering::SeqCst);
                    let answer = answer.lock().expect("unpoisoned").clone();
                    let _sent = stream.write_all(&answer).await;
                    // An answer that does not end is one whose connection stays open.
                    if !answer.ends_with(b"\n") {
                        let _gone = stream.read(&mut head).await;
                    }
                });
            }
        });
        publisher
    }

    fn answer(&self, bytes: Vec<u8>) {
        *self.answer.lock().expect("unpoisoned") = bytes;
    }

    fn publish(&self, keys: &[Value]) {
        self.answer(said("200 OK", "", &json!({"keys": keys}).to_string()));
    }

    pub fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }
}

fn said(status: &str, more: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\n{more}content-length: {}\r\nconnection: close\r\n\r\n{body}\n",
        body.len() + 1
    )
    .into_bytes()
}

/// A hub that trusts a publisher, its clock, and three keys.
struct Stage {
    hub: TestHub,
    clock: Clock,
    publisher: Publisher,
    keys: Vec<SigningKey>,
    _folder: TempDir,
}

impl Stage {
    async fn open(set: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let keys: Vec<SigningKey> = ["a", "b", "c"]
            .iter()
            .map(|name| SigningKey::create(&folder.path().join(name)).expect("a key"))
            .collect();
        let publisher = Publisher::open().await;
        publisher.publish(&[keys[0].jwk()]);
        let clock = Clock::fixed(NOW_US);
        let url = publisher.url.clone();
        let hub = TestHub::start_with(clock.clone(), |config| {
            config.limits.unauthenticated_per_minute = 60_000;
            config.authn.unknown_key_wait_ms = 10_000;
            config.authn.issuers.push(issuer(&url, true));
            set(config);
        })
        .await;
        let account = json!({"id": PERSON, "kind": "person", "issuer": URL_ISSUER, "subject": PERSON,
            "posts": [{"department": "civil-affairs", "role": "operator"}]});
        declare(&hub, "civil-affairs", account).await.expect("declared");
        Self { hub, clock, publisher, keys, _folder: folder }
    }

    fn token(&self, key: usize) -> String {
        self.keys[key].token(URL_ISSUER, PERSON, HUB_ID, self.hub.now_s(), 3_000).expect("a token")
    }

    async fn status(&self, token: &str) -> u16 {
        probe(&self.hub, token).await.status
    }

    fn turn_s(&self, seconds: i64) {
        self.clock.turn(seconds * 1_000_000);
    }

    async fn until(&self, what: &str, held: impl AsyncFn() -> bool) {
        let start = Instant::now();
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        while !held().await {
            assert!(start.elapsed() < Duration::from_secs(30), "never: {what}");
            pace.tick().await;
        }
    }
}

fn issuer(url: &str, private_addresses: bool) -> IssuerConfig {
    serde_json::from_value(
        json!({"issuer": URL_ISSUER, "jwks_url": url, "private_addresses": private_addresses}),
    )
    .expect("an issuer")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_counts_at_its_first_call_and_a_removed_one_no_more() {
    let stage = Stage::open(|_| ()).await;
    let remembered = stage.token(0);
    assert_eq!(stage.status(&remembered).await, 200);
    stage.publisher.publish(&[stage.keys[1].jwk()]);
    assert_eq!(stage.status(&remembered).await, 200, "nothing has told the hub yet");
    stage.turn_s(30);
    assert_eq!(stage.status(&stage.token(1)).await, 200, "an unknown key id asks the issuer");
    assert_refused("remembered, its key removed", &probe(&stage.hub, &remembered).await);
    assert_refused("fresh, its key removed", &probe(&stage.hub, &stage.token(0)).await);
    // The issuer is asked about unknown keys once in 30 s, however many ask.
    stage.publisher.publish(&[stage.keys[1].jwk(), stage.keys[2].jwk()]);
    let hits = stage.publisher.hits();
    for _ in 0..20 {
        assert_refused("within 30 s", &probe(&stage.hub, &stage.token(2)).await);
    }
    assert_eq!(stage.publisher.hits(), hits, "not asked again");
    stage.turn_s(30);
    let (first, second) = (stage.token(2), stage.token(2));
    let both = tokio::join!(stage.status(&first), stage.status(&second));
    assert_eq!(both, (200, 200), "both wait for one answer");
    assert_eq!(stage.publisher.hits(), hits + 1);
    // The regular fetch takes a key away without any call.
    stage.publisher.publish(&[stage.keys[2].jwk()]);
    stage.turn_s(300);
    let kept = stage.token(1);
    stage.until("the removed key is refused", async || stage.status(&kept).await == 401).await;
    assert_eq!(stage.status(&stage.token(2)).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_down_stops_nobody_until_its_keys_are_too_old() {
    let stage = Stage::open(|config| config.authn.keys_age_max_s = 4_000).await;
    assert_eq!(stage.status(&stage.token(0)).await, 200);
    stage.publisher.answer(Vec::from(b"\n"));
    for _ in 0..3 {
        let hits = stage.publisher.hits();
        stage.turn_s(600);
        stage.until("asked in vain", async || stage.publisher.hits() > hits).await;
        assert_eq!(stage.status(&stage.token(0)).await, 200, "the last good set counts");
    }
    let kept = stage.token(0);
    stage.turn_s(2_300);
    stage.until("too old", async || stage.status(&stage.token(0)).await == 401).await;
    assert_refused("remembered, its keys too old", &probe(&stage.hub, &kept).await);
    assert_eq!(
        stage.status(&stage.hub.token("civil-affairs.operator")).await,
        200,
        "another issuer's people"
    );
    stage.publisher.publish(&[stage.keys[0].jwk()]);
    stage.turn_s(30);
    assert_eq!(stage.status(&stage.token(0)).await, 200, "the first call after it came back");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_no_key_set_changes_nothing() {
    let stage = Stage::open(|config| config.authn.fetch_timeout_ms = 500).await;
    assert_eq!(stage.status(&stage.token(0)).await, 200);
    let elsewhere = Publisher::open().await;
    elsewhere.publish(&[stage.keys[1].jwk()]);
    let evil = stage.keys[1].jwk();
    let mut private = evil.clone();
    private["d"] = json!("AAAA");
    let set = json!({"keys": [evil]}).to_string();
    let twice = json!({"keys": [evil, evil]}).to_string();
    let many = json!({"keys": vec![evil.clone(); 65]}).to_string();
    let large = format!("{}{set}", " ".repeat(65_536));
    let oct = json!({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": evil["kid"]}]}).to_string();
    let location = format!("location: {}\r\n", elsewhere.url);
    let endless = format!("HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n{set}");
    let cases: &[(&str, Vec<u8>)] = &[
        ("a redirect", said("302 Found", &location, &set)),
        ("a permanent redirect", said("308 Permanent Redirect", &location, &set)),
        ("an error with keys in it", said("500 Internal Server Error", "", &set)),
        ("not there", said("404 Not Found", "", &set)),
        ("no content", said("204 No Content", "", "")),
        ("too large", said("200 OK", "", &large)),
        ("cut off", said("200 OK", "", &set[..set.len() - 2])),
        ("a page", said("200 OK", "content-type: text/html\r\n", "<html></html>")),
        ("no keys", said("200 OK", "", r#"{"keys": []}"#)),
        ("a private key", said("200 OK", "", &json!({"keys": [private]}).to_string())),
        ("a shared key", said("200 OK", "", &oct)),
        ("one key id twice", said("200 OK", "", &twice)),
        ("too many keys", said("200 OK", "", &many)),
        ("an end that never comes", endless.into_bytes()),
        ("nothing at all", b"\n".to_vec()),
    ];
    for (what, answer) in cases {
        stage.publisher.answer(answer.clone());
        let hits = stage.publisher.hits();
        stage.turn_s(300);
        assert_refused(what, &probe(&stage.hub, &stage.token(1)).await);
        assert!(stage.publisher.hits() > hits, "{what}: asked");
        assert_eq!(stage.status(&stage.token(0)).await, 200, "{what}: the last good set counts");
    }
    assert_eq!(elsewhere.hits(), 0, "no redirect is followed");
    stage.publisher.publish(&[stage.keys[1].jwk()]);
    stage.turn_s(300);
    assert_eq!(stage.status(&stage.token(1)).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_to_a_private_network_is_not_connected_to() {
    let publisher = Publisher::open().await;
    publisher.answer(b"\n".to_vec());
    let port = publisher.url.rsplit(':').next().and_then(|rest| rest.split('/').next()).expect("a port");
    // `localhost` is a name: only what it resolves to says that it is private.
    let url = format!("https://localhost:{port}/jwks");
    for (private, expect) in [(false, "no address that may be connected to"), (true, "connection failed")] {
        let config = Config::default().authn;
        let door = tongqu::authn::fetch::Door::new(&issuer(&url, private), &config).expect("a door");
        let cause = door.fetch().await.expect_err("no TLS is spoken there").to_string();
        assert!(cause.contains(expect), "private {private}: {cause}");
        assert_eq!(publisher.hits() > 0, private, "connected to only when configured");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_key_file_counts_without_a_restart() {
    let stage = Stage::open(|_| ()).await;
    let path = stage.hub.directory().parent().expect("a folder").join("test-keys/issuer.jwks.json");
    let person = "civil-affairs.operator";
    let (old, new) =
        (stage.hub.token(person), stage.keys[2].token(ISSUER, person, HUB_ID, stage.hub.now_s(), 300));
    let new = new.expect("a token");
    assert_eq!((stage.status(&old).await, stage.status(&new).await), (200, 401));
    let set = |keys: Value| std::fs::write(&path, json!({ "keys": keys }).to_string()).expect("written");
    set(json!([stage.hub.issuer.jwk(), stage.keys[2].jwk()]));
    stage.until("the new key counts", async || stage.status(&new).await == 200).await;
    assert_eq!(stage.status(&old).await, 200);
    set(json!([stage.keys[2].jwk()]));
    stage.until("the old key is gone", async || stage.status(&old).await == 401).await;
    std::fs::write(&path, "half a f").expect("written");
    let third = stage.keys[1].token(ISSUER, person, HUB_ID, stage.hub.now_s(), 300).expect("a token");
    assert_eq!((stage.status(&new).await, stage.status(&third).await), (200, 401));
    set(json!([stage.keys[2].jwk(), stage.keys[1].jwk()]));
    stage.until("the third key counts", async || stage.status(&third).await == 200).await;
    assert_eq!(stage.status(&new).await, 200);
}
