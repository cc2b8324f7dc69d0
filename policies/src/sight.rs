//! Sight: what one permit lets be seen of one resource: its output items as masked, its rows as scoped.
//!
//! INVARIANT: scope, then masks, then everything else: [`Sight::govern`] is the one gate of SQL and of the key lane.
//! INVARIANT: governed arrays own their buffers and hold visible rows' shown values only; null slots are zero.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::filter;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use catalog::{Resource, ResourceName, SharingClass};
use datafusion_common::{DataFusionError, TableReference};
use datafusion_expr::Expr;
use thiserror::Error;

use crate::barrier::BarrierFault;
use crate::caller::Caller;
use crate::grant::Terms;
use crate::mask::{Mask, PseudonymKey};
use crate::scope::{BoundScope, ScopeFault};

mod compact;

pub use compact::CELL_BYTES_MAX;

/// Why a grant gives no sight of a resource, so that the call is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SightFault {
    #[error(
        "the grant names the item `{0}`, which the resource no longer has, ask the provider to grant again"
    )]
    UnknownItem(String),
    #[error("the grant names the item `{0}` twice, ask the provider to grant again")]
    Twice(String),
    #[error("the item `{0}` is withheld now, ask the provider to grant again")]
    Withheld(String),
    #[error("the grant's mask no longer fits the item `{0}`, ask the provider to grant again")]
    Mask(String),
    #[error(transparent)]
    Scope(#[from] ScopeFault),
}

/// What one permit lets be seen of one resource.
#[derive(Clone)]
pub struct Sight {
    resource: ResourceName,
    /// All items of the resource, as the source gives them.
    source: SchemaRef,
    /// Output items in catalogue order, as masked.
    schema: SchemaRef,
    shown: Vec<Shown>,
    scope: Option<BoundScope>,
    inputs: Vec<String>,
    key: Option<PseudonymKey>,
}

/// One output item: its position in the resource and how it is shown.
#[derive(Debug, Clone)]
struct Shown {
    index: usize,
    mask: Option<Mask>,
}

/// Name of the column that [`Sight::govern_keyed`] puts first.
pub const KEY_INDEX: &str = "key_index";

impl Sight {
    /// The sight that terms give a caller; `master` is the hub's key, from which the caller's own is derived.
    pub fn new(
        resource: &Resource,
        terms: &Terms,
        caller: &Caller,
        master: &PseudonymKey,
    ) -> Result<Self, SightFault> {
        let mut seen = BTreeSet::new();
        for output in &terms.output {
            if resource.item(&output.item).is_none() {
                return Err(SightFault::UnknownItem(output.item.clone()));
            }
            if !seen.insert(output.item.as_str()) {
                return Err(SightFault::Twice(output.item.clone()));
            }
        }
        let mut shown = Vec::new();
        let mut fields = Vec::new();
        for (index, item) in resource.items.iter().enumerate() {
            let Some(output) = terms.output.iter().find(|output| output.item == item.name) else {
                continue;
            };
            if withheld(resource, &item.name) {
                return Err(SightFault::Withheld(item.name.clone()));
            }
            let data_type = match &output.mask {
                Some(mask) => {
                    mask.output_type(item.item_type).map_err(|_| SightFault::Mask(item.name.clone()))?
                }
                None => item.item_type.arrow(),
            };
            fields.push(Field::new(&item.name, data_type, true));
            shown.push(Shown { index, mask: output.mask.clone() });
        }
        let scope = terms.scope.as_ref().map(|scope| scope.bind(resource, caller)).transpose()?;
        Ok(Self {
            resource: resource.name.clone(),
            source: resource.schema(),
            schema: Arc::new(Schema::new(fields)),
            shown,
            scope,
            inputs: inputs(resource, terms)?,
            key: Some(master.derive(caller.department(), &terms.purpose)),
        })
    }

