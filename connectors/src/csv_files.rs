//! CSV files as a table: header row, columns by name, every cell text until it fits its item.
//!
//! INVARIANT: a record with more or fewer cells than the header reads as all nulls: nobody can tell which cell is which,
//! and a shifted cell would show one item under the name (and the mask) of another.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions, StringBuilder},
    datatypes::{DataType, SchemaRef},
};
use catalog::{Faults, Resource};
use datafusion::{
    catalog::Session,
    error::{DataFusionError, Result as PlanResult},
    physical_plan::{ExecutionPlan, stream::RecordBatchReceiverStream},
};

use crate::{
    SourceError, SourceLimits,
    csv_records::Records,
    fit,
    place::Place,
    plan::{Open, SourceExec},
    unfit::Unfit,
};

const BATCH_ROWS: usize = 8_192;
/// Text in one batch before it is sent on with fewer rows.
const BATCH_BYTES: usize = 4 << 20;
/// Batches in flight between the reading thread and the plan.
const BATCHES_AHEAD: usize = 2;

#[derive(Debug)]
pub(crate) struct CsvFiles {
    places: Vec<Place>,
    resource: Arc<Resource>,
    schema: SchemaRef,
    unfit: Arc<Unfit>,
    limits: SourceLimits,
}

impl CsvFiles {
    /// Reads all headers and compares them with the items. Blocking.
    pub(crate) fn mount(
        resource: Arc<Resource>,
        places: Vec<Place>,
        unfit: Arc<Unfit>,
        limits: &SourceLimits,
    ) -> Result<Self, SourceError> {
        let mut faults = Faults::default();
        let mut headers = Vec::with_capacity(places.len());
        for place in &places {
            headers.push(Records::open(place, limits)?.header);
        }
        for (number, item) in resource.items.iter().enumerate() {
            let column = item.source_column();
            if fit::route(&DataType::Utf8, item.item_type).is_none() {
                faults.add(
                    format!("/items/{number}/type"),
                    format!("a CSV file cannot hold `{:?}`; bind Parquet or SQLite", item.item_type),
                );
            }
            let times = |header: &Vec<String>| header.iter().filter(|name| *name == column).count();
            if headers.iter().any(|header| times(header) == 0) {
                faults.add(
                    format!("/items/{number}/column"),
                    format!("column `{column}` is not in the header row; name one that is"),
                );
            } else if headers.iter().any(|header| times(header) > 1) {
                faults.add(
                    format!("/items/{number}/column"),
                    format!("column `{column}` is in the header row twice; rename one"),
                );
            }
        }
        faults.or(()).map_err(SourceError::Mismatch)?;
        Ok(Self { places, schema: resource.schema(), resource, unfit, limits: limits.clone() })
    }

    pub(crate) fn scan(
        self: &Arc<Self>,
        session: &dyn Session,
        items: Vec<usize>,
        limit: Option<usize>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let schema = Arc::new(self.schema.project(&items)?);
        let partitions = self.places.len().min(session.config().target_partitions()).max(1);
        let (files, batch_schema) = (Arc::clone(self), Arc::clone(&schema));
        let open: Arc<Open> = Arc::new(move |partition, _| {
            let mut stream = RecordBatchReceiverStream::builder(Arc::clone(&batch_schema), BATCHES_AHEAD);
            let sender = stream.tx();
            let (files, items, schema) = (Arc::clone(&files), items.clone(), Arc::clone(&batch_schema));
            stream.spawn_blocking(move || {
                let mut left = limit.unwrap_or(usize::MAX);
                for place in files.places.iter().skip(partition).step_by(partitions) {
                    let read = files.read(place, &items, &schema, &mut |batch| {
                        let batch = if batch.num_rows() > left { batch.slice(0, left) } else { batch };
                        left -= batch.num_rows();
                        // Nobody listens any more: the plan was dropped.
                        Ok(sender.blocking_send(Ok(batch)).is_ok() && left > 0)
                    });
                    if !read.map_err(SourceError::into_plan_error)? {
                        break;
                    }
                }
                Ok::<(), DataFusionError>(())
            });
            Ok(stream.build())
        });
        Ok(Arc::new(SourceExec::new("csv", schema, partitions, open)))
    }

