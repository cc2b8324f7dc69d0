//! Masks: how an item may be shown. Every mask is total: it answers for every value and never fails.

use serde::{Deserialize, Serialize};

/// How one output item is changed before anything else can see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Mask {
    /// A constant text for every value, set or not.
    Hide,
    /// The first n characters, then a constant tail (length says nothing about the value).
    KeepFirst(u8),
    /// A constant head, then the last n characters.
    KeepLast(u8),
    /// Keyed digest, stable per grantee department and purpose: links, does not tell.
    Pseudonym,
    /// A date or timestamp as 1 January of its year.
    Year,
    /// The first 2, 4 or 6 digits of a division code or of an ID number.
    RegionPrefix(u8),
    /// A number rounded down to a multiple.
    Bucket(u64),
}
