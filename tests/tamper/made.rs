//! A closed record with everything in it: full and partial tiles, side objects, streams, receipts, an older state, a stranger.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tongqu::audit::{self, Draft, Kind, Log, ReceiptId};
use tongqu::clock::Clock;
use tongqu::crypto::{Keys, sha256};

/// Every file of a record by its path.
pub type Files = BTreeMap<String, Vec<u8>>;

pub const ORIGIN: &str = "hub.example/record";
/// Entries in the older state: a partial tile that was completed later.
pub const OLDER: u64 = 150;
/// Entries in all: one complete tile, one partial.
pub const SIZE: u64 = 300;

/// A receipt as it was given out, with the answer it commits to.
pub struct Given {
    pub json: String,
    pub answer: Option<Vec<u8>>,
}

pub struct Made {
    pub folder: TempDir,
    /// Public log key.
    pub key: String,
    pub files: Files,
    pub older: Files,
    /// Another log of the same name, as long, under keys of its own.
    pub stranger: Files,
    pub stranger_key: String,
    /// The same log key over other entries: what its holder could sign instead.
    pub fork: Files,
    pub receipts: Vec<Given>,
}

impl Made {
    pub fn audit(&self) -> PathBuf {
        self.folder.path().join("hub/audit")
    }
}

/// In memory where the system offers it: thousands of files are written and put back.
pub fn quick_folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder")
}

pub fn made() -> Made {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(make())
}

async fn make() -> Made {
    let folder = quick_folder();
    let (hub, fork, stranger) =
        (folder.path().join("hub"), folder.path().join("fork"), folder.path().join("stranger"));
    let log = open(&hub);
    fill(&log, 0..OLDER).await;
    assert!(log.publish().await);
    let older = read_tree(&hub.join("audit"), &["segment", "index"]);
    let ids = fill(&log, OLDER..SIZE).await;
    let receipts = ids.iter().map(|(id, answer)| given(&log, id, answer.as_deref())).collect();
    log.close().await;
    crate::faults::process::copy_tree(&hub.join("keys"), &fork.join("keys"));
    for other in [&fork, &stranger] {
        let log = open(other);
        fill(&log, 0..SIZE).await;
        log.close().await;
    }
    let key = |place: &Path| keys(place).verifier_key().to_owned();
    Made {
        key: key(&hub),
        stranger_key: key(&stranger),
        files: read_tree(&hub.join("audit"), &[]),
        older,
        stranger: read_tree(&stranger.join("audit"), &[]),
        fork: read_tree(&fork.join("audit"), &[]),
        receipts,
        folder,
    }
}

fn keys(place: &Path) -> Keys {
    Keys::open_or_create(&place.join("keys"), ORIGIN).expect("keys")
}

fn open(place: &Path) -> Log {
    let limits = audit::Limits { publish_every: Duration::from_secs(3600), ..audit::Limits::default() };
    Log::open(&place.join("audit"), keys(place), ORIGIN, Clock::system(), limits).expect("a log").0
}

fn given(log: &Log, id: &ReceiptId, answer: Option<&[u8]>) -> Given {
    let receipt = log.receipt(id).expect("the record reads").expect("a receipt");
    Given { json: receipt.to_json().to_string(), answer: answer.map(<[u8]>::to_vec) }
}

type Appended = (ReceiptId, Option<Vec<u8>>);

/// Answers, refusals, streams that end and streams that do not, side objects on every seventh.
async fn fill(log: &Log, range: std::ops::Range<u64>) -> Vec<Appended> {
    let mut appended = Vec::new();
    let mut index = range.start;
    while index < range.end {
        let answer = format!("{{\"rows\":[{index}]}}").into_bytes();
        let mut draft = draft(index);
        let id = draft.receipt.clone();
        let mut given = None;
        match index % 10 {
            3 => (draft.status, draft.code) = (Some(403), "not_granted".into()),
            5 => draft.kind = Kind::Opened,
            _ => {
                draft.commitment = log.commitment(&id, &sha256(&[&answer]));
                given = Some(answer);
            }
        }
        let side = index.is_multiple_of(7).then(|| format!("select {index}").into_bytes());
        let opened = log.append(draft.clone(), side).await.expect("appended").index();
        index += 1;
        if draft.kind == Kind::Opened && index % 20 < 10 && index < range.end {
            let body = format!("stream {index}").into_bytes();
            let commitment = log.commitment(&id, &sha256(&[&body]));
            let closed = Draft { kind: Kind::Closed, opened_index: Some(opened), commitment, ..draft };
            log.append(closed, None).await.expect("appended");
            given = Some(body);
            index += 1;
        }
        appended.push((id, given));
    }
    appended
}

fn draft(index: u64) -> Draft {
    Draft {
        account: format!("civil-affairs.operator-{index}"),
        department: "civil-affairs".into(),
        purpose: "minimum-living-allowance".into(),
        operation: "lookup".into(),
        rows: Some(1),
        status: Some(200),
        code: "ok".into(),
        ..Draft::new(Kind::Call)
    }
}

/// All files below a folder but those in the named ones.
pub fn read_tree(folder: &Path, without: &[&str]) -> Files {
    let mut found = Files::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(place) = waiting.pop() {
        for entry in std::fs::read_dir(&place).expect("a folder").flatten() {
            let path = entry.path();
            let name = path.strip_prefix(folder).expect("inside").to_string_lossy().into_owned();
            if path.is_dir() && !without.contains(&name.as_str()) {
                waiting.push(path);
            } else if path.is_file() {
                found.insert(name, std::fs::read(&path).expect("a file"));
            }
        }
    }
    found
}

/// Makes `folder`, which holds `now`, hold `wanted`.
pub fn write_difference(folder: &Path, now: &Files, wanted: &Files) {
    for name in now.keys().filter(|name| !wanted.contains_key(*name)) {
        std::fs::remove_file(folder.join(name)).expect("removed");
    }
    for (name, bytes) in wanted.iter().filter(|(name, bytes)| now.get(*name) != Some(bytes)) {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, bytes).expect("written");
    }
}
