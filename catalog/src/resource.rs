//! The catalogue entry (数据资源目录): a resource, its items, who provides it and where its bytes are.
//!
//! Core fields are modelled on the 2017 national guide; sharing classes on arts. 14–15 of Order 809.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde::{Deserialize, Serialize};

use crate::ids::{DepartmentId, ResourceName};

/// Order 809 art. 14: unconditional 无条件共享, conditional 有条件共享, withheld 不予共享.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Hash)]
#[serde(rename_all = "snake_case")]
pub enum SharingClass {
    Unconditional,
    Conditional,
    Withheld,
}

/// How sensitive an item is; `Personal` and `Sensitive` make the whole resource personal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Hash)]
#[serde(rename_all = "snake_case")]
pub enum Classification {
    /// General data about things and public facts.
    General,
    /// Commercial secret.
    Commercial,
    /// Personal information.
    Personal,
    /// Sensitive personal information.
    Sensitive,
}

/// Item types of the national guide by letter (C N Y D T L M G B I F), each one Arrow type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Hash)]
#[serde(rename_all = "snake_case")]
pub enum ItemType {
    /// C and M: UTF-8 text.
    Text,
    /// N and Y: exact decimal (38 digits, 4 places).
    Decimal,
    /// D: date without time.
    Date,
    /// T: UTC microseconds.
    Timestamp,
    /// L.
    Boolean,
    /// G: bytes.
    Binary,
    /// B and F: 64-bit float.
    Float,
    /// I: 64-bit integer.
    Integer,
}

impl ItemType {
    pub fn arrow(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8,
            Self::Decimal => DataType::Decimal128(38, 4),
            Self::Date => DataType::Date32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Boolean => DataType::Boolean,
            Self::Binary => DataType::Binary,
            Self::Float => DataType::Float64,
            Self::Integer => DataType::Int64,
        }
    }
}

/// One column of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Hash)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// SQL name, see [`crate::ids::is_name`].
    pub name: String,
    /// What the item is called for people.
    pub title: String,
    #[serde(rename = "type")]
    pub item_type: ItemType,
    /// Column in the source; the item's name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// A declared look-up key (not necessarily unique: a person has several permits).
    #[serde(default)]
    pub key: bool,
    pub classification: Classification,
    /// Own sharing class where stricter than the resource's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<SharingClass>,
    /// Item of the same resource that this one can be computed from (`birth_date` from `id_number`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub derived_from: Option<String>,
}

impl Item {
    pub fn source_column(&self) -> &str {
        self.column.as_deref().unwrap_or(&self.name)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Hash)]
#[serde(rename_all = "snake_case")]
pub enum FileFormat {
    Parquet,
    Csv,
    /// One object a line, or a list of objects.
    Json,
    /// Arrow IPC, file or stream.
    Arrow,
}

/// Where a resource's bytes are. Paths are relative to the hub's source root, never absolute, never `..`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, Hash)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Binding {
    /// Catalogued, with nothing behind it: a withheld entry, or one waiting for its mount. Cannot be opened.
    #[default]
    Unmounted,
    /// One file, or a folder of files of one format.
    Files { format: FileFormat, path: String },
    /// A table of a department's own SQLite database, read point to point, never written.
    Sqlite { path: String, table: String },
    /// A table, view or materialized view of a department's own PostgreSQL database, never written. `connection` names
    /// an entry of the operator's configuration: host and credentials are there, never here.
    Postgres {
        connection: String,
        #[serde(default = "public_schema")]
        schema: String,
        table: String,
    },
}

fn public_schema() -> String {
    "public".to_owned()
}

/// A catalogue entry in one published, immutable version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    pub name: ResourceName,
    pub title: String,
    #[serde(rename = "abstract")]
    pub summary: String,
    pub provider: DepartmentId,
    pub class: SharingClass,
    /// Conditions of use; required for conditional.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Law, administrative regulation or State Council decision; required for withheld.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legal_basis: Option<String>,
    /// One of [`UPDATE_CYCLES`].
    pub update_cycle: String,
    pub items: Vec<Item>,
    /// Resources this one may never be joined with, whatever a grant says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub never_join: Vec<ResourceName>,
    #[serde(default)]
    pub binding: Binding,
}

/// Update cycles of the national guide.
pub const UPDATE_CYCLES: [&str; 9] =
    ["real_time", "daily", "weekly", "monthly", "quarterly", "half_yearly", "yearly", "irregular", "never"];

impl Resource {
    pub fn item(&self, name: &str) -> Option<&Item> {
        self.items.iter().find(|item| item.name == name)
    }

    /// Whether any item is personal: such calls must name a case and who stands behind them.
    pub fn personal(&self) -> bool {
        self.items.iter().any(|item| item.classification >= Classification::Personal)
    }

    /// Arrow schema of all items in catalogue order, every field nullable (sources are dirty).
    pub fn schema(&self) -> SchemaRef {
        let fields: Vec<Field> =
            self.items.iter().map(|item| Field::new(&item.name, item.item_type.arrow(), true)).collect();
        Arc::new(Schema::new(fields))
    }
}
