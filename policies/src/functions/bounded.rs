//! `concat`, `concat_ws`, `||` and `replace`: the length of every cell is added up before any of it is written.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, StringArray, StringBuilder};
use arrow::datatypes::DataType;
use datafusion_common::{DFSchema, DataFusionError, Result, ScalarValue, exec_err, plan_err};
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion_sql::sqlparser::ast::BinaryOperator;

use super::{ARRAY_BYTES_MAX, CELL_BYTES_MAX, too_large};

/// What `||` becomes in a plan; it has no name a statement could call.
pub const CONCAT_OPERATOR: &str = "concat_operator";

static OPERATOR: LazyLock<Arc<ScalarUDF>> =
    LazyLock::new(|| Arc::new(ScalarUDF::new_from_impl(Text::new(Kind::Operator))));

pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    [Kind::Concat, Kind::ConcatWs, Kind::Replace]
        .map(|kind| Arc::new(ScalarUDF::new_from_impl(Text::new(kind))))
        .to_vec()
}

/// Turns `a || b` into the bounded form; the engine's own operator has no bound.
#[derive(Debug)]
pub(super) struct ConcatPlanner;

impl ExprPlanner for ConcatPlanner {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        _schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        if expr.op != BinaryOperator::StringConcat {
            return Ok(PlannerResult::Original(expr));
        }
        // A chain becomes one call: no depth, and no copy of the text for every link.
        let (mut parts, last) = match expr.left {
            Expr::ScalarFunction(call) if call.func.name() == CONCAT_OPERATOR => (call.args, expr.right),
            first => (vec![first], expr.right),
        };
        parts.push(last);
        let call = ScalarFunction::new_udf(Arc::clone(&OPERATOR), parts);
        Ok(PlannerResult::Planned(Expr::ScalarFunction(call)))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    /// Null counts as empty.
    Concat,
    /// The first argument separates the others; nulls among them are left out.
    ConcatWs,
    /// Null if any side is null (SQL standard).
    Operator,
    Replace,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Text {
    kind: Kind,
    signature: Signature,
}

impl Text {
    fn new(kind: Kind) -> Self {
        Self { kind, signature: Signature::user_defined(Volatility::Immutable) }
    }

    fn arity_fits(&self, count: usize) -> bool {
        match self.kind {
            Kind::Concat => count >= 1,
            Kind::ConcatWs => count >= 2,
            Kind::Operator => count >= 2,
            Kind::Replace => count == 3,
        }
    }
}

impl ScalarUDFImpl for Text {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Concat => "concat",
            Kind::ConcatWs => "concat_ws",
            Kind::Operator => CONCAT_OPERATOR,
            Kind::Replace => "replace",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        if !self.arity_fits(arg_types.len()) {
            return plan_err!("wrong number of arguments for {}", self.name());
        }
        arg_types
            .iter()
            .map(
                |given| {
                    if as_text(given) { Ok(DataType::Utf8) } else { plan_err!("{} needs text", self.name()) }
                },
            )
            .collect()
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let cells = args.args.iter().map(Cells::of).collect::<Result<Vec<_>>>()?;
        let constant = cells.iter().all(|cell| matches!(cell, Cells::One(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let built = match self.kind {
            Kind::Concat => build(rows, |row, out| {
                cells.iter().for_each(|cell| out.put(cell.at(row).unwrap_or_default()));
                true
            }),
            Kind::Operator => build(rows, |row, out| {
                cells.iter().all(|cell| cell.at(row).map(|text| out.put(text)).is_some())
            }),
            Kind::ConcatWs => build(rows, |row, out| concat_ws(&cells, row, out)),
            Kind::Replace => build(rows, |row, out| replace(&cells, row, out)),
        }?;
        if constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&built, 0)?));
        }
        Ok(ColumnarValue::Array(built))
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let names: Vec<String> = args.iter().map(|arg| arg.schema_name().to_string()).collect();
        Ok(if self.kind == Kind::Operator {
            names.join(" || ")
        } else {
            format!("{}({})", self.name(), names.join(","))
        })
    }
}

