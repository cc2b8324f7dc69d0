//! A mounted source as the table DataFusion sees: the resource's schema, filters as hints, no statistics.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    error::Result,
    logical_expr::{Expr, TableProviderFilterPushDown, TableType},
    physical_plan::ExecutionPlan,
};

use crate::{
    SourceError, parquet_files::ParquetFiles, postgres_table::PostgresTable, scanned::ScannedFiles,
    sqlite_table::SqliteTable,
};

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Parquet(Arc<ParquetFiles>),
    Scanned(Arc<ScannedFiles>),
    Sqlite(Arc<SqliteTable>),
    Postgres(Arc<PostgresTable>),
}

impl Kind {
    /// A database that changes all the time and finds keys itself.
    pub(crate) fn is_database(&self) -> bool {
        matches!(self, Self::Sqlite(_) | Self::Postgres(_))
    }

    /// Hands all rows of a mount of files to `take`, in their order and with all items. Blocking.
    pub(crate) fn read_all(
        &self,
        take: &mut dyn FnMut(RecordBatch) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        match self {
            Self::Parquet(files) => files.read_all(take),
            Self::Scanned(files) => files.read_all(take),
            Self::Sqlite(_) | Self::Postgres(_) => {
                Err(SourceError::unavailable("a database is asked itself"))
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct SourceTable {
    pub(crate) schema: SchemaRef,
    pub(crate) kind: Kind,
}

#[async_trait]
impl TableProvider for SourceTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let able = |filter: &Expr| match &self.kind {
            Kind::Parquet(files) => files.can_filter(filter),
            Kind::Scanned(_) => false,
            Kind::Sqlite(table) => table.can_filter(filter),
            Kind::Postgres(table) => table.can_filter(filter),
        };
        Ok(filters
            .iter()
            .map(|filter| match able(filter) {
                true => TableProviderFilterPushDown::Inexact,
                false => TableProviderFilterPushDown::Unsupported,
            })
            .collect())
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let items = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        match &self.kind {
            Kind::Parquet(files) => files.scan(session, items, filters, limit),
            // A filter that comes here all the same is applied above; a limit must then wait for it.
            Kind::Scanned(files) => files.scan(session, items, limit.filter(|_| filters.is_empty())),
            Kind::Sqlite(table) => table.scan(items, filters, limit),
            Kind::Postgres(table) => table.scan(items, filters, limit),
        }
    }
}
