//! What readers see: the tree's edge, the unpublished tail, the checkpoints and the receipt index, under one lock.
//!
//! INVARIANT: only the writer changes the state, and only after the disk has it.
//! INVARIANT: what left memory is in complete files that never change, so readers need no lock for the disk.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

use tlog_tiles::{Checkpoint, Hash};

use super::entry::ReceiptId;
use super::index::Index;
use super::segment::Stored;
use super::tiles::{Class, Files, Name, Tail, encode_entries, encode_hashes, encode_sides, to_publish};
use super::tree::{Edge, FullTiles, Hashes, WIDTH, leaf_hash};
use super::writer::Pending;
use super::{Limits, ReadError};
use crate::clock::Clock;
use crate::crypto::{KeyError, Keys};

pub(crate) struct Core {
    pub files: Files,
    pub keys: Keys,
    pub clock: Clock,
    pub limits: Limits,
    /// Streams opened below this index belong to an earlier run; unclosed, they are aborted.
    pub session_first: u64,
    state: RwLock<State>,
}

pub(crate) struct State {
    pub edge: Edge,
    pub tail: Tail,
    /// Signed over all durable entries.
    pub checkpoint: Vec<u8>,
    pub published: u64,
    /// Signed over published tiles only.
    pub public: Vec<u8>,
    pub index: Index,
    pub writable: bool,
    pub fault: Option<String>,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("origin", &self.keys.origin()).finish_non_exhaustive()
    }
}

/// Files of one publication: what to write, the checkpoint over it and its size.
pub(crate) struct Publication {
    pub files: Vec<(Name, Vec<u8>)>,
    pub checkpoint: Vec<u8>,
    pub size: u64,
}

/// Signs the head of a tree.
pub(crate) fn sign(keys: &Keys, size: u64, root: Hash) -> Result<Vec<u8>, KeyError> {
    let checkpoint = Checkpoint::new(keys.origin(), size, root, "").map_err(|_| KeyError::Sign)?;
    keys.sign_note(&checkpoint.to_bytes())
}

impl Core {
    pub fn new(files: Files, keys: Keys, clock: Clock, limits: Limits, state: State) -> Self {
        let session_first = state.edge.size();
        Self { files, keys, clock, limits, session_first, state: RwLock::new(state) }
    }

    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn write<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes durable entries into the tree and signs the new head; the index of the first.
    pub fn extend(&self, batch: &[Pending]) -> Result<u64, KeyError> {
        self.write(|state| {
            let first = state.edge.size();
            for (index, pending) in (first..).zip(batch) {
                state.edge.push(leaf_hash(&pending.stored.entry));
                state.tail.stored.push(pending.stored.clone());
                state.index.insert(pending.id, index, pending.marks);
            }
            let root = state.edge.root().ok_or(KeyError::Sign)?;
            state.checkpoint = sign(&self.keys, state.edge.size(), root)?;
            Ok(first)
        })
    }

    /// What is not published yet; none when everything is.
    pub fn publication(&self) -> Option<Publication> {
        self.read(|state| {
            let size = state.edge.size();
            (size != state.published || state.public.is_empty()).then(|| Publication {
                files: to_publish(&state.edge, &state.tail, state.published),
                checkpoint: state.checkpoint.clone(),
                size,
            })
        })
    }

    pub fn published(&self, publication: Publication) {
        self.write(|state| {
            state.published = publication.size;
            state.public = publication.checkpoint;
            state.edge.forget(publication.size);
            state.tail.forget(publication.size);
        });
    }

    /// An entry and its side object.
    pub fn stored(&self, index: u64) -> io::Result<Option<Arc<Stored>>> {
        enum Place {
            Nowhere,
            Memory(Arc<Stored>),
            Disk,
        }
        let place = self.read(|state| match state.tail.get(index) {
            Some(stored) => Place::Memory(stored.clone()),
            None if index < state.edge.size() => Place::Disk,
            None => Place::Nowhere,
        });
        match place {
            Place::Nowhere => Ok(None),
            Place::Memory(stored) => Ok(Some(stored)),
            Place::Disk => {
                let bundle = self.files.bundle(index / WIDTH, WIDTH)?;
                let at = usize::try_from(index % WIDTH).unwrap_or(usize::MAX);
                Ok(bundle.into_iter().nth(at).map(Arc::new))
            }
        }
    }

