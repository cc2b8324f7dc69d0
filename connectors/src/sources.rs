//! The one way in: a resource is checked when it is published and opened when it is asked.
//!
//! INVARIANT: what is kept between calls is footers, headers and connections, never rows; a file that changed is
//! mounted again for scans, and its keys answer `Changed` until the entry is checked again.

use std::{
    collections::HashMap,
    fs,
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use catalog::{Binding, FileFormat, Resource};
use datafusion::catalog::TableProvider;
use tokio::sync::OnceCell;
use twox_hash::XxHash64;

use crate::{
    SourceError, SourceLimits, UnfitCount,
    csv_files::CsvFiles,
    error::blocking,
    key::{Keys, LookupRows, can_be_key},
    key_index::KeyIndex,
    parquet_files::ParquetFiles,
    place::{self, Place, fingerprint},
    sqlite_table::SqliteTable,
    table::{Kind, SourceTable},
    unfit::Unfit,
};

type Indexes = Mutex<HashMap<usize, Arc<OnceCell<Arc<KeyIndex>>>>>;

/// One resource version, mounted.
struct Mount {
    table: Arc<SourceTable>,
    places: Vec<Place>,
    indexes: Indexes,
    /// The files are not those of the last check.
    stale: bool,
    unfit: Arc<Unfit>,
}

/// What a check found, for the entry's page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// As the source itself says, where that costs nothing (Parquet).
    pub rows: Option<u64>,
    pub files: usize,
    pub bytes: u64,
    /// Changes whenever a file does.
    pub fingerprint: String,
}

/// All sources of a hub, below one root.
pub struct Sources {
    root: PathBuf,
    index_dir: PathBuf,
    limits: SourceLimits,
    mounts: Mutex<HashMap<u64, Arc<Mount>>>,
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the bytes are read by: another binding or another item makes another mount.
fn version(resource: &Resource) -> u64 {
    let mut hasher = XxHash64::default();
    (&resource.name, &resource.binding, &resource.items).hash(&mut hasher);
    hasher.finish()
}

impl Sources {
    /// `root` must exist; `index_dir` is made if need be where no provider can write.
    pub fn new(root: &Path, index_dir: &Path, limits: SourceLimits) -> Result<Self, SourceError> {
        let root = fs::canonicalize(root)?;
        fs::create_dir_all(index_dir)?;
        Ok(Self { root, index_dir: fs::canonicalize(index_dir)?, limits, mounts: Mutex::default() })
    }

    /// Mounts anew, compares source and items (all faults at once) and builds the indexes of the keys.
    /// Publishing an entry calls this; so does taking in a file that changed.
    pub async fn check(&self, resource: &Resource) -> Result<Mounted, SourceError> {
        let mount = Arc::new(self.mount(resource, false).await?);
        let source = Source {
            mount: Arc::clone(&mount),
            resource: Arc::new(resource.clone()),
            index_dir: self.index_dir.clone(),
            limits: self.limits.clone(),
        };
        for (number, item) in resource.items.iter().enumerate() {
            if item.key
                && can_be_key(item.item_type)
                && let Kind::Parquet(files) = &mount.table.kind
            {
                source.index(number, files).await?;
            }
        }
        let mounted = Mounted {
            rows: match &mount.table.kind {
                Kind::Parquet(files) => Some(files.rows()),
                _ => None,
            },
            files: mount.places.len(),
            bytes: mount.places.iter().map(|place| place.identity.bytes).sum(),
            fingerprint: format!("{:016x}", fingerprint(&mount.places)),
        };
        self.keep(version(resource), mount);
        Ok(mounted)
    }

    /// The source as it is now; cheap when nothing changed (one `stat` a file).
    pub async fn open(&self, resource: &Resource) -> Result<Source, SourceError> {
        let version = version(resource);
        let kept = locked(&self.mounts).get(&version).cloned();
        let mount = match kept {
            Some(kept) if self.same(resource, &kept).await? => kept,
            kept => {
                let stale =
                    kept.is_some_and(|kept| kept.stale || !matches!(kept.table.kind, Kind::Sqlite(_)));
                let mount = Arc::new(self.mount(resource, stale).await?);
                self.keep(version, Arc::clone(&mount));
                mount
            }
        };
        Ok(Source {
            mount,
            resource: Arc::new(resource.clone()),
            index_dir: self.index_dir.clone(),
            limits: self.limits.clone(),
        })
    }

    fn keep(&self, version: u64, mount: Arc<Mount>) {
        let mut mounts = locked(&self.mounts);
        if mounts.len() >= self.limits.mounts_max.max(1) && !mounts.contains_key(&version) {
            let other = mounts.keys().next().copied();
            other.and_then(|other| mounts.remove(&other));
        }
        mounts.insert(version, mount);
    }

    /// Whether the mount still is what lies on disk.
    async fn same(&self, resource: &Resource, mount: &Arc<Mount>) -> Result<bool, SourceError> {
        let places = self.places(resource).await?;
        Ok(match (&mount.table.kind, places.first()) {
            // A database changes all the time; only another file in its place needs another connection.
            (Kind::Sqlite(table), Some(now)) => {
                table.place.path == now.path && table.place.identity.same_inode(&now.identity)
            }
            _ => mount.places == places,
        })
    }

    async fn places(&self, resource: &Resource) -> Result<Vec<Place>, SourceError> {
        let (root, binding, limits) = (self.root.clone(), resource.binding.clone(), self.limits.clone());
        blocking(move || match binding {
            Binding::Unmounted => Err(SourceError::Unmounted),
            Binding::Files { format, path } => place::files(&root, &path, format, &limits),
            Binding::Sqlite { path, .. } => Ok(vec![place::file(&root, &path)?]),
        })
        .await
    }

