//! Typed expressions over the columns in reach, of all allowed operators and functions, failing ones among them.

use catalog::ItemType;

use super::cells::{DAYS, NUMBERS, TEXTS};
use super::dice::Dice;

/// A column in reach, as it is written, and its type.
pub type Column = (String, ItemType);

/// What an expression may be made of.
#[derive(Debug, Clone, Copy)]
pub struct Taste {
    /// Parts that fail on some values: division, narrow casts, casts of text.
    pub risky: bool,
    /// Only what PostgreSQL understands in the same way.
    pub common: bool,
}

pub fn of(kind: ItemType, columns: &[Column], dice: &mut Dice, depth: usize, taste: Taste) -> String {
    match kind {
        ItemType::Integer => integer(columns, dice, depth, taste),
        ItemType::Text => text(columns, dice, depth, taste),
        ItemType::Decimal => decimal(columns, dice, depth, taste),
        ItemType::Float => float(columns, dice, depth, taste),
        ItemType::Date => date(columns, dice, depth, taste),
        ItemType::Timestamp => timestamp(columns, dice, taste),
        ItemType::Boolean => truth(columns, dice, depth, taste),
        ItemType::Binary => column(ItemType::Binary, columns, dice).unwrap_or_else(|| "NULL".to_owned()),
    }
}

/// A column of the type, if there is one.
pub fn column(kind: ItemType, columns: &[Column], dice: &mut Dice) -> Option<String> {
    let fitting: Vec<&Column> = columns.iter().filter(|(_, of)| *of == kind).collect();
    (!fitting.is_empty()).then(|| dice.one(&fitting).0.clone())
}

fn any<'c>(columns: &'c [Column], dice: &mut Dice) -> Option<&'c Column> {
    (!columns.is_empty()).then(|| dice.one(columns))
}

pub fn literal(kind: ItemType, dice: &mut Dice) -> String {
    let number = *dice.one(&NUMBERS);
    match kind {
        ItemType::Integer => number.to_string(),
        ItemType::Decimal => format!("CAST({number} AS DECIMAL(38,4))"),
        ItemType::Float => format!("CAST({number} AS DOUBLE PRECISION)"),
        ItemType::Date => format!("DATE '{}'", dice.one(&DAYS).1),
        ItemType::Timestamp => format!("TIMESTAMP '{} 00:00:00'", dice.one(&DAYS).1),
        ItemType::Boolean => (*dice.one(&["true", "false"])).to_owned(),
        _ => match dice.below(8) {
            0 => "'***'".to_owned(),
            1 => "'CANARY'".to_owned(),
            2 => "''".to_owned(),
            _ => format!("'{}'", dice.one(&TEXTS)),
        },
    }
}

fn leaf(kind: ItemType, columns: &[Column], dice: &mut Dice) -> String {
    let column = if dice.percent(80) { column(kind, columns, dice) } else { None };
    column.unwrap_or_else(|| literal(kind, dice))
}

fn integer(columns: &[Column], dice: &mut Dice, depth: usize, taste: Taste) -> String {
    if depth == 0 {
        return leaf(ItemType::Integer, columns, dice);
    }
    let next = |dice: &mut Dice| integer(columns, dice, depth - 1, taste);
    let sides = if taste.common {
        9
    } else if taste.risky {
        19
    } else {
        15
    };
    match dice.below(sides) {
        0 | 1 => leaf(ItemType::Integer, columns, dice),
        2 => format!("({} {} {})", next(dice), dice.one(&["+", "-"]), leaf(ItemType::Integer, columns, dice)),
        3 => format!("({} * {})", leaf(ItemType::Integer, columns, dice), dice.one(&["2", "-3", "7"])),
        4 => format!("length({})", text(columns, dice, depth - 1, taste)),
        5 => format!("coalesce({}, {})", next(dice), next(dice)),
        6 => format!("nullif({}, {})", next(dice), leaf(ItemType::Integer, columns, dice)),
        7 => {
            let test = truth(columns, dice, depth - 1, taste);
            format!("CASE WHEN {test} THEN {} ELSE {} END", next(dice), next(dice))
        }
        8 => format!("abs({})", next(dice)),
        9 => format!("CAST({} AS BIGINT)", date_part(columns, dice, depth - 1, taste)),
        10 => format!("strpos({}, {})", text(columns, dice, depth - 1, taste), literal(ItemType::Text, dice)),
        11 => {
            format!("CASE {} WHEN {} THEN {} END", next(dice), literal(ItemType::Integer, dice), next(dice))
        }
        12 => format!("(- {})", leaf(ItemType::Integer, columns, dice)),
        13 => format!("greatest({}, {})", next(dice), leaf(ItemType::Integer, columns, dice)),
        14 => format!("TRY_CAST({} AS BIGINT)", text(columns, dice, depth - 1, taste)),
        15 => format!("({} / {})", next(dice), difference(columns, dice)),
        16 => format!("({} % {})", next(dice), difference(columns, dice)),
        17 => format!("CAST({} AS {})", next(dice), dice.one(&["TINYINT", "SMALLINT", "INT"])),
        _ => format!("CAST({} AS BIGINT)", text(columns, dice, depth - 1, taste)),
    }
}

