//! Checked statement or typed operation + permits + sources → sealed rows.
//!
//! Planning and execution sit behind [`Engine::run`], which takes only values that can be sent, so that they
//! can move into a worker process. They run on the engine's own threads (large stacks), never on the edge's.
//! INVARIANT: every scan of a statement is a `GovernedTable`; what comes out is sealed and leaves only through
//! [`sealed::SealedBody::release`], which asks for the durable entry.
//! Cost: a per-call session is about 0.1 ms, parse and plan 1 ms (release), per batch one channel hop.

pub mod encode;
mod faults;
pub mod sealed;
mod session;
mod weighed;
mod yielding;

use std::sync::Arc;
use std::time::Duration;

use catalog::{Resource, ResourceName};
use connectors::Sources;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::datasource::TableProvider;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;
use policies::statement::CheckedStatement;
use policies::{Check, GateLimits, GovernedTable, Sight};
use tokio::sync::mpsc;

use crate::config::EngineConfig;
use crate::error::Error;
use sealed::Sealed;
use session::Base;

/// A resource of one call: what may be seen of it, where its rows come from, and when to stop.
pub struct Table {
    pub name: ResourceName,
    pub sight: Arc<Sight>,
    pub source: Arc<dyn TableProvider>,
    pub check: Check,
}

/// One statement ready to be planned.
pub struct Statement {
    pub checked: CheckedStatement,
    pub params: Vec<ScalarValue>,
    pub tables: Vec<Table>,
}

/// Plans and runs on its own threads, under one memory pool and one spill quota.
pub struct Engine {
    base: Base,
    gate: GateLimits,
    runtime: Option<tokio::runtime::Runtime>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("memory", &self.memory_bytes()).finish_non_exhaustive()
    }
}