    /// Inclusion proofs of entries under the newest checkpoint, and that checkpoint.
    pub fn prove(&self, indexes: &[u64]) -> io::Result<(Vec<Vec<Hash>>, Vec<u8>)> {
        let (edge, checkpoint) = self.read(|state| (state.edge.clone(), state.checkpoint.clone()));
        let hashes = Hashes { edge: &edge, tiles: &self.files };
        let proofs =
            indexes.iter().map(|index| hashes.prove(edge.size(), *index)).collect::<io::Result<_>>()?;
        Ok((proofs, checkpoint))
    }

    /// Newest index of a receipt id.
    pub fn find(&self, id: &ReceiptId) -> io::Result<Option<u64>> {
        let (recent, files) = self.read(|state| (state.index.recent(id.bytes()), state.index.files.clone()));
        if recent.is_some() {
            return Ok(recent);
        }
        for file in files.iter().rev() {
            if let Some(index) = file.find(id.bytes())? {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// A file of the published form; partial ones of any width are cut from what there is now.
    pub fn published_file(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        if path == "checkpoint" {
            return Ok(Some(self.read(|state| state.public.clone())));
        }
        let Some(name) = Name::parse(path) else { return Ok(None) };
        let size = self.read(|state| state.published);
        match name.class {
            Class::Hashes(level) => {
                if (size >> (u32::from(level) * 8)) < name.n.saturating_mul(WIDTH).saturating_add(name.width)
                {
                    return Ok(None);
                }
                Ok(Some(encode_hashes(&self.tile(level, name.n, name.width)?)))
            }
            Class::Entries | Class::Sides => {
                if size < name.n.saturating_mul(WIDTH).saturating_add(name.width) {
                    return Ok(None);
                }
                let bundle = self.bundle(name.n)?;
                let width = usize::try_from(name.width).unwrap_or(usize::MAX);
                let part =
                    bundle.get(..width).ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
                Ok(if name.class == Class::Entries { Some(encode_entries(part)) } else { encode_sides(part) })
            }
        }
    }

    fn tile(&self, level: u8, n: u64, width: u64) -> io::Result<Vec<Hash>> {
        let memory = self.read(|state| {
            let found = state.edge.levels.get(usize::from(level))?;
            let from = usize::try_from((n * WIDTH).checked_sub(found.start)?).ok()?;
            found.hashes.get(from..from + usize::try_from(width).ok()?).map(<[Hash]>::to_vec)
        });
        let mut hashes = match memory {
            Some(hashes) => hashes,
            None => self.files.full_tile(level, n)?,
        };
        hashes.truncate(usize::try_from(width).unwrap_or(usize::MAX));
        Ok(hashes)
    }

    fn bundle(&self, n: u64) -> io::Result<Vec<Arc<Stored>>> {
        match self.read(|state| state.tail.bundle(n)) {
            Some(bundle) => Ok(bundle),
            None => Ok(self.files.bundle(n, WIDTH)?.into_iter().map(Arc::new).collect()),
        }
    }

    /// Entries of bundle `n` from memory or its complete file, without side objects.
    fn bundle_entries(&self, n: u64) -> io::Result<Vec<Vec<u8>>> {
        match self.read(|state| state.tail.bundle(n)) {
            Some(bundle) => Ok(bundle.iter().map(|stored| stored.entry.clone()).collect()),
            None => self.files.entries(n, WIDTH),
        }
    }
}

/// Iterates over stored entries, one bundle in memory at a time.
#[derive(Debug)]
pub struct Entries {
    core: Arc<Core>,
    next: u64,
    end: u64,
    bundle: std::vec::IntoIter<Vec<u8>>,
}

impl Entries {
    pub(super) fn new(core: Arc<Core>, range: Range<u64>) -> Self {
        let size = core.read(|state| state.edge.size());
        Self { core, next: range.start, end: range.end.min(size), bundle: Vec::new().into_iter() }
    }
}

impl Iterator for Entries {
    /// Index and stored bytes.
    type Item = Result<(u64, Vec<u8>), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.end {
            return None;
        }
        if self.bundle.len() == 0 {
            match self.core.bundle_entries(self.next / WIDTH) {
                Ok(entries) => {
                    self.bundle = entries.into_iter();
                    for _ in 0..self.next % WIDTH {
                        self.bundle.next();
                    }
                }
                Err(cause) => {
                    self.next = self.end;
                    return Some(Err(cause.into()));
                }
            }
        }
        let index = self.next;
        self.next += 1;
        match self.bundle.next() {
            Some(entry) => Some(Ok((index, entry))),
            None => {
                self.next = self.end;
                Some(Err(ReadError::Damaged(index)))
            }
        }
    }
}
