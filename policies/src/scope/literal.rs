//! A value of a scope as a literal of its item's own type, or the reason why it is none.
//!
//! INVARIANT: a literal has exactly the item's Arrow type, so no comparison ever needs a cast.

use catalog::{Item, ItemType};
use datafusion_common::ScalarValue;

use super::{CALLER_ATTRIBUTES, ComparisonOp, TEXT_CHARS_MAX, Value};
use crate::civil;

/// Digits after the point of a decimal item, as [`ItemType::Decimal`] declares them.
const DECIMAL_PLACES: usize = 4;

/// Whether `item op value` makes sense, before any caller is known.
pub(super) fn check(item: &Item, op: ComparisonOp, value: &Value) -> Result<(), String> {
    fits(item, op)?;
    if let Value::Caller { caller } = value {
        if !CALLER_ATTRIBUTES.contains(&caller.as_str()) {
            let caller: String = caller.chars().take(64).collect();
            return Err(format!(
                "a caller has no attribute `{caller}`, use one of region_code, department, account"
            ));
        }
        if item.item_type != ItemType::Text {
            return Err(format!("a caller attribute is text, `{}` is not: compare a text item", item.name));
        }
        return Ok(());
    }
    if op == ComparisonOp::LikePrefix && matches!(value, Value::Text(text) if text.is_empty()) {
        return Err("`like_prefix` takes at least one character".to_owned());
    }
    literal(item, value).map(drop)
}

/// Which operators an item's type has.
pub(super) fn fits(item: &Item, op: ComparisonOp) -> Result<(), String> {
    let name = &item.name;
    let only = match (item.item_type, op) {
        (ItemType::Binary, _) => "`is_null`",
        (ItemType::Boolean, op) if !matches!(op, ComparisonOp::Eq | ComparisonOp::NotEq) => "`=` and `<>`",
        (item_type, ComparisonOp::LikePrefix) if item_type != ItemType::Text => "`= <> < <= > >=`",
        _ => return Ok(()),
    };
    Err(format!("`{}` does not fit `{name}`, which takes {only} only", op.as_str()))
}

/// The literal of the item's type; a caller attribute must have been put in its place before.
pub(super) fn literal(item: &Item, value: &Value) -> Result<ScalarValue, String> {
    let scalar = match (item.item_type, value) {
        (ItemType::Text, Value::Text(text)) => {
            if text.chars().count() > TEXT_CHARS_MAX {
                return Err(format!("a text may have at most {TEXT_CHARS_MAX} characters, shorten it"));
            }
            Some(ScalarValue::Utf8(Some(text.clone())))
        }
        (ItemType::Integer, Value::Integer(number)) => Some(ScalarValue::Int64(Some(*number))),
        (ItemType::Float, Value::Integer(number)) => {
            // Beyond 2^53 the float would stand for another number than the one written.
            let exact = number.unsigned_abs() <= 1 << 53;
            exact.then_some(ScalarValue::Float64(Some(*number as f64)))
        }
        // Adding zero turns -0.0 into 0.0: kernels order them, people do not.
        (ItemType::Float, Value::Float(number)) => {
            is_settled(*number).then_some(ScalarValue::Float64(Some(number + 0.0)))
        }
        (ItemType::Boolean, Value::Boolean(flag)) => Some(ScalarValue::Boolean(Some(*flag))),
        (ItemType::Date, Value::Text(text)) => civil::parse_date(text)
            .and_then(|days| i32::try_from(days).ok())
            .map(|days| ScalarValue::Date32(Some(days))),
        (ItemType::Timestamp, Value::Text(text)) => civil::parse_timestamp(text)
            .map(|micros| ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into()))),
        (ItemType::Decimal, Value::Integer(number)) => decimal(&number.to_string()),
        (ItemType::Decimal, Value::Float(number)) if is_settled(*number) => decimal(&number.to_string()),
        (ItemType::Decimal, Value::Text(text)) => decimal(text),
        _ => None,
    };
    scalar.ok_or_else(|| format!("the value does not fit `{}`, give {}", item.name, wanted(item.item_type)))
}

/// Whether the number is the same once it was stored as JSON and read again: the reader rounds numbers of many digits
/// in its own way, and what is in force must be what was signed.
fn is_settled(number: f64) -> bool {
    let again = serde_json::to_string(&number).ok().and_then(|text| serde_json::from_str(&text).ok());
    number.is_finite() && again == Some(number)
}

/// Plain decimal text, at most 34 digits before and 4 after the point, scaled exactly; never rounded.
fn decimal(text: &str) -> Option<ScalarValue> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty()
        || whole.len() > 34
        || fraction.len() > DECIMAL_PLACES
        || !plain(whole)
        || !plain(fraction)
    {
        return None;
    }
    let scaled: i128 = format!("{whole}{fraction:0<DECIMAL_PLACES$}").parse().ok()?;
    Some(ScalarValue::Decimal128(Some(if negative { -scaled } else { scaled }), 38, 4))
}

fn wanted(item_type: ItemType) -> &'static str {
    match item_type {
        ItemType::Text => "a text",
        ItemType::Decimal => "a number with at most 4 decimal places, as a text when it is long",
        ItemType::Date => "a date such as \"2026-01-31\"",
        ItemType::Timestamp => "a UTC time such as \"2026-01-31T08:00:00Z\"",
        ItemType::Boolean => "true or false",
        ItemType::Binary => "no value: use `is_null`",
        ItemType::Float => "a number of at most 15 digits",
        ItemType::Integer => "a whole number",
    }
}

/// The least text greater than every text that starts with `prefix`; none when there is no such text.
///
/// UTF-8 bytes order as code points do, so `prefix <= t < successor` is exactly "starts with".
pub(super) fn successor(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        if let Some(next) = next_char(last) {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

fn next_char(c: char) -> Option<char> {
    match c {
        // The surrogates between are no characters.
        '\u{D7FF}' => Some('\u{E000}'),
        c => char::from_u32(c as u32 + 1),
    }
}
