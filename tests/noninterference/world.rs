//! Random worlds: two tables of random items under a random grant, and two fillings that differ only unseen.
//!
//! INVARIANT: the visible rows of both fillings, masked and cut as granted, are the same rows in the same order.

use catalog::ItemType;
use serde_json::{Value as Json, json};

use super::cells::{Cell, DAYS, NUMBERS, TEXTS, TYPES, mask, secret, unseen, usual};
use super::dice::Dice;
use super::reference::{shown, truth};

/// Where rows lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    Parquet,
    Csv,
    Sqlite,
    Postgres,
}

#[derive(Debug, Clone)]
pub struct Item {
    pub name: String,
    pub kind: ItemType,
    pub key: bool,
}

/// How a filling is laid out in a Parquet file.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    pub group_rows: usize,
    pub page_rows: usize,
    pub dictionary: bool,
    pub statistics: bool,
}

/// All rows of one table as one of the two databases stores them.
#[derive(Debug, Clone)]
pub struct Filling {
    pub rows: Vec<Vec<Cell>>,
    pub layout: Layout,
}

#[derive(Debug, Clone)]
pub struct Table {
    pub name: &'static str,
    pub items: Vec<Item>,
    /// Item and mask in catalogue order.
    pub output: Vec<(usize, Option<Json>)>,
    pub input: Vec<usize>,
    pub scope: Option<Json>,
    /// Rows in scope, as the first database has them.
    pub visible: Vec<Vec<Cell>>,
    pub fillings: [Filling; 2],
}

#[derive(Debug, Clone)]
pub struct World {
    pub seed: u64,
    pub store: Store,
    /// Few statements over many rows, to cross the boundaries of batches.
    pub large: bool,
    pub tables: Vec<Table>,
}

impl World {
    pub fn random(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let store = *dice.one(&[Store::Parquet, Store::Parquet, Store::Csv, Store::Sqlite, Store::Postgres]);
        let large = store == Store::Parquet && dice.percent(8);
        let tables = ["t", "u"].map(|name| Table::random(name, store, large, &mut dice)).to_vec();
        Self { seed, store, large, tables }
    }
}

impl Table {
    fn random(name: &'static str, store: Store, large: bool, dice: &mut Dice) -> Self {
        let items = items(store, dice);
        let output = output(&items, dice);
        // Of a look-up input no pseudonym may be shown.
        let pseudonymous = |at: usize| {
            output.iter().any(|(item, mask)| *item == at && *mask == Some(Json::from("pseudonym")))
        };
        let input = (0..items.len()).filter(|at| items[*at].key && !pseudonymous(*at)).collect();
        let scope = dice.percent(85).then(|| scope(&items, dice, 2));
        let layout = Layout { group_rows: 4, page_rows: 4, dictionary: true, statistics: true };
        let empty = Filling { rows: Vec::new(), layout };
        let mut table =
            Self { name, items, output, input, scope, visible: Vec::new(), fillings: [empty.clone(), empty] };
        table.fill(store, large, dice);
        table
    }

    pub fn place(&self, name: &str) -> usize {
        self.items.iter().position(|item| item.name == name).expect("an item")
    }

    pub fn sees(&self, row: &[Cell]) -> bool {
        self.scope.as_ref().is_none_or(|scope| truth(scope, row, &|name| self.place(name)) == Some(true))
    }

    fn fill(&mut self, store: Store, large: bool, dice: &mut Dice) {
        let wanted = if large { 9_000 } else { dice.below(26) };
        for _ in 0..wanted * 12 {
            if self.visible.len() >= wanted {
                break;
            }
            let row: Vec<Cell> = self.items.iter().map(|item| usual(item.kind, dice)).collect();
            if self.sees(&row) {
                self.visible.push(row);
            }
        }
        let first = self.hidden(store, large, dice);
        let same_layout = dice.percent(30);
        let second = match dice.below(4) {
            // Altered in place, nothing added: the layout stays the same.
            _ if same_layout => first
                .iter()
                .map(|(at, row)| (*at, self.hidden_row(store, dice).unwrap_or_else(|| row.clone())))
                .collect(),
            0 => Vec::new(),
            _ => self.hidden(store, large, dice),
        };
        let changed: Vec<Vec<Cell>> = self.visible.iter().map(|row| self.changed(row, store, dice)).collect();
        let layout = self.layout(dice);
        self.fillings[0] = Filling { rows: merged(&self.visible, first), layout };
        let layout = if same_layout { layout } else { self.layout(dice) };
        self.fillings[1] = Filling { rows: merged(&changed, second), layout };
    }

