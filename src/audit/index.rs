//! From receipt id to entry index: a map of recent entries and sorted files of older ones.
//!
//! INVARIANT: derived from the log and rebuilt when missing; a found index counts only if the entry there bears the id.
//!
//! 24 bytes an entry. A file covers 65,536 entries (1.5 MiB); sixteen are merged into one of a million (24 MiB), so a
//! year of a million a day is 350 files, and a lookup some 1,000 small reads from the page cache: about a millisecond.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::disk::{Disk, write_whole};
use super::tiles::read_regular;
use crate::crypto::sha256;

/// Entries per file.
pub(crate) const SPAN: u64 = 65_536;
/// Files merged into one.
const MERGED: usize = 16;
const MAGIC: &[u8; 8] = b"tqidx001";
const HEAD_LEN: u64 = 64;
pub(crate) const RECORD_LEN: u64 = 24;
const FOOT_LEN: u64 = 32;

/// Highest store revision and time of the entries covered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    pub store_revision: u64,
    pub time_us: u64,
}

impl Marks {
    pub fn raise(&mut self, other: Marks) {
        self.store_revision = self.store_revision.max(other.store_revision);
        self.time_us = self.time_us.max(other.time_us);
    }
}

/// One sorted file over entries `first..last`.
#[derive(Debug)]
pub(crate) struct IndexFile {
    file: File,
    pub first: u64,
    pub last: u64,
    count: u64,
    pub marks: Marks,
}

pub(crate) type Record = ([u8; 16], u64);

pub(crate) fn file_name(first: u64, last: u64) -> String {
    format!("{first:020}-{last:020}.idx")
}

/// The range of a name in exactly the form that [`file_name`] gives.
pub(crate) fn parse_file_name(name: &str) -> Option<(u64, u64)> {
    let (first, last) = name.strip_suffix(".idx")?.split_once('-')?;
    let range = (first.parse().ok()?, last.parse().ok()?);
    (range.0 < range.1 && file_name(range.0, range.1) == name).then_some(range)
}

impl IndexFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let mut head = [0; HEAD_LEN as usize];
        file.read_exact_at(&mut head, 0)?;
        let (fields, check) = head.split_at(48);
        let number = |at: usize| {
            fields.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes)
        };
        let opened = Self {
            first: number(8),
            last: number(16),
            count: number(24),
            marks: Marks { store_revision: number(32), time_us: number(40) },
            file,
        };
        let len = opened.file.metadata()?.len();
        let sound = fields.starts_with(MAGIC)
            && sha256(&[fields]).starts_with(check)
            && opened.count <= opened.last.saturating_sub(opened.first)
            && len == HEAD_LEN + opened.count * RECORD_LEN + FOOT_LEN
            && path.file_name().is_some_and(|name| *name == *file_name(opened.first, opened.last));
        if sound { Ok(opened) } else { Err(io::Error::from(io::ErrorKind::InvalidData)) }
    }

    fn record(&self, at: u64) -> io::Result<Record> {
        let mut bytes = [0; RECORD_LEN as usize];
        self.file.read_exact_at(&mut bytes, HEAD_LEN + at * RECORD_LEN)?;
        Ok(decode(&bytes))
    }

    /// Interpolation first (ids are random, so three or four steps), then bisection.
    pub fn find(&self, id: &[u8; 16]) -> io::Result<Option<u64>> {
        let (mut low, mut high) = (0, self.count);
        let (mut low_key, mut high_key) = (0_u64, u64::MAX);
        let key = prefix(id);
        let mut steps = 0;
        while low < high {
            let span = high - low;
            let guess = if steps < 6 && high_key > low_key {
                let part = u128::from(key.saturating_sub(low_key)) * u128::from(span)
                    / (u128::from(high_key - low_key) + 1);
                u64::try_from(part).unwrap_or(0).min(span - 1)
            } else {
                span / 2
            };
            let at = low + guess;
            let (found, index) = self.record(at)?;
            match found.cmp(id) {
                std::cmp::Ordering::Equal => return Ok(Some(index)),
                std::cmp::Ordering::Less => (low, low_key) = (at + 1, prefix(&found)),
                std::cmp::Ordering::Greater => (high, high_key) = (at, prefix(&found)),
            }
            steps += 1;
        }
        Ok(None)
    }

    fn records(&self) -> io::Result<Vec<Record>> {
        let mut bytes = vec![0; usize::try_from(self.count * RECORD_LEN).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut bytes, HEAD_LEN)?;
        Ok(bytes.as_chunks::<{ RECORD_LEN as usize }>().0.iter().map(decode).collect())
    }
}

