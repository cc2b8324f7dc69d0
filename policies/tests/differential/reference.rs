//! The reference: row by row, in plain Rust, from the JSON of the grant; shares no code with what it judges.

use std::cmp::Ordering;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use aws_lc_rs::hmac;
use catalog::ItemType;
use chrono::{DateTime, Datelike, NaiveDate};
use serde_json::Value as Json;

use super::world::{Cell, DEPARTMENT, ITEMS, MASTER, PURPOSE, World, batches};

/// The copy a caller might as well have been given: visible rows, masked values, permitted columns.
pub fn copy(world: &World) -> (SchemaRef, Vec<RecordBatch>) {
    let columns: Vec<(&str, ItemType)> = world
        .output
        .iter()
        .map(|(item, mask)| {
            let (name, item_type) = ITEMS[*item];
            (name, if *mask == Some(Json::from("hide")) { ItemType::Text } else { item_type })
        })
        .collect();
    let chunks = world.rows.chunks(world.chunk_rows).map(|rows| {
        let visible = rows.iter().filter(|row| world.visible(row));
        visible
            .map(|row| world.output.iter().map(|(item, mask)| shown(&row[*item], mask.as_ref())).collect())
            .collect::<Vec<Vec<Cell>>>()
    });
    batches(&columns, chunks)
}

/// Three-valued truth of a scope's JSON on a row.
pub fn truth(scope: &Json, row: &[Cell]) -> Option<bool> {
    let (kind, body) = scope.as_object().unwrap().iter().next().unwrap();
    let cell =
        |name: &Json| &row[ITEMS.iter().position(|(item, _)| *item == name.as_str().unwrap()).unwrap()];
    match kind.as_str() {
        "not" => truth(body, row).map(|known| !known),
        "is_null" => Some(*cell(body) == Cell::Null),
        "all" => {
            let parts: Vec<_> = body.as_array().unwrap().iter().map(|part| truth(part, row)).collect();
            if parts.contains(&Some(false)) { Some(false) } else { (!parts.contains(&None)).then_some(true) }
        }
        "any" => {
            let parts: Vec<_> = body.as_array().unwrap().iter().map(|part| truth(part, row)).collect();
            if parts.contains(&Some(true)) { Some(true) } else { (!parts.contains(&None)).then_some(false) }
        }
        "in" => {
            let cell = cell(&body["item"]);
            let values = body["values"].as_array().unwrap();
            (*cell != Cell::Null).then(|| values.iter().any(|value| order(cell, value) == Ordering::Equal))
        }
        "compare" => {
            let cell = cell(&body["item"]);
            if *cell == Cell::Null {
                return None;
            }
            let op = body["op"].as_str().unwrap();
            if op == "like_prefix" {
                let Cell::Text(text) = cell else { panic!("a prefix of {cell:?}") };
                return Some(text.starts_with(&text_of(&body["value"])));
            }
            let order = order(cell, &body["value"]);
            Some(match op {
                "=" => order.is_eq(),
                "<>" => order.is_ne(),
                "<" => order.is_lt(),
                "<=" => order.is_le(),
                ">" => order.is_gt(),
                _ => order.is_ge(),
            })
        }
        other => panic!("{other}"),
    }
}

fn text_of(value: &Json) -> String {
    match value.get("caller").and_then(Json::as_str) {
        Some("region_code") => "64".to_owned(),
        Some("department") => DEPARTMENT.to_owned(),
        Some(other) => panic!("{other}"),
        None => value.as_str().unwrap().to_owned(),
    }
}

