//! Who asks. A `Caller` exists only after a token was verified and the store was read.

use std::collections::{BTreeMap, BTreeSet};

use catalog::DepartmentId;
use serde::{Deserialize, Serialize};

/// What an account may do in its department or in the hub; provider and consumer are not roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// 经办: asks for data, drafts, applies.
    Operator,
    /// 部门负责人: signs catalogue entries (art. 13).
    Head,
    /// 工作机构负责人: signs applications and answers (art. 20).
    SharingHead,
    /// 主管部门: supervises; never grants in a provider's place.
    Authority,
    /// Security administrator: classification, masks, policies.
    SecurityAdmin,
    /// System administrator: runs the hub, never sees payload.
    SystemAdmin,
    /// Security reviewer = audit administrator: reads the record, changes nothing.
    Reviewer,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Head => "head",
            Self::SharingHead => "sharing-head",
            Self::Authority => "authority",
            Self::SecurityAdmin => "security-admin",
            Self::SystemAdmin => "system-admin",
            Self::Reviewer => "reviewer",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountKind {
    Person,
    /// 信息系统: a machine identity owned by a department.
    System,
    /// The hub itself, for maintenance.
    Hub,
}

/// The facts a `Caller` is made of: the account from the token, everything else from the store.
#[derive(Debug, Clone)]
pub struct Identity {
    pub account: String,
    pub kind: AccountKind,
    pub department: DepartmentId,
    pub roles: BTreeSet<Role>,
    /// Attributes a row scope may name as `caller.…`; `region_code` and `department` are always set.
    pub attributes: BTreeMap<String, String>,
    /// UTC microseconds after which this identity no longer holds (token expiry).
    pub valid_until: i64,
}

/// An authenticated caller acting for one department.
#[derive(Debug, Clone)]
pub struct Caller(Identity);

impl Caller {
    /// The one way to a `Caller`. Called in `src/authn.rs` only (kept by `tests/tidy.rs`).
    pub fn verified(identity: Identity) -> Self {
        Self(identity)
    }

    /// Whether another caller is the same account with the same post, roles and attributes; tokens may differ.
    pub fn same(&self, other: &Self) -> bool {
        let Identity { account, kind, department, roles, attributes, valid_until: _ } = &self.0;
        let other = &other.0;
        (account, kind, department, roles, attributes)
            == (&other.account, &other.kind, &other.department, &other.roles, &other.attributes)
    }

    pub fn account(&self) -> &str {
        &self.0.account
    }

    pub fn kind(&self) -> AccountKind {
        self.0.kind
    }

    pub fn department(&self) -> &DepartmentId {
        &self.0.department
    }

    pub fn roles(&self) -> &BTreeSet<Role> {
        &self.0.roles
    }

    pub fn has(&self, role: Role) -> bool {
        self.0.roles.contains(&role)
    }

    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.0.attributes.get(name).map(String::as_str)
    }

    pub fn valid_until(&self) -> i64 {
        self.0.valid_until
    }
}
