//! Rows as bytes, batch by batch: JSON in the hub's shape, lines of JSON, CSV, an Arrow IPC stream, or Parquet.
//!
//! INVARIANT: bytes of an answer come from the cells of its rows alone: no statistics, no metadata, no name of a library
//! version, nothing of a buffer beyond the rows.
//! INVARIANT: the last byte of every format comes from [`Encoder::finish`], so what breaks off never looks whole.

mod cells;
mod csv;
mod json;
mod parquet;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::ipc::writer::StreamWriter;

/// Media type of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    Arrow,
    Lines,
    Csv,
    Parquet,
}

impl Format {
    /// In the order in which the hub prefers them.
    pub const ALL: [Self; 5] = [Self::Json, Self::Arrow, Self::Lines, Self::Csv, Self::Parquet];

    /// Without parameters, as a caller asks for it.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Arrow => "application/vnd.apache.arrow.stream",
            Self::Lines => "application/x-ndjson",
            Self::Csv => "text/csv",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }

    /// As the answer says it.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            other => other.media_type(),
        }
    }
}

/// Writes one answer, chunk by chunk.
pub enum Encoder {
    Json(json::Rows),
    Lines(json::Lines),
    Csv(csv::Table),
    Arrow(Box<StreamWriter<Vec<u8>>>),
    Parquet(Box<parquet::Groups>),
}

impl Encoder {
    /// The encoder and the answer's first bytes.
    pub fn start(format: Format, schema: &SchemaRef) -> Result<(Self, Vec<u8>), ArrowError> {
        Ok(match format {
            Format::Json => {
                let (rows, head) = json::Rows::start(schema);
                (Self::Json(rows), head)
            }
            Format::Lines => (Self::Lines(json::Lines::start(schema)), Vec::new()),
            Format::Csv => {
                let (table, head) = csv::Table::start(schema);
                (Self::Csv(table), head)
            }
            Format::Arrow => {
                let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
                let head = std::mem::take(writer.get_mut());
                (Self::Arrow(Box::new(writer)), head)
            }
            Format::Parquet => {
                let (groups, head) = parquet::Groups::start(schema)?;
                (Self::Parquet(Box::new(groups)), head)
            }
        })
    }

    /// The bytes of one batch; Parquet gives none until a row group is full.
    pub fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        match self {
            Self::Json(rows) => rows.batch(batch),
            Self::Lines(lines) => lines.batch(batch),
            Self::Csv(table) => table.batch(batch),
            Self::Arrow(writer) => {
                writer.write(batch)?;
                Ok(std::mem::take(writer.get_mut()))
            }
            Self::Parquet(groups) => groups.batch(batch),
        }
    }

    /// The last bytes; JSON names the receipt, for the others it is in the header alone.
    pub fn finish(self, receipt: &str) -> Result<Vec<u8>, ArrowError> {
        match self {
            Self::Json(_) => Ok(json::Rows::finish(receipt)),
            Self::Lines(lines) => Ok(lines.finish()),
            Self::Csv(_) => Ok(csv::LINE_END.to_vec()),
            Self::Arrow(mut writer) => {
                writer.finish()?;
                Ok(std::mem::take(writer.get_mut()))
            }
            Self::Parquet(groups) => groups.finish(),
        }
    }
}

#[cfg(test)]
mod tests;
