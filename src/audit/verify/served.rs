//! Verification of a record that somebody else serves, file by file, against the public log key alone.
//!
//! INVARIANT: nothing that is fetched is trusted: tiles are led up to the signed root, entries down to their tile.
//! INVARIANT: holds one bundle and at most [`TILES_MAX`] tiles, whatever is served; how much is asked for follows from
//! the size that the log's key signed.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tlog_tiles::{Checkpoint, EMPTY_HASH, Hash, tree_hash};

use super::Fault;
use crate::audit::entry::{ENTRY_BYTES_MAX, Entry, Kind};
use crate::audit::recover::read_checkpoint;
use crate::audit::tiles::{Class, Name, decode_entries, decode_hashes};
use crate::audit::tree::{Edge, FullTiles, HEIGHT, Hashes, Level, WIDTH, leaf_hash, subtree};

/// Tiles kept so that each is fetched about once.
const TILES_MAX: usize = 64;
/// Bytes of a checkpoint with some cosignatures.
const CHECKPOINT_BYTES_MAX: usize = 16 << 10;

/// Gives a published file by its C2SP path, or says why not; never more bytes than asked.
pub type Fetch<'a> = &'a dyn Fn(&str, usize) -> io::Result<Vec<u8>>;

/// What a served record holds when nothing is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    pub origin: String,
    pub size: u64,
    /// In base64.
    pub root: String,
    /// Entries of the checkpoint that was kept, and which this record continues.
    pub kept: Option<u64>,
    /// Entries that were read and checked.
    pub checked: u64,
    /// Streams opened among them and not closed.
    pub unclosed: u64,
    /// The checkpoint as it was served, to be kept.
    pub checkpoint: Vec<u8>,
}

impl fmt::Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the record of {} verifies", self.origin)?;
        writeln!(f, "entries      {}", self.size)?;
        writeln!(f, "root         {}", self.root)?;
        match self.kept {
            Some(kept) => writeln!(f, "continues    the kept checkpoint of {kept} entries")?,
            None => writeln!(f, "continues    no checkpoint was given; keep this one with `--keep`")?,
        }
        writeln!(f, "checked      {} entries", self.checked)?;
        write!(f, "streams without an outcome {}", self.unclosed)
    }
}

/// Verifies what is served: all of it, or, after a checkpoint that was kept, that it goes on from there and what came since.
///
/// Side objects are not served and not checked: their hashes stand in the entries.
pub fn verify_served(fetch: Fetch<'_>, verifier_key: &str, kept: Option<&[u8]>) -> Result<Served, Fault> {
    let path = "checkpoint".to_owned();
    let bytes = fetch(&path, CHECKPOINT_BYTES_MAX).map_err(|cause| Fault::Io { path, cause })?;
    let checkpoint = read_checkpoint(&bytes, verifier_key).map_err(|_| Fault::Checkpoint)?;
    let kept = match kept {
        Some(kept) => Some(read_checkpoint(kept, verifier_key).map_err(|_| Fault::Kept)?),
        None => None,
    };
    let size = checkpoint.size();
    let tiles = Tiles::of(fetch, &checkpoint)?;
    if let Some(kept) = &kept {
        continues(&checkpoint, kept, &tiles).map_err(|fault| tiles.fault.take().unwrap_or(fault))?;
    }
    let first = kept.as_ref().map_or(0, Checkpoint::size);
    let mut walk = Walk { origin: checkpoint.origin(), from: first / WIDTH * WIDTH, open: HashMap::new() };
    let mut start = walk.from;
    // A bundle that was complete before is not read again.
    while start < size && first < size {
        let width = (size - start).min(WIDTH);
        walk.bundle(&tiles, start, width)?;
        start += width;
    }
    Ok(Served {
        origin: checkpoint.origin().to_owned(),
        size,
        root: STANDARD.encode(checkpoint.hash().0),
        kept: kept.as_ref().map(Checkpoint::size),
        checked: size - first,
        unclosed: walk.open.len() as u64,
        checkpoint: bytes,
    })
}

/// Whether the tree of the kept checkpoint is the beginning of this one.
fn continues(now: &Checkpoint, kept: &Checkpoint, tiles: &Tiles<'_>) -> Result<(), Fault> {
    if kept.size() > now.size() {
        return Err(Fault::Older { kept: kept.size(), served: now.size() });
    }
    let hashes = Hashes { edge: &tiles.edge, tiles };
    let root = match kept.size() {
        0 => EMPTY_HASH,
        size => tree_hash(size, &hashes).map_err(|_| Fault::Root)?,
    };
    if root == *kept.hash() { Ok(()) } else { Err(Fault::Forked { kept: kept.size() }) }
}

struct Walk<'a> {
    origin: &'a str,
    /// First entry that is read.
    from: u64,
    open: HashMap<u64, [u8; 16]>,
}

