//! Rows as Parquet: row groups of a few megabytes, each sent when it is full.
//!
//! INVARIANT: at most one row group and the footer are in memory.
//! INVARIANT: no statistics, indexes, key-value metadata or versions are written: they would tell of how rows came.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

/// A row group is closed when it holds so much.
const GROUP_BYTES: usize = 4 << 20;
const GROUP_ROWS: usize = 1 << 20;
const PAGE_BYTES: usize = 256 << 10;

/// The row groups of one file.
pub struct Groups {
    schema: SchemaRef,
    writer: ArrowWriter<Vec<u8>>,
}

fn arrow(cause: ParquetError) -> ArrowError {
    ArrowError::ExternalError(Box::new(cause))
}

impl Groups {
    pub(super) fn start(schema: &SchemaRef) -> Result<(Self, Vec<u8>), ArrowError> {
        let fields = schema.fields().iter();
        let fields: Vec<Field> =
            fields.map(|field| Field::new(field.name(), stored(field.data_type()), true)).collect();
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let properties = WriterProperties::builder()
            .set_created_by("tongqu".to_owned())
            .set_compression(Compression::SNAPPY)
            .set_statistics_enabled(EnabledStatistics::None)
            .set_offset_index_disabled(true)
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_data_page_size_limit(PAGE_BYTES)
            .set_dictionary_page_size_limit(PAGE_BYTES)
            .build();
        let options = ArrowWriterOptions::new()
            .with_properties(properties)
            .with_skip_arrow_metadata(true)
            .with_schema_root("rows".to_owned());
        let writer = ArrowWriter::try_new_with_options(Vec::new(), Arc::clone(&schema), options);
        let mut groups = Self { schema, writer: writer.map_err(arrow)? };
        let head = groups.sent()?;
        Ok((groups, head))
    }

    pub(super) fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        let columns = batch.columns().iter().zip(self.schema.fields());
        let columns = columns.map(|(column, field)| converted(column, field.data_type()));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        self.writer.write(&batch).map_err(arrow)?;
        if self.writer.memory_size() >= GROUP_BYTES {
            self.writer.flush().map_err(arrow)?;
        }
        self.sent()
    }

    pub(super) fn finish(mut self: Box<Self>) -> Result<Vec<u8>, ArrowError> {
        self.writer.finish().map_err(arrow)?;
        self.sent()
    }

    /// What was written since the last time; the writer counts its offsets itself.
    fn sent(&mut self) -> Result<Vec<u8>, ArrowError> {
        self.writer.sync()?;
        Ok(std::mem::take(self.writer.inner_mut()))
    }
}

/// The type a column is stored as: one that a reader knows again without Arrow's own schema beside it.
fn stored(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Date64 => DataType::Date32,
        DataType::Timestamp(TimeUnit::Second, zone) => {
            DataType::Timestamp(TimeUnit::Millisecond, zone.clone())
        }
        DataType::Boolean
        | DataType::Float16
        | DataType::Float32
        | DataType::Float64
        | DataType::Date32
        | DataType::Timestamp(..)
        | DataType::Binary => data_type.clone(),
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        other if other.is_integer() || other.is_decimal() => other.clone(),
        _ => DataType::Utf8,
    }
}

fn converted(column: &ArrayRef, target: &DataType) -> Result<ArrayRef, ArrowError> {
    match column.data_type() {
        same if same == target => Ok(Arc::clone(column)),
        DataType::Utf8View
        | DataType::LargeUtf8
        | DataType::Null
        | DataType::Date64
        | DataType::Timestamp(..)
        | DataType::LargeBinary
        | DataType::BinaryView => cast(column, target),
        // As the JSON answer shows it.
        _ => {
            let options = FormatOptions::default();
            let shown = ArrayFormatter::try_new(column, &options)?;
            let texts = (0..column.len())
                .map(|row| column.is_valid(row).then(|| shown.value(row).try_to_string()).transpose());
            Ok(Arc::new(texts.collect::<Result<StringArray, ArrowError>>()?))
        }
    }
}