fn prefix(id: &[u8; 16]) -> u64 {
    id.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

pub(crate) fn decode(bytes: &[u8; RECORD_LEN as usize]) -> Record {
    let (mut id, mut index) = ([0; 16], [0; 8]);
    let (left, right) = bytes.split_at(16);
    id.copy_from_slice(left);
    index.copy_from_slice(right);
    (id, u64::from_be_bytes(index))
}

/// The bytes of a file over `first..last`; of several records of one id the last entry stays.
fn encode(first: u64, last: u64, marks: Marks, mut records: Vec<Record>) -> Vec<u8> {
    records.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
    records.dedup_by_key(|record| record.0);
    let mut out = Vec::with_capacity(records.len() * RECORD_LEN as usize + 96);
    out.extend_from_slice(MAGIC);
    for number in [first, last, records.len() as u64, marks.store_revision, marks.time_us] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    let check = sha256(&[&out]);
    out.extend_from_slice(check.get(..16).unwrap_or_default());
    for (id, index) in records {
        out.extend_from_slice(&id);
        out.extend_from_slice(&index.to_be_bytes());
    }
    let foot = sha256(&[&out]);
    out.extend_from_slice(&foot);
    out
}

/// Reads a file of a folder that may be anybody's: its marks and its records' bytes, or none when it is not whole
/// (its last 32 bytes are the SHA-256 of the rest) or not of this range.
pub(crate) fn read_sound(path: &Path, first: u64, last: u64) -> io::Result<Option<(Marks, Vec<u8>)>> {
    let bytes_max = last.saturating_sub(first).saturating_mul(RECORD_LEN).saturating_add(HEAD_LEN + FOOT_LEN);
    let mut bytes = read_regular(path, bytes_max)?;
    let whole = bytes.split_last_chunk::<32>().is_some_and(|(rest, foot)| sha256(&[rest]) == *foot);
    let file = IndexFile::open(path)?;
    if !whole || (file.first, file.last) != (first, last) {
        return Ok(None);
    }
    bytes.truncate(bytes.len().saturating_sub(FOOT_LEN as usize));
    bytes.drain(..HEAD_LEN as usize);
    Ok(Some((file.marks, bytes)))
}

/// All index files, oldest first, without gaps from entry 0, and the recent ids.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub files: Arc<Vec<Arc<IndexFile>>>,
    recent: HashMap<[u8; 16], u64>,
    recent_marks: Marks,
}

impl Index {
    /// Opens what is there; files after a gap, inside a merged one, beyond the log or unreadable are removed.
    pub fn open(disk: &dyn Disk, dir: &Path, size: u64) -> io::Result<Self> {
        let mut paths: Vec<_> =
            fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
        // Names sort by first, then last; of those with one first the longest comes to the front.
        paths.sort();
        let mut opened: Vec<_> = paths.into_iter().map(|path| (IndexFile::open(&path).ok(), path)).collect();
        opened.sort_by_key(|(file, _)| {
            file.as_ref().map_or((u64::MAX, 0), |file| (file.first, u64::MAX - file.last))
        });
        let (mut files, mut next) = (Vec::new(), 0);
        for (file, path) in opened {
            match file {
                Some(file) if file.first == next && file.last <= size && file.last > next => {
                    next = file.last;
                    files.push(Arc::new(file));
                }
                _ => disk.remove(&path)?,
            }
        }
        Ok(Self { files: Arc::new(files), ..Self::default() })
    }

    /// Entries below are in files.
    pub fn filed_to(&self) -> u64 {
        self.files.last().map_or(0, |file| file.last)
    }

    pub fn marks(&self) -> Marks {
        let mut marks = self.recent_marks;
        for file in self.files.iter() {
            marks.raise(file.marks);
        }
        marks
    }

    pub fn insert(&mut self, id: [u8; 16], index: u64, marks: Marks) {
        self.recent.insert(id, index);
        self.recent_marks.raise(marks);
    }

    pub fn recent(&self, id: &[u8; 16]) -> Option<u64> {
        self.recent.get(id).copied()
    }

    /// What to write when `SPAN` more entries are published: the file's range and its bytes.
    pub fn due(&self, published: u64) -> Option<(u64, u64, Vec<u8>)> {
        let first = self.filed_to();
        let last = first + SPAN;
        (published >= last).then(|| {
            let records =
                self.recent.iter().filter(|(_, index)| **index < last).map(|(id, index)| (*id, *index));
            (first, last, encode(first, last, self.recent_marks, records.collect()))
        })
    }

