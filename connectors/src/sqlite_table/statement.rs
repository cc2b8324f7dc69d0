//! Statements for one table: what of a filter SQLite can test without losing a row, with every literal bound.
//!
//! SQLite compares by storage class, column affinity and collation, Arrow by declared type, so only these are pushed:
//! text items: equality and lists, on every affinity; order and inequality only where the column has text affinity in a
//! UTF-8 database; integer items: everything on numeric affinities; floats: comparisons with literals other than zero on
//! numeric affinities; any item: `is not null`. Dates, instants, decimals and booleans are not pushed (their storage has
//! several forms), nor is `is null` but for integers (a cell that does not fit reads null too).
//! INVARIANT: for every pushed leaf, true in DataFusion implies true in SQLite.

use catalog::ItemType;
use datafusion::scalar::ScalarValue;

use crate::{
    parse,
    predicate::{Comparison, Leaf, Predicate, text_of},
};

/// Column affinity, <https://www.sqlite.org/datatype3.html> section 3.1; `Unknown` for columns of views.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Affinity {
    Text,
    Integer,
    Real,
    Numeric,
    None,
    Unknown,
}

impl Affinity {
    pub(super) fn of(declared: &str) -> Self {
        let declared = declared.to_ascii_uppercase();
        let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
        if has(&["INT"]) {
            Self::Integer
        } else if has(&["CHAR", "CLOB", "TEXT"]) {
            Self::Text
        } else if declared.is_empty() || has(&["BLOB"]) || declared == "ANY" {
            // `ANY` keeps what it is given in a strict table; elsewhere it is numeric, for which this is safe as well.
            Self::None
        } else if has(&["REAL", "FLOA", "DOUB"]) {
            Self::Real
        } else {
            Self::Numeric
        }
    }

    fn numeric(self) -> bool {
        matches!(self, Self::Integer | Self::Real | Self::Numeric)
    }
}

#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) affinity: Affinity,
    pub(super) item_type: ItemType,
}

/// The table as far as items use it: one column an item.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) table: String,
    pub(super) columns: Vec<Column>,
    pub(super) utf8: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Param {
    Text(String),
    Integer(i64),
    Real(f64),
}

/// SQL text without a literal in it, and what to bind.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Statement {
    pub(crate) sql: String,
    pub(crate) params: Vec<Param>,
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
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

impl Layout {
    fn column(&self, number: usize) -> String {
        let name = self.columns.get(number).map_or("", |column| column.name.as_str());
        format!("s.{}", quoted(name))
    }

    /// `select … from … where …`; without items one constant a row.
    pub(super) fn select(
        &self,
        items: &[usize],
        filter: Option<&Predicate>,
        limit: Option<usize>,
    ) -> Statement {
        let columns: Vec<String> = items.iter().map(|item| self.column(*item)).collect();
        let columns = if columns.is_empty() { "1".to_owned() } else { columns.join(", ") };
        let mut statement = Statement {
            sql: format!("SELECT {columns} FROM main.{} AS s", quoted(&self.table)),
            params: Vec::new(),
        };
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
        Statement { sql: format!("SELECT count(*) FROM main.{}", quoted(&self.table)), params: Vec::new() }
    }

    /// Rows whose key could be one of `keys` (read back afterwards), at most `limit`.
    pub(super) fn by_keys(&self, items: &[usize], key: usize, keys: &[String], limit: usize) -> Statement {
        let mut statement = self.select(items, None, None);
        let Some(column) = self.columns.get(key) else { return statement };
        let params = keys.iter().flat_map(|key| candidates(column, key)).collect();
        statement.sql.push_str(" WHERE ");
        self.write_in(key, params, false, &mut statement);
        statement.sql.push_str(&format!(" LIMIT {limit}"));
        statement
    }

    /// Whether SQLite can test this leaf without losing a row.
    pub(super) fn can(&self, leaf: &Leaf) -> bool {
        let Some(column) = self.columns.get(leaf.item()) else { return false };
        let numeric = column.affinity.numeric();
        match leaf {
            Leaf::IsNotNull { .. } => true,
            Leaf::IsNull { .. } => column.item_type == ItemType::Integer && numeric,
            Leaf::Compare { comparison, literal, .. } => match column.item_type {
                ItemType::Text if text_of(literal, ItemType::Text).is_none() => false,
                ItemType::Text => *comparison == Comparison::Equal || self.ordered(column),
                ItemType::Integer => numeric && integer(literal).is_some(),
                // -0.0 < 0.0 in Arrow, equal in SQLite.
                ItemType::Float => numeric && real(literal).is_some(),
                _ => false,
            },
            Leaf::In { literals, negated, .. } => match column.item_type {
                ItemType::Text => {
                    let text = literals.iter().all(|literal| text_of(literal, ItemType::Text).is_some());
                    text && (!negated || self.ordered(column))
                }
                ItemType::Integer => numeric && literals.iter().all(|literal| integer(literal).is_some()),
                _ => false,
            },
        }
    }

