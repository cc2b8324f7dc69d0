//! A sorted key index on disk: where in the row store the rows of a key are.
//!
//! Records of 16 bytes (hash of the key, location) sorted by hash, 255 to a block of 4 KiB that ends in its own checksum,
//! after a header block; behind them the fence, the last hash of every block. Only the fence is in memory (8 bytes for
//! 255 rows: 10 M rows are 160 MB on disk and 0.3 MB in memory), so a search reads one block.
//! INVARIANT: only a hint: a row found here is fetched and its key read back.
//! INVARIANT: every block read is verified against a checksum that also binds block number and file identity.

mod build;

use std::{fs::File, os::unix::fs::FileExt, path::Path};

pub(crate) use build::Builder;
use twox_hash::XxHash64;

use crate::{
    SourceError,
    pread::{Patience, read_exact},
};

const MAGIC: &[u8; 8] = b"tqkeyidx";
const VERSION: u32 = 2;
const BLOCK_BYTES: usize = 4096;
const RECORD_BYTES: usize = 16;
const BLOCK_RECORDS: usize = 255;
const CHECKED_BYTES: usize = BLOCK_BYTES - 8;

/// Where a row is: its first byte in the row store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Location(pub(crate) u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Record {
    hash: u64,
    location: Location,
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|word| word.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn record(block: &[u8], number: usize) -> Record {
    Record {
        hash: word(block, number * RECORD_BYTES),
        location: Location(word(block, number * RECORD_BYTES + 8)),
    }
}

/// Checksum of a block, bound to its number (the header is block 0) and to the files it was made from.
fn checksum(block: &[u8], number: u64, fingerprint: u64) -> u64 {
    XxHash64::oneshot(fingerprint ^ number.rotate_left(32), block.get(..CHECKED_BYTES).unwrap_or_default())
}

fn fence_checksum(fence: &[u8], fingerprint: u64) -> u64 {
    XxHash64::oneshot(!fingerprint, fence)
}

#[derive(Debug)]
pub(crate) struct KeyIndex {
    file: File,
    fingerprint: u64,
    /// The last hash of every block.
    fence: Vec<u64>,
}

impl KeyIndex {
    /// Opens the index at `path` if it is whole and was made for files with this fingerprint.
    pub(crate) fn open(path: &Path, fingerprint: u64) -> Option<Self> {
        let file = File::open(path).ok()?;
        let bytes = file.metadata().ok()?.len();
        let mut header = [0; BLOCK_BYTES];
        file.read_exact_at(&mut header, 0).ok()?;
        let blocks = word(&header, 16);
        let fence_at = blocks.checked_add(1)?.checked_mul(BLOCK_BYTES as u64)?;
        let sound = header.starts_with(MAGIC)
            && word(&header, 8) == u64::from(VERSION)
            && word(&header, 24) == fingerprint
            && word(&header, CHECKED_BYTES) == checksum(&header, 0, fingerprint)
            && bytes == fence_at.checked_add(blocks.checked_add(1)?.checked_mul(8)?)?;
        if !sound {
            return None;
        }
        let mut fence = vec![0; usize::try_from(blocks * 8).ok()?];
        let mut sum = [0; 8];
        file.read_exact_at(&mut fence, fence_at).ok()?;
        file.read_exact_at(&mut sum, fence_at + fence.len() as u64).ok()?;
        let sound = u64::from_le_bytes(sum) == fence_checksum(&fence, fingerprint);
        let fence = fence.as_chunks::<8>().0.iter().map(|hash| u64::from_le_bytes(*hash)).collect();
        sound.then_some(Self { file, fingerprint, fence })
    }

    /// Reads block `number` (from 0) and gives the number of its records.
    fn block(
        &self,
        number: u64,
        block: &mut [u8; BLOCK_BYTES],
        patience: Patience,
    ) -> Result<Option<usize>, SourceError> {
        let damaged = |_| SourceError::IndexDamaged;
        let read = read_exact(&self.file, block, (number + 1) * BLOCK_BYTES as u64, patience);
        if read.map_err(damaged)?.is_none() {
            return Ok(None);
        }
        if word(block, CHECKED_BYTES) != checksum(block, number + 1, self.fingerprint) {
            return Err(SourceError::IndexDamaged);
        }
        Ok(Some((word(block, BLOCK_RECORDS * RECORD_BYTES) as usize).clamp(1, BLOCK_RECORDS)))
    }

