//! Mutations of the record and of receipts: our verifier finds every one, outside verifiers those of the tree.
//!
//! A mutation counts when it changes what the files or the receipt say. Not counted: another spelling of the same JSON,
//! a receipt's `running` for `aborted` (both are the hub's word about a stream without an outcome), and the exact
//! files of an older checkpoint, which are a true record of an earlier time, or of a whole fork that the log's own key
//! signed; a kept checkpoint tells those apart. `TONGQU_SEED` and `TONGQU_ROUND` repeat what a failure names.

pub mod made;
mod million;
mod outside;
mod receipts;
mod record;

/// How many mutations to try: the short form, or `TONGQU_MUTATIONS`.
fn mutations(short: usize) -> usize {
    std::env::var("TONGQU_MUTATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(short)
}

/// The seed of a run, for repeating it: `TONGQU_SEED`, or a new one.
fn seed() -> u64 {
    std::env::var("TONGQU_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random)
}
