//! Parquet files as a table: only footers are kept; pages are read as a scan or a look-up needs them.
//!
//! INVARIANT: every read is from a file whose identity is the one that was mounted, else `Changed`.

mod reader;
mod rows;
mod scan;
mod sized;

use std::{fs::File, os::unix::fs::FileExt, sync::Arc};

use arrow::datatypes::{Field, Schema, SchemaRef};
use catalog::{Faults, Resource};
use parquet::{
    arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions},
    file::metadata::{PageIndexPolicy, ParquetMetaData},
};
pub(crate) use reader::OpenFile;

use crate::{
    SourceError, SourceLimits,
    place::{FileIdentity, Place},
    source_column::source_column,
    unfit::Unfit,
};

#[derive(Debug)]
pub(crate) struct MountedFile {
    place: Place,
    metadata: ArrowReaderMetadata,
}

impl MountedFile {
    /// The file, if it is still the one that was mounted.
    fn open(&self) -> Result<OpenFile, SourceError> {
        let file = File::open(&self.place.path)?;
        if FileIdentity::of(&file.metadata()?) != self.place.identity {
            return Err(SourceError::Changed);
        }
        Ok(OpenFile::new(file, self.place.identity.clone(), Arc::clone(self.metadata.metadata())))
    }
}

#[derive(Debug)]
pub(crate) struct ParquetFiles {
    files: Vec<Arc<MountedFile>>,
    /// The source columns that items use, each once, with the types in the files.
    source: SchemaRef,
    /// The same as a scan reads them: text as views.
    views: SchemaRef,
    /// For each item its column in `source`.
    columns: Vec<usize>,
    resource: Arc<Resource>,
    schema: SchemaRef,
    unfit: Arc<Unfit>,
    cell_bytes_max: usize,
}

impl ParquetFiles {
    /// Reads all footers and compares their columns with the items. Blocking.
    pub(crate) fn mount(
        resource: Arc<Resource>,
        places: Vec<Place>,
        unfit: Arc<Unfit>,
        limits: &SourceLimits,
    ) -> Result<Self, SourceError> {
        let mut files = Vec::with_capacity(places.len());
        for place in places {
            let metadata = footer(&place, limits)?;
            files.push(Arc::new(MountedFile { place, metadata }));
        }
        let schemas: Vec<SchemaRef> = files.iter().map(|file| Arc::clone(file.metadata.schema())).collect();
        let mut faults = Faults::default();
        let mut fields: Vec<Field> = Vec::new();
        let mut columns = Vec::with_capacity(resource.items.len());
        for number in 0..resource.items.len() {
            let Some(found) = source_column(&resource, number, &schemas, &mut faults) else { continue };
            let at = fields.iter().position(|field| field.name() == found.name());
            columns.push(at.unwrap_or_else(|| {
                fields.push(found);
                fields.len() - 1
            }));
        }
        faults.or(()).map_err(SourceError::Mismatch)?;
        let source = Schema::new(fields);
        Ok(Self {
            files,
            views: sized::as_views(&source),
            source: Arc::new(source),
            columns,
            schema: resource.schema(),
            resource,
            unfit,
            cell_bytes_max: limits.line_bytes_max,
        })
    }

    /// As the footers say.
    pub(crate) fn rows(&self) -> u64 {
        let rows = self.files.iter().map(|file| file.metadata.metadata().file_metadata().num_rows());
        rows.map(|rows| u64::try_from(rows).unwrap_or(0)).sum()
    }
}

/// Footer and page index of one file, under the ceilings.
fn footer(place: &Place, limits: &SourceLimits) -> Result<ArrowReaderMetadata, SourceError> {
    let file = File::open(&place.path)?;
    if FileIdentity::of(&file.metadata()?) != place.identity {
        return Err(SourceError::Changed);
    }
    let bytes = place.identity.bytes;
    let mut tail = [0; 8];
    let at = bytes.checked_sub(8).ok_or_else(|| SourceError::unavailable("shorter than a parquet footer"))?;
    file.read_exact_at(&mut tail, at)?;
    let [a, b, c, d, ..] = tail;
    let footer_bytes = u64::from(u32::from_le_bytes([a, b, c, d]));
    if footer_bytes > bytes {
        return Err(SourceError::unavailable("the footer is longer than the file"));
    }
    if footer_bytes > limits.footer_bytes_max {
        return Err(SourceError::TooLarge(format!("a footer above {} bytes", limits.footer_bytes_max)));
    }
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
    let metadata = ArrowReaderMetadata::load(&file, options)?;
    check_footer(metadata.metadata(), bytes, limits)?;
    Ok(metadata)
}

/// What a footer may claim: a decoder allocates by these numbers.
fn check_footer(metadata: &ParquetMetaData, bytes: u64, limits: &SourceLimits) -> Result<(), SourceError> {
    let wrong = || SourceError::unavailable("the footer contradicts itself");
    if metadata.file_metadata().schema_descr().num_columns() > limits.columns_max {
        return Err(SourceError::TooLarge(format!("more than {} columns", limits.columns_max)));
    }
    let mut rows: i64 = 0;
    for group in metadata.row_groups() {
        if !(0..=i64::from(i32::MAX)).contains(&group.num_rows()) {
            return Err(wrong());
        }
        rows = rows.checked_add(group.num_rows()).ok_or_else(wrong)?;
        let mut unpacked: u64 = 0;
        for column in group.columns() {
            // `byte_range` panics on negative numbers.
            let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
            let length = u64::try_from(column.compressed_size()).map_err(|_| wrong())?;
            let start = u64::try_from(start).map_err(|_| wrong())?;
            if start.checked_add(length).is_none_or(|end| end > bytes) {
                return Err(wrong());
            }
            let size = u64::try_from(column.uncompressed_size()).map_err(|_| wrong())?;
            unpacked = unpacked.saturating_add(size);
        }
        if unpacked > limits.row_group_bytes_max {
            return Err(SourceError::TooLarge(format!(
                "a row group above {} bytes unpacked",
                limits.row_group_bytes_max
            )));
        }
    }
    if rows != metadata.file_metadata().num_rows() {
        return Err(wrong());
    }
    Ok(())
}
