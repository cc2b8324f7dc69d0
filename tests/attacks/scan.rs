//! Looking for canaries: in what came back, in files, and in all the log lines of the hub's crates.

use std::io::Write;
use std::path::Path;
use std::sync::{LazyLock, Mutex, Once};

use tracing_subscriber::EnvFilter;

use super::fixture::{CANARY, SECRETS};

static LOG: LazyLock<Mutex<Vec<u8>>> = LazyLock::new(Mutex::default);
static SET: Once = Once::new();

/// Writes log lines to the buffer that is looked through at the end.
struct Buffer;

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().expect("free").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Catches what the hub's crates log from here on, at every level.
pub fn capture() {
    SET.call_once(|| {
        tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new("tongqu=trace,policies=trace,connectors=trace"))
            .with_ansi(false)
            .with_writer(|| Buffer)
            .try_init()
            .expect("the only subscriber of the test binary");
    });
}

/// All lines caught so far.
pub fn log() -> Vec<u8> {
    LOG.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
}

/// Files below a folder, by name; but row stores, which are the rows.
pub fn files(folder: &Path, into: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, into);
        } else if path.extension().is_none_or(|ending| ending != "rows") {
            // One that was there a moment ago may be a temporary one.
            into.extend(std::fs::read(&path).ok().map(|bytes| (path.display().to_string(), bytes)));
        }
    }
}

/// No canary and no secret in anything, nor in the log.
pub fn clean(seen: &[(String, Vec<u8>)]) {
    tracing::error!(target: "tongqu", "the log is caught");
    let log = LOG.lock().expect("free").clone();
    assert!(String::from_utf8_lossy(&log).contains("the log is caught"), "the log must be caught");
    let log = ("the log".to_owned(), log);
    let mut found = Vec::new();
    for (name, bytes) in seen.iter().chain([&log]) {
        // Bytes that are no text become `\u{fffd}`; a needle is text, so it stays as it is.
        let text = String::from_utf8_lossy(bytes);
        for needle in SECRETS.iter().chain([&CANARY]) {
            for (at, _) in text.match_indices(needle).take(20) {
                let before: String = text[..at].chars().rev().take(60).collect();
                let before: String = before.chars().rev().collect();
                let after: String = text[at..].chars().take(60).collect();
                found.push(format!("`{needle}` in {name}: …{before}{after}…"));
            }
        }
    }
    assert!(found.is_empty(), "{} canaries:\n{}", found.len(), found.join("\n"));
}

#[test]
fn a_canary_is_found_wherever_it_stands() {
    capture();
    for needle in SECRETS.iter().chain([&CANARY]) {
        let planted = [("planted".to_owned(), format!("\u{0}{needle}\"").into_bytes())];
        assert!(std::panic::catch_unwind(|| clean(&planted)).is_err(), "a planted canary is a fault");
    }
    clean(&[("nothing".to_owned(), b"\xff\x00 no needle".to_vec())]);
}
