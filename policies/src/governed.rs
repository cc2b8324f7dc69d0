//! The one table a caller's statement can reach: a source below a barrier that consumer predicates cannot pass.
//!
//! INVARIANT: a consumer's predicate goes below only when it cannot fail and reads unmasked output items alone.
//! INVARIANT: no logical plan, definition, statistics, metrics or child of what lies below can be seen from above.
//! INVARIANT: every batch that leaves went through [`Sight::govern`] and the permit's check.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion_catalog::default_table_source::{provider_as_source, source_as_provider};
use datafusion_catalog::{Session, TableProvider};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Column, Result, TableReference};
use datafusion_expr::{
    Expr, LogicalPlan, LogicalPlanBuilder, TableProviderFilterPushDown, TableSource, TableType,
};
use datafusion_physical_plan::ExecutionPlan;

use crate::barrier::{self, BarrierFault, Stop};
use crate::sight::Sight;

mod cut;
mod exec;
mod leakproof;

/// Asked before and after every batch: may this answer go on?
pub type Check = Arc<dyn Fn() -> std::result::Result<(), Stop> + Send + Sync>;

/// A resource as one permit shows it.
pub struct GovernedTable {
    sight: Arc<Sight>,
    source: Arc<dyn TableProvider>,
    check: Check,
}

impl GovernedTable {
    /// `source` gives all items of the resource in catalogue order, in their own types.
    pub fn new(sight: Arc<Sight>, source: Arc<dyn TableProvider>, check: Check) -> Self {
        Self { sight, source, check }
    }

    pub fn sight(&self) -> &Arc<Sight> {
        &self.sight
    }

    /// Scope, then leak-proof consumer filters, then only the columns the sight needs; nothing else is ever below.
    fn below(&self, columns: &[usize], filters: &[Expr], limit: Option<usize>) -> Result<LogicalPlan> {
        let table = TableReference::bare("source");
        let source = provider_as_source(Arc::clone(&self.source));
        let mut plan = LogicalPlanBuilder::scan(table.clone(), source, None)?;
        if let Some(scope) = self.sight.scope_expr(&table) {
            plan = plan.filter(scope)?;
        }
        for filter in filters {
            plan = plan.filter(requalified(filter, &table)?)?;
        }
        let fields = self.sight.source_schema();
        let names = columns.iter().filter_map(|index| fields.fields().get(*index));
        plan =
            plan.project(names.map(|field| Expr::Column(Column::new(Some(table.clone()), field.name()))))?;
        if limit.is_some() && filters.is_empty() && !self.sight.scoped() {
            plan = plan.limit(0, limit)?;
        }
        plan.build()
    }

    async fn secured(
        &self,
        session: &dyn Session,
        projection: Option<&[usize]>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        // The planner keeps to `supports_filters_pushdown`; should it ever not, fail closed.
        if self.source.schema().fields() != self.sight.source_schema().fields()
            || !filters.iter().all(|filter| leakproof::leakproof(filter, &self.sight))
        {
            return Err(BarrierFault::Shape.sealed());
        }
        let below = self.below(&self.sight.source_columns(projection), filters, limit)?;
        let inner = session.create_physical_plan(&below).await?;
        let barrier = exec::BarrierExec::new(
            inner,
            Arc::clone(&self.sight),
            projection.map(<[usize]>::to_vec),
            limit,
            Arc::clone(&self.check),
        )?;
        Ok(Arc::new(barrier))
    }
}

#[async_trait]
impl TableProvider for GovernedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.sight.schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let answer = |filter: &&Expr| {
            if leakproof::leakproof(filter, &self.sight) {
                TableProviderFilterPushDown::Exact
            } else {
                TableProviderFilterPushDown::Unsupported
            }
        };
        Ok(filters.iter().map(answer).collect())
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        (self.check)().map_err(|stop| BarrierFault::Stopped(stop).sealed())?;
        let planned = self.secured(session, projection.map(Vec::as_slice), filters, limit).await;
        planned.map_err(|error| barrier::sealed(&error))
    }
}

/// Shows the resource's name only: what lies below is nobody's business.
impl fmt::Debug for GovernedTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GovernedTable({})", self.sight.resource())
    }
}

/// The consumer's name for the table means nothing below.
fn requalified(filter: &Expr, table: &TableReference) -> Result<Expr> {
    let named = filter.clone().transform(|expr| {
        Ok(match expr {
            Expr::Column(column) => {
                Transformed::yes(Expr::Column(Column::new(Some(table.clone()), column.name)))
            }
            expr => Transformed::no(expr),
        })
    })?;
    Ok(named.data)
}

/// Whether a table is governed, for the walk over a plan before it runs.
pub fn is_governed(source: &dyn TableProvider) -> bool {
    source.is::<GovernedTable>()
}

/// The same for the table source of a logical plan's scan.
pub fn is_governed_source(source: &Arc<dyn TableSource>) -> bool {
    source_as_provider(source).is_ok_and(|provider| is_governed(provider.as_ref()))
}

#[cfg(test)]
mod tests;
