//! Expressions: operators, literals, casts, predicates and subqueries.

use datafusion_sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, CastKind, CeilFloorKind, DateTimeField, Expr, Ident, Interval, TypedString,
    UnaryOperator, Value, ValueWithSpan,
};

use super::query::normal;
use super::{Gate, Limit, StatementFault, deny, types};

/// Operators that associate with one another make one chain.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rank {
    Or,
    And,
    Comparison,
    Sum,
    Product,
    Text,
}

impl Gate<'_> {
    /// One expression from its root; its size with inner columns written out comes back.
    pub(super) fn rooted(&mut self, expr: &Expr) -> Result<u64, StatementFault> {
        self.growth = 0;
        self.expr(expr)?;
        Ok(self.growth)
    }

    pub(super) fn roots(&mut self, exprs: &[Expr]) -> Result<(), StatementFault> {
        exprs.iter().try_for_each(|expr| self.rooted(expr).map(|_| ()))
    }

    pub(super) fn exprs(&mut self, exprs: &[Expr]) -> Result<(), StatementFault> {
        exprs.iter().try_for_each(|expr| self.expr(expr))
    }

    /// Left spines are walked in a loop, so only real nesting uses the stack.
    pub(super) fn expr(&mut self, expr: &Expr) -> Result<(), StatementFault> {
        self.enter()?;
        let mut node = expr;
        let mut links = 0usize;
        let mut last = None;
        while let Expr::BinaryOp { left, op, right } = node {
            let rank = rank(op)?;
            links = if last == Some(rank) { links + 1 } else { 1 };
            last = Some(rank);
            self.within(Limit::Chain, links, self.limits.chain_max)?;
            self.node()?;
            self.expr(right)?;
            node = left;
        }
        self.single(node)?;
        self.leave();
        Ok(())
    }

    fn single(&mut self, expr: &Expr) -> Result<(), StatementFault> {
        match expr {
            Expr::Identifier(ident) => self.column(std::slice::from_ref(ident)),
            Expr::CompoundIdentifier(parts) => self.column(parts),
            Expr::Value(value) => self.value(value),
            Expr::TypedString(TypedString { data_type, value, uses_odbc_syntax }) => {
                if *uses_odbc_syntax || !types::typed_literal(data_type) {
                    return deny("this kind of literal");
                }
                self.value(value)
            }
            Expr::Interval(interval) => self.interval(interval),
            Expr::Nested(inner)
            | Expr::IsFalse(inner)
            | Expr::IsNotFalse(inner)
            | Expr::IsTrue(inner)
            | Expr::IsNotTrue(inner)
            | Expr::IsNull(inner)
            | Expr::IsNotNull(inner)
            | Expr::IsUnknown(inner)
            | Expr::IsNotUnknown(inner) => self.expr(inner),
            Expr::IsDistinctFrom(left, right) | Expr::IsNotDistinctFrom(left, right) => {
                self.expr(left)?;
                self.expr(right)
            }
            Expr::UnaryOp { op: UnaryOperator::Plus | UnaryOperator::Minus | UnaryOperator::Not, expr } => {
                self.expr(expr)
            }
            Expr::UnaryOp { .. } => deny("this unary operator"),
            Expr::Cast { kind, expr, data_type, array, format } => {
                if *kind == CastKind::SafeCast || *array || format.is_some() || !types::castable(data_type) {
                    return deny(
                        "this cast (text, integers, decimal, double, boolean, date and timestamp are allowed)",
                    );
                }
                self.expr(expr)
            }
            Expr::Function(call) => self.call(call),
            Expr::Case { case_token: _, end_token: _, operand, conditions, else_result } => {
                self.options([operand.as_deref(), else_result.as_deref()])?;
                for CaseWhen { condition, result } in conditions {
                    self.expr(condition)?;
                    self.expr(result)?;
                }
                Ok(())
            }
            predicate_or_other => self.predicate(predicate_or_other),
        }
    }

    fn predicate(&mut self, expr: &Expr) -> Result<(), StatementFault> {
        match expr {
            Expr::InList { expr, list, negated: _ } => {
                self.within(Limit::InList, list.len(), self.limits.in_list_max)?;
                self.expr(expr)?;
                self.exprs(list)
            }
            Expr::InSubquery { expr, subquery, negated: _ } => {
                self.expr(expr)?;
                self.query(subquery).map(|_| ())
            }
            Expr::Between { expr, negated: _, low, high } => {
                self.expr(expr)?;
                self.expr(low)?;
                self.expr(high)
            }
            Expr::Like { negated: _, any, expr, pattern, escape_char }
            | Expr::ILike { negated: _, any, expr, pattern, escape_char } => {
                if *any {
                    return deny("LIKE ANY");
                }
                self.expr(expr)?;
                self.pattern(pattern, escape_char.as_ref())
            }
            Expr::Exists { subquery, negated: _ } | Expr::Subquery(subquery) => {
                self.query(subquery).map(|_| ())
            }
            other => self.special_call(other),
        }
    }

    /// Functions with a syntax of their own.
    fn special_call(&mut self, expr: &Expr) -> Result<(), StatementFault> {
        match expr {
            Expr::Extract { field, syntax: _, expr } => {
                if !types::field(field) {
                    return deny("this field of EXTRACT");
                }
                self.expr(expr)
            }
            Expr::Ceil { expr, field } | Expr::Floor { expr, field } => match field {
                CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) => self.expr(expr),
                _ => deny("a second argument of CEIL or FLOOR"),
            },
            Expr::Position { expr, r#in } => {
                self.expr(expr)?;
                self.expr(r#in)
            }
            Expr::Substring { expr, substring_from, substring_for, special: _, shorthand: _ } => {
                self.expr(expr)?;
                self.options([substring_from.as_deref(), substring_for.as_deref()])
            }
            Expr::Trim { trim_where: _, trim_what, expr, trim_characters } => {
                self.expr(expr)?;
                self.options([trim_what.as_deref(), None])?;
                self.exprs(trim_characters.as_deref().unwrap_or_default())
            }
            Expr::Overlay { .. } => Err(StatementFault::function("overlay")),
            Expr::Convert { .. } => Err(StatementFault::function("convert")),
            other => refused(other),
        }
    }

    pub(super) fn options(&mut self, exprs: [Option<&Expr>; 2]) -> Result<(), StatementFault> {
        exprs.into_iter().flatten().try_for_each(|expr| self.expr(expr))
    }

    fn column(&mut self, parts: &[Ident]) -> Result<(), StatementFault> {
        // The engine reads `@x` as a variable of the server.
        if parts.len() > 4 || parts.iter().any(|part| part.value.starts_with('@')) {
            return deny("a variable or a path");
        }
        if let Some(last) = parts.last() {
            let name = normal(last);
            let size = self.columns.iter().map(|columns| columns.size(&name)).max().unwrap_or(1);
            self.grow(size.saturating_sub(1))?;
        }
        Ok(())
    }

    pub(super) fn value(&mut self, value: &ValueWithSpan) -> Result<(), StatementFault> {
        match &value.value {
            Value::Number(_, false)
            | Value::SingleQuotedString(_)
            | Value::EscapedStringLiteral(_)
            | Value::Boolean(_)
            | Value::Null => Ok(()),
            Value::DollarQuotedString(_) => Ok(()),
            Value::Placeholder(name) => self.parameter(name),
            _ => deny("this kind of literal"),
        }
    }

    fn parameter(&mut self, name: &str) -> Result<(), StatementFault> {
        let digits =
            name.strip_prefix('$').filter(|n| !n.starts_with('0') && n.bytes().all(|b| b.is_ascii_digit()));
        let Some(digits) = digits.filter(|n| !n.is_empty()) else {
            return deny("a placeholder other than `$1`, `$2` and so on");
        };
        let max = self.limits.parameters_max;
        match digits.parse::<u32>() {
            Ok(number) if number <= max => {
                self.parameters = self.parameters.max(number);
                Ok(())
            }
            _ => {
                Err(StatementFault::TooComplex(Limit::Parameters, usize::try_from(max).unwrap_or(usize::MAX)))
            }
        }
    }

    /// A pattern is compiled before it runs, so it must be known and short. Parameters are measured in the plan.
    fn pattern(&mut self, pattern: &Expr, escape: Option<&ValueWithSpan>) -> Result<(), StatementFault> {
        if let Some(escape) = escape {
            match &escape.value {
                Value::SingleQuotedString(text) if text.chars().count() == 1 => {}
                _ => return deny("an ESCAPE that is not one character"),
            }
        }
        match pattern {
            Expr::Value(ValueWithSpan {
                value: Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text),
                ..
            }) => self.within(Limit::Pattern, text.len(), self.limits.pattern_bytes_max),
            Expr::Value(ValueWithSpan { value: Value::Placeholder(_) | Value::Null, .. }) => Ok(()),
            Expr::Nested(inner) => self.pattern(inner, None),
            _ => deny("LIKE with a pattern that is neither a text nor a parameter"),
        }?;
        self.expr(pattern)
    }

    fn interval(&mut self, interval: &Interval) -> Result<(), StatementFault> {
        let Interval { value, leading_field, leading_precision, last_field, fractional_seconds_precision } =
            interval;
        let plain =
            leading_precision.is_none() && last_field.is_none() && fractional_seconds_precision.is_none();
        if !plain || !leading_field.as_ref().is_none_or(types::field) {
            return deny("this kind of INTERVAL");
        }
        match value.as_ref() {
            Expr::Value(ValueWithSpan {
                value: Value::SingleQuotedString(_) | Value::Number(_, false),
                ..
            }) => self.expr(value),
            _ => deny("an INTERVAL that is not a literal"),
        }
    }
}

