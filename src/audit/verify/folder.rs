//! The parts of a folder beside the tree itself: segments, index files, and files that should not be there.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::segment;
use super::super::tiles::{Class, Files, Name, read_regular};
use super::super::tree::{WIDTH, leaf_hash};
use super::{Fault, Walk, bundles, io_fault};

/// Longest checkpoint: a note with more cosignatures than anybody has.
pub(super) const CHECKPOINT_BYTES_MAX: u64 = 64 << 10;
/// Longest segment that is replayed: the configured ceiling and one batch of the largest side objects.
const SEGMENT_BYTES_MAX: u64 = 128 << 20;

pub(super) fn read(dir: &Path, path: &str, bytes_max: u64) -> Result<Vec<u8>, Fault> {
    read_regular(&dir.join(path), bytes_max).map_err(|cause| Fault::Io { path: path.to_owned(), cause })
}

/// Every file below `dir`, as a path relative to it, one at a time.
fn each_file(dir: &Path, below: &str, check: &mut dyn FnMut(&str) -> Result<(), Fault>) -> Result<(), Fault> {
    let mut waiting = vec![PathBuf::from(below)];
    while let Some(folder) = waiting.pop() {
        let fault = |cause| Fault::Io { path: folder.display().to_string(), cause };
        for entry in fs::read_dir(dir.join(&folder)).map_err(fault)? {
            let entry = entry.map_err(fault)?;
            let path = folder.join(entry.file_name());
            if entry.file_type().map_err(fault)?.is_dir() {
                waiting.push(path);
            } else {
                check(&path.to_string_lossy())?;
            }
        }
    }
    Ok(())
}

/// Each file of `tile/` and `side/` is of this tree; a superfluous partial one is the beginning of the current one.
pub(super) fn check_strays(dir: &Path, size: u64) -> Result<(), Fault> {
    let files = Files { dir: dir.to_owned() };
    for entry in fs::read_dir(dir).map_err(|cause| Fault::Io { path: String::new(), cause })? {
        let entry = entry.map_err(|cause| Fault::Io { path: String::new(), cause })?;
        let name = entry.file_name().to_string_lossy().into_owned();
        match name.as_str() {
            "tile" | "side" => each_file(dir, &name, &mut |path| check_file(&files, path, size))?,
            "checkpoint" | "segment" | "index" => {}
            // What an interrupted publication leaves; the next one replaces it.
            "checkpoint.tmp" => {}
            _ => return Err(Fault::Stray(name)),
        }
    }
    Ok(())
}

fn check_file(files: &Files, path: &str, size: u64) -> Result<(), Fault> {
    if path.strip_suffix(".tmp").and_then(Name::parse).is_some() {
        return Ok(());
    }
    let stray = || Fault::Stray(path.to_owned());
    let name = Name::parse(path).ok_or_else(stray)?;
    let count = match name.class {
        Class::Hashes(level) => size >> (u32::from(level) * 8),
        Class::Entries | Class::Sides => size,
    };
    let available = count.saturating_sub(name.n.saturating_mul(WIDTH)).min(WIDTH);
    if name.width == available {
        // Checked with the tree.
        return Ok(());
    }
    // Tiles of a publication that was interrupted before its checkpoint lie ahead of it; the segment still holds them.
    if available < name.width {
        return if segments_reach(files, size) { Ok(()) } else { Err(stray()) };
    }
    let whole = files.read(Name { width: available, ..name }).map_err(|cause| io_fault(name, cause))?;
    let part = files.read(name).map_err(|cause| io_fault(name, cause))?;
    let entries = usize::try_from(name.width).unwrap_or(usize::MAX);
    let expected = match name.class {
        Class::Hashes(_) => entries * 32,
        Class::Entries => prefix_len::<2>(&whole, entries),
        Class::Sides => prefix_len::<4>(&whole, entries),
    };
    if part.len() == expected && whole.starts_with(&part) {
        Ok(())
    } else {
        Err(Fault::File(path.to_owned()))
    }
}

fn segments_reach(files: &Files, size: u64) -> bool {
    segments(&files.dir).is_ok_and(|segments| segments.iter().any(|(first, _, _)| *first <= size))
}

/// Length of the first `count` records, each behind a big-endian length of `N` bytes.
fn prefix_len<const N: usize>(bytes: &[u8], count: usize) -> usize {
    let mut at = 0_usize;
    for _ in 0..count {
        let Some(len) = bytes.get(at..at + N) else { return usize::MAX };
        at += N + len.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    }
    at
}

type SegmentFile = (u64, u32, String);

fn segments(dir: &Path) -> Result<Vec<SegmentFile>, Fault> {
    let mut found = Vec::new();
    if dir.join("segment").exists() {
        each_file(dir, "segment", &mut |path| {
            let name = path.rsplit('/').next().unwrap_or_default();
            let (first, attempt) =
                segment::parse_file_name(name).ok_or_else(|| Fault::Stray(path.to_owned()))?;
            found.push((first, attempt, path.to_owned()));
            Ok(())
        })?;
    }
    found.sort();
    Ok(found)
}

impl Walk<'_> {
    /// Replays what is not published yet, as the hub would at its next start.
    pub(super) fn segments(&mut self, dir: &Path) -> Result<(), Fault> {
        let found = segments(dir)?;
        for (at, (first, _, path)) in found.iter().enumerate() {
            let end = found.get(at + 1).map_or(u64::MAX, |next| next.0);
            if end == *first {
                continue;
            }
            let fault = || Fault::Segment(path.clone());
            let replay = segment::replay(&read(dir, path, SEGMENT_BYTES_MAX)?, *first, &self.origin)
                .map_err(|_| fault())?;
            if *first > self.edge.size() {
                return Err(fault());
            }
            for (index, stored) in (*first..end).zip(replay.entries) {
                if index < self.edge.size() {
                    let same = self.published_leaf(index)?;
                    if same != Some(leaf_hash(&stored.entry)) {
                        return Err(fault());
                    }
                    continue;
                }
                self.entry(index, bundles::check(index, &stored, &self.origin)?)?;
                self.report.unpublished += 1;
            }
            if end == u64::MAX {
                self.report.torn_bytes = replay.cut_bytes;
            } else if end > self.edge.size() {
                return Err(fault());
            }
        }
        Ok(())
    }

    /// Leaf hash of an entry in memory or in a tile that was verified before.
    fn published_leaf(&self, index: u64) -> Result<Option<tlog_tiles::Hash>, Fault> {
        let Some(level) = self.edge.levels.first() else { return Ok(None) };
        if let Some(at) = index.checked_sub(level.start) {
            return Ok(usize::try_from(at).ok().and_then(|at| level.hashes.get(at)).copied());
        }
        let name = Name { class: Class::Hashes(0), n: index / WIDTH, width: WIDTH };
        let tile = self.files.hashes(0, name.n, WIDTH).map_err(|cause| io_fault(name, cause))?;
        Ok(usize::try_from(index % WIDTH).ok().and_then(|at| tile.get(at)).copied())
    }
}
