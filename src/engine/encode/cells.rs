//! Cells of a column as the values that every text format writes.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{
    DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};

/// Name of a column's type as the API tells it.
pub(super) fn type_name(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text",
        DataType::Boolean => "boolean",
        DataType::Float16 | DataType::Float32 | DataType::Float64 => "float",
        DataType::Date32 | DataType::Date64 => "date",
        DataType::Timestamp(..) => "timestamp",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "binary",
        DataType::Null => "null",
        other if other.is_integer() => "integer",
        other if other.is_decimal() => "decimal",
        _ => "text",
    }
}

/// One value.
pub(super) enum Cell<'a> {
    Null,
    Boolean(bool),
    Integer(i128),
    Float(f64),
    Decimal(String),
    /// Text, and what is written as text: dates, times, bytes in base64.
    Text(Cow<'a, str>),
}

/// One column, ready to give its cells.
pub(super) enum Cells<'a> {
    Null,
    Text(&'a ArrayRef),
    Boolean(&'a ArrayRef),
    Integer(&'a ArrayRef),
    Float(&'a ArrayRef),
    Binary(&'a ArrayRef),
    Shown(&'a ArrayRef, ArrayFormatter<'a>),
}

const OPTIONS: FormatOptions<'static> = FormatOptions::new();

impl<'a> Cells<'a> {
    pub(super) fn new(array: &'a ArrayRef) -> Result<Self, ArrowError> {
        Ok(match array.data_type() {
            DataType::Null => Self::Null,
            DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => Self::Text(array),
            DataType::Boolean => Self::Boolean(array),
            other if other.is_integer() => Self::Integer(array),
            DataType::Float32 | DataType::Float64 => Self::Float(array),
            DataType::Binary => Self::Binary(array),
            _ => Self::Shown(array, ArrayFormatter::try_new(array.as_ref(), &OPTIONS)?),
        })
    }

    pub(super) fn get(&self, row: usize) -> Result<Cell<'a>, ArrowError> {
        let array = match self {
            Self::Null => return Ok(Cell::Null),
            Self::Text(array)
            | Self::Boolean(array)
            | Self::Integer(array)
            | Self::Float(array)
            | Self::Binary(array)
            | Self::Shown(array, _) => *array,
        };
        if array.is_null(row) {
            return Ok(Cell::Null);
        }
        Ok(match self {
            Self::Null => Cell::Null,
            Self::Text(_) => Cell::Text(Cow::Borrowed(text_at(array, row))),
            Self::Boolean(_) => Cell::Boolean(array.as_boolean().value(row)),
            Self::Integer(_) => Cell::Integer(integer_at(array, row)),
            Self::Float(_) => Cell::Float(float_at(array, row)),
            Self::Binary(_) => {
                Cell::Text(Cow::Owned(BASE64_STANDARD.encode(array.as_binary::<i32>().value(row))))
            }
            Self::Shown(_, shown) => {
                let text = shown.value(row).try_to_string()?;
                if array.data_type().is_decimal() {
                    Cell::Decimal(text)
                } else {
                    Cell::Text(Cow::Owned(text))
                }
            }
        })
    }
}

fn text_at(array: &ArrayRef, row: usize) -> &str {
    match array.data_type() {
        DataType::Utf8View => array.as_string_view().value(row),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row),
        _ => array.as_string::<i32>().value(row),
    }
}

fn integer_at(array: &ArrayRef, row: usize) -> i128 {
    match array.data_type() {
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(row).into(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(row).into(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).into(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row).into(),
        _ => array.as_primitive::<Int64Type>().value(row).into(),
    }
}

fn float_at(array: &ArrayRef, row: usize) -> f64 {
    match array.data_type() {
        DataType::Float32 => array.as_primitive::<Float32Type>().value(row).into(),
        _ => array.as_primitive::<Float64Type>().value(row),
    }
}