impl Walk<'_> {
    fn bundle(&mut self, tiles: &Tiles<'_>, start: u64, width: u64) -> Result<(), Fault> {
        let path = Name { class: Class::Entries, n: start / WIDTH, width }.path();
        let bytes_max = usize::try_from(width).unwrap_or(usize::MAX).saturating_mul(ENTRY_BYTES_MAX + 2);
        let bytes =
            (tiles.fetch)(&path, bytes_max).map_err(|cause| Fault::Io { path: path.clone(), cause })?;
        let entries = decode_entries(&bytes).filter(|entries| entries.len() as u64 == width);
        let entries = entries.ok_or_else(|| Fault::File(path.clone()))?;
        let leaves = tiles.leaves(start)?;
        if leaves.len() != entries.len() {
            return Err(Fault::File(path));
        }
        for (index, (bytes, leaf)) in (start..).zip(entries.iter().zip(leaves)) {
            if leaf_hash(bytes) != leaf {
                return Err(Fault::File(path));
            }
            self.entry(index, bytes)?;
        }
        Ok(())
    }

    fn entry(&mut self, index: u64, bytes: &[u8]) -> Result<(), Fault> {
        let fault = |what| Fault::Entry { index, what };
        let entry = Entry::parse(bytes).map_err(|_| fault("not well-formed"))?;
        if entry.origin != self.origin {
            return Err(fault("of another log"));
        }
        let receipt = *entry.draft.receipt.bytes();
        match (entry.draft.kind, entry.draft.opened_index) {
            (Kind::Opened, _) => {
                self.open.insert(index, receipt);
            }
            // What was opened before the first entry read here was checked when the kept checkpoint was.
            (Kind::Closed, Some(opened))
                if opened >= self.from && self.open.remove(&opened) != Some(receipt) =>
            {
                return Err(fault("it closes a stream that was not open"));
            }
            _ => {}
        }
        Ok(())
    }
}

/// Hash tiles under one signed root: the right edge is read at once, complete tiles as they are asked for.
///
/// Not `tlog_tiles::TileHashReader`: of version 0.2 it leaves the first complete tiles unchecked where several roots of
/// subtrees lie in one tile.
struct Tiles<'a> {
    fetch: Fetch<'a>,
    /// The partial tile of every level; its root is the signed one.
    edge: Edge,
    /// Complete tiles that were led up to it, last used last.
    held: RefCell<Vec<(Name, Vec<Hash>)>>,
    /// Why a tile could not be had: the error of a reader of hashes does not carry it.
    fault: RefCell<Option<Fault>>,
}

fn fetched(fetch: Fetch<'_>, name: Name) -> Result<Vec<Hash>, Fault> {
    let len = usize::try_from(name.width).unwrap_or(usize::MAX).saturating_mul(size_of::<Hash>());
    let path = name.path();
    let bytes = fetch(&path, len).map_err(|cause| Fault::Io { path: path.clone(), cause })?;
    decode_hashes(&bytes).filter(|hashes| hashes.len() as u64 == name.width).ok_or(Fault::File(path))
}

impl<'a> Tiles<'a> {
    /// Reads the right edge and leads it up to the root.
    fn of(fetch: Fetch<'a>, checkpoint: &Checkpoint) -> Result<Self, Fault> {
        let mut edge = Edge::default();
        let mut count = checkpoint.size();
        for level in 0..HEIGHT {
            if count == 0 {
                break;
            }
            let width = count % WIDTH;
            let name = Name { class: Class::Hashes(level), n: count / WIDTH, width };
            let hashes = if width == 0 { Vec::new() } else { fetched(fetch, name)? };
            edge.levels.push(Level { start: count - width, hashes });
            count /= WIDTH;
        }
        if count > 0 || edge.root().as_ref() != Some(checkpoint.hash()) {
            return Err(Fault::Root);
        }
        Ok(Self { fetch, edge, held: RefCell::default(), fault: RefCell::default() })
    }

    /// Leaf hashes of the bundle that begins with entry `start`.
    fn leaves(&self, start: u64) -> Result<Vec<Hash>, Fault> {
        match self.edge.levels.first() {
            Some(level) if start >= level.start => Ok(level.hashes.clone()),
            _ => self.complete(0, start / WIDTH),
        }
    }

    /// A complete tile whose root stands in the tile above it, and so on up to the edge.
    fn complete(&self, level: u8, n: u64) -> Result<Vec<Hash>, Fault> {
        let name = Name { class: Class::Hashes(level), n, width: WIDTH };
        let mut held = self.held.borrow_mut();
        if let Some(at) = held.iter().position(|(held, _)| *held == name) {
            let found = held.remove(at);
            held.push(found.clone());
            return Ok(found.1);
        }
        drop(held);
        let above = level + 1;
        let upper = self.edge.levels.get(usize::from(above)).ok_or(Fault::Root)?;
        let expected = match n.checked_sub(upper.start) {
            Some(at) => usize::try_from(at).ok().and_then(|at| upper.hashes.get(at)).copied(),
            None => {
                let at = usize::try_from(n % WIDTH).unwrap_or(usize::MAX);
                self.complete(above, n / WIDTH)?.get(at).copied()
            }
        };
        let hashes = fetched(self.fetch, name)?;
        if expected.is_none() || subtree(&hashes) != expected {
            return Err(Fault::File(name.path()));
        }
        let mut held = self.held.borrow_mut();
        held.push((name, hashes.clone()));
        let surplus = held.len().saturating_sub(TILES_MAX);
        held.drain(..surplus);
        Ok(hashes)
    }
}

impl FullTiles for Tiles<'_> {
    fn full_tile(&self, level: u8, n: u64) -> io::Result<Vec<Hash>> {
        self.complete(level, n).map_err(|fault| {
            let said = io::Error::other(fault.to_string());
            self.fault.replace(Some(fault));
            said
        })
    }
}