    /// Hidden rows, each with the number of visible rows before it.
    fn hidden(&self, store: Store, large: bool, dice: &mut Dice) -> Vec<(usize, Vec<Cell>)> {
        if self.scope.is_none() {
            return Vec::new();
        }
        let count = match dice.below(5) {
            0 => 0,
            1 if !large => 300,
            _ if large => 1_000 + dice.below(12_000),
            _ => dice.below(40),
        };
        let place = dice.below(4);
        let mut rows: Vec<(usize, Vec<Cell>)> = (0..count)
            .filter_map(|_| {
                let at = match place {
                    0 => 0,
                    1 => self.visible.len(),
                    _ => dice.below(self.visible.len() + 1),
                };
                Some((at, self.hidden_row(store, dice)?))
            })
            .collect();
        rows.sort_by_key(|(at, _)| *at);
        rows
    }

    /// A row out of scope, unless none was found in time.
    fn hidden_row(&self, store: Store, dice: &mut Dice) -> Option<Vec<Cell>> {
        for _ in 0..30 {
            let row: Vec<Cell> =
                self.items.iter().map(|item| stored(secret(item.kind, dice), store)).collect();
            if !self.sees(&row) {
                return Some(row);
            }
        }
        None
    }

    /// A visible row with everything changed that is not shown; keys of look-ups and the scope's truth stay.
    fn changed(&self, row: &[Cell], store: Store, dice: &mut Dice) -> Vec<Cell> {
        let mut row = row.to_vec();
        for at in 0..row.len() {
            let output = self.output.iter().find(|(item, _)| *item == at);
            let clear = output.is_some_and(|(_, mask)| mask.is_none());
            if clear || self.input.contains(&at) || dice.percent(20) {
                continue;
            }
            let mask = output.and_then(|(_, mask)| mask.as_ref());
            let before = row[at].clone();
            row[at] = stored(unseen(&before, self.items[at].kind, mask, dice), store);
            if !self.sees(&row) {
                row[at] = before;
            }
        }
        row
    }

    fn layout(&self, dice: &mut Dice) -> Layout {
        let many = self.visible.len() > 1_000;
        Layout {
            group_rows: if many { 1_000 + dice.below(30_000) } else { 1 + dice.below(40) },
            page_rows: if many { 500 } else { 1 + dice.below(20) },
            dictionary: dice.percent(70),
            statistics: dice.percent(70),
        }
    }

    /// Names and types a caller sees.
    pub fn columns(&self) -> Vec<(String, ItemType)> {
        let shown = |(at, mask): &(usize, Option<Json>)| {
            let hidden = mask.as_ref().is_some_and(|mask| mask == "hide");
            let kind = if hidden { ItemType::Text } else { self.items[*at].kind };
            (self.items[*at].name.clone(), kind)
        };
        self.output.iter().map(shown).collect()
    }

    /// The table a caller might as well have been given: visible rows, shown values, granted items.
    pub fn copy(&self, pseudonym: &dyn Fn(&str) -> String) -> Self {
        let items: Vec<Item> = self
            .columns()
            .into_iter()
            .zip(&self.output)
            .map(|((name, kind), (at, mask))| Item {
                name,
                kind,
                key: mask.is_none() && self.input.contains(at),
            })
            .collect();
        let rows: Vec<Vec<Cell>> = self
            .visible
            .iter()
            .map(|row| {
                self.output.iter().map(|(at, mask)| shown(&row[*at], mask.as_ref(), pseudonym)).collect()
            })
            .collect();
        let layout = Layout { group_rows: 100_000, page_rows: 20_000, dictionary: true, statistics: true };
        let filling = Filling { rows: rows.clone(), layout };
        Self {
            name: self.name,
            output: (0..items.len()).map(|at| (at, None)).collect(),
            input: (0..items.len()).filter(|at| items[*at].key).collect(),
            items,
            scope: None,
            visible: rows,
            fillings: [filling.clone(), filling],
        }
    }
}

/// What the kind of source can hold of a value.
fn stored(cell: Cell, store: Store) -> Cell {
    match (&cell, store) {
        (Cell::Unfit, Store::Parquet | Store::Postgres) => Cell::Null,
        (Cell::Float(number), Store::Csv | Store::Sqlite) if !number.is_finite() => Cell::Unfit,
        // SQLite keeps a float that is whole as an integer, which has no minus zero.
        (Cell::Float(number), Store::Sqlite) if *number == 0.0 => Cell::Float(0.0),
        _ => cell,
    }
}

