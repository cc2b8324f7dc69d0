//! Which types a statement may cast to.

use datafusion_sql::sqlparser::ast::{DataType, DateTimeField, ExactNumberInfo, TimezoneInfo};

/// Text, integers, decimals, floats, boolean, date, timestamp; lengths and precisions within what the engine knows.
pub(super) fn castable(target: &DataType) -> bool {
    match target {
        DataType::Char(_)
        | DataType::Character(_)
        | DataType::CharacterVarying(_)
        | DataType::CharVarying(_)
        | DataType::Varchar(_)
        | DataType::Text
        | DataType::String(_) => true,
        DataType::TinyInt(None)
        | DataType::SmallInt(None)
        | DataType::Int2(None)
        | DataType::Int(None)
        | DataType::Int4(None)
        | DataType::Int8(None)
        | DataType::Integer(None)
        | DataType::BigInt(None)
        | DataType::TinyIntUnsigned(None)
        | DataType::SmallIntUnsigned(None)
        | DataType::IntUnsigned(None)
        | DataType::IntegerUnsigned(None)
        | DataType::BigIntUnsigned(None) => true,
        DataType::Numeric(info) | DataType::Decimal(info) | DataType::Dec(info) => precise(info),
        DataType::Float(ExactNumberInfo::None)
        | DataType::Float4
        | DataType::Float8
        | DataType::Real
        | DataType::Double(ExactNumberInfo::None)
        | DataType::DoublePrecision => true,
        DataType::Bool | DataType::Boolean | DataType::Date => true,
        DataType::Timestamp(precision, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            matches!(precision, None | Some(0 | 3 | 6 | 9))
        }
        _ => false,
    }
}

/// Types of `DATE '2024-01-01'` literals.
pub(super) fn typed_literal(target: &DataType) -> bool {
    matches!(target, DataType::Date | DataType::Timestamp(..)) && castable(target)
}

/// Decimal128 holds 38 digits.
fn precise(info: &ExactNumberInfo) -> bool {
    match info {
        ExactNumberInfo::None => true,
        ExactNumberInfo::Precision(precision) => (1..=38).contains(precision),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => {
            (1..=38).contains(precision) && *scale >= 0 && scale.unsigned_abs() <= *precision
        }
    }
}

/// Fields of EXTRACT and units of INTERVAL.
pub(super) fn field(field: &DateTimeField) -> bool {
    use DateTimeField as F;
    matches!(
        field,
        F::Year
            | F::Years
            | F::Quarter
            | F::Month
            | F::Months
            | F::Week(None)
            | F::Weeks
            | F::Day
            | F::Days
            | F::Hour
            | F::Hours
            | F::Minute
            | F::Minutes
            | F::Second
            | F::Seconds
            | F::Millisecond
            | F::Milliseconds
            | F::Microsecond
            | F::Microseconds
            | F::Nanosecond
            | F::Nanoseconds
            | F::Dow
            | F::Doy
            | F::Isodow
            | F::Isoyear
            | F::Epoch
    )
}
