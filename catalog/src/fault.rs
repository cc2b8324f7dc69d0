//! A fault is one thing wrong with an input, and where: checks collect all of them, never only the first.

use serde::Serialize;

/// One thing wrong, at a JSON pointer (RFC 6901) into the input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// JSON pointer, e.g. `/items/3/type`; empty for the whole input.
    pub pointer: String,
    /// Lower case, no full stop, user input in backticks, says what to do next.
    pub message: String,
}

/// Every fault of one input; empty means good.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    pub fn add(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        self.0.push(Fault { pointer: pointer.into(), message: message.into() });
    }

    /// `Ok(value)` when nothing is wrong, else all faults.
    pub fn or<T>(self, value: T) -> Result<T, Faults> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }
}
