//! The attack list through REST: hidden rows and columns stay hidden, whatever is asked, and the hub stays up.
//!
//! Every case is asked of the same rows in Parquet, CSV, JSON, Arrow and SQLite under a grant that hides part of them, and of a
//! copy that physically holds only what the grant shows: status and body must be the same bytes, failures included.
//! After each case the hub is ready and another department's query answers; at the end every call has exactly
//! one entry with its outcome, and no canary is in bodies, headers, metrics, receipts, the record's files or the log.

mod bypass;
mod edges;
mod exhaustion;
pub mod fixture;
mod lookups;
mod metadata;
mod more;
mod own;
mod pressure;
mod range;
pub mod scan;
mod wire;
mod writes;
