//! Text cells of a file until they are fitted to their items: what CSV and JSON have in common.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions, StringBuilder},
    datatypes::{DataType, SchemaRef},
};
use catalog::{Faults, Resource};

use crate::{SourceError, fit, unfit::Unfit};

const BATCH_ROWS: usize = 8_192;
/// Text in one batch before it is sent on with fewer rows.
const BATCH_BYTES: usize = 4 << 20;

/// Cells of the columns asked, row by row.
pub(crate) struct TextBatch {
    columns: Vec<StringBuilder>,
    /// Cells that are no text of this format at all, by column.
    unfit: Vec<u64>,
    rows: usize,
    bytes: usize,
}

impl TextBatch {
    pub(crate) fn new(columns: usize) -> Self {
        Self {
            columns: (0..columns).map(|_| StringBuilder::new()).collect(),
            unfit: vec![0; columns],
            rows: 0,
            bytes: 0,
        }
    }

    /// The next cell of a column.
    pub(crate) fn put(&mut self, column: usize, cell: Option<&str>) {
        if let Some(column) = self.columns.get_mut(column) {
            column.append_option(cell);
        }
        self.bytes += cell.map_or(0, str::len);
    }

    /// The next cell of a column is null because it cannot be read.
    pub(crate) fn put_unfit(&mut self, column: usize) {
        self.put(column, None);
        if let Some(count) = self.unfit.get_mut(column) {
            *count += 1;
        }
    }

    /// Every column has its cell.
    pub(crate) fn end_row(&mut self) {
        self.rows += 1;
    }

    pub(crate) fn put_nulls(&mut self) {
        self.columns.iter_mut().for_each(StringBuilder::append_null);
        self.rows += 1;
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn full(&self) -> bool {
        self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }

    /// What is there as a batch of `items`, and begins anew.
    pub(crate) fn fit(
        &mut self,
        resource: &Resource,
        items: &[usize],
        schema: &SchemaRef,
        counts: &Unfit,
    ) -> Result<RecordBatch, SourceError> {
        let mut columns = Vec::with_capacity(items.len());
        for ((column, number), unread) in self.columns.iter_mut().zip(items).zip(&mut self.unfit) {
            let item = resource.items.get(*number).ok_or(SourceError::Changed)?;
            let text: ArrayRef = Arc::new(column.finish());
            let (column, unfit) = fit::fit(&text, item.item_type)?;
            counts.add(*number, unfit + std::mem::take(unread));
            columns.push(column);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(std::mem::take(&mut self.rows)));
        self.bytes = 0;
        Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
    }
}

/// The fault of every item that no text can be.
pub(crate) fn check_types(resource: &Resource, format: &str, faults: &mut Faults) {
    for (number, item) in resource.items.iter().enumerate() {
        if fit::route(&DataType::Utf8, item.item_type).is_none() {
            faults.add(
                format!("/items/{number}/type"),
                format!("a {format} file cannot hold `{:?}`; bind Parquet, Arrow or SQLite", item.item_type),
            );
        }
    }
}
