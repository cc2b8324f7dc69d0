//! Every row of a mounted set of files, each in one piece, so that a look-up reads a row and not a page of every column.
//!
//! A header block, then one record a row: length and checksum (4 bytes each), then the row in Arrow's row format.
//! A row of twelve items is some 200 bytes and one `pread`; a Parquet page of each column would be 12 reads and 12 decoders.
//! INVARIANT: a copy of files that stay the truth: made from files with one fingerprint, never answered when those changed.
//! INVARIANT: nothing is decoded before its checksum was compared, which also binds place and files.

use std::{
    fs::File,
    io::{BufWriter, Seek, SeekFrom, Write},
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
};

use arrow::{
    array::RecordBatch,
    datatypes::SchemaRef,
    row::{RowConverter, SortField},
};
use twox_hash::XxHash64;

use crate::{
    SourceError,
    key_index::Location,
    pread::{Patience, read_exact},
    scratch::Scratch,
};

const MAGIC: &[u8; 8] = b"tqrowsto";
const HEADER_BYTES: usize = 48;
const RECORD_HEAD_BYTES: usize = 8;
/// Read at once: most rows are whole in it.
const FIRST_BYTES: u64 = 512;
/// How often a build looks whether the disk still has room.
const LOOK_BYTES: u64 = 64 << 20;
/// What a build leaves free on a large disk.
const KEPT_BYTES_MAX: u64 = 4 << 30;

fn checksum(row: &[u8], at: u64, fingerprint: u64) -> u32 {
    XxHash64::oneshot(fingerprint ^ at.rotate_left(32), row) as u32
}