impl Engine {
    pub fn new(config: &EngineConfig, gate: &GateLimits, spill: &std::path::Path) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(config.threads.max(1))
            .thread_name("engine")
            .thread_stack_size(config.thread_stack_bytes)
            .enable_all()
            .build()?;
        Ok(Self { base: Base::new(config, spill)?, gate: gate.clone(), runtime: Some(runtime) })
    }

    /// Memory held by running statements.
    pub fn memory_bytes(&self) -> usize {
        self.base.pool().reserved()
    }

    fn spawn<F>(&self, work: F) -> Result<tokio::task::AbortHandle, Error>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = self.runtime.as_ref().ok_or(Error::Overloaded)?;
        Ok(runtime.spawn(work).abort_handle())
    }

    /// The gate: one statement, checked on the engine's own threads, whose stacks fit its deepest permitted form.
    pub async fn check(&self, sql: String) -> Result<CheckedStatement, Error> {
        let gate = self.gate.clone();
        let (done, checked) = tokio::sync::oneshot::channel();
        self.spawn(async move {
            let _gone = done.send(policies::statement::check(&sql, &gate));
        })?;
        checked.await.map_err(|_crashed| Error::TooMuchMemory)?.map_err(statement_fault)
    }

    /// Plans a statement and starts it; the sealed rows arrive as they are made.
    ///
    /// Dropping the rows cancels the work. `deadline` covers planning and the first rows; the stream's own
    /// check covers the rest.
    pub async fn run(&self, statement: Statement, deadline: Duration) -> Result<Sealed, Error> {
        let mut state = self.base.session(&statement.tables)?;
        // What `now()` is throughout the statement.
        state.mark_start_execution();
        let gate = self.gate.clone();
        let (started, start) = tokio::sync::oneshot::channel();
        let (rows, receiver) = mpsc::channel(2);
        let abort = self.spawn(async move {
            let planned = plan(&state, &gate, statement).await;
            let stream = planned.and_then(|plan| {
                execute_stream(plan, state.task_ctx()).map_err(|cause| faults::execution(&cause))
            });
            let mut stream = match stream {
                Ok(stream) => {
                    if started.send(Ok(stream.schema())).is_err() {
                        return;
                    }
                    stream
                }
                Err(fault) => {
                    let _gone = started.send(Err(fault));
                    return;
                }
            };
            while let Some(batch) = stream.next().await {
                let batch = batch.map_err(|cause| faults::execution(&cause));
                let failed = batch.is_err();
                if rows.send(batch).await.is_err() || failed {
                    return;
                }
            }
        })?;
        let guard = sealed::AbortOnDrop(abort);
        let schema: SchemaRef = tokio::time::timeout(deadline, start)
            .await
            .map_err(|_late| Error::Deadline)?
            .map_err(|_crashed| {
                tracing::error!("a statement ended without an answer");
                Error::TooMuchMemory
            })??;
        Ok(Sealed::new(schema, receiver, Some(guard)))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Dropping a runtime inside another one would block it.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn plan(
    state: &SessionState,
    gate: &GateLimits,
    statement: Statement,
) -> Result<Arc<dyn ExecutionPlan>, Error> {
    let logical = state
        .statement_to_plan(statement.checked.into_df_statement())
        .await
        .map_err(|cause| faults::planning(&cause))?;
    let logical = logical.with_param_values(statement.params).map_err(|cause| faults::parameters(&cause))?;
    distinct_names(&logical)?;
    let analyzed = state
        .analyzer()
        .execute_and_check(logical, state.config_options(), |_, _| {})
        .map_err(|cause| faults::planning(&cause))?;
    policies::plan::check_plan(&analyzed, gate, &policies::is_governed_source).map_err(faults::statement)?;
    let analyzed = policies::functions::checked(analyzed).map_err(|cause| faults::planning(&cause))?;
    let optimized =
        state.optimizer().optimize(analyzed, state, |_, _| {}).map_err(|cause| faults::planning(&cause))?;
    state
        .query_planner()
        .create_physical_plan(&optimized, state)
        .await
        .map_err(|cause| faults::planning(&cause))
}

/// A JSON object cannot hold two members of one name, so two columns of one name are a fault.
fn distinct_names(plan: &LogicalPlan) -> Result<(), Error> {
    let mut names = std::collections::HashSet::new();
    for field in plan.schema().fields() {
        if !names.insert(field.name()) {
            return Err(Error::invalid(
                "/sql",
                "two output columns have the same name; give each its own alias",
            ));
        }
    }
    Ok(())
}

/// The rows of a resource's source, as the barrier reads them.
pub async fn open(sources: &Sources, resource: &Resource) -> Result<Arc<dyn TableProvider>, Error> {
    let source = sources.open(resource).await.map_err(|cause| faults::source(&resource.name, &cause))?;
    Ok(source.table())
}

/// Checks that an entry's source is there and fits its items.
pub async fn mount(sources: &Sources, resource: &Resource) -> Result<(), Error> {
    sources.check(resource).await.map(drop).map_err(|cause| faults::mount(&cause))
}

/// Rows by declared key, governed: the key lane, without SQL planning.
///
/// The answer's first column is `key_index`: which of the asked keys (from 0) a row belongs to.
pub async fn lookup(
    sources: &Sources,
    resource: &Resource,
    sight: &Sight,
    projection: &[usize],
    (item, keys): (&str, &[String]),
) -> Result<Sealed, Error> {
    let source = sources.open(resource).await.map_err(|cause| faults::source(&resource.name, &cause))?;
    let columns = sight.source_columns(Some(projection));
    let found =
        source.lookup(item, keys, &columns).await.map_err(|cause| faults::source(&resource.name, &cause))?;
    let rows = sight
        .govern_keyed(found.rows, found.key_index, projection)
        .map_err(|cause| faults::execution(&cause))?;
    Ok(Sealed::ready(rows.schema(), vec![rows]))
}

pub use faults::{statement as statement_fault, stopped};

/// The governed table a session sees.
fn governed(table: &Table) -> Arc<dyn TableProvider> {
    Arc::new(GovernedTable::new(table.sight.clone(), table.source.clone(), table.check.clone()))
}
