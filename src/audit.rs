//! The record: an append-only transparency log of every answer, refusal and act, with a receipt for each.
//!
//! INVARIANT: an append returns only when its entry is durable; nothing can switch the record off.
//! INVARIANT: one writer, one lock on the folder, plain RFC 6962 hashing; order comes from the sequence, not the clock.
//! INVARIANT: a checkpoint is signed only over durable entries, so two of them never contradict each other.
//! INVARIANT: what cannot be explained by a crash refuses to start; nothing is guessed.
//!
//! Folder: `segment/` (write-ahead, the truth until tiles are durable), `tile/`, `side/`, `checkpoint` (published),
//! `index/` (derived). One sync serves all calls that arrived during the last one: at 1 ms a sync and 64 waiting
//! calls that is some 50,000 entries a second; signing a checkpoint costs 0.05 ms a batch, a leaf about 1 µs.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::oneshot;

mod canonical;
mod disk;
mod entry;
mod index;
mod receipt;
mod recover;
mod segment;
mod state;
mod table;
mod tiles;
mod tree;
pub mod verify;
mod writer;

#[cfg(test)]
mod faults;
#[cfg(test)]
mod tests;

pub use entry::{Draft, DraftError, ENTRY_BYTES_MAX, Entry, Kind, Malformed, ReceiptId, SUBJECTS_MAX};
pub use receipt::{Receipt, ReceiptState};
pub use recover::{OpenError, Recovery};
pub use segment::SegmentError;
pub use state::Entries;
pub use table::{AuditTable, audit_resource};

use self::index::Marks;
use self::segment::Stored;
use self::state::Core;
use self::writer::{Command, Pending};
use crate::clock::{Clock, SECOND_US};
use crate::crypto::{Keys, hex, sha256};

/// Plain bytes of one side object: the largest statement with parameters, or list of keys, that can be answered.
pub const SIDE_BYTES_MAX: usize = 128 << 10;

