//! How many rows of a batch are given on at once: views and dictionaries can show the same bytes over and over.
//!
//! INVARIANT: before text is written out, its length was counted against the ceiling of a row and of a batch.

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    datatypes::DataType,
};

use crate::SourceError;

const BATCH_ROWS: usize = 8_192;
/// Text in one batch before it is sent on with fewer rows.
const BATCH_BYTES: usize = 4 << 20;

/// Rows from `from` on that are given on together; at least one.
pub(super) fn cut(batch: &RecordBatch, from: usize, row_bytes_max: usize) -> Result<usize, SourceError> {
    let rows = BATCH_ROWS.min(batch.num_rows().saturating_sub(from));
    let mut lengths = vec![0_usize; rows];
    for column in batch.columns() {
        add(&column.slice(from, rows), &mut lengths);
    }
    let mut total = 0_usize;
    for (row, length) in lengths.into_iter().enumerate() {
        if length > row_bytes_max {
            return Err(SourceError::TooLarge(format!("a row above {row_bytes_max} bytes")));
        }
        total = total.saturating_add(length);
        if total > BATCH_BYTES && row > 0 {
            return Ok(row);
        }
    }
    Ok(rows)
}

/// Adds the length of every cell of text or bytes.
fn add(column: &ArrayRef, lengths: &mut [usize]) {
    match column.data_type() {
        DataType::Utf8 => spans(column.as_string::<i32>().value_offsets(), lengths),
        DataType::Binary => spans(column.as_binary::<i32>().value_offsets(), lengths),
        DataType::LargeUtf8 => spans(column.as_string::<i64>().value_offsets(), lengths),
        DataType::LargeBinary => spans(column.as_binary::<i64>().value_offsets(), lengths),
        // The first four bytes of a view are the length.
        DataType::Utf8View => views(column.as_string_view().views(), lengths),
        DataType::BinaryView => views(column.as_binary_view().views(), lengths),
        DataType::FixedSizeBinary(size) => {
            let size = usize::try_from(*size).unwrap_or(usize::MAX);
            lengths.iter_mut().for_each(|length| *length = length.saturating_add(size));
        }
        DataType::Dictionary(..) => {
            let dictionary = column.as_any_dictionary();
            let values = dictionary.values();
            if values.is_empty() {
                return;
            }
            let mut sizes = vec![0; values.len()];
            add(values, &mut sizes);
            // Keys of null cells are brought into range.
            let keys = dictionary.normalized_keys();
            for (row, (length, key)) in lengths.iter_mut().zip(keys).enumerate() {
                if column.is_valid(row) {
                    *length = length.saturating_add(sizes.get(key).copied().unwrap_or(0));
                }
            }
        }
        _ => {}
    }
}

fn spans<T: Copy + TryInto<usize>>(offsets: &[T], lengths: &mut [usize]) {
    let offset = |at: &T| (*at).try_into().unwrap_or(usize::MAX);
    for (length, pair) in lengths.iter_mut().zip(offsets.windows(2)) {
        if let [start, end] = pair {
            *length = length.saturating_add(offset(end).saturating_sub(offset(start)));
        }
    }
}

fn views(views: &[u128], lengths: &mut [usize]) {
    for (length, view) in lengths.iter_mut().zip(views) {
        *length = length.saturating_add(*view as u32 as usize);
    }
}
