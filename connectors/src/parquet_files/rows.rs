//! All rows of the files, one after the other, for the row store.

use std::sync::Arc;

use arrow::array::RecordBatch;
use parquet::arrow::{
    ProjectionMask,
    arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder},
};

use super::{
    ParquetFiles,
    scan::fit_batch,
    sized::{as_views, parts},
};
use crate::SourceError;

const BATCH_ROWS: usize = 8_192;

impl ParquetFiles {
    /// Hands the rows of all files, in their order and with all items, to `take`. Blocking.
    pub(crate) fn read_all(
        &self,
        take: &mut dyn FnMut(RecordBatch) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        let items: Vec<usize> = (0..self.resource.items.len()).collect();
        for file in &self.files {
            let schema = file.metadata.schema();
            let mut roots = Vec::with_capacity(self.source.fields().len());
            for field in self.source.fields() {
                roots.push(schema.index_of(field.name())?);
            }
            let mask = ProjectionMask::roots(file.metadata.parquet_schema(), roots);
            let options = ArrowReaderOptions::new().with_schema(as_views(schema));
            let metadata = ArrowReaderMetadata::try_new(Arc::clone(file.metadata.metadata()), options)?;
            let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file.open()?, metadata)
                .with_projection(mask)
                .with_batch_size(BATCH_ROWS)
                .build()?;
            for batch in reader {
                let batch = batch?;
                // The reader gives columns in the order of the file; `fit_batch` wants to know which is which.
                let fields = batch.schema_ref().fields().iter();
                let columns: Vec<usize> =
                    fields.filter_map(|field| self.source.index_of(field.name()).ok()).collect();
                for part in parts(batch, self.cell_bytes_max)? {
                    take(fit_batch(self, &part, &columns, &items, &self.schema)?)?;
                }
            }
        }
        Ok(())
    }
}
