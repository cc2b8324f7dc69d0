//! Batches cut anew above the barrier: where one ends and the next begins is told by visible rows alone.
//!
//! A source's batches end where its own pages, row groups and hidden rows make them end. An Arrow answer would show that,
//! and sorts, joins and sums of floats above would let it be seen in the order of ties and in last digits.
//! INVARIANT: the sizes of the batches that leave are a function of the visible rows in their order.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::BatchCoalescer;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion_common::Result;

use crate::barrier::BarrierFault;

/// Rows of a batch that leaves: what the engine itself makes them by default.
pub(super) const ROWS_MAX: usize = 8_192;
/// Bytes of texts and binary values after which a batch ends with its row, so that few large cells do not add up.
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// Collects governed pieces and gives them out in cut batches.
pub(super) struct Cutter {
    buffer: BatchCoalescer,
    rows_max: usize,
    rows: usize,
    bytes: usize,
}

impl Cutter {
    /// `limit`: rows after which nobody asks for more, so that they need not wait for a full batch.
    pub(super) fn new(schema: SchemaRef, limit: Option<usize>) -> Self {
        let rows_max = limit.unwrap_or(ROWS_MAX).clamp(1, ROWS_MAX);
        Self { buffer: BatchCoalescer::new(schema, rows_max), rows_max, rows: 0, bytes: 0 }
    }

    pub(super) fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut from = 0;
        while from < batch.num_rows() {
            let most = (batch.num_rows() - from).min(self.rows_max.saturating_sub(self.rows).max(1));
            let rows = fitting(&batch.slice(from, most), BYTES_MAX.saturating_sub(self.bytes));
            let piece = batch.slice(from, rows);
            self.rows += rows;
            self.bytes = self.bytes.saturating_add(bytes(&piece));
            from += rows;
            self.buffer.push_batch(piece).map_err(|_| BarrierFault::Shape.sealed())?;
            if self.rows >= self.rows_max || self.bytes >= BYTES_MAX {
                self.finish()?;
            }
        }
        Ok(())
    }

    /// Ends the batch that is being collected.
    pub(super) fn finish(&mut self) -> Result<()> {
        (self.rows, self.bytes) = (0, 0);
        self.buffer.finish_buffered_batch().map_err(|_| BarrierFault::Shape.sealed())
    }

    pub(super) fn next(&mut self) -> Option<RecordBatch> {
        self.buffer.next_completed_batch()
    }
}

/// Rows up to the one that fills `room`; all of them where none does.
fn fitting(batch: &RecordBatch, room: usize) -> usize {
    if bytes(batch) < room {
        return batch.num_rows();
    }
    let mut sum = 0_usize;
    for row in 0..batch.num_rows() {
        sum = sum.saturating_add(bytes(&batch.slice(row, 1)));
        if sum >= room {
            return row + 1;
        }
    }
    batch.num_rows()
}

/// Bytes of texts and binary values; the other types have a size of their own.
fn bytes(batch: &RecordBatch) -> usize {
    let span = |offsets: &[i32]| match (offsets.first(), offsets.last()) {
        (Some(first), Some(last)) => usize::try_from(last - first).unwrap_or(0),
        _ => 0,
    };
    let of = |array: &dyn Array| match array.data_type() {
        DataType::Utf8 => array.as_string_opt::<i32>().map_or(0, |texts| span(texts.value_offsets())),
        DataType::Binary => array.as_binary_opt::<i32>().map_or(0, |cells| span(cells.value_offsets())),
        _ => 0,
    };
    batch.columns().iter().map(|array| of(array.as_ref())).sum()
}
