//! Random worlds: rows, a grant with masks and a row scope, and a choice sequence that all of it is drawn from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{Field, Schema, SchemaRef};
use catalog::{ItemType, Resource};
use policies::{AccountKind, Caller, Identity, PseudonymKey, Terms};
use serde_json::{Value as Json, json};

/// The master key of every world.
pub const MASTER: [u8; 32] = [7; 32];
pub const DEPARTMENT: &str = "civil-affairs";
pub const PURPOSE: &str = "benefits";

/// Choices taken one after the other; at the end all are 0, so a shorter sequence is a simpler case.
pub struct Dice<'a> {
    picks: &'a [u32],
    at: usize,
}

impl<'a> Dice<'a> {
    pub fn new(picks: &'a [u32]) -> Self {
        Self { picks, at: 0 }
    }

    pub fn below(&mut self, sides: usize) -> usize {
        let pick = self.picks.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        pick as usize % sides.max(1)
    }

    pub fn one<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[self.below(of.len())]
    }
}

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
}

pub const ITEMS: [(&str, ItemType); 11] = [
    ("id", ItemType::Integer),
    ("dept", ItemType::Text),
    ("name", ItemType::Text),
    ("salary", ItemType::Integer),
    ("rate", ItemType::Decimal),
    ("score", ItemType::Float),
    ("hired", ItemType::Date),
    ("seen", ItemType::Timestamp),
    ("active", ItemType::Boolean),
    ("region", ItemType::Text),
    // Never an output item: what it holds must never be told.
    ("note", ItemType::Text),
];

const TEXTS: [&str; 10] = ["A", "B", "C", "6401", "640102", "31", "1", "张三", "", "HIDDEN"];
const NUMBERS: [i64; 9] = [0, 1, 2, 100, 199, 200, 201, 250, -5];
const DAYS: [(i32, &str); 5] = [
    (0, "1970-01-01"),
    (7_305, "1990-01-01"),
    (7_400, "1990-04-06"),
    (-1, "1969-12-31"),
    (19_000, "2022-01-08"),
];

/// One table: what is stored and what the grant lets be seen.
#[derive(Debug, Clone)]
pub struct World {
    pub rows: Vec<Vec<Cell>>,
    /// Item and mask in catalogue order.
    pub output: Vec<(usize, Option<Json>)>,
    pub scope: Option<Json>,
    pub chunk_rows: usize,
}

impl World {
    pub fn random(dice: &mut Dice<'_>) -> Self {
        let mut output = Vec::new();
        for (index, (_, item_type)) in ITEMS.iter().enumerate().take(10) {
            match dice.below(5) {
                0 | 1 => output.push((index, None)),
                2 | 3 => output.push((index, Some(mask(*item_type, dice)))),
                _ => {}
            }
        }
        if output.is_empty() {
            output.push((0, None));
        }
        let scope = (dice.below(4) != 3).then(|| scope(dice, 3));
        let chunk_rows = 1 + dice.below(9);
        let rows = (0..dice.below(25)).map(|_| row(dice)).collect();
        let mut world = Self { rows, output, scope, chunk_rows };
        world.plant_canaries();
        world
    }

    /// Hidden rows and masked or denied cells get values that must never be told.
    pub fn plant_canaries(&mut self) {
        let name_masked = !self.output.iter().any(|(item, mask)| *item == 2 && mask.is_none());
        for number in 0..self.rows.len() {
            let mut planted = self.rows[number].clone();
            planted[10] = Cell::Text(format!("CANARY-note-{number}"));
            if name_masked && planted[2] != Cell::Null {
                planted[2] = Cell::Text(format!("CANARY-name-{number}"));
            }
            let visible = self.visible(&self.rows[number]);
            if !visible {
                planted[2] = Cell::Text(format!("CANARY-name-{number}"));
                planted[1] = Cell::Text(format!("CANARY-dept-{number}"));
            }
            // A canary in an item of the scope may show or hide the row: then the row stays as it was drawn.
            if self.visible(&planted) == visible {
                self.rows[number] = planted;
            }
        }
    }

