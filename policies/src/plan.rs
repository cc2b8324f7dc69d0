//! The walk over a plan, after analysis: the last word before anything is opened.
//!
//! INVARIANT: every scan is a governed table; every node and expression kind, function and operator is on a list.

use std::sync::Arc;

use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_common::{DataFusionError, ScalarValue};
use datafusion_expr::expr::{BinaryExpr, InList, Like};
use datafusion_expr::{Expr, LogicalPlan, Operator, TableSource, WindowFunctionDefinition};

use crate::functions::{CONCAT_OPERATOR, is_allowed};
use crate::statement::{GateLimits, Limit, StatementFault};

/// A text literal that is not compared with something is repeated for every row; 2 KiB times a batch of 8,192 rows is 16 MiB.
const REPEATED_LITERAL_BYTES_MAX: usize = 2 * 1024;

/// Checks an analysed plan with its subqueries. `is_governed` says whether a scan reads a governed table of this call.
pub fn check_plan(
    plan: &LogicalPlan,
    limits: &GateLimits,
    is_governed: &dyn Fn(&Arc<dyn TableSource>) -> bool,
) -> Result<(), StatementFault> {
    let columns = plan.schema().fields().len();
    if columns > limits.output_columns_max {
        return Err(StatementFault::TooComplex(Limit::OutputColumns, limits.output_columns_max));
    }
    let mut fault = None;
    let walked =
        plan.apply_with_subqueries(|node| Ok(step(node_allowed(node, limits, is_governed), &mut fault)));
    finish(walked, fault)
}

fn step(checked: Result<(), StatementFault>, fault: &mut Option<StatementFault>) -> TreeNodeRecursion {
    match checked {
        Ok(()) => TreeNodeRecursion::Continue,
        Err(found) => {
            *fault = Some(found);
            TreeNodeRecursion::Stop
        }
    }
}

/// A walk that could not finish has not allowed anything.
fn finish(
    walked: Result<TreeNodeRecursion, DataFusionError>,
    fault: Option<StatementFault>,
) -> Result<(), StatementFault> {
    match (fault, walked) {
        (Some(fault), _) => Err(fault),
        (None, Ok(_)) => Ok(()),
        (None, Err(_)) => Err(StatementFault::StatementNotAllowed("a plan that cannot be walked")),
    }
}

