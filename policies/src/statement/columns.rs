//! How large an expression becomes once the optimizer writes out the columns it refers to.
//!
//! `SELECT x + x AS x FROM (SELECT x + x AS x FROM …)` doubles at every level when a filter moves down, and planning
//! cannot be cancelled; so sizes are added up beforehand. The estimate is an upper bound, never exact.

use std::collections::BTreeMap;

/// Sizes, in nodes, of the columns a query offers.
#[derive(Debug, Clone, Default)]
pub(super) struct Columns {
    named: BTreeMap<String, u64>,
    other: u64,
}

impl Columns {
    /// A base relation: every column is one node.
    pub(super) fn base() -> Self {
        Self { named: BTreeMap::new(), other: 1 }
    }

    pub(super) fn size(&self, name: &str) -> u64 {
        self.named.get(name).copied().unwrap_or(self.other)
    }

    pub(super) fn add(&mut self, name: Option<String>, size: u64) {
        match name {
            Some(name) => {
                let entry = self.named.entry(name).or_default();
                *entry = size.max(*entry);
            }
            None => self.other = self.other.max(size),
        }
    }

    /// Columns of several relations side by side.
    pub(super) fn merge(&mut self, more: &Self) {
        for (name, size) in &more.named {
            self.add(Some(name.clone()), *size);
        }
        self.add(None, more.other);
    }

    /// Branches of a set operation: any column may come from either side.
    pub(super) fn overlay(&mut self, branch: &Self) {
        let size = branch.largest();
        self.named.values_mut().for_each(|own| *own = size.max(*own));
        self.add(None, size);
    }

    /// Columns under a list of new names; which is which no longer matters.
    pub(super) fn renamed(self, names: &[String]) -> Self {
        if names.is_empty() {
            return self;
        }
        let size = self.largest();
        Self { named: names.iter().map(|name| (name.clone(), size)).collect(), other: size }
    }

    fn largest(&self) -> u64 {
        self.named.values().copied().max().unwrap_or(0).max(self.other)
    }
}
