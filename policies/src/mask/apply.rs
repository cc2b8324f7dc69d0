//! Masks at work on Arrow arrays, row by row.
//!
//! INVARIANT: arrays come out freshly built: no buffer of the unmasked array rides along.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, StringArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Float64Type, Int64Type, TimeUnit,
    TimestampMicrosecondType,
};
use thiserror::Error;

use super::{Mask, PseudonymKey, STARS};
use crate::civil::{self, DAY_US};

/// Ten to the scale of a decimal item, see [`catalog::ItemType::Decimal`].
const DECIMAL_ONE: i128 = 10_000;
/// The largest decimal of 38 digits.
const DECIMAL_MAX: i128 = 10_i128.pow(38) - 1;

/// An array that is not of the item's type; the values are never the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a mask met a column of another type")]
pub struct MaskFault;

impl Mask {
    /// The array as it may be shown: as long as `array`, of [`Mask::output_type`]; `key` is the derived one.
    ///
    /// A null stays null, but under `hide`, where a value and a null look the same.
    pub fn apply(&self, array: &ArrayRef, key: &PseudonymKey) -> Result<ArrayRef, MaskFault> {
        match self {
            Self::Hide => Ok(Arc::new(StringArray::from_iter_values((0..array.len()).map(|_| STARS)))),
            Self::KeepFirst(kept) => text(array, |value| Some(keep_first(value, usize::from(*kept)))),
            Self::KeepLast(kept) => text(array, |value| Some(keep_last(value, usize::from(*kept)))),
            Self::Pseudonym => text(array, |value| Some(key.pseudonym(value))),
            Self::RegionPrefix(digits) => text(array, |value| region_prefix(value, usize::from(*digits))),
            Self::Year => year(array),
            Self::Bucket(width) => bucket(array, *width),
        }
    }
}

fn text(array: &ArrayRef, shown: impl Fn(&str) -> Option<String>) -> Result<ArrayRef, MaskFault> {
    let texts = array.as_string_opt::<i32>().ok_or(MaskFault)?;
    let shown: StringArray = texts.iter().map(|value| value.and_then(&shown)).collect();
    Ok(Arc::new(shown))
}

/// A value too short to be cut would be shown whole, so nothing of it is shown.
fn keep_first(value: &str, kept: usize) -> String {
    match value.char_indices().nth(kept) {
        Some((end, _)) => format!("{}{STARS}", value.get(..end).unwrap_or("")),
        None => STARS.to_owned(),
    }
}

fn keep_last(value: &str, kept: usize) -> String {
    // The character before the kept ones must exist, see `keep_first`.
    let hidden_last = value.char_indices().rev().nth(kept);
    let start = hidden_last.map(|(at, c)| at + c.len_utf8());
    match start {
        Some(start) => format!("{STARS}{}", value.get(start..).unwrap_or("")),
        None => STARS.to_owned(),
    }
}

/// The first digits, or null when the value does not start with that many.
fn region_prefix(value: &str, digits: usize) -> Option<String> {
    let prefix = value.get(..digits)?;
    prefix.bytes().all(|byte| byte.is_ascii_digit()).then(|| prefix.to_owned())
}

fn year(array: &ArrayRef) -> Result<ArrayRef, MaskFault> {
    match array.data_type() {
        DataType::Date32 => number::<Date32Type>(array, |day| {
            i32::try_from(civil::days(civil::year(i64::from(day)), 1, 1)).ok()
        }),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            number::<TimestampMicrosecondType>(array, |micros| {
                civil::days(civil::year(micros.div_euclid(DAY_US)), 1, 1).checked_mul(DAY_US)
            })
        }
        _ => Err(MaskFault),
    }
}

/// Rounds down, to a multiple of the width; null when there is no such number in the type.
fn bucket(array: &ArrayRef, width: u64) -> Result<ArrayRef, MaskFault> {
    let whole = i64::try_from(width).ok().filter(|width| *width > 0).ok_or(MaskFault)?;
    match array.data_type() {
        DataType::Int64 => number::<Int64Type>(array, |value| value.checked_sub(value.rem_euclid(whole))),
        DataType::Decimal128(38, 4) => {
            let width = i128::from(whole) * DECIMAL_ONE;
            number::<Decimal128Type>(array, |value| {
                value
                    .checked_sub(value.rem_euclid(width))
                    .filter(|floor| (-DECIMAL_MAX..=DECIMAL_MAX).contains(floor))
            })
        }
        DataType::Float64 => number::<Float64Type>(array, |value| {
            let width = whole as f64;
            // Not-a-number has payload bits that could tell; adding zero makes -0.0 plain zero.
            if value.is_nan() { None } else { Some((value / width).floor() * width + 0.0) }
        }),
        _ => Err(MaskFault),
    }
}

fn number<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    shown: impl Fn(T::Native) -> Option<T::Native>,
) -> Result<ArrayRef, MaskFault> {
    let values = array.as_primitive_opt::<T>().ok_or(MaskFault)?;
    let shown: PrimitiveArray<T> = values.iter().map(|value| value.and_then(&shown)).collect();
    Ok(Arc::new(shown.with_data_type(array.data_type().clone())))
}
