//! Who may see which part of a resource, for what purpose: callers, grants, decisions and the one gate before a table.
//!
//! INVARIANT: no I/O, no clock, no panic: time, keys and facts come in as values.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod caller;
pub mod grant;
pub mod mask;
pub mod scope;

pub use caller::{AccountKind, Caller, Identity, Role};
pub use grant::{Grant, GrantId, GrantState, Operation, OutputItem, StandingKind, Terms};
pub use mask::Mask;
pub use scope::{Comparison, Scope, Value};
