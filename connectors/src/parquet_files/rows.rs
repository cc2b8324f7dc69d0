//! All rows of the files, one after the other, for the row store.

use arrow::array::RecordBatch;
use parquet::arrow::{ProjectionMask, arrow_reader::ParquetRecordBatchReaderBuilder};

use super::{ParquetFiles, scan::fit_batch};
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
            let reader =
                ParquetRecordBatchReaderBuilder::new_with_metadata(file.open()?, file.metadata.clone())
                    .with_projection(mask)
                    .with_batch_size(BATCH_ROWS)
                    .build()?;
            for batch in reader {
                let batch = batch?;
                // The reader gives columns in the order of the file; `fit_batch` wants to know which is which.
                let fields = batch.schema_ref().fields().iter();
                let columns: Vec<usize> =
                    fields.filter_map(|field| self.source.index_of(field.name()).ok()).collect();
                take(fit_batch(self, &batch, &columns, &items, &self.schema)?)?;
            }
        }
        Ok(())
    }
}