fn order(cell: &Cell, value: &Json) -> Ordering {
    match cell {
        Cell::Text(text) => text.as_bytes().cmp(text_of(value).as_bytes()),
        Cell::Integer(number) => number.cmp(&value.as_i64().unwrap()),
        Cell::Float(number) => number.partial_cmp(&value.as_f64().unwrap()).unwrap(),
        Cell::Decimal(number) => {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            // The literals drawn are small quarters, which floats hold exactly.
            number.cmp(&((text.parse::<f64>().unwrap() * 10_000.0) as i128))
        }
        Cell::Date(day) => date(*day).cmp(&value.as_str().unwrap().parse().unwrap()),
        Cell::Timestamp(micros) => {
            let other = DateTime::parse_from_rfc3339(value.as_str().unwrap()).unwrap();
            DateTime::from_timestamp_micros(*micros).unwrap().cmp(&other.to_utc())
        }
        Cell::Boolean(flag) => flag.cmp(&value.as_bool().unwrap()),
        Cell::Null => panic!("a null has no order"),
    }
}

fn date(day: i32) -> NaiveDate {
    NaiveDate::from_num_days_from_ce_opt(day + 719_163).unwrap()
}

fn shown(cell: &Cell, mask: Option<&Json>) -> Cell {
    let Some(mask) = mask else {
        return cell.clone();
    };
    if mask == "hide" {
        return Cell::Text("***".to_owned());
    }
    let amount = mask.as_object().map(|mask| mask.values().next().unwrap().as_i64().unwrap());
    let name = mask.as_str().unwrap_or_else(|| mask.as_object().unwrap().keys().next().unwrap());
    match (name, cell) {
        (_, Cell::Null) => Cell::Null,
        ("pseudonym", Cell::Text(text)) => Cell::Text(pseudonym(text)),
        ("keep_first", Cell::Text(text)) => Cell::Text(cut(text, amount.unwrap() as usize, true)),
        ("keep_last", Cell::Text(text)) => Cell::Text(cut(text, amount.unwrap() as usize, false)),
        ("region_prefix", Cell::Text(text)) => {
            let digits: String =
                text.chars().take(amount.unwrap() as usize).filter(char::is_ascii_digit).collect();
            if digits.len() == amount.unwrap() as usize { Cell::Text(digits) } else { Cell::Null }
        }
        ("year", Cell::Date(day)) => {
            Cell::Date(NaiveDate::from_ymd_opt(date(*day).year(), 1, 1).unwrap().num_days_from_ce() - 719_163)
        }
        ("year", Cell::Timestamp(micros)) => {
            let year = DateTime::from_timestamp_micros(*micros).unwrap().year();
            let start = NaiveDate::from_ymd_opt(year, 1, 1).unwrap().and_hms_opt(0, 0, 0).unwrap();
            Cell::Timestamp(start.and_utc().timestamp_micros())
        }
        ("bucket", Cell::Integer(number)) => {
            let width = amount.unwrap();
            Cell::Integer((*number as f64 / width as f64).floor() as i64 * width)
        }
        ("bucket", Cell::Decimal(number)) => {
            let width = amount.unwrap() as f64 * 10_000.0;
            Cell::Decimal((*number as f64 / width).floor() as i128 * width as i128)
        }
        ("bucket", Cell::Float(number)) => {
            let width = amount.unwrap() as f64;
            Cell::Float((number / width).floor() * width + 0.0)
        }
        (name, cell) => panic!("{name} on {cell:?}"),
    }
}

fn cut(text: &str, kept: usize, first: bool) -> String {
    let chars: Vec<char> = text.chars().collect();
    match (chars.len() > kept, first) {
        (false, _) => "***".to_owned(),
        (true, true) => chars[..kept].iter().collect::<String>() + "***",
        (true, false) => "***".to_owned() + &chars[chars.len() - kept..].iter().collect::<String>(),
    }
}

fn pseudonym(text: &str) -> String {
    let sign =
        |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec();
    let mut label = b"tongqu/pseudonym/v1".to_vec();
    for part in [DEPARTMENT, PURPOSE] {
        label.extend((part.len() as u64).to_be_bytes());
        label.extend(part.as_bytes());
    }
    let digest = sign(&sign(&MASTER, &label), catalog::identifier::normalise(text).as_bytes());
    digest[..16].iter().fold("p:".to_owned(), |shown, byte| format!("{shown}{byte:02x}"))
}
