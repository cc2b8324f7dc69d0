//! Text of a Parquet file, bounded before it is written out.
//!
//! A dictionary says a long value by a number of a few bits, so a small file can unpack to any size, and no footer tells.
//! Text is therefore decoded into views, which share the dictionary's bytes, measured, and only then written out.
//!
//! INVARIANT: no cell above the ceiling and no batch above [`BATCH_BYTES_MAX`] of text leaves a scan or goes into a row store.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Schema, SchemaRef};

use crate::SourceError;

/// Text and bytes of one batch, written out; a single row may be larger, up to a cell's ceiling a column.
pub(super) const BATCH_BYTES_MAX: usize = 16 << 20;

/// The same columns, text and bytes as views.
pub(super) fn as_views(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| {
        let kind = match field.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
            DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
            other => other.clone(),
        };
        field.as_ref().clone().with_data_type(kind)
    });
    Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone()))
}

/// Bytes of each cell of a view column; none for columns of fixed width.
fn lengths(column: &ArrayRef) -> Option<impl Iterator<Item = usize>> {
    let views = match column.data_type() {
        DataType::Utf8View => column.as_string_view().views(),
        DataType::BinaryView => column.as_binary_view().views(),
        _ => return None,
    };
    // The lowest 32 bits of a view are its length; a null's view is empty.
    Some(views.iter().map(|view| *view as u32 as usize))
}

/// The batch in parts whose text can be written out; mostly the batch itself.
pub(super) fn parts(batch: RecordBatch, cell_bytes_max: usize) -> Result<Vec<RecordBatch>, SourceError> {
    let mut total: usize = 0;
    for length in batch.columns().iter().filter_map(lengths).flatten() {
        if length > cell_bytes_max {
            return Err(SourceError::TooLarge(format!("a cell above {cell_bytes_max} bytes")));
        }
        total = total.saturating_add(length);
    }
    if total <= BATCH_BYTES_MAX {
        return Ok(vec![batch]);
    }
    let mut of_row = vec![0_usize; batch.num_rows()];
    for column in batch.columns() {
        for (sum, length) in of_row.iter_mut().zip(lengths(column).into_iter().flatten()) {
            *sum += length;
        }
    }
    let (mut parts, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (row, length) in of_row.into_iter().enumerate() {
        if row > start && bytes + length > BATCH_BYTES_MAX {
            parts.push(batch.slice(start, row - start));
            (start, bytes) = (row, 0);
        }
        bytes += length;
    }
    parts.push(batch.slice(start, batch.num_rows() - start));
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringViewArray};

    use super::*;

    fn batch(cells: usize, bytes: usize) -> RecordBatch {
        let text = "x".repeat(bytes);
        let column: StringViewArray = (0..cells).map(|row| (row % 3 > 0).then_some(text.as_str())).collect();
        let numbers = Int64Array::from_iter_values(0..cells as i64);
        RecordBatch::try_from_iter([
            ("n", Arc::new(numbers) as ArrayRef),
            ("c", Arc::new(column) as ArrayRef),
        ])
        .expect("a batch")
    }

    #[test]
    fn large_text_comes_in_parts_and_a_huge_cell_not_at_all() {
        assert_eq!(parts(batch(100, 10), 1 << 20).map(|parts| parts.len()).ok(), Some(1));
        let whole = batch(300, 1 << 18);
        let found = parts(whole.clone(), 1 << 20).expect("parts");
        assert_eq!(found.len(), 4, "200 cells of 256 KiB");
        let joined = arrow::compute::concat_batches(&whole.schema(), &found).expect("a batch");
        assert_eq!(joined, whole);
        for part in &found {
            let bytes: usize = part.columns().iter().filter_map(lengths).flatten().sum();
            assert!(bytes <= BATCH_BYTES_MAX);
        }
        let fault = parts(batch(3, (1 << 20) + 1), 1 << 20).expect_err("a huge cell");
        assert!(matches!(fault, SourceError::TooLarge(_)));
    }
}
