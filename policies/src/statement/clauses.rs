//! GROUP BY, ORDER BY, LIMIT and windows.

use datafusion_sql::sqlparser::ast::{
    Expr, GroupByExpr, Interpolate, LimitClause, NamedWindowDefinition, NamedWindowExpr, Offset, OrderBy,
    OrderByExpr, OrderByKind, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowSpec,
};

use super::query::normal;
use super::{Gate, Limit, StatementFault, deny};

impl Gate<'_> {
    pub(super) fn group_by(&mut self, group_by: &GroupByExpr) -> Result<(), StatementFault> {
        let (exprs, modifiers) = match group_by {
            GroupByExpr::All(modifiers) => (&[][..], modifiers),
            GroupByExpr::Expressions(exprs, modifiers) => (exprs.as_slice(), modifiers),
        };
        if !modifiers.is_empty() {
            return deny("WITH ROLLUP, WITH CUBE or WITH TOTALS (use GROUP BY ROLLUP (…))");
        }
        // Sets of several groupings multiply.
        let mut sets = 1usize;
        for expr in exprs {
            let (lists, count) = match expr {
                Expr::GroupingSets(lists) => (lists.as_slice(), lists.len()),
                Expr::Rollup(lists) => (lists.as_slice(), lists.len().saturating_add(1)),
                Expr::Cube(lists) => {
                    let doublings = u32::try_from(lists.len()).unwrap_or(u32::MAX);
                    (lists.as_slice(), 2usize.saturating_pow(doublings))
                }
                plain => {
                    self.rooted(plain)?;
                    continue;
                }
            };
            sets = sets.saturating_mul(count);
            self.within(Limit::GroupingSets, sets, self.limits.grouping_sets_max)?;
            for list in lists {
                self.node()?;
                self.roots(list)?;
            }
        }
        Ok(())
    }

    pub(super) fn order_by(&mut self, order_by: &OrderBy) -> Result<(), StatementFault> {
        let OrderBy { kind, interpolate } = order_by;
        if matches!(interpolate, Some(Interpolate { .. })) {
            return deny("INTERPOLATE");
        }
        match kind {
            OrderByKind::Expressions(exprs) => self.sort(exprs),
            OrderByKind::All(_) => deny("ORDER BY ALL"),
        }
    }

    pub(super) fn sort(&mut self, exprs: &[OrderByExpr]) -> Result<(), StatementFault> {
        for OrderByExpr { expr, options: _, with_fill } in exprs {
            if with_fill.is_some() {
                return deny("WITH FILL");
            }
            self.rooted(expr)?;
        }
        Ok(())
    }

    pub(super) fn limit_clause(&mut self, clause: &LimitClause) -> Result<(), StatementFault> {
        match clause {
            LimitClause::LimitOffset { limit, offset, limit_by } => {
                if !limit_by.is_empty() {
                    return deny("LIMIT BY");
                }
                if let Some(limit) = limit {
                    self.rooted(limit)?;
                }
                if let Some(Offset { value, rows: _ }) = offset {
                    self.rooted(value)?;
                }
                Ok(())
            }
            LimitClause::OffsetCommaLimit { offset, limit } => {
                self.rooted(offset)?;
                self.rooted(limit).map(|_| ())
            }
        }
    }

    pub(super) fn named_windows(&mut self, windows: &[NamedWindowDefinition]) -> Result<(), StatementFault> {
        for NamedWindowDefinition(name, window) in windows {
            self.node()?;
            self.aliases.insert(normal(name));
            match window {
                NamedWindowExpr::NamedWindow(_) => return deny("a window named after another"),
                NamedWindowExpr::WindowSpec(spec) => self.window(spec)?,
            }
        }
        Ok(())
    }

    pub(super) fn window(&mut self, spec: &WindowSpec) -> Result<(), StatementFault> {
        let WindowSpec { window_name, partition_by, order_by, window_frame } = spec;
        if window_name.is_some() {
            return deny("a window built on another");
        }
        self.node()?;
        for expr in partition_by {
            self.expr(expr)?;
        }
        self.inner_sort(order_by)?;
        let Some(WindowFrame { units, start_bound, end_bound }) = window_frame else {
            return Ok(());
        };
        match units {
            WindowFrameUnits::Rows | WindowFrameUnits::Range | WindowFrameUnits::Groups => {}
        }
        self.bound(start_bound)?;
        end_bound.as_ref().map_or(Ok(()), |bound| self.bound(bound))
    }

    /// ORDER BY inside an expression: its size counts towards that expression.
    pub(super) fn inner_sort(&mut self, exprs: &[OrderByExpr]) -> Result<(), StatementFault> {
        for OrderByExpr { expr, options: _, with_fill } in exprs {
            if with_fill.is_some() {
                return deny("WITH FILL");
            }
            self.expr(expr)?;
        }
        Ok(())
    }

    fn bound(&mut self, bound: &WindowFrameBound) -> Result<(), StatementFault> {
        match bound {
            WindowFrameBound::CurrentRow
            | WindowFrameBound::Preceding(None)
            | WindowFrameBound::Following(None) => Ok(()),
            WindowFrameBound::Preceding(Some(expr)) | WindowFrameBound::Following(Some(expr)) => {
                match expr.as_ref() {
                    Expr::Value(_) | Expr::Interval(_) => self.expr(expr),
                    _ => deny("a window bound that is not a literal"),
                }
            }
        }
    }
}