    /// Every location with this hash, at most `max + 1`; none when that would wait and must not.
    pub(crate) fn find(
        &self,
        hash: u64,
        max: usize,
        patience: Patience,
    ) -> Result<Option<Vec<Location>>, SourceError> {
        let mut block = [0; BLOCK_BYTES];
        let mut found = Vec::new();
        // The first block whose last record is not below the hash.
        let first = self.fence.partition_point(|last| *last < hash);
        for number in first..self.fence.len() {
            let Some(records) = self.block(number as u64, &mut block, patience)? else { return Ok(None) };
            for at in 0..records {
                let record = record(&block, at);
                if record.hash > hash || found.len() > max {
                    return Ok(Some(found));
                }
                if record.hash == hash {
                    found.push(record.location);
                }
            }
        }
        Ok(Some(found))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn built(path: &Path, rows: u64, run_rows: usize) -> KeyIndex {
        let mut builder = Builder::new(path, 7, run_rows).expect("builder");
        for row in 0..rows {
            // Three rows share a hash each.
            builder.add((row / 3).wrapping_mul(0x9E37_79B9_7F4A_7C15), Location(row)).expect("add");
        }
        builder.finish().expect("finish");
        KeyIndex::open(path, 7).expect("open")
    }

    #[test]
    fn every_row_is_found_however_many_runs_were_merged() {
        for (rows, run_rows) in [(0, 10), (1, 10), (255, 1000), (256, 1000), (1000, 100), (5000, 999)] {
            let folder = tempfile::tempdir().expect("folder");
            let path = folder.path().join("k.idx");
            let index = built(&path, rows, run_rows);
            for row in 0..rows {
                let hash = (row / 3).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                let found = index.find(hash, 10, Patience::Wait).expect("find").expect("patient");
                assert!(found.contains(&Location(row)) && found.len() <= 3, "{rows} {row}");
                let cached = index.find(hash, 10, Patience::Cached).expect("find");
                assert!(cached.is_none_or(|cached| cached == found), "{rows} {row}");
            }
            assert_eq!(index.find(3, 10, Patience::Wait).expect("find"), Some(Vec::new()));
            let left: Vec<_> = fs::read_dir(folder.path()).expect("dir").collect();
            assert_eq!(left.len(), 1, "runs and temporary files are gone");
        }
    }

    #[test]
    fn hits_are_capped() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("k.idx");
        let mut builder = Builder::new(&path, 7, 100).expect("builder");
        for row in 0..1000 {
            builder.add(42, Location(row)).expect("add");
        }
        builder.finish().expect("finish");
        let index = KeyIndex::open(&path, 7).expect("open");
        let found = |max| index.find(42, max, Patience::Wait).expect("find").expect("patient").len();
        assert_eq!((found(10), found(5000)), (11, 1000));
    }

    #[test]
    fn a_damaged_or_foreign_index_is_not_trusted() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("k.idx");
        built(&path, 1000, 300);
        assert!(KeyIndex::open(&path, 8).is_none(), "made for other files");
        let good = fs::read(&path).expect("read");
        for cut in [0, 10, 4096, good.len() - 1] {
            fs::write(&path, &good[..cut]).expect("write");
            assert!(KeyIndex::open(&path, 7).is_none(), "cut at {cut}");
        }
        for at in (0..good.len()).step_by(97) {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            fs::write(&path, &bad).expect("write");
            let Some(index) = KeyIndex::open(&path, 7) else { continue };
            for row in (0..1000).step_by(50) {
                let hash = (row / 3_u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                if let Ok(Some(found)) = index.find(hash, 10, Patience::Wait) {
                    assert!(found.contains(&Location(row)), "a flipped bit at {at} lost row {row}");
                }
            }
        }
    }
}
