//! Rows as bytes: JSON in the hub's shape, or an Arrow IPC stream.
//!
//! JSON: `{"columns": [{"name", "type"}], "rows": [{…}], "receipt": id}`; integers beyond 2^53 and decimals are
//! strings, dates `YYYY-MM-DD`, timestamps RFC 3339 in UTC, bytes base64, a float that JSON cannot hold is a string.

use std::io::Write;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{
    DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, SchemaRef, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::ipc::writer::StreamWriter;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};

/// Media type of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    Arrow,
}

impl Format {
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }
}

const SAFE_INTEGER: u64 = 1 << 53;

/// Writes one answer, chunk by chunk.
pub enum Encoder {
    Json { rows: u64, names: Vec<String> },
    Arrow(Box<StreamWriter<Vec<u8>>>),
}

impl Encoder {
    /// The encoder and the answer's first bytes.
    pub fn start(format: Format, schema: &SchemaRef) -> Result<(Self, Vec<u8>), ArrowError> {
        match format {
            Format::Json => {
                let columns: Vec<serde_json::Value> = schema
                    .fields()
                    .iter()
                    .map(|field| serde_json::json!({"name": field.name(), "type": type_name(field.data_type())}))
                    .collect();
                let names = schema.fields().iter().map(|field| quoted(field.name())).collect();
                let head = format!("{{\"columns\":{},\"rows\":[", serde_json::Value::from(columns));
                Ok((Self::Json { rows: 0, names }, head.into_bytes()))
            }
            Format::Arrow => {
                let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
                let head = std::mem::take(writer.get_mut());
                Ok((Self::Arrow(Box::new(writer)), head))
            }
        }
    }

    /// The bytes of one batch.
    pub fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        match self {
            Self::Json { rows, names } => {
                let mut out = Vec::with_capacity(batch.num_rows() * names.len() * 16);
                let columns: Vec<Cells<'_>> =
                    batch.columns().iter().map(Cells::new).collect::<Result<_, ArrowError>>()?;
                for row in 0..batch.num_rows() {
                    out.extend_from_slice(if *rows == 0 { b"{" } else { b",{" });
                    *rows += 1;
                    for (index, (name, cells)) in names.iter().zip(&columns).enumerate() {
                        if index > 0 {
                            out.push(b',');
                        }
                        out.extend_from_slice(name.as_bytes());
                        out.push(b':');
                        cells.write(row, &mut out)?;
                    }
                    out.push(b'}');
                }
                Ok(out)
            }
            Self::Arrow(writer) => {
                writer.write(batch)?;
                Ok(std::mem::take(writer.get_mut()))
            }
        }
    }

    /// The last bytes; JSON names the receipt, for Arrow it is in the header.
    pub fn finish(self, receipt: &str) -> Result<Vec<u8>, ArrowError> {
        match self {
            Self::Json { .. } => Ok(format!("],\"receipt\":{}}}", quoted(receipt)).into_bytes()),
            Self::Arrow(mut writer) => {
                writer.finish()?;
                Ok(std::mem::take(writer.get_mut()))
            }
        }
    }
}

/// Name of a column's type as the API tells it.
fn type_name(data_type: &DataType) -> &'static str {
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

