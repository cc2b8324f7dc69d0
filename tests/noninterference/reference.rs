//! What a grant shows, a second time: row by row from its JSON, sharing no code with scopes, masks and the barrier.

use std::cmp::Ordering;

use chrono::{DateTime, Datelike, NaiveDate};
use serde_json::Value as Json;

use super::cells::{Cell, amount, name};

/// Attributes of the caller of every case.
pub const CALLER: [(&str, &str); 3] =
    [("region_code", "330000"), ("department", "civil-affairs"), ("account", "civil-affairs.operator")];

#[allow(clippy::manual_try_fold)] // unknown is a value here, not the end
/// Three-valued truth of a scope on a row; `place` finds an item.
pub fn truth(scope: &Json, row: &[Cell], place: &dyn Fn(&str) -> usize) -> Option<bool> {
    let (kind, body) = scope.as_object().expect("a scope").iter().next().expect("one member");
    let cell = |name: &Json| &row[place(name.as_str().expect("an item"))];
    let parts = || body.as_array().expect("parts").iter().map(|part| truth(part, row, place));
    match kind.as_str() {
        "not" => truth(body, row, place).map(|known| !known),
        "is_null" => Some(is_null(cell(body))),
        "all" => parts().fold(Some(true), |all, part| match (all, part) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        }),
        "any" => parts().fold(Some(false), |any, part| match (any, part) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        }),
        "in" => {
            let cell = cell(&body["item"]);
            let values = body["values"].as_array().expect("values");
            (!is_null(cell)).then(|| values.iter().any(|value| order(cell, value) == Ordering::Equal))
        }
        _ => {
            let cell = cell(&body["item"]);
            (!is_null(cell)).then(|| compare(cell, body["op"].as_str().expect("an operator"), &body["value"]))
        }
    }
}

/// A float that is no finite number reads null, as what does not fit does.
pub fn is_null(cell: &Cell) -> bool {
    match cell {
        Cell::Null | Cell::Unfit => true,
        Cell::Float(number) => !number.is_finite(),
        _ => false,
    }
}

fn compare(cell: &Cell, op: &str, value: &Json) -> bool {
    if op == "like_prefix" {
        return matches!(cell, Cell::Text(text) if text.starts_with(&text_of(value)));
    }
    let order = order(cell, value);
    match op {
        "=" => order.is_eq(),
        "<>" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    }
}

fn text_of(value: &Json) -> String {
    let Some(attribute) = value.get("caller").and_then(Json::as_str) else {
        return value.as_str().expect("text").to_owned();
    };
    CALLER.iter().find(|(name, _)| *name == attribute).expect("an attribute").1.to_owned()
}

fn order(cell: &Cell, value: &Json) -> Ordering {
    match cell {
        Cell::Text(text) => text.as_bytes().cmp(text_of(value).as_bytes()),
        Cell::Integer(number) => number.cmp(&value.as_i64().expect("an integer")),
        // Totally ordered like the kernels: minus zero is below zero.
        Cell::Float(number) => number.total_cmp(&(value.as_f64().expect("a number") + 0.0)),
        Cell::Decimal(number) => number.cmp(&(value.as_i64().map(i128::from).expect("whole") * 10_000)),
        Cell::Date(day) => date(*day).cmp(&value.as_str().expect("a date").parse().expect("a date")),
        Cell::Timestamp(micros) => {
            let other = DateTime::parse_from_rfc3339(value.as_str().expect("a time")).expect("a time");
            micros.cmp(&other.timestamp_micros())
        }
        Cell::Boolean(flag) => flag.cmp(&value.as_bool().expect("a flag")),
        other => panic!("{other:?} has no order"),
    }
}

fn date(day: i32) -> NaiveDate {
    NaiveDate::from_num_days_from_ce_opt(day + 719_163).expect("a day")
}

/// The value as the grant shows it; `pseudonym` is the keyed digest.
pub fn shown(cell: &Cell, mask: Option<&Json>, pseudonym: &dyn Fn(&str) -> String) -> Cell {
    let cell = if is_null(cell) { &Cell::Null } else { cell };
    let Some(mask) = mask else { return cell.clone() };
    let count = amount(mask);
    match (name(mask), cell) {
        ("hide", _) => Cell::Text("***".to_owned()),
        (_, Cell::Null) => Cell::Null,
        ("pseudonym", Cell::Text(text)) => Cell::Text(pseudonym(text)),
        ("keep_first", Cell::Text(text)) => Cell::Text(cut(text, count, true)),
        ("keep_last", Cell::Text(text)) => Cell::Text(cut(text, count, false)),
        ("region_prefix", Cell::Text(text)) => {
            let digits: String = text.chars().take(count).filter(char::is_ascii_digit).collect();
            if digits.len() == count { Cell::Text(digits) } else { Cell::Null }
        }
        ("year", Cell::Date(day)) => Cell::Date(new_year(date(*day)).num_days_from_ce() - 719_163),
        ("year", Cell::Timestamp(micros)) => {
            let day = DateTime::from_timestamp_micros(*micros).expect("a time").date_naive();
            Cell::Timestamp(
                new_year(day).and_hms_opt(0, 0, 0).expect("midnight").and_utc().timestamp_micros(),
            )
        }
        ("bucket", Cell::Integer(number)) => Cell::Integer(number.div_euclid(count as i64) * count as i64),
        ("bucket", Cell::Decimal(number)) => {
            let width = count as i128 * 10_000;
            Cell::Decimal(number.div_euclid(width) * width)
        }
        ("bucket", Cell::Float(number)) => Cell::Float((number / count as f64).floor() * count as f64 + 0.0),
        (name, cell) => panic!("{name} on {cell:?}"),
    }
}

fn new_year(day: NaiveDate) -> NaiveDate {
    NaiveDate::from_ymd_opt(day.year(), 1, 1).expect("a day")
}

fn cut(text: &str, kept: usize, first: bool) -> String {
    let chars: Vec<char> = text.chars().collect();
    match (chars.len() > kept, first) {
        (false, _) => "***".to_owned(),
        (true, true) => chars[..kept].iter().collect::<String>() + "***",
        (true, false) => "***".to_owned() + &chars[chars.len() - kept..].iter().collect::<String>(),
    }
}
