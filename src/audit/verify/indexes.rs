//! Index files against the entries they list: one that hides a receipt or misplaces it is damage.
//!
//! INVARIANT: one file's worth of ids is held at a time, 24 bytes each.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::entry::Kind;
use super::super::index::{self, Marks};
use super::Fault;
use super::bundles::Checked;

/// Entries of a merged file: sixteen spans.
const RECORDS_MAX: usize = 16 * index::SPAN as usize;

/// The index files of a folder, oldest first, and what the current one must say.
#[derive(Default)]
pub(super) struct Indexes {
    dir: PathBuf,
    /// Ranges still to come, the next one last.
    ranges: Vec<(u64, u64)>,
    records: Vec<index::Record>,
    marks: Marks,
}

impl Indexes {
    pub fn list(dir: &Path) -> Result<Self, Fault> {
        let dir = dir.join("index");
        let mut ranges = Vec::new();
        if dir.exists() {
            let fault = |cause| Fault::Io { path: "index".to_owned(), cause };
            for entry in fs::read_dir(&dir).map_err(fault)? {
                let name = entry.map_err(fault)?.file_name().to_string_lossy().into_owned();
                // An interrupted writing leaves one; it is replaced.
                if name.ends_with(".tmp") {
                    continue;
                }
                ranges.push(
                    index::parse_file_name(&name).ok_or_else(|| Fault::Stray(format!("index/{name}")))?,
                );
            }
        }
        // Of two that begin together the longer is the merged one, and first here, so that it is taken last.
        ranges.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        Ok(Self { dir, ranges, ..Self::default() })
    }

    pub fn note(&mut self, at: u64, entry: &Checked) {
        let Some((first, last)) = self.ranges.last().copied().filter(|(first, _)| *first <= at) else {
            return;
        };
        if self.records.is_empty() {
            // Never more than the ceiling of one file, whatever a name claims.
            self.records.reserve_exact(usize::try_from(last - first).unwrap_or(RECORDS_MAX).min(RECORDS_MAX));
        }
        // The lowest bit: the same id may come again, as the outcome of this stream.
        self.records.push((entry.receipt, at << 1 | u64::from(entry.kind == Kind::Opened)));
        self.marks.raise(entry.marks);
    }

    /// Entries below `end` were noted: compares the file that ends there.
    pub fn reach(&mut self, end: u64) -> Result<(), Fault> {
        let Some((first, last)) = self.ranges.last().copied().filter(|(_, last)| *last == end) else {
            return Ok(());
        };
        let name = index::file_name(first, last);
        let fault = || Fault::Index(format!("index/{name}"));
        let found = index::read_sound(&self.dir.join(&name), first, last).map_err(|_| fault())?;
        let (marks, found) = found.ok_or_else(fault)?;
        let mut records = std::mem::take(&mut self.records);
        let expected = std::mem::take(&mut self.marks);
        if marks.store_revision < expected.store_revision || marks.time_us < expected.time_us {
            return Err(fault());
        }
        // By id, the last entry of an id first: only that one is listed.
        records.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
        records.dedup_by_key(|record| record.0);
        if !agree(&found, &records) {
            return Err(fault());
        }
        // What lies within is left of an interrupted merge; the hub removes it.
        while self.ranges.last().is_some_and(|(next, _)| *next < last) {
            self.ranges.pop();
        }
        Ok(())
    }

    /// Nothing may be left that lists entries beyond the published ones.
    pub fn finish(&self) -> Result<(), Fault> {
        match self.ranges.last() {
            Some((first, last)) => Err(Fault::Index(format!("index/{}", index::file_name(*first, *last)))),
            None => Ok(()),
        }
    }
}

/// Whether a file lists what it must, and nothing else. A stream that ended behind its range may be left out.
fn agree(found: &[u8], expected: &[index::Record]) -> bool {
    let mut found =
        found.as_chunks::<{ index::RECORD_LEN as usize }>().0.iter().map(index::decode).peekable();
    for (id, place) in expected {
        if found.next_if(|listed| listed.0 == *id && listed.1 == place >> 1).is_none() && place & 1 == 0 {
            return false;
        }
    }
    found.peek().is_none()
}
