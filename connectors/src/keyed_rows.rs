//! Look-ups in files: one row store and one index for each key, built together, opened while the files stay the same.
//!
//! INVARIANT: a row is answered only when the key in it equals a key asked ([`Found`]).

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use catalog::Resource;
use twox_hash::XxHash64;

use crate::{
    SourceError, SourceLimits,
    key::{Found, Keys, LookupRows, asked_schema, can_be_key, hash, key_bytes},
    key_index::{Builder, KeyIndex},
    pread::Patience,
    row_store::{Encoded, RowBuilder, RowStore},
};

/// What the files are written with: another version is built anew.
const ENCODING: &str = "1 arrow-row 59";
/// Rows decoded at once.
const BATCH_ROWS: usize = 8_192;

/// Hands every row of the files, in their order and with all items, to the one who asks. Blocking.
pub(crate) type ReadAll<'a> =
    dyn Fn(&mut dyn FnMut(RecordBatch) -> Result<(), SourceError>) -> Result<(), SourceError> + 'a;

/// Where the files of one resource version lie: `NAME@HASH.rows`, and `NAME@HASH.N.idx` for the key at item N.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    folder: PathBuf,
    name: String,
    fingerprint: u64,
}

impl Paths {
    pub(crate) fn new(folder: &Path, resource: &Resource, files_fingerprint: u64) -> Self {
        let exact = format!("{ENCODING}\u{0}{:?}\u{0}{:?}", resource.name, resource.items);
        let name = resource.name.as_str().chars();
        let name = name.map(|c| if c.is_ascii_alphanumeric() || c == '.' || c == '_' { c } else { '-' });
        Self {
            folder: folder.to_owned(),
            name: name.take(128).collect(),
            fingerprint: XxHash64::oneshot(files_fingerprint, exact.as_bytes()),
        }
    }

    fn rows(&self) -> PathBuf {
        self.folder.join(format!("{}@{:016x}.rows", self.name, self.fingerprint))
    }

    fn index(&self, number: usize) -> PathBuf {
        self.folder.join(format!("{}@{:016x}.{number}.idx", self.name, self.fingerprint))
    }

    fn of_resource(&self, name: &str) -> bool {
        name.strip_prefix(&self.name).is_some_and(|rest| rest.starts_with('@'))
    }

    /// Removes what was made for other versions of the resource; who still reads them keeps them until then.
    pub(crate) fn sweep(&self) {
        let own = format!("{}@{:016x}.", self.name, self.fingerprint);
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if self.of_resource(&name) && !name.starts_with(&own) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Removes what was found damaged, so that it is built again.
    pub(crate) fn discard(&self) {
        let own = format!("{}@{:016x}.", self.name, self.fingerprint);
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&own) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// The items that can be looked up by.
pub(crate) fn key_items(resource: &Resource) -> impl Iterator<Item = usize> {
    let items = resource.items.iter().enumerate();
    items.filter(|(_, item)| item.key && can_be_key(item.item_type)).map(|(number, _)| number)
}

#[derive(Debug)]
pub(crate) struct KeyedRows {
    rows: RowStore,
    indexes: BTreeMap<usize, KeyIndex>,
    schema: SchemaRef,
    limits: SourceLimits,
}

impl KeyedRows {
    /// What is on disk if it is whole and of these files, else built from them. Blocking.
    pub(crate) fn open_or_build(
        paths: &Paths,
        resource: &Resource,
        limits: &SourceLimits,
        read_all: &ReadAll<'_>,
    ) -> Result<Self, SourceError> {
        if let Some(kept) = Self::open(paths, resource, limits) {
            return Ok(kept);
        }
        build(paths, resource, limits, read_all)?;
        Self::open(paths, resource, limits)
            .ok_or_else(|| SourceError::unavailable("the key index cannot be read back"))
    }

    fn open(paths: &Paths, resource: &Resource, limits: &SourceLimits) -> Option<Self> {
        let schema = resource.schema();
        let rows = RowStore::open(&paths.rows(), paths.fingerprint, Arc::clone(&schema))?;
        let indexes = key_items(resource)
            .map(|number| Some((number, KeyIndex::open(&paths.index(number), paths.fingerprint)?)));
        Some(Self { rows, indexes: indexes.collect::<Option<_>>()?, schema, limits: limits.clone() })
    }

    /// Rows whose item `number` equals one of `keys`; none when that would wait and must not.
    pub(crate) fn lookup(
        &self,
        number: usize,
        keys: &Keys,
        columns: &[usize],
        patience: Patience,
    ) -> Result<Option<LookupRows>, SourceError> {
        let index = self.indexes.get(&number).ok_or(SourceError::Changed)?;
        let rows_max = self.limits.lookup_rows_max;
        let mut locations = Vec::new();
        for hash in keys.hashes() {
            let Some(found) = index.find(hash, rows_max, patience)? else { return Ok(None) };
            locations.extend(found);
            if locations.len() > rows_max {
                return Err(SourceError::TooManyRows { rows_max, keys_max: self.limits.lookup_keys_max });
            }
        }
        locations.sort_unstable();
        let mut found = Found::new(keys, asked_schema(&self.schema, columns)?, &self.limits);
        let mut encoded = Encoded::default();
        for (at, location) in locations.iter().enumerate() {
            if !self.rows.read(*location, patience, &mut encoded)? {
                return Ok(None);
            }
            if encoded.rows() == BATCH_ROWS || at + 1 == locations.len() {
                let rows = self.rows.decode(&encoded)?;
                found.offer(&rows.project(columns)?, rows.column(number))?;
                encoded.clear();
            }
        }
        found.finish().map(Some)
    }
}

fn build(
    paths: &Paths,
    resource: &Resource,
    limits: &SourceLimits,
    read_all: &ReadAll<'_>,
) -> Result<(), SourceError> {
    let path = paths.rows();
    let mut rows = RowBuilder::new(&path, paths.fingerprint, &resource.schema())?;
    let mut indexes = Vec::new();
    for number in key_items(resource) {
        let builder = Builder::new(&paths.index(number), paths.fingerprint, limits.index_run_rows)?;
        indexes.push((number, builder));
    }
    let mut total: u64 = 0;
    read_all(&mut |batch| {
        total += batch.num_rows() as u64;
        if total > limits.index_rows_max {
            return Err(SourceError::TooLarge(format!("more than {} rows", limits.index_rows_max)));
        }
        let places = rows.push(&batch)?;
        for (number, index) in &mut indexes {
            let key = batch.column(*number);
            for (row, place) in places.iter().enumerate() {
                if let Some(bytes) = key_bytes(key, row) {
                    index.add(hash(&bytes), *place)?;
                }
            }
        }
        Ok(())
    })?;
    rows.finish()?;
    indexes.into_iter().try_for_each(|(_, index)| index.finish())
}
