//! Memory that operators of the engine take without asking the pool, asked for in their place.
//!
//! A window holds its whole input, or what lies between its bounds, and reserves nothing for it: `sum(x) OVER ()` over
//! a product would grow until the process ends. What goes in and has not come out again is reserved here, and a
//! statement that holds too much ends with the memory ceiling like any other.
//! A nested-loop join that meets the ceiling runs its build side a second time to spill it; what stands below cannot
//! be run twice (a repartition panics), so the second run is refused and the statement ends with the ceiling.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use datafusion::arrow::array::RecordBatch;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result as PlanResult, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::joins::NestedLoopJoinExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::StreamExt;

/// A window keeps its input, puts it together once more, and makes its results beside it.
const TIMES: usize = 3;

/// The rule that puts scales before and behind every window, and lets no join run its build side twice.
#[derive(Debug)]
pub(super) struct WeighedBuffers;

impl PhysicalOptimizerRule for WeighedBuffers {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let wrapped = plan.transform_up(|node| {
            let mut children: Vec<Arc<dyn ExecutionPlan>> = node.children().into_iter().cloned().collect();
            if node.is::<NestedLoopJoinExec>() {
                if let Some(build) = children.first_mut() {
                    *build = Gauge::over(build.clone(), Kind::Once(AtomicBool::new(false)));
                }
                return Ok(Transformed::yes(replace_children_if_necessary(node, children)?));
            }
            if !node.is::<WindowAggExec>() && !node.is::<BoundedWindowAggExec>() {
                return Ok(Transformed::no(node));
            }
            let scale = Arc::new(Scale::default());
            if let Some(input) = children.first_mut() {
                *input = Gauge::over(input.clone(), Kind::In(scale.clone()));
            }
            let window = replace_children_if_necessary(node, children)?;
            Ok(Transformed::yes(Gauge::over(window, Kind::Out(scale)) as Arc<dyn ExecutionPlan>))
        })?;
        Ok(wrapped.data)
    }

    fn name(&self) -> &str {
        "weighed_buffers"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// What went into a window and has not come out.
#[derive(Debug, Default)]
struct Scale(Mutex<Weight>);

#[derive(Debug, Default)]
struct Weight {
    rows_in: usize,
    bytes_in: usize,
    rows_out: usize,
    reservation: Option<MemoryReservation>,
}

impl Scale {
    fn open(&self, task: &TaskContext) {
        let mut weight = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let reservation = || MemoryConsumer::new("window").register(task.memory_pool());
        weight.reservation.get_or_insert_with(reservation);
    }

    fn put(&self, batch: &RecordBatch) -> PlanResult<()> {
        let mut weight = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        weight.rows_in += batch.num_rows();
        weight.bytes_in += batch.get_array_memory_size();
        weight.weigh()
    }

    fn take(&self, batch: &RecordBatch) -> PlanResult<()> {
        let mut weight = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        weight.rows_out += batch.num_rows();
        weight.weigh()
    }

    fn close(&self) {
        let mut weight = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        weight.reservation = None;
    }
}

impl Weight {
    /// Rows on the scale at the average weight of all that went in.
    fn weigh(&mut self) -> PlanResult<()> {
        let inside = self.rows_in.saturating_sub(self.rows_out);
        let bytes = (self.bytes_in / self.rows_in.max(1)).saturating_mul(inside).saturating_mul(TIMES);
        match &mut self.reservation {
            Some(reservation) => reservation.try_resize(bytes),
            None => Ok(()),
        }
    }
}

#[derive(Debug)]
enum Kind {
    In(Arc<Scale>),
    Out(Arc<Scale>),
    /// Whether it ran.
    Once(AtomicBool),
}

/// Passes batches on as they are, and weighs or counts.
#[derive(Debug)]
struct Gauge {
    input: Arc<dyn ExecutionPlan>,
    kind: Kind,
}

impl Gauge {
    fn over(input: Arc<dyn ExecutionPlan>, kind: Kind) -> Arc<dyn ExecutionPlan> {
        Arc::new(Self { input, kind })
    }
}

impl DisplayAs for Gauge {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gauge")
    }
}

impl ExecutionPlan for Gauge {
    fn name(&self) -> &str {
        "Gauge"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.pop() else { return internal_err!("a gauge needs an input") };
        let kind = match &self.kind {
            Kind::In(scale) => Kind::In(scale.clone()),
            Kind::Out(scale) => Kind::Out(scale.clone()),
            Kind::Once(_) => Kind::Once(AtomicBool::new(false)),
        };
        Ok(Self::over(input, kind))
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn for<'a> FnMut(&'a Arc<dyn PhysicalExpr>) -> PlanResult<TreeNodeRecursion>,
    ) -> PlanResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(&self, partition: usize, task: Arc<TaskContext>) -> PlanResult<SendableRecordBatchStream> {
        match &self.kind {
            Kind::In(scale) => {
                scale.open(&task);
                let input = self.input.execute(partition, task)?;
                let scale = scale.clone();
                let schema = input.schema();
                let weighed =
                    input.map(move |batch| batch.and_then(|batch| scale.put(&batch).map(|()| batch)));
                Ok(Box::pin(RecordBatchStreamAdapter::new(schema, weighed)))
            }
            Kind::Out(scale) => {
                scale.open(&task);
                let input = self.input.execute(partition, task)?;
                let held = Held(scale.clone());
                let schema = input.schema();
                let weighed =
                    input.map(move |batch| batch.and_then(|batch| held.0.take(&batch).map(|()| batch)));
                Ok(Box::pin(RecordBatchStreamAdapter::new(schema, weighed)))
            }
            // The build side of such a join is always one partition.
            Kind::Once(ran) if ran.swap(true, Ordering::SeqCst) => Err(DataFusionError::ResourcesExhausted(
                "one side of a join does not fit into memory".to_owned(),
            )),
            Kind::Once(_) => self.input.execute(partition, task),
        }
    }
}

/// Gives the memory back with the last stream that reads from the window.
struct Held(Arc<Scale>);

impl Drop for Held {
    fn drop(&mut self) {
        // Of several partitions the first that ends empties the scale of all; those that go on weigh no more.
        if Arc::strong_count(&self.0) <= 3 {
            self.0.close();
        }
    }
}
