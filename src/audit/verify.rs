//! Offline verification: a whole folder, or one receipt, against the public log key alone.
//!
//! INVARIANT: reads only, trusts nothing but the key; memory does not grow with the log: a few bundles, one tile a level,
//! and the ids of one index file (24 bytes an entry, at most a million).

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;
use tlog_tiles::{Checkpoint, Hash, check_record};

use self::bundles::Checked;
use self::indexes::Indexes;
use super::entry::{Entry, Kind};
use super::receipt::{Receipt, ReceiptState};
use super::recover::read_checkpoint;
use super::tiles::{Class, Files, Name, encode_hashes};
use super::tree::{Edge, WIDTH, leaf_hash};
use crate::crypto::{hex, sha256, unhex};

mod bundles;
mod folder;
mod indexes;
mod served;

pub use served::{Fetch, Served, verify_served};

/// The first thing found wrong.
#[derive(Debug, Error)]
pub enum Fault {
    #[error("`{path}` cannot be read: {cause}")]
    Io { path: String, cause: io::Error },
    #[error("the checkpoint is malformed or not signed by this key")]
    Checkpoint,
    #[error("`{0}` does not hold what the tree says")]
    File(String),
    #[error("the root of all entries is not the one of the checkpoint")]
    Root,
    #[error("entry {index}: {what}")]
    Entry { index: u64, what: &'static str },
    #[error("segment `{0}` is damaged or does not continue the published tree")]
    Segment(String),
    #[error("index file `{0}` is damaged")]
    Index(String),
    #[error("`{0}` does not belong to the record")]
    Stray(String),
    #[error(
        "the checkpoint that was kept is malformed or not signed by this key; give the file as it was kept"
    )]
    Kept,
    #[error(
        "{served} entries are served, but {kept} were there before: an old state is shown or entries are lost; keep both checkpoints and ask the hub's operators"
    )]
    Older { kept: u64, served: u64 },
    #[error(
        "the first {kept} entries are not those of the checkpoint that was kept: the record was rewritten; keep both checkpoints and ask the hub's operators"
    )]
    Forked { kept: u64 },
    #[error("{0}")]
    Receipt(&'static str),
}

/// What a folder holds when nothing is wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub origin: String,
    /// Entries under the published checkpoint.
    pub size: u64,
    /// Root of the tree, in base64.
    pub root: String,
    /// Entries in segments behind the checkpoint: durable, not yet published, not covered by a signature here.
    pub unpublished: u64,
    /// Bytes of a torn last write.
    pub torn_bytes: u64,
    pub sides: u64,
    /// Streams opened and never closed.
    pub unclosed: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the record of {} verifies", self.origin)?;
        writeln!(f, "entries      {}", self.size)?;
        writeln!(f, "root         {}", self.root)?;
        writeln!(f, "unpublished  {} ({} torn bytes)", self.unpublished, self.torn_bytes)?;
        writeln!(f, "side objects {}", self.sides)?;
        write!(f, "streams without an outcome {}", self.unclosed)
    }
}

/// Verifies every leaf, tile, bundle, side object, index file and segment of a log folder, as fast as four cores can.
pub fn verify_directory(dir: &Path, verifier_key: &str) -> Result<Report, Fault> {
    let files = Files { dir: dir.to_owned() };
    let bytes = folder::read(dir, "checkpoint", folder::CHECKPOINT_BYTES_MAX)?;
    let checkpoint = read_checkpoint(&bytes, verifier_key).map_err(|_| Fault::Checkpoint)?;
    let mut walk = Walk {
        origin: checkpoint.origin().to_owned(),
        files: &files,
        edge: Edge::default(),
        open: HashMap::new(),
        indexes: Indexes::list(dir)?,
        report: Report {
            origin: checkpoint.origin().to_owned(),
            size: checkpoint.size(),
            root: STANDARD.encode(checkpoint.hash().0),
            ..Report::default()
        },
    };
    walk.published(&checkpoint)?;
    walk.indexes.finish()?;
    folder::check_strays(dir, checkpoint.size())?;
    walk.segments(dir)?;
    walk.report.unclosed = walk.open.len() as u64;
    Ok(walk.report)
}

