//! `tongqu audit verify URL`: against a real hub over TLS, day by day, and against servers that lie.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures::future::join_all;
use tempfile::TempDir;
use tongqu::audit::{Draft, Kind, Limits, Log};
use tongqu::clock::Clock;
use tongqu::crypto::Keys;

use crate::support::{HUB_ID, TestHub};
use crate::tls::certificates::{Authority, text};

const REVIEWER: &str = "data-authority.reviewer";

/// Runs `tongqu audit verify` without stopping the hub in this process.
async fn verify(arguments: Vec<String>) -> Output {
    let run = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tongqu"));
        command.args(["audit", "verify"]).args(arguments).stdin(Stdio::null());
        command.output().expect("it runs")
    });
    tokio::time::timeout(Duration::from_secs(120), run).await.expect("it ends").expect("it ran")
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

async fn append(log: &Log, count: usize) {
    for _ in (0..count).step_by(100) {
        let drafts = (0..100).map(|_| {
            let draft = Draft {
                account: "test".to_owned(),
                operation: "shed".to_owned(),
                rows: Some(1),
                code: "shed".to_owned(),
                ..Draft::new(Kind::Window)
            };
            log.append(draft, None)
        });
        for appended in join_all(drafts).await {
            appended.expect("on record");
        }
    }
}

