//! Sessions: one shared base (allowed functions, rules, runtime), one fresh catalogue per call.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, MemorySchemaProvider, SchemaProvider};
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, MemoryPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionState;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::SessionConfig;
use policies::functions::{Functions, registry};

use super::weighed::WeighedBuffers;
use super::yielding::YieldingJoins;
use super::{Table, governed};
use crate::config::EngineConfig;
use crate::error::Error;

const CATALOG: &str = "hub";
/// No resource can have this library, so a one-part name never finds a table.
const NO_LIBRARY: &str = "-";

/// What all sessions share.
pub(super) struct Base {
    config: SessionConfig,
    runtime: Arc<RuntimeEnv>,
    functions: Functions,
    physical: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>>,
}

impl Base {
    pub(super) fn new(config: &EngineConfig, spill: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(spill)?;
        let top = NonZeroUsize::new(5).unwrap_or(NonZeroUsize::MIN);
        let pool = TrackConsumersPool::new(FairSpillPool::new(config.memory_bytes), top);
        let disk = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![spill.to_owned()]))
            .with_max_temp_directory_size(config.spill_bytes);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(pool))
            .with_disk_manager_builder(disk)
            // Files are addressed by identity; a cached listing would hide added and deleted ones.
            .with_object_list_cache_limit(0)
            .build_arc()?;
        let mut physical = PhysicalOptimizer::new().rules;
        physical.push(Arc::new(WeighedBuffers));
        physical.push(Arc::new(YieldingJoins));
        Ok(Self { config: session_config(config), runtime, functions: registry(), physical })
    }

    pub(super) fn pool(&self) -> &Arc<dyn MemoryPool> {
        &self.runtime.memory_pool
    }

    /// A session that knows the given tables and nothing else.
    pub(super) fn session(&self, tables: &[Table]) -> Result<SessionState, Error> {
        let hub = MemoryCatalogProvider::new();
        for table in tables {
            let (library, resource) = table.name.parts().ok_or(Error::NotFound)?;
            let schema: Arc<dyn SchemaProvider> = match hub.schema(library) {
                Some(schema) => schema,
                None => {
                    let schema = Arc::new(MemorySchemaProvider::new());
                    hub.register_schema(library, schema.clone()).map_err(|_refused| Error::NotFound)?;
                    schema
                }
            };
            schema
                .register_table(resource.to_owned(), governed(table))
                .map_err(|_refused| Error::NotFound)?;
        }
        let state = SessionStateBuilder::new()
            .with_config(self.config.clone())
            .with_runtime_env(self.runtime.clone())
            .with_scalar_functions(self.functions.scalar.clone())
            .with_aggregate_functions(self.functions.aggregate.clone())
            .with_window_functions(self.functions.window.clone())
            .with_expr_planners(self.functions.planners.clone())
            .with_physical_optimizer_rules(self.physical.clone())
            .build();
        state.catalog_list().register_catalog(CATALOG.to_owned(), Arc::new(hub));
        Ok(state)
    }
}

fn session_config(config: &EngineConfig) -> SessionConfig {
    let mut session = SessionConfig::new()
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(CATALOG, NO_LIBRARY)
        .with_information_schema(false)
        .with_target_partitions(config.threads.max(1));
    let options = session.options_mut();
    options.execution.enable_recursive_ctes = false;
    options.execution.parquet.pushdown_filters = true;
    options.execution.parquet.schema_force_view_types = false;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.sql_parser.support_varchar_with_length = false;
    options.execution.time_zone = Some("+00:00".to_owned());
    session
}
