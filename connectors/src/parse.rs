//! Text cells as typed values: exact or not at all.
//!
//! INVARIANT: a value is never rounded, cut or guessed; what does not fit is `None` and read as null.
//! Only ASCII white space is trimmed, as SQLite's own number affinity does (pushed filters rely on that).

use chrono::{DateTime, NaiveDate, NaiveDateTime};

/// Digits after the point of [`catalog::ItemType::Decimal`].
const DECIMAL_PLACES: usize = 4;

/// Largest integer up to which every integer is a 64-bit float.
pub(crate) const FLOAT_INTEGER_MAX: i64 = 1 << 53;

pub(crate) fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\n', '\r', '\u{b}', '\u{c}'])
}

/// An integer; a fraction of zeros only (`42.00`) is allowed.
pub(crate) fn integer(text: &str) -> Option<i64> {
    let text = trimmed(text);
    let whole = match text.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|b| b == b'0') => whole,
        Some(_) => return None,
        None => text,
    };
    whole.parse().ok()
}

/// A plain decimal, times 10^4; more than four places only when the rest is zeros.
pub(crate) fn decimal(text: &str) -> Option<i128> {
    let text = trimmed(text);
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let (kept, rest) = fraction.split_at(fraction.len().min(DECIMAL_PLACES));
    if rest.bytes().any(|b| b != b'0') {
        return None;
    }
    let fraction = kept.parse::<i128>().ok()? * 10_i128.pow((DECIMAL_PLACES - kept.len()) as u32);
    let value = whole.parse::<i128>().ok()?.checked_mul(10_000)?.checked_add(fraction)?;
    // 38 digits are what the Arrow type holds.
    (value < 10_i128.pow(38)).then_some(if negative { -value } else { value })
}

pub(crate) fn float(text: &str) -> Option<f64> {
    trimmed(text).parse().ok().filter(|value: &f64| value.is_finite())
}

pub(crate) fn boolean(text: &str) -> Option<bool> {
    match trimmed(text) {
        "1" | "t" | "T" | "true" | "True" | "TRUE" | "y" | "Y" | "yes" | "Yes" | "YES" | "是" => Some(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" | "n" | "N" | "no" | "No" | "NO" | "否" => Some(false),
        _ => None,
    }
}

fn civil(text: &str) -> Option<NaiveDate> {
    let numbers = |parts: [&str; 3]| {
        let [year, month, day] = parts;
        let sizes = year.len() == 4 && (1..=2).contains(&month.len()) && (1..=2).contains(&day.len());
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if !sizes || !digits(year) || !digits(month) || !digits(day) {
            return None;
        }
        NaiveDate::from_ymd_opt(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?)
    };
    if text.len() == 8 && text.bytes().all(|b| b.is_ascii_digit()) {
        return numbers([text.get(..4)?, text.get(4..6)?, text.get(6..)?]);
    }
    if let Some((year, rest)) = text.split_once('年') {
        let (month, rest) = rest.split_once('月')?;
        return numbers([year, month, rest.strip_suffix('日')?]);
    }
    let mark = ['-', '/', '.'].into_iter().find(|mark| text.contains(*mark))?;
    let mut parts = text.split(mark);
    let date = numbers([parts.next()?, parts.next()?, parts.next()?])?;
    parts.next().is_none().then_some(date)
}

/// Days since 1970-01-01: `2024-02-29`, `2024/2/29`, `2024.2.29`, `20240229`, `2024年2月29日`, each with or without midnight.
pub(crate) fn date(text: &str) -> Option<i32> {
    let text = trimmed(text);
    let day = ["T00:00:00Z", "T00:00:00", " 00:00:00", " 0:00:00", " 00:00:00.000"]
        .into_iter()
        .find_map(|midnight| text.strip_suffix(midnight))
        .unwrap_or(text);
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1)?;
    i32::try_from(civil(day)?.signed_duration_since(epoch).num_days()).ok()
}

