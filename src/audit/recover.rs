//! Opening the log: check what is published, replay the segment through the same code, then go on, or refuse.
//!
//! INVARIANT: replayed entries are published anew, file by file, before the old segments go: what was only in the page
//! cache after a failed sync becomes durable or the start fails.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use rustix::fs::{FlockOperation, flock};
use signed_note::{Note, StandardVerifier, VerifierList};
use thiserror::Error;
use tlog_tiles::{Checkpoint, Hash};
use tokio::sync::oneshot;

use super::disk::Disk;
use super::entry::{Draft, Entry, Kind};
use super::index::{self, Index, Marks};
use super::segment::{self, SegmentError, Stored};
use super::state::{Core, State, sign};
use super::tiles::{Class, Files, Name, Publisher, Tail};
use super::tree::{Edge, FullTiles, Level, WIDTH, leaf_hash};
use super::writer::Writer;
use super::{AppendError, Limits, Log};
use crate::clock::Clock;
use crate::crypto::{KeyError, Keys};

/// What the start found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Entries found in segments and not yet in tiles.
    pub replayed: u64,
    /// Bytes of a torn last write that were cut; they were never acknowledged.
    pub cut_bytes: u64,
    /// How far the wall clock is behind the last entry.
    pub clock_back_us: u64,
}

#[derive(Debug, Error)]
pub enum OpenError {
    #[error("the record in `{0}` is in use: stop the other hub first")]
    Locked(PathBuf),
    #[error("the record cannot be opened: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("the keys are of origin `{found}`, not `{wanted}`: use the folder that belongs to this hub")]
    OtherOrigin { found: String, wanted: String },
    #[error("the checkpoint is not signed by this log key: use the key folder that belongs to this record")]
    OtherKey,
    #[error("the checkpoint is malformed: restore the record from a copy")]
    Checkpoint,
    #[error(
        "tiles exist without a checkpoint and without the segment they came from: restore the record from a copy"
    )]
    NoCheckpoint,
    #[error("the published tiles do not give the root of the checkpoint: restore the record from a copy")]
    Root,
    #[error("segment `{name}`: {fault}")]
    Segment { name: String, fault: SegmentError },
    #[error("entries from {0} are missing between tiles and segment: restore the record from a copy")]
    Gap(u64),
    #[error(
        "entry {0} of a segment differs from the published one or is malformed: restore the record from a copy"
    )]
    Entry(u64),
    #[error("the wall clock is {0} µs behind the last entry: set the clock")]
    ClockBack(u64),
}

/// Opens the log with a disk of the caller's choice.
pub(super) fn open(
    disk: Box<dyn Disk>,
    dir: &Path,
    keys: Keys,
    origin: &str,
    clock: Clock,
    limits: Limits,
) -> Result<(Log, Recovery), OpenError> {
    if keys.origin() != origin {
        return Err(OpenError::OtherOrigin { found: keys.origin().to_owned(), wanted: origin.to_owned() });
    }
    for folder in ["segment", "index"] {
        disk.make_dir(&dir.join(folder))?;
    }
    disk.sync_dir(dir)?;
    let lock = File::open(dir)?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|cause| match cause {
        rustix::io::Errno::WOULDBLOCK => OpenError::Locked(dir.to_owned()),
        other => OpenError::Io(other.into()),
    })?;
    let files = Files { dir: dir.to_owned() };
    let mut replay = Replay::published(files.clone(), &keys)?;
    let segments = list_segments(dir)?;
    replay.segments(&segments, keys.origin())?;
    let mut recovery = Recovery {
        replayed: replay.edge.size() - replay.published,
        cut_bytes: replay.cut_bytes,
        clock_back_us: 0,
    };
    let index = replay.index(disk.as_ref())?;
    let now_us = clock.now_us().unsigned_abs();
    recovery.clock_back_us = index.marks().time_us.saturating_sub(now_us);
    if recovery.clock_back_us > limits.clock_back_max_us.unsigned_abs() {
        return Err(OpenError::ClockBack(recovery.clock_back_us));
    }
    let core = Arc::new(Core::new(files, keys.clone(), clock, limits, replay.state(&keys, index)?));
    let mut writer = Writer {
        core: core.clone(),
        disk,
        lock,
        segment: None,
        attempt: segments.iter().map(|segment| segment.attempt).max().unwrap_or(0),
        old_segments: segments.into_iter().map(|segment| segment.path).collect(),
        publisher: Publisher::starting_with(replay.partial),
        unpublished_bytes: 0,
        last_probe: None,
    };
    writer.start(&recovery)?;
    let (queue, commands) = sync_channel(core.limits.queue_max);
    std::thread::Builder::new().name("record-writer".to_owned()).spawn(move || writer.run(&commands))?;
    Ok((Log { core, queue }, recovery))
}

