//! Joins that can be cancelled: they make more rows than they read, so the leaves' own yields do not bound the time
//! between two yields.
//!
//! Every join's output takes its share of the task's budget; a nested-loop join, which may compare for long without
//! putting out a row, reads its probe side in steps and yields before each. A step grows while the join is quick with
//! it and shrinks when it is not, so its time is bounded whatever stands on the other side.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

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

/// Probe rows of the first step: 200,000 rows on the other side make 1.6 million comparisons.
const STEP_ROWS: usize = 8;
/// Probe rows of the largest step.
const STEP_ROWS_MAX: usize = 8_192;
/// Below it a step doubles, above four times of it a step halves.
const STEP_TIME: Duration = Duration::from_millis(10);

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
        let steps = futures::stream::try_unfold(Steps::new(input), Steps::next);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, steps)))
    }
}

/// A probe side being read: what is left of its batch, and how large the next step is.
struct Steps {
    input: SendableRecordBatchStream,
    left: Option<RecordBatch>,
    rows: usize,
    given: Option<Instant>,
}

impl Steps {
    fn new(input: SendableRecordBatchStream) -> Self {
        Self { input, left: None, rows: STEP_ROWS, given: None }
    }

    /// The join asks for the next step when it is done with the one before.
    async fn next(mut self) -> PlanResult<Option<(RecordBatch, Self)>> {
        match self.given.map(|given| given.elapsed()) {
            Some(time) if time > STEP_TIME * 4 => self.rows = (self.rows / 2).max(1),
            Some(time) if time < STEP_TIME => self.rows = (self.rows * 2).min(STEP_ROWS_MAX),
            _ => {}
        }
        tokio::task::yield_now().await;
        let batch = match self.left.take() {
            Some(batch) => batch,
            None => match self.input.next().await.transpose()? {
                Some(batch) => batch,
                None => return Ok(None),
            },
        };
        let rows = self.rows.min(batch.num_rows());
        if rows < batch.num_rows() {
            self.left = Some(batch.slice(rows, batch.num_rows() - rows));
        }
        self.given = Some(Instant::now());
        Ok(Some((batch.slice(0, rows), self)))
    }
}
