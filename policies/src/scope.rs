//! Row scope: a small typed predicate over items, literals and caller attributes. No SQL text is ever spliced.
//!
//! INVARIANT: a row is kept only when its scope is TRUE; unknown hides it, also under `not`.
//! INVARIANT: an unset caller attribute refuses the whole scope, also under `not` and `any`.
//! INVARIANT: a bound scope is total: comparisons of one item with literals of its own type, nothing that can fail.

use catalog::{Faults, Resource};
use serde::{Deserialize, Serialize};

mod bound;
mod literal;

pub use bound::{BoundScope, ScopeFault};

/// How deep a scope may nest.
pub const DEPTH_MAX: usize = 8;
/// How many nodes a scope may have.
pub const NODES_MAX: usize = 64;
/// How many values an `in` may list.
pub const VALUES_MAX: usize = 256;
/// How long a text in a scope may be, in characters.
pub const TEXT_CHARS_MAX: usize = 256;
/// Attributes of the caller that a scope may name.
pub const CALLER_ATTRIBUTES: [&str; 3] = ["region_code", "department", "account"];

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

impl ComparisonOp {
    /// The operator as it is written in a scope.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Eq => "=",
            Self::NotEq => "<>",
            Self::Lt => "<",
            Self::LtEq => "<=",
            Self::Gt => ">",
            Self::GtEq => ">=",
            Self::LikePrefix => "like_prefix",
        }
    }
}

impl Scope {
    /// Everything wrong with this scope for a resource; `pointer` is where the scope stands in the input.
    pub fn faults(&self, resource: &Resource, pointer: &str) -> Faults {
        let mut faults = Faults::default();
        if self.nodes() > NODES_MAX {
            faults.add(pointer, format!("a scope may have at most {NODES_MAX} parts, make it simpler"));
            return faults;
        }
        self.collect(resource, pointer, 1, &mut faults);
        faults
    }

    /// Counts parts, but stops below the deepest allowed level: what is deeper is a fault of its own.
    fn nodes(&self) -> usize {
        fn count(scope: &Scope, depth: usize) -> usize {
            if depth > DEPTH_MAX {
                return 1;
            }
            match scope {
                Scope::All(parts) | Scope::Any(parts) => {
                    parts.iter().map(|part| count(part, depth + 1)).sum::<usize>() + 1
                }
                Scope::Not(part) => count(part, depth + 1) + 1,
                _ => 1,
            }
        }
        count(self, 1)
    }

    fn collect(&self, resource: &Resource, pointer: &str, depth: usize, faults: &mut Faults) {
        if depth > DEPTH_MAX {
            faults.add(pointer, format!("a scope may nest at most {DEPTH_MAX} deep, make it flatter"));
            return;
        }
        match self {
            Self::All(parts) | Self::Any(parts) => {
                let name = if matches!(self, Self::All(_)) { "all" } else { "any" };
                if parts.is_empty() {
                    faults.add(
                        format!("{pointer}/{name}"),
                        format!("`{name}` is empty, give at least one part"),
                    );
                }
                for (index, part) in parts.iter().enumerate() {
                    part.collect(resource, &format!("{pointer}/{name}/{index}"), depth + 1, faults);
                }
            }
            Self::Not(part) => part.collect(resource, &format!("{pointer}/not"), depth + 1, faults),
            Self::IsNull(item) => {
                if resource.item(item).is_none() {
                    faults.add(format!("{pointer}/is_null"), unknown_item(item));
                }
            }
            Self::Compare(comparison) => {
                comparison.collect(resource, &format!("{pointer}/compare"), faults);
            }
            Self::In { item, values } => {
                let pointer = format!("{pointer}/in");
                if values.is_empty() || values.len() > VALUES_MAX {
                    let text = format!("`in` takes 1 to {VALUES_MAX} values");
                    faults.add(format!("{pointer}/values"), text);
                    return;
                }
                let Some(item) = resource.item(item) else {
                    faults.add(format!("{pointer}/item"), unknown_item(item));
                    return;
                };
                for (index, value) in values.iter().enumerate() {
                    if let Err(text) = literal::check(item, ComparisonOp::Eq, value) {
                        faults.add(format!("{pointer}/values/{index}"), text);
                    }
                }
            }
        }
    }
}

impl Comparison {
    fn collect(&self, resource: &Resource, pointer: &str, faults: &mut Faults) {
        match resource.item(&self.item) {
            None => faults.add(format!("{pointer}/item"), unknown_item(&self.item)),
            Some(item) => {
                if let Err(text) = literal::check(item, self.op, &self.value) {
                    faults.add(format!("{pointer}/value"), text);
                }
            }
        }
    }
}

fn unknown_item(name: &str) -> String {
    let name: String = name.chars().take(64).collect();
    format!("the resource has no item `{name}`, use one of its items")
}

#[cfg(test)]
mod tests;
