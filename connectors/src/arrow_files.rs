//! Arrow IPC files and streams as a table: columns by name, one record batch in memory at a time.
//!
//! INVARIANT: nothing is allocated by a number a file claims before that number was held against its ceiling.
//! INVARIANT: a file is read, never mapped: one that shrinks under us is a short read, not a signal.
//! INVARIANT: batches given out share no memory with the file's own: what a filter drops is not kept alive by the rest.

mod batches;
mod cut;
mod messages;
mod unpack;

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, MutableArrayData, RecordBatch, RecordBatchOptions, make_array},
    datatypes::{Field, Schema, SchemaRef},
};
use catalog::{Faults, Resource};

use self::{batches::Batches, cut::cut};
use crate::{
    SourceError, SourceLimits, fit,
    place::Place,
    scanned::{Format, Memory, ScannedFiles, Take},
    source_column::source_column,
    unfit::Unfit,
};

#[derive(Debug)]
struct Arrow {
    resource: Arc<Resource>,
    /// For each item its column, with the type it has in every file.
    columns: Vec<Field>,
    unfit: Arc<Unfit>,
    limits: SourceLimits,
}

/// Reads all schemas and compares their columns with the items. Blocking.
pub(crate) fn mount(
    resource: Arc<Resource>,
    places: Vec<Place>,
    unfit: Arc<Unfit>,
    limits: &SourceLimits,
) -> Result<ScannedFiles, SourceError> {
    let opened = places.iter().map(|place| Ok(Batches::open(place, limits)?.schema));
    let schemas = opened.collect::<Result<Vec<SchemaRef>, SourceError>>()?;
    let mut faults = Faults::default();
    let columns = (0..resource.items.len())
        .filter_map(|number| source_column(&resource, number, &schemas, &mut faults))
        .collect();
    faults.or(()).map_err(SourceError::Mismatch)?;
    let schema = resource.schema();
    let format = Arrow { resource, columns, unfit, limits: limits.clone() };
    Ok(ScannedFiles::new(Box::new(format), places, schema))
}

impl Format for Arrow {
    fn name(&self) -> &'static str {
        "arrow"
    }

    fn read(
        &self,
        place: &Place,
        items: &[usize],
        schema: &SchemaRef,
        memory: &Memory,
        take: &mut Take<'_>,
    ) -> Result<bool, SourceError> {
        let mut batches = Batches::open(place, &self.limits)?;
        let (projection, columns) = self.project(&batches.schema, items)?;
        batches.project(projection)?;
        while let Some(batch) = batches.next(memory)? {
            let mut from = 0;
            while from < batch.num_rows() {
                let rows = cut(&batch, from, self.limits.line_bytes_max)?;
                let fitted = self.fit(&batch.slice(from, rows), items, &columns, schema)?;
                from += rows;
                if !take(fitted)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

impl Arrow {
    /// The columns of the file that `items` need, each once, and where among them each item has its own.
    fn project(&self, file: &Schema, items: &[usize]) -> Result<(Vec<usize>, Vec<usize>), SourceError> {
        let mut projection: Vec<usize> = Vec::new();
        let mut columns = Vec::with_capacity(items.len());
        for number in items {
            let column = self.columns.get(*number).ok_or(SourceError::Changed)?;
            let at = file.index_of(column.name())?;
            if file.field(at).data_type() != column.data_type() {
                return Err(SourceError::Changed);
            }
            let known = projection.iter().position(|known| *known == at);
            columns.push(known.unwrap_or(projection.len()));
            if known.is_none() {
                projection.push(at);
            }
        }
        Ok((projection, columns))
    }

    fn fit(
        &self,
        slice: &RecordBatch,
        items: &[usize],
        columns: &[usize],
        schema: &SchemaRef,
    ) -> Result<RecordBatch, SourceError> {
        let mut fitted = Vec::with_capacity(items.len());
        for (number, column) in items.iter().zip(columns) {
            let item = self.resource.items.get(*number).ok_or(SourceError::Changed)?;
            let source = slice.columns().get(*column).ok_or(SourceError::Changed)?;
            let (column, unfit) = fit::fit(source, item.item_type)?;
            self.unfit.add(*number, unfit);
            fitted.push(if source.data_type() == column.data_type() { copied(&column)? } else { column });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(slice.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(schema), fitted, &options)?)
    }
}

/// The same values in memory of their own.
fn copied(slice: &ArrayRef) -> Result<ArrayRef, SourceError> {
    let data = slice.to_data();
    let mut copy = MutableArrayData::new(vec![&data], false, data.len());
    copy.try_extend(0, 0, data.len())?;
    Ok(make_array(copy.freeze()))
}
