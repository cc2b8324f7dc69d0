//! A scope bound to one resource and one caller: pushed down as an expression, judged again in the hub.
//!
//! INVARIANT: the expression only helps the source to read less; [`BoundScope::keep`] alone decides, with other kernels
//! where it can, because a foreign source compares and pads text in its own way.

use std::collections::BTreeSet;

use arrow::array::{Array, ArrayRef, BooleanArray, Scalar};
use arrow::compute::kernels::cmp;
use arrow::compute::{and_kleene, is_null, not, or_kleene, starts_with};
use arrow::error::ArrowError;
use catalog::{Item, Resource};
use datafusion_common::{Column, ScalarValue, TableReference};
use datafusion_expr::{Expr, Operator, binary_expr};
use thiserror::Error;

use super::{Comparison, ComparisonOp, DEPTH_MAX, Scope, VALUES_MAX, Value, literal};
use crate::caller::Caller;

/// Why a scope cannot be bound, so that the call is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ScopeFault {
    /// The caller lacks an attribute; which one is the department's own fact, so it may be named.
    #[error("your account has no `{0}`, ask your department's operator administrator to set it")]
    Unset(String),
    /// The stored scope does not fit the resource any more.
    #[error("the grant's row scope does not fit the resource, ask the provider to grant again")]
    Unfit,
}

/// A bound scope over the columns of `resource.schema()`.
#[derive(Clone)]
pub struct BoundScope {
    root: Bound,
    columns: BTreeSet<usize>,
}

#[derive(Clone)]
enum Bound {
    All(Vec<Bound>),
    Any(Vec<Bound>),
    Not(Box<Bound>),
    IsNull(Place),
    Compare(Place, ComparisonOp, ScalarValue),
    Prefix(Place, String),
    In(Place, Vec<ScalarValue>),
}

/// An item by its position in the resource and its name.
#[derive(Clone)]
struct Place {
    index: usize,
    name: String,
}

impl Scope {
    /// Puts the caller's attributes in place and gives every literal its item's type.
    pub fn bind(&self, resource: &Resource, caller: &Caller) -> Result<BoundScope, ScopeFault> {
        let mut columns = BTreeSet::new();
        let root = bind(self, resource, caller, &mut columns, 1)?;
        Ok(BoundScope { root, columns })
    }
}

fn bind(
    scope: &Scope,
    resource: &Resource,
    caller: &Caller,
    columns: &mut BTreeSet<usize>,
    depth: usize,
) -> Result<Bound, ScopeFault> {
    if depth > DEPTH_MAX {
        return Err(ScopeFault::Unfit);
    }
    let mut parts = |parts: &[Scope]| {
        // An empty list has no honest meaning (everything, nothing), so it is refused.
        if parts.is_empty() {
            return Err(ScopeFault::Unfit);
        }
        parts
            .iter()
            .map(|part| bind(part, resource, caller, columns, depth + 1))
            .collect::<Result<Vec<_>, _>>()
    };
    match scope {
        Scope::All(list) => Ok(Bound::All(parts(list)?)),
        Scope::Any(list) => Ok(Bound::Any(parts(list)?)),
        Scope::Not(part) => Ok(Bound::Not(Box::new(bind(part, resource, caller, columns, depth + 1)?))),
        Scope::IsNull(name) => Ok(Bound::IsNull(place(resource, name, columns)?.0)),
        Scope::Compare(comparison) => bind_comparison(comparison, resource, caller, columns),
        Scope::In { item, values } => {
            if values.is_empty() || values.len() > VALUES_MAX {
                return Err(ScopeFault::Unfit);
            }
            let (place, item) = place(resource, item, columns)?;
            literal::fits(item, ComparisonOp::Eq).map_err(|_| ScopeFault::Unfit)?;
            let literals = values.iter().map(|value| scalar(item, value, caller));
            Ok(Bound::In(place, literals.collect::<Result<_, _>>()?))
        }
    }
}