    pub fn filed(&mut self, file: IndexFile) {
        self.recent.retain(|_, index| *index >= file.last);
        let mut files = self.files.as_ref().clone();
        files.push(Arc::new(file));
        self.files = Arc::new(files);
    }
}

/// Writes one file durably and opens it.
pub(crate) fn write(
    disk: &dyn Disk,
    dir: &Path,
    first: u64,
    last: u64,
    bytes: &[u8],
) -> io::Result<IndexFile> {
    let path = dir.join(file_name(first, last));
    write_whole(disk, &path, bytes)?;
    disk.sync_dir(dir)?;
    IndexFile::open(&path)
}

/// Merges the last sixteen files of one span each, when there are that many, and removes them.
pub(crate) fn merge(
    disk: &dyn Disk,
    dir: &Path,
    files: &[Arc<IndexFile>],
) -> io::Result<Option<Vec<Arc<IndexFile>>>> {
    let small = files.iter().rev().take_while(|file| file.last - file.first == SPAN).count();
    if small < MERGED {
        return Ok(None);
    }
    let (kept, merged) = files.split_at(files.len() - small);
    let (mut records, mut marks) = (Vec::new(), Marks::default());
    for file in merged {
        records.append(&mut file.records()?);
        marks.raise(file.marks);
    }
    let (Some(first), Some(last)) = (merged.first(), merged.last()) else { return Ok(None) };
    let file = write(disk, dir, first.first, last.last, &encode(first.first, last.last, marks, records))?;
    for old in merged {
        // One that stays is removed at the next start.
        let _ = disk.remove(&dir.join(file_name(old.first, old.last)));
    }
    let mut files = kept.to_vec();
    files.push(Arc::new(file));
    Ok(Some(files))
}

#[cfg(test)]
mod tests {
    use super::super::disk::RealDisk;
    use super::*;

    fn id(n: u64) -> [u8; 16] {
        *sha256(&[&n.to_be_bytes()]).first_chunk().unwrap()
    }

    #[test]
    fn ids_are_found_and_the_last_of_an_id_wins() {
        let dir = tempfile::tempdir().unwrap();
        for count in [0_u64, 1, 2, 1000] {
            let mut records: Vec<Record> = (0..count).map(|n| (id(n), n)).collect();
            records.push((id(3), 5000));
            let bytes = encode(0, 6000, Marks { store_revision: 9, time_us: 8 }, records);
            let file = write(&RealDisk, dir.path(), 0, 6000, &bytes).unwrap();
            for n in 0..count {
                assert_eq!(file.find(&id(n)).unwrap(), Some(if n == 3 { 5000 } else { n }));
            }
            assert_eq!(file.find(&id(99_999)).unwrap(), None);
            assert_eq!(file.marks, Marks { store_revision: 9, time_us: 8 });
        }
    }

    #[test]
    fn sixteen_files_become_one_and_leftovers_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = Vec::new();
        for n in 0..16 {
            let (first, last) = (n * SPAN, (n + 1) * SPAN);
            let marks = Marks { store_revision: n, time_us: 100 - n };
            let bytes = encode(first, last, marks, vec![(id(first), first)]);
            assert!(merge(&RealDisk, dir.path(), &files).unwrap().is_none());
            files.push(Arc::new(write(&RealDisk, dir.path(), first, last, &bytes).unwrap()));
        }
        let leftover = fs::read(dir.path().join(file_name(0, SPAN))).unwrap();
        let merged = merge(&RealDisk, dir.path(), &files).unwrap().unwrap();
        assert_eq!(merged.len(), 1);
        fs::write(dir.path().join(file_name(0, SPAN)), leftover).unwrap();
        fs::write(dir.path().join(file_name(16 * SPAN, 17 * SPAN)), "torn").unwrap();
        let index = Index::open(&RealDisk, dir.path(), 16 * SPAN).unwrap();
        assert_eq!((index.filed_to(), index.files.len()), (16 * SPAN, 1));
        assert_eq!(index.marks(), Marks { store_revision: 15, time_us: 100 });
        assert_eq!(index.files[0].find(&id(SPAN)).unwrap(), Some(SPAN));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(Index::open(&RealDisk, dir.path(), 5).unwrap().filed_to(), 0);
    }
}
