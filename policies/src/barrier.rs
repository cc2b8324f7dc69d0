//! What may be told when something fails below the barrier: a fixed text, never the inner one.
//!
//! INVARIANT: no error made here carries a value, a column, a path or a word of the source.

use datafusion_common::DataFusionError;
use thiserror::Error;

/// Why a running answer must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Stop {
    #[error("the grant was suspended or revoked")]
    Revoked,
    #[error("the permit has expired")]
    Expired,
    #[error("the deadline has passed")]
    Deadline,
    #[error("the hub is stopping")]
    Closing,
}

/// What went wrong below the barrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BarrierFault {
    /// The source failed; its own words stay below, the connector counts and logs them.
    #[error("the source could not be read, try again later")]
    Source,
    /// The source gave other columns than the catalogue entry declares.
    #[error("the source does not fit its catalogue entry, tell the provider")]
    Shape,
    /// The hub ended the stream.
    #[error("the answer was stopped: {0}")]
    Stopped(Stop),
}

/// Prefix of the fixed texts under `ResourcesExhausted`.
const CELL_TEXT: &str = "a cell is larger than 64 KiB, leave the item out";
const MEMORY_TEXT: &str = "the memory ceiling was reached below the barrier, ask for less";

impl BarrierFault {
    /// As an error of the query engine; [`BarrierFault::of`] finds it again.
    pub(crate) fn sealed(self) -> DataFusionError {
        DataFusionError::External(Box::new(self))
    }

    /// The fault inside an error of the query engine, however it was wrapped on its way up.
    pub fn of(error: &DataFusionError) -> Option<Self> {
        match error.find_root() {
            DataFusionError::External(cause) => cause.downcast_ref::<Self>().copied(),
            _ => None,
        }
    }
}

pub(crate) fn cell_too_large() -> DataFusionError {
    DataFusionError::ResourcesExhausted(CELL_TEXT.to_owned())
}

/// Replaces an error from below by a fixed one of the same kind.
pub(crate) fn sealed(error: &DataFusionError) -> DataFusionError {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(text) if text == CELL_TEXT => cell_too_large(),
        DataFusionError::ResourcesExhausted(_) => DataFusionError::ResourcesExhausted(MEMORY_TEXT.to_owned()),
        _ => BarrierFault::of(error).unwrap_or(BarrierFault::Source).sealed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_below_comes_through() {
        let check = |error: DataFusionError, expect: &str| {
            let sealed = sealed(&error);
            let told = format!("{sealed} {sealed:?}");
            assert!(!told.contains("CANARY"), "{told}");
            assert!(told.contains(expect), "{told}");
        };
        let canary = || "CANARY".to_owned();
        check(DataFusionError::Execution(canary()), "could not be read");
        check(DataFusionError::External(canary().into()), "could not be read");
        check(DataFusionError::ResourcesExhausted(canary()), "memory ceiling");
        check(cell_too_large().context(canary()), "64 KiB");
        check(BarrierFault::Shape.sealed().context(canary()), "catalogue entry");
        check(DataFusionError::Shared(BarrierFault::Stopped(Stop::Revoked).sealed().into()), "revoked");
    }
}
