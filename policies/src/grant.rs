//! A grant is a fact: who was given what, by two signed acts. What any grant must satisfy is law (`rules/*.cedar`).

use catalog::{DepartmentId, ResourceName};
use serde::{Deserialize, Serialize};

use crate::mask::Mask;
use crate::scope::Scope;

/// `grant_` and 128 random bits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GrantId(pub String);

/// What a grant can allow; `verify`, `match`, `aggregate`, `export`, `file` come in later issues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Free SQL.
    Query,
    /// Rows by declared key.
    Lookup,
}

impl Operation {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Lookup => "lookup",
        }
    }
}

/// Who may stand behind a call on personal data.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StandingKind {
    /// A human operator of the grantee department.
    Operator,
    /// The applicant in person at a named terminal or channel.
    Terminal,
    /// A named automatic rule (无人工干预).
    Rule(String),
}

/// An item that may be seen, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputItem {
    pub item: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<Mask>,
}

/// Everything a grant fixes. Unset, unknown or unreadable means refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    pub operations: Vec<Operation>,
    /// Items usable as look-up keys by their true value; never echoed.
    #[serde(default)]
    pub input: Vec<String>,
    pub output: Vec<OutputItem>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// A code of `catalog/codes/purposes.toml`.
    pub purpose: String,
    /// Legal basis, in words.
    pub basis: String,
    /// Service item codes this serves.
    #[serde(default)]
    pub service_items: Vec<String>,
    /// Systems of the grantee department that may use it; people of the department always may.
    #[serde(default)]
    pub systems: Vec<String>,
    /// For personal data: who may stand behind a call; empty refuses every such call.
    #[serde(default)]
    pub standing: Vec<StandingKind>,
    /// Conditional personal resources this one may be joined with.
    #[serde(default)]
    pub joins: Vec<ResourceName>,
    /// UTC microseconds, inclusive; RFC 3339 is read too.
    #[serde(deserialize_with = "instant")]
    pub valid_from: i64,
    /// UTC microseconds, exclusive: at this instant the grant is expired.
    #[serde(deserialize_with = "instant")]
    pub valid_until: i64,
    pub rows_per_answer_max: u64,
    pub rows_per_day_max: u64,
    pub calls_per_minute_max: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantState {
    Active,
    Suspended,
    Revoked,
}

/// A grant in one version, as the store holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    pub id: GrantId,
    /// Counts up with every change of state.
    pub version: u32,
    pub application: String,
    pub resource: ResourceName,
    pub grantee: DepartmentId,
    pub provider: DepartmentId,
    pub state: GrantState,
    pub terms: Terms,
}

/// An instant as an integer of UTC microseconds or as RFC 3339 text.
fn instant<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Instant {
        Microseconds(i64),
        Text(String),
    }
    match Instant::deserialize(deserializer)? {
        Instant::Microseconds(value) => Ok(value),
        Instant::Text(text) => chrono::DateTime::parse_from_rfc3339(&text)
            .map(|time| time.timestamp_micros())
            .map_err(|_cause| serde::de::Error::custom("expected UTC microseconds or an RFC 3339 time")),
    }
}
