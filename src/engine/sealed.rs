//! Rows and bytes that nobody may see yet: they leave only with the durable entry in hand.
//!
//! INVARIANT: private fields; the only ways out are [`SealedBody::release`] and [`SealedBody::stream`], and both take a
//! `Recorded` of the same receipt.

use aws_lc_rs::digest::{Context, SHA256};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use tokio::sync::mpsc;

use super::encode::{Encoder, Format};
use crate::audit::Recorded;
use crate::error::Error;

/// Stops the engine's work when nobody waits for it.
pub(super) struct AbortOnDrop(pub(super) tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Governed rows on their way.
pub struct Sealed {
    schema: SchemaRef,
    rows: mpsc::Receiver<Result<RecordBatch, Error>>,
    _work: Option<AbortOnDrop>,
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealed")
    }
}

/// Ceilings of one answer.
#[derive(Debug, Clone, Copy)]
pub struct Ceilings {
    pub rows_max: u64,
    pub held_bytes_max: usize,
    pub stream_bytes_max: u64,
}

impl Sealed {
    pub(super) fn new(
        schema: SchemaRef,
        rows: mpsc::Receiver<Result<RecordBatch, Error>>,
        work: Option<AbortOnDrop>,
    ) -> Self {
        Self { schema, rows, _work: work }
    }

    /// Rows that are all there already, as a look-up makes them.
    pub(super) fn ready(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        let (sender, rows) = mpsc::channel(batches.len().max(1));
        for batch in batches {
            // The channel holds as many as there are.
            let _sent = sender.try_send(Ok(batch));
        }
        Self { schema, rows, _work: None }
    }

    /// Encodes until the answer is whole or larger than what is held.
    pub async fn encode(
        mut self,
        format: Format,
        receipt: &str,
        ceilings: Ceilings,
    ) -> Result<SealedBody, Error> {
        let (mut encoder, head) =
            Encoder::start(format, &self.schema).map_err(|_cause| Error::ExpressionFailed)?;
        let mut body = SealedBody {
            receipt: receipt.to_owned(),
            ceilings,
            rows: 0,
            bytes: head.len() as u64,
            digest: Context::new(&SHA256),
            waiting: head,
            rest: None,
        };
        body.digest.update(&body.waiting);
        while let Some(batch) = self.rows.recv().await {
            body.add(&mut encoder, &batch?)?;
            if body.waiting.len() > ceilings.held_bytes_max {
                body.rest = Some((encoder, self));
                return Ok(body);
            }
        }
        body.end(encoder)?;
        Ok(body)
    }
}

/// Encoded rows: the whole answer when it is held, its first part when it streams.
pub struct SealedBody {
    receipt: String,
    ceilings: Ceilings,
    rows: u64,
    bytes: u64,
    digest: Context,
    waiting: Vec<u8>,
    rest: Option<(Encoder, Sealed)>,
}

impl std::fmt::Debug for SealedBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedBody")
            .field("rows", &self.rows)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl SealedBody {
    /// Whether the whole answer is here; otherwise it must stream.
    pub fn whole(&self) -> bool {
        self.rest.is_none()
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// SHA-256 over the bytes so far, before any content coding.
    pub fn digest(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.digest.clone().finish().as_ref());
        bytes
    }

    /// The bytes of a held answer, against its durable entry.
    pub fn release(self, recorded: &Recorded) -> Result<Vec<u8>, Error> {
        if recorded.receipt() == self.receipt && self.rest.is_none() {
            Ok(self.waiting)
        } else {
            Err(Error::RecordUnavailable)
        }
    }

    /// The bytes of an answer that streams, against the durable entry of its intent.
    pub fn stream(self, recorded: &Recorded) -> Result<Chunks, Error> {
        if recorded.receipt() == self.receipt { Ok(Chunks(self)) } else { Err(Error::RecordUnavailable) }
    }

    fn add(&mut self, encoder: &mut Encoder, batch: &RecordBatch) -> Result<(), Error> {
        self.rows += batch.num_rows() as u64;
        if self.rows > self.ceilings.rows_max {
            return Err(Error::TooManyRows { max: self.ceilings.rows_max, unit: "rows" });
        }
        let chunk = encoder.batch(batch).map_err(|_cause| Error::ExpressionFailed)?;
        self.put(&chunk)
    }

    fn end(&mut self, encoder: Encoder) -> Result<(), Error> {
        let tail = encoder.finish(&self.receipt).map_err(|_cause| Error::ExpressionFailed)?;
        self.put(&tail)
    }

    fn put(&mut self, chunk: &[u8]) -> Result<(), Error> {
        self.bytes += chunk.len() as u64;
        if self.bytes > self.ceilings.stream_bytes_max {
            return Err(Error::TooManyRows { max: self.ceilings.stream_bytes_max, unit: "bytes" });
        }
        self.digest.update(chunk);
        self.waiting.extend_from_slice(chunk);
        Ok(())
    }
}

/// The chunks of a streaming answer; the last one is given out only by [`Chunks::last`].
pub struct Chunks(SealedBody);

impl Chunks {
    pub fn body(&self) -> &SealedBody {
        &self.0
    }

    /// The next chunk, or none when only the last is left.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            if self.0.rest.is_none() {
                return Ok(None);
            }
            let chunk = std::mem::take(&mut self.0.waiting);
            if !chunk.is_empty() {
                return Ok(Some(chunk));
            }
            self.advance().await?;
        }
    }

    async fn advance(&mut self) -> Result<(), Error> {
        let Some((mut encoder, mut rows)) = self.0.rest.take() else { return Ok(()) };
        match rows.rows.recv().await {
            Some(batch) => {
                self.0.add(&mut encoder, &batch?)?;
                self.0.rest = Some((encoder, rows));
                Ok(())
            }
            None => self.0.end(encoder),
        }
    }

    /// The last chunk, against the durable entry of the outcome.
    pub fn last(self, closed: &Recorded) -> Result<Vec<u8>, Error> {
        self.0.release(closed)
    }
}
