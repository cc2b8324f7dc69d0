//! Masks: how an item may be shown. Every mask is total: it answers for every value and never fails.
//!
//! INVARIANT: what is shown of a value depends on that value alone, never on the column, the batch or other rows.
//! INVARIANT: characters are counted, not bytes; no mask shows a whole value that it was meant to cut.

use arrow::datatypes::DataType;
use catalog::{Fault, ItemType};
use serde::{Deserialize, Serialize};

mod apply;
mod pseudonym;

pub use apply::MaskFault;
pub use pseudonym::PseudonymKey;

/// What stands for the hidden part: always the same length.
pub const STARS: &str = "***";
/// The widest bucket: beyond it a float no longer counts in ones.
pub const BUCKET_WIDTH_MAX: u64 = 1_000_000_000_000;

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

impl Mask {
    /// The Arrow type an item of `item_type` is shown in, or why the mask does not fit it.
    ///
    /// The fault's pointer is empty: the caller knows where the mask stands.
    pub fn output_type(&self, item_type: ItemType) -> Result<DataType, Fault> {
        let fault = |message: String| Err(Fault { pointer: String::new(), message });
        match self {
            Self::Hide => Ok(DataType::Utf8),
            Self::KeepFirst(0) | Self::KeepLast(0) => {
                fault(format!("`{}` keeps at least 1 character, use `hide` to keep none", self.name()))
            }
            Self::RegionPrefix(digits) if !matches!(digits, 2 | 4 | 6) => {
                fault("`region_prefix` keeps 2 (province), 4 (city) or 6 (county) digits".to_owned())
            }
            Self::Bucket(width) if *width < 1 || *width > BUCKET_WIDTH_MAX => {
                fault(format!("`bucket` takes a width from 1 to {BUCKET_WIDTH_MAX}"))
            }
            _ if self.fits(item_type) => Ok(item_type.arrow()),
            _ => fault(format!("`{}` does not fit this item, it is for {}", self.name(), self.wants())),
        }
    }

    /// The mask's name as it is written in terms.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hide => "hide",
            Self::KeepFirst(_) => "keep_first",
            Self::KeepLast(_) => "keep_last",
            Self::Pseudonym => "pseudonym",
            Self::Year => "year",
            Self::RegionPrefix(_) => "region_prefix",
            Self::Bucket(_) => "bucket",
        }
    }

    fn fits(&self, item_type: ItemType) -> bool {
        match self {
            Self::Hide => true,
            Self::KeepFirst(_) | Self::KeepLast(_) | Self::Pseudonym | Self::RegionPrefix(_) => {
                item_type == ItemType::Text
            }
            Self::Year => matches!(item_type, ItemType::Date | ItemType::Timestamp),
            Self::Bucket(_) => matches!(item_type, ItemType::Integer | ItemType::Decimal | ItemType::Float),
        }
    }

    fn wants(&self) -> &'static str {
        match self {
            Self::Hide => "any item",
            Self::KeepFirst(_) | Self::KeepLast(_) | Self::Pseudonym | Self::RegionPrefix(_) => "text",
            Self::Year => "dates and timestamps",
            Self::Bucket(_) => "integers, decimals and floats",
        }
    }
}

#[cfg(test)]
mod tests;