/// Ceilings and rhythms of the log.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Entries waiting to be written; one more is `Overloaded` at once.
    pub queue_max: usize,
    /// Entries made durable by one sync.
    pub batch_max: usize,
    /// Plain bytes of one side object.
    pub side_bytes_max: usize,
    /// Durable bytes not yet in tiles; beyond, appends stop until publishing works again.
    pub unpublished_bytes_max: u64,
    pub publish_every: Duration,
    /// How often a disk that failed is tried again.
    pub probe_every: Duration,
    pub segment_bytes_max: u64,
    /// A wall clock further behind the last entry than this refuses to start.
    pub clock_back_max_us: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue_max: 1024,
            batch_max: 256,
            side_bytes_max: SIDE_BYTES_MAX,
            unpublished_bytes_max: 64 << 20,
            publish_every: Duration::from_secs(1),
            probe_every: Duration::from_millis(500),
            segment_bytes_max: 4 << 20,
            clock_back_max_us: 48 * 3600 * SECOND_US,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AppendError {
    #[error("too many entries wait to be written: try again soon")]
    Overloaded,
    #[error("the record cannot be written now: try again when its disk works")]
    RecordUnavailable,
    #[error("the log is closed")]
    Closed,
    #[error("the side object is larger than {0} bytes: shorten it")]
    SideTooLarge(usize),
    #[error(transparent)]
    Draft(#[from] DraftError),
}

#[derive(Debug, Error)]
pub enum ReadError {
    #[error("the record cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("entry {0} of the record is damaged: run `tongqu audit verify`")]
    Damaged(u64),
    #[error(transparent)]
    Key(#[from] crate::crypto::KeyError),
}

/// Proof that an entry is durable. Made by [`Log::append`] only.
#[derive(Debug)]
pub struct Recorded {
    index: u64,
    receipt: String,
    commitment: String,
}

impl Recorded {
    pub fn index(&self) -> u64 {
        self.index
    }

    pub fn receipt(&self) -> &str {
        &self.receipt
    }

    pub fn commitment(&self) -> &str {
        &self.commitment
    }
}

/// How the log is, for health and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    pub writable: bool,
    /// Durable entries.
    pub size: u64,
    /// Entries in published tiles.
    pub published: u64,
    /// What the disk last said, when something failed since the last success.
    pub fault: Option<String>,
}

/// The log, shared by cloning; the last clone to go closes it in the background.
#[derive(Debug, Clone)]
pub struct Log {
    core: Arc<Core>,
    queue: SyncSender<Command>,
}

impl Log {
    /// Opens or makes the log in `dir`, replaying what a crash left in the segment.
    pub fn open(
        dir: &Path,
        keys: Keys,
        origin: &str,
        clock: Clock,
        limits: Limits,
    ) -> Result<(Self, Recovery), OpenError> {
        recover::open(Box::new(disk::RealDisk), dir, keys, origin, clock, limits)
    }

    /// Puts an entry on record and returns when it is durable. `side` (plain bytes) is sealed and made durable with it.
    ///
    /// Dropping the future does not take the entry back.
    pub async fn append(&self, draft: Draft, side: Option<Vec<u8>>) -> Result<Recorded, AppendError> {
        let receipt = draft.receipt.to_string();
        let commitment = draft.commitment.clone();
        let (reply, answer) = oneshot::channel();
        let pending = self.core.prepare(draft, side, reply)?;
        self.queue.try_send(Command::Append(pending)).map_err(|cause| match cause {
            TrySendError::Full(_) => AppendError::Overloaded,
            TrySendError::Disconnected(_) => AppendError::Closed,
        })?;
        let index = answer.await.map_err(|_| AppendError::Closed)??;
        Ok(Recorded { index, receipt, commitment })
    }

    /// Commitment to an answer: hexadecimal SHA-256(salt ‖ SHA-256(body)); the salt is in the receipt only.
    pub fn commitment(&self, receipt: &ReceiptId, body_sha256: &[u8; 32]) -> String {
        hex(&sha256(&[&self.core.keys.salt_for(&receipt.to_string()), body_sha256]))
    }

    /// The receipt of an answer, with inclusion proof under the newest checkpoint; none for an unknown id.
    pub fn receipt(&self, id: &ReceiptId) -> Result<Option<Receipt>, ReadError> {
        receipt::make(&self.core, id)
    }

    /// The newest signed checkpoint; it covers every acknowledged entry.
    pub fn checkpoint(&self) -> Vec<u8> {
        self.core.read(|state| state.checkpoint.clone())
    }

    /// A published file by its C2SP path (`checkpoint`, `tile/…`, `side/…`); none for any other path.
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.core.published_file(path)?)
    }

    /// Stored bytes of entries by index, the unpublished tail included; the end is cut to the size now.
    pub fn entries(&self, range: Range<u64>) -> Entries {
        Entries::new(self.core.clone(), range)
    }

    /// Opens the sealed side object of an entry. Callers record that they did.
    pub fn side(&self, index: u64) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(stored) = self.core.stored(index)? else { return Ok(None) };
        let Some(sealed) = &stored.side else { return Ok(None) };
        let entry = Entry::parse(&stored.entry).map_err(|_| ReadError::Damaged(index))?;
        Ok(Some(self.core.keys.unseal(sealed, entry.draft.receipt.to_string().as_bytes())?))
    }

    /// Number of durable entries.
    pub fn size(&self) -> u64 {
        self.core.read(|state| state.edge.size())
    }

    /// Highest store revision on record; 0 for none.
    pub fn last_store_revision(&self) -> u64 {
        self.core.read(|state| state.index.marks().store_revision)
    }

    /// Rows released under each grant on a day (`YYYYMMDD`), read from the last 26 hours of the log, entries below
    /// `since` left out.
    ///
    /// A stream that never closed counts with the rows its `opened` reserved.
    pub fn rows_by_grant(&self, day: u64, since: u64) -> Result<BTreeMap<String, u64>, ReadError> {
        // A clock that once ran ahead left entries from the future; they must not hide today's.
        let now_us = self.core.clock.now_us().unsigned_abs();
        let newest_us = self.core.read(|state| state.index.marks().time_us).min(now_us);
        let oldest_us = newest_us.saturating_sub(26 * 3600 * SECOND_US.unsigned_abs());
        let mut rows = BTreeMap::new();
        let mut closed = HashSet::new();
        let mut end = self.size();
        while end > since {
            let start = ((end - 1) / tree::WIDTH * tree::WIDTH).max(since);
            let mut recent = false;
            let stored = self.entries(start..end).collect::<Result<Vec<_>, _>>()?;
            for (index, bytes) in stored.iter().rev() {
                let entry = Entry::parse(bytes).map_err(|_| ReadError::Damaged(*index))?;
                recent |= entry.time_us() >= oldest_us;
                count_rows(&entry.draft, *index, day, &mut closed, &mut rows);
            }
            if !recent {
                break;
            }
            end = start;
        }
        Ok(rows)
    }

    /// The record as a table, for `system.audit`.
    pub fn table(&self) -> Arc<dyn datafusion::catalog::TableProvider> {
        Arc::new(AuditTable::new(self.clone()))
    }

    pub fn health(&self) -> Health {
        self.core.read(|state| Health {
            writable: state.writable,
            size: state.edge.size(),
            published: state.published,
            fault: state.fault.clone(),
        })
    }

    /// Writes what waits, publishes and ends the writer; appends after it are `Closed`.
    pub async fn close(&self) {
        let _closed = self.command(Command::Close).await;
    }

    /// Publishes now instead of within a second; false when the disk refused.
    pub async fn publish(&self) -> bool {
        self.command(Command::Publish).await.unwrap_or(false)
    }

    async fn command<T: Send + 'static>(&self, make: fn(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.clone();
        // Unlike an append, this waits for room in the queue.
        let sent = tokio::task::spawn_blocking(move || queue.send(make(reply)).is_ok()).await;
        if !sent.unwrap_or(false) {
            return None;
        }
        answer.await.ok()
    }
}

