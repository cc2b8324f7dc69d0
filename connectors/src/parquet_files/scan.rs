//! A scan of Parquet files: pruned by row group and page, projected, then fitted to the items.

use std::sync::{Arc, LazyLock};

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions},
    datatypes::{DataType, SchemaRef, TimeUnit},
};
use catalog::ItemType;
use datafusion::{
    catalog::Session,
    common::{Column, DFSchema},
    datasource::{
        listing::PartitionedFile,
        object_store::ObjectStoreUrl,
        physical_plan::{FileGroup, FileGroupPartitioner, FileScanConfigBuilder, ParquetSource},
        source::DataSourceExec,
    },
    error::Result,
    execution::{
        SendableRecordBatchStream, TaskContext,
        object_store::{DefaultObjectStoreRegistry, ObjectStoreRegistry},
        runtime_env::RuntimeEnv,
    },
    logical_expr::{Expr, Operator, binary_expr, expr::InList},
    physical_expr::PhysicalExpr,
    physical_plan::{ExecutionPlan, stream::RecordBatchStreamAdapter},
    scalar::ScalarValue,
};
use futures::StreamExt;
use object_store::memory::InMemory;

use super::{ParquetFiles, reader::Readers};
use crate::{
    SourceError, fit,
    plan::{Open, SourceExec},
    predicate::{Comparison, Leaf, Predicate, predicate, text_of},
};

/// An empty store under a name of our own: whatever the session registers, a plan of ours reads mounted files only.
static STORE: LazyLock<(ObjectStoreUrl, Arc<dyn ObjectStoreRegistry>)> = LazyLock::new(|| {
    let url = ObjectStoreUrl::local_filesystem();
    let registry = DefaultObjectStoreRegistry::new();
    registry.register_store(url.as_ref(), Arc::new(InMemory::new()));
    (url, Arc::new(registry))
});

struct Scan {
    files: Arc<ParquetFiles>,
    groups: Vec<FileGroup>,
    items: Vec<usize>,
    schema: SchemaRef,
    /// Columns read, of the source schema.
    columns: Vec<usize>,
    predicate: Option<Arc<dyn PhysicalExpr>>,
    limit: Option<usize>,
}

impl ParquetFiles {
    /// Whether some of the filter can be used for pruning.
    pub(crate) fn can_filter(&self, filter: &Expr) -> bool {
        self.predicate(filter).is_some()
    }

    fn predicate(&self, filter: &Expr) -> Option<Predicate> {
        predicate(filter, &self.schema, &|leaf| self.expr(leaf).is_some())
    }

    /// A leaf on the source column, when the item is that column value for value.
    fn expr(&self, leaf: &Leaf) -> Option<Expr> {
        let item = self.resource.items.get(leaf.item())?;
        let field = self.views.field(*self.columns.get(leaf.item())?);
        let kind = field.data_type();
        let utc = matches!(kind, DataType::Timestamp(TimeUnit::Microsecond, Some(_)));
        let plain = utc
            || kind.is_integer()
            || matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Date32);
        if !plain || fit::route(kind, item.item_type) != Some(fit::Route::Same) {
            return None;
        }
        let column = || Expr::Column(Column::from_name(field.name()));
        let literal = |value: &ScalarValue| {
            let same = match item.item_type {
                ItemType::Text => text_of(value, item.item_type).is_some(),
                ItemType::Integer => value.data_type().is_integer(),
                other => value.data_type() == other.arrow(),
            };
            let cast = same.then(|| value.cast_to(kind).ok()).flatten()?;
            (!cast.is_null()).then_some(Expr::Literal(cast, None))
        };
        Some(match leaf {
            Leaf::Compare { comparison, literal: value, .. } => {
                binary_expr(column(), operator(*comparison), literal(value)?)
            }
            Leaf::In { literals, negated, .. } => {
                let list = literals.iter().map(literal).collect::<Option<Vec<_>>>()?;
                Expr::InList(InList::new(Box::new(column()), list, *negated))
            }
            Leaf::IsNull { .. } => Expr::IsNull(Box::new(column())),
            Leaf::IsNotNull { .. } => Expr::IsNotNull(Box::new(column())),
        })
    }

    fn joined(&self, predicate: &Predicate) -> Option<Expr> {
        match predicate {
            Predicate::Leaf(leaf) => self.expr(leaf),
            Predicate::All(parts) => parts.iter().filter_map(|part| self.joined(part)).reduce(Expr::and),
            Predicate::Any(parts) => {
                let parts = parts.iter().map(|part| self.joined(part)).collect::<Option<Vec<_>>>()?;
                parts.into_iter().reduce(Expr::or)
            }
        }
    }

    pub(crate) fn scan(
        self: &Arc<Self>,
        session: &dyn Session,
        items: Vec<usize>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let wanted = filters.iter().filter_map(|filter| self.joined(&self.predicate(filter)?));
        let predicate = match wanted.reduce(Expr::and) {
            Some(filter) => {
                let schema = DFSchema::try_from(self.views.as_ref().clone())?;
                Some(session.create_physical_expr(filter, &schema)?)
            }
            None => None,
        };
        let files = self.files.iter().map(|file| {
            let name = format!("{}", file.place.identity.bytes);
            PartitionedFile::new(name, file.place.identity.bytes).with_extension(Arc::clone(file))
        });
        let groups: Vec<FileGroup> = files.map(|file| FileGroup::new(vec![file])).collect();
        let options = session.config_options();
        let split = FileGroupPartitioner::new()
            .with_target_partitions(session.config().target_partitions())
            .with_repartition_file_min_size(options.optimizer.repartition_file_min_size)
            .repartition_file_groups(&groups);
        let groups = split.unwrap_or(groups);
        let groups = gathered(groups, session.config().target_partitions());
        let schema = Arc::new(self.schema.project(&items)?);
        let mut columns: Vec<usize> =
            items.iter().filter_map(|item| self.columns.get(*item).copied()).collect();
        columns.sort_unstable();
        columns.dedup();
        let scan = Scan {
            files: Arc::clone(self),
            items,
            schema: Arc::clone(&schema),
            columns,
            predicate,
            limit: limit.filter(|_| filters.is_empty()),
            groups,
        };
        let partitions = scan.groups.len();
        let open: Arc<Open> = Arc::new(move |partition, task| scan.open(partition, &task));
        Ok(Arc::new(SourceExec::new("parquet", schema, partitions, open)))
    }
}

