//! Rows of the day, kept beside the record so that a start reads its newest seconds and not a whole day of it.
//!
//! INVARIANT: never less than the record says: the entries counted are read before the rows are, so what was on its
//! way between is counted twice, never not at all. A file that is damaged, of another day or of another record than
//! there is counts for nothing, and the record is read as if there were none.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::audit::{Log, ReadError};
use crate::crypto::{hex, sha256};
use crate::limits::Limits;

/// What a hub writes every few seconds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// Entries of the record that are counted.
    entries: u64,
    /// SHA-256 of the last of them.
    last_sha256: String,
    /// `YYYYMMDD`.
    day: u64,
    /// By grant.
    rows: BTreeMap<String, u64>,
}

/// SHA-256 of the last of so many entries; none when there are not so many.
fn last_sha256(log: &Log, entries: u64) -> Option<String> {
    let index = entries.checked_sub(1).filter(|_| entries <= log.size())?;
    let (_, bytes) = log.entries(index..entries).next()?.ok()?;
    Some(hex(&sha256(&[&bytes])))
}

/// Rows of today by grant, from the file and the entries after it.
pub fn used(path: &Path, log: &Log, today: u64) -> Result<BTreeMap<String, u64>, ReadError> {
    let kept = std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
    let kept = kept.filter(|kept| last_sha256(log, kept.entries).as_ref() == Some(&kept.last_sha256));
    // A clock that went to another day and back left rows of today below it.
    let kept = kept.filter(|kept| kept.day == today);
    let mut rows = log.rows_by_grant(today, kept.as_ref().map_or(0, |kept| kept.entries))?;
    for (grant, count) in kept.into_iter().flat_map(|kept| kept.rows) {
        let sum: &mut u64 = rows.entry(grant).or_default();
        *sum = sum.saturating_add(count);
    }
    Ok(rows)
}

/// Writes the file anew; one that could not be written costs the next start time, nothing else.
pub fn keep(path: &Path, log: &Log, limits: &Limits) {
    // In this order: see the invariant.
    let entries = log.size();
    let Some(last_sha256) = last_sha256(log, entries) else { return };
    let (day, rows) = limits.rows_today();
    let draft = path.with_extension("new");
    let written = serde_json::to_vec(&Kept { entries, last_sha256, day, rows })
        .map_err(std::io::Error::other)
        .and_then(|bytes| std::fs::write(&draft, bytes))
        .and_then(|()| std::fs::rename(&draft, path));
    if let Err(cause) = written {
        tracing::warn!(%cause, "the rows of the day could not be kept; the next start reads them from the record");
    }
}