/// Zero for some values: what divides by it may only fail on visible ones.
fn difference(columns: &[Column], dice: &mut Dice) -> String {
    format!("({} - {})", leaf(ItemType::Integer, columns, dice), literal(ItemType::Integer, dice))
}

fn date_part(columns: &[Column], dice: &mut Dice, depth: usize, taste: Taste) -> String {
    let part = dice.one(&["year", "month", "day", "dow"]);
    format!("date_part('{part}', {})", date(columns, dice, depth, taste))
}

fn text(columns: &[Column], dice: &mut Dice, depth: usize, taste: Taste) -> String {
    if depth == 0 {
        return leaf(ItemType::Text, columns, dice);
    }
    let next = |dice: &mut Dice| text(columns, dice, depth - 1, taste);
    match dice.below(if taste.common { 9 } else { 16 }) {
        0 | 1 => leaf(ItemType::Text, columns, dice),
        2 => format!("substr({}, 1, {})", next(dice), 1 + dice.below(4)),
        3 => format!("{}({})", dice.one(&["upper", "lower"]), next(dice)),
        4 => format!("({} || {})", next(dice), leaf(ItemType::Text, columns, dice)),
        5 => format!("coalesce({}, {})", next(dice), literal(ItemType::Text, dice)),
        6 => {
            let test = truth(columns, dice, depth - 1, taste);
            format!("CASE WHEN {test} THEN {} ELSE {} END", next(dice), next(dice))
        }
        7 => format!("CAST({} AS VARCHAR)", integer(columns, dice, depth - 1, taste)),
        8 => format!("nullif({}, {})", next(dice), literal(ItemType::Text, dice)),
        9 => match any(columns, dice) {
            Some((column, kind)) if *kind != ItemType::Binary => format!("CAST({column} AS VARCHAR)"),
            _ => "'none'".to_owned(),
        },
        10 => format!("{}({}, {})", dice.one(&["left", "right"]), next(dice), dice.below(4)),
        11 => format!("replace({}, {}, 'z')", next(dice), literal(ItemType::Text, dice)),
        12 => format!("split_part({}, '0', {})", next(dice), 1 + dice.below(3)),
        13 => format!("{}({})", dice.one(&["reverse", "btrim", "initcap"]), next(dice)),
        14 => format!("concat({}, {})", next(dice), leaf(ItemType::Integer, columns, dice)),
        _ => format!("concat_ws('-', {}, {})", next(dice), leaf(ItemType::Date, columns, dice)),
    }
}

fn decimal(columns: &[Column], dice: &mut Dice, depth: usize, taste: Taste) -> String {
    if depth == 0 || taste.common {
        return leaf(ItemType::Decimal, columns, dice);
    }
    match dice.below(if taste.risky { 6 } else { 4 }) {
        0 | 1 => leaf(ItemType::Decimal, columns, dice),
        2 => format!("abs({})", decimal(columns, dice, depth - 1, taste)),
        3 => format!(
            "coalesce({}, {})",
            decimal(columns, dice, depth - 1, taste),
            literal(ItemType::Decimal, dice)
        ),
        4 => format!("CAST({} AS DECIMAL(6,2))", decimal(columns, dice, depth - 1, taste)),
        _ => format!("CAST({} AS DECIMAL(38,4))", text(columns, dice, depth - 1, taste)),
    }
}

fn float(columns: &[Column], dice: &mut Dice, depth: usize, taste: Taste) -> String {
    if depth == 0 || taste.common {
        return leaf(ItemType::Float, columns, dice);
    }
    let inner = float(columns, dice, depth - 1, taste);
    match dice.below(8) {
        0 | 1 => leaf(ItemType::Float, columns, dice),
        2 => format!("({inner} + {})", leaf(ItemType::Float, columns, dice)),
        3 => format!("({inner} / {})", leaf(ItemType::Float, columns, dice)),
        4 => format!("{}({inner})", dice.one(&["sqrt", "ln", "exp", "floor", "ceil", "round", "cbrt"])),
        5 => format!("CAST({} AS DOUBLE)", integer(columns, dice, depth - 1, taste)),
        6 => format!("power({inner}, 2)"),
        _ => format!("nanvl({inner}, {})", leaf(ItemType::Float, columns, dice)),
    }
}

