//! Canaries over the whole test run: what any hub of any test logs, refuses with, measures and records is searched.
//!
//! Found by their form: ID numbers (GB 11643, check character and date right), bearer tokens, private keys; by their
//! text: the planted `CANARY` of the attack tables and every secret of the hub's own key ring.

use std::path::Path;
use std::sync::Mutex;

use crate::attacks::scan;

/// Log lines of hubs in this process that were looked at already.
static SEEN: Mutex<usize> = Mutex::new(0);

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// What of a text must not stand anywhere, with a little of what is before it.
pub fn leaks(text: &[u8], secrets: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let mut told = |what: &str, at: usize| {
        let before = String::from_utf8_lossy(&text[at.saturating_sub(60)..at]).into_owned();
        found.push(format!("{what} after `{before}`"));
    };
    let mut at = 0;
    for word in text.split(|byte| !is_word(*byte)) {
        let is_id = word.len() == 18
            && std::str::from_utf8(word).is_ok_and(|word| catalog::identifier::check_id_number(word).is_ok());
        if is_id {
            told("an ID number", at);
        }
        at += word.len() + 1;
    }
    let lossy = String::from_utf8_lossy(text);
    for (at, _) in lossy.match_indices("eyJ") {
        let token = lossy[at..].split(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c))).next();
        if token.is_some_and(|token| token.len() > 60 && token.contains(".eyJ")) {
            told("a token", at.min(text.len()));
        }
    }
    for needle in secrets.iter().map(String::as_str).chain(["PRIVATE KEY", crate::attacks::fixture::CANARY]) {
        if let Some(at) = lossy.find(needle) {
            told("a secret or canary", at.min(text.len()));
        }
    }
    found
}

/// The secret halves of a hub's key ring, as its files hold them.
fn secrets(directory: &Path) -> Vec<String> {
    let mut files = Vec::new();
    scan::files(&directory.join("keys"), &mut files);
    files
        .iter()
        .filter(|(name, _)| name.ends_with(".key"))
        .flat_map(|(_, bytes)| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>()
        })
        .filter(|line| line.len() >= 32)
        .collect()
}

/// Record and index files of a hub, and what it said: none may hold a canary.
#[track_caller]
pub fn search(directory: &Path, said: &[u8]) {
    if std::thread::panicking() {
        return;
    }
    let secrets = secrets(directory);
    let mut places = vec![("what it said".to_owned(), said.to_vec())];
    for folder in ["audit", "index", "spill"] {
        scan::files(&directory.join(folder), &mut places);
    }
    for (name, bytes) in &places {
        let found = leaks(bytes, &secrets);
        assert!(found.is_empty(), "{name}: {found:#?}");
    }
}

/// A hub in this process ends: its files, and the log lines since the last one that ended.
#[track_caller]
pub fn search_own(directory: &Path) {
    let lines = {
        let mut seen = SEEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let log = scan::log();
        let from = seen.saturating_sub(256).min(log.len());
        *seen = log.len();
        log[from..].to_vec()
    };
    search(directory, &lines);
}

/// A refusal as it was sent: headers and body.
#[track_caller]
pub fn search_refusal(text: &str) {
    let found = leaks(text.as_bytes(), &[]);
    assert!(found.is_empty(), "{found:#?} in {text}");
}

#[test]
fn what_is_planted_is_found() {
    let secret = "0123456789abcdef0123456789abcdef".to_owned();
    let token = format!("eyJ{}.eyJ{}.{}", "a".repeat(30), "b".repeat(30), "c".repeat(30));
    for planted in ["11010519491231002X", "CANARY-name-1", "-----BEGIN PRIVATE KEY-----", &secret, &token] {
        let text = format!("level=INFO reading failed value={planted} next=1");
        assert_eq!(leaks(text.as_bytes(), std::slice::from_ref(&secret)).len(), 1, "{planted}");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(folder.path().join("audit/tile")).expect("a folder");
        std::fs::write(folder.path().join("audit/tile/000"), format!("\0{planted}\"")).expect("written");
        std::fs::create_dir_all(folder.path().join("keys")).expect("a folder");
        std::fs::write(folder.path().join("keys/log.key"), format!("{secret}\n")).expect("written");
        assert!(std::panic::catch_unwind(|| search(folder.path(), b"")).is_err(), "{planted} in a file");
    }
    for good in
        ["110105194912310021", "rcpt_fedcba9876543210fedcba9876543210", "1780272000000000", "eyJ.eyJ."]
    {
        assert!(leaks(good.as_bytes(), std::slice::from_ref(&secret)).is_empty(), "{good}");
    }
}