    /// Every item of every row in the clear: for the hub's own record (`system.audit`) and a reviewer only.
    pub fn whole(resource: &Resource) -> Self {
        let source = resource.schema();
        Self {
            resource: resource.name.clone(),
            schema: Arc::clone(&source),
            source,
            shown: (0..resource.items.len()).map(|index| Shown { index, mask: None }).collect(),
            scope: None,
            inputs: resource.items.iter().filter(|item| item.key).map(|item| item.name.clone()).collect(),
            key: None,
        }
    }

    pub fn resource(&self) -> &ResourceName {
        &self.resource
    }

    /// The output items in catalogue order, in the types they are shown in; every field nullable.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// All items of the resource: what the source must give.
    pub fn source_schema(&self) -> &SchemaRef {
        &self.source
    }

    /// Items usable as look-up keys by their true value; never echoed unless they are output items too.
    pub fn inputs(&self) -> &[String] {
        &self.inputs
    }

    /// Whether rows are hidden: then a limit must not reach the source.
    pub fn scoped(&self) -> bool {
        self.scope.is_some()
    }

    /// Whether the output item is shown as it is, so that a predicate on it may reach the source.
    pub fn unmasked(&self, item: &str) -> bool {
        let position = self.schema.index_of(item).ok();
        position.and_then(|position| self.shown.get(position)).is_some_and(|shown| shown.mask.is_none())
    }

    /// The row scope over the item names of `table`.
    pub fn scope_expr(&self, table: &TableReference) -> Option<Expr> {
        self.scope.as_ref().map(|scope| scope.expr(table))
    }

    /// Positions in the resource's schema, ascending, of the columns that [`Sight::govern`] needs for `projection`
    /// (positions in [`Sight::schema`]; none for all): the items to show and those of the scope.
    pub fn source_columns(&self, projection: Option<&[usize]>) -> Vec<usize> {
        let mut columns: BTreeSet<usize> = self.scope.iter().flat_map(BoundScope::columns).collect();
        match projection {
            Some(positions) => {
                columns
                    .extend(positions.iter().filter_map(|at| self.shown.get(*at)).map(|shown| shown.index));
            }
            None => columns.extend(self.shown.iter().map(|shown| shown.index)),
        }
        columns.into_iter().collect()
    }

    /// The schema of [`Sight::govern`]'s batches for `projection`.
    pub fn projected(&self, projection: Option<&[usize]>) -> Result<SchemaRef, DataFusionError> {
        match projection {
            Some(positions) => {
                let schema = self.schema.project(positions).map_err(|_| BarrierFault::Shape.sealed())?;
                Ok(Arc::new(schema))
            }
            None => Ok(Arc::clone(&self.schema)),
        }
    }

