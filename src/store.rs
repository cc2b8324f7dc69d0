//! The facts the hub decides on, in SQLite; the only module that speaks SQL to the metadata database.
//!
//! INVARIANT: a change and its entry are one transaction (outbox); a fact counts only when the record
//! holds its revision, so readers see `revision <= effective` and nothing else.
//! One SQL text for SQLite and PostgreSQL: `$n` parameters, TEXT and BIGINT columns, no vendor functions.

pub mod applications;
pub mod change;
pub mod grants;
pub mod organisation;
pub mod resources;

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Row, SqlSafeStr, SqliteConnection};

pub use change::Write;

/// Why the store cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the store cannot be used: {0}")]
    Database(#[from] sqlx::Error),
    #[error("the store cannot be brought to this version: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    #[error("a stored fact cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error("{0}")]
    Conflict(&'static str),
    #[error(
        "the store (revision {store}) is older than the record (revision {record}); restore the newer store"
    )]
    OlderThanRecord { store: i64, record: i64 },
    #[error("the change is stored but not yet on record")]
    Record(crate::audit::AppendError),
    #[error("the change ended without an outcome: {0}")]
    Ended(String),
}

/// Migrations in order; numbered, forward only, never edited once landed.
const MIGRATIONS: [(i64, &str, &str); 2] = [
    (1, "facts", include_str!("store/migrations/0001_facts.sql")),
    (2, "versions", include_str!("store/migrations/0002_versions.sql")),
];

/// How many values one cache holds before it starts over.
const CACHE_MAX: usize = 10_000;

pub struct Store {
    read: SqlitePool,
    writing: Arc<Writing>,
    accounts: Cache<organisation::Account>,
    departments: Cache<organisation::Department>,
    resources: Cache<resources::Published>,
    grants: Cache<Vec<grants::StoredGrant>>,
}

/// The writing side, shared with the tasks that carry changes out.
struct Writing {
    connection: tokio::sync::Mutex<SqliteConnection>,
    /// Newest revision that the record holds.
    effective: AtomicI64,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("effective", &self.revision()).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens or creates the database and brings it to this version.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::from_str("sqlite:")?
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5));
        let mut write = sqlx::ConnectOptions::connect(&options).await?;
        migrator().run_direct(None, &mut write, false).await?;
        let read = SqlitePoolOptions::new().max_connections(8).connect_with(options.read_only(true)).await?;
        Ok(Self {
            read,
            writing: Arc::new(Writing {
                connection: tokio::sync::Mutex::new(write),
                effective: AtomicI64::new(0),
            }),
            accounts: Cache::default(),
            departments: Cache::default(),
            resources: Cache::default(),
            grants: Cache::default(),
        })
    }

    /// The newest revision that counts.
    pub fn revision(&self) -> i64 {
        self.writing.effective.load(Ordering::SeqCst)
    }

    /// Whether a read answers: part of `/readyz`.
    pub async fn answers(&self) -> bool {
        sqlx::query("SELECT 1").fetch_one(&self.read).await.is_ok()
    }

    pub async fn close(&self) {
        self.read.close().await;
    }
}

fn migrator() -> Migrator {
    let migrations = MIGRATIONS
        .iter()
        .map(|(version, name, sql)| {
            Migration::new(*version, Cow::Borrowed(*name), MigrationType::Simple, sql.into_sql_str(), false)
        })
        .collect();
    Migrator::with_migrations(migrations)
}

/// Values read at a revision; any later change makes them stale, so a change bites at the next call.
struct Cache<V>(Mutex<HashMap<String, Known<V>>>);

/// The revision it was read at, and what was there.
type Known<V> = (i64, Option<Arc<V>>);

impl<V> Default for Cache<V> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<V> Cache<V> {
    /// The value as of `revision`, when it was read at that revision. Outer none: not cached.
    fn get(&self, key: &str, revision: i64) -> Option<Option<Arc<V>>> {
        let values = self.0.lock().ok()?;
        let (read_at, value) = values.get(key)?;
        (*read_at == revision).then(|| value.clone())
    }

    fn put(&self, key: String, revision: i64, value: Option<Arc<V>>) {
        let Ok(mut values) = self.0.lock() else { return };
        if values.len() >= CACHE_MAX {
            values.clear();
        }
        values.insert(key, (revision, value));
    }
}

/// Decodes the JSON `body` column of a row.
fn body<T: serde::de::DeserializeOwned>(row: &sqlx::sqlite::SqliteRow) -> Result<T, StoreError> {
    let text: String = row.try_get("body")?;
    Ok(serde_json::from_str(&text)?)
}
