//! Writing files a reader never sees half-done: under a temporary name, synced, then renamed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use arrow::array::{
    ArrayRef, Date32Array, Decimal128Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use catalog::Resource;
use chrono::NaiveDate;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

/// Rows put together before they are written; bounds the memory of a run.
pub const BATCH_ROWS: usize = 8_192;
const GROUP_ROWS: usize = 131_072;
/// Pages of key tables: a point lookup decodes one page a column.
const PAGE_ROWS: usize = 1_024;

/// A file in the making; removed when dropped before it is kept.
pub struct Draft {
    temporary: PathBuf,
    target: PathBuf,
}

impl Draft {
    /// Makes the folder, and clears what an interrupted run left.
    pub fn new(target: &Path) -> anyhow::Result<Self> {
        let folder = target.parent().context("a file needs a folder")?;
        let name = target.file_name().context("a file needs a name")?.to_string_lossy();
        fs::create_dir_all(folder).with_context(|| format!("cannot make folder `{}`", folder.display()))?;
        let draft = Self { temporary: folder.join(format!(".{name}.tmp")), target: target.to_owned() };
        draft.clear()?;
        Ok(draft)
    }

    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// Syncs, and puts the file under its own name, replacing an older one.
    pub fn keep(self) -> anyhow::Result<()> {
        File::open(&self.temporary)?.sync_all()?;
        // A journal of the replaced SQLite file would be played into the new one.
        for suffix in ["-wal", "-shm"] {
            remove(&beside(&self.target, suffix))?;
        }
        fs::rename(&self.temporary, &self.target)
            .with_context(|| format!("cannot write `{}`", self.target.display()))?;
        if let Some(folder) = self.target.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }

    fn clear(&self) -> anyhow::Result<()> {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            remove(&beside(&self.temporary, suffix))?;
        }
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Nothing to remove after `keep`; a failure here only leaves a hidden file for the next run to clear.
        let _ = self.clear();
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove `{}`", path.display()))
        }
        _ => Ok(()),
    }
}

/// A Parquet file laid out for point lookups (see stack.md): small pages, dictionaries only where values repeat.
pub struct ParquetFile {
    draft: Draft,
    writer: ArrowWriter<File>,
    columns: usize,
}

impl ParquetFile {
    /// `repeating`: items with few different values.
    pub fn create(target: &Path, resource: &Resource, repeating: &[&str]) -> anyhow::Result<Self> {
        let draft = Draft::new(target)?;
        let mut properties = WriterProperties::builder()
            .set_created_by("tongqu demo".into())
            // Light: a look-up opens one page a column, and setting up zstd costs more than what a page holds.
            .set_compression(Compression::LZ4_RAW)
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_data_page_row_count_limit(PAGE_ROWS)
            .set_write_batch_size(PAGE_ROWS)
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_dictionary_enabled(false);
        for item in repeating {
            ensure!(
                resource.item(item).is_some(),
                "`{item}` is no item of {}; correct the list",
                resource.name
            );
            properties = properties.set_column_dictionary_enabled(ColumnPath::from(*item), true);
        }
        let schema = resource.schema();
        let columns = schema.fields().len();
        let file =
            File::create(draft.path()).with_context(|| format!("cannot write `{}`", target.display()))?;
        let writer = ArrowWriter::try_new(file, schema, Some(properties.build()))?;
        Ok(Self { draft, writer, columns })
    }

    /// Columns in the order of the resource's items.
    pub fn write(&mut self, columns: Vec<ArrayRef>, resource: &Resource) -> anyhow::Result<()> {
        ensure!(
            columns.len() == self.columns,
            "{} has {} items; give as many columns",
            resource.name,
            self.columns
        );
        self.writer.write(&RecordBatch::try_new(resource.schema(), columns)?)?;
        Ok(())
    }

    pub fn finish(self) -> anyhow::Result<()> {
        self.writer.close()?;
        self.draft.keep()
    }
}

pub fn texts<'a, T: AsRef<str> + 'a>(values: impl Iterator<Item = Option<T>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

pub fn dates(values: impl Iterator<Item = Option<NaiveDate>>) -> ArrayRef {
    let epoch = NaiveDate::default();
    Arc::new(values.map(|date| date.map(|date| (date - epoch).num_days() as i32)).collect::<Date32Array>())
}

/// UTC microseconds.
pub fn instants(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(values).with_timezone("UTC"))
}

/// Amounts in 万元 from whole 元: four decimal places, so the number is the same.
pub fn amounts(values: impl Iterator<Item = Option<i64>>) -> anyhow::Result<ArrayRef> {
    let raw = values.map(|yuan| yuan.map(i128::from)).collect::<Decimal128Array>();
    Ok(Arc::new(raw.with_precision_and_scale(38, 4)?))
}
