//! Integer arithmetic that fails when its result does not fit: the engine's own wraps around without a word.
//!
//! INVARIANT: no statement can call these by name; only the rewrite below puts them into a plan that was checked.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Datum};
use arrow::compute::kernels::numeric;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::expr_rewriter::NamePreserver;
use datafusion_expr::utils::merge_schema;
use datafusion_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};

static FUNCTIONS: LazyLock<[Arc<ScalarUDF>; 4]> = LazyLock::new(|| {
    [Kind::Add, Kind::Subtract, Kind::Multiply, Kind::Negate]
        .map(|kind| Arc::new(ScalarUDF::new_from_impl(Checked::new(kind))))
});

/// The analysed plan with every `+`, `-` and `*` of two integers, and every `-` before one, in its checked form.
pub fn checked(plan: LogicalPlan) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|node| {
        // What a limit is made of must stay a literal.
        if matches!(node, LogicalPlan::Limit(_) | LogicalPlan::TableScan(_)) {
            return Ok(Transformed::no(node));
        }
        let schema = merge_schema(&node.inputs());
        let names = NamePreserver::new(&node);
        let changed = node.map_expressions(|expr| {
            let name = names.save(&expr);
            let changed = expr.transform_up(|part| part_checked(part, &schema))?;
            Ok(changed.update_data(|expr| name.restore(expr)))
        })?;
        if changed.transformed { changed.map_data(LogicalPlan::recompute_schema) } else { Ok(changed) }
    })?;
    Ok(rewritten.data)
}

fn part_checked(part: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let whole = |expr: &Expr| expr.get_type(schema).is_ok_and(|of| of.is_integer());
    let [add, subtract, multiply, negate] = &*FUNCTIONS;
    let call = |function: &Arc<ScalarUDF>, parts: Vec<Expr>| {
        Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(function), parts)))
    };
    Ok(match part {
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply)
                && whole(&left)
                && whole(&right) =>
        {
            let function = match op {
                Operator::Plus => add,
                Operator::Minus => subtract,
                _ => multiply,
            };
            call(function, vec![*left, *right])
        }
        Expr::Negative(inner) if whole(&inner) => call(negate, vec![*inner]),
        other => Transformed::no(other),
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Add,
    Subtract,
    Multiply,
    Negate,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    kind: Kind,
    signature: Signature,
}

impl Checked {
    fn new(kind: Kind) -> Self {
        let count = if kind == Kind::Negate { 1 } else { 2 };
        Self { kind, signature: Signature::any(count, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Add => "checked_add",
            Kind::Subtract => "checked_subtract",
            Kind::Multiply => "checked_multiply",
            Kind::Negate => "checked_negate",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        // The analyser gave both sides one type before.
        match types {
            [one] | [one, _] if types.iter().all(|other| other == one) => Ok(one.clone()),
            _ => plan_err!("integers of one type are needed"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let parts = args.args.iter().map(datum).collect::<Result<Vec<_>>>()?;
        let made: ArrayRef = match (self.kind, parts.as_slice()) {
            (Kind::Negate, [one]) => numeric::neg(one.get().0)?,
            (Kind::Add, [left, right]) => numeric::add(left.as_ref(), right.as_ref())?,
            (Kind::Subtract, [left, right]) => numeric::sub(left.as_ref(), right.as_ref())?,
            (Kind::Multiply, [left, right]) => numeric::mul(left.as_ref(), right.as_ref())?,
            _ => return Err(ArrowError::ComputeError("a number is missing".to_owned()).into()),
        };
        if args.args.iter().all(|part| matches!(part, ColumnarValue::Scalar(_))) {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&made, 0)?));
        }
        Ok(ColumnarValue::Array(made))
    }
}

fn datum(value: &ColumnarValue) -> Result<Box<dyn Datum>> {
    Ok(match value {
        ColumnarValue::Array(array) => Box::new(Arc::clone(array)),
        ColumnarValue::Scalar(scalar) => Box::new(scalar.to_scalar()?),
    })
}
