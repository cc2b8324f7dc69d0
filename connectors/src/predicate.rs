//! Filters a source may apply early: comparisons of one item with a literal, joined by and, or, not.
//!
//! INVARIANT: what goes to a source is only ever a wider net: every row DataFusion would keep passes it; the filter is
//! applied again above the scan (`Inexact`), so a source that answers too much costs time, one that answers too little
//! would lose rows.
//! INVARIANT: no function, cast or pattern is pushed: nothing here can fail on a value, so nothing can leak one.

use arrow::datatypes::SchemaRef;
use catalog::ItemType;
use datafusion::{
    logical_expr::{Between, BinaryExpr, Expr, Operator, expr::InList},
    scalar::ScalarValue,
};

/// Literals in one list; longer ones are left to DataFusion.
const LIST_MAX: usize = 500;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    fn of(operator: Operator) -> Option<Self> {
        Some(match operator {
            Operator::Eq => Self::Equal,
            Operator::NotEq => Self::NotEqual,
            Operator::Lt => Self::Less,
            Operator::LtEq => Self::LessOrEqual,
            Operator::Gt => Self::Greater,
            Operator::GtEq => Self::GreaterOrEqual,
            _ => return None,
        })
    }

    /// The comparison that is true exactly when this one is false (and null when this one is null).
    fn negated(self) -> Self {
        match self {
            Self::Equal => Self::NotEqual,
            Self::NotEqual => Self::Equal,
            Self::Less => Self::GreaterOrEqual,
            Self::LessOrEqual => Self::Greater,
            Self::Greater => Self::LessOrEqual,
            Self::GreaterOrEqual => Self::Less,
        }
    }

    /// The same with both sides exchanged.
    fn turned(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
            same => same,
        }
    }
}

/// One test of one item (by its number in the resource's schema); never negated from outside.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Leaf {
    Compare {
        item: usize,
        comparison: Comparison,
        literal: ScalarValue,
    },
    /// Literals are not null.
    In {
        item: usize,
        literals: Vec<ScalarValue>,
        negated: bool,
    },
    IsNull {
        item: usize,
    },
    IsNotNull {
        item: usize,
    },
}

impl Leaf {
    pub(crate) fn item(&self) -> usize {
        match self {
            Self::Compare { item, .. }
            | Self::In { item, .. }
            | Self::IsNull { item }
            | Self::IsNotNull { item } => *item,
        }
    }
}

/// Leaves under and / or, negations already pushed into the leaves (Kleene logic allows it).
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Predicate {
    All(Vec<Predicate>),
    Any(Vec<Predicate>),
    Leaf(Leaf),
}

/// The part of `filter` that the source can test, if any: of an `and` what it can, of an `or` all or nothing.
pub(crate) fn predicate(filter: &Expr, schema: &SchemaRef, can: &dyn Fn(&Leaf) -> bool) -> Option<Predicate> {
    part(filter, false, schema, can, 0)
}

fn part(
    filter: &Expr,
    negated: bool,
    schema: &SchemaRef,
    can: &dyn Fn(&Leaf) -> bool,
    depth: usize,
) -> Option<Predicate> {
    // Deeper nesting costs more to test twice than it saves.
    if depth > 64 {
        return None;
    }
    let deeper = |inner: &Expr, negated| part(inner, negated, schema, can, depth + 1);
    match filter {
        Expr::Not(inner) => deeper(inner, !negated),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if matches!(op, Operator::And | Operator::Or) => {
            let sides = [deeper(left, negated), deeper(right, negated)];
            if (*op == Operator::And) != negated {
                let mut sides: Vec<Predicate> = sides.into_iter().flatten().collect();
                if sides.len() > 1 { Some(Predicate::All(sides)) } else { sides.pop() }
            } else {
                sides.into_iter().collect::<Option<Vec<_>>>().map(Predicate::Any)
            }
        }
        Expr::Between(Between { expr, negated: outside, low, high }) => {
            let from = compare(expr, Operator::GtEq, low, schema)?;
            let to = compare(expr, Operator::LtEq, high, schema)?;
            let sides = [from, to].map(|(item, comparison, literal)| {
                let comparison = if negated != *outside { comparison.negated() } else { comparison };
                let leaf = Leaf::Compare { item, comparison, literal };
                can(&leaf).then_some(Predicate::Leaf(leaf))
            });
            let sides = sides.into_iter().collect::<Option<Vec<_>>>()?;
            Some(if negated != *outside { Predicate::Any(sides) } else { Predicate::All(sides) })
        }
        _ => {
            let leaf = leaf(filter, negated, schema)?;
            can(&leaf).then_some(Predicate::Leaf(leaf))
        }
    }
}

fn column(expr: &Expr, schema: &SchemaRef) -> Option<usize> {
    match expr {
        Expr::Column(column) => schema.index_of(column.name()).ok(),
        _ => None,
    }
}