    async fn mount(&self, resource: &Resource, stale: bool) -> Result<Mount, SourceError> {
        let places = self.places(resource).await?;
        let before = locked(&self.mounts).get(&version(resource)).map(|mount| Arc::clone(&mount.unfit));
        let unfit = before.unwrap_or_else(|| Arc::new(Unfit::new(resource)));
        let shared = Arc::new(resource.clone());
        let kind = match &resource.binding {
            Binding::Unmounted => return Err(SourceError::Unmounted),
            Binding::Files { format, .. } => {
                let (format, limits) = (*format, self.limits.clone());
                let (places, unfit) = (places.clone(), Arc::clone(&unfit));
                blocking(move || {
                    Ok(match format {
                        FileFormat::Parquet => {
                            Kind::Parquet(Arc::new(ParquetFiles::mount(shared, places, unfit, &limits)?))
                        }
                        FileFormat::Csv => {
                            Kind::Csv(Arc::new(CsvFiles::mount(shared, places, unfit, &limits)?))
                        }
                    })
                })
                .await?
            }
            Binding::Sqlite { table, .. } => {
                let place = places.first().cloned().ok_or(SourceError::Changed)?;
                let mounted =
                    SqliteTable::mount(shared, place, table, Arc::clone(&unfit), &self.limits).await?;
                Kind::Sqlite(Arc::new(mounted))
            }
        };
        Ok(Mount {
            table: Arc::new(SourceTable { schema: resource.schema(), kind }),
            places,
            indexes: Indexes::default(),
            stale,
            unfit,
        })
    }
}

/// One resource, open for a call.
#[derive(Clone)]
pub struct Source {
    mount: Arc<Mount>,
    resource: Arc<Resource>,
    index_dir: PathBuf,
    limits: SourceLimits,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("resource", &self.resource.name).finish_non_exhaustive()
    }
}

impl Source {
    /// The table, with exactly the schema of the resource. Not for consumers: it knows no permit.
    pub fn table(&self) -> Arc<dyn TableProvider> {
        Arc::clone(&self.mount.table) as Arc<dyn TableProvider>
    }

    /// Rows whose `item` (a declared key) equals one of `keys`, as `columns` of the resource's schema.
    /// A key is text in any form the item's type is written in; one that cannot be such a value matches nothing.
    pub async fn lookup(
        &self,
        item: &str,
        keys: &[String],
        columns: &[usize],
    ) -> Result<LookupRows, SourceError> {
        let declared = self.resource.items.iter().enumerate().find(|(_, declared)| declared.name == item);
        let Some((number, declared)) =
            declared.filter(|(_, declared)| declared.key && can_be_key(declared.item_type))
        else {
            return Err(SourceError::NotKey(item.to_owned()));
        };
        if self.mount.stale {
            return Err(SourceError::Changed);
        }
        let keys = Keys::new(declared.item_type, keys, &self.limits)?;
        let columns = columns.to_vec();
        match &self.mount.table.kind {
            Kind::Parquet(files) => {
                let index = self.index(number, files).await?;
                let files = Arc::clone(files);
                let path = self.index_path(number, &files);
                let found = blocking(move || {
                    let found = files.lookup(&index, number, &keys, &columns);
                    files.unchanged()?;
                    Ok(found)
                })
                .await?;
                if matches!(found, Err(SourceError::IndexDamaged)) {
                    // Ours to mend, unlike damage in the source: it is built again by the next call.
                    locked(&self.mount.indexes).remove(&number);
                    let _ = fs::remove_file(path);
                }
                found
            }
            Kind::Csv(files) => {
                let files = Arc::clone(files);
                blocking(move || files.lookup(number, &keys, &columns)).await
            }
            Kind::Sqlite(table) => table.lookup(number, &keys, &columns).await,
        }
    }

    /// Cells that did not fit their items, since the first mount of this version.
    pub fn unfit(&self) -> Vec<UnfitCount> {
        self.mount.unfit.counts()
    }

    /// CSV records whose number of cells is not that of the header.
    pub fn ragged_rows(&self) -> u64 {
        self.mount.unfit.ragged_rows()
    }

    fn index_path(&self, number: usize, files: &ParquetFiles) -> PathBuf {
        let item = self.resource.items.get(number).map_or("", |item| item.name.as_str());
        let exact = format!("{:?}\u{0}{:?}", self.resource.name, self.resource.items.get(number));
        let hash = XxHash64::oneshot(files.fingerprint, exact.as_bytes());
        let name: String = format!("{}-{item}", self.resource.name)
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '.' || c == '_' { c } else { '-' })
            .take(128)
            .collect();
        self.index_dir.join(format!("{name}-{hash:016x}.idx"))
    }

    /// The key index of an item, opened or built once however many ask at the same time.
    async fn index(&self, number: usize, files: &Arc<ParquetFiles>) -> Result<Arc<KeyIndex>, SourceError> {
        let cell = Arc::clone(locked(&self.mount.indexes).entry(number).or_default());
        let index = cell.get_or_try_init(|| {
            let (files, path) = (Arc::clone(files), self.index_path(number, files));
            blocking(move || {
                files.unchanged()?;
                Ok(Arc::new(files.index(number, &path)?))
            })
        });
        Ok(Arc::clone(index.await?))
    }
}
