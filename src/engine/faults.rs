//! What went wrong in the engine, in the words of the answer table; causes go to the log without their text.
//!
//! Planning sees only what the caller may see, execution errors may carry values: neither text is sent.

use catalog::ResourceName;
use connectors::SourceError;
use datafusion::common::{DataFusionError, SchemaError};
use policies::statement::StatementFault;
use policies::{BarrierFault, Stop};

use crate::error::Error;

/// A statement that cannot be planned over the caller's tables.
pub(super) fn planning(cause: &DataFusionError) -> Error {
    match cause.find_root() {
        DataFusionError::SchemaError(fault, _) => match fault.as_ref() {
            SchemaError::FieldNotFound { .. } => Error::NotFound,
            SchemaError::AmbiguousReference { .. } => {
                Error::invalid("/sql", "a column name fits several tables; put the table's name before it")
            }
            _ => Error::invalid("/sql", "two columns have the same name; give each its own alias"),
        },
        DataFusionError::NotImplemented(_) => Error::StatementNotAllowed(
            "the statement uses a form the hub does not run; write it as plain joins and filters".to_owned(),
        ),
        DataFusionError::ResourcesExhausted(_) => Error::TooMuchMemory,
        DataFusionError::Plan(text) if names_missing_table(text) => Error::NotFound,
        // Folding a constant of the statement failed.
        DataFusionError::ArrowError(..) | DataFusionError::Execution(_) => Error::ExpressionFailed,
        DataFusionError::External(_) => execution(cause),
        root => {
            tracing::debug!(kind = kind(root), "a statement could not be planned");
            Error::invalid(
                "/sql",
                "the expressions do not fit together: check argument types, grouping and the number of columns",
            )
        }
    }
}

pub(super) fn parameters(cause: &DataFusionError) -> Error {
    tracing::debug!(kind = kind(cause.find_root()), "parameters do not fit");
    Error::invalid("/params", "the parameters do not fit their places in the statement")
}

pub fn statement(fault: StatementFault) -> Error {
    let text = fault.to_string();
    match fault {
        StatementFault::Syntax { .. } => Error::invalid("/sql", text),
        StatementFault::StatementNotAllowed(_) => Error::StatementNotAllowed(text),
        StatementFault::FunctionNotAllowed(_) => Error::FunctionNotAllowed(text),
        StatementFault::TooComplex(..) => Error::TooComplex(text),
    }
}

/// A running statement that failed.
pub(super) fn execution(cause: &DataFusionError) -> Error {
    if let Some(fault) = BarrierFault::of(cause) {
        return barrier(fault);
    }
    match cause.find_root() {
        DataFusionError::ResourcesExhausted(_) => Error::TooMuchMemory,
        root => {
            tracing::debug!(kind = kind(root), "an expression failed");
            Error::ExpressionFailed
        }
    }
}

pub(super) fn barrier(fault: BarrierFault) -> Error {
    match fault {
        BarrierFault::Source => Error::SourceUnavailable("the source cannot be read now; try again later"),
        BarrierFault::Shape => {
            Error::SourceUnavailable("the source does not fit its catalogue entry; tell its provider")
        }
        BarrierFault::Stopped(stop) => stopped(stop),
    }
}

pub fn stopped(stop: Stop) -> Error {
    match stop {
        Stop::Revoked | Stop::Expired => {
            Error::Conflict("the grant changed while the answer was made".to_owned())
        }
        Stop::Deadline => Error::Deadline,
        Stop::Closing => Error::Overloaded,
    }
}

fn names_missing_table(text: &str) -> bool {
    text.contains("not found") && (text.starts_with("table") || text.starts_with("failed to resolve"))
}

/// The kind of an engine error, without its text: texts may carry values.
fn kind(error: &DataFusionError) -> &'static str {
    match error {
        DataFusionError::ArrowError(..) => "arrow",
        DataFusionError::Plan(_) => "plan",
        DataFusionError::Internal(_) => "internal",
        DataFusionError::Execution(_) => "execution",
        DataFusionError::External(_) => "external",
        DataFusionError::SchemaError(..) => "schema",
        _ => "other",
    }
}

/// A source that cannot be opened or read: the caller learns that, the log which resource and why.
pub(super) fn source(name: &ResourceName, cause: &SourceError) -> Error {
    match cause {
        SourceError::TooManyRows { rows_max, .. } => {
            Error::TooManyRows { max: *rows_max as u64, unit: "rows" }
        }
        SourceError::NotKey(_) => Error::NotFound,
        SourceError::Deadline => Error::Deadline,
        SourceError::Changed => {
            Error::SourceUnavailable("the source changed under its index; its provider must publish it again")
        }
        _ => {
            tracing::warn!(resource = %name, cause = %cause, "a source cannot be read");
            Error::SourceUnavailable("the source cannot be read now; try again later")
        }
    }
}

/// A source that does not fit the entry its provider wants to publish: the provider learns everything.
pub(super) fn mount(cause: &SourceError) -> Error {
    match cause {
        SourceError::Mismatch(faults) => faults.clone().into(),
        other => Error::invalid("/binding", other.to_string()),
    }
}
