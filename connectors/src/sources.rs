//! The one way in: a resource is checked when it is published and opened when it is asked.
//!
//! INVARIANT: what is kept between calls is footers, headers and connections, never rows; a file that changed is
//! mounted again for scans, and its keys answer `Changed` until the entry is checked again.

use std::{
    collections::HashMap,
    fs,
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use catalog::{Binding, FileFormat, Resource};
use datafusion::catalog::TableProvider;
use tokio::sync::OnceCell;
use twox_hash::XxHash64;

use crate::{
    SourceError, SourceLimits, UnfitCount, arrow_files, csv_files,
    error::blocking,
    json_files,
    key::{Keys, LookupRows, can_be_key},
    keyed_rows::{KeyedRows, Paths, key_items},
    parquet_files::ParquetFiles,
    place::{self, Place, fingerprint},
    postgres_table::{PostgresConnection, PostgresTable, Servers},
    pread::Patience,
    sqlite_table::SqliteTable,
    table::{Kind, SourceTable},
    unfit::Unfit,
};

/// Keys that are looked up on the caller's own thread, as long as nothing waits for the disk.
const AT_ONCE_KEYS_MAX: usize = 16;

/// One resource version, mounted.
struct Mount {
    resource: Arc<Resource>,
    table: Arc<SourceTable>,
    places: Vec<Place>,
    keyed: Mutex<Arc<OnceCell<Arc<KeyedRows>>>>,
    /// The files are not those of the last check.
    stale: bool,
    /// When the files were last seen unchanged, in milliseconds since `made`, plus one.
    seen_ms: AtomicU64,
    made: Instant,
    swept: AtomicBool,
    unfit: Arc<Unfit>,
}

impl Mount {
    fn see(&self) {
        self.seen_ms.store(1 + self.made.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Whether the files were looked at so short a time ago that they need not be looked at again.
    fn fresh(&self, fresh_ms: u64) -> bool {
        let seen_ms = Duration::from_millis(self.seen_ms.load(Ordering::Relaxed));
        self.made.elapsed() < seen_ms.saturating_add(Duration::from_millis(fresh_ms)) && fresh_ms > 0
    }
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
    index_dir: Arc<Path>,
    limits: Arc<SourceLimits>,
    servers: Servers,
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
        let index_dir = fs::canonicalize(index_dir)?.into();
        Ok(Self {
            root,
            index_dir,
            limits: Arc::new(limits),
            servers: Servers::default(),
            mounts: Mutex::default(),
        })
    }

    /// The same, with the PostgreSQL servers that the operator opens to departments.
    pub fn with_postgres(mut self, connections: Vec<PostgresConnection>) -> Self {
        self.servers = Servers::new(connections);
        self
    }

    /// Mounts anew, compares source and items (all faults at once) and builds the indexes of the keys.
    /// Publishing an entry calls this; so does taking in a file that changed.
    pub async fn check(&self, resource: &Resource) -> Result<Mounted, SourceError> {
        let mount = Arc::new(self.mount(resource, false).await?);
        if !mount.table.kind.is_database() && key_items(resource).next().is_some() {
            self.source(Arc::clone(&mount)).keyed().await?;
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
            Some(kept) if kept.fresh(self.limits.fresh_ms) => kept,
            Some(kept) if self.same(resource, &kept).await? => {
                kept.see();
                kept
            }
            kept => {
                let stale = kept.is_some_and(|kept| kept.stale || !kept.table.kind.is_database());
                let mount = Arc::new(self.mount(resource, stale).await?);
                self.keep(version, Arc::clone(&mount));
                mount
            }
        };
        Ok(self.source(mount))
    }

    fn source(&self, mount: Arc<Mount>) -> Source {
        Source { mount, index_dir: Arc::clone(&self.index_dir), limits: Arc::clone(&self.limits) }
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
            (Kind::Postgres(_), _) => true,
            _ => mount.places == places,
        })
    }

    async fn places(&self, resource: &Resource) -> Result<Vec<Place>, SourceError> {
        let (root, binding) = (self.root.clone(), resource.binding.clone());
        let limits = Arc::clone(&self.limits);
        blocking(move || match binding {
            Binding::Unmounted => Err(SourceError::Unmounted),
            Binding::Files { format, path } => place::files(&root, &path, format, &limits),
            Binding::Sqlite { path, .. } => Ok(vec![place::file(&root, &path)?]),
            Binding::Postgres { .. } => Ok(Vec::new()),
        })
        .await
    }

    async fn mount(&self, resource: &Resource, stale: bool) -> Result<Mount, SourceError> {
        let places = self.places(resource).await?;
        let before = locked(&self.mounts).get(&version(resource)).map(|mount| Arc::clone(&mount.unfit));
        let unfit = before.unwrap_or_else(|| Arc::new(Unfit::new(resource)));
        let declared = Arc::new(resource.clone());
        let shared = Arc::clone(&declared);
        let kind = match &resource.binding {
            Binding::Unmounted => return Err(SourceError::Unmounted),
            Binding::Files { format, .. } => {
                let (format, limits) = (*format, Arc::clone(&self.limits));
                let (places, unfit) = (places.clone(), Arc::clone(&unfit));
                blocking(move || {
                    Ok(match format {
                        FileFormat::Parquet => {
                            Kind::Parquet(Arc::new(ParquetFiles::mount(shared, places, unfit, &limits)?))
                        }
                        FileFormat::Csv => {
                            Kind::Scanned(Arc::new(csv_files::mount(shared, places, unfit, &limits)?))
                        }
                        FileFormat::Json => {
                            Kind::Scanned(Arc::new(json_files::mount(shared, places, unfit, &limits)?))
                        }
                        FileFormat::Arrow => {
                            Kind::Scanned(Arc::new(arrow_files::mount(shared, places, unfit, &limits)?))
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
            Binding::Postgres { connection, schema, table } => {
                let server = self.servers.get(connection, &resource.provider)?;
                let named = (schema.as_str(), table.as_str());
                let mounted =
                    PostgresTable::mount(shared, server, named, Arc::clone(&unfit), &self.limits).await?;
                Kind::Postgres(Arc::new(mounted))
            }
        };
        let mount = Mount {
            resource: declared,
            table: Arc::new(SourceTable { schema: resource.schema(), kind }),
            places,
            keyed: Mutex::default(),
            stale,
            seen_ms: AtomicU64::new(0),
            made: Instant::now(),
            swept: AtomicBool::new(false),
            unfit,
        };
        mount.see();
        Ok(mount)
    }
}

/// One resource, open for a call.
#[derive(Clone)]
pub struct Source {
    mount: Arc<Mount>,
    index_dir: Arc<Path>,
    limits: Arc<SourceLimits>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("resource", &self.mount.resource.name).finish_non_exhaustive()
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
        let mut declared = self.mount.resource.items.iter().enumerate();
        let declared = declared.find(|(_, declared)| declared.name == item);
        let Some((number, declared)) =
            declared.filter(|(_, declared)| declared.key && can_be_key(declared.item_type))
        else {
            return Err(SourceError::NotKey(item.to_owned()));
        };
        if self.mount.stale {
            return Err(SourceError::Changed);
        }
        let keys = Keys::new(declared.item_type, keys, &self.limits)?;
        match &self.mount.table.kind {
            Kind::Sqlite(table) => table.lookup(number, &keys, columns).await,
            Kind::Postgres(table) => table.lookup(number, &keys, columns).await,
            _ => self.lookup_in_files(number, keys, columns).await,
        }
    }

    async fn lookup_in_files(
        &self,
        number: usize,
        keys: Keys,
        columns: &[usize],
    ) -> Result<LookupRows, SourceError> {
        self.unchanged().await?;
        let keyed = self.keyed().await?;
        self.sweep().await?;
        if keys.len() <= AT_ONCE_KEYS_MAX
            && let Ok(Some(found)) = keyed.lookup(number, &keys, columns, Patience::Cached)
        {
            return Ok(found);
        }
        let columns = columns.to_vec();
        let found = blocking(move || {
            // Outer: whether the thread came through; inner: what was found.
            Ok(keyed.lookup(number, &keys, &columns, Patience::Wait))
        })
        .await?;
        if matches!(found, Err(SourceError::IndexDamaged)) {
            // Ours to mend, unlike damage in the source: it is built again by the next call.
            *locked(&self.mount.keyed) = Arc::default();
            self.paths().discard();
        }
        found?.ok_or(SourceError::IndexDamaged)
    }

    /// The files must be those the row store was made from.
    async fn unchanged(&self) -> Result<(), SourceError> {
        if self.mount.fresh(self.limits.fresh_ms) {
            return Ok(());
        }
        let mount = Arc::clone(&self.mount);
        blocking(move || {
            let same = mount.places.iter().all(Place::unchanged);
            same.then(|| mount.see()).ok_or(SourceError::Changed)
        })
        .await
    }

    /// Cells that did not fit their items, since the first mount of this version.
    pub fn unfit(&self) -> Vec<UnfitCount> {
        self.mount.unfit.counts()
    }

    /// CSV records whose number of cells is not that of the header.
    pub fn ragged_rows(&self) -> u64 {
        self.mount.unfit.ragged_rows()
    }

    fn paths(&self) -> Paths {
        Paths::new(&self.index_dir, &self.mount.resource, fingerprint(&self.mount.places))
    }

    /// The version in force removes what was made for others; one that is only checked may never come into force.
    async fn sweep(&self) -> Result<(), SourceError> {
        if self.mount.swept.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let paths = self.paths();
        blocking(move || {
            paths.sweep();
            Ok(())
        })
        .await
    }

    /// Row store and indexes of the files, opened or built once however many ask at the same time.
    async fn keyed(&self) -> Result<Arc<KeyedRows>, SourceError> {
        let cell = Arc::clone(&locked(&self.mount.keyed));
        let keyed = cell.get_or_try_init(|| {
            let (mount, paths, limits) = (Arc::clone(&self.mount), self.paths(), Arc::clone(&self.limits));
            blocking(move || {
                let unchanged = || mount.places.iter().all(Place::unchanged).then_some(());
                unchanged().ok_or(SourceError::Changed)?;
                let keyed = KeyedRows::open_or_build(&paths, &mount.resource, &limits, &|take| {
                    mount.table.kind.read_all(take)
                })?;
                unchanged().ok_or(SourceError::Changed)?;
                Ok(Arc::new(keyed))
            })
        });
        Ok(Arc::clone(keyed.await?))
    }
}
