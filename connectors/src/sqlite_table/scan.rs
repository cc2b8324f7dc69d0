//! Running statements on a department's database: streamed in batches, stopped when nobody listens or time is up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    datatypes::SchemaRef,
};
use datafusion::{
    error::Result as PlanResult,
    logical_expr::Expr,
    physical_plan::{ExecutionPlan, stream::RecordBatchReceiverStream},
};
use futures::TryStreamExt;
use sqlx::{
    AssertSqlSafe, Decode, Row, Sqlite, TypeInfo, ValueRef,
    pool::PoolConnection,
    sqlite::{SqliteArguments, SqliteValueRef},
};
use tokio::sync::mpsc::Sender;

use super::{
    SqliteTable,
    statement::{Param, Statement},
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
/// Keys bound in one statement (a key may be bound in several forms; SQLite takes 32,766 parameters).
const KEYS_A_STATEMENT: usize = 500;
/// Virtual machine steps between two looks at the clock.
const STEPS: i32 = 1_000;

/// Where batches go.
enum Sink {
    Plan(Sender<PlanResult<RecordBatch>>),
    Keep(Vec<RecordBatch>),
}

impl Sink {
    /// False when nobody listens any more.
    async fn take(&mut self, batch: RecordBatch) -> bool {
        match self {
            Self::Plan(sender) => sender.send(Ok(batch)).await.is_ok(),
            Self::Keep(batches) => {
                batches.push(batch);
                true
            }
        }
    }
}

/// Stops the statement of its connection when dropped or when time is up.
struct Watch {
    stop: Arc<AtomicBool>,
    deadline: Instant,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Watch {
    fn error(&self, error: sqlx::Error) -> SourceError {
        if Instant::now() >= self.deadline { SourceError::Deadline } else { error.into() }
    }
}

impl SqliteTable {
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
        // Counting asks for no column: let SQLite count instead of sending a row for each.
        let count = items.is_empty() && filter.is_none() && limit.is_none();
        let statement =
            if count { self.layout.count() } else { self.layout.select(&items, filter.as_ref(), limit) };
        let schema: SchemaRef = Arc::new(self.schema.project(&items)?);
        let (table, batch_schema) = (Arc::clone(self), Arc::clone(&schema));
        let open: Arc<Open> = Arc::new(move |_, _| {
            let mut stream = RecordBatchReceiverStream::builder(Arc::clone(&batch_schema), BATCHES_AHEAD);
            let sender = stream.tx();
            let (table, statement) = (Arc::clone(&table), statement.clone());
            let (items, schema) = (items.clone(), Arc::clone(&batch_schema));
            stream.spawn(async move {
                let mut sink = Sink::Plan(sender);
                let sent = if count {
                    table.count(&statement, &schema, &mut sink).await
                } else {
                    table.read(&statement, &items, &schema, &mut sink).await
                };
                sent.map_err(SourceError::into_plan_error)
            });
            Ok(stream.build())
        });
        Ok(Arc::new(SourceExec::new("sqlite", schema, 1, open)))
    }

    async fn connection(&self) -> Result<(PoolConnection<Sqlite>, Watch), SourceError> {
        let mut connection = self.pool.acquire().await?;
        let stop = Arc::new(AtomicBool::new(false));
        let deadline = Instant::now() + Duration::from_millis(self.limits.statement_ms_max);
        let watched = Arc::clone(&stop);
        connection.lock_handle().await?.set_progress_handler(STEPS, move || {
            !watched.load(Ordering::Relaxed) && Instant::now() < deadline
        });
        Ok((connection, Watch { stop, deadline }))
    }

    fn query<'q>(&self, statement: &Statement) -> sqlx::query::Query<'q, Sqlite, SqliteArguments> {
        #[cfg(test)]
        if let Ok(mut sent) = self.sent.lock() {
            sent.push(statement.clone());
        }
        // Safe: names are quoted by `Layout`, literals are bound below.
        let mut query = sqlx::query(AssertSqlSafe(statement.sql.clone()));
        for param in &statement.params {
            query = match param {
                Param::Text(text) => query.bind(text.clone()),
                Param::Integer(number) => query.bind(*number),
                Param::Real(number) => query.bind(*number),
            };
        }
        query
    }

    async fn count(
        &self,
        statement: &Statement,
        schema: &SchemaRef,
        sink: &mut Sink,
    ) -> Result<(), SourceError> {
        // Dropped in reverse: the watch stops the statement before the connection goes back.
        let (mut connection, watch) = self.connection().await?;
        let row = self.query(statement).fetch_one(&mut *connection).await;
        let rows: i64 = row.and_then(|row| row.try_get(0)).map_err(|error| watch.error(error))?;
        let options = RecordBatchOptions::new().with_row_count(usize::try_from(rows).ok());
        sink.take(RecordBatch::try_new_with_options(Arc::clone(schema), Vec::new(), &options)?).await;
        Ok(())
    }

    /// Runs the statement and hands its rows over in batches, until nobody takes them.
    async fn read(
        &self,
        statement: &Statement,
        items: &[usize],
        schema: &SchemaRef,
        sink: &mut Sink,
    ) -> Result<(), SourceError> {
        let (mut connection, watch) = self.connection().await?;
        let mut rows = self.query(statement).fetch(&mut *connection);
        let bytes_max = self.limits.line_bytes_max;
        let mut batch = RowBatch::new(&self.resource, items, schema, &self.unfit, bytes_max);
        while let Some(row) = rows.try_next().await.map_err(|error| watch.error(error))? {
            batch.push(|at| Ok(cell(row.try_get_raw(at)?)))?;
            if batch.is_full() && !sink.take(batch.finish()?).await {
                return Ok(());
            }
        }
        if !batch.is_empty() {
            sink.take(batch.finish()?).await;
        }
        Ok(())
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
        for part in keys.texts.chunks(KEYS_A_STATEMENT) {
            let limit = self.limits.lookup_rows_max.saturating_add(1);
            let statement = self.layout.by_keys(&items, number, part, limit);
            let mut sink = Sink::Keep(Vec::new());
            self.read(&statement, &items, &schema, &mut sink).await?;
            let Sink::Keep(batches) = sink else { continue };
            for batch in batches {
                let key = Arc::clone(batch.column(columns.len()));
                found.offer(&batch.project(&asked)?, &key)?;
            }
        }
        found.finish()
    }
}

fn cell(value: SqliteValueRef<'_>) -> Cell<'_> {
    if value.is_null() {
        return Cell::Null;
    }
    let class = value.type_info().name().to_owned();
    match class.as_str() {
        "TEXT" => <&str as Decode<Sqlite>>::decode(value).map_or(Cell::Broken, Cell::Text),
        "INTEGER" => <i64 as Decode<Sqlite>>::decode(value).map_or(Cell::Broken, Cell::Integer),
        "REAL" => <f64 as Decode<Sqlite>>::decode(value).map_or(Cell::Broken, Cell::Real),
        "BLOB" => <&[u8] as Decode<Sqlite>>::decode(value).map_or(Cell::Broken, Cell::Blob),
        _ => Cell::Broken,
    }
}
