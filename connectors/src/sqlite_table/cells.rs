//! SQLite rows as Arrow columns: every cell has a storage class of its own, and fits its item or reads null.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float64Builder,
        Int64Builder, StringBuilder, TimestampMicrosecondBuilder,
    },
    datatypes::DataType,
};
use catalog::ItemType;
use sqlx::{Decode, Sqlite, TypeInfo, ValueRef, sqlite::SqliteValueRef};

use crate::parse;

/// A cell by its storage class; text that is not UTF-8 is `Broken`.
pub(super) enum Cell<'a> {
    Null,
    Integer(i64),
    Real(f64),
    Text(&'a str),
    Blob(&'a [u8]),
    Broken,
}

impl<'a> Cell<'a> {
    pub(super) fn of(value: SqliteValueRef<'a>) -> Self {
        if value.is_null() {
            return Self::Null;
        }
        let class = value.type_info().name().to_owned();
        match class.as_str() {
            "TEXT" => <&str as Decode<Sqlite>>::decode(value).map_or(Self::Broken, Self::Text),
            "INTEGER" => <i64 as Decode<Sqlite>>::decode(value).map_or(Self::Broken, Self::Integer),
            "REAL" => <f64 as Decode<Sqlite>>::decode(value).map_or(Self::Broken, Self::Real),
            "BLOB" => <&[u8] as Decode<Sqlite>>::decode(value).map_or(Self::Broken, Self::Blob),
            _ => Self::Broken,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Blob(blob) => blob.len(),
            _ => 8,
        }
    }
}

/// One column under construction.
pub(super) enum Cells {
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
    pub(super) fn new(item_type: ItemType) -> Self {
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
    pub(super) fn push(&mut self, cell: &Cell<'_>) -> bool {
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
            Self::Date(column) => put(text(cell, parse::date), |value| column.append_option(value)),
            Self::Timestamp(column) => put(text(cell, parse::timestamp), |value| column.append_option(value)),
            Self::Boolean(column) => put(text(cell, parse::boolean), |value| column.append_option(value)),
            Self::Float(column) => put(float(cell), |value| column.append_option(value)),
        };
        fits || matches!(cell, Cell::Null)
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
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
