//! Row scope: a small typed predicate over items, literals and caller attributes. No SQL text is ever spliced.

use serde::{Deserialize, Serialize};

/// What a row must satisfy to exist for the caller (three-valued logic: unknown hides the row).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Scope {
    /// `{"all": [ … ]}`
    All(Vec<Scope>),
    /// `{"any": [ … ]}`
    Any(Vec<Scope>),
    /// `{"not": … }`
    Not(Box<Scope>),
    /// `{"is_null": "death_date"}`
    IsNull(String),
    /// `{"compare": {"item": "residence_code", "op": "like_prefix", "value": "64"}}`
    Compare(Comparison),
    /// `{"in": {"item": "status", "values": ["1", "2"]}}`
    In { item: String, values: Vec<Value> },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    pub item: String,
    pub op: ComparisonOp,
    pub value: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ComparisonOp {
    #[serde(rename = "=")]
    Eq,
    #[serde(rename = "<>")]
    NotEq,
    #[serde(rename = "<")]
    Lt,
    #[serde(rename = "<=")]
    LtEq,
    #[serde(rename = ">")]
    Gt,
    #[serde(rename = ">=")]
    GtEq,
    #[serde(rename = "like_prefix")]
    LikePrefix,
}

/// A literal, or an attribute of the caller: `{"caller": "region_code"}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    Caller { caller: String },
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(String),
}
