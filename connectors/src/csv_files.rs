//! CSV files as a table: header row, columns by name, every cell text until it fits its item.
//!
//! INVARIANT: a record with more or fewer cells than the header reads as all nulls: nobody can tell which cell is which,
//! and a shifted cell would show one item under the name (and the mask) of another.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use catalog::{Faults, Resource};

use crate::{
    SourceError, SourceLimits,
    csv_records::Records,
    place::Place,
    scanned::{Format, Memory, ScannedFiles, Take},
    text_batch::{TextBatch, check_types},
    unfit::Unfit,
};

#[derive(Debug)]
struct Csv {
    resource: Arc<Resource>,
    unfit: Arc<Unfit>,
    limits: SourceLimits,
}

/// Reads all headers and compares them with the items. Blocking.
pub(crate) fn mount(
    resource: Arc<Resource>,
    places: Vec<Place>,
    unfit: Arc<Unfit>,
    limits: &SourceLimits,
) -> Result<ScannedFiles, SourceError> {
    let mut faults = Faults::default();
    let mut headers = Vec::with_capacity(places.len());
    for place in &places {
        headers.push(Records::open(place, limits)?.header);
    }
    check_types(&resource, "CSV", &mut faults);
    for (number, item) in resource.items.iter().enumerate() {
        let column = item.source_column();
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
    let schema = resource.schema();
    Ok(ScannedFiles::new(Box::new(Csv { resource, unfit, limits: limits.clone() }), places, schema))
}

impl Format for Csv {
    fn name(&self) -> &'static str {
        "csv"
    }

    fn read(
        &self,
        place: &Place,
        items: &[usize],
        schema: &SchemaRef,
        _memory: &Memory,
        take: &mut Take<'_>,
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
                    for (column, cell) in cells.iter().enumerate() {
                        // An empty cell is null: CSV has no other way to say it.
                        match std::str::from_utf8(record.get(*cell).unwrap_or_default()) {
                            Ok("") => batch.put(column, None),
                            Ok(text) => batch.put(column, Some(text)),
                            Err(_) => batch.put_unfit(column),
                        }
                    }
                    batch.end_row();
                } else {
                    self.unfit.add_ragged(1);
                    batch.put_nulls();
                }
            }
            if batch.rows() > 0
                && (end || batch.full())
                && !take(batch.fit(&self.resource, items, schema, &self.unfit)?)?
            {
                return Ok(false);
            }
            if end {
                return Ok(true);
            }
        }
    }
}
