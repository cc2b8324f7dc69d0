//! Values: what visible rows are made of, what hides in the others, and how a value changes unseen under its mask.

use catalog::ItemType;
use serde_json::{Value as Json, json};

use super::dice::Dice;
use super::reference::shown;

#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    Null,
    Text(String),
    Integer(i64),
    /// Scaled by 10,000.
    Decimal(i128),
    Float(f64),
    Date(i32),
    Timestamp(i64),
    Boolean(bool),
    Binary(Vec<u8>),
    /// Not of the item's type, in sources whose cells have none; it reads null.
    Unfit,
}

pub const TYPES: [ItemType; 8] = [
    ItemType::Text,
    ItemType::Integer,
    ItemType::Decimal,
    ItemType::Float,
    ItemType::Date,
    ItemType::Timestamp,
    ItemType::Boolean,
    ItemType::Binary,
];
pub const TEXTS: [&str; 12] =
    ["A", "B", "C", "6401", "640102", "33", "330106", "1", "张三", "李四光", "civil-affairs", "b1"];
pub const NUMBERS: [i64; 10] = [0, 1, 2, 7, 100, 199, 200, 201, 250, -5];
pub const DAYS: [(i32, &str); 6] = [
    (0, "1970-01-01"),
    (7_305, "1990-01-01"),
    (7_400, "1990-04-06"),
    (-1, "1969-12-31"),
    (19_000, "2022-01-08"),
    (11_016, "2000-02-29"),
];
const DAY_US: i64 = 86_400_000_000;

/// A value as visible rows have it: from a small pool, so that groups, joins and duplicates are common.
pub fn usual(kind: ItemType, dice: &mut Dice) -> Cell {
    if dice.percent(10) {
        return Cell::Null;
    }
    let number = *dice.one(&NUMBERS);
    match kind {
        ItemType::Text => Cell::Text((*dice.one(&TEXTS)).to_owned()),
        ItemType::Integer => Cell::Integer(number),
        ItemType::Decimal => Cell::Decimal(i128::from(number) * 2_500),
        // Quarters add up exactly in any order.
        ItemType::Float => Cell::Float(number as f64 / 4.0),
        ItemType::Date => Cell::Date(dice.one(&DAYS).0),
        ItemType::Timestamp => Cell::Timestamp(i64::from(dice.one(&DAYS).0) * DAY_US + 1),
        ItemType::Boolean => Cell::Boolean(dice.percent(50)),
        ItemType::Binary => Cell::Binary(vec![number as u8; dice.below(4)]),
    }
}

/// A value as hidden rows and denied items have it: usual ones, canaries, extremes, long and misfit ones.
pub fn secret(kind: ItemType, dice: &mut Dice) -> Cell {
    if dice.percent(40) {
        return usual(kind, dice);
    }
    let extreme = dice.below(6);
    match kind {
        ItemType::Text => Cell::Text(match extreme {
            0 => "CANARY".repeat(1 + dice.below(400)),
            1 => "\u{10FFFF}".to_owned(),
            2 => "9".repeat(1 + dice.below(60)),
            3 => "x".repeat(70_000),
            _ => format!("CANARY-{}", dice.below(1_000_000)),
        }),
        ItemType::Integer => Cell::Integer(match extreme {
            0 => i64::MAX,
            1 => i64::MIN,
            2 => (1 << 53) + 1,
            3 => return Cell::Unfit,
            _ => dice.number() as i64,
        }),
        ItemType::Decimal => Cell::Decimal(match extreme {
            0 => 10_i128.pow(38) - 1,
            1 => 1 - 10_i128.pow(38),
            _ => i128::from(dice.number() as i64),
        }),
        ItemType::Float => Cell::Float(*dice.one(&[f64::NAN, f64::INFINITY, 1e308, -1e308, -0.0, 5e-324])),
        ItemType::Date => Cell::Date(*dice.one(&[-700_000, 2_900_000, 19_001, 1, 7_306])),
        ItemType::Timestamp => Cell::Timestamp(*dice.one(&[-62_000_000_000_000_000, DAY_US, 2, 0])),
        ItemType::Boolean if extreme > 3 => Cell::Unfit,
        ItemType::Boolean => Cell::Boolean(extreme.is_multiple_of(2)),
        ItemType::Binary => Cell::Binary(vec![0xCA; dice.below(900)]),
    }
}

/// Another value that the mask shows alike; `None` stands for an item that is not shown at all.
pub fn unseen(cell: &Cell, kind: ItemType, mask: Option<&Json>, dice: &mut Dice) -> Cell {
    let Some(mask) = mask else { return secret(kind, dice) };
    let other = match (name(mask), cell) {
        ("hide", _) => return secret(kind, dice),
        ("keep_first", Cell::Text(text)) => kept(text, amount(mask), true, dice),
        ("keep_last", Cell::Text(text)) => kept(text, amount(mask), false, dice),
        ("region_prefix", Cell::Text(text)) => {
            let prefix: String = text.chars().take(amount(mask)).collect();
            Cell::Text(format!("{prefix}{}", dice.below(10_000)))
        }
        ("year", Cell::Date(day)) => Cell::Date(day + dice.below(300) as i32),
        ("year", Cell::Timestamp(micros)) => Cell::Timestamp(micros + dice.below(300) as i64 * DAY_US),
        ("bucket", Cell::Integer(number)) => Cell::Integer(number + dice.below(7) as i64),
        ("bucket", Cell::Decimal(number)) => Cell::Decimal(number + dice.below(70_000) as i128),
        ("bucket", Cell::Float(number)) => Cell::Float(number + dice.below(28) as f64 / 4.0),
        _ => cell.clone(),
    };
    // What the reference shows in another way was no unseen change.
    if shown(&other, Some(mask), &|_| "?".to_owned()) == shown(cell, Some(mask), &|_| "?".to_owned()) {
        other
    } else {
        cell.clone()
    }
}

fn kept(text: &str, count: usize, first: bool, dice: &mut Dice) -> Cell {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= count {
        return Cell::Text("CANARY".chars().take(1 + dice.below(count)).collect());
    }
    let hidden = "CANARY".repeat(1 + dice.below(40));
    Cell::Text(if first {
        chars[..count].iter().collect::<String>() + &hidden
    } else {
        hidden + &chars[chars.len() - count..].iter().collect::<String>()
    })
}

pub fn name(mask: &Json) -> &str {
    mask.as_str().or_else(|| mask.as_object()?.keys().next().map(String::as_str)).unwrap_or_default()
}

pub fn amount(mask: &Json) -> usize {
    let amount = mask.as_object().and_then(|mask| mask.values().next()?.as_u64());
    amount.unwrap_or_default() as usize
}

/// A mask of any kind that fits the type.
pub fn mask(kind: ItemType, dice: &mut Dice) -> Json {
    let of = match kind {
        ItemType::Text => {
            json!(["hide", {"keep_first": 1}, {"keep_first": 3}, {"keep_last": 2}, "pseudonym", {"region_prefix": 2}])
        }
        ItemType::Date | ItemType::Timestamp => json!(["year", "year", "hide"]),
        ItemType::Integer | ItemType::Decimal | ItemType::Float => {
            json!([{"bucket": 100}, {"bucket": 7}, "hide"])
        }
        _ => json!(["hide"]),
    };
    dice.one(of.as_array().expect("masks")).clone()
}