fn bind_comparison(
    comparison: &Comparison,
    resource: &Resource,
    caller: &Caller,
    columns: &mut BTreeSet<usize>,
) -> Result<Bound, ScopeFault> {
    let (place, item) = place(resource, &comparison.item, columns)?;
    literal::fits(item, comparison.op).map_err(|_| ScopeFault::Unfit)?;
    match (comparison.op, scalar(item, &comparison.value, caller)?) {
        (ComparisonOp::LikePrefix, ScalarValue::Utf8(Some(prefix))) if !prefix.is_empty() => {
            Ok(Bound::Prefix(place, prefix))
        }
        (ComparisonOp::LikePrefix, _) => Err(ScopeFault::Unfit),
        (op, scalar) => Ok(Bound::Compare(place, op, scalar)),
    }
}

fn place<'r>(
    resource: &'r Resource,
    name: &str,
    columns: &mut BTreeSet<usize>,
) -> Result<(Place, &'r Item), ScopeFault> {
    let found = resource.items.iter().enumerate().find(|(_, item)| item.name == name);
    let (index, item) = found.ok_or(ScopeFault::Unfit)?;
    columns.insert(index);
    let place = Place { index, name: item.name.clone() };
    Ok((place, item))
}

fn scalar(item: &Item, value: &Value, caller: &Caller) -> Result<ScalarValue, ScopeFault> {
    literal::check(item, ComparisonOp::Eq, value).map_err(|_| ScopeFault::Unfit)?;
    let Value::Caller { caller: name } = value else {
        return literal::literal(item, value).map_err(|_| ScopeFault::Unfit);
    };
    // Department and account are facts of the caller itself, never of its attribute list.
    let attribute = match name.as_str() {
        "department" => Some(caller.department().as_str()),
        "account" => Some(caller.account()),
        name => caller.attribute(name),
    };
    match attribute {
        Some(text) if !text.is_empty() => {
            literal::literal(item, &Value::Text(text.to_owned())).map_err(|_| ScopeFault::Unfit)
        }
        _ => Err(ScopeFault::Unset(name.clone())),
    }
}

impl BoundScope {
    /// Positions in `resource.schema()` of the items the scope reads, ascending.
    pub fn columns(&self) -> impl Iterator<Item = usize> + '_ {
        self.columns.iter().copied()
    }

    /// The scope as an expression over item names of `table`, for pruning and for the source.
    ///
    /// A prefix is written as a range (`item >= 'p' AND item < successor`): it cannot fail, needs no pattern escaping,
    /// prunes Parquet row groups and pages by their statistics and is plain comparison to every source.
    pub fn expr(&self, table: &TableReference) -> Expr {
        self.root.expr(table)
    }

    /// TRUE for each row that may be seen; `column` gives the array of an item by position in `resource.schema()`.
    pub fn keep<'a>(
        &self,
        column: &dyn Fn(usize) -> Option<&'a ArrayRef>,
    ) -> Result<BooleanArray, ArrowError> {
        let judged = self.root.judge(column)?;
        Ok(judged.iter().map(|kept| Some(kept == Some(true))).collect())
    }
}

impl Bound {
    fn expr(&self, table: &TableReference) -> Expr {
        let literal = |scalar: &ScalarValue| Expr::Literal(scalar.clone(), None);
        match self {
            Self::All(parts) => fold(parts, Operator::And, table),
            Self::Any(parts) => fold(parts, Operator::Or, table),
            Self::Not(part) => Expr::Not(Box::new(part.expr(table))),
            Self::IsNull(place) => place.expr(table).is_null(),
            Self::Compare(place, op, scalar) => {
                binary_expr(place.expr(table), operator(*op), literal(scalar))
            }
            Self::Prefix(place, prefix) => {
                let text = |text: &str| Expr::Literal(ScalarValue::Utf8(Some(text.to_owned())), None);
                let from = place.expr(table).gt_eq(text(prefix));
                match literal::successor(prefix) {
                    Some(end) => from.and(place.expr(table).lt(text(&end))),
                    None => from,
                }
            }
            Self::In(place, scalars) => {
                place.expr(table).in_list(scalars.iter().map(literal).collect(), false)
            }
        }
    }