    /// Drops the rows out of scope, masks and projects the rest.
    ///
    /// `batch` holds exactly the columns of [`Sight::source_columns`] for the same `projection`, in that order and in the
    /// items' own types. Errors tell no value: [`BarrierFault`], or `ResourcesExhausted` for a cell over
    /// [`CELL_BYTES_MAX`] in a visible row.
    pub fn govern(
        &self,
        batch: RecordBatch,
        projection: Option<&[usize]>,
    ) -> Result<RecordBatch, DataFusionError> {
        let columns = self.source_columns(projection);
        self.check_columns(&batch, &columns)?;
        let column = |index: usize| columns.binary_search(&index).ok().and_then(|at| batch.columns().get(at));
        let keep = self.keep(&batch, &columns)?;
        let rows = keep.as_ref().map_or(batch.num_rows(), BooleanArray::true_count);
        let all: Vec<usize>;
        let positions = match projection {
            Some(positions) => positions,
            None => {
                all = (0..self.shown.len()).collect();
                &all
            }
        };
        let mut arrays = Vec::with_capacity(positions.len());
        for position in positions {
            let shown = self.shown.get(*position).ok_or_else(|| BarrierFault::Shape.sealed())?;
            let array = column(shown.index).ok_or_else(|| BarrierFault::Shape.sealed())?;
            arrays.push(self.show(shown, array, keep.as_ref())?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.projected(projection)?, arrays, &options)
            .map_err(|_| BarrierFault::Shape.sealed())
    }

    /// [`Sight::govern`] for rows found by key: before them a column `key_index`, which key (from 0) found the row.
    pub fn govern_keyed(
        &self,
        batch: RecordBatch,
        key_index: Vec<u32>,
        projection: &[usize],
    ) -> Result<RecordBatch, DataFusionError> {
        let shape = || BarrierFault::Shape.sealed();
        let columns = self.source_columns(Some(projection));
        self.check_columns(&batch, &columns)?;
        let mut index: ArrayRef = Arc::new(UInt32Array::from(key_index));
        if let Some(keep) = self.keep(&batch, &columns)? {
            index = filter(&index, &keep).map_err(|_| shape())?;
        }
        let rows = self.govern(batch, Some(projection))?;
        let mut fields = vec![Arc::new(Field::new(KEY_INDEX, DataType::UInt32, false))];
        fields.extend(rows.schema().fields().iter().cloned());
        let mut arrays = vec![index];
        arrays.extend(rows.columns().iter().cloned());
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(|_| shape())
    }

    /// Which rows are in scope; none for all.
    fn keep(&self, batch: &RecordBatch, columns: &[usize]) -> Result<Option<BooleanArray>, DataFusionError> {
        let column = |index: usize| columns.binary_search(&index).ok().and_then(|at| batch.columns().get(at));
        let Some(scope) = &self.scope else { return Ok(None) };
        scope.keep(&column).map(Some).map_err(|_| BarrierFault::Shape.sealed())
    }

    fn show(
        &self,
        shown: &Shown,
        array: &ArrayRef,
        keep: Option<&BooleanArray>,
    ) -> Result<ArrayRef, DataFusionError> {
        let kept = match keep {
            Some(keep) => filter(array, keep).map_err(|_| BarrierFault::Shape.sealed())?,
            None => Arc::clone(array),
        };
        match (&shown.mask, &self.key) {
            (None, _) => compact::compact(&kept),
            (Some(mask), Some(key)) => {
                let masked = mask.apply(&kept, key).map_err(|_| BarrierFault::Shape.sealed())?;
                compact::check_cells(&masked)?;
                Ok(masked)
            }
            // A mask without a key is not made by any constructor; shown to nobody should it be.
            (Some(_), None) => Err(BarrierFault::Shape.sealed()),
        }
    }

    /// The source must keep to the declared types: another one is a fault of the source, not a reason to cast.
    fn check_columns(&self, batch: &RecordBatch, columns: &[usize]) -> Result<(), DataFusionError> {
        let same = batch.num_columns() == columns.len()
            && batch.columns().iter().zip(columns).all(|(array, index)| {
                self.source.fields().get(*index).is_some_and(|field| field.data_type() == array.data_type())
            });
        if same { Ok(()) } else { Err(BarrierFault::Shape.sealed()) }
    }
}

/// Shows names only: a scope's literals are the provider's, attributes the caller's own.
impl fmt::Debug for Sight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sight").field("resource", &self.resource).finish_non_exhaustive()
    }
}

/// An item of a withheld entry, or one withheld on its own.
pub(crate) fn withheld(resource: &Resource, item: &str) -> bool {
    let class = resource.item(item).and_then(|item| item.class);
    resource.class == SharingClass::Withheld || class == Some(SharingClass::Withheld)
}

fn inputs(resource: &Resource, terms: &Terms) -> Result<Vec<String>, SightFault> {
    let mut inputs = Vec::new();
    for name in &terms.input {
        let item = resource.item(name).ok_or_else(|| SightFault::UnknownItem(name.clone()))?;
        if withheld(resource, name) {
            return Err(SightFault::Withheld(name.clone()));
        }
        // A later version may have dropped the key; the grant stays good for its other inputs.
        if item.key {
            inputs.push(name.clone());
        }
    }
    Ok(inputs)
}

#[cfg(test)]
mod tests;