/// Types with one obvious text form.
fn as_text(given: &DataType) -> bool {
    match given {
        DataType::Dictionary(_, value) => as_text(value),
        other => {
            other.is_null()
                || other.is_string()
                || other.is_numeric()
                || *other == DataType::Boolean
                || matches!(other, DataType::Date32 | DataType::Date64 | DataType::Timestamp(..))
        }
    }
}

fn concat_ws(cells: &[Cells<'_>], row: usize, out: &mut Out<'_>) -> bool {
    let Some((separator, rest)) = cells.split_first() else {
        return false;
    };
    let Some(separator) = separator.at(row) else {
        return false;
    };
    let mut first = true;
    for text in rest.iter().filter_map(|cell| cell.at(row)) {
        if !std::mem::take(&mut first) {
            out.put(separator);
        }
        out.put(text);
    }
    true
}

/// An empty `from` leaves the text as it is, as PostgreSQL does.
fn replace(cells: &[Cells<'_>], row: usize, out: &mut Out<'_>) -> bool {
    let [text, from, to] = cells else {
        return false;
    };
    let (Some(text), Some(from), Some(to)) = (text.at(row), from.at(row), to.at(row)) else {
        return false;
    };
    if from.is_empty() {
        out.put(text);
        return true;
    }
    let mut parts = text.split(from);
    out.put(parts.next().unwrap_or_default());
    for part in parts {
        out.put(to);
        out.put(part);
    }
    true
}

/// One argument, as text.
enum Cells<'a> {
    One(Option<&'a str>),
    Many(&'a StringArray),
}

impl<'a> Cells<'a> {
    fn of(value: &'a ColumnarValue) -> Result<Self> {
        match value {
            ColumnarValue::Scalar(ScalarValue::Utf8(text)) => Ok(Self::One(text.as_deref())),
            ColumnarValue::Scalar(ScalarValue::Null) => Ok(Self::One(None)),
            ColumnarValue::Array(array) => match array.as_string_opt::<i32>() {
                Some(texts) => Ok(Self::Many(texts)),
                None => exec_err!("text was expected"),
            },
            ColumnarValue::Scalar(_) => exec_err!("text was expected"),
        }
    }

    fn at(&self, row: usize) -> Option<&'a str> {
        match self {
            Self::One(text) => *text,
            Self::Many(texts) => (row < texts.len() && texts.is_valid(row)).then(|| texts.value(row)),
        }
    }
}

/// Where the parts of a cell go: first only their lengths are added, then they are written.
enum Out<'a> {
    Length(usize),
    Text(&'a mut String),
}

impl Out<'_> {
    fn put(&mut self, part: &str) {
        match self {
            Self::Length(bytes) => *bytes = bytes.saturating_add(part.len()),
            Self::Text(text) => text.push_str(part),
        }
    }
}

/// Runs `cell` twice for every row, once to measure and once to write; `false` is null.
fn build(rows: usize, cell: impl Fn(usize, &mut Out<'_>) -> bool) -> Result<ArrayRef, DataFusionError> {
    let mut total = 0usize;
    for row in 0..rows {
        let mut out = Out::Length(0);
        let set = cell(row, &mut out);
        if let (true, Out::Length(bytes)) = (set, out) {
            total = total.saturating_add(bytes);
            if bytes > CELL_BYTES_MAX || total > ARRAY_BYTES_MAX {
                return Err(too_large());
            }
        }
    }
    let mut builder = StringBuilder::with_capacity(rows, total);
    let mut text = String::new();
    for row in 0..rows {
        text.clear();
        if cell(row, &mut Out::Text(&mut text)) { builder.append_value(&text) } else { builder.append_null() }
    }
    Ok(Arc::new(builder.finish()))
}
