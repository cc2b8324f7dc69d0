//! Running statements on a PostgreSQL server: rows stream in batches, and the statement ends when nobody listens.

use std::{sync::Arc, time::Duration};

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    datatypes::SchemaRef,
};
use datafusion::{
    error::Result as PlanResult,
    logical_expr::Expr,
    physical_plan::{
        ExecutionPlan,
        stream::{RecordBatchReceiverStream, RecordBatchStreamAdapter},
    },
};
use futures::{StreamExt, TryStreamExt};
use sqlx::{
    AssertSqlSafe, Column as _, PgConnection, Postgres, Row, ValueRef,
    postgres::{PgArguments, PgRow, PgValueRef},
};
use tokio::{sync::mpsc::Sender, time::timeout};

use super::{
    PostgresTable,
    connection::failed,
    layout::ColumnType,
    statement::{Statement, Values, four_digits},
};
use crate::{
    SourceError,
    cells::{Cell, RowBatch},
    key::{Found, Keys, LookupRows, asked_schema},
    plan::{Open, SourceExec},
    predicate::{Predicate, predicate},
};

/// Batches in flight between the statement and the plan.
const BATCHES_AHEAD: usize = 2;
/// What the hub waits beyond the server's own time-out, which a server that hangs does not keep.
const GRACE: Duration = Duration::from_secs(1);
/// Days and microseconds from 1970-01-01 to 2000-01-01, where PostgreSQL counts from.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_US: i64 = 946_684_800_000_000;

/// Where batches go.
enum Sink<'a, 'k> {
    Plan(&'a Sender<PlanResult<RecordBatch>>),
    /// The key is the last column, the others are those asked.
    Find(&'a mut Found<'k>, &'a [usize]),
}

impl Sink<'_, '_> {
    /// False when nobody listens any more.
    async fn take(&mut self, batch: RecordBatch) -> Result<bool, SourceError> {
        match self {
            Self::Plan(sender) => Ok(sender.send(Ok(batch)).await.is_ok()),
            Self::Find(found, asked) => {
                let key = Arc::clone(batch.column(asked.len()));
                found.offer(&batch.project(asked)?, &key).map(|()| true)
            }
        }
    }
}

impl PostgresTable {
    /// Whether some of the filter is worth sending.
    pub(crate) fn can_filter(&self, filter: &Expr) -> bool {
        self.predicate(filter).is_some()
    }

    fn predicate(&self, filter: &Expr) -> Option<Predicate> {
        predicate(filter, &self.schema, &|leaf| self.layout.can(leaf))
    }

    pub(crate) fn scan(
        self: &Arc<Self>,
        items: Vec<usize>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let mut pushed: Vec<Predicate> = filters.iter().filter_map(|filter| self.predicate(filter)).collect();
        let filter = if pushed.len() > 1 { Some(Predicate::All(pushed)) } else { pushed.pop() };
        let limit = limit.filter(|_| filters.is_empty());
        // Counting asks for no column: let the server count instead of sending a row for each.
        let count = items.is_empty() && filter.is_none() && limit.is_none();
        let statement =
            if count { self.layout.count() } else { self.layout.select(&items, filter.as_ref(), limit) };
        let schema: SchemaRef = Arc::new(self.schema.project(&items)?);
        let (table, batch_schema) = (Arc::clone(self), Arc::clone(&schema));
        let open: Arc<Open> = Arc::new(move |_, _| {
            let (table, statement, items) = (Arc::clone(&table), statement.clone(), items.clone());
            let schema = Arc::clone(&batch_schema);
            // Only when it is asked for rows: the later side of a join must not hold a connection meanwhile.
            let rows = futures::stream::once(async move {
                let mut stream = RecordBatchReceiverStream::builder(Arc::clone(&schema), BATCHES_AHEAD);
                let sender = stream.tx();
                stream.spawn(async move {
                    let read = table.send(&statement, &items, &schema, count, &sender);
                    read.await.map_err(SourceError::into_plan_error)
                });
                stream.build()
            });
            let schema = Arc::clone(&batch_schema);
            Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows.flatten())))
        });
        Ok(Arc::new(SourceExec::new("postgres", schema, 1, open)))
    }

    /// One transaction: the statement's rows to the plan, until nobody takes them or time is up.
    async fn send(
        &self,
        statement: &Statement,
        items: &[usize],
        schema: &SchemaRef,
        count: bool,
        sender: &Sender<PlanResult<RecordBatch>>,
    ) -> Result<(), SourceError> {
        let mut lease = self.server.lease().await?;
        let mut sink = Sink::Plan(sender);
        let work = async {
            if count {
                let rows = self.count(statement, &mut lease.connection).await?;
                let options = RecordBatchOptions::new().with_row_count(usize::try_from(rows).ok());
                let batch = RecordBatch::try_new_with_options(Arc::clone(schema), Vec::new(), &options)?;
                return sink.take(batch).await;
            }
            self.read(statement, items, schema, &mut lease.connection, &mut sink).await
        };
        // Left in the middle, the connection is closed: the server would send the rest first.
        if self.in_time(work).await? {
            lease.done().await;
        }
        Ok(())
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, SourceError>>) -> Result<T, SourceError> {
        timeout(self.server.statement_max() + GRACE, work).await.map_err(|_| SourceError::Deadline)?
    }

    fn query<'q>(&self, statement: &Statement) -> sqlx::query::Query<'q, Postgres, PgArguments> {
        #[cfg(test)]
        if let Ok(mut sent) = self.sent.lock() {
            sent.push(statement.clone());
        }
        // Safe: names are quoted by `Layout`, values are bound below. Unnamed, so that nothing stays at the server.
        let mut query = sqlx::query(AssertSqlSafe(statement.sql.clone())).persistent(false);
        for values in &statement.params {
            query = match values.clone() {
                Values::Text(all) => query.bind(all),
                Values::Integer(all) => query.bind(all),
                Values::Real(all) => query.bind(all),
                Values::Flag(all) => query.bind(all),
                Values::Day(all) => query.bind(all),
                Values::Naive(all) => query.bind(all),
                Values::Instant(all) => query.bind(all),
            };
        }
        query
    }

    async fn count(&self, statement: &Statement, connection: &mut PgConnection) -> Result<i64, SourceError> {
        let row = self.query(statement).fetch_one(connection).await;
        row.and_then(|row| row.try_get(0)).map_err(failed)
    }

    /// Runs the statement and hands its rows over in batches; false when they were not all taken.
    async fn read(
        &self,
        statement: &Statement,
        items: &[usize],
        schema: &SchemaRef,
        connection: &mut PgConnection,
        sink: &mut Sink<'_, '_>,
    ) -> Result<bool, SourceError> {
        let columns = items.iter().filter_map(|item| self.layout.columns.get(*item));
        let kinds: Vec<ColumnType> = columns.map(|column| column.kind).collect();
        let bytes_max = self.limits.line_bytes_max;
        let mut batch = RowBatch::new(&self.resource, items, schema, &self.unfit, bytes_max);
        let mut rows = self.query(statement).fetch(connection);
        let mut checked = false;
        while let Some(row) = rows.try_next().await.map_err(failed)? {
            if !checked {
                as_checked(&row, &kinds)?;
                checked = true;
            }
            batch.push(|at| {
                let value = row.try_get_raw(at).map_err(failed)?;
                Ok(kinds.get(at).map_or(Cell::Broken, |kind| cell(*kind, value)))
            })?;
            if batch.is_full() && !sink.take(batch.finish()?).await? {
                return Ok(false);
            }
        }
        if batch.is_empty() { Ok(true) } else { sink.take(batch.finish()?).await }
    }

    /// Rows of item `number` equal to one of `keys`.
    pub(crate) async fn lookup(
        &self,
        number: usize,
        keys: &Keys,
        columns: &[usize],
    ) -> Result<LookupRows, SourceError> {
        let mut items = columns.to_vec();
        items.push(number);
        let schema = Arc::new(self.schema.project(&items)?);
        let asked: Vec<usize> = (0..columns.len()).collect();
        let mut found = Found::new(keys, asked_schema(&self.schema, columns)?, &self.limits);
        let limit = self.limits.lookup_rows_max.saturating_add(1);
        if let Some(statement) = self.layout.by_keys(&items, number, &keys.texts, limit) {
            let mut lease = self.server.lease().await?;
            let mut sink = Sink::Find(&mut found, &asked);
            self.in_time(self.read(&statement, &items, &schema, &mut lease.connection, &mut sink)).await?;
            lease.done().await;
        }
        found.finish()
    }
}