    /// Hands the rows of one file to `take` in batches of `items`, until it says stop. Blocking.
    fn read(
        &self,
        place: &Place,
        items: &[usize],
        schema: &SchemaRef,
        take: &mut dyn FnMut(RecordBatch) -> Result<bool, SourceError>,
    ) -> Result<bool, SourceError> {
        let mut records = Records::open(place, &self.limits)?;
        let width = records.header.len();
        let mut cells = Vec::with_capacity(items.len());
        for item in items {
            let column = self.resource.items.get(*item).map(|item| item.source_column());
            let at = records.header.iter().position(|name| Some(name.as_str()) == column);
            cells.push(at.ok_or(SourceError::Changed)?);
        }
        let mut batch = TextBatch::new(items.len());
        loop {
            let record = records.next()?;
            let end = record.is_none();
            if let Some(record) = record {
                if record.len() == width {
                    batch.push(cells.iter().map(|cell| record.get(*cell).unwrap_or_default()));
                } else {
                    self.unfit.add_ragged(1);
                    batch.push_nulls();
                }
            }
            if batch.rows > 0 && (end || batch.full()) {
                let fitted = self.fit(&mut batch, items, schema)?;
                if !take(fitted)? {
                    return Ok(false);
                }
            }
            if end {
                return Ok(true);
            }
        }
    }

    fn fit(
        &self,
        batch: &mut TextBatch,
        items: &[usize],
        schema: &SchemaRef,
    ) -> Result<RecordBatch, SourceError> {
        let rows = batch.rows;
        let mut columns = Vec::with_capacity(items.len());
        for ((text, number), invalid) in batch.finish().into_iter().zip(items).zip(batch.invalid.iter_mut()) {
            let item = self.resource.items.get(*number).ok_or(SourceError::Changed)?;
            let (column, unfit) = fit::fit(&text, item.item_type)?;
            self.unfit.add(*number, unfit + std::mem::take(invalid));
            columns.push(column);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
    }

    /// Hands the rows of all files, in their order and with all items, to `take`. Blocking.
    pub(crate) fn read_all(
        &self,
        take: &mut dyn FnMut(RecordBatch) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        let items: Vec<usize> = (0..self.resource.items.len()).collect();
        for place in &self.places {
            self.read(place, &items, &self.schema, &mut |batch| take(batch).map(|()| true))?;
        }
        Ok(())
    }
}

/// Text cells of the columns asked, until they are fitted.
struct TextBatch {
    columns: Vec<StringBuilder>,
    /// Cells that are not UTF-8, by column.
    invalid: Vec<u64>,
    rows: usize,
    bytes: usize,
}

impl TextBatch {
    fn new(columns: usize) -> Self {
        Self {
            columns: (0..columns).map(|_| StringBuilder::new()).collect(),
            invalid: vec![0; columns],
            rows: 0,
            bytes: 0,
        }
    }

    fn push<'a>(&mut self, cells: impl Iterator<Item = &'a [u8]>) {
        for ((column, invalid), cell) in self.columns.iter_mut().zip(&mut self.invalid).zip(cells) {
            // An empty cell is null: CSV has no other way to say it.
            match std::str::from_utf8(cell) {
                Ok("") => column.append_null(),
                Ok(text) => column.append_value(text),
                Err(_) => {
                    *invalid += 1;
                    column.append_null();
                }
            }
            self.bytes += cell.len();
        }
        self.rows += 1;
    }

    fn push_nulls(&mut self) {
        self.columns.iter_mut().for_each(StringBuilder::append_null);
        self.rows += 1;
    }

    fn full(&self) -> bool {
        self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        self.rows = 0;
        self.bytes = 0;
        self.columns.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef).collect()
    }
}
