//! JSON files as a table: one object a record, members by name, every cell text until it fits its item.
//!
//! INVARIANT: a member that stands twice in a record is an error: which of the two counts would be a guess.
//! A member that is not there reads null, as JSON is written; one that is an object or a list reads null and is counted.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use arrow::datatypes::SchemaRef;
use catalog::{Faults, ItemType, Resource};

use crate::{
    SourceError, SourceLimits,
    json_record::{Cell, Fault, members},
    json_records::Records,
    place::Place,
    scanned::{Format, Memory, ScannedFiles, Take},
    text_batch::{TextBatch, check_types},
    unfit::Unfit,
};

/// What a mount reads of each file to see which members there are.
const SAMPLE_RECORDS: u64 = 1_000;
const SAMPLE_BYTES: usize = 1 << 20;

const TWICE: Fault = "has a member twice";
const TOO_MANY: Fault = "has too many members";

#[derive(Debug)]
struct Json {
    resource: Arc<Resource>,
    unfit: Arc<Unfit>,
    limits: SourceLimits,
}

/// Reads the beginning of every file and compares its members with the items. Blocking.
pub(crate) fn mount(
    resource: Arc<Resource>,
    places: Vec<Place>,
    unfit: Arc<Unfit>,
    limits: &SourceLimits,
) -> Result<ScannedFiles, SourceError> {
    let mut faults = Faults::default();
    check_types(&resource, "JSON", &mut faults);
    let samples = places.iter().map(|place| sample(place, limits)).collect::<Result<Vec<_>, _>>()?;
    for (number, item) in resource.items.iter().enumerate() {
        let column = item.source_column();
        let fault = if samples.iter().any(|sample| sample.records > 0 && !sample.names.contains_key(column)) {
            format!("member `{column}` is in none of the first records; name one that is")
        } else if samples.iter().any(|sample| sample.names.get(column) == Some(&true)) {
            format!("member `{column}` holds objects or lists; name one that holds single values")
        } else {
            continue;
        };
        faults.add(format!("/items/{number}/column"), fault);
    }
    faults.or(()).map_err(SourceError::Mismatch)?;
    let schema = resource.schema();
    Ok(ScannedFiles::new(Box::new(Json { resource, unfit, limits: limits.clone() }), places, schema))
}

/// The members of the first records, and whether one of them was nested.
struct Sample {
    records: u64,
    names: HashMap<String, bool>,
}

fn sample(place: &Place, limits: &SourceLimits) -> Result<Sample, SourceError> {
    let mut records = Records::open(place, limits)?;
    let mut sample = Sample { records: 0, names: HashMap::new() };
    let mut bytes = 0;
    while sample.records < SAMPLE_RECORDS && bytes < SAMPLE_BYTES {
        let Some(record) = records.next()? else { break };
        bytes += record.len();
        sample.records += 1;
        let mut seen = HashSet::new();
        let read = members(record, |name, cell| {
            if seen.len() == limits.columns_max {
                return Err(TOO_MANY);
            }
            if !seen.insert(name.clone()) {
                return Err(TWICE);
            }
            *sample.names.entry(name.into_owned()).or_default() |= cell == Cell::Nested;
            Ok(())
        });
        read.map_err(|fault| judged(&records, fault, limits))?;
        if sample.names.len() > limits.columns_max {
            return Err(SourceError::TooLarge(format!("more than {} columns", limits.columns_max)));
        }
    }
    Ok(sample)
}

fn judged(records: &Records, fault: Fault, limits: &SourceLimits) -> SourceError {
    if fault == TOO_MANY {
        return SourceError::TooLarge(format!("more than {} members in one record", limits.columns_max));
    }
    records.damaged(fault)
}

/// The members of the record before, in their order, each once, with the columns it fills: most records are alike.
#[derive(Default)]
struct Layout(Vec<(String, Vec<usize>)>);

/// A cell for every column; none where the record is laid out otherwise.
type Row<'a> = Option<Vec<Cell<'a>>>;

impl Layout {
    /// Reads a record that has the members of the layout, from the first, in the same order.
    fn alike<'a>(&self, record: &'a [u8], width: usize) -> Result<Row<'a>, Fault> {
        let mut row = vec![Cell::Null; width];
        let (mut next, mut alike) = (0, true);
        members(record, |name, cell| {
            match self.0.get(next) {
                Some((expected, columns)) if alike && *expected == name => fill(&mut row, columns, cell),
                _ => alike = false,
            }
            next += 1;
            Ok(())
        })?;
        Ok(alike.then_some(row))
    }

    /// Reads any record and takes over its layout.
    fn anew<'a>(
        &mut self,
        record: &'a [u8],
        asked: &[&str],
        members_max: usize,
    ) -> Result<Vec<Cell<'a>>, Fault> {
        let mut row = vec![Cell::Null; asked.len()];
        let mut seen = HashSet::new();
        self.0.clear();
        members(record, |name, cell| {
            if seen.len() == members_max {
                return Err(TOO_MANY);
            }
            if !seen.insert(name.clone()) {
                return Err(TWICE);
            }
            let columns = asked.iter().enumerate().filter(|(_, asked)| **asked == name);
            let columns: Vec<usize> = columns.map(|(column, _)| column).collect();
            fill(&mut row, &columns, cell);
            self.0.push((name.into_owned(), columns));
            Ok(())
        })?;
        Ok(row)
    }
}

fn fill<'a>(row: &mut [Cell<'a>], columns: &[usize], cell: Cell<'a>) {
    for column in columns {
        row.get_mut(*column).into_iter().for_each(|place| *place = cell.clone());
    }
}

impl Format for Json {
    fn name(&self) -> &'static str {
        "json"
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
        let asked = items.iter().map(|item| self.resource.items.get(*item).ok_or(SourceError::Changed));
        let asked = asked.collect::<Result<Vec<_>, _>>()?;
        let names: Vec<&str> = asked.iter().map(|item| item.source_column()).collect();
        let mut layout = Layout::default();
        let mut batch = TextBatch::new(items.len());
        loop {
            let end = match records.next()? {
                Some(record) => {
                    let read = layout.alike(record, names.len()).and_then(|row| match row {
                        Some(row) => Ok(row),
                        None => layout.anew(record, &names, self.limits.columns_max),
                    });
                    let row = match read {
                        Ok(row) => row,
                        Err(fault) => return Err(judged(&records, fault, &self.limits)),
                    };
                    for (column, (cell, item)) in row.iter().zip(&asked).enumerate() {
                        put(&mut batch, column, cell, item.item_type);
                    }
                    batch.end_row();
                    false
                }
                None => true,
            };
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

fn put(batch: &mut TextBatch, column: usize, cell: &Cell<'_>, item: ItemType) {
    match cell {
        Cell::Null => batch.put(column, None),
        Cell::Text(text) => batch.put(column, Some(text)),
        Cell::Number(number) => batch.put(column, Some(number)),
        Cell::Boolean(value) if item == ItemType::Boolean => {
            batch.put(column, Some(if *value { "true" } else { "false" }));
        }
        Cell::Boolean(_) | Cell::Nested => batch.put_unfit(column),
    }
}