fn literal(expr: &Expr) -> Option<&ScalarValue> {
    match expr {
        Expr::Literal(value, _) if !value.is_null() => Some(value),
        _ => None,
    }
}

fn compare(
    left: &Expr,
    op: Operator,
    right: &Expr,
    schema: &SchemaRef,
) -> Option<(usize, Comparison, ScalarValue)> {
    let comparison = Comparison::of(op)?;
    if let (Some(item), Some(value)) = (column(left, schema), literal(right)) {
        return Some((item, comparison, value.clone()));
    }
    Some((column(right, schema)?, comparison.turned(), literal(left)?.clone()))
}

fn leaf(filter: &Expr, negated: bool, schema: &SchemaRef) -> Option<Leaf> {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (item, comparison, literal) = compare(left, *op, right, schema)?;
            Some(Leaf::Compare {
                item,
                comparison: if negated { comparison.negated() } else { comparison },
                literal,
            })
        }
        Expr::InList(InList { expr, list, negated: not_in }) if list.len() <= LIST_MAX => {
            let item = column(expr, schema)?;
            let mut literals = Vec::with_capacity(list.len());
            for entry in list {
                match entry {
                    // `x in (…, null)` is true only by the others; `x not in (…, null)` never: wider without it.
                    Expr::Literal(value, _) if value.is_null() => {}
                    other => literals.push(literal(other)?.clone()),
                }
            }
            (!literals.is_empty()).then_some(Leaf::In { item, literals, negated: negated != *not_in })
        }
        Expr::IsNull(inner) | Expr::IsNotNull(inner) => {
            let item = column(inner, schema)?;
            Some(if matches!(filter, Expr::IsNull(_)) != negated {
                Leaf::IsNull { item }
            } else {
                Leaf::IsNotNull { item }
            })
        }
        _ => None,
    }
}

/// The literal as text, for a text item.
pub(crate) fn text_of(literal: &ScalarValue, item: ItemType) -> Option<&str> {
    (item == ItemType::Text).then(|| literal.try_as_str().flatten()).flatten()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::prelude::{cast, col, lit};

    use super::*;

    fn check(filter: Expr, expect: &str) {
        let schema: SchemaRef = Arc::new(Schema::new(vec![
            Field::new("a", DataType::Int64, true),
            Field::new("b", DataType::Utf8, true),
        ]));
        let got = predicate(&filter, &schema, &|_| true).map_or("-".to_owned(), |predicate| show(&predicate));
        assert_eq!(got, expect, "{filter}");
    }

    fn show(predicate: &Predicate) -> String {
        let list = |parts: &[Predicate], word: &str| {
            format!("({})", parts.iter().map(show).collect::<Vec<_>>().join(word))
        };
        match predicate {
            Predicate::All(parts) => list(parts, " and "),
            Predicate::Any(parts) => list(parts, " or "),
            Predicate::Leaf(Leaf::Compare { item, comparison, literal }) => {
                format!("{item} {comparison:?} {literal}")
            }
            Predicate::Leaf(Leaf::In { item, literals, negated }) => {
                format!("{item} {}in {}", if *negated { "not " } else { "" }, literals.len())
            }
            Predicate::Leaf(Leaf::IsNull { item }) => format!("{item} null"),
            Predicate::Leaf(Leaf::IsNotNull { item }) => format!("{item} not null"),
        }
    }

    #[test]
    fn filters_become_leaves_with_negation_inside() {
        let a = || col("a").gt(lit(1_i64));
        let b = || col("t.b").eq(lit("x"));
        let no = || cast(col("b"), DataType::Int64).gt(lit(1_i64));
        check(a(), "0 Greater 1");
        check(lit(1_i64).gt(col("a")), "0 Less 1");
        check(!a(), "0 LessOrEqual 1");
        check(a().and(b()), "(0 Greater 1 and 1 Equal x)");
        check(!(a().and(b())), "(0 LessOrEqual 1 or 1 NotEqual x)");
        check(a().and(no()), "0 Greater 1");
        check(a().or(no()), "-");
        check(!(a().and(no())), "-");
        check(!(a().or(no())), "0 LessOrEqual 1");
        check(no(), "-");
        check(col("a").between(lit(1_i64), lit(2_i64)), "(0 GreaterOrEqual 1 and 0 LessOrEqual 2)");
        check(!col("a").between(lit(1_i64), lit(2_i64)), "(0 Less 1 or 0 Greater 2)");
        check(col("b").in_list(vec![lit("x"), lit(ScalarValue::Utf8(None))], false), "1 in 1");
        check(!col("b").in_list(vec![lit("x")], false), "1 not in 1");
        check(col("b").in_list(vec![col("a")], false), "-");
        check(col("b").is_null(), "1 null");
        check(!col("b").is_null(), "1 not null");
        check(col("b").like(lit("x%")), "-");
        check(col("a").eq(col("b")), "-");
        check(col("a").eq(lit(ScalarValue::Int64(None))), "-");
        check(col("c").eq(lit(1_i64)), "-");
    }
}
