//! Statements for one PostgreSQL table: what of a filter the server can test without losing a row, every value bound.
//!
//! PostgreSQL compares texts by collation, pads `char(n)`, sorts NaN and infinities among the numbers and lets types
//! bring their own equality, Arrow does none of it. So these are pushed: on plain `text` and `varchar` everything, order
//! under collation "C" (bytes, as in Arrow); on integers, `numeric`, dates, instants and booleans every comparison with
//! a value both sides write alike; on floats comparisons with finite values other than zero; any item: `is not null`.
//! `is null` only where every cell fits its item (a cell that does not reads null too).
//! INVARIANT: for every pushed leaf, true in DataFusion implies true in PostgreSQL.

use catalog::ItemType;
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, TimeDelta, Utc};
use datafusion::scalar::ScalarValue;

use super::layout::{Column, ColumnType, Layout};
use crate::{
    parse,
    predicate::{Comparison, Leaf, Predicate, text_of},
};

/// Values of one type, always bound as one array.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Values {
    Text(Vec<String>),
    Integer(Vec<i64>),
    Real(Vec<f64>),
    Flag(Vec<bool>),
    Day(Vec<NaiveDate>),
    Naive(Vec<NaiveDateTime>),
    Instant(Vec<DateTime<Utc>>),
}

/// SQL text without a value in it, and what to bind.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Statement {
    pub(crate) sql: String,
    pub(crate) params: Vec<Values>,
}