/// Microseconds since 1970-01-01 UTC: RFC 3339, or a date and time without offset (taken as UTC), or a date (its midnight).
pub(crate) fn timestamp(text: &str) -> Option<i64> {
    let text = trimmed(text);
    if let Some(days) = date(text) {
        return i64::from(days).checked_mul(86_400_000_000);
    }
    if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
        return Some(instant.timestamp_micros());
    }
    ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y/%m/%d %H:%M:%S%.f", "%Y-%m-%d %H:%M"]
        .into_iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
        .map(|instant| instant.and_utc().timestamp_micros())
}

/// A float that is an integer exactly.
pub(crate) fn whole(value: f64) -> Option<i64> {
    (value.fract() == 0.0 && value.abs() <= FLOAT_INTEGER_MAX as f64).then_some(value as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_exact_or_nothing() {
        for (text, expect) in [
            ("42", Some(42)),
            (" 42\t", Some(42)),
            ("+42", Some(42)),
            ("-0042", Some(-42)),
            ("42.00", Some(42)),
            ("42.", None),
            ("42.5", None),
            ("4 2", None),
            ("", None),
            ("４２", None),
            ("\u{3000}42", None),
            ("1e3", None),
            ("0x10", None),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
        ] {
            assert_eq!(integer(text), expect, "{text:?}");
        }
    }

    #[test]
    fn decimals_are_exact_or_nothing() {
        for (text, expect) in [
            ("1", Some(10_000)),
            ("1.5", Some(15_000)),
            ("-0.0001", Some(-1)),
            ("0.00010", Some(1)),
            ("0.00011", None),
            ("1,000.00", None),
            (".5", None),
            ("5.", None),
            ("-", None),
            ("--1", None),
            ("1e3", None),
            ("9999999999999999999999999999999999.9999", Some(10_i128.pow(38) - 1)),
            ("10000000000000000000000000000000000", None),
            ("999999999999999999999999999999999999999999999999", None),
        ] {
            assert_eq!(decimal(text), expect, "{text:?}");
        }
    }

    #[test]
    fn dates_in_the_forms_departments_write() {
        for (text, expect) in [
            ("1970-01-01", Some(0)),
            ("1970-1-2", Some(1)),
            ("1970/01/02", Some(1)),
            ("1970.1.2", Some(1)),
            ("19700102", Some(1)),
            ("1970年1月2日", Some(1)),
            ("1970-01-02 00:00:00", Some(1)),
            ("1970-01-02T00:00:00", Some(1)),
            ("1969-12-31", Some(-1)),
            ("2024-02-29", Some(19_782)),
            ("2023-02-29", None),
            ("1970-01-02 10:00:00", None),
            ("1970-01/02", None),
            ("70-01-02", None),
            ("1970-01", None),
            ("1970-01-02-03", None),
            ("", None),
            ("no date", None),
        ] {
            assert_eq!(date(text), expect, "{text:?}");
        }
    }

    #[test]
    fn instants_floats_and_flags() {
        for (text, expect) in [
            ("1970-01-01T08:00:00+08:00", Some(0)),
            ("1970-01-01 00:00:01", Some(1_000_000)),
            ("1970-01-01T00:00:00.000001Z", Some(1)),
            ("1970-01-02", Some(86_400_000_000)),
            ("25:00", None),
        ] {
            assert_eq!(timestamp(text), expect, "{text:?}");
        }
        for (text, expect) in
            [("1.5", Some(1.5)), ("1e3", Some(1e3)), ("NaN", None), ("inf", None), ("1e999", None)]
        {
            assert_eq!(float(text), expect, "{text:?}");
        }
        for (text, expect) in [("是", Some(true)), ("0", Some(false)), ("2", None), ("", None)] {
            assert_eq!(boolean(text), expect, "{text:?}");
        }
        for (value, expect) in
            [(3.0, Some(3)), (3.5, None), (f64::NAN, None), (f64::INFINITY, None), (1e300, None)]
        {
            assert_eq!(whole(value), expect, "{value}");
        }
    }
}