impl Writer {
    /// Publishes what was replayed, begins a segment, and puts on record what recovery changed.
    fn start(&mut self, recovery: &Recovery) -> Result<(), OpenError> {
        if !self.publish() {
            let fault = self.core.read(|state| state.fault.clone()).unwrap_or_default();
            return Err(OpenError::Io(io::Error::other(fault)));
        }
        self.new_segment()?;
        self.core.write(|state| state.writable = true);
        if recovery.cut_bytes == 0 && recovery.clock_back_us == 0 {
            return Ok(());
        }
        let draft = Draft {
            operation: "recover".to_owned(),
            code: if recovery.cut_bytes > 0 { "cut" } else { "clock_back" }.to_owned(),
            bytes: Some(recovery.cut_bytes),
            reasons: vec![format!("clock_back_us={}", recovery.clock_back_us)],
            ..Draft::new(Kind::Recovered)
        };
        let (reply, mut answer) = oneshot::channel();
        let refused = |_: AppendError| OpenError::Io(io::Error::other("the recovery could not be recorded"));
        let pending = self.core.prepare(draft, None, reply).map_err(refused)?;
        self.commit(vec![pending]);
        answer.try_recv().unwrap_or(Err(AppendError::RecordUnavailable)).map(|_| ()).map_err(refused)
    }
}

struct SegmentFile {
    first: u64,
    attempt: u32,
    path: PathBuf,
}

/// Segments in the order they were made. Anything else in the folder is nobody's.
fn list_segments(dir: &Path) -> io::Result<Vec<SegmentFile>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(dir.join("segment"))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(segment::parse_file_name);
        if let Some((first, attempt)) = name {
            segments.push(SegmentFile { first, attempt, path });
        }
    }
    segments.sort_by_key(|segment| (segment.first, segment.attempt));
    Ok(segments)
}

/// The log as far as it has been read back.
struct Replay {
    files: Files,
    edge: Edge,
    tail: Tail,
    public: Vec<u8>,
    published: u64,
    partial: Vec<Name>,
    cut_bytes: u64,
}

/// Checks a checkpoint's signature and reads it.
pub(super) fn read_checkpoint(bytes: &[u8], verifier_key: &str) -> Result<Checkpoint, OpenError> {
    let note = Note::from_bytes(bytes).map_err(|_| OpenError::Checkpoint)?;
    let verifier = StandardVerifier::new(verifier_key).map_err(|_| OpenError::OtherKey)?;
    note.verify(&VerifierList::new(vec![Box::new(verifier)])).map_err(|_| OpenError::OtherKey)?;
    let checkpoint = Checkpoint::from_bytes(note.text()).map_err(|_| OpenError::Checkpoint)?;
    let origin = verifier_key.split('+').next().unwrap_or_default();
    // No log of this kind reaches 2^53 entries; anything larger is nonsense.
    if checkpoint.origin() == origin && checkpoint.size() < 1 << 53 {
        Ok(checkpoint)
    } else {
        Err(OpenError::OtherKey)
    }
}

impl Replay {
    /// The right edge of what the published checkpoint covers.
    fn published(files: Files, keys: &Keys) -> Result<Self, OpenError> {
        let mut replay = Self {
            files,
            edge: Edge::default(),
            tail: Tail::default(),
            public: Vec::new(),
            published: 0,
            partial: Vec::new(),
            cut_bytes: 0,
        };
        let public = match fs::read(replay.files.dir.join("checkpoint")) {
            Ok(bytes) => bytes,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return replay.unpublished(),
            Err(cause) => return Err(cause.into()),
        };
        let checkpoint = read_checkpoint(&public, keys.verifier_key())?;
        replay.public = public;
        replay.published = checkpoint.size();
        replay.load(checkpoint.size())?;
        if replay.edge.root().as_ref() != Some(checkpoint.hash()) {
            return Err(OpenError::Root);
        }
        Ok(replay)
    }

    /// Without a checkpoint the log is new, or its first publication was interrupted.
    fn unpublished(self) -> Result<Self, OpenError> {
        let begun = list_segments(&self.files.dir)?.iter().any(|segment| segment.first == 0);
        if self.files.dir.join("tile").exists() && !begun {
            return Err(OpenError::NoCheckpoint);
        }
        Ok(self)
    }