/// One column, ready to write a cell.
enum Cells<'a> {
    Null,
    Text(&'a ArrayRef),
    Boolean(&'a ArrayRef),
    Integer(&'a ArrayRef),
    Float(&'a ArrayRef),
    Binary(&'a ArrayRef),
    Timestamp(&'a ArrayRef, ArrayFormatter<'a>),
    Shown(&'a ArrayRef, ArrayFormatter<'a>),
}

const OPTIONS: FormatOptions<'static> = FormatOptions::new();

impl<'a> Cells<'a> {
    fn new(array: &'a ArrayRef) -> Result<Self, ArrowError> {
        Ok(match array.data_type() {
            DataType::Null => Self::Null,
            DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => Self::Text(array),
            DataType::Boolean => Self::Boolean(array),
            other if other.is_integer() => Self::Integer(array),
            DataType::Float32 | DataType::Float64 => Self::Float(array),
            DataType::Binary => Self::Binary(array),
            DataType::Timestamp(..) => {
                Self::Timestamp(array, ArrayFormatter::try_new(array.as_ref(), &OPTIONS)?)
            }
            _ => Self::Shown(array, ArrayFormatter::try_new(array.as_ref(), &OPTIONS)?),
        })
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        let array = match self {
            Self::Null => {
                out.extend_from_slice(b"null");
                return Ok(());
            }
            Self::Text(array)
            | Self::Boolean(array)
            | Self::Integer(array)
            | Self::Float(array)
            | Self::Binary(array)
            | Self::Timestamp(array, _)
            | Self::Shown(array, _) => array,
        };
        if array.is_null(row) {
            out.extend_from_slice(b"null");
            return Ok(());
        }
        match self {
            Self::Null => {}
            Self::Text(array) => write_text(text_at(array, row), out),
            Self::Boolean(array) => {
                out.extend_from_slice(if array.as_boolean().value(row) { b"true" } else { b"false" });
            }
            Self::Integer(array) => write_integer(integer_at(array, row), out),
            Self::Float(array) => write_float(float_at(array, row), out),
            Self::Binary(array) => {
                write_text(&BASE64_STANDARD.encode(array.as_binary::<i32>().value(row)), out)
            }
            Self::Timestamp(_, shown) | Self::Shown(_, shown) => {
                write_text(&shown.value(row).try_to_string()?, out)
            }
        }
        Ok(())
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

fn write_integer(value: i128, out: &mut Vec<u8>) {
    let quote = value.unsigned_abs() > u128::from(SAFE_INTEGER);
    // Writing to a vector cannot fail.
    let _written = if quote { write!(out, "\"{value}\"") } else { write!(out, "{value}") };
}

fn write_float(value: f64, out: &mut Vec<u8>) {
    match serde_json::Number::from_f64(value) {
        Some(number) => out.extend_from_slice(number.to_string().as_bytes()),
        None => write_text(&value.to_string(), out),
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    // Serialising a string to a vector cannot fail.
    let _written = serde_json::to_writer(out, text);
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{
        BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, StringArray,
        TimestampMicrosecondArray,
    };

    use super::*;

    fn check(array: ArrayRef, expect: &str) {
        let batch = RecordBatch::try_from_iter_with_nullable([("a", array, true)]).expect("batch");
        let (mut encoder, head) = Encoder::start(Format::Json, &batch.schema()).expect("start");
        let mut bytes = head;
        bytes.extend(encoder.batch(&batch).expect("batch"));
        bytes.extend(encoder.finish("rcpt_1").expect("finish"));
        let answer: serde_json::Value = serde_json::from_slice(&bytes).expect("the answer is JSON");
        let rows: serde_json::Value = serde_json::from_str(expect).expect("expectation");
        let cells: Vec<&serde_json::Value> =
            answer["rows"].as_array().expect("rows").iter().map(|row| &row["a"]).collect();
        assert_eq!(serde_json::json!(cells), rows);
        assert_eq!(answer["receipt"], "rcpt_1");
    }

    #[test]
    fn cells_are_written_as_the_api_says() {
        check(Arc::new(StringArray::from(vec![Some("a\"\n\u{2028}"), None])), r#"["a\"\n\u2028", null]"#);
        check(
            Arc::new(Int64Array::from(vec![1, 9_007_199_254_740_992, 9_007_199_254_740_993, i64::MIN])),
            r#"[1, 9007199254740992, "9007199254740993", "-9223372036854775808"]"#,
        );
        check(Arc::new(Float64Array::from(vec![1.5, f64::NAN, f64::INFINITY])), r#"[1.5, "NaN", "inf"]"#);
        check(Arc::new(BooleanArray::from(vec![true, false])), "[true, false]");
        check(Arc::new(Date32Array::from(vec![0])), r#"["1970-01-01"]"#);
        check(Arc::new(BinaryArray::from(vec![b"ab".as_slice()])), r#"["YWI="]"#);
        let decimal =
            Decimal128Array::from(vec![12_345_678]).with_precision_and_scale(38, 4).expect("decimal");
        check(Arc::new(decimal), r#"["1234.5678"]"#);
        check(
            Arc::new(TimestampMicrosecondArray::from(vec![1_500_000]).with_timezone("UTC")),
            r#"["1970-01-01T00:00:01.500Z"]"#,
        );
    }
}