    /// Three-valued truth of every row.
    fn judge<'a>(&self, column: &dyn Fn(usize) -> Option<&'a ArrayRef>) -> Result<BooleanArray, ArrowError> {
        match self {
            Self::All(parts) => judge_all(parts, column, and_kleene),
            Self::Any(parts) => judge_all(parts, column, or_kleene),
            Self::Not(part) => not(&part.judge(column)?),
            Self::IsNull(place) => is_null(place.array(column)?.as_ref()),
            Self::Compare(place, op, scalar) => compare(place.array(column)?, *op, scalar),
            Self::Prefix(place, prefix) => {
                let prefix = ScalarValue::Utf8(Some(prefix.clone()));
                starts_with(place.array(column)?, &literal_scalar(&prefix)?)
            }
            Self::In(place, scalars) => {
                let array = place.array(column)?;
                let mut any = BooleanArray::from(vec![false; array.len()]);
                for scalar in scalars {
                    any = or_kleene(&any, &compare(array, ComparisonOp::Eq, scalar)?)?;
                }
                Ok(any)
            }
        }
    }
}

impl Place {
    fn expr(&self, table: &TableReference) -> Expr {
        Expr::Column(Column::new(Some(table.clone()), &self.name))
    }

    fn array<'a>(&self, column: &dyn Fn(usize) -> Option<&'a ArrayRef>) -> Result<&'a ArrayRef, ArrowError> {
        column(self.index).ok_or_else(|| ArrowError::SchemaError("a scope item is missing".to_owned()))
    }
}

fn fold(parts: &[Bound], op: Operator, table: &TableReference) -> Expr {
    let exprs = parts.iter().map(|part| part.expr(table));
    let folded = exprs.reduce(|left, right| binary_expr(left, op, right));
    // Binding refuses empty lists; should one get here all the same, no row passes.
    folded.unwrap_or(Expr::Literal(ScalarValue::Boolean(Some(false)), None))
}

type Kleene = fn(&BooleanArray, &BooleanArray) -> Result<BooleanArray, ArrowError>;

fn judge_all<'a>(
    parts: &[Bound],
    column: &dyn Fn(usize) -> Option<&'a ArrayRef>,
    join: Kleene,
) -> Result<BooleanArray, ArrowError> {
    let mut judged: Option<BooleanArray> = None;
    for part in parts {
        let next = part.judge(column)?;
        judged = Some(match judged {
            Some(before) => join(&before, &next)?,
            None => next,
        });
    }
    judged.ok_or_else(|| ArrowError::ComputeError("a scope part is empty".to_owned()))
}

fn literal_scalar(scalar: &ScalarValue) -> Result<Scalar<ArrayRef>, ArrowError> {
    scalar.to_scalar().map_err(|_| ArrowError::ComputeError("a scope literal is unfit".to_owned()))
}

fn compare(array: &ArrayRef, op: ComparisonOp, scalar: &ScalarValue) -> Result<BooleanArray, ArrowError> {
    // A kernel would panic on nothing here, but types that differ must not be compared in any other way.
    if array.data_type() != &scalar.data_type() {
        return Err(ArrowError::SchemaError("a scope item has another type".to_owned()));
    }
    let right = literal_scalar(scalar)?;
    match op {
        ComparisonOp::Eq => cmp::eq(array, &right),
        ComparisonOp::NotEq => cmp::neq(array, &right),
        ComparisonOp::Lt => cmp::lt(array, &right),
        ComparisonOp::LtEq => cmp::lt_eq(array, &right),
        ComparisonOp::Gt => cmp::gt(array, &right),
        ComparisonOp::GtEq => cmp::gt_eq(array, &right),
        ComparisonOp::LikePrefix => starts_with(array, &right),
    }
}

fn operator(op: ComparisonOp) -> Operator {
    match op {
        ComparisonOp::Eq => Operator::Eq,
        ComparisonOp::NotEq => Operator::NotEq,
        ComparisonOp::Lt => Operator::Lt,
        ComparisonOp::LtEq => Operator::LtEq,
        ComparisonOp::Gt => Operator::Gt,
        // A prefix is bound on its own; were it to come here, the range's lower end holds.
        ComparisonOp::GtEq | ComparisonOp::LikePrefix => Operator::GtEq,
    }
}
