//! Rows of a department's database as Arrow columns: every cell fits its item or reads null and is counted.
//!
//! INVARIANT: a cell above `line_bytes_max` ends the reading; nothing larger goes into a batch.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float64Builder,
        Int64Builder, RecordBatch, RecordBatchOptions, StringBuilder, TimestampMicrosecondBuilder,
    },
    datatypes::{DataType, SchemaRef},
};
use catalog::{ItemType, Resource};

use crate::{SourceError, parse, unfit::Unfit};

const BATCH_ROWS: usize = 8_192;
/// Cells in one batch before it is sent on with fewer rows.
const BATCH_BYTES: usize = 4 << 20;
const DAY_US: i64 = 86_400_000_000;

/// A cell as the database gave it; what is no value of its kind (text that is not UTF-8, an infinite date) is `Broken`.
pub(crate) enum Cell<'a> {
    Null,
    Integer(i64),
    Real(f64),
    Text(&'a str),
    Blob(&'a [u8]),
    Flag(bool),
    /// Days since 1970-01-01.
    Day(i32),
    /// Microseconds since 1970-01-01 UTC.
    Instant(i64),
    Broken,
}

impl Cell<'_> {
    fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Blob(blob) => blob.len(),
            _ => 8,
        }
    }
}

/// One column under construction.
enum Cells {
    Text(StringBuilder),
    Integer(Int64Builder),
    Decimal(Decimal128Builder),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
    Boolean(BooleanBuilder),
    Binary(BinaryBuilder),
    Float(Float64Builder),
}

impl Cells {
    fn new(item_type: ItemType) -> Self {
        match item_type {
            ItemType::Text => Self::Text(StringBuilder::new()),
            ItemType::Integer => Self::Integer(Int64Builder::new()),
            ItemType::Decimal => {
                Self::Decimal(Decimal128Builder::new().with_data_type(DataType::Decimal128(38, 4)))
            }
            ItemType::Date => Self::Date(Date32Builder::new()),
            ItemType::Timestamp => Self::Timestamp(TimestampMicrosecondBuilder::new().with_timezone("UTC")),
            ItemType::Boolean => Self::Boolean(BooleanBuilder::new()),
            ItemType::Binary => Self::Binary(BinaryBuilder::new()),
            ItemType::Float => Self::Float(Float64Builder::new()),
        }
    }

    /// Appends the cell, or null; false when it was there and did not fit.
    fn push(&mut self, cell: &Cell<'_>) -> bool {
        let fits = match self {
            Self::Text(column) => match cell {
                Cell::Text(text) => {
                    column.append_value(text);
                    true
                }
                // A number written without quotes into a column without text affinity.
                Cell::Integer(number) => {
                    column.append_value(number.to_string());
                    true
                }
                _ => {
                    column.append_null();
                    false
                }
            },
            Self::Binary(column) => {
                let blob = if let Cell::Blob(blob) = cell { Some(blob) } else { None };
                column.append_option(blob);
                blob.is_some()
            }
            Self::Integer(column) => put(integer(cell), |value| column.append_option(value)),
            Self::Decimal(column) => put(decimal(cell), |value| column.append_option(value)),
            Self::Date(column) => put(date(cell), |value| column.append_option(value)),
            Self::Timestamp(column) => put(instant(cell), |value| column.append_option(value)),
            Self::Boolean(column) => put(flag(cell), |value| column.append_option(value)),
            Self::Float(column) => put(float(cell), |value| column.append_option(value)),
        };
        fits || matches!(cell, Cell::Null)
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(column) => Arc::new(column.finish()),
            Self::Integer(column) => Arc::new(column.finish()),
            Self::Decimal(column) => Arc::new(column.finish()),
            Self::Date(column) => Arc::new(column.finish()),
            Self::Timestamp(column) => Arc::new(column.finish()),
            Self::Boolean(column) => Arc::new(column.finish()),
            Self::Binary(column) => Arc::new(column.finish()),
            Self::Float(column) => Arc::new(column.finish()),
        }
    }
}

fn put<T>(value: Option<T>, append: impl FnOnce(Option<T>)) -> bool {
    let fits = value.is_some();
    append(value);
    fits
}

fn text<T>(cell: &Cell<'_>, parse: fn(&str) -> Option<T>) -> Option<T> {
    match cell {
        Cell::Text(text) => parse(text),
        Cell::Integer(number) => parse(&number.to_string()),
        _ => None,
    }
}

