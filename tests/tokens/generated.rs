//! Tokens by a generator that shares nothing with the hub (npm `jose`, Node's cryptography): the good ones count,
//! not one of the forged ones does, and no address that stands in a token is ever connected to.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tongqu::clock::Clock;

use super::accounts::declare;
use super::forge::{assert_refused, probe};
use crate::support::{HUB_ID, NOW_US, TestHub};

const GENERATED_ISSUER: &str = "https://generated.test";
const PERSON: &str = "civil-affairs.generated";
const CASES_MIN: usize = 300;

/// Where `tests/run` puts the packages of `tests/tokens/package.json`.
pub fn node_folder() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let folder = cache.expect("a home").join("tongqu/node");
    assert!(folder.join("node_modules/jose").is_dir(), "npm `jose` is missing; start `tests/run` once");
    folder
}

/// A program beside this file.
pub fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/tokens").join(name)
}

fn generated(listener: &str) -> Value {
    let mut node = Command::new("node")
        .arg(script("generate.mjs"))
        .arg(node_folder())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("`node` starts; `tests/run` says what to install");
    let asked = json!({"iss": GENERATED_ISSUER, "sub": PERSON, "aud": HUB_ID, "now": NOW_US / 1_000_000, "listener": listener});
    node.stdin.take().expect("its input").write_all(asked.to_string().as_bytes()).expect("written");
    let output = node.wait_with_output().expect("it ends");
    assert!(output.status.success(), "the generator failed");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_generated_forgery_is_anybody() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("set");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let made = tokio::task::spawn_blocking(move || generated(&address)).await.expect("generated");
    let folder = tempfile::tempdir().expect("a folder");
    let jwks = folder.path().join("jwks.json");
    std::fs::write(&jwks, made["jwks"].to_string()).expect("written");
    let hub = TestHub::start_with(Clock::fixed(NOW_US), |config| {
        config.limits.unauthenticated_per_minute = 60_000;
        let issuer = json!({"issuer": GENERATED_ISSUER, "jwks": jwks});
        config.authn.issuers.push(serde_json::from_value(issuer).expect("an issuer"));
    })
    .await;
    let account = json!({"id": PERSON, "kind": "person", "issuer": GENERATED_ISSUER, "subject": PERSON,
        "posts": [{"department": "civil-affairs", "role": "operator"}]});
    declare(&hub, "civil-affairs", account).await.expect("declared");
    let cases = made["cases"].as_array().expect("cases");
    assert!(cases.len() >= CASES_MIN, "{} cases", cases.len());
    let mut good = 0;
    for case in cases {
        let (name, token) = (case[0].as_str().expect("a name"), case[1].as_str().expect("a token"));
        // A header cannot carry what is no visible character; such a text is sent as bytes all the same.
        let value = reqwest::header::HeaderValue::from_bytes(format!("Bearer {token}").as_bytes());
        let call = hub.http.get(format!("{}/v1/grants", hub.base_url));
        let said = hub.send(call.header("authorization", value.expect("a header"))).await;
        if case[2] == json!(true) {
            good += 1;
            assert_eq!(said.status, 200, "{name}: {}", said.text());
        } else {
            assert_refused(name, &said);
        }
    }
    assert_eq!(good, 10, "the good ones of four keys, two ways, and two more");
    let outside = listener.accept().map(|(_stream, peer)| peer);
    assert!(outside.is_err_and(|cause| cause.kind() == std::io::ErrorKind::WouldBlock), "somebody connected");
    assert_eq!(probe(&hub, &hub.token("civil-affairs.operator")).await.status, 200, "the hub goes on");
}
