//! What a caller says about a call: operation, purpose, case, and who stands behind it.

use catalog::{Resource, ResourceName};
use serde::{Deserialize, Serialize};

use crate::grant::{Operation, StandingKind};

/// Who stands behind one call: at most one of the three is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Account of a human operator of the calling department.
    Operator(String),
    /// A named terminal or channel where the applicant stands.
    Terminal(String),
    /// A named automatic rule.
    Rule(String),
}

impl Standing {
    /// The kind a grant must allow.
    pub fn kind(&self) -> StandingKind {
        match self {
            Self::Operator(_) => StandingKind::Operator,
            Self::Terminal(_) => StandingKind::Terminal,
            Self::Rule(name) => StandingKind::Rule(name.clone()),
        }
    }
}

impl StandingKind {
    /// As the rules compare it: `operator`, `terminal`, `rule:<name>`.
    pub fn text(&self) -> String {
        match self {
            Self::Operator => "operator".to_owned(),
            Self::Terminal => "terminal".to_owned(),
            Self::Rule(name) => format!("rule:{name}"),
        }
    }
}

/// One call on one resource, ready to be decided.
#[derive(Debug, Clone)]
pub struct Ask<'a> {
    pub operation: Operation,
    pub purpose: &'a str,
    pub case_named: bool,
    pub standing: Option<&'a Standing>,
    pub resource: &'a Resource,
    pub resource_version: u32,
    /// Every other resource in the same call.
    pub beside: Vec<&'a Resource>,
    pub now_us: i64,
    /// Deadline of the call: a permit never outlives it.
    pub deadline_us: i64,
}

impl Ask<'_> {
    pub(crate) fn beside_names(&self) -> Vec<ResourceName> {
        self.beside.iter().map(|resource| resource.name.clone()).collect()
    }

    pub(crate) fn beside_guarded(&self) -> Vec<ResourceName> {
        self.beside
            .iter()
            .filter(|resource| resource.personal() && resource.class == catalog::SharingClass::Conditional)
            .map(|resource| resource.name.clone())
            .collect()
    }
}
