//! Joins that can be cancelled: they make more rows than they read, so the leaves' own yields do not bound the time
//! between two yields.
//!
//! Every join's output takes its share of the task's budget; a nested-loop join, which may compare for long without
//! putting out a row, reads its probe side in steps of [`STEP_ROWS`] and yields before each. With the 40,000 rows of
//! a county on the other side a step is 2.6 million comparisons, well under 0.1 s.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result as PlanResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::joins::NestedLoopJoinExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::StreamExt;

/// Probe rows between two yields of a nested-loop join.
pub(super) const STEP_ROWS: usize = 64;

/// The rule that makes joins yield; the last of the physical optimizer.
#[derive(Debug)]
pub(super) struct YieldingJoins;

impl PhysicalOptimizerRule for YieldingJoins {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let wrapped = plan.transform_up(|node| {
            if !node.name().contains("Join") {
                return Ok(Transformed::no(node));
            }
            let node = if node.is::<NestedLoopJoinExec>() { small_steps(node)? } else { node };
            Ok(Transformed::yes(Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>))
        })?;
        Ok(wrapped.data)
    }

    fn name(&self) -> &str {
        "yielding_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The join with its probe side, the second child, in small steps.
fn small_steps(join: Arc<dyn ExecutionPlan>) -> PlanResult<Arc<dyn ExecutionPlan>> {
    let mut children: Vec<Arc<dyn ExecutionPlan>> = join.children().into_iter().cloned().collect();
    if let Some(probe) = children.get_mut(1) {
        *probe = Arc::new(SmallSteps { input: probe.clone() });
    }
    replace_children_if_necessary(join, children)
}

/// The same rows in small batches, with a yield before each.
#[derive(Debug)]
struct SmallSteps {
    input: Arc<dyn ExecutionPlan>,
}

impl DisplayAs for SmallSteps {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SmallSteps")
    }
}

impl ExecutionPlan for SmallSteps {
    fn name(&self) -> &str {
        "SmallSteps"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        match children.pop() {
            Some(input) => Ok(Arc::new(Self { input })),
            None => Err(DataFusionError::Internal("small steps need an input".to_owned())),
        }
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn for<'a> FnMut(&'a Arc<dyn PhysicalExpr>) -> PlanResult<TreeNodeRecursion>,
    ) -> PlanResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(&self, partition: usize, task: Arc<TaskContext>) -> PlanResult<SendableRecordBatchStream> {
        let input = self.input.execute(partition, task)?;
        let schema = input.schema();
        let steps = input.flat_map(|batch| match batch {
            Ok(batch) => futures::stream::iter(slices(&batch).map(Ok).collect::<Vec<_>>()),
            Err(cause) => futures::stream::iter(vec![Err(cause)]),
        });
        let steps = steps.then(async |step| {
            tokio::task::yield_now().await;
            step
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, steps)))
    }
}

fn slices(batch: &RecordBatch) -> impl Iterator<Item = RecordBatch> + '_ {
    let rows = batch.num_rows();
    (0..rows).step_by(STEP_ROWS).map(move |start| batch.slice(start, STEP_ROWS.min(rows - start)))
}