    pub fn visible(&self, row: &[Cell]) -> bool {
        self.scope.as_ref().is_none_or(|scope| super::reference::truth(scope, row) == Some(true))
    }

    pub fn resource(&self, name: &str) -> Resource {
        let items: Vec<Json> = ITEMS
            .iter()
            .map(|(name, item_type)| {
                json!({"name": name, "title": name, "type": item_type, "classification": "general"})
            })
            .collect();
        serde_json::from_value(json!({
            "name": format!("test.{name}"), "title": name, "abstract": "test", "provider": "public-security",
            "class": "unconditional", "update_cycle": "daily", "items": items,
            "binding": {"files": {"format": "parquet", "path": "x.parquet"}},
        }))
        .unwrap()
    }

    pub fn terms(&self) -> Terms {
        let output: Vec<Json> = self
            .output
            .iter()
            .map(|(item, mask)| match mask {
                Some(mask) => json!({"item": ITEMS[*item].0, "mask": mask}),
                None => json!({"item": ITEMS[*item].0}),
            })
            .collect();
        let mut terms = json!({
            "operations": ["query"], "output": output, "purpose": PURPOSE, "basis": "test",
            "valid_from": 0, "valid_until": 1_000_000,
            "rows_per_answer_max": 1_000, "rows_per_day_max": 10_000, "calls_per_minute_max": 60,
        });
        if let Some(scope) = &self.scope {
            terms["scope"] = scope.clone();
        }
        serde_json::from_value(terms).unwrap()
    }

    /// All rows, as a source stores them.
    pub fn stored(&self) -> (SchemaRef, Vec<RecordBatch>) {
        let types: Vec<_> = ITEMS.to_vec();
        batches(&types, self.rows.chunks(self.chunk_rows).map(<[Vec<Cell>]>::to_vec))
    }
}

pub fn caller() -> Caller {
    Caller::verified(Identity {
        account: "acc-1".to_owned(),
        kind: AccountKind::Person,
        department: DEPARTMENT.into(),
        roles: BTreeSet::new(),
        attributes: BTreeMap::from([("region_code".to_owned(), "64".to_owned())]),
        valid_until: i64::MAX,
    })
}

pub fn master() -> PseudonymKey {
    PseudonymKey::master(&MASTER)
}

fn row(dice: &mut Dice<'_>) -> Vec<Cell> {
    ITEMS
        .iter()
        .map(|(_, item_type)| if dice.below(8) == 7 { Cell::Null } else { cell(*item_type, dice) })
        .collect()
}

fn cell(item_type: ItemType, dice: &mut Dice<'_>) -> Cell {
    match item_type {
        ItemType::Integer => Cell::Integer(*dice.one(&NUMBERS)),
        ItemType::Decimal => Cell::Decimal(i128::from(*dice.one(&NUMBERS)) * 2_500),
        // Quarters add up exactly in any order.
        ItemType::Float => Cell::Float(*dice.one(&NUMBERS) as f64 / 4.0),
        ItemType::Date => Cell::Date(dice.one(&DAYS).0),
        ItemType::Timestamp => Cell::Timestamp(i64::from(dice.one(&DAYS).0) * 86_400_000_000 + 1),
        ItemType::Boolean => Cell::Boolean(dice.below(2) == 0),
        _ => Cell::Text((*dice.one(&TEXTS)).to_owned()),
    }
}

fn mask(item_type: ItemType, dice: &mut Dice<'_>) -> Json {
    let of = match item_type {
        ItemType::Text => {
            json!(["hide", {"keep_first": 1}, {"keep_last": 2}, "pseudonym", {"region_prefix": 2}])
        }
        ItemType::Date | ItemType::Timestamp => json!(["year", "hide"]),
        ItemType::Integer | ItemType::Decimal | ItemType::Float => {
            json!([{"bucket": 100}, {"bucket": 7}, "hide"])
        }
        _ => json!(["hide"]),
    };
    dice.one(of.as_array().unwrap()).clone()
}