impl Statement {
    /// The place of the values in the text: `$3::numeric[]`.
    fn bind(&mut self, values: Values, cast: &str) -> String {
        self.params.push(values);
        format!("${}{cast}", self.params.len())
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Layout {
    fn column(&self, number: usize) -> String {
        let name = self.columns.get(number).map_or("", |column| column.name.as_str());
        format!("s.{}", quoted(name))
    }

    /// The cell in the form it is read in; one above the ceiling comes cut just above it, and is refused then.
    fn read_as(&self, number: usize) -> String {
        let name = self.column(number);
        let Some(column) = self.columns.get(number) else { return name };
        let (max, more) = (self.cell_bytes_max, self.cell_bytes_max.saturating_add(1));
        match column.kind {
            ColumnType::Text | ColumnType::Padded | ColumnType::OtherText => {
                let text = format!("{name}::text");
                format!("CASE WHEN octet_length({text}) <= {max} THEN {text} ELSE left({text}, {more}) END")
            }
            ColumnType::Json => format!("left({name}::text, {more})"),
            ColumnType::Bytes => format!(
                "CASE WHEN octet_length({name}) <= {max} THEN {name} ELSE substring({name} FROM 1 FOR {more}) END"
            ),
            ColumnType::Uuid | ColumnType::Numeric => format!("{name}::text"),
            _ => name,
        }
    }

    fn from(&self) -> String {
        format!("FROM {}.{} AS s", quoted(&self.schema), quoted(&self.table))
    }

    /// `select … from … where …`; without items one constant a row.
    pub(super) fn select(
        &self,
        items: &[usize],
        filter: Option<&Predicate>,
        limit: Option<usize>,
    ) -> Statement {
        let columns: Vec<String> = items.iter().map(|item| self.read_as(*item)).collect();
        let columns = if columns.is_empty() { "1".to_owned() } else { columns.join(", ") };
        let mut statement =
            Statement { sql: format!("SELECT {columns} {}", self.from()), params: Vec::new() };
        if let Some(filter) = filter {
            statement.sql.push_str(" WHERE ");
            self.write(filter, &mut statement);
        }
        if let Some(limit) = limit {
            statement.sql.push_str(&format!(" LIMIT {limit}"));
        }
        statement
    }

    pub(super) fn count(&self) -> Statement {
        Statement { sql: format!("SELECT count(*) {}", self.from()), params: Vec::new() }
    }

    /// Rows whose key could be one of `keys` (read back afterwards), at most `limit`; none when no key can be there.
    pub(super) fn by_keys(
        &self,
        items: &[usize],
        key: usize,
        keys: &[String],
        limit: usize,
    ) -> Option<Statement> {
        let column = self.columns.get(key)?;
        let (values, cast) = candidates(column, keys)?;
        let mut statement = self.select(items, None, None);
        let name = self.column(key);
        let name = match column.kind {
            ColumnType::OtherText => format!("{name}::text COLLATE \"C\""),
            ColumnType::Text | ColumnType::Padded if !column.deterministic => format!("{name} COLLATE \"C\""),
            _ => name,
        };
        let place = statement.bind(values, cast);
        statement.sql.push_str(&format!(" WHERE {name} = ANY({place}) LIMIT {limit}"));
        Some(statement)
    }

    /// Whether the server can test this leaf without losing a row.
    pub(super) fn can(&self, leaf: &Leaf) -> bool {
        let Some(column) = self.columns.get(leaf.item()) else { return false };
        match leaf {
            Leaf::IsNotNull { .. } => true,
            Leaf::IsNull { .. } => {
                column.plain
                    && match column.item_type {
                        ItemType::Text => column.kind == ColumnType::Text,
                        ItemType::Integer => column.kind.integer(),
                        ItemType::Boolean => column.kind == ColumnType::Boolean,
                        _ => false,
                    }
            }
            Leaf::Compare { literal, .. } => values(column, std::slice::from_ref(literal)).is_some(),
            Leaf::In { literals, .. } => {
                column.item_type != ItemType::Float && values(column, literals).is_some()
            }
        }
    }

    fn write(&self, predicate: &Predicate, statement: &mut Statement) {
        let (parts, word) = match predicate {
            Predicate::Leaf(leaf) => return self.write_leaf(leaf, statement),
            Predicate::All(parts) => (parts, " AND "),
            Predicate::Any(parts) => (parts, " OR "),
        };
        statement.sql.push('(');
        for (number, part) in parts.iter().enumerate() {
            if number > 0 {
                statement.sql.push_str(word);
            }
            self.write(part, statement);
        }
        statement.sql.push(')');
    }

    fn write_leaf(&self, leaf: &Leaf, statement: &mut Statement) {
        let name = self.column(leaf.item());
        let Some(column) = self.columns.get(leaf.item()) else { return };
        let text = column.kind == ColumnType::Text;
        // Collation "C" compares bytes; where equality does so anyway it is left out, so that an index can be used.
        let equal =
            if text && !column.deterministic { format!("{name} COLLATE \"C\"") } else { name.clone() };
        let order = if text { format!("{name} COLLATE \"C\"") } else { name.clone() };
        let written = match leaf {
            Leaf::IsNotNull { .. } => format!("{name} IS NOT NULL"),
            Leaf::IsNull { .. } => format!("{name} IS NULL"),
            Leaf::Compare { comparison, literal, .. } => {
                let Some((values, cast)) = values(column, std::slice::from_ref(literal)) else {
                    return statement.sql.push_str("true");
                };
                let place = statement.bind(values, cast);
                match comparison {
                    Comparison::Equal => format!("{equal} = ANY({place})"),
                    Comparison::NotEqual => format!("{equal} <> ALL({place})"),
                    Comparison::Less => format!("{order} < ({place})[1]"),
                    Comparison::LessOrEqual => format!("{order} <= ({place})[1]"),
                    Comparison::Greater => format!("{order} > ({place})[1]"),
                    Comparison::GreaterOrEqual => format!("{order} >= ({place})[1]"),
                }
            }
            Leaf::In { literals, negated, .. } => {
                let Some((values, cast)) = values(column, literals) else {
                    return statement.sql.push_str("true");
                };
                let place = statement.bind(values, cast);
                if *negated { format!("{equal} <> ALL({place})") } else { format!("{equal} = ANY({place})") }
            }
        };
        statement.sql.push_str(&written);
    }
}

const NO_CAST: &str = "";
const NUMERIC: &str = "::numeric[]";

/// Literals as the column compares them; none when one of them has no such form, or the column compares otherwise.
fn values(column: &Column, literals: &[ScalarValue]) -> Option<(Values, &'static str)> {
    use ColumnType as Of;
    if !column.plain {
        return None;
    }
    let all = literals.iter();
    Some(match (column.item_type, column.kind) {
        (ItemType::Text, Of::Text) => {
            // No text of PostgreSQL holds a zero byte; to bind one is an error.
            let texts =
                all.map(|literal| text_of(literal, ItemType::Text).filter(|text| !text.contains('\0')));
            (Values::Text(texts.map(|text| text.map(str::to_owned)).collect::<Option<_>>()?), NO_CAST)
        }
        (ItemType::Integer, kind) if kind.integer() || kind == Of::Numeric => {
            (Values::Integer(all.map(integer).collect::<Option<_>>()?), NO_CAST)
        }
        (ItemType::Decimal, kind) if kind.integer() || kind == Of::Numeric => {
            (Values::Text(all.map(decimal).collect::<Option<_>>()?), NUMERIC)
        }
        // -0.0 < 0.0 in Arrow, equal in PostgreSQL.
        (ItemType::Float, Of::Real | Of::Double) => {
            (Values::Real(all.map(real).collect::<Option<_>>()?), NO_CAST)
        }
        (ItemType::Boolean, Of::Boolean) => {
            let flags = all.map(|literal| match literal {
                ScalarValue::Boolean(flag) => *flag,
                _ => None,
            });
            (Values::Flag(flags.collect::<Option<_>>()?), NO_CAST)
        }
        (ItemType::Date, Of::Date) => {
            let days = all.map(|literal| match literal {
                ScalarValue::Date32(Some(days)) => day(*days),
                _ => None,
            });
            (Values::Day(days.collect::<Option<_>>()?), NO_CAST)
        }
        (ItemType::Timestamp, Of::Timestamp | Of::TimestampZoned) => {
            let instants = all.map(|literal| match literal {
                ScalarValue::TimestampMicrosecond(Some(instant), Some(_)) => instant_of(*instant),
                _ => None,
            });
            instants_of(column.kind, instants.collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

fn integer(literal: &ScalarValue) -> Option<i64> {
    if !literal.data_type().is_integer() {
        return None;
    }
    match literal.cast_to(&arrow::datatypes::DataType::Int64) {
        Ok(ScalarValue::Int64(value)) => value,
        _ => None,
    }
}

fn real(literal: &ScalarValue) -> Option<f64> {
    match literal {
        ScalarValue::Float64(Some(value)) if value.is_finite() && *value != 0.0 => Some(*value),
        _ => None,
    }
}

fn decimal(literal: &ScalarValue) -> Option<String> {
    match literal {
        ScalarValue::Decimal128(Some(value), _, 4) => Some(written(*value)),
        _ => None,
    }
}

/// A number of ten-thousandths in full.
fn written(value: i128) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let digits = value.unsigned_abs();
    format!("{sign}{}.{:04}", digits / 10_000, digits % 10_000)
}

/// Within the years that every part of the hub writes with four digits.
pub(super) fn four_digits(year: i32) -> bool {
    (1..=9_999).contains(&year)
}

fn day(days: i32) -> Option<NaiveDate> {
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1)?;
    epoch.checked_add_signed(TimeDelta::days(i64::from(days))).filter(|day| four_digits(day.year()))
}

fn instant_of(microseconds: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(microseconds).filter(|instant| four_digits(instant.year()))
}

fn instants_of(kind: ColumnType, instants: Vec<DateTime<Utc>>) -> (Values, &'static str) {
    if kind == ColumnType::TimestampZoned {
        (Values::Instant(instants), NO_CAST)
    } else {
        (Values::Naive(instants.iter().map(DateTime::naive_utc).collect()), NO_CAST)
    }
}

/// What cells that hold these keys look like; none when no cell of the column can hold one.
fn candidates(column: &Column, keys: &[String]) -> Option<(Values, &'static str)> {
    use ColumnType as Of;
    let keys = keys.iter().map(String::as_str);
    let found = match (column.item_type, column.kind) {
        (ItemType::Text, kind) if kind.integer() => {
            // The hub reads the number back in this one form.
            let same =
                keys.filter_map(|key| key.parse::<i64>().ok().filter(|number| number.to_string() == key));
            (Values::Integer(same.collect()), NO_CAST)
        }
        (ItemType::Text, Of::Uuid) => {
            let same = keys.filter(|key| is_uuid(key)).map(str::to_owned);
            (Values::Text(same.collect()), "::uuid[]")
        }
        (ItemType::Text, kind) => {
            let keys = keys.filter(|key| !key.contains('\0')).map(str::to_owned);
            (Values::Text(keys.collect()), if kind == Of::Padded { "::bpchar[]" } else { NO_CAST })
        }
        (ItemType::Integer, _) => (Values::Integer(keys.filter_map(parse::integer).collect()), NO_CAST),
        (ItemType::Decimal, kind) if kind.integer() => {
            let whole = keys.filter_map(parse::decimal).filter(|value| value % 10_000 == 0);
            (Values::Integer(whole.filter_map(|value| i64::try_from(value / 10_000).ok()).collect()), NO_CAST)
        }
        (ItemType::Decimal, _) => {
            (Values::Text(keys.filter_map(parse::decimal).map(written).collect()), NUMERIC)
        }
        (ItemType::Date, _) => (Values::Day(keys.filter_map(parse::date).filter_map(day).collect()), NO_CAST),
        (ItemType::Timestamp, kind) => {
            instants_of(kind, keys.filter_map(parse::timestamp).filter_map(instant_of).collect())
        }
        _ => return None,
    };
    (!found.0.is_empty()).then_some(found)
}

/// A UUID in the one form PostgreSQL writes it in.
fn is_uuid(key: &str) -> bool {
    key.len() == 36
        && key.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        })
}

impl Values {
    fn is_empty(&self) -> bool {
        match self {
            Self::Text(all) => all.is_empty(),
            Self::Integer(all) => all.is_empty(),
            Self::Real(all) => all.is_empty(),
            Self::Flag(all) => all.is_empty(),
            Self::Day(all) => all.is_empty(),
            Self::Naive(all) => all.is_empty(),
            Self::Instant(all) => all.is_empty(),
        }
    }
}