fn date(columns: &[Column], dice: &mut Dice, depth: usize, taste: Taste) -> String {
    match dice.below(if depth == 0 || taste.common {
        3
    } else if taste.risky {
        7
    } else {
        5
    }) {
        0..=2 => leaf(ItemType::Date, columns, dice),
        3 => format!("({} + INTERVAL '{} days')", leaf(ItemType::Date, columns, dice), dice.below(400)),
        4 => format!("CAST({} AS DATE)", timestamp(columns, dice, taste)),
        _ => format!("CAST({} AS DATE)", text(columns, dice, depth - 1, taste)),
    }
}

fn timestamp(columns: &[Column], dice: &mut Dice, taste: Taste) -> String {
    match dice.below(if taste.common { 1 } else { 3 }) {
        1 => {
            let part = dice.one(&["year", "month", "day", "hour"]);
            format!("date_trunc('{part}', {})", leaf(ItemType::Timestamp, columns, dice))
        }
        2 => format!("CAST({} AS TIMESTAMP)", leaf(ItemType::Date, columns, dice)),
        _ => leaf(ItemType::Timestamp, columns, dice),
    }
}

const ORDERED: [ItemType; 6] = [
    ItemType::Integer,
    ItemType::Text,
    ItemType::Decimal,
    ItemType::Float,
    ItemType::Date,
    ItemType::Timestamp,
];

pub fn truth(columns: &[Column], dice: &mut Dice, depth: usize, taste: Taste) -> String {
    let kind = match any(columns, dice) {
        Some((_, kind)) if *kind != ItemType::Binary => *kind,
        _ => *dice.one(&ORDERED),
    };
    if kind == ItemType::Boolean && dice.percent(70) {
        let flag = leaf(kind, columns, dice);
        return format!("({flag} IS {})", dice.one(&["TRUE", "FALSE", "NOT TRUE", "NULL", "NOT NULL"]));
    }
    let kind = if kind == ItemType::Boolean { ItemType::Integer } else { kind };
    let inner = depth.saturating_sub(1);
    let op = *dice.one(&["=", "<>", "<", "<=", ">", ">="]);
    match dice.below(if depth == 0 { 6 } else { 15 }) {
        0 | 1 => format!("{} {op} {}", leaf(kind, columns, dice), literal(kind, dice)),
        2 => format!("{} IS {}NULL", leaf(kind, columns, dice), dice.one(&["", "NOT "])),
        3 => {
            let list: Vec<String> = (0..1 + dice.below(4)).map(|_| literal(kind, dice)).collect();
            format!("{} {}IN ({})", leaf(kind, columns, dice), dice.one(&["", "NOT "]), list.join(", "))
        }
        4 => format!(
            "{} BETWEEN {} AND {}",
            leaf(kind, columns, dice),
            literal(kind, dice),
            literal(kind, dice)
        ),
        5 => like(columns, dice, 0, taste),
        6 => format!(
            "{} {op} {}",
            of(kind, columns, dice, inner, taste),
            of(kind, columns, dice, inner, taste)
        ),
        7 => format!("({} AND {})", truth(columns, dice, inner, taste), truth(columns, dice, inner, taste)),
        8 => format!("({} OR {})", truth(columns, dice, inner, taste), truth(columns, dice, inner, taste)),
        9 => format!("NOT ({})", truth(columns, dice, inner, taste)),
        10 => {
            let not = dice.one(&["", "NOT "]);
            format!("{} IS {not}DISTINCT FROM {}", leaf(kind, columns, dice), leaf(kind, columns, dice))
        }
        11 => like(columns, dice, inner, taste),
        12 => format!("(({}) IS {}TRUE)", truth(columns, dice, inner, taste), dice.one(&["", "NOT "])),
        _ if taste.risky => {
            format!("{} {op} {}", integer(columns, dice, 2, taste), literal(ItemType::Integer, dice))
        }
        _ => format!("{} {op} {}", of(kind, columns, dice, inner, taste), literal(kind, dice)),
    }
}

fn like(columns: &[Column], dice: &mut Dice, depth: usize, taste: Taste) -> String {
    let pattern = dice.one(&["6%", "%*%", "CANAR%", "张_%", "p:%", "%", "%0%", "33____"]);
    let not = dice.one(&["", "", "NOT "]);
    format!("{} {not}LIKE '{pattern}'", text(columns, dice, depth, taste))
}
