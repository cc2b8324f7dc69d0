//! Look-ups in Parquet files: index, then only the pages of the rows found, then the key read back.

use std::{collections::BTreeMap, ops::Range, path::Path, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, RecordBatch},
    datatypes::SchemaRef,
};
use parquet::arrow::{
    ProjectionMask,
    arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection},
};

use super::{MountedFile, ParquetFiles, scan::fit_batch};
use crate::{
    SourceError, fit,
    key::{Found, Keys, LookupRows, asked_schema, hash, key_bytes},
    key_index::{Builder, KeyIndex, Location},
};

/// Rows decoded at once.
const BATCH_ROWS: usize = 8_192;

impl ParquetFiles {
    /// Whether the files on disk are still those that were mounted.
    pub(crate) fn unchanged(&self) -> Result<(), SourceError> {
        self.files.iter().try_for_each(|file| file.open().map(|_| ()))
    }

    /// The index of item `number` at `path`: the one on disk if it is whole and of these files, else built. Blocking.
    pub(crate) fn index(&self, number: usize, path: &Path) -> Result<KeyIndex, SourceError> {
        if let Some(index) = KeyIndex::open(path, self.fingerprint) {
            return Ok(index);
        }
        self.build_index(number, path)?;
        KeyIndex::open(path, self.fingerprint)
            .ok_or_else(|| SourceError::unavailable("the key index cannot be read back"))
    }

    fn build_index(&self, number: usize, path: &Path) -> Result<(), SourceError> {
        if self.rows() > self.limits.index_rows_max {
            return Err(SourceError::TooLarge(format!("more than {} rows", self.limits.index_rows_max)));
        }
        let mut builder = Builder::new(path, self.fingerprint, self.limits.index_run_rows)?;
        for (at, file) in self.files.iter().enumerate() {
            let mut row = 0;
            for batch in self.read(file, &[number], None)? {
                let key = self.column(&batch?, number)?;
                for in_batch in 0..key.len() {
                    if let Some(bytes) = key_bytes(&key, in_batch) {
                        let place = Location::new(at, row + in_batch as u64);
                        let place = place
                            .ok_or_else(|| SourceError::TooLarge("too many files or rows".to_owned()))?;
                        builder.add(hash(&bytes), place)?;
                    }
                }
                row += key.len() as u64;
            }
        }
        builder.finish()
    }

    /// A reader of the columns behind `items`, of all rows or of some rows of one row group.
    fn read(
        &self,
        file: &MountedFile,
        items: &[usize],
        rows: Option<(usize, Vec<Range<usize>>)>,
    ) -> Result<ParquetRecordBatchReader, SourceError> {
        let schema = file.metadata.schema();
        let mut roots = Vec::with_capacity(items.len());
        for item in items {
            let column = self.columns.get(*item).ok_or(SourceError::Changed)?;
            roots.push(schema.index_of(self.source.field(*column).name())?);
        }
        let mask = ProjectionMask::roots(file.metadata.parquet_schema(), roots);
        let mut reader =
            ParquetRecordBatchReaderBuilder::new_with_metadata(file.open()?, file.metadata.clone())
                .with_projection(mask)
                .with_batch_size(BATCH_ROWS);
        if let Some((group, ranges)) = rows {
            let total = file.metadata.metadata().row_groups().get(group).map_or(0, |group| group.num_rows());
            let selection = RowSelection::from_consecutive_ranges(ranges.into_iter(), total as usize);
            reader = reader.with_row_groups(vec![group]).with_row_selection(selection);
        }
        Ok(reader.build()?)
    }

    /// The fitted column of one item in a batch of [`ParquetFiles::read`].
    fn column(&self, batch: &RecordBatch, number: usize) -> Result<ArrayRef, SourceError> {
        let wrong = || SourceError::unavailable("a column went missing");
        let source = self.columns.get(number).ok_or_else(wrong)?;
        let column = batch.column_by_name(self.source.field(*source).name()).ok_or_else(wrong)?;
        let item = self.resource.items.get(number).ok_or_else(wrong)?;
        Ok(fit::fit(column, item.item_type)?.0)
    }

    /// Rows of item `number` equal to one of `keys`. Blocking.
    pub(crate) fn lookup(
        &self,
        index: &KeyIndex,
        number: usize,
        keys: &Keys,
        columns: &[usize],
    ) -> Result<LookupRows, SourceError> {
        self.unchanged()?;
        let rows_max = self.limits.lookup_rows_max;
        let mut locations = Vec::new();
        for hash in keys.hashes() {
            locations.extend(index.find(hash, rows_max)?);
            if locations.len() > rows_max {
                return Err(SourceError::TooManyRows { rows_max, keys_max: self.limits.lookup_keys_max });
            }
        }
        locations.sort_unstable();
        let schema = asked_schema(&self.schema, columns)?;
        let mut found = Found::new(keys, Arc::clone(&schema), &self.limits);
        let mut items = columns.to_vec();
        items.push(number);
        for ((file, group), rows) in self.by_group(&locations) {
            let file = self.files.get(file).ok_or(SourceError::Changed)?;
            let ranges: Vec<Range<usize>> = rows.iter().map(|row| *row..*row + 1).collect();
            for batch in self.read(file, &items, Some((group, ranges)))? {
                let batch = batch?;
                let key = self.column(&batch, number)?;
                found.offer(&self.fitted(&batch, columns, &schema)?, &key)?;
            }
        }
        found.finish()
    }

    fn fitted(
        &self,
        batch: &RecordBatch,
        items: &[usize],
        schema: &SchemaRef,
    ) -> Result<RecordBatch, SourceError> {
        // The reader gives columns in the order of the file; `fit_batch` wants to know which is which.
        let columns: Vec<usize> = batch
            .schema_ref()
            .fields()
            .iter()
            .filter_map(|field| self.source.index_of(field.name()).ok())
            .collect();
        fit_batch(self, batch, &columns, items, schema)
    }

    /// Sorted locations as rows within each row group.
    fn by_group(&self, locations: &[Location]) -> BTreeMap<(usize, usize), Vec<usize>> {
        let mut groups: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
        for location in locations {
            let Some(file) = self.files.get(location.file()) else { continue };
            // The group whose first row is the last one not after the row; an empty group is never the last such.
            let number = file.starts.partition_point(|start| *start <= location.row()).saturating_sub(1);
            let start = file.starts.get(number).copied().unwrap_or(0);
            let row = (location.row() - start) as usize;
            groups.entry((location.file(), number)).or_default().push(row);
        }
        groups
    }
}