fn converter(schema: &SchemaRef) -> Result<RowConverter, SourceError> {
    let fields = schema.fields().iter().map(|field| SortField::new(field.data_type().clone()));
    Ok(RowConverter::new(fields.collect())?)
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|part| part.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn header(fingerprint: u64, bytes: u64, longest: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    for (place, number) in [fingerprint, bytes, longest].into_iter().enumerate() {
        header[8 + place * 8..16 + place * 8].copy_from_slice(&number.to_le_bytes());
    }
    let sum = XxHash64::oneshot(fingerprint, &header[..HEADER_BYTES - 8]);
    header[HEADER_BYTES - 8..].copy_from_slice(&sum.to_le_bytes());
    header
}

pub(crate) struct RowStore {
    file: File,
    fingerprint: u64,
    bytes: u64,
    longest: u64,
    converter: RowConverter,
    schema: SchemaRef,
}

impl std::fmt::Debug for RowStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowStore").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl RowStore {
    /// Opens the store at `path` if it is whole and was made for files with this fingerprint.
    pub(crate) fn open(path: &Path, fingerprint: u64, schema: SchemaRef) -> Option<Self> {
        let file = File::open(path).ok()?;
        let bytes = file.metadata().ok()?.len();
        let mut found = [0; HEADER_BYTES];
        file.read_exact_at(&mut found, 0).ok()?;
        let longest = found.get(24..32).and_then(|part| part.try_into().ok()).map(u64::from_le_bytes)?;
        let sound = found == header(fingerprint, bytes, longest);
        let converter = converter(&schema).ok()?;
        sound.then_some(Self { file, fingerprint, bytes, longest, converter, schema })
    }

    /// Puts the row at `at` behind `rows`; false when that would wait and must not.
    pub(crate) fn read(
        &self,
        Location(at): Location,
        patience: Patience,
        rows: &mut Encoded,
    ) -> Result<bool, SourceError> {
        let damaged = |_| SourceError::IndexDamaged;
        let rest = self.bytes.checked_sub(at).ok_or(SourceError::IndexDamaged)?;
        let whole_max = (self.longest + RECORD_HEAD_BYTES as u64).min(rest);
        let mut record = vec![0; whole_max.min(FIRST_BYTES) as usize];
        if read_exact(&self.file, &mut record, at, patience).map_err(damaged)?.is_none() {
            return Ok(false);
        }
        let (length, sum) = (number(&record, 0) as usize, number(&record, 4));
        let end = RECORD_HEAD_BYTES + length;
        if end as u64 > whole_max {
            return Err(SourceError::IndexDamaged);
        }
        let had = record.len();
        if end > had {
            record.resize(end, 0);
            let more = record.get_mut(had..).ok_or(SourceError::IndexDamaged)?;
            if read_exact(&self.file, more, at + had as u64, patience).map_err(damaged)?.is_none() {
                return Ok(false);
            }
        }
        let row = record.get(RECORD_HEAD_BYTES..end).ok_or(SourceError::IndexDamaged)?;
        if checksum(row, at, self.fingerprint) != sum {
            return Err(SourceError::IndexDamaged);
        }
        rows.bytes.extend_from_slice(row);
        rows.ends.push(rows.bytes.len());
        Ok(true)
    }

    /// The rows as columns of the resource's schema.
    pub(crate) fn decode(&self, rows: &Encoded) -> Result<RecordBatch, SourceError> {
        let parser = self.converter.parser();
        let starts = std::iter::once(0).chain(rows.ends.iter().copied());
        let pieces = starts.zip(&rows.ends).filter_map(|(start, end)| rows.bytes.get(start..*end));
        let columns = self.converter.convert_rows(pieces.map(|piece| parser.parse(piece)))?;
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

/// Rows read and not yet decoded.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Encoded {
    pub(crate) fn rows(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// Takes rows in the order of the files; [`RowBuilder::finish`] makes the store appear at its path.
pub(crate) struct RowBuilder<'a> {
    path: &'a Path,
    scratch: Scratch,
    writer: BufWriter<File>,
    fingerprint: u64,
    converter: RowConverter,
    at: u64,
    longest: u64,
    looked_at: u64,
}

impl<'a> RowBuilder<'a> {
    pub(crate) fn new(path: &'a Path, fingerprint: u64, schema: &SchemaRef) -> Result<Self, SourceError> {
        let scratch = Scratch::beside(path)?;
        let mut writer = BufWriter::with_capacity(1 << 18, scratch.file.try_clone()?);
        writer.write_all(&[0; HEADER_BYTES])?;
        let at = HEADER_BYTES as u64;
        let converter = converter(schema)?;
        Ok(Self { path, scratch, writer, fingerprint, converter, at, longest: 0, looked_at: 0 })
    }

    /// Appends the rows of a batch and tells where each one is.
    pub(crate) fn push(&mut self, batch: &RecordBatch) -> Result<Vec<Location>, SourceError> {
        let rows = self.converter.convert_columns(batch.columns())?;
        let mut places = Vec::with_capacity(batch.num_rows());
        for row in rows.iter() {
            let row = row.as_ref();
            let length = u32::try_from(row.len())
                .map_err(|_| SourceError::TooLarge("a row above 4 GiB".to_owned()))?;
            self.writer.write_all(&length.to_le_bytes())?;
            self.writer.write_all(&checksum(row, self.at, self.fingerprint).to_le_bytes())?;
            self.writer.write_all(row)?;
            places.push(Location(self.at));
            self.at += (RECORD_HEAD_BYTES + row.len()) as u64;
            self.longest = self.longest.max(u64::from(length));
        }
        self.look()?;
        Ok(places)
    }

    /// The record lies on the same disk more often than not: a tenth of it, at most 4 GiB, is never taken.
    fn look(&mut self) -> Result<(), SourceError> {
        if self.at < self.looked_at + LOOK_BYTES {
            return Ok(());
        }
        self.looked_at = self.at;
        let disk = rustix::fs::fstatvfs(&self.scratch.file).map_err(std::io::Error::from)?;
        let kept = (disk.f_blocks / 10).min(KEPT_BYTES_MAX / disk.f_frsize.max(1));
        if disk.f_bavail < kept {
            return Err(SourceError::TooLarge("more rows than the hub's disk has room for".to_owned()));
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<(), SourceError> {
        self.writer.seek(SeekFrom::Start(0))?;
        self.writer.write_all(&header(self.fingerprint, self.at, self.longest))?;
        self.writer.flush()?;
        self.scratch.keep(self.path)
    }
}