    /// Text that SQLite orders as Arrow does: by bytes of UTF-8, never as numbers.
    fn ordered(&self, column: &Column) -> bool {
        self.utf8 && column.affinity == Affinity::Text
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
        let item = leaf.item();
        let name = self.column(item);
        match leaf {
            Leaf::IsNotNull { .. } => statement.sql.push_str(&format!("{name} IS NOT NULL")),
            Leaf::IsNull { .. } => statement.sql.push_str(&format!("typeof({name}) <> 'integer'")),
            Leaf::Compare { comparison: Comparison::Equal, literal, .. } => {
                self.write_in(item, self.params(item, literal), false, statement)
            }
            Leaf::Compare { comparison, literal, .. } => {
                let operator = match comparison {
                    Comparison::Equal => "=",
                    Comparison::NotEqual => "<>",
                    Comparison::Less => "<",
                    Comparison::LessOrEqual => "<=",
                    Comparison::Greater => ">",
                    Comparison::GreaterOrEqual => ">=",
                };
                statement.sql.push_str(&format!("{name} COLLATE BINARY {operator} ?"));
                statement.params.extend(self.params(item, literal).into_iter().next());
            }
            Leaf::In { literals, negated, .. } => {
                let params = literals.iter().flat_map(|literal| self.params(item, literal)).collect();
                self.write_in(item, params, *negated, statement);
            }
        }
    }

    fn params(&self, item: usize, literal: &ScalarValue) -> Vec<Param> {
        let Some(column) = self.columns.get(item) else { return Vec::new() };
        match column.item_type {
            ItemType::Text => {
                text_of(literal, ItemType::Text).map_or_else(Vec::new, |text| texts(column, text))
            }
            ItemType::Integer => integer(literal).map(Param::Integer).into_iter().collect(),
            _ => real(literal).map(Param::Real).into_iter().collect(),
        }
    }

    fn write_in(&self, item: usize, params: Vec<Param>, negated: bool, statement: &mut Statement) {
        let name = self.column(item);
        let text = self
            .columns
            .get(item)
            .is_some_and(|column| column.affinity == Affinity::Unknown && column.item_type == ItemType::Text);
        let name = if text { format!("CAST({name} AS TEXT)") } else { name };
        let word = if negated { "NOT IN" } else { "IN" };
        let marks = vec!["?"; params.len()].join(", ");
        statement.sql.push_str(&format!("{name} COLLATE BINARY {word} ({marks})"));
        statement.params.extend(params);
    }
}

fn real(literal: &ScalarValue) -> Option<f64> {
    match literal {
        ScalarValue::Float64(Some(value)) if value.is_finite() && *value != 0.0 => Some(*value),
        _ => None,
    }
}

/// A text as a text column may store it: where no affinity turns one into the other, an integer as well.
fn texts(column: &Column, text: &str) -> Vec<Param> {
    let mut params = vec![Param::Text(text.to_owned())];
    if column.affinity == Affinity::None
        && let Ok(number) = text.parse::<i64>()
        && number.to_string() == text
    {
        params.push(Param::Integer(number));
    }
    params
}

