//! Building a key index in bounded memory: sorted runs on disk, merged into one file that appears whole or not at all.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fs::File,
    io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use super::{
    BLOCK_BYTES, BLOCK_RECORDS, CHECKED_BYTES, Location, MAGIC, RECORD_BYTES, Record, VERSION, checksum,
    fence_checksum, word,
};
use crate::{SourceError, scratch::Scratch};

/// Takes records in any order; [`Builder::finish`] makes the index appear at its path.
pub(crate) struct Builder {
    path: PathBuf,
    fingerprint: u64,
    run_rows: usize,
    run: Vec<Record>,
    runs: Vec<Scratch>,
}

impl Builder {
    pub(crate) fn new(path: &Path, fingerprint: u64, run_rows: usize) -> Result<Self, SourceError> {
        Ok(Self {
            path: path.to_owned(),
            fingerprint,
            run_rows: run_rows.max(1),
            run: Vec::new(),
            runs: Vec::new(),
        })
    }

    pub(crate) fn add(&mut self, hash: u64, location: Location) -> Result<(), SourceError> {
        self.run.push(Record { hash, location });
        if self.run.len() >= self.run_rows {
            self.spill()?;
        }
        Ok(())
    }

    fn spill(&mut self) -> Result<(), SourceError> {
        self.run.sort_unstable();
        let scratch = Scratch::beside(&self.path)?;
        let mut writer = BufWriter::with_capacity(1 << 16, &scratch.file);
        for record in self.run.drain(..) {
            writer.write_all(&record.hash.to_le_bytes())?;
            writer.write_all(&record.location.0.to_le_bytes())?;
        }
        writer.flush()?;
        drop(writer);
        self.runs.push(scratch);
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<(), SourceError> {
        let scratch = Scratch::beside(&self.path)?;
        let mut blocks = Blocks::new(&scratch.file, self.fingerprint)?;
        if self.runs.is_empty() {
            self.run.sort_unstable();
            for record in &self.run {
                blocks.push(*record)?;
            }
        } else {
            self.spill()?;
            merge(&mut self.runs, &mut blocks)?;
        }
        blocks.finish()?;
        scratch.keep(&self.path)
    }
}

fn next(run: &mut impl Read) -> Result<Option<Record>, SourceError> {
    let mut bytes = [0; RECORD_BYTES];
    match run.read_exact(&mut bytes) {
        Ok(()) => Ok(Some(Record { hash: word(&bytes, 0), location: Location(word(&bytes, 8)) })),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn merge(runs: &mut [Scratch], blocks: &mut Blocks<'_>) -> Result<(), SourceError> {
    let mut readers = Vec::new();
    let mut heads = BinaryHeap::new();
    for (number, run) in runs.iter_mut().enumerate() {
        run.file.seek(SeekFrom::Start(0))?;
        let mut reader = BufReader::with_capacity(1 << 16, &run.file);
        if let Some(record) = next(&mut reader)? {
            heads.push(Reverse((record, number)));
        }
        readers.push(reader);
    }
    while let Some(Reverse((record, number))) = heads.pop() {
        blocks.push(record)?;
        if let Some(reader) = readers.get_mut(number)
            && let Some(record) = next(reader)?
        {
            heads.push(Reverse((record, number)));
        }
    }
    Ok(())
}

/// Writes sorted records as checked blocks, the fence, then the header that makes them an index.
struct Blocks<'a> {
    writer: BufWriter<&'a File>,
    fingerprint: u64,
    block: Vec<u8>,
    /// The last hash of every block.
    fence: Vec<u8>,
    last_hash: u64,
    written: u64,
    records: u64,
}

impl<'a> Blocks<'a> {
    fn new(file: &'a File, fingerprint: u64) -> Result<Self, SourceError> {
        let mut writer = BufWriter::with_capacity(1 << 16, file);
        writer.write_all(&[0; BLOCK_BYTES])?;
        let block = Vec::with_capacity(BLOCK_BYTES);
        Ok(Self { writer, fingerprint, block, fence: Vec::new(), last_hash: 0, written: 0, records: 0 })
    }

    fn push(&mut self, record: Record) -> Result<(), SourceError> {
        self.block.extend_from_slice(&record.hash.to_le_bytes());
        self.block.extend_from_slice(&record.location.0.to_le_bytes());
        self.records += 1;
        self.last_hash = record.hash;
        if self.block.len() == BLOCK_RECORDS * RECORD_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SourceError> {
        let count = (self.block.len() / RECORD_BYTES) as u64;
        self.block.resize(BLOCK_RECORDS * RECORD_BYTES, 0);
        self.block.extend_from_slice(&count.to_le_bytes());
        self.written += 1;
        let sum = checksum(&self.block, self.written, self.fingerprint);
        self.block.extend_from_slice(&sum.to_le_bytes());
        self.writer.write_all(&self.block)?;
        self.fence.extend_from_slice(&self.last_hash.to_le_bytes());
        self.block.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<(), SourceError> {
        if !self.block.is_empty() {
            self.flush()?;
        }
        self.writer.write_all(&self.fence)?;
        self.writer.write_all(&fence_checksum(&self.fence, self.fingerprint).to_le_bytes())?;
        let mut header = Vec::with_capacity(BLOCK_BYTES);
        header.extend_from_slice(MAGIC);
        for number in [u64::from(VERSION), self.written, self.fingerprint, self.records] {
            header.extend_from_slice(&number.to_le_bytes());
        }
        header.resize(CHECKED_BYTES, 0);
        let sum = checksum(&header, 0, self.fingerprint);
        header.extend_from_slice(&sum.to_le_bytes());
        self.writer.seek(SeekFrom::Start(0))?;
        self.writer.write_all(&header)?;
        self.writer.flush()?;
        Ok(())
    }
}
