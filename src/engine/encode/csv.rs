//! Rows as CSV (RFC 4180): a header row, null is an empty cell, an empty text is `""`.
//!
//! INVARIANT: no cell of text begins with a character by which a spreadsheet takes it for a formula: a `'` stands
//! before it (ASVS 1.2.10). Numbers stay numbers, negative ones too.

use std::io::Write;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;

use super::cells::{Cell, Cells};

pub(super) const LINE_END: &[u8] = b"\r\n";

/// The rows after the header. Each begins with the end of the line before it, so that only `finish` ends the last one.
pub struct Table;

impl Table {
    pub(super) fn start(schema: &SchemaRef) -> (Self, Vec<u8>) {
        let mut head = Vec::new();
        for (index, field) in schema.fields().iter().enumerate() {
            if index > 0 {
                head.push(b',');
            }
            write_text(field.name(), &mut head);
        }
        (Self, head)
    }

    pub(super) fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        let mut out = Vec::with_capacity(batch.num_rows() * batch.num_columns() * 12);
        let columns: Vec<Cells<'_>> = batch.columns().iter().map(Cells::new).collect::<Result<_, _>>()?;
        for row in 0..batch.num_rows() {
            out.extend_from_slice(LINE_END);
            for (index, cells) in columns.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_cell(&cells.get(row)?, &mut out);
            }
        }
        Ok(out)
    }
}

fn write_cell(cell: &Cell<'_>, out: &mut Vec<u8>) {
    match cell {
        Cell::Null => {}
        Cell::Boolean(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Cell::Integer(value) => {
            // Writing to a vector cannot fail.
            let _written = write!(out, "{value}");
        }
        Cell::Float(value) => match serde_json::Number::from_f64(*value) {
            Some(number) => out.extend_from_slice(number.to_string().as_bytes()),
            None => out.extend_from_slice(value.to_string().as_bytes()),
        },
        Cell::Decimal(text) => out.extend_from_slice(text.as_bytes()),
        Cell::Text(text) => write_text(text, out),
    }
}

/// Characters that make a spreadsheet read a formula, wide forms included.
const FORMULA: [char; 12] = ['=', '+', '-', '@', '\t', '\r', '\n', '\0', '＝', '＋', '－', '＠'];

fn write_text(text: &str, out: &mut Vec<u8>) {
    let escape = text.starts_with(FORMULA);
    let blank = |end: Option<char>| end.is_none_or(char::is_whitespace);
    let quote =
        text.contains(['"', ',', '\r', '\n']) || blank(text.chars().next()) || blank(text.chars().last());
    if quote {
        out.push(b'"');
    }
    if escape {
        out.push(b'\'');
    }
    if quote {
        out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(text.as_bytes());
    }
}
