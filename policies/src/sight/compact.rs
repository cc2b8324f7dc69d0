//! Arrays built anew, so that nothing hidden rides along: no slice, no shared dictionary, no bytes behind a null.
//!
//! INVARIANT: a compacted array's buffers are a function of its visible values alone.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, PrimitiveArray, StringArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Float64Type, Int64Type, TimeUnit,
    TimestampMicrosecondType,
};
use datafusion_common::DataFusionError;

use crate::barrier::{BarrierFault, cell_too_large};

/// The largest text or binary cell that may leave.
pub const CELL_BYTES_MAX: usize = 64 * 1024;

/// A copy of the array with its own dense buffers and zeroed null slots.
pub(super) fn compact(array: &ArrayRef) -> Result<ArrayRef, DataFusionError> {
    check_cells(array)?;
    match array.data_type() {
        DataType::Utf8 => {
            let texts = array.as_string_opt::<i32>().ok_or_else(|| BarrierFault::Shape.sealed())?;
            Ok(Arc::new(texts.iter().collect::<StringArray>()))
        }
        DataType::Binary => {
            let cells = array.as_binary_opt::<i32>().ok_or_else(|| BarrierFault::Shape.sealed())?;
            Ok(Arc::new(cells.iter().collect::<BinaryArray>()))
        }
        DataType::Boolean => {
            let flags = array.as_boolean_opt().ok_or_else(|| BarrierFault::Shape.sealed())?;
            Ok(Arc::new(flags.iter().collect::<BooleanArray>()))
        }
        DataType::Int64 => dense::<Int64Type>(array),
        DataType::Float64 => dense::<Float64Type>(array),
        DataType::Date32 => dense::<Date32Type>(array),
        DataType::Decimal128(_, _) => dense::<Decimal128Type>(array),
        DataType::Timestamp(TimeUnit::Microsecond, _) => dense::<TimestampMicrosecondType>(array),
        _ => Err(BarrierFault::Shape.sealed()),
    }
}

fn dense<T: ArrowPrimitiveType>(array: &ArrayRef) -> Result<ArrayRef, DataFusionError> {
    let values = array.as_primitive_opt::<T>().ok_or_else(|| BarrierFault::Shape.sealed())?;
    let copied: PrimitiveArray<T> = values.iter().collect();
    Ok(Arc::new(copied.with_data_type(array.data_type().clone())))
}

/// Refuses a cell that is too large to leave; only visible rows are looked at.
pub(super) fn check_cells(array: &ArrayRef) -> Result<(), DataFusionError> {
    let longest = match array.data_type() {
        DataType::Utf8 => {
            array.as_string_opt::<i32>().and_then(|texts| texts.iter().flatten().map(str::len).max())
        }
        DataType::Binary => {
            array.as_binary_opt::<i32>().and_then(|cells| cells.iter().flatten().map(<[u8]>::len).max())
        }
        _ => None,
    };
    match longest {
        Some(bytes) if bytes > CELL_BYTES_MAX => Err(cell_too_large()),
        _ => Ok(()),
    }
}
