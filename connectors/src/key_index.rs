//! A sorted key index on disk: where in which file the rows of a key are.
//!
//! Records of 16 bytes (hash of the key, location) sorted by hash, 255 to a block of 4 KiB that ends in its own checksum,
//! after a header block. A search reads about log2(blocks) blocks with `pread`; 3 M rows are 47 MB and 14 reads.
//! INVARIANT: only a hint: a row found here is fetched and its key read back; the index is never loaded into memory.
//! INVARIANT: every block read is verified against a checksum that also binds block number and file identity.

mod build;

use std::{fs::File, os::unix::fs::FileExt, path::Path};

pub(crate) use build::Builder;
use twox_hash::XxHash64;

use crate::SourceError;

const MAGIC: &[u8; 8] = b"tqkeyidx";
const VERSION: u32 = 1;
const BLOCK_BYTES: usize = 4096;
const RECORD_BYTES: usize = 16;
const BLOCK_RECORDS: usize = 255;
const CHECKED_BYTES: usize = BLOCK_BYTES - 8;

/// Where a row is: file in the order of the mount (16 bits), row in that file (48 bits).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Location(u64);

impl Location {
    pub(crate) fn new(file: usize, row: u64) -> Option<Self> {
        (file < 1 << 16 && row < 1 << 48).then_some(Self(((file as u64) << 48) | row))
    }

    pub(crate) fn file(self) -> usize {
        (self.0 >> 48) as usize
    }

    pub(crate) fn row(self) -> u64 {
        self.0 & ((1 << 48) - 1)
    }
}

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

#[derive(Debug)]
pub(crate) struct KeyIndex {
    file: File,
    fingerprint: u64,
    blocks: u64,
}

impl KeyIndex {
    /// Opens the index at `path` if it is whole and was made for files with this fingerprint.
    pub(crate) fn open(path: &Path, fingerprint: u64) -> Option<Self> {
        let file = File::open(path).ok()?;
        let bytes = file.metadata().ok()?.len();
        let mut header = [0; BLOCK_BYTES];
        file.read_exact_at(&mut header, 0).ok()?;
        let blocks = word(&header, 16);
        let sound = header.starts_with(MAGIC)
            && word(&header, 8) == u64::from(VERSION)
            && word(&header, 24) == fingerprint
            && word(&header, CHECKED_BYTES) == checksum(&header, 0, fingerprint)
            && bytes == (blocks.checked_add(1)?).checked_mul(BLOCK_BYTES as u64)?;
        sound.then_some(Self { file, fingerprint, blocks })
    }

    /// Reads block `number` (from 0) and gives the number of its records.
    fn block(&self, number: u64, block: &mut [u8; BLOCK_BYTES]) -> Result<usize, SourceError> {
        let read = self.file.read_exact_at(block, (number + 1) * BLOCK_BYTES as u64);
        if read.is_err() || word(block, CHECKED_BYTES) != checksum(block, number + 1, self.fingerprint) {
            return Err(SourceError::IndexDamaged);
        }
        Ok((word(block, BLOCK_RECORDS * RECORD_BYTES) as usize).clamp(1, BLOCK_RECORDS))
    }

    /// Every location with this hash, at most `max + 1`.
    pub(crate) fn find(&self, hash: u64, max: usize) -> Result<Vec<Location>, SourceError> {
        let mut block = [0; BLOCK_BYTES];
        // The first block whose last record is not below the hash.
        let (mut low, mut high) = (0, self.blocks);
        while low < high {
            let middle = low + (high - low) / 2;
            let records = self.block(middle, &mut block)?;
            if record(&block, records - 1).hash < hash {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let mut found = Vec::new();
        for number in low..self.blocks {
            let records = self.block(number, &mut block)?;
            for at in 0..records {
                let record = record(&block, at);
                if record.hash > hash || found.len() > max {
                    return Ok(found);
                }
                if record.hash == hash {
                    found.push(record.location);
                }
            }
        }
        Ok(found)
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
            let location = Location::new((row % 5) as usize, row).expect("location");
            builder.add((row / 3).wrapping_mul(0x9E37_79B9_7F4A_7C15), location).expect("add");
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
                let found = index.find((row / 3).wrapping_mul(0x9E37_79B9_7F4A_7C15), 10).expect("find");
                assert!(
                    found.contains(&Location::new((row % 5) as usize, row).expect("location")),
                    "{rows} {row}"
                );
                assert!(found.len() <= 3);
            }
            assert_eq!(index.find(3, 10).expect("find"), []);
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
            builder.add(42, Location::new(0, row).expect("location")).expect("add");
        }
        builder.finish().expect("finish");
        let index = KeyIndex::open(&path, 7).expect("open");
        assert_eq!(index.find(42, 10).expect("find").len(), 11);
        assert_eq!(index.find(42, 5000).expect("find").len(), 1000);
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
                let wanted = Location::new((row % 5) as usize, row).expect("location");
                if let Ok(found) = index.find(hash, 10) {
                    assert!(found.contains(&wanted), "a flipped bit at {at} lost row {row}");
                }
            }
        }
    }
}
