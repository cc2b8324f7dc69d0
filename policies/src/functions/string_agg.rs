//! `string_agg` with a bound on what one group may collect.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, FieldRef};
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature};
use datafusion_physical_expr::expressions::Literal;

use super::{CELL_BYTES_MAX, too_large};

/// Text that is sorted or made distinct is kept value by value; this bounds what that takes.
const COLLECTED_BYTES_MAX: usize = 128 * CELL_BYTES_MAX;

/// Rows of distinct text handed on at once: at most 4 MiB of it.
const DISTINCT_ROWS: usize = 64;

/// A separator is written between all values, also between very short ones.
const SEPARATOR_BYTES_MAX: usize = 64;

/// The engine's function, group by group, so that every group can be bounded.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct StringAgg(Arc<AggregateUDF>);

impl StringAgg {
    pub(super) fn new() -> Self {
        Self(datafusion_functions_aggregate::string_agg::string_agg_udaf())
    }
}

impl AggregateUDFImpl for StringAgg {
    fn name(&self) -> &str {
        "string_agg"
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.0.return_type(arg_types)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.0.state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let distinct = args.is_distinct;
        let separator = separator_bytes(&args);
        if separator > SEPARATOR_BYTES_MAX {
            return Err(too_large());
        }
        let inner = self.0.accumulator(args)?;
        Ok(Box::new(Bounded { inner, distinct, separator, bytes: 0 }))
    }
}

#[derive(Debug)]
struct Bounded {
    inner: Box<dyn Accumulator>,
    distinct: bool,
    separator: usize,
    /// Text and separators taken in so far.
    bytes: usize,
}

impl Bounded {
    fn add(&mut self, texts: Option<&ArrayRef>) -> Result<()> {
        if let Some(texts) = texts {
            let separators = texts.len().saturating_mul(self.separator);
            let bytes = text_bytes(texts).saturating_add(separators);
            self.bytes = self.bytes.saturating_add(bytes);
        }
        if !self.distinct && self.bytes > CELL_BYTES_MAX { Err(too_large()) } else { Ok(()) }
    }

    fn collected(&self) -> Result<()> {
        if self.inner.size() > COLLECTED_BYTES_MAX { Err(too_large()) } else { Ok(()) }
    }
}

impl Accumulator for Bounded {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(values.first())?;
        let rows = values.first().map_or(0, |texts| texts.len());
        // Distinct values are encoded a slice at a time, so that the size measured is what is kept.
        let step = if self.distinct { DISTINCT_ROWS } else { rows.max(1) };
        for start in (0..rows).step_by(step) {
            let len = step.min(rows - start);
            let slices: Vec<_> = values.iter().map(|array| array.slice(start, len)).collect();
            self.inner.update_batch(&slices)?;
            self.collected()?;
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.add(states.first())?;
        self.inner.merge_batch(states)?;
        self.collected()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let value = self.inner.evaluate()?;
        match value.try_as_str() {
            Some(Some(text)) if text.len() > CELL_BYTES_MAX => Err(too_large()),
            _ => Ok(value),
        }
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn size(&self) -> usize {
        self.inner.size().saturating_add(size_of::<Self>())
    }
}

/// Bytes of set texts; lists of texts (states of sorted groups) are measured after they are merged.
fn text_bytes(array: &ArrayRef) -> usize {
    match array.data_type() {
        DataType::Utf8 => array.as_string_opt::<i32>().map_or(0, |a| a.iter().flatten().map(str::len).sum()),
        DataType::LargeUtf8 => {
            array.as_string_opt::<i64>().map_or(0, |a| a.iter().flatten().map(str::len).sum())
        }
        DataType::Utf8View => {
            array.as_string_view_opt().map_or(0, |a| a.iter().flatten().map(str::len).sum())
        }
        _ => 0,
    }
}

/// The engine itself refuses a separator that is not a literal.
fn separator_bytes(args: &AccumulatorArgs) -> usize {
    let literal = args.exprs.get(1).and_then(|expr| expr.downcast_ref::<Literal>());
    match literal.map(|literal| literal.value().try_as_str()) {
        Some(Some(Some(text))) => text.len(),
        _ => 0,
    }
}
