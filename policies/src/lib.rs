//! Who may see which part of a resource, for what purpose: callers, grants, decisions and the one gate before a table.
//!
//! INVARIANT: no I/O, no clock, no panic: time, keys and facts come in as values.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod ask;
pub mod barrier;
pub mod caller;
mod civil;
pub mod decide;
#[cfg(test)]
mod fixture;
pub mod functions;
pub mod governed;
pub mod grant;
pub mod mask;
pub mod permit;
pub mod plan;
pub mod scope;
pub mod sight;
pub mod statement;
pub mod terms;

pub use barrier::{BarrierFault, Stop};
pub use caller::{AccountKind, Caller, Identity, Role};
pub use functions::{Functions, registry};
pub use governed::{Check, GovernedTable, is_governed, is_governed_source};
pub use grant::{Grant, GrantId, GrantState, Operation, OutputItem, StandingKind, Terms};
pub use mask::{Mask, PseudonymKey};
pub use permit::Permit;
pub use plan::check_plan;
pub use scope::{BoundScope, Comparison, ComparisonOp, Scope, ScopeFault, Value};
pub use sight::{Sight, SightFault};
pub use statement::{CheckedStatement, GateLimits, Limit, Relation, StatementFault, check};
