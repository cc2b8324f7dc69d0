//! The barrier in a physical plan: a leaf that runs its private plan and lets governed batches out.
//!
//! INVARIANT: a leaf with no children, statistics, metrics or ordering, so no optimizer can look or push below.
//! INVARIANT: batches leave as [`Cutter`] cuts them, never as the source made them.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion_common::tree_node::TreeNodeRecursion;
use datafusion_common::{DataFusionError, Result};
use datafusion_execution::{SendableRecordBatchStream, TaskContext};
use datafusion_physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion_physical_plan::coop::make_cooperative;
use datafusion_physical_plan::execution_plan::{SchedulingType, reset_plan_states};
use datafusion_physical_plan::stream::RecordBatchStreamAdapter;
use datafusion_physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties,
};
use futures::stream::BoxStream;
use futures::{StreamExt, stream};

use super::Check;
use super::cut::Cutter;
use crate::barrier::{self, BarrierFault};
use crate::sight::Sight;

/// Rows governed in one step: keeps each step's memory and the time between two checks small.
const STEP_ROWS: usize = 16_384;

pub(super) struct BarrierExec {
    inner: Arc<dyn ExecutionPlan>,
    sight: Arc<Sight>,
    projection: Option<Vec<usize>>,
    /// Rows after which nobody asks for more.
    limit: Option<usize>,
    check: Check,
    properties: Arc<PlanProperties>,
}

impl BarrierExec {
    pub(super) fn new(
        inner: Arc<dyn ExecutionPlan>,
        sight: Arc<Sight>,
        projection: Option<Vec<usize>>,
        limit: Option<usize>,
        check: Check,
    ) -> Result<Self> {
        let below = inner.properties();
        // How rows are spread or ordered below is told by hidden columns too: only the number of streams is kept.
        let properties = PlanProperties::new(
            EquivalenceProperties::new(sight.projected(projection.as_deref())?),
            Partitioning::UnknownPartitioning(inner.output_partitioning().partition_count()),
            below.emission_type,
            below.boundedness,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        Ok(Self { inner, sight, projection, limit, check, properties: Arc::new(properties) })
    }
}

impl fmt::Debug for BarrierExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BarrierExec")
    }
}

impl DisplayAs for BarrierExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BarrierExec")
    }
}

impl ExecutionPlan for BarrierExec {
    fn name(&self) -> &str {
        "BarrierExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if children.is_empty() { Ok(self) } else { Err(BarrierFault::Shape.sealed()) }
    }

    /// A plan that runs twice must start anew below too: the walk over children does not get there.
    fn reset_state(self: Arc<Self>) -> Result<Arc<dyn ExecutionPlan>> {
        let inner = reset_plan_states(Arc::clone(&self.inner)).map_err(|error| barrier::sealed(&error))?;
        Ok(Arc::new(Self {
            inner,
            sight: Arc::clone(&self.sight),
            projection: self.projection.clone(),
            limit: self.limit,
            check: Arc::clone(&self.check),
            properties: Arc::clone(&self.properties),
        }))
    }

    fn execute(&self, partition: usize, task: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let gate = Gate {
            sight: Arc::clone(&self.sight),
            projection: self.projection.clone(),
            check: Arc::clone(&self.check),
        };
        gate.check()?;
        let below = self.inner.execute(partition, task).map_err(|error| barrier::sealed(&error))?;
        let schema = Arc::clone(self.properties.equivalence_properties().schema());
        let flow = Flow {
            steps: below.flat_map(steps).boxed(),
            gate,
            cutter: Cutter::new(Arc::clone(&schema), self.limit),
        };
        let governed = stream::unfold(Some(flow), Flow::next);
        let stream = RecordBatchStreamAdapter::new(schema, governed);
        Ok(make_cooperative(Box::pin(stream)))
    }
}

/// One stream on its way out: governed piece by piece, then cut.
struct Flow {
    steps: BoxStream<'static, Result<RecordBatch>>,
    gate: Gate,
    cutter: Cutter,
}

impl Flow {
    /// The next batch and what is left; nothing is left after an error.
    async fn next(flow: Option<Self>) -> Option<(Result<RecordBatch>, Option<Self>)> {
        let mut flow = flow?;
        match flow.batch().await {
            Ok(Some(batch)) => Some((Ok(batch), Some(flow))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    }

    async fn batch(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.cutter.next() {
                // Once more: what was governed before may have waited for the rest of its batch.
                self.gate.check()?;
                return Ok(Some(batch));
            }
            match self.steps.next().await {
                Some(step) => self.cutter.push(&self.gate.pass(step)?)?,
                None => {
                    self.cutter.finish()?;
                    return Ok(self.cutter.next());
                }
            }
        }
    }
}

/// What every batch of one stream passes.
struct Gate {
    sight: Arc<Sight>,
    projection: Option<Vec<usize>>,
    check: Check,
}

impl Gate {
    fn check(&self) -> Result<()> {
        (self.check)().map_err(|stop| BarrierFault::Stopped(stop).sealed())
    }

    fn pass(&self, step: Result<RecordBatch>) -> Result<RecordBatch> {
        let batch = step.map_err(|error| barrier::sealed(&error))?;
        let governed = self.sight.govern(batch, self.projection.as_deref())?;
        // After the work, so that what was revoked meanwhile does not leave.
        self.check()?;
        Ok(governed)
    }
}

type Steps = stream::Iter<std::vec::IntoIter<Result<RecordBatch, DataFusionError>>>;

/// Cuts a large batch; the pieces are copied when they are governed, so nothing is shared beyond that.
fn steps(batch: Result<RecordBatch>) -> Steps {
    let pieces = match batch {
        Ok(batch) if batch.num_rows() > STEP_ROWS => (0..batch.num_rows())
            .step_by(STEP_ROWS)
            .map(|from| Ok(batch.slice(from, STEP_ROWS.min(batch.num_rows() - from))))
            .collect(),
        whole => vec![whole],
    };
    stream::iter(pieces)
}