    fn load(&mut self, size: u64) -> Result<(), OpenError> {
        let (mut count, mut level) = (size, 0_u8);
        while count > 0 {
            let (n, width) = (count / WIDTH, count % WIDTH);
            let hashes = if width == 0 { Vec::new() } else { self.files.hashes(level, n, width)? };
            if width > 0 {
                self.partial.push(Name { class: Class::Hashes(level), n, width });
            }
            self.edge.levels.push(Level { start: n * WIDTH, hashes });
            count = n;
            level += 1;
        }
        let (n, width) = (size / WIDTH, size % WIDTH);
        self.tail.start = n * WIDTH;
        if width > 0 {
            self.tail.stored = self.files.bundle(n, width)?.into_iter().map(Arc::new).collect();
            for class in [Class::Entries, Class::Sides] {
                let name = Name { class, n, width };
                if self.files.dir.join(name.path()).exists() {
                    self.partial.push(name);
                }
            }
            let leaves = self.edge.levels.first().map(|level| level.hashes.as_slice()).unwrap_or_default();
            let same =
                self.tail.stored.iter().zip(leaves).all(|(stored, leaf)| leaf_hash(&stored.entry) == *leaf);
            if !same {
                return Err(OpenError::Root);
            }
        }
        Ok(())
    }

    /// Replays segments in order; each one ends where the next begins.
    fn segments(&mut self, segments: &[SegmentFile], origin: &str) -> Result<(), OpenError> {
        for (at, segment) in segments.iter().enumerate() {
            let end = segments.get(at + 1).map_or(u64::MAX, |next| next.first);
            if end == segment.first {
                continue;
            }
            let name = segment.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let bytes = fs::read(&segment.path)?;
            let read = segment::replay(&bytes, segment.first, origin);
            let read = read.map_err(|fault| OpenError::Segment { name, fault })?;
            if segment.first > self.edge.size() {
                return Err(OpenError::Gap(self.edge.size()));
            }
            for (index, stored) in (segment.first..end).zip(read.entries) {
                self.take(index, stored, origin)?;
            }
            if end == u64::MAX {
                self.cut_bytes = read.cut_bytes;
            } else if end > self.edge.size() {
                return Err(OpenError::Gap(self.edge.size()));
            }
        }
        Ok(())
    }

    fn take(&mut self, index: u64, stored: Stored, origin: &str) -> Result<(), OpenError> {
        let leaf = leaf_hash(&stored.entry);
        if index < self.edge.size() {
            // Published already, or in an older segment too: it must be the same.
            return if self.leaf(index)? == Some(leaf) { Ok(()) } else { Err(OpenError::Entry(index)) };
        }
        match Entry::parse(&stored.entry) {
            Ok(entry) if entry.origin == origin => {}
            _ => return Err(OpenError::Entry(index)),
        }
        self.edge.push(leaf);
        self.tail.stored.push(Arc::new(stored));
        Ok(())
    }

    fn leaf(&self, index: u64) -> io::Result<Option<Hash>> {
        let Some(level) = self.edge.levels.first() else { return Ok(None) };
        if let Some(at) = index.checked_sub(level.start) {
            return Ok(usize::try_from(at).ok().and_then(|at| level.hashes.get(at)).copied());
        }
        let tile = self.files.full_tile(0, index / WIDTH)?;
        Ok(usize::try_from(index % WIDTH).ok().and_then(|at| tile.get(at)).copied())
    }

    /// Receipt ids of what the index files do not cover; files that are due are written on the way.
    fn index(&self, disk: &dyn Disk) -> Result<Index, OpenError> {
        let dir = self.files.dir.join("index");
        let mut index = Index::open(disk, &dir, self.published)?;
        let mut next = index.filed_to();
        while next < self.edge.size() {
            let (n, from) = (next / WIDTH, next % WIDTH);
            let entries = match self.tail.bundle(n) {
                Some(bundle) => bundle.iter().map(|stored| stored.entry.clone()).collect(),
                None => self.files.entries(n, WIDTH)?,
            };
            for bytes in entries.into_iter().skip(usize::try_from(from).unwrap_or(0)) {
                let entry = Entry::parse(&bytes).map_err(|_| OpenError::Entry(next))?;
                let marks = Marks {
                    store_revision: entry.draft.store_revision.unwrap_or(0),
                    time_us: entry.time_us(),
                };
                index.insert(*entry.draft.receipt.bytes(), next, marks);
                next += 1;
            }
            if let Some((first, last, bytes)) = index.due(next.min(self.published)) {
                index.filed(index::write(disk, &dir, first, last, &bytes)?);
            }
        }
        Ok(index)
    }

    fn state(&mut self, keys: &Keys, index: Index) -> Result<State, OpenError> {
        let root = self.edge.root().ok_or(OpenError::Root)?;
        Ok(State {
            checkpoint: sign(keys, self.edge.size(), root)?,
            edge: std::mem::take(&mut self.edge),
            tail: std::mem::take(&mut self.tail),
            published: self.published,
            public: std::mem::take(&mut self.public),
            index,
            writable: false,
            fault: None,
        })
    }
}