fn count_rows(
    draft: &Draft,
    index: u64,
    day: u64,
    closed: &mut HashSet<u64>,
    rows: &mut BTreeMap<String, u64>,
) {
    if let Some(opened) = draft.opened_index {
        closed.insert(opened);
    }
    let counts = matches!(draft.kind, Kind::Call | Kind::Closed | Kind::Opened) && !closed.contains(&index);
    if !counts || draft.day != Some(day) {
        return;
    }
    for grant in &draft.grants {
        let id = grant.rsplit_once('@').map_or(grant.as_str(), |(id, _)| id);
        *rows.entry(id.to_owned()).or_default() += draft.rows.unwrap_or(0);
    }
}

impl Core {
    /// Seals the side object, adds what the log knows and encodes: the caller's thread does the work, not the writer's.
    fn prepare(
        &self,
        mut draft: Draft,
        side: Option<Vec<u8>>,
        reply: oneshot::Sender<Result<u64, AppendError>>,
    ) -> Result<Pending, AppendError> {
        let receipt = draft.receipt.to_string();
        let side = match side {
            Some(plain) if plain.len() > self.limits.side_bytes_max => {
                return Err(AppendError::SideTooLarge(self.limits.side_bytes_max));
            }
            Some(plain) => {
                let sealed = self.keys.seal(&plain, receipt.as_bytes());
                Some(sealed.map_err(|_| AppendError::RecordUnavailable)?)
            }
            None => None,
        };
        let time_us = *draft.time_us.get_or_insert_with(|| self.clock.now_us().unsigned_abs());
        let marks = Marks { store_revision: draft.store_revision.unwrap_or(0), time_us };
        let id = *draft.receipt.bytes();
        let side_hash = side.as_ref().map_or_else(String::new, |sealed| hex(&sha256(&[sealed])));
        let entry = Entry::new(draft, self.keys.origin(), side_hash)?.encode()?;
        Ok(Pending { stored: Arc::new(Stored { entry, side }), id, marks, reply })
    }
}