fn rank(op: &BinaryOperator) -> Result<Rank, StatementFault> {
    match op {
        BinaryOperator::Or => Ok(Rank::Or),
        BinaryOperator::And => Ok(Rank::And),
        BinaryOperator::Eq
        | BinaryOperator::NotEq
        | BinaryOperator::Lt
        | BinaryOperator::LtEq
        | BinaryOperator::Gt
        | BinaryOperator::GtEq => Ok(Rank::Comparison),
        BinaryOperator::Plus | BinaryOperator::Minus => Ok(Rank::Sum),
        BinaryOperator::Multiply | BinaryOperator::Divide | BinaryOperator::Modulo => Ok(Rank::Product),
        BinaryOperator::StringConcat => Ok(Rank::Text),
        BinaryOperator::PGRegexMatch
        | BinaryOperator::PGRegexIMatch
        | BinaryOperator::PGRegexNotMatch
        | BinaryOperator::PGRegexNotIMatch
        | BinaryOperator::Regexp => deny("a regular expression (use LIKE)"),
        _ => deny("this operator"),
    }
}

/// Everything not allowed above, with a word for the kinds people try.
fn refused(expr: &Expr) -> Result<(), StatementFault> {
    deny(match expr {
        Expr::SimilarTo { .. } | Expr::RLike { .. } => "SIMILAR TO, RLIKE or REGEXP (use LIKE)",
        Expr::AtTimeZone { .. } => "AT TIME ZONE",
        Expr::Collate { .. } => "COLLATE",
        Expr::AnyOp { .. } | Expr::AllOp { .. } => "ANY or ALL (use IN or EXISTS)",
        Expr::Tuple(_) => "a row value",
        Expr::Array(_) | Expr::Struct { .. } | Expr::Map(_) | Expr::Dictionary(_) => {
            "an array, struct or map"
        }
        Expr::CompoundFieldAccess { .. } | Expr::JsonAccess { .. } => "access by subscript or path",
        Expr::GroupingSets(_) | Expr::Cube(_) | Expr::Rollup(_) => {
            "GROUPING SETS, CUBE or ROLLUP outside GROUP BY"
        }
        Expr::Wildcard(_) | Expr::QualifiedWildcard(..) => "`*` inside an expression",
        Expr::Lambda(_) => "a lambda",
        _ => "this kind of expression",
    })
}
