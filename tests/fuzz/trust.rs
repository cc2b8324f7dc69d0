//! Tokens, receipts, checkpoints, entries and whole records: nothing verifies but what was signed.

use std::cell::RefCell;
use std::path::Path;
use std::sync::OnceLock;

use tempfile::TempDir;
use tongqu::audit::Entry;
use tongqu::audit::verify::{verify_directory, verify_receipt};
use tongqu::authn::keys::KeySet;
use tongqu::authn::signing::SigningKey;
use tongqu::authn::token::Token;

use crate::tamper::made::{Files, Made, made, quick_folder, write_difference};

/// A record and its receipts under keys of this process.
fn signed() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(made)
}

struct Issued {
    keys: KeySet,
    token: String,
}

fn issued() -> &'static Issued {
    static ISSUED: OnceLock<Issued> = OnceLock::new();
    ISSUED.get_or_init(|| {
        let folder = TempDir::new().expect("a folder");
        let key = SigningKey::create(&folder.path().join("key.pem")).expect("a key");
        let token = key.token("https://issuer.test", "someone", "hub", 1_780_272_000, 300).expect("a token");
        Issued { keys: KeySet::from_keys(&[key.jwk()]).expect("keys"), token }
    })
}

/// Seeds that only this process can sign.
pub fn known(target: &str) -> Vec<Vec<u8>> {
    match target {
        "token" => vec![issued().token.clone().into_bytes()],
        "receipt" => {
            signed().receipts.iter().step_by(19).map(|given| given.json.clone().into_bytes()).collect()
        }
        "checkpoint" => vec![signed().files["checkpoint"].clone()],
        "record" => {
            let files = small(&signed().files);
            let one = |(at, bytes): (usize, &Vec<u8>)| [&[at as u8], bytes.as_slice()].concat();
            files.values().enumerate().map(one).collect()
        }
        "entry" => {
            crate::faults::independent::entries(&signed().audit(), 300).into_iter().step_by(37).collect()
        }
        _ => Vec::new(),
    }
}

/// The files whose bytes a fuzzer changes one at a time.
fn small(files: &Files) -> Files {
    files
        .iter()
        .filter(|(name, _)| name.contains("001.p") || *name == "checkpoint" || name.contains("/1/"))
        .map(|(name, bytes)| (name.clone(), bytes.clone()))
        .collect()
}

/// Bytes at the front choose an edit of the true text: (place, new byte) each.
fn edited(truth: &[u8], edits: &[u8]) -> Vec<u8> {
    let mut text = truth.to_vec();
    for edit in edits.chunks_exact(3).take(8) {
        let at = usize::from(u16::from_be_bytes([edit[0], edit[1]])) % text.len();
        text[at] = edit[2];
    }
    text
}

pub fn token(bytes: &[u8]) {
    let truth = &issued().token;
    for candidate in [bytes.to_vec(), edited(truth.as_bytes(), bytes)] {
        let Ok(text) = String::from_utf8(candidate) else { continue };
        let Some(token) = Token::parse(&text) else { continue };
        assert!(text.split('.').count() == 3 && text.len() <= 8 << 10);
        if token.verify(&issued().keys).is_some() {
            assert_eq!(text, *truth, "a token that nobody signed");
        }
    }
}

/// A receipt that verifies says what one that was given out says.
pub fn receipt(bytes: &[u8]) {
    let signed = signed();
    let place = bytes.first().map_or(0, |byte| usize::from(*byte)) % signed.receipts.len();
    let truth = &signed.receipts[place].json;
    for candidate in [bytes.to_vec(), edited(truth.as_bytes(), bytes.get(1..).unwrap_or_default())] {
        let Ok(verified) = verify_receipt(&candidate, &signed.key, None) else { continue };
        let mut said = verified.receipt.to_json();
        let id = said["id"].clone();
        let given = signed
            .receipts
            .iter()
            .map(|given| -> serde_json::Value { serde_json::from_str(&given.json).expect("JSON") });
        let mut given = given.into_iter().find(|given| given["id"] == id).expect("an id that was given out");
        for one in [&mut said, &mut given] {
            // Without the answer a salt proves nothing, and `running` or `aborted` is the hub's word.
            one["salt"] = serde_json::Value::Null;
            one["state"] = serde_json::Value::Null;
        }
        assert_eq!(said, given);
    }
}

thread_local! {
    /// The record on disk, whole between two runs.
    static FOLDER: RefCell<Option<TempDir>> = const { RefCell::new(None) };
}

fn with_folder(work: impl FnOnce(&Path)) {
    FOLDER.with_borrow_mut(|folder| {
        let folder = folder.get_or_insert_with(|| {
            let folder = quick_folder();
            write_difference(folder.path(), &Files::new(), &signed().files);
            folder
        });
        work(folder.path());
    });
}

/// The record with one file replaced: it verifies only when the file is what it was.
fn replaced(name: &str, bytes: &[u8]) {
    with_folder(|folder| {
        let signed = signed();
        std::fs::write(folder.join(name), bytes).expect("written");
        let verified = verify_directory(folder, &signed.key).is_ok();
        std::fs::write(folder.join(name), &signed.files[name]).expect("written");
        assert!(
            !verified || bytes == signed.files[name] || same_note(name, bytes),
            "`{name}` is another one"
        );
    });
}

/// Further signature lines of other keys are part of the format.
fn same_note(name: &str, bytes: &[u8]) -> bool {
    name == "checkpoint" && bytes.starts_with(&signed().files[name])
}

pub fn checkpoint(bytes: &[u8]) {
    replaced("checkpoint", bytes);
    replaced("checkpoint", &edited(&signed().files["checkpoint"], bytes));
}

pub fn record(bytes: &[u8]) {
    let Some((place, content)) = bytes.split_first() else { return };
    let files = small(&signed().files);
    let (name, truth) = files.iter().nth(usize::from(*place) % files.len()).expect("a file");
    replaced(name, content);
    replaced(name, &edited(truth, content));
    // Bytes of a segment never become entries by chance: a header that fits needs its checksum.
    with_folder(|folder| {
        let segment = folder.join("segment/00000000000000000300-000001.wal");
        std::fs::create_dir_all(folder.join("segment")).expect("a folder");
        std::fs::write(&segment, content).expect("written");
        let verified = verify_directory(folder, &signed().key);
        std::fs::remove_file(&segment).expect("removed");
        assert!(verified.is_err() || verified.is_ok_and(|report| report.unpublished == 0));
    });
}

pub fn entry(bytes: &[u8]) {
    let Ok(entry) = Entry::parse(bytes) else { return };
    assert!(bytes.is_ascii() && !bytes.contains(&b'\n'), "printable ASCII only");
    let json: serde_json::Value = serde_json::from_slice(bytes).expect("an entry is JSON");
    assert_eq!(json["receipt"], entry.draft.receipt.to_string());
    assert_eq!(json["kind"], entry.draft.kind.as_str());
    assert_eq!(json["time_us"].as_u64(), entry.draft.time_us);
    assert_eq!(json["rows"].as_u64(), entry.draft.rows);
    assert_eq!(json["account"].as_str().unwrap_or_default(), entry.draft.account);
    assert_eq!(json["shape"].as_str().unwrap_or_default(), entry.draft.shape);
}