fn node_allowed(
    node: &LogicalPlan,
    limits: &GateLimits,
    is_governed: &dyn Fn(&Arc<dyn TableSource>) -> bool,
) -> Result<(), StatementFault> {
    match node {
        LogicalPlan::TableScan(scan) if !is_governed(&scan.source) => {
            return not_allowed("a relation outside this call");
        }
        LogicalPlan::TableScan(_)
        | LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Window(_)
        | LogicalPlan::Aggregate(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Join(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::EmptyRelation(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Values(_)
        | LogicalPlan::Distinct(_) => {}
        LogicalPlan::Repartition(_)
        | LogicalPlan::Statement(_)
        | LogicalPlan::Explain(_)
        | LogicalPlan::Analyze(_)
        | LogicalPlan::Extension(_)
        | LogicalPlan::Dml(_)
        | LogicalPlan::Ddl(_)
        | LogicalPlan::Copy(_)
        | LogicalPlan::DescribeTable(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::RecursiveQuery(_) => return not_allowed("this kind of plan"),
    }
    let mut fault = None;
    let walked = node.apply_expressions(|expr| {
        let found = literals_repeated(expr).and_then(|()| expression_allowed(expr, limits));
        Ok(step(found, &mut fault))
    });
    finish(walked, fault)
}

fn expression_allowed(expr: &Expr, limits: &GateLimits) -> Result<(), StatementFault> {
    let mut fault = None;
    let walked = expr.apply(|node| Ok(step(single_allowed(node, limits), &mut fault)));
    finish(walked, fault)
}

fn single_allowed(expr: &Expr, limits: &GateLimits) -> Result<(), StatementFault> {
    match expr {
        Expr::Alias(_)
        | Expr::Column(_)
        | Expr::Literal(..)
        | Expr::Not(_)
        | Expr::IsNotNull(_)
        | Expr::IsNull(_)
        | Expr::IsTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotTrue(_)
        | Expr::IsNotFalse(_)
        | Expr::IsNotUnknown(_)
        | Expr::Negative(_)
        | Expr::Between(_)
        | Expr::Case(_)
        | Expr::Cast(_)
        | Expr::TryCast(_)
        | Expr::InList(_)
        | Expr::Exists(_)
        | Expr::InSubquery(_)
        | Expr::ScalarSubquery(_)
        | Expr::GroupingSet(_)
        | Expr::Placeholder(_)
        | Expr::OuterReferenceColumn(..) => Ok(()),
        Expr::BinaryExpr(BinaryExpr { op, .. }) => operator_allowed(*op),
        Expr::Like(like) => pattern_allowed(like, limits),
        Expr::ScalarFunction(call) => function_allowed(call.func.name()),
        Expr::AggregateFunction(call) => function_allowed(call.func.name()),
        Expr::WindowFunction(call) => match &call.fun {
            WindowFunctionDefinition::AggregateUDF(udf) => function_allowed(udf.name()),
            WindowFunctionDefinition::WindowUDF(udf) => function_allowed(udf.name()),
        },
        _ => not_allowed("this kind of expression"),
    }
}

fn operator_allowed(op: Operator) -> Result<(), StatementFault> {
    match op {
        Operator::Eq
        | Operator::NotEq
        | Operator::Lt
        | Operator::LtEq
        | Operator::Gt
        | Operator::GtEq
        | Operator::Plus
        | Operator::Minus
        | Operator::Multiply
        | Operator::Divide
        | Operator::Modulo
        | Operator::And
        | Operator::Or
        | Operator::IsDistinctFrom
        | Operator::IsNotDistinctFrom => Ok(()),
        _ => not_allowed("this operator"),
    }
}

fn function_allowed(name: &str) -> Result<(), StatementFault> {
    if name == CONCAT_OPERATOR || is_allowed(name) { Ok(()) } else { Err(StatementFault::function(name)) }
}

/// Parameters have become literals by now, so their length shows.
fn pattern_allowed(like: &Like, limits: &GateLimits) -> Result<(), StatementFault> {
    match literal_bytes(&like.pattern) {
        Some(bytes) if bytes <= limits.pattern_bytes_max => Ok(()),
        Some(_) => Err(StatementFault::TooComplex(Limit::Pattern, limits.pattern_bytes_max)),
        None => not_allowed("LIKE with a pattern that is neither a text nor a parameter"),
    }
}

fn literal_bytes(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Literal(value, _) => Some(scalar_bytes(value)),
        Expr::Placeholder(_) => Some(0),
        Expr::Cast(cast) => literal_bytes(&cast.expr),
        Expr::TryCast(cast) => literal_bytes(&cast.expr),
        _ => None,
    }
}

fn scalar_bytes(value: &ScalarValue) -> usize {
    match value {
        ScalarValue::Utf8(Some(text))
        | ScalarValue::LargeUtf8(Some(text))
        | ScalarValue::Utf8View(Some(text)) => text.len(),
        _ => 0,
    }
}

/// Long text literals are fine where they are compared as one value; anywhere else they may be written out row by row.
fn literals_repeated(expr: &Expr) -> Result<(), StatementFault> {
    match repeated_bytes(expr) {
        Ok(bytes) if bytes <= REPEATED_LITERAL_BYTES_MAX => Ok(()),
        Ok(_) => Err(StatementFault::TooComplex(Limit::Literal, REPEATED_LITERAL_BYTES_MAX)),
        Err(_) => not_allowed("a plan that cannot be walked"),
    }
}

fn repeated_bytes(expr: &Expr) -> Result<usize, DataFusionError> {
    let mut bytes = 0usize;
    expr.apply(|node| {
        let others: [Option<&Expr>; 2] = match node {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) if op.supports_propagation() => {
                [left, right].map(|side| literal_bytes(side).is_none().then_some(side.as_ref()))
            }
            Expr::InList(InList { expr, list, .. })
                if list.iter().all(|item| literal_bytes(item).is_some()) =>
            {
                [Some(expr.as_ref()), None]
            }
            Expr::Like(like) => [Some(like.expr.as_ref()), None],
            Expr::Literal(value, _) => {
                bytes = bytes.saturating_add(scalar_bytes(value));
                return Ok(TreeNodeRecursion::Continue);
            }
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        for other in others.into_iter().flatten() {
            bytes = bytes.saturating_add(repeated_bytes(other)?);
        }
        Ok(TreeNodeRecursion::Jump)
    })?;
    Ok(bytes)
}

fn not_allowed(kind: &'static str) -> Result<(), StatementFault> {
    Err(StatementFault::StatementNotAllowed(kind))
}
