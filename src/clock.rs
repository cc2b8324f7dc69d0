//! Time as a value that tests can turn: UTC microseconds.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

pub const SECOND_US: i64 = 1_000_000;

/// The hub's only source of wall-clock time.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    /// Set in tests only: the time every reader sees.
    fixed: Option<Arc<AtomicI64>>,
}

impl Clock {
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that stands still until it is turned.
    pub fn fixed(now_us: i64) -> Self {
        Self { fixed: Some(Arc::new(AtomicI64::new(now_us))) }
    }

    /// Turns a fixed clock by so many microseconds, back or forth; a system clock ignores it.
    pub fn turn(&self, by_us: i64) {
        if let Some(fixed) = &self.fixed {
            fixed.fetch_add(by_us, Ordering::SeqCst);
        }
    }

    pub fn now_us(&self) -> i64 {
        match &self.fixed {
            Some(fixed) => fixed.load(Ordering::SeqCst),
            None => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX)),
        }
    }

    /// Time that never jumps, for how long something takes: an operator who sets the clock must neither end every
    /// running call nor let one run for ever. A fixed clock has one time only.
    pub fn steady_us(&self) -> i64 {
        static START: OnceLock<Instant> = OnceLock::new();
        match &self.fixed {
            Some(fixed) => fixed.load(Ordering::SeqCst),
            None => i64::try_from(START.get_or_init(Instant::now).elapsed().as_micros()).unwrap_or(i64::MAX),
        }
    }
}