struct Walk<'a> {
    origin: String,
    files: &'a Files,
    edge: Edge,
    /// Streams without an outcome so far: index of the intent to its receipt.
    open: HashMap<u64, [u8; 16]>,
    indexes: Indexes,
    report: Report,
}

impl Walk<'_> {
    fn published(&mut self, checkpoint: &Checkpoint) -> Result<(), Fault> {
        let (size, files, origin) = (checkpoint.size(), self.files, self.origin.clone());
        bundles::in_order(files, &origin, size, |first, bundle| {
            for (index, entry) in (first..).zip(bundle) {
                self.entry(index, entry)?;
            }
            let end = (first + WIDTH).min(size);
            self.tiles(end)?;
            self.edge.forget(end);
            self.indexes.reach(end)
        })?;
        self.last_tiles(size)?;
        if self.edge.root().as_ref() == Some(checkpoint.hash()) { Ok(()) } else { Err(Fault::Root) }
    }

    /// Compares the complete tiles that ended with entry `size - 1`.
    fn tiles(&self, size: u64) -> Result<(), Fault> {
        let mut count = size;
        for (at, level) in self.edge.levels.iter().enumerate() {
            if !count.is_multiple_of(WIDTH) || count == 0 {
                break;
            }
            self.compare(at, count / WIDTH - 1, level.hashes.get(level.hashes.len().saturating_sub(256)..))?;
            count /= WIDTH;
        }
        Ok(())
    }

    /// Compares the partial tiles of the whole tree.
    fn last_tiles(&self, size: u64) -> Result<(), Fault> {
        let mut count = size;
        for (at, level) in self.edge.levels.iter().enumerate() {
            if !count.is_multiple_of(WIDTH) {
                self.compare(at, count / WIDTH, Some(&level.hashes))?;
            }
            count /= WIDTH;
        }
        Ok(())
    }

    fn compare(&self, level: usize, n: u64, hashes: Option<&[Hash]>) -> Result<(), Fault> {
        let hashes = hashes.unwrap_or_default();
        let class = Class::Hashes(u8::try_from(level).unwrap_or(u8::MAX));
        let name = Name { class, n, width: hashes.len() as u64 };
        let bytes = self.files.read(name).map_err(|cause| io_fault(name, cause))?;
        if bytes == encode_hashes(hashes) { Ok(()) } else { Err(Fault::File(name.path())) }
    }

    /// What only the order of entries tells: streams, the tree, the index.
    fn entry(&mut self, index: u64, entry: Checked) -> Result<(), Fault> {
        self.report.sides += u64::from(entry.side);
        match (entry.kind, entry.opened_index) {
            (Kind::Opened, _) => {
                self.open.insert(index, entry.receipt);
            }
            (Kind::Closed, Some(opened)) if self.open.remove(&opened) != Some(entry.receipt) => {
                return Err(Fault::Entry { index, what: "it closes a stream that was not open" });
            }
            _ => {}
        }
        self.indexes.note(index, &entry);
        self.edge.push(entry.leaf);
        Ok(())
    }
}

fn io_fault(name: Name, cause: io::Error) -> Fault {
    match cause.kind() {
        io::ErrorKind::InvalidData => Fault::File(name.path()),
        _ => Fault::Io { path: name.path(), cause },
    }
}