fn merged(visible: &[Vec<Cell>], hidden: Vec<(usize, Vec<Cell>)>) -> Vec<Vec<Cell>> {
    let mut hidden = hidden.into_iter().peekable();
    let mut rows = Vec::new();
    for at in 0..=visible.len() {
        while let Some((_, row)) = hidden.next_if(|(before, _)| *before <= at) {
            rows.push(row);
        }
        rows.extend(visible.get(at).cloned());
    }
    rows
}

fn items(store: Store, dice: &mut Dice) -> Vec<Item> {
    let kinds = if store == Store::Csv { &TYPES[..7] } else { &TYPES[..] };
    let count = 3 + dice.below(8);
    (0..count)
        .map(|at| {
            let kind = match at {
                0 => ItemType::Integer,
                1 => ItemType::Text,
                _ => *dice.one(kinds),
            };
            Item { name: format!("i{at}"), kind, key: at < 2 }
        })
        .collect()
}

fn output(items: &[Item], dice: &mut Dice) -> Vec<(usize, Option<Json>)> {
    let mut output = Vec::new();
    for (at, item) in items.iter().enumerate() {
        match dice.below(20) {
            0..=9 => output.push((at, None)),
            10..=14 => output.push((at, Some(mask(item.kind, dice)))),
            _ => {}
        }
    }
    if output.is_empty() {
        output.push((0, None));
    }
    output
}

fn scope(items: &[Item], dice: &mut Dice, depth: usize) -> Json {
    let item = dice.one(items);
    match dice.below(if depth == 0 { 6 } else { 10 }) {
        _ if item.kind == ItemType::Binary => json!({"not": {"is_null": item.name}}),
        0..=3 => comparison(item, dice),
        4 => json!({"not": {"is_null": item.name}}),
        5 => {
            let values: Vec<Json> = (0..2 + dice.below(5)).map(|_| literal(item.kind, dice)).collect();
            json!({"in": {"item": item.name, "values": values}})
        }
        6 => json!({"not": scope(items, dice, depth - 1)}),
        7 => json!({"all": [scope(items, dice, depth - 1), scope(items, dice, depth - 1)]}),
        _ => json!({"any": [scope(items, dice, depth - 1), scope(items, dice, depth - 1)]}),
    }
}

fn comparison(item: &Item, dice: &mut Dice) -> Json {
    let ops: &[&str] = match item.kind {
        ItemType::Boolean => &["=", "<>"],
        ItemType::Text => &["=", "<>", "<", "<=", ">", ">=", "like_prefix", "like_prefix"],
        _ => &["=", "<>", "<", "<=", ">", ">="],
    };
    let op = *dice.one(ops);
    let value = match (op, item.kind) {
        ("like_prefix", _) => json!(dice.one(&["33", "6", "张", "A", "CAN"])),
        (_, ItemType::Text) if dice.percent(40) => {
            json!({"caller": dice.one(&["region_code", "department", "account"])})
        }
        _ => literal(item.kind, dice),
    };
    json!({"compare": {"item": item.name, "op": op, "value": value}})
}

fn literal(kind: ItemType, dice: &mut Dice) -> Json {
    let number = *dice.one(&NUMBERS);
    match kind {
        ItemType::Integer => json!(number),
        ItemType::Decimal => json!(number / 4),
        ItemType::Float => json!(number as f64 / 4.0),
        ItemType::Date => json!(dice.one(&DAYS).1),
        ItemType::Timestamp => json!(format!("{}T00:00:00.000001Z", dice.one(&DAYS).1)),
        ItemType::Boolean => json!(dice.percent(50)),
        _ => json!(dice.one(&TEXTS)),
    }
}

/// Whether two fillings look alike to the caller; the generator is held to it.
pub fn alike(table: &Table) -> bool {
    let seen = |filling: &Filling| -> Vec<Vec<Cell>> {
        let rows = filling.rows.iter().filter(|row| table.sees(row));
        rows.map(|row| {
            let shown = |(at, mask): &(usize, Option<Json>)| {
                shown(&row[*at], mask.as_ref(), &|text| format!("p:{text}"))
            };
            table.output.iter().map(shown).collect()
        })
        .collect()
    };
    seen(&table.fillings[0]) == seen(&table.fillings[1])
}
