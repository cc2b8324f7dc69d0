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
use tlog_tiles::{Checkpoint, EMPTY_HASH, Hash, HashReader, Tile, TileHashReader, TileReader};
use tlog_tiles::{stored_hash_index, tree_hash};

use super::Fault;
use crate::audit::entry::{ENTRY_BYTES_MAX, Entry, Kind};
use crate::audit::recover::read_checkpoint;
use crate::audit::tiles::{Class, Name, decode_entries};
use crate::audit::tree::{HEIGHT, WIDTH, leaf_hash};

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
    let tiles = Tiles { fetch, held: RefCell::default(), fault: RefCell::default() };
    let hashes = TileHashReader::new(size, *checkpoint.hash(), &tiles);
    if size == 0 && *checkpoint.hash() != EMPTY_HASH {
        return Err(Fault::Root);
    }
    if let Some(kept) = &kept {
        continues(&checkpoint, kept, &hashes).map_err(|fault| tiles.fault.take().unwrap_or(fault))?;
    }
    let first = kept.as_ref().map_or(0, Checkpoint::size);
    let mut walk = Walk { origin: checkpoint.origin(), from: first / WIDTH * WIDTH, open: HashMap::new() };
    let mut start = walk.from;
    // A bundle that was complete before is not read again.
    while start < size && first < size {
        let width = (size - start).min(WIDTH);
        walk.bundle(fetch, &hashes, start, width).map_err(|fault| tiles.fault.take().unwrap_or(fault))?;
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
fn continues(now: &Checkpoint, kept: &Checkpoint, hashes: &TileHashReader<'_>) -> Result<(), Fault> {
    if kept.size() > now.size() {
        return Err(Fault::Older { kept: kept.size(), served: now.size() });
    }
    let root = if kept.size() == 0 {
        EMPTY_HASH
    } else if kept.size() == now.size() {
        *now.hash()
    } else {
        tree_hash(kept.size(), hashes).map_err(|_| Fault::Root)?
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
    fn bundle(
        &mut self,
        fetch: Fetch<'_>,
        hashes: &TileHashReader<'_>,
        start: u64,
        width: u64,
    ) -> Result<(), Fault> {
        let path = Name { class: Class::Entries, n: start / WIDTH, width }.path();
        let bytes_max = usize::try_from(width).unwrap_or(usize::MAX).saturating_mul(ENTRY_BYTES_MAX + 2);
        let bytes = fetch(&path, bytes_max).map_err(|cause| Fault::Io { path: path.clone(), cause })?;
        let entries = decode_entries(&bytes).filter(|entries| entries.len() as u64 == width);
        let entries = entries.ok_or_else(|| Fault::File(path.clone()))?;
        let leaves: Vec<u64> = (start..start + width).map(|index| stored_hash_index(0, index)).collect();
        let leaves = hashes.read_hashes(&leaves).map_err(|_| Fault::Root)?;
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

/// Hash tiles as they are asked for; those led up to the root are held for a while.
struct Tiles<'a> {
    fetch: Fetch<'a>,
    held: RefCell<Vec<(Name, Vec<u8>)>>,
    /// Why a tile could not be had: the reader's own error does not carry it.
    fault: RefCell<Option<Fault>>,
}

fn name_of(tile: &Tile) -> Name {
    Name { class: Class::Hashes(tile.level()), n: tile.level_index(), width: u64::from(tile.width()) }
}

impl Tiles<'_> {
    fn one(&self, name: Name) -> Result<Vec<u8>, Fault> {
        if let Some((_, bytes)) = self.held.borrow().iter().find(|(held, _)| *held == name) {
            return Ok(bytes.clone());
        }
        let len = usize::try_from(name.width).unwrap_or(usize::MAX).saturating_mul(size_of::<Hash>());
        let path = name.path();
        let bytes = (self.fetch)(&path, len).map_err(|cause| Fault::Io { path: path.clone(), cause })?;
        if bytes.len() == len { Ok(bytes) } else { Err(Fault::File(path)) }
    }
}

impl TileReader for Tiles<'_> {
    fn height(&self) -> u8 {
        HEIGHT
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        let read: Result<Vec<_>, Fault> = tiles.iter().map(|tile| self.one(name_of(tile))).collect();
        read.map_err(|fault| {
            let said = fault.to_string();
            self.fault.replace(Some(fault));
            tlog_tiles::Error::InvalidInput(said)
        })
    }

    fn save_tiles(&self, tiles: &[Tile], data: &[Vec<u8>]) {
        let mut held = self.held.borrow_mut();
        for (tile, bytes) in tiles.iter().zip(data) {
            let name = name_of(tile);
            // What was used last goes last.
            held.retain(|(other, _)| *other != name);
            held.push((name, bytes.clone()));
        }
        let surplus = held.len().saturating_sub(TILES_MAX);
        held.drain(..surplus);
    }
}
