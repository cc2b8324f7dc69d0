//! The one plan node of a source: a leaf, so that no optimiser rule reaches the files or statements below it.
//!
//! INVARIANT: a panic of a decoder on damaged bytes becomes `Unavailable`, and so does every foreign error.
//! INVARIANT: executing the same node again reads again (a shared `DataSourceExec` would give no rows the second time).

use std::{any::Any, fmt, panic::AssertUnwindSafe, sync::Arc};

use arrow::datatypes::SchemaRef;
use datafusion::{
    common::tree_node::TreeNodeRecursion,
    error::{DataFusionError, Result},
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::{EquivalenceProperties, PhysicalExpr},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
        execution_plan::{Boundedness, EmissionType},
        stream::RecordBatchStreamAdapter,
    },
};
use futures::StreamExt;

use crate::SourceError;

/// Opens one partition.
pub(crate) type Open = dyn Fn(usize, Arc<TaskContext>) -> Result<SendableRecordBatchStream> + Send + Sync;

pub(crate) struct SourceExec {
    kind: &'static str,
    open: Arc<Open>,
    properties: Arc<PlanProperties>,
}

impl SourceExec {
    pub(crate) fn new(kind: &'static str, schema: SchemaRef, partitions: usize, open: Arc<Open>) -> Self {
        Self {
            kind,
            open,
            properties: Arc::new(PlanProperties::new(
                EquivalenceProperties::new(schema),
                Partitioning::UnknownPartitioning(partitions),
                EmissionType::Incremental,
                Boundedness::Bounded,
            )),
        }
    }
}

impl fmt::Debug for SourceExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceExec").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl DisplayAs for SourceExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "SourceExec: {}", self.kind)
    }
}

impl ExecutionPlan for SourceExec {
    fn name(&self) -> &str {
        "SourceExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if children.is_empty() {
            Ok(self)
        } else {
            Err(DataFusionError::Internal("a source is a leaf".to_owned()))
        }
    }

    fn execute(&self, partition: usize, task: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let opened = std::panic::catch_unwind(AssertUnwindSafe(|| (self.open)(partition, task)));
        let stream = opened.unwrap_or_else(|panic| Err(panicked(&*panic))).map_err(SourceError::hide)?;
        let mut failed = false;
        let guarded = AssertUnwindSafe(stream)
            .catch_unwind()
            .map(|polled| match polled {
                Ok(Ok(batch)) => Ok(batch),
                Ok(Err(error)) => Err(SourceError::hide(error)),
                Err(panic) => Err(panicked(&*panic)),
            })
            // A decoder that failed is not asked again.
            .take_while(move |outcome| {
                let go_on = !failed;
                failed = outcome.is_err();
                futures::future::ready(go_on)
            });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, guarded)))
    }
}

fn panicked(panic: &(dyn Any + Send)) -> DataFusionError {
    let said = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a reader panicked");
    SourceError::unavailable(said).into_plan_error()
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Schema;
    use datafusion::physical_plan::collect;

    use super::*;

    #[tokio::test]
    async fn a_panic_below_is_an_unavailable_source_without_its_words() {
        let schema: SchemaRef = Arc::new(Schema::empty());
        let stream_schema = Arc::clone(&schema);
        let open: Arc<Open> = Arc::new(move |partition, _| {
            assert!(partition == 0, "cell 42 at open");
            let stream = futures::stream::iter([0_u8]).map(|_| panic!("cell 42 at poll"));
            Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&stream_schema), stream)))
        });
        for partitions in [1, 2] {
            let plan = SourceExec::new("test", Arc::clone(&schema), partitions, Arc::clone(&open));
            let error = collect(Arc::new(plan), Arc::new(TaskContext::default())).await.expect_err("panic");
            assert!(matches!(SourceError::of(&error), Some(SourceError::Unavailable(_))), "{error}");
            assert!(!error.to_string().contains("42"), "{error}");
        }
    }
}
