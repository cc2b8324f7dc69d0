//! Reads of one opened Parquet file, for the scan (async) and for look-ups (blocking), both by `pread`.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    ops::Range,
    os::unix::fs::FileExt,
    sync::Arc,
};

use bytes::Bytes;
use datafusion::{
    datasource::{listing::PartitionedFile, physical_plan::ParquetFileReaderFactory},
    error::DataFusionError,
    physical_plan::metrics::ExecutionPlanMetricsSet,
};
use futures::{FutureExt, future::BoxFuture};
use parquet::{
    arrow::{arrow_reader::ArrowReaderOptions, async_reader::AsyncFileReader},
    errors::{ParquetError, Result},
    file::{
        metadata::ParquetMetaData,
        reader::{ChunkReader, Length},
    },
};

use super::MountedFile;
use crate::{SourceError, place::FileIdentity};

/// An opened file with its footer; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct OpenFile {
    file: Arc<File>,
    identity: FileIdentity,
    metadata: Arc<ParquetMetaData>,
}

impl OpenFile {
    pub(super) fn new(file: File, identity: FileIdentity, metadata: Arc<ParquetMetaData>) -> Self {
        Self { file: Arc::new(file), identity, metadata }
    }

    /// Reads a range; the identity is compared after the read, so bytes written over meanwhile are not used.
    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let length = range.end.checked_sub(range.start);
        let length = length.filter(|_| range.end <= self.identity.bytes);
        let length = length.and_then(|length| usize::try_from(length).ok());
        let length =
            length.ok_or_else(|| ParquetError::EOF("a range beyond the end of the file".to_owned()))?;
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, range.start)?;
        if FileIdentity::of(&self.file.metadata()?) != self.identity {
            return Err(ParquetError::External(Box::new(SourceError::Changed)));
        }
        Ok(bytes.into())
    }
}

impl AsyncFileReader for OpenFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        let file = self.clone();
        off_thread(move || file.read(range))
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        let file = self.clone();
        off_thread(move || ranges.into_iter().map(|range| file.read(range)).collect())
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        futures::future::ready(Ok(Arc::clone(&self.metadata))).boxed()
    }
}

fn off_thread<T: Send + 'static>(
    read: impl FnOnce() -> Result<T> + Send + 'static,
) -> BoxFuture<'static, Result<T>> {
    async move {
        let joined = tokio::task::spawn_blocking(read).await;
        joined.map_err(|join| ParquetError::General(join.to_string()))?
    }
    .boxed()
}

impl Length for OpenFile {
    fn len(&self) -> u64 {
        self.identity.bytes
    }
}

/// A position of its own: clones of a `File` share theirs, and look-ups run side by side.
pub(crate) struct At {
    file: Arc<File>,
    position: u64,
}

impl Read for At {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(into, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl ChunkReader for OpenFile {
    type T = BufReader<At>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        Ok(BufReader::new(At { file: Arc::clone(&self.file), position: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let end = start.checked_add(length as u64);
        self.read(
            start..end.ok_or_else(|| ParquetError::EOF("a range beyond the end of the file".to_owned()))?,
        )
    }
}

/// Hands each file of a scan its own reader; paths in the plan mean nothing.
#[derive(Debug)]
pub(crate) struct Readers;

impl ParquetFileReaderFactory for Readers {
    fn create_reader(
        &self,
        _partition: usize,
        file: PartitionedFile,
        _footer_bytes_hint: Option<usize>,
        _metrics: &ExecutionPlanMetricsSet,
    ) -> datafusion::error::Result<Box<dyn AsyncFileReader + Send>> {
        let mounted = file
            .extension::<Arc<MountedFile>>()
            .ok_or_else(|| DataFusionError::Internal("a file that was not mounted".to_owned()))?;
        let open = mounted.open().map_err(SourceError::into_plan_error)?;
        Ok(Box::new(open))
    }
}
