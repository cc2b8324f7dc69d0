//! Tongqu (通衢): who asks, in what order things happen, and what is on record.
//!
//! edges: [`api`], [`cli`], [`demo`] · flows: [`publish`], [`access`], [`query`], [`supervise`] · [`engine`] ·
//! record: [`acts`], [`audit`], [`store`], [`authn`], [`limits`], [`days`] · ground: [`config`], [`error`], [`clock`],
//! [`crypto`], [`process`], [`telemetry`], [`tls`]. ARCHITECTURE.md says who may import whom.

pub mod access;
pub mod acts;
pub mod api;
pub mod audit;
pub mod authn;
pub mod cli;
pub mod clock;
pub mod config;
pub mod crypto;
pub mod days;
pub mod demo;
pub mod engine;
pub mod error;
pub mod hub;
pub mod limits;
pub mod process;
pub mod publish;
pub mod query;
pub mod store;
pub mod supervise;
pub mod telemetry;
pub mod tls;