fn date(cell: &Cell<'_>) -> Option<i32> {
    match cell {
        Cell::Day(day) => Some(*day),
        // An instant that is not midnight has no date of its own: which one depends on a zone.
        Cell::Instant(instant) if instant.rem_euclid(DAY_US) == 0 => {
            i32::try_from(instant.div_euclid(DAY_US)).ok()
        }
        _ => text(cell, parse::date),
    }
}

fn instant(cell: &Cell<'_>) -> Option<i64> {
    match cell {
        Cell::Instant(instant) => Some(*instant),
        Cell::Day(day) => i64::from(*day).checked_mul(DAY_US),
        _ => text(cell, parse::timestamp),
    }
}

fn flag(cell: &Cell<'_>) -> Option<bool> {
    match cell {
        Cell::Flag(flag) => Some(*flag),
        _ => text(cell, parse::boolean),
    }
}

fn integer(cell: &Cell<'_>) -> Option<i64> {
    match cell {
        Cell::Integer(number) => Some(*number),
        Cell::Real(number) => parse::whole(*number),
        Cell::Text(text) => parse::integer(text),
        _ => None,
    }
}

fn decimal(cell: &Cell<'_>) -> Option<i128> {
    match cell {
        Cell::Integer(number) => Some(i128::from(*number) * 10_000),
        Cell::Real(number) => parse::decimal(&number.to_string()),
        Cell::Text(text) => parse::decimal(text),
        _ => None,
    }
}

fn float(cell: &Cell<'_>) -> Option<f64> {
    match cell {
        // Beyond 2^53 it would be rounded, and a pushed comparison would not agree.
        Cell::Integer(number) => {
            (number.unsigned_abs() <= parse::FLOAT_INTEGER_MAX as u64).then_some(*number as f64)
        }
        Cell::Real(number) => number.is_finite().then_some(*number),
        Cell::Text(text) => parse::float(text),
        _ => None,
    }
}

/// Rows on their way into a batch.
pub(crate) struct RowBatch<'a> {
    items: &'a [usize],
    schema: &'a SchemaRef,
    unfit_cells: &'a Unfit,
    bytes_max: usize,
    columns: Vec<Cells>,
    unfit: Vec<u64>,
    rows: usize,
    bytes: usize,
}

impl<'a> RowBatch<'a> {
    pub(crate) fn new(
        resource: &Resource,
        items: &'a [usize],
        schema: &'a SchemaRef,
        unfit_cells: &'a Unfit,
        bytes_max: usize,
    ) -> Self {
        let types = items.iter().filter_map(|item| resource.items.get(*item));
        Self {
            items,
            schema,
            unfit_cells,
            bytes_max,
            columns: types.map(|item| Cells::new(item.item_type)).collect(),
            unfit: vec![0; items.len()],
            rows: 0,
            bytes: 0,
        }
    }

    /// Takes one row; `cell` gives its cells by their place.
    pub(crate) fn push<'r>(
        &mut self,
        cell: impl Fn(usize) -> Result<Cell<'r>, SourceError>,
    ) -> Result<(), SourceError> {
        for (at, (column, unfit)) in self.columns.iter_mut().zip(&mut self.unfit).enumerate() {
            let cell = cell(at)?;
            if cell.bytes() > self.bytes_max {
                return Err(SourceError::TooLarge(format!("a cell above {} bytes", self.bytes_max)));
            }
            self.bytes += cell.bytes();
            *unfit += u64::from(!column.push(&cell));
        }
        self.rows += 1;
        Ok(())
    }

    pub(crate) fn is_full(&self) -> bool {
        self.rows == BATCH_ROWS || self.bytes >= BATCH_BYTES
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// What was taken, as a batch; the next row begins another.
    pub(crate) fn finish(&mut self) -> Result<RecordBatch, SourceError> {
        for (item, unfit) in self.items.iter().zip(&mut self.unfit) {
            self.unfit_cells.add(*item, std::mem::take(unfit));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        self.rows = 0;
        self.bytes = 0;
        let columns = self.columns.iter_mut().map(Cells::finish).collect();
        Ok(RecordBatch::try_new_with_options(Arc::clone(self.schema), columns, &options)?)
    }
}
