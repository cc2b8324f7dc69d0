//! Files read from their beginning to their end: the one scan of CSV, JSON and Arrow.
//!
//! INVARIANT: a scan stops with its listener: at most [`BATCHES_AHEAD`] batches are read that nobody takes.

use std::{fmt, sync::Arc};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    catalog::Session,
    error::{DataFusionError, Result as PlanResult},
    execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation},
    physical_plan::{ExecutionPlan, stream::RecordBatchReceiverStream},
};

use crate::{
    SourceError,
    place::Place,
    plan::{Open, SourceExec},
};

/// Batches in flight between the reading thread and the plan.
const BATCHES_AHEAD: usize = 2;

/// Takes the next batch; false says that no more is wanted.
pub(crate) type Take<'a> = dyn FnMut(RecordBatch) -> Result<bool, SourceError> + 'a;

/// One format: the rows of one file as fitted batches.
pub(crate) trait Format: fmt::Debug + Send + Sync {
    fn name(&self) -> &'static str;

    /// Hands the rows of the file to `take` as batches of `items` in the order of the file, until it says stop: false
    /// then. Blocking.
    fn read(
        &self,
        place: &Place,
        items: &[usize],
        schema: &SchemaRef,
        memory: &Memory,
        take: &mut Take<'_>,
    ) -> Result<bool, SourceError>;
}

/// What a reader holds beside its batches, taken from the pool of the plan it reads for.
#[derive(Debug)]
pub(crate) struct Memory(Option<MemoryReservation>);

impl Memory {
    fn of(pool: &Arc<dyn MemoryPool>, name: &str) -> Self {
        Self(Some(MemoryConsumer::new(name).register(pool)))
    }

    /// Without a plan: a row store is built by one thread a resource, one batch at a time.
    pub(crate) fn unpooled() -> Self {
        Self(None)
    }

    /// From now on the reader holds so many bytes.
    pub(crate) fn hold(&self, bytes: usize) -> Result<(), SourceError> {
        match &self.0 {
            Some(reservation) => reservation.try_resize(bytes).map_err(|_full| SourceError::NoMemory),
            None => Ok(()),
        }
    }
}

/// The files of one binding.
#[derive(Debug)]
pub(crate) struct ScannedFiles {
    format: Box<dyn Format>,
    places: Vec<Place>,
    schema: SchemaRef,
}

impl ScannedFiles {
    pub(crate) fn new(format: Box<dyn Format>, places: Vec<Place>, schema: SchemaRef) -> Self {
        Self { format, places, schema }
    }

    pub(crate) fn scan(
        self: &Arc<Self>,
        session: &dyn Session,
        items: Vec<usize>,
        limit: Option<usize>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let schema = Arc::new(self.schema.project(&items)?);
        let partitions = self.places.len().min(session.config().target_partitions()).max(1);
        let (files, batch_schema) = (Arc::clone(self), Arc::clone(&schema));
        let open: Arc<Open> = Arc::new(move |partition, task| {
            let mut stream = RecordBatchReceiverStream::builder(Arc::clone(&batch_schema), BATCHES_AHEAD);
            let sender = stream.tx();
            let memory = Memory::of(task.memory_pool(), files.format.name());
            let (files, items, schema) = (Arc::clone(&files), items.clone(), Arc::clone(&batch_schema));
            stream.spawn_blocking(move || {
                let mut left = limit.unwrap_or(usize::MAX);
                for place in files.places.iter().skip(partition).step_by(partitions) {
                    let read = files.format.read(place, &items, &schema, &memory, &mut |batch| {
                        let batch = if batch.num_rows() > left { batch.slice(0, left) } else { batch };
                        left -= batch.num_rows();
                        // Nobody listens any more: the plan was dropped.
                        Ok(sender.blocking_send(Ok(batch)).is_ok() && left > 0)
                    });
                    if !read.map_err(SourceError::into_plan_error)? {
                        break;
                    }
                }
                Ok::<(), DataFusionError>(())
            });
            Ok(stream.build())
        });
        Ok(Arc::new(SourceExec::new(self.format.name(), schema, partitions, open)))
    }

    /// Hands the rows of all files, in their order and with all items, to `take`. Blocking.
    pub(crate) fn read_all(
        &self,
        take: &mut dyn FnMut(RecordBatch) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        let items: Vec<usize> = (0..self.schema.fields().len()).collect();
        for place in &self.places {
            let mut go_on = |batch| take(batch).map(|()| true);
            self.format.read(place, &items, &self.schema, &Memory::unpooled(), &mut go_on)?;
        }
        Ok(())
    }
}