/// At most `target` groups.
fn gathered(groups: Vec<FileGroup>, target: usize) -> Vec<FileGroup> {
    let target = target.max(1);
    if groups.len() <= target {
        return groups;
    }
    let mut lists: Vec<Vec<PartitionedFile>> = vec![Vec::new(); target];
    for (number, group) in groups.into_iter().enumerate() {
        if let Some(list) = lists.get_mut(number % target) {
            list.extend(group.into_inner());
        }
    }
    lists.into_iter().map(FileGroup::new).collect()
}

fn operator(comparison: Comparison) -> Operator {
    match comparison {
        Comparison::Equal => Operator::Eq,
        Comparison::NotEqual => Operator::NotEq,
        Comparison::Less => Operator::Lt,
        Comparison::LessOrEqual => Operator::LtEq,
        Comparison::Greater => Operator::Gt,
        Comparison::GreaterOrEqual => Operator::GtEq,
    }
}

impl Scan {
    /// Reads one group by a plan made for it alone: groups of one shared plan would take files from each other.
    fn open(&self, partition: usize, task: &Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (url, registry) = &*STORE;
        let mut source = ParquetSource::new(Arc::clone(&self.files.views))
            .with_parquet_file_reader_factory(Arc::new(Readers))
            .with_enable_page_index(true);
        if let Some(predicate) = &self.predicate {
            source = source.with_predicate(Arc::clone(predicate)).with_pushdown_filters(true);
        }
        let group = self.groups.get(partition).cloned().unwrap_or_default();
        let config = FileScanConfigBuilder::new(url.clone(), Arc::new(source))
            .with_file_group(group)
            .with_projection_indices(Some(self.columns.clone()))?
            .with_limit(self.limit)
            .build();
        let runtime =
            RuntimeEnv { object_store_registry: Arc::clone(registry), ..task.runtime_env().as_ref().clone() };
        let task = TaskContext::new(
            task.task_id(),
            task.session_id(),
            task.session_config().clone(),
            task.scalar_functions().clone(),
            task.higher_order_functions().clone(),
            task.aggregate_functions().clone(),
            task.window_functions().clone(),
            Arc::new(runtime),
        );
        let stream = DataSourceExec::from_data_source(config).execute(0, Arc::new(task))?;
        let (files, schema) = (Arc::clone(&self.files), Arc::clone(&self.schema));
        let (items, columns) = (self.items.clone(), self.columns.clone());
        let cell_bytes_max = files.cell_bytes_max;
        let sized = stream.flat_map(move |batch| {
            let parts = batch.and_then(|batch| {
                super::sized::parts(batch, cell_bytes_max).map_err(SourceError::into_plan_error)
            });
            let parts = match parts {
                Ok(parts) => parts.into_iter().map(Ok).collect(),
                Err(fault) => vec![Err(fault)],
            };
            futures::stream::iter(parts)
        });
        let fitted = sized.map(move |batch| {
            fit_batch(&files, &batch?, &columns, &items, &schema).map_err(SourceError::into_plan_error)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), fitted)))
    }
}

/// A batch of source `columns` as one of `items`.
pub(super) fn fit_batch(
    files: &ParquetFiles,
    batch: &RecordBatch,
    columns: &[usize],
    items: &[usize],
    schema: &SchemaRef,
) -> Result<RecordBatch, SourceError> {
    let mut fitted: Vec<ArrayRef> = Vec::with_capacity(items.len());
    for number in items {
        let wrong = || SourceError::unavailable("a column went missing");
        let column = files.columns.get(*number).ok_or_else(wrong)?;
        let at = columns.iter().position(|read| read == column).ok_or_else(wrong)?;
        let item = files.resource.items.get(*number).ok_or_else(wrong)?;
        let (column, unfit) = fit::fit(batch.column(at), item.item_type)?;
        files.unfit.add(*number, unfit);
        fitted.push(column);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), fitted, &options)?)
}