/// The types on the wire are those of the check: a column that was altered since is not guessed at.
fn as_checked(row: &PgRow, kinds: &[ColumnType]) -> Result<(), SourceError> {
    let same = kinds.iter().enumerate().all(|(at, kind)| {
        row.columns()
            .get(at)
            .and_then(|column| column.type_info().oid())
            .is_some_and(|oid| oid.0 == kind.wire_oid())
    });
    if same { Ok(()) } else { Err(SourceError::Changed) }
}

/// A value in PostgreSQL's binary form (`…send` of its type).
fn cell(kind: ColumnType, value: PgValueRef<'_>) -> Cell<'_> {
    if value.is_null() {
        return Cell::Null;
    }
    let Ok(bytes) = value.as_bytes() else { return Cell::Broken };
    read(kind, bytes).unwrap_or(Cell::Broken)
}

fn read(kind: ColumnType, bytes: &[u8]) -> Option<Cell<'_>> {
    match kind {
        _ if kind.textual() => std::str::from_utf8(bytes).ok().map(Cell::Text),
        ColumnType::Bytes => Some(Cell::Blob(bytes)),
        ColumnType::SmallInt => Some(Cell::Integer(i16::from_be_bytes(bytes.try_into().ok()?).into())),
        ColumnType::Int => Some(Cell::Integer(i32::from_be_bytes(bytes.try_into().ok()?).into())),
        ColumnType::BigInt => Some(Cell::Integer(i64::from_be_bytes(bytes.try_into().ok()?))),
        ColumnType::Real => Some(Cell::Real(f32::from_be_bytes(bytes.try_into().ok()?).into())),
        ColumnType::Double => Some(Cell::Real(f64::from_be_bytes(bytes.try_into().ok()?))),
        ColumnType::Boolean => Some(Cell::Flag(bytes.first().copied()? != 0)),
        ColumnType::Date => day(i32::from_be_bytes(bytes.try_into().ok()?)),
        _ => instant(i64::from_be_bytes(bytes.try_into().ok()?)),
    }
}

/// Infinities are the extremes of the number, far outside the years taken.
fn day(since_2000: i32) -> Option<Cell<'static>> {
    let days = since_2000.checked_add(EPOCH_DAYS)?;
    let instant = chrono::DateTime::from_timestamp(i64::from(days) * 86_400, 0)?;
    four_digits(chrono::Datelike::year(&instant)).then_some(Cell::Day(days))
}

fn instant(since_2000: i64) -> Option<Cell<'static>> {
    let microseconds = since_2000.checked_add(EPOCH_US)?;
    let instant = chrono::DateTime::from_timestamp_micros(microseconds)?;
    four_digits(chrono::Datelike::year(&instant)).then_some(Cell::Instant(microseconds))
}
