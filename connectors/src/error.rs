//! What can go wrong between a binding and its bytes, in words that may be sent to anyone.
//!
//! INVARIANT: `Display` never shows a cell, a key or an absolute path; what the machine said is the `Cause`, for the log only.

use std::{error::Error, fmt};

use catalog::Faults;
use datafusion::error::DataFusionError;

/// What the driver or the operating system said: logged once, never sent.
#[derive(Debug)]
pub struct Cause(String);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Cause {}

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The bytes are missing, damaged or cannot be reached: a caller is told `source_unavailable`.
    #[error("the source cannot be read; ask its provider to repair it, then try again")]
    Unavailable(#[source] Cause),
    /// A file is not the one its key index was made for: `source_unavailable` until remounted.
    #[error("the source changed after it was mounted; ask its provider to publish it again")]
    Changed,
    /// What look-ups read was damaged on disk: `source_unavailable` once, the next one builds it again.
    #[error("the key index was damaged and is built again; try again")]
    IndexDamaged,
    /// The entry has no binding.
    #[error("the resource has no source yet; ask its provider to bind one")]
    Unmounted,
    /// The item is not a declared key, or of a type no key can have.
    #[error("`{0}` is not a key of the resource; look up by an item that is declared as a key")]
    NotKey(String),
    /// Source and items do not fit together; every fault, for the provider.
    #[error("the source does not fit the declared items; see the faults")]
    Mismatch(Faults),
    /// A ceiling of [`crate::SourceLimits`] was met.
    #[error("the source has {0}; split it or raise the ceiling in the configuration")]
    TooLarge(String),
    /// The answer of a look-up is larger than its ceiling.
    #[error("more than {rows_max} rows or {keys_max} keys in one look-up; ask for fewer keys")]
    TooManyRows { rows_max: usize, keys_max: usize },
    /// The path of the binding (as written in the entry) leads nowhere it may lead.
    #[error("path `{path}` {reason}")]
    Path { path: String, reason: &'static str },
    /// A record (the first is 1) that is not what its format asks for: `source_unavailable`.
    #[error("record {record} of a file {what}; repair the file and publish it again")]
    Damaged { record: u64, what: &'static str },
    /// The pool of the running statements has no room for what a reader must hold.
    #[error("the hub has too little memory for this source now; try again")]
    NoMemory,
    /// The statement ran into `statement_ms_max`.
    #[error("the source took too long to answer; narrow the question")]
    Deadline,
}

impl SourceError {
    pub(crate) fn unavailable(cause: impl fmt::Display) -> Self {
        Self::Unavailable(Cause(cause.to_string()))
    }

    /// The source error inside an error of a plan, if one of ours caused it.
    pub fn of(error: &DataFusionError) -> Option<&SourceError> {
        let mut at: &(dyn Error + 'static) = error;
        loop {
            if let Some(found) = at.downcast_ref::<SourceError>() {
                return Some(found);
            }
            // `External` hides its own box from `source()` when it wraps a boxed error, so look inside.
            if let Some(DataFusionError::External(inner)) = at.downcast_ref::<DataFusionError>()
                && let Some(found) = inner.downcast_ref::<SourceError>()
            {
                return Some(found);
            }
            if let Some(shared) = at.downcast_ref::<std::sync::Arc<DataFusionError>>() {
                at = shared.as_ref();
                continue;
            }
            at = at.source()?;
        }
    }

    pub(crate) fn into_plan_error(self) -> DataFusionError {
        match self {
            Self::NoMemory => DataFusionError::ResourcesExhausted(self.to_string()),
            other => DataFusionError::External(Box::new(other)),
        }
    }

    /// Turns any error of a plan over a source into one of ours; the text of others becomes the cause.
    pub(crate) fn hide(error: DataFusionError) -> DataFusionError {
        match error {
            kept @ DataFusionError::ResourcesExhausted(_) => kept,
            kept if Self::of(&kept).is_some() => kept,
            other => Self::unavailable(other).into_plan_error(),
        }
    }
}

impl From<std::io::Error> for SourceError {
    fn from(error: std::io::Error) -> Self {
        Self::unavailable(error)
    }
}

impl From<arrow::error::ArrowError> for SourceError {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::unavailable(error)
    }
}

impl From<parquet::errors::ParquetError> for SourceError {
    fn from(error: parquet::errors::ParquetError) -> Self {
        Self::unavailable(error)
    }
}

impl From<sqlx::Error> for SourceError {
    fn from(error: sqlx::Error) -> Self {
        Self::unavailable(error)
    }
}

/// Runs blocking work off the async threads; a panic inside (a decoder on damaged bytes) is an unavailable source.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(join) => Err(SourceError::unavailable(join)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_error_is_found_under_wrappers_and_says_nothing_of_its_cause() {
        let inner = SourceError::unavailable("cell 13800000000 at /srv/x").into_plan_error();
        let wrapped = DataFusionError::Context("outer".into(), Box::new(inner));
        let found = SourceError::of(&wrapped).expect("found");
        assert!(matches!(found, SourceError::Unavailable(_)));
        assert!(!found.to_string().contains("13800000000"));
        assert!(!wrapped.to_string().contains("/srv"));
        let hidden = SourceError::hide(DataFusionError::Execution("value 42".into()));
        assert!(!hidden.to_string().contains("42"), "{hidden}");
    }
}
