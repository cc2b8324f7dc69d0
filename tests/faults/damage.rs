//! Damage on the disk: a torn tail is cut and said, everything else refuses to start or is found by the verifiers.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;
use tongqu::audit::verify::verify_directory;

use super::ledger::{Body, Client, JOBS, OPERATOR, PROVIDER, held, jobs, streamed};
use super::process::{Running, copy_tree, prepared, run, segment, text, verifier_key};

/// A directory whose hub gave some answers.
async fn asked(directory: &Path) -> (Running, Client) {
    let hub = Running::serve(directory).expect("it starts");
    let client = Client::new(directory, &hub.base_url);
    for number in 0..8 {
        let body = if number < 4 { held(number) } else { streamed(number) };
        let answer = client.ask(OPERATOR, "/v1/queries", &body).await.expect("an answer");
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    (hub, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_last_write_is_cut_and_said() {
    let directory = prepared();
    let (mut hub, client) = asked(directory.path()).await;
    hub.kill();
    let whole = std::fs::read(segment(directory.path())).expect("a segment");
    for torn in [&whole[..7], &whole[..40], &[0_u8; 5000]] {
        let path = segment(directory.path());
        let mut file = std::fs::OpenOptions::new().append(true).open(path).expect("a segment");
        file.write_all(torn).expect("written");
        drop(file);
        hub = Running::serve(directory.path()).expect("it starts");
        let cut = format!("cut_bytes={}", torn.len());
        assert!(hub.said().contains("a torn last write of the record was cut"), "{}", hub.said());
        assert!(hub.said().contains(&cut), "{cut}: {}", hub.said());
        let client = client.moved(&hub.base_url);
        for kept in client.kept() {
            client.prove(&kept, &verifier_key(directory.path())).await;
        }
        hub.kill();
    }
    verify_directory(&directory.path().join("audit"), &verifier_key(directory.path())).expect("it verifies");
}

/// What the crash test would say if the hub acknowledged before its disk did.
#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_notices_a_lost_entry() {
    let directory = prepared();
    let (mut hub, client) = asked(directory.path()).await;
    client.ask(OPERATOR, "/v1/queries", &held(9)).await.expect("an answer");
    hub.kill();
    let path = segment(directory.path());
    let whole = std::fs::read(&path).expect("a segment");
    std::fs::write(&path, &whole[..whole.len() - 10]).expect("written");
    hub = Running::serve(directory.path()).expect("it starts");
    let client = client.moved(&hub.base_url);
    let kept = client.kept();
    let (last, before) = kept.split_last().expect("answers");
    assert_eq!(client.get(OPERATOR, &format!("/v1/receipts/{}", last.receipt)).await.status, 404);
    for one in before {
        client.prove(one, &verifier_key(directory.path())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_in_the_segment_refuses_to_start() {
    let directory = prepared();
    let (mut hub, _client) = asked(directory.path()).await;
    hub.kill();
    let path = segment(directory.path());
    let whole = std::fs::read(&path).expect("a segment");
    for at in [3, 20, whole.len() / 3, whole.len() / 2] {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        std::fs::write(&path, &changed).expect("written");
        let Err(said) = Running::serve(directory.path()) else { panic!("it started with byte {at} flipped") };
        assert!(said.contains("segment"), "{said}");
        assert_eq!(verify(directory.path()), 1, "byte {at}");
    }
    std::fs::write(&path, &whole).expect("written");
    assert_eq!(verify(directory.path()), 0);
    Running::serve(directory.path()).expect("the right bytes start");
}

/// Exit code of `tongqu audit verify`.
fn verify(directory: &Path) -> i32 {
    let (audit, key) = (directory.join("audit"), directory.join("audit.pub"));
    let said = run(&["audit", "verify", &audit.to_string_lossy(), "--key", &key.to_string_lossy()]);
    let code = said.status.code().expect("an exit code");
    assert_eq!(text(&said).contains("does NOT verify"), code != 0, "{}", text(&said));
    code
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, found);
        } else if path.metadata().expect("a file").len() > 0 {
            found.push(path);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_anywhere_in_the_published_record_is_found() {
    let directory = prepared();
    let (hub, _client) = asked(directory.path()).await;
    hub.stop();
    let (audit, key) = (directory.path().join("audit"), verifier_key(directory.path()));
    let report = verify_directory(&audit, &key).expect("it verifies");
    assert!(report.size > 20 && report.sides > 0, "{report:?}");
    let mut found = Vec::new();
    files(&audit, &mut found);
    assert!(found.len() >= 4, "{found:?}");
    for path in found {
        let whole = std::fs::read(&path).expect("a file");
        for at in [0, whole.len() / 2, whole.len() - 1] {
            let mut changed = whole.clone();
            changed[at] ^= 4;
            std::fs::write(&path, &changed).expect("written");
            assert!(verify_directory(&audit, &key).is_err(), "byte {at} of {} went unseen", path.display());
        }
        assert_eq!(verify(directory.path()), 1, "{}", path.display());
        std::fs::write(&path, &whole).expect("written");
    }
    assert_eq!(verify(directory.path()), 0);
}

/// Store files, the write-ahead ones included, as they are.
fn store_files(directory: &Path) -> Vec<PathBuf> {
    ["store.sqlite", "store.sqlite-wal", "store.sqlite-shm"].map(|name| directory.join(name)).to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_older_than_the_record_refuses_to_start() {
    let directory = prepared();
    let aside = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    copy_tree(directory.path(), aside.path());
    let hub = Running::serve(directory.path()).expect("it starts");
    let client = Client::new(directory.path(), &hub.base_url);
    let listed = client.get(JOBS, "/v1/grants").await.json();
    let id = listed["grants"][0]["id"].as_str().expect("a grant").to_owned();
    let path = format!("/v1/grants/{id}/resume");
    let answer =
        client.act(PROVIDER, &path, "resume-1", &json!({"reason": "filed"})).await.expect("an answer");
    assert_eq!(answer.status, 200, "{answer:?}");
    hub.stop();
    let newer: Vec<Option<Vec<u8>>> =
        store_files(directory.path()).iter().map(|path| std::fs::read(path).ok()).collect();
    for (target, old) in store_files(directory.path()).iter().zip(store_files(aside.path())) {
        let _gone = std::fs::remove_file(target);
        let _kept = std::fs::copy(old, target);
    }
    let Err(said) = Running::serve(directory.path()) else { panic!("it started on an old store") };
    assert!(said.contains("older than the record"), "{said}");
    for (target, newer) in store_files(directory.path()).iter().zip(newer) {
        let _gone = std::fs::remove_file(target);
        if let Some(bytes) = newer {
            std::fs::write(target, bytes).expect("written");
        }
    }
    let hub = Running::serve(directory.path()).expect("the newer store starts");
    let answer = client.moved(&hub.base_url).ask(JOBS, "/v1/queries", &jobs()).await.expect("an answer");
    assert_eq!(answer.status, 200, "the resumed grant is in force: {answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_are_checked_by_their_exit_code() {
    let directory = prepared();
    let hub = Running::serve(directory.path()).expect("it starts");
    let client = Client::new(directory.path(), &hub.base_url);
    client.ask(OPERATOR, "/v1/queries", &held(1)).await.expect("an answer");
    client.ask(OPERATOR, "/v1/queries", &streamed(2)).await.expect("an answer");
    let place = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    for kept in client.kept() {
        let receipt = client.prove(&kept, &verifier_key(directory.path())).await;
        let Body::Complete(answer) = kept.body else { panic!("a cut answer") };
        let code = |receipt: &[u8], key: &str, answer: &[u8]| {
            std::fs::write(place("r.json"), receipt).expect("written");
            std::fs::write(place("a.json"), answer).expect("written");
            let said =
                run(&["receipt", "verify", &place("r.json"), "--key", key, "--answer", &place("a.json")]);
            assert_eq!(text(&said).contains("NOT verify"), said.status.code() != Some(0), "{}", text(&said));
            said.status.code()
        };
        let key = place("audit.pub");
        assert_eq!(code(&receipt, &key, &answer), Some(0));
        let mut changed = answer.clone();
        changed[answer.len() / 2] ^= 1;
        assert_eq!(code(&receipt, &key, &changed), Some(1), "a changed answer");
        assert_eq!(code(&receipt, &key, &answer[..answer.len() - 1]), Some(1), "a shortened answer");
        let broken =
            String::from_utf8(receipt.clone()).expect("text").replacen("\"salt\":\"", "\"salt\":\"0", 1);
        assert_eq!(code(broken.as_bytes(), &key, &answer), Some(1), "a changed receipt");
        assert_eq!(code(b"{}", &key, &answer), Some(1), "no receipt");
        let other = prepared_key();
        std::fs::write(place("other.pub"), other).expect("written");
        assert_eq!(code(&receipt, &place("other.pub"), &answer), Some(1), "another log's key");
    }
    let missing = run(&["receipt", "verify", &place("no-such-file"), "--key", &place("audit.pub")]);
    assert_eq!(missing.status.code(), Some(1), "{}", text(&missing));
    hub.stop();
}

/// The public key of another log of the same name.
fn prepared_key() -> String {
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let keys =
        tongqu::crypto::Keys::open_or_create(&folder.path().join("keys"), "tongqu.demo").expect("keys");
    keys.verifier_key().to_owned()
}