/// What a good receipt says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub receipt: Receipt,
    pub entry: Entry,
    /// Whether the bytes of the answer were given and are the committed ones.
    pub answer_matches: bool,
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let draft = &self.entry.draft;
        writeln!(
            f,
            "receipt {} verifies: entry {} of {}",
            self.receipt.id, self.receipt.index, self.receipt.origin
        )?;
        writeln!(f, "kind {}, operation {}, outcome {}", draft.kind.as_str(), draft.operation, draft.code)?;
        writeln!(
            f,
            "department {}, purpose {}, rows {}",
            draft.department,
            draft.purpose,
            draft.rows.unwrap_or(0)
        )?;
        let answer = if self.answer_matches { "is the one committed to" } else { "was not given" };
        write!(f, "the answer {answer}")
    }
}

/// Verifies a receipt's proof and signature, and that `answer` (the body before content coding) is the one it commits to.
pub fn verify_receipt(receipt: &[u8], verifier_key: &str, answer: Option<&[u8]>) -> Result<Verified, Fault> {
    let receipt: Receipt =
        serde_json::from_slice(receipt).map_err(|_| Fault::Receipt("this is not a receipt"))?;
    let checkpoint =
        read_checkpoint(receipt.checkpoint.as_bytes(), verifier_key).map_err(|_| Fault::Checkpoint)?;
    if receipt.v != 1 || receipt.origin != checkpoint.origin() {
        return Err(Fault::Receipt("the receipt is of another log or version"));
    }
    let entry = prove(&checkpoint, receipt.index, &receipt.entry, &receipt.proof)?;
    if entry.draft.receipt.to_string() != receipt.id || entry.origin != receipt.origin {
        return Err(Fault::Receipt("the entry does not bear this receipt id"));
    }
    let running = matches!(receipt.state, ReceiptState::Running | ReceiptState::Aborted);
    if running != (entry.draft.kind == Kind::Opened) {
        return Err(Fault::Receipt("the state does not fit the entry"));
    }
    if receipt.opened.as_ref().map(|opened| opened.index) != entry.draft.opened_index {
        return Err(Fault::Receipt("the intent of the stream is missing or another one"));
    }
    if let Some(opened) = &receipt.opened {
        let intent = prove(&checkpoint, opened.index, &opened.entry, &opened.proof)?;
        if intent.draft.kind != Kind::Opened || intent.draft.receipt != entry.draft.receipt {
            return Err(Fault::Receipt("the intent of the stream is another one"));
        }
    }
    check_answer(&receipt, &entry, answer)?;
    Ok(Verified { receipt, entry, answer_matches: answer.is_some() })
}

/// The salt, and the answer when it was given. A salt without a commitment would be a member that nothing proves.
fn check_answer(receipt: &Receipt, entry: &Entry, answer: Option<&[u8]>) -> Result<(), Fault> {
    let commitment = &entry.draft.commitment;
    let salt = unhex::<32>(&receipt.salt);
    if salt.is_none() && !(receipt.salt.is_empty() && commitment.is_empty()) {
        return Err(Fault::Receipt("the salt is malformed"));
    }
    if salt.is_some() && commitment.is_empty() {
        return Err(Fault::Receipt("there is a salt, but the entry commits to no answer"));
    }
    let Some(answer) = answer else { return Ok(()) };
    let given = salt.map(|salt| hex(&sha256(&[&salt, &sha256(&[answer])])));
    if given.as_ref() == Some(commitment) {
        Ok(())
    } else {
        Err(Fault::Receipt("the answer is not the one that was recorded"))
    }
}

fn prove(checkpoint: &Checkpoint, index: u64, entry: &str, proof: &[String]) -> Result<Entry, Fault> {
    let malformed = || Fault::Receipt("the proof or the entry is malformed");
    let bytes = STANDARD.decode(entry).map_err(|_| malformed())?;
    if proof.len() > 64 {
        return Err(malformed());
    }
    let hashes = proof
        .iter()
        .map(|hash| Hash::parse_hash(hash))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| malformed())?;
    check_record(&hashes, checkpoint.size(), *checkpoint.hash(), index, leaf_hash(&bytes))
        .map_err(|_| Fault::Receipt("the entry is not in the tree of the checkpoint"))?;
    Entry::parse(&bytes).map_err(|_| malformed())
}
