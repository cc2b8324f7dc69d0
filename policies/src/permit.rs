//! The right to go on, as a value: a `Permit` can only be made by a decision, and only from a `Caller`.

use std::sync::Arc;

use catalog::ResourceName;

use crate::grant::{GrantId, Operation};
use crate::sight::Sight;

/// What one caller may do with one resource in one call, and until when.
#[derive(Debug, Clone)]
pub struct Permit {
    pub(crate) resource: ResourceName,
    pub(crate) resource_version: u32,
    pub(crate) operation: Operation,
    /// None for the record, which needs no grant.
    pub(crate) grant: Option<(GrantId, u32)>,
    pub(crate) sight: Arc<Sight>,
    pub(crate) rows_per_answer_max: u64,
    pub(crate) rows_per_day_max: u64,
    pub(crate) calls_per_minute_max: u32,
    pub(crate) valid_until: i64,
    pub(crate) rules_version: String,
    pub(crate) personal: bool,
}

impl Permit {
    pub fn resource(&self) -> &ResourceName {
        &self.resource
    }

    pub fn resource_version(&self) -> u32 {
        self.resource_version
    }

    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// Grant and version this call is bound to; none for the record.
    pub fn grant(&self) -> Option<&(GrantId, u32)> {
        self.grant.as_ref()
    }

    pub fn sight(&self) -> &Arc<Sight> {
        &self.sight
    }

    pub fn rows_per_answer_max(&self) -> u64 {
        self.rows_per_answer_max
    }

    pub fn rows_per_day_max(&self) -> u64 {
        self.rows_per_day_max
    }

    pub fn calls_per_minute_max(&self) -> u32 {
        self.calls_per_minute_max
    }

    /// min(token, grant, deadline), UTC microseconds, exclusive; checked again at every batch.
    pub fn valid_until(&self) -> i64 {
        self.valid_until
    }

    /// Version of the rules that permitted it, for the record.
    pub fn rules_version(&self) -> &str {
        &self.rules_version
    }

    pub fn personal(&self) -> bool {
        self.personal
    }
}
