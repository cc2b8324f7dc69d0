//! The columns of a PostgreSQL table: what each holds, how it is read, and whether it fits its item.
//!
//! INVARIANT: only types listed in [`ColumnType`] are read, so every value has one known form on the wire.

use std::{sync::Arc, time::Duration};

use catalog::{Faults, Item, ItemType, Resource};
use sqlx::{PgConnection, Row, postgres::PgRow};

use super::connection::{Server, failed};
use crate::{SourceError, SourceLimits, key::can_be_key};

/// Types a column may have; a domain counts as what it is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ColumnType {
    /// `text` and `varchar`.
    Text,
    /// `char(n)`: padded, and compared without its padding.
    Padded,
    /// `citext` and enumerations: text with an order or equality of its own.
    OtherText,
    /// `json`, `jsonb`.
    Json,
    Uuid,
    SmallInt,
    Int,
    BigInt,
    Numeric,
    Real,
    Double,
    Boolean,
    Date,
    /// Without zone: read as UTC.
    Timestamp,
    TimestampZoned,
    Bytes,
}

impl ColumnType {
    /// By the oid of a built-in type (`pg_type.dat`), else by kind and name.
    fn of(oid: i64, kind: &str, name: &str) -> Option<Self> {
        Some(match oid {
            16 => Self::Boolean,
            17 => Self::Bytes,
            20 => Self::BigInt,
            21 => Self::SmallInt,
            23 => Self::Int,
            25 | 1043 => Self::Text,
            114 | 3802 => Self::Json,
            700 => Self::Real,
            701 => Self::Double,
            1042 => Self::Padded,
            1082 => Self::Date,
            1114 => Self::Timestamp,
            1184 => Self::TimestampZoned,
            1700 => Self::Numeric,
            2950 => Self::Uuid,
            _ if kind == "e" || name == "citext" => Self::OtherText,
            _ => return None,
        })
    }

    pub(super) fn integer(self) -> bool {
        matches!(self, Self::SmallInt | Self::Int | Self::BigInt)
    }

    /// Sent as text, whatever it is.
    pub(super) fn textual(self) -> bool {
        matches!(self, Self::Text | Self::Padded | Self::OtherText | Self::Json | Self::Uuid | Self::Numeric)
    }

    /// Oid of what comes over the wire; another one means that the column is no longer what was checked.
    pub(super) fn wire_oid(self) -> u32 {
        match self {
            Self::Boolean => 16,
            Self::Bytes => 17,
            Self::BigInt => 20,
            Self::SmallInt => 21,
            Self::Int => 23,
            Self::Real => 700,
            Self::Double => 701,
            Self::Date => 1082,
            Self::Timestamp => 1114,
            Self::TimestampZoned => 1184,
            _ => 25,
        }
    }

    /// Whether any value of this type could be one of the item's.
    pub(super) fn fits(self, item: ItemType) -> bool {
        let number = self.integer() || matches!(self, Self::Numeric | Self::Real | Self::Double);
        let words = matches!(self, Self::Text | Self::Padded | Self::OtherText);
        match item {
            ItemType::Text => words || self.integer() || matches!(self, Self::Json | Self::Uuid),
            ItemType::Integer | ItemType::Decimal | ItemType::Float => number || words,
            ItemType::Date => {
                words || self.integer() || matches!(self, Self::Date | Self::Timestamp | Self::TimestampZoned)
            }
            ItemType::Timestamp => {
                words || matches!(self, Self::Date | Self::Timestamp | Self::TimestampZoned)
            }
            ItemType::Boolean => words || self.integer() || self == Self::Boolean,
            ItemType::Binary => self == Self::Bytes,
        }
    }

    /// Whether the server can find a key of the item in such a column without missing a form of it.
    pub(super) fn finds(self, item: ItemType) -> bool {
        match item {
            ItemType::Text => self != Self::Json,
            ItemType::Integer | ItemType::Decimal => self.integer() || self == Self::Numeric,
            ItemType::Date => self == Self::Date,
            ItemType::Timestamp => matches!(self, Self::Timestamp | Self::TimestampZoned),
            _ => false,
        }
    }
}

#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: ColumnType,
    /// A plain column of its type: a domain may bring operators of its own, so nothing is compared in one.
    pub(super) plain: bool,
    /// Equal texts are the same bytes.
    pub(super) deterministic: bool,
    pub(super) item_type: ItemType,
}

/// The table as far as items use it: one column an item.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) schema: String,
    pub(super) table: String,
    pub(super) columns: Vec<Column>,
    /// A longer cell is sent cut, and then refused.
    pub(super) cell_bytes_max: usize,
}

const TABLE: &str = "SELECT c.oid::int8, c.relkind::text, \
    has_schema_privilege(n.oid, 'USAGE') AS open, current_setting('server_encoding') AS encoding \
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace \
    WHERE n.nspname::text = $1 AND c.relname::text = $2";

