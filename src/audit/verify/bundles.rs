//! Bundles read, parsed and hashed by a few threads, handed on in their order.
//!
//! INVARIANT: at most [`AHEAD`] checked bundles a thread wait; a fault ends every thread.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tlog_tiles::Hash;

use super::super::entry::{Entry, Kind};
use super::super::index::Marks;
use super::super::segment::Stored;
use super::super::tiles::{Class, Files, Name};
use super::super::tree::{WIDTH, leaf_hash};
use super::{Fault, io_fault};
use crate::crypto::{hex, sha256};

const THREADS_MAX: usize = 4;
/// Checked bundles of one thread that wait for their turn.
const AHEAD: usize = 2;

/// What is left of an entry once it was checked by itself.
pub(super) struct Checked {
    pub leaf: Hash,
    pub kind: Kind,
    pub receipt: [u8; 16],
    pub opened_index: Option<u64>,
    pub side: bool,
    pub marks: Marks,
}

/// Well-formed, of this log, and with its own side object.
pub(super) fn check(index: u64, stored: &Stored, origin: &str) -> Result<Checked, Fault> {
    let fault = |what| Fault::Entry { index, what };
    let entry = Entry::parse(&stored.entry).map_err(|_| fault("not well-formed"))?;
    if entry.origin != origin {
        return Err(fault("of another log"));
    }
    let side = stored.side.as_ref().map_or_else(String::new, |side| hex(&sha256(&[side])));
    if side != entry.side {
        return Err(fault("its side object is missing or changed"));
    }
    Ok(Checked {
        leaf: leaf_hash(&stored.entry),
        kind: entry.draft.kind,
        receipt: *entry.draft.receipt.bytes(),
        opened_index: entry.draft.opened_index,
        side: stored.side.is_some(),
        marks: Marks { store_revision: entry.draft.store_revision.unwrap_or(0), time_us: entry.time_us() },
    })
}

fn bundle(files: &Files, origin: &str, n: u64, size: u64) -> Result<Vec<Checked>, Fault> {
    let first = n * WIDTH;
    let width = (size - first).min(WIDTH);
    let read = |cause: io::Error| io_fault(Name { class: Class::Entries, n, width }, cause);
    let bundle = files.bundle(n, width).map_err(read)?;
    let sides = Name { class: Class::Sides, n, width };
    if !bundle.iter().any(|stored| stored.side.is_some()) && files.dir.join(sides.path()).exists() {
        return Err(Fault::Stray(sides.path()));
    }
    (first..).zip(&bundle).map(|(index, stored)| check(index, stored, origin)).collect()
}

type Bundle = Result<Vec<Checked>, Fault>;

/// Calls `take` with each bundle of a tree of `size` entries and the index of its first entry, in order.
pub(super) fn in_order(
    files: &Files,
    origin: &str,
    size: u64,
    mut take: impl FnMut(u64, Vec<Checked>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let count = size.div_ceil(WIDTH);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    std::thread::scope(|scope| {
        let lanes: Vec<Receiver<Bundle>> = (0..threads)
            .map(|lane| {
                let (sender, receiver) = sync_channel(AHEAD);
                scope.spawn(move || {
                    read_lane(files, origin, size, (lane as u64..count).step_by(threads), &sender)
                });
                receiver
            })
            .collect();
        for (n, lane) in (0..count).zip(lanes.iter().cycle()) {
            // A lane ends early only when its receiver is gone.
            let checked = lane.recv().map_err(|_| Fault::Root)??;
            take(n * WIDTH, checked)?;
        }
        Ok(())
    })
}

fn read_lane(
    files: &Files,
    origin: &str,
    size: u64,
    bundles: impl Iterator<Item = u64>,
    sender: &SyncSender<Bundle>,
) {
    for n in bundles {
        let checked = bundle(files, origin, n, size);
        let failed = checked.is_err();
        if sender.send(checked).is_err() || failed {
            return;
        }
    }
}
