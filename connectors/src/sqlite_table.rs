//! A table of a department's own SQLite database, asked point to point and never written.
//!
//! INVARIANT: opened read-only with `query_only`; no schema of the file can call a function with effects (`trusted_schema` off).
//! INVARIANT: names are quoted and qualified (a bare quoted name that is gone would read as a text), literals are bound.

mod scan;
mod statement;

use std::{fs::File, os::unix::fs::FileExt, sync::Arc, time::Duration};

use arrow::datatypes::SchemaRef;
use catalog::{Faults, Resource};
use sqlx::{
    ConnectOptions, Row, Sqlite,
    pool::PoolConnection,
    sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions},
};
use statement::{Affinity, Column, Layout};

use crate::{SourceError, SourceLimits, error::blocking, place::Place, unfit::Unfit};

#[derive(Debug)]
pub(crate) struct SqliteTable {
    pool: SqlitePool,
    pub(crate) place: Place,
    layout: Layout,
    resource: Arc<Resource>,
    schema: SchemaRef,
    unfit: Arc<Unfit>,
    limits: SourceLimits,
    /// Every statement sent, for tests that look at what was pushed.
    #[cfg(test)]
    pub(crate) sent: std::sync::Mutex<Vec<statement::Statement>>,
}

impl SqliteTable {
    /// Opens the database and compares the table's columns with the items.
    pub(crate) async fn mount(
        resource: Arc<Resource>,
        place: Place,
        table: &str,
        unfit: Arc<Unfit>,
        limits: &SourceLimits,
    ) -> Result<Self, SourceError> {
        let whole = place.clone();
        blocking(move || whole_pages(&whole)).await?;
        let options = SqliteConnectOptions::new()
            .filename(&place.path)
            .read_only(true)
            .foreign_keys(false)
            .busy_timeout(Duration::from_millis(limits.busy_ms_max))
            .pragma("query_only", "ON")
            .pragma("trusted_schema", "OFF")
            .disable_statement_logging();
        let pool = SqlitePoolOptions::new()
            .max_connections(limits.connections_max.max(1))
            .acquire_timeout(Duration::from_millis(limits.busy_ms_max.max(1_000)))
            .idle_timeout(Duration::from_secs(60))
            // A ping before every use would cost as much as a look-up; a dead file shows in the statement itself.
            .test_before_acquire(false)
            .connect_lazy_with(options);
        let mut connection = pool.acquire().await?;
        let layout = layout(&mut connection, &resource, table, limits).await?;
        drop(connection);
        Ok(Self {
            pool,
            place,
            layout,
            schema: resource.schema(),
            resource,
            unfit,
            limits: limits.clone(),
            #[cfg(test)]
            sent: std::sync::Mutex::default(),
        })
    }
}

/// A file cut within a page: SQLite would read the rest of that page as zeros, and rows would be missing without an error.
/// (Cut between pages it notices by itself.)
fn whole_pages(place: &Place) -> Result<(), SourceError> {
    let mut header = [0; 18];
    let file = File::open(&place.path)?;
    file.read_exact_at(&mut header, 0)?;
    let page_bytes = match header {
        [.., 0, 1] => 65_536,
        [.., high, low] => u64::from(u16::from_be_bytes([high, low])),
    };
    let sound = header.starts_with(b"SQLite format 3\0") && page_bytes.is_power_of_two();
    if sound && file.metadata()?.len().is_multiple_of(page_bytes) {
        Ok(())
    } else {
        Err(SourceError::unavailable("not a whole SQLite database"))
    }
}

async fn layout(
    connection: &mut PoolConnection<Sqlite>,
    resource: &Resource,
    table: &str,
    limits: &SourceLimits,
) -> Result<Layout, SourceError> {
    let mut faults = Faults::default();
    let found = sqlx::query("SELECT type, coalesce(sql, '') AS sql FROM main.sqlite_schema WHERE name = ? AND type IN ('table', 'view')")
        .bind(table)
        .fetch_optional(&mut **connection)
        .await?;
    let (kind, sql): (String, String) = match found {
        Some(row) => (row.try_get("type")?, row.try_get("sql")?),
        None => (String::new(), String::new()),
    };
    // A virtual table runs code of a module; a table of SQLite's own is not a department's.
    let foreign =
        sql.trim_start().to_ascii_uppercase().starts_with("CREATE VIRTUAL") || table.starts_with("sqlite_");
    if kind.is_empty() || foreign {
        faults.add(
            "/binding/sqlite/table",
            format!("`{table}` is not a table or view of the database; name one that is"),
        );
        return Err(SourceError::Mismatch(faults));
    }
    let columns = sqlx::query("SELECT name, type FROM pragma_table_xinfo(?) WHERE hidden <> 1")
        .bind(table)
        .fetch_all(&mut **connection)
        .await?;
    if columns.len() > limits.columns_max {
        return Err(SourceError::TooLarge(format!("more than {} columns", limits.columns_max)));
    }
    let mut declared: Vec<(String, String)> = Vec::with_capacity(columns.len());
    for column in &columns {
        declared.push((column.try_get("name")?, column.try_get("type")?));
    }
    let mut found = Vec::with_capacity(resource.items.len());
    for (number, item) in resource.items.iter().enumerate() {
        let column = item.source_column();
        let Some((name, declared)) = declared.iter().find(|(name, _)| name == column) else {
            faults.add(
                format!("/items/{number}/column"),
                format!("column `{column}` is not in table `{table}`; name one that is"),
            );
            continue;
        };
        found.push(Column {
            name: name.clone(),
            // What a view computes has an affinity nobody declared.
            affinity: if kind == "view" { Affinity::Unknown } else { Affinity::of(declared) },
            item_type: item.item_type,
        });
    }
    faults.or(()).map_err(SourceError::Mismatch)?;
    let encoding: String = sqlx::query_scalar("PRAGMA encoding").fetch_one(&mut **connection).await?;
    Ok(Layout { table: table.to_owned(), columns: found, utf8: encoding == "UTF-8" })
}
