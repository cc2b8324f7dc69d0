//! Which consumer predicates may go below the barrier.
//!
//! INVARIANT: an accepted predicate is total: comparing a column with a literal of its own type cannot fail, so hidden
//! rows cannot raise an error with it; and it reads what the consumer sees anyway.

use datafusion_common::ScalarValue;
use datafusion_expr::{Between, BinaryExpr, Expr, Operator};

use crate::sight::Sight;

/// `= <> < <= > >= IS [NOT] DISTINCT FROM`, IN, BETWEEN, IS NULL and truth tests, joined by AND, OR and NOT, each on a
/// bare unmasked output item against literals of the item's own type.
pub(super) fn leakproof(expr: &Expr, sight: &Sight) -> bool {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And | Operator::Or, right }) => {
            leakproof(left, sight) && leakproof(right, sight)
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            comparison(*op) && (pair(left, right, sight) || pair(right, left, sight))
        }
        Expr::Not(inner)
        | Expr::IsTrue(inner)
        | Expr::IsFalse(inner)
        | Expr::IsUnknown(inner)
        | Expr::IsNotTrue(inner)
        | Expr::IsNotFalse(inner)
        | Expr::IsNotUnknown(inner) => leakproof(inner, sight),
        Expr::IsNull(inner) | Expr::IsNotNull(inner) => item_type(inner, sight).is_some(),
        Expr::Between(Between { expr, low, high, .. }) => pair(expr, low, sight) && pair(expr, high, sight),
        Expr::InList(list) => list.list.iter().all(|literal| pair(&list.expr, literal, sight)),
        // A boolean item is a predicate by itself.
        Expr::Column(_) => item_type(expr, sight) == Some(arrow::datatypes::DataType::Boolean),
        _ => false,
    }
}

fn comparison(op: Operator) -> bool {
    matches!(
        op,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
    )
}

fn pair(column: &Expr, literal: &Expr, sight: &Sight) -> bool {
    let literal_type = match literal {
        Expr::Literal(scalar, None) => ScalarValue::data_type(scalar),
        _ => return false,
    };
    item_type(column, sight) == Some(literal_type)
}

fn item_type(expr: &Expr, sight: &Sight) -> Option<arrow::datatypes::DataType> {
    let Expr::Column(column) = expr else {
        return None;
    };
    let (_, field) = sight.schema().column_with_name(&column.name)?;
    sight.unmasked(&column.name).then(|| field.data_type().clone())
}