/// Columns with domains followed to what they are made of.
const COLUMNS: &str = "WITH RECURSIVE chain AS ( \
    SELECT a.attnum, a.attname, a.attcollation, t.oid, t.typtype, t.typname, t.typbasetype, false AS domain \
    FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid \
    WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped \
    UNION ALL SELECT c.attnum, c.attname, c.attcollation, b.oid, b.typtype, b.typname, b.typbasetype, true \
    FROM chain AS c JOIN pg_type AS b ON b.oid = c.typbasetype WHERE c.typtype = 'd') \
    SELECT c.attname::text AS name, c.oid::int8, c.typtype::text AS kind, c.typname::text AS type, c.domain, \
    coalesce(k.collisdeterministic, true) AS deterministic, \
    has_column_privilege($1::oid, c.attnum, 'SELECT') AS readable \
    FROM chain AS c LEFT JOIN pg_collation AS k ON k.oid = c.attcollation WHERE c.typtype <> 'd' ORDER BY c.attnum";

impl Layout {
    pub(super) async fn read(
        server: &Arc<Server>,
        resource: &Resource,
        (schema, table): (&str, &str),
        limits: &SourceLimits,
    ) -> Result<Self, SourceError> {
        let mut lease = server.lease().await?;
        let asked = look(&mut lease.connection, schema, table, limits);
        let (oid, found) = tokio::time::timeout(server.statement_max() + Duration::from_secs(1), asked)
            .await
            .map_err(|_| SourceError::Deadline)??;
        lease.done().await;
        let mut faults = Faults::default();
        if oid.is_none() {
            faults.add(
                "/binding/postgres/table",
                format!("`{table}` is no table or view in schema `{schema}` that the connection's account may use; name one, or have it granted"),
            );
            return Err(SourceError::Mismatch(faults));
        }
        let mut columns = Vec::with_capacity(resource.items.len());
        for (number, item) in resource.items.iter().enumerate() {
            columns.extend(fitting(number, item, &found, table, &mut faults));
        }
        faults.or(()).map_err(SourceError::Mismatch)?;
        Ok(Self {
            schema: schema.to_owned(),
            table: table.to_owned(),
            columns,
            cell_bytes_max: limits.line_bytes_max,
        })
    }
}

/// The table's oid, if it is one, and its columns.
async fn look(
    connection: &mut PgConnection,
    schema: &str,
    table: &str,
    limits: &SourceLimits,
) -> Result<(Option<i64>, Vec<PgRow>), SourceError> {
    let found = sqlx::query(TABLE)
        .persistent(false)
        .bind(schema)
        .bind(table)
        .fetch_optional(&mut *connection)
        .await
        .map_err(failed)?;
    let Some(found) = found else { return Ok((None, Vec::new())) };
    let kind: String = found.try_get("relkind").map_err(failed)?;
    let open: bool = found.try_get("open").map_err(failed)?;
    // Tables, partitioned ones, views, materialized views. A foreign table would lead to yet another server.
    if !matches!(kind.as_str(), "r" | "p" | "v" | "m") || !open {
        return Ok((None, Vec::new()));
    }
    let encoding: String = found.try_get("encoding").map_err(failed)?;
    if encoding != "UTF8" {
        let mut faults = Faults::default();
        faults.add(
            "/binding/postgres/connection",
            "the database is not in UTF8; ask its operator for one that is",
        );
        return Err(SourceError::Mismatch(faults));
    }
    let oid: i64 = found.try_get("oid").map_err(failed)?;
    let columns =
        sqlx::query(COLUMNS).persistent(false).bind(oid).fetch_all(connection).await.map_err(failed)?;
    if columns.len() > limits.columns_max {
        return Err(SourceError::TooLarge(format!("more than {} columns", limits.columns_max)));
    }
    Ok((Some(oid), columns))
}

/// The column of an item, or what is wrong with it.
fn fitting(number: usize, item: &Item, found: &[PgRow], table: &str, faults: &mut Faults) -> Option<Column> {
    let column = item.source_column();
    let text = |row: &PgRow, at: &str| row.try_get::<String, _>(at).unwrap_or_default();
    let is = |row: &PgRow, at: &str| row.try_get::<bool, _>(at).unwrap_or(false);
    let Some(row) = found.iter().find(|row| text(row, "name") == column) else {
        faults.add(
            format!("/items/{number}/column"),
            format!("column `{column}` is not in table `{table}`; name one that is"),
        );
        return None;
    };
    if !is(row, "readable") {
        faults.add(
            format!("/items/{number}/column"),
            format!("the connection's account may not read column `{column}`; have SELECT on it granted"),
        );
        return None;
    }
    let name = text(row, "type");
    let kind = ColumnType::of(row.try_get("oid").unwrap_or(0), &text(row, "kind"), &name);
    let Some(kind) = kind.filter(|kind| kind.fits(item.item_type)) else {
        faults.add(
            format!("/items/{number}/type"),
            format!(
                "column `{column}` holds `{name}`, which cannot be read as `{:?}`; declare another type, or bind a view that casts it",
                item.item_type
            ),
        );
        return None;
    };
    if item.key && can_be_key(item.item_type) && !kind.finds(item.item_type) {
        faults.add(
            format!("/items/{number}/key"),
            format!("column `{column}` holds `{name}`, in which a key of this type is not found; bind a view that casts it"),
        );
        return None;
    }
    Some(Column {
        name: column.to_owned(),
        kind,
        plain: !is(row, "domain"),
        deterministic: is(row, "deterministic"),
        item_type: item.item_type,
    })
}