/// What a cell that holds this key may look like.
fn candidates(column: &Column, key: &str) -> Vec<Param> {
    let mut params = Vec::new();
    let mut forms = vec![key.to_owned()];
    match column.item_type {
        ItemType::Integer => {
            let Some(number) = parse::integer(key) else { return params };
            params.push(Param::Integer(number));
            forms.push(number.to_string());
        }
        ItemType::Decimal => {
            params.extend(parse::integer(key).map(Param::Integer));
            params.extend(parse::float(key).map(Param::Real));
        }
        ItemType::Date => {
            let epoch = chrono::NaiveDate::from_ymd_opt(1970, 1, 1);
            let days = parse::date(key).map(|days| chrono::TimeDelta::days(i64::from(days)));
            let day = epoch.zip(days).and_then(|(epoch, days)| epoch.checked_add_signed(days));
            for form in ["%Y-%m-%d", "%Y%m%d", "%Y/%m/%d"] {
                forms.extend(day.map(|day| day.format(form).to_string()));
            }
            params.extend(forms.iter().filter_map(|form| form.parse().ok()).map(Param::Integer));
        }
        ItemType::Timestamp => {
            let instant = parse::timestamp(key).and_then(chrono::DateTime::from_timestamp_micros);
            for form in ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"] {
                forms.extend(instant.map(|instant| instant.format(form).to_string()));
            }
        }
        _ => {
            params.extend(texts(column, key));
            return params;
        }
    }
    forms.dedup();
    if !column.affinity.numeric() || column.item_type != ItemType::Integer {
        params.extend(forms.into_iter().map(Param::Text));
    }
    params
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{Field, Schema, SchemaRef};
    use datafusion::{
        logical_expr::Expr,
        prelude::{col, lit},
    };

    use super::*;
    use crate::predicate::predicate;

    fn layout() -> Layout {
        let column = |name: &str, affinity, item_type| Column { name: name.to_owned(), affinity, item_type };
        Layout {
            table: "a \"b\"; drop table x".to_owned(),
            columns: vec![
                column("t", Affinity::Text, ItemType::Text),
                column("n", Affinity::Integer, ItemType::Integer),
                column("x", Affinity::None, ItemType::Text),
                column("d", Affinity::Text, ItemType::Date),
                column("f", Affinity::Real, ItemType::Float),
                column("nt", Affinity::Numeric, ItemType::Text),
                column("tn", Affinity::Text, ItemType::Integer),
                column("v", Affinity::Unknown, ItemType::Text),
            ],
            utf8: true,
        }
    }

    fn check(filter: Expr, sql: &str, params: &[Param]) {
        let layout = layout();
        let fields: Vec<Field> = layout
            .columns
            .iter()
            .map(|column| Field::new(&column.name, column.item_type.arrow(), true))
            .collect();
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let predicate = predicate(&filter, &schema, &|leaf| layout.can(leaf));
        let statement = layout.select(&[0], predicate.as_ref(), None);
        let start = "SELECT s.\"t\" FROM main.\"a \"\"b\"\"; drop table x\" AS s";
        let written = statement.sql.strip_prefix(start).expect("start");
        assert_eq!(written.strip_prefix(" WHERE ").unwrap_or("-"), sql, "{filter}");
        assert_eq!(statement.params, params, "{filter}");
    }

    #[test]
    fn what_is_pushed_is_bound() {
        let text = |text: &str| Param::Text(text.to_owned());
        check(col("t").eq(lit("x' or 1=1 --")), "s.\"t\" COLLATE BINARY IN (?)", &[text("x' or 1=1 --")]);
        check(col("t").gt(lit("m")), "s.\"t\" COLLATE BINARY > ?", &[text("m")]);
        check(!col("t").eq(lit("m")), "s.\"t\" COLLATE BINARY <> ?", &[text("m")]);
        check(
            col("n").between(lit(1_i64), lit(9_i64)),
            "(s.\"n\" COLLATE BINARY >= ? AND s.\"n\" COLLATE BINARY <= ?)",
            &[Param::Integer(1), Param::Integer(9)],
        );
        check(col("n").is_null(), "typeof(s.\"n\") <> 'integer'", &[]);
        check(col("t").is_not_null().and(col("t").is_null()), "s.\"t\" IS NOT NULL", &[]);
        check(col("x").eq(lit("12")), "s.\"x\" COLLATE BINARY IN (?, ?)", &[text("12"), Param::Integer(12)]);
        check(col("x").eq(lit("012")), "s.\"x\" COLLATE BINARY IN (?)", &[text("012")]);
        check(col("v").eq(lit("a")), "CAST(s.\"v\" AS TEXT) COLLATE BINARY IN (?)", &[text("a")]);
        check(col("f").gt(lit(1.5)), "s.\"f\" COLLATE BINARY > ?", &[Param::Real(1.5)]);
        check(
            col("t").in_list(vec![lit("a"), lit("b")], false).or(col("n").lt(lit(3_i64))),
            "(s.\"t\" COLLATE BINARY IN (?, ?) OR s.\"n\" COLLATE BINARY < ?)",
            &[text("a"), text("b"), Param::Integer(3)],
        );
        check(col("nt").eq(lit("7")), "s.\"nt\" COLLATE BINARY IN (?)", &[text("7")]);
    }

    #[test]
    fn what_could_lose_a_row_is_not_pushed() {
        for filter in [
            col("x").not_eq(lit("12")),
            col("nt").not_eq(lit("07")),
            col("nt").lt(lit("7")),
            col("v").gt(lit("a")),
            col("tn").eq(lit(42_i64)),
            col("tn").is_null(),
            col("t").is_null(),
            col("d").eq(lit(ScalarValue::Date32(Some(1)))),
            col("f").lt(lit(0.0)),
            col("f").eq(lit(f64::NAN)),
            col("n").gt(lit(1.5)),
            col("n").gt(lit("1")),
            col("t").eq(lit("a")).or(col("d").is_null()),
        ] {
            check(filter, "-", &[]);
        }
    }
}