fn scope(dice: &mut Dice<'_>, depth: usize) -> Json {
    let item = ITEMS[dice.below(ITEMS.len())];
    let sides = if depth == 0 { 5 } else { 9 };
    match dice.below(sides) {
        0..=2 => comparison(item, dice),
        3 => json!({"is_null": item.0}),
        4 => {
            let values: Vec<Json> = (0..1 + dice.below(4)).map(|_| literal(item.1, dice)).collect();
            json!({"in": {"item": item.0, "values": values}})
        }
        5 | 6 => json!({"not": scope(dice, depth - 1)}),
        7 => json!({"all": [scope(dice, depth - 1), scope(dice, depth - 1)]}),
        _ => json!({"any": [scope(dice, depth - 1), scope(dice, depth - 1)]}),
    }
}

fn comparison((item, item_type): (&str, ItemType), dice: &mut Dice<'_>) -> Json {
    let ops: &[&str] = match item_type {
        ItemType::Boolean => &["=", "<>"],
        ItemType::Text => &["=", "<>", "<", "<=", ">", ">=", "like_prefix"],
        _ => &["=", "<>", "<", "<=", ">", ">="],
    };
    let op = *dice.one(ops);
    let value = match (op, item_type) {
        ("like_prefix", _) => {
            dice.one(json!(["64", "6", "张", "CAN", {"caller": "region_code"}]).as_array().unwrap()).clone()
        }
        (_, ItemType::Text) if dice.below(6) == 5 => json!({"caller": "department"}),
        _ => literal(item_type, dice),
    };
    json!({"compare": {"item": item, "op": op, "value": value}})
}

fn literal(item_type: ItemType, dice: &mut Dice<'_>) -> Json {
    let number = *dice.one(&NUMBERS);
    match item_type {
        ItemType::Integer => json!(number),
        ItemType::Decimal => match dice.below(3) {
            0 => json!(number),
            1 => json!(number as f64 / 4.0),
            _ => json!(format!("{}.25", number.abs())),
        },
        ItemType::Float => json!(number as f64 / 4.0),
        ItemType::Date => json!(dice.one(&DAYS).1),
        ItemType::Timestamp => json!(format!("{}T00:00:00.000001Z", dice.one(&DAYS).1)),
        ItemType::Boolean => json!(dice.below(2) == 0),
        _ => json!(dice.one(&TEXTS)),
    }
}

/// Rows as batches of the given columns; chunks without rows are left out.
pub fn batches(
    columns: &[(&str, ItemType)],
    chunks: impl Iterator<Item = Vec<Vec<Cell>>>,
) -> (SchemaRef, Vec<RecordBatch>) {
    let fields: Vec<Field> =
        columns.iter().map(|(name, kind)| Field::new(*name, kind.arrow(), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let batch = |rows: Vec<Vec<Cell>>| {
        let arrays =
            columns.iter().enumerate().map(|(at, (_, kind))| array(*kind, rows.iter().map(|row| &row[at])));
        RecordBatch::try_new(Arc::clone(&schema), arrays.collect()).unwrap()
    };
    let made = chunks.filter(|rows| !rows.is_empty()).map(batch).collect();
    (schema, made)
}

fn array<'c>(kind: ItemType, cells: impl Iterator<Item = &'c Cell>) -> ArrayRef {
    macro_rules! of {
        ($variant:ident, $array:ty) => {
            cells
                .map(|cell| match cell {
                    Cell::$variant(value) => Some(value.clone()),
                    Cell::Null => None,
                    other => panic!("{other:?} in a column of {kind:?}"),
                })
                .collect::<$array>()
        };
    }
    match kind {
        ItemType::Integer => Arc::new(of!(Integer, Int64Array)),
        ItemType::Decimal => Arc::new(of!(Decimal, Decimal128Array).with_precision_and_scale(38, 4).unwrap()),
        ItemType::Float => Arc::new(of!(Float, Float64Array)),
        ItemType::Date => Arc::new(of!(Date, Date32Array)),
        ItemType::Timestamp => Arc::new(of!(Timestamp, TimestampMicrosecondArray).with_timezone("UTC")),
        ItemType::Boolean => Arc::new(of!(Boolean, BooleanArray)),
        _ => Arc::new(of!(Text, StringArray)),
    }
}
