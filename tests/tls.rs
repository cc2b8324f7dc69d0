//! TLS of the hub's own: versions, new certificates under running calls, handshakes that are slow, broken or none.

pub mod certificates;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tongqu::clock::Clock;
use tongqu::config::{Config, TlsConfig};
use tongqu::tls::Tls;

use crate::support::TestHub;
use certificates::{Authority, openssl, put, replace, text};

const OPERATOR: &str = "civil-affairs.operator";

/// A hub that speaks TLS, and the pair it was given.
async fn hub(authority: &Authority, set: impl FnOnce(&mut Config)) -> (TestHub, TlsConfig) {
    let files = authority.issue("hub");
    let mut hub = TestHub::start_with(Clock::system(), |config| {
        config.hub.tls = Some(files.clone());
        set(config);
    })
    .await;
    hub.base_url = hub.base_url.replace("http://", "https://");
    hub.http = authority.client();
    (hub, files)
}

fn address(hub: &TestHub) -> String {
    hub.base_url.replace("https://", "")
}

async fn metric(hub: &TestHub, line: &str) -> i64 {
    let text = hub.get(OPERATOR, "/metrics").await.text();
    let found = text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok());
    found.unwrap_or(0)
}

/// Waits until a condition on the hub holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// One handshake by `openssl s_client`: what it says.
async fn shake(hub: &TestHub, more: &'static [&'static str]) -> String {
    let address = address(hub);
    let shaken = tokio::task::spawn_blocking(move || {
        openssl(&[&["s_client", "-connect", &address, "-alpn", "h2,http/1.1"], more].concat())
    });
    text(&shaken.await.expect("it ends"))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_versions_are_spoken_and_older_ones_refused() {
    let authority = Authority::new();
    let (hub, _) = hub(&authority, |_| ()).await;
    let said = hub.get(OPERATOR, "/v1/resources").await.expect(200, "ok");
    assert_eq!(said.headers["strict-transport-security"], "max-age=31536000");
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let said = shake(&hub, if version == "-tls1_2" { &["-tls1_2"] } else { &["-tls1_3"] }).await;
        assert!(said.contains(&format!("New, {name}")), "{said}");
        assert!(said.contains("ALPN protocol: http/1.1"), "{said}");
    }
    let old = shake(&hub, &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]).await;
    assert!(old.contains("Cipher is (NONE)") && old.contains("alert handshake failure"), "{old}");
    // The other way about: this certificate is of no authority that the system knows.
    assert!(reqwest::get(format!("{}/livez", hub.base_url)).await.is_err());
    let left = metric(&hub, "tongqu_tls_certificate_seconds_left").await;
    assert!((9 * 86_400..=10 * 86_400).contains(&left), "{left}");
    assert_eq!(metric(&hub, "tongqu_tls_handshakes_total{outcome=\"failed\"}").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_taken_under_running_calls() {
    let authority = Authority::new();
    let (hub, files) = hub(&authority, |_| ()).await;
    let (next, foreign) = (authority.issue("next"), authority.issue("foreign"));
    let kept = reqwest::Client::builder();
    let ca = std::fs::read(authority.path("ca.pem")).expect("the authority");
    let kept = kept.tls_certs_only([reqwest::Certificate::from_pem(&ca).expect("a certificate")]);
    let kept = kept.no_proxy().build().expect("a client");
    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = Vec::new();
    // Three that shake hands for every call, one that keeps its connection.
    for client in [hub.http.clone(), hub.http.clone(), hub.http.clone(), kept] {
        let (stop, calls, url) = (stop.clone(), calls.clone(), format!("{}/livez", hub.base_url));
        clients.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let answer = client.get(&url).send().await.expect("no call fails");
                assert_eq!(answer.text().await.expect("whole"), "live\n");
                calls.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    assert!(shake(&hub, &["-tls1_3"]).await.contains("subject=CN = hub"));
    replace(&files, &next);
    until("the next certificate is in force", async || {
        shake(&hub, &["-tls1_3"]).await.contains("subject=CN = next")
    })
    .await;
    let taken = "tongqu_tls_reloads_total{outcome=\"taken\"}";
    assert!(metric(&hub, taken).await >= 1);
    // A key that does not belong to it: the pair in force stays.
    let refused = metric(&hub, "tongqu_tls_reloads_total{outcome=\"refused\"}").await;
    put(&foreign.key, &files.key);
    until("the bad pair is looked at", async || {
        metric(&hub, "tongqu_tls_reloads_total{outcome=\"refused\"}").await > refused
    })
    .await;
    assert!(shake(&hub, &["-tls1_3"]).await.contains("subject=CN = next"));
    let before = calls.load(Ordering::Relaxed);
    until("calls go on", async || calls.load(Ordering::Relaxed) > before + 20).await;
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("no call failed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_handshakes_keep_nobody_out() {
    let authority = Authority::new();
    let (hub, _) = hub(&authority, |config| {
        config.limits.handshakes_max = 16;
        config.limits.connections_max = 64;
        config.limits.handshake_timeout_ms = 600_000;
    })
    .await;
    let hello = hello();
    let mut open = VecDeque::new();
    for at in 0..1_000_usize {
        let mut stream = TcpStream::connect(address(&hub)).await.expect("a connection");
        // Nothing, half a hello, or a whole one whose answer is never taken.
        let sent = [0, hello.len() / 2, hello.len()][at % 3];
        stream.write_all(&hello[..sent]).await.expect("sent");
        open.push_back(stream);
        // Below the usual limit of file handles.
        if open.len() > 200 {
            open.pop_front();
        }
        if at % 20 == 0 {
            hub.get(OPERATOR, "/livez").await.expect(200, "ok");
        }
    }
    hub.get(OPERATOR, "/v1/resources").await.expect(200, "ok");
    let displaced = metric(&hub, "tongqu_tls_handshakes_total{outcome=\"displaced\"}").await;
    assert!(displaced >= 200, "{displaced}");
    drop(open);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_handshake_is_ended() {
    let authority = Authority::new();
    let (hub, _) = hub(&authority, |config| config.limits.handshake_timeout_ms = 300).await;
    let hello = hello();
    for (what, sent) in [
        ("plain HTTP", b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n".to_vec()),
        ("an HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("zeros", vec![0; 20_000]),
        ("a record too long", [&[22, 3, 1, 0xff, 0xff][..], &[0; 4_000]].concat()),
        ("SSL 2", vec![0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10]),
        ("nothing", Vec::new()),
        ("half a hello", hello[..hello.len() / 2].to_vec()),
        ("a hello and silence", hello.clone()),
    ] {
        let mut stream = TcpStream::connect(address(&hub)).await.expect("a connection");
        let _ended_meanwhile = stream.write_all(&sent).await;
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "{what}: the hub does not end it");
        assert!(!answer.starts_with(b"HTTP"), "{what}: {}", String::from_utf8_lossy(&answer));
    }
    // Gone in the middle of its hello.
    let mut stream = TcpStream::connect(address(&hub)).await.expect("a connection");
    stream.write_all(&hello[..7]).await.expect("sent");
    drop(stream);
    hub.get(OPERATOR, "/livez").await.expect(200, "ok");
    assert!(metric(&hub, "tongqu_tls_handshakes_total{outcome=\"too_slow\"}").await >= 3);
    assert!(metric(&hub, "tongqu_tls_handshakes_total{outcome=\"failed\"}").await >= 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_no_answer_loses_the_connection() {
    let hub = TestHub::start_with(Clock::system(), |config| {
        config.limits.connections_max = 4;
        config.engine.idle_timeout_ms = 300;
    })
    .await;
    // More than any buffer on the way holds, for each of all the places there are.
    let calls = "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nhost: x\r\n\r\n".repeat(40);
    let mut silent = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(hub.base_url.replace("http://", "")).await.expect("a connection");
        stream.write_all(calls.as_bytes()).await.expect("sent");
        silent.push(stream);
    }
    let served = tokio::time::timeout(Duration::from_secs(30), hub.get(OPERATOR, "/livez")).await;
    served.expect("a place came back").expect(200, "ok");
    drop(silent);
}

/// A client's first message, of a form that every server takes.
fn hello() -> Vec<u8> {
    let config =
        rustls::ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into());
    let config = config.with_safe_default_protocol_versions().expect("versions");
    let config = config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("written");
    bytes
}

#[test]
fn doubtful_pairs_are_refused_with_what_to_do() {
    let authority = Authority::new();
    let (good, other) = (authority.issue("good"), authority.issue("other"));
    let now_us = Clock::system().now_us();
    let day_us = 86_400_000_000;
    let write = |name: &str, bytes: &[u8]| {
        let path = authority.path(name);
        std::fs::write(&path, bytes).expect("written");
        path
    };
    let open = write("open.key", &std::fs::read(&good.key).expect("a key"));
    let empty = write("empty.pem", b"");
    let huge = write("huge.pem", &vec![b'a'; 200_000]);
    let cut = std::fs::read(&good.certificate).expect("a certificate");
    let cut = write("cut.pem", &cut[..cut.len() / 2]);
    let long = std::fs::read(&good.certificate).expect("a certificate").repeat(17);
    let long = write("long.pem", &long);
    let nonsense = write("nonsense.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    assert!(Tls::open(&good, now_us).is_ok());
    let check = |certificate: &std::path::Path, key: &std::path::Path, now_us: i64, expect: &str| {
        let files = TlsConfig { certificate: certificate.to_owned(), key: key.to_owned() };
        let said = Tls::open(&files, now_us).err().map_or_else(String::new, |fault| fault.to_string());
        assert!(said.contains(expect), "{expect}: {said}");
        assert!(!said.contains("PRIVATE"), "{said}");
    };
    check(&good.certificate, &other.key, now_us, "do not belong together");
    check(&good.certificate, &good.key, now_us + 11 * day_us, "ended 20");
    check(&good.certificate, &good.key, now_us - 2 * day_us, "counts only from 20");
    check(&good.certificate, &open, now_us, "chmod 600");
    check(&good.certificate, &good.certificate, now_us, "chmod 600");
    check(&good.key, &good.key, now_us, "no PEM chain");
    for bad in [&empty, &cut, &long, &nonsense] {
        check(bad, &good.key, now_us, "no PEM chain");
    }
    check(&huge, &good.key, now_us, "larger than 131072 bytes");
    check(&authority.path("none.pem"), &good.key, now_us, "cannot be read");
    check(&good.certificate, &authority.path("none.key"), now_us, "cannot be read");
    let secret = write(
        "secret.key",
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    check(&good.certificate, &secret, now_us, "without a passphrase");
    // A command says the same and ends with 1.
    let config = write(
        "tongqu.toml",
        b"[hub]\nlisten = \"0.0.0.0:0\"\n[hub.tls]\ncertificate = \"good.pem\"\nkey = \"other.key\"\n",
    );
    let said = std::process::Command::new(env!("CARGO_BIN_EXE_tongqu"))
        .args(["check", "--config", &config.to_string_lossy()])
        .output()
        .expect("it runs");
    assert!(!said.status.success() && text(&said).contains("do not belong together"), "{}", text(&said));
}