fn size_of(checkpoint: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(checkpoint).into_owned();
    text.lines().nth(1).and_then(|size| size.parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reviewer_follows_a_hub_from_day_to_day() {
    let authority = Authority::new();
    let files = authority.issue("hub");
    let hub = TestHub::start_with(Clock::system(), |config| config.hub.tls = Some(files)).await;
    let address = hub.base_url.replace("http://", "https://");
    let place = tempfile::tempdir().expect("a folder");
    let path = |name: &str| place.path().join(name).to_string_lossy().into_owned();
    let (key, token, keep) = (path("log.vkey"), path("token"), path("kept.txt"));
    std::fs::write(&key, hub.hub.keys.verifier_key()).expect("written");
    std::fs::write(&token, format!("{}\n", hub.token(REVIEWER))).expect("written");
    let ca = authority.path("ca.pem").to_string_lossy().into_owned();
    let whole = words(&[&address, "--key", &key, "--token-file", &token, "--ca", &ca]);
    let daily = [whole.clone(), words(&["--keep", &keep])].concat();
    let mut kept = 0;
    for day in 0..3 {
        append(&hub.hub.log, 300).await;
        let published = async {
            while size_of(&hub.hub.log.read("checkpoint").expect("read").unwrap_or_default()) < kept + 300 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), published).await.expect("published");
        let said = verify(daily.clone()).await;
        assert!(said.status.success(), "{}", text(&said));
        let size = size_of(&std::fs::read(&keep).expect("kept"));
        let (continues, checked) = if day == 0 {
            ("no checkpoint was given".to_owned(), size)
        } else {
            (format!("the kept checkpoint of {kept} entries"), size - kept)
        };
        let said = text(&said);
        assert!(
            said.contains(&continues) && said.contains(&format!("checked      {checked} entries")),
            "{said}"
        );
        assert!(size >= kept + 300, "{size}");
        kept = size;
    }
    let fails = async |arguments: Vec<String>, expect: &str| {
        let said = verify(arguments).await;
        assert!(!said.status.success() && text(&said).contains(expect), "{expect}: {}", text(&said));
    };
    fails(words(&[&address, "--key", &key, "--token-file", &token]), "certificate").await;
    fails(words(&[&address, "--key", &key, "--ca", &ca]), "--token-file").await;
    fails(words(&[&place.path().to_string_lossy(), "--key", &key, "--keep", &keep]), "for a hub's address")
        .await;
    let other = path("other.vkey");
    let keys = Keys::open_or_create(&place.path().join("other"), HUB_ID).expect("keys");
    std::fs::write(&other, keys.verifier_key()).expect("written");
    fails(words(&[&address, "--key", &other, "--token-file", &token, "--ca", &ca]), "not signed by this key")
        .await;
    std::fs::write(&token, hub.token("civil-affairs.operator")).expect("written");
    fails(whole.clone(), "needs the role `reviewer`").await;
    std::fs::write(&token, "stale").expect("written");
    fails(whole, "put a fresh token").await;
}

/// Three states of one log, and another tree by the same key.
struct Records {
    place: TempDir,
}

impl Records {
    async fn new() -> Self {
        let place = tempfile::tempdir().expect("a folder");
        let keys = Keys::open_or_create(&place.path().join("keys"), HUB_ID).expect("keys");
        std::fs::write(place.path().join("log.vkey"), keys.verifier_key()).expect("written");
        std::fs::write(place.path().join("token"), "any").expect("written");
        let grow = async |name: &str, count: usize| {
            let folder = place.path().join(name);
            let opened = Log::open(&folder, keys.clone(), HUB_ID, Clock::system(), Limits::default());
            let (log, _) = opened.expect("it opens");
            append(&log, count).await;
            log.close().await;
        };
        grow("older", 300).await;
        crate::support::link_tree(&place.path().join("older"), &place.path().join("now"));
        grow("now", 400).await;
        grow("fork", 800).await;
        Self { place }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }
}

/// Serves a folder as a hub serves its record, after a lie about each file.
async fn serve(folder: PathBuf, lie: Lie) -> (String, tokio::task::JoinHandle<()>) {
    let answer = move |request: Request| async move {
        let path = request.uri().path().trim_start_matches("/v1/audit/").to_owned();
        match std::fs::read(folder.join(&path)) {
            Ok(bytes) => lie(&path, bytes),
            Err(_none) => StatusCode::from_u16(404).expect("a status").into_response(),
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let router = Router::new().fallback(answer);
    let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
    (address, server)
}

type Lie = fn(&str, Vec<u8>) -> Response;

fn honest(_path: &str, bytes: Vec<u8>) -> Response {
    bytes.into_response()
}

/// Changes the last byte of one file.
fn flipped(wanted: &str, path: &str, mut bytes: Vec<u8>) -> Response {
    if path == wanted
        && let Some(last) = bytes.last_mut()
    {
        *last ^= 1;
    }
    bytes.into_response()
}

fn status(wanted: &str, path: &str, bytes: Vec<u8>, status: u16) -> Response {
    if path == wanted {
        let status = StatusCode::from_u16(status).expect("a status");
        return (status, [("location", "https://example.com/")]).into_response();
    }
    bytes.into_response()
}

fn cut(wanted: &str, path: &str, mut bytes: Vec<u8>) -> Response {
    if path == wanted {
        bytes.pop();
    }
    bytes.into_response()
}

/// Two entries of the first bundle, and their leaf hashes too: bundle and tile agree with one another.
fn swapped(path: &str, mut bytes: Vec<u8>) -> Response {
    let width = |bytes: &[u8]| 2 + usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    match path {
        "tile/0/000" => bytes[..64].rotate_left(32),
        "tile/entries/000" => {
            let first = width(&bytes);
            let both = first + width(&bytes[first..]);
            bytes[..both].rotate_left(first);
        }
        _ => {}
    }
    bytes.into_response()
}

/// A body without an end and without a length.
fn endless(wanted: &str, path: &str, bytes: Vec<u8>) -> Response {
    if path != wanted {
        return bytes.into_response();
    }
    let chunk = || async { Some((Ok::<_, std::convert::Infallible>(vec![7_u8; 64 << 10]), ())) };
    Body::from_stream(futures::stream::unfold((), move |()| chunk())).into_response()
}

/// `(what, folder served, lie, checkpoint kept, what is said; empty where it verifies)`.
const LIES: &[(&str, &str, Lie, Option<&str>, &str)] = &[
    ("an honest record", "now", honest, None, ""),
    ("an honest record goes on", "now", honest, Some("older"), ""),
    ("an honest record stands still", "now", honest, Some("now"), ""),
    ("an older state", "older", honest, Some("now"), "an old state is shown"),
    ("another tree by the same key", "fork", honest, Some("older"), "the record was rewritten"),
    ("another tree of another size", "fork", honest, Some("now"), "the record was rewritten"),
    ("no checkpoint was kept", "now", honest, Some("keys"), "kept is malformed"),
    ("an entry", "now", |p, b| flipped("tile/entries/001", p, b), None, "`tile/entries/001` does not hold"),
    ("the last entry", "now", |p, b| flipped("tile/entries/002.p/188", p, b), Some("older"), "does not hold"),
    ("a cut bundle", "now", |p, b| cut("tile/entries/000", p, b), None, "`tile/entries/000` does not hold"),
    ("a cut tile", "now", |p, b| cut("tile/0/001", p, b), None, "`tile/0/001` does not hold"),
    ("a leaf hash", "now", |p, b| flipped("tile/0/000", p, b), None, "`tile/0/000` does not hold"),
    ("two entries and their leaves change places", "now", swapped, None, "`tile/0/000` does not hold"),
    (
        "the same in the tile after it",
        "now",
        |p, b| swapped(&p.replace("001", "000"), b),
        Some("older"),
        "`tile/0/00",
    ),
    ("a partial tile", "now", |p, b| flipped("tile/0/002.p/188", p, b), None, "root of all entries is not"),
    (
        "an inner hash",
        "now",
        |p, b| flipped("tile/1/000.p/2", p, b),
        Some("older"),
        "root of all entries is not",
    ),
    ("a signature", "now", |p, b| flipped("checkpoint", p, b[..b.len() - 1].to_vec()), None, "not signed"),
    (
        "no bundle",
        "now",
        |p, b| status("tile/entries/001", p, b, 404),
        None,
        "lacks what its checkpoint promises",
    ),
    ("a redirect", "now", |p, b| status("checkpoint", p, b, 302), None, "redirects are not followed"),
    ("a permanent one", "now", |p, b| status("tile/0/000", p, b, 308), None, "redirects are not followed"),
    ("a broken server", "now", |p, b| status("tile/0/000", p, b, 500), None, "no answer of a hub"),
    ("an empty answer", "now", |p, b| status("tile/0/000", p, b, 204), None, "no answer of a hub"),
    ("an endless checkpoint", "now", |p, b| endless("checkpoint", p, b), None, "more than 16384 bytes"),
    ("an endless tile", "now", |p, b| endless("tile/0/001", p, b), None, "more than 8192 bytes"),
    ("an endless bundle", "now", |p, b| endless("tile/entries/000", p, b), None, "more than 524800 bytes"),
];

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_lie_are_found_out() {
    let records = Records::new().await;
    let name = |path: &Path| path.to_string_lossy().into_owned();
    let (key, token) = (name(&records.path("log.vkey")), name(&records.path("token")));
    let keep = records.path("kept.txt");
    for (what, folder, lie, kept, expect) in LIES {
        let (address, server) = serve(records.path(folder), *lie).await;
        let before =
            kept.map(|kept| std::fs::read(records.path(kept).join("checkpoint")).unwrap_or_default());
        let _none_before = std::fs::remove_file(&keep);
        if let Some(before) = &before {
            std::fs::write(&keep, before).expect("written");
        }
        let said =
            verify(words(&[&address, "--key", &key, "--token-file", &token, "--keep", &name(&keep)])).await;
        server.abort();
        let output = text(&said);
        assert_eq!(said.status.success(), expect.is_empty(), "{what}: {output}");
        assert!(expect.split('|').any(|expect| output.contains(expect)), "{what}: {output}");
        let after = std::fs::read(&keep).ok();
        if expect.is_empty() {
            let served = std::fs::read(records.path(folder).join("checkpoint")).ok();
            assert_eq!(after, served, "{what}: what was verified is kept");
        } else {
            assert_eq!(after, before, "{what}: a checkpoint that was kept stays");
        }
    }
}
