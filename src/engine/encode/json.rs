//! Rows as JSON: one document in the hub's shape, or one object a line.
//!
//! `{"columns": [{"name", "type"}], "rows": [{…}], "receipt": id}`; integers beyond 2^53 and decimals are strings,
//! dates `YYYY-MM-DD`, timestamps RFC 3339 in UTC, bytes base64, a float that JSON cannot hold is a string.

use std::io::Write;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;

use super::cells::{Cell, Cells, type_name};

const SAFE_INTEGER: u64 = 1 << 53;

/// The rows of one document.
pub struct Rows {
    any: bool,
    names: Vec<String>,
}

/// Rows, each on a line of its own.
pub struct Lines(Rows);

impl Rows {
    pub(super) fn start(schema: &SchemaRef) -> (Self, Vec<u8>) {
        let columns = schema.fields().iter();
        let columns: Vec<serde_json::Value> = columns
            .map(|field| serde_json::json!({"name": field.name(), "type": type_name(field.data_type())}))
            .collect();
        let head = format!("{{\"columns\":{},\"rows\":[", serde_json::Value::from(columns));
        (Self::of(schema), head.into_bytes())
    }

    fn of(schema: &SchemaRef) -> Self {
        Self { any: false, names: schema.fields().iter().map(|field| quoted(field.name())).collect() }
    }

    pub(super) fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        self.write(batch, b',')
    }

    fn write(&mut self, batch: &RecordBatch, between: u8) -> Result<Vec<u8>, ArrowError> {
        let mut out = Vec::with_capacity(batch.num_rows() * self.names.len() * 16);
        let columns: Vec<Cells<'_>> = batch.columns().iter().map(Cells::new).collect::<Result<_, _>>()?;
        for row in 0..batch.num_rows() {
            if self.any {
                out.push(between);
            }
            self.any = true;
            out.push(b'{');
            for (index, (name, cells)) in self.names.iter().zip(&columns).enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(name.as_bytes());
                out.push(b':');
                write_cell(&cells.get(row)?, &mut out);
            }
            out.push(b'}');
        }
        Ok(out)
    }

    pub(super) fn finish(receipt: &str) -> Vec<u8> {
        format!("],\"receipt\":{}}}", quoted(receipt)).into_bytes()
    }
}

impl Lines {
    pub(super) fn start(schema: &SchemaRef) -> Self {
        Self(Rows::of(schema))
    }

    pub(super) fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        self.0.write(batch, b'\n')
    }

    pub(super) fn finish(self) -> Vec<u8> {
        if self.0.any { b"\n".to_vec() } else { Vec::new() }
    }
}

fn write_cell(cell: &Cell<'_>, out: &mut Vec<u8>) {
    match cell {
        Cell::Null => out.extend_from_slice(b"null"),
        Cell::Boolean(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Cell::Integer(value) => write_integer(*value, out),
        Cell::Float(value) => match serde_json::Number::from_f64(*value) {
            Some(number) => out.extend_from_slice(number.to_string().as_bytes()),
            None => write_text(&value.to_string(), out),
        },
        Cell::Decimal(text) => write_text(text, out),
        Cell::Text(text) => write_text(text, out),
    }
}

fn write_integer(value: i128, out: &mut Vec<u8>) {
    let quote = value.unsigned_abs() > u128::from(SAFE_INTEGER);
    // Writing to a vector cannot fail.
    let _written = if quote { write!(out, "\"{value}\"") } else { write!(out, "{value}") };
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    // Serialising a string to a vector cannot fail.
    let _written = serde_json::to_writer(out, text);
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
