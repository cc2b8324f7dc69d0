//! TLS handshakes in flight: few, short, and the newest goes before the oldest.
//!
//! INVARIANT: at most `handshakes_max` are in flight. One more ends the oldest: an honest handshake is over in
//! milliseconds, so whoever holds many open pushes out its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::config::LimitsConfig;

/// Why a handshake gave no connection; also the label of its metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Failed,
    TooSlow,
    Displaced,
}

impl Ended {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::TooSlow => "too_slow",
            Self::Displaced => "displaced",
        }
    }
}

/// Those in flight, oldest first.
#[derive(Debug)]
pub struct Handshakes {
    running: Mutex<Running>,
    max: usize,
    timeout: Duration,
}

#[derive(Debug, Default)]
struct Running {
    next: u64,
    by_age: BTreeMap<u64, CancellationToken>,
}

impl Handshakes {
    pub fn new(limits: &LimitsConfig) -> Self {
        let timeout = Duration::from_millis(limits.handshake_timeout_ms);
        Self { running: Mutex::default(), max: limits.handshakes_max.max(1), timeout }
    }

    /// A place for one more; taken where connections are accepted, since tasks begin in any order.
    pub fn enter(self: &Arc<Self>) -> Turn {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        while running.by_age.len() >= self.max {
            if let Some((_, oldest)) = running.by_age.pop_first() {
                oldest.cancel();
            }
        }
        let (id, displaced) = (running.next, CancellationToken::new());
        running.next += 1;
        running.by_age.insert(id, displaced.clone());
        Turn { of: self.clone(), id, displaced }
    }
}

/// One handshake's place, given back when it ends in whatever way.
#[derive(Debug)]
pub struct Turn {
    of: Arc<Handshakes>,
    id: u64,
    displaced: CancellationToken,
}

impl Turn {
    /// Runs the handshake within its ceilings.
    pub async fn run<T>(self, handshake: impl Future<Output = std::io::Result<T>>) -> Result<T, Ended> {
        tokio::select! {
            () = self.displaced.cancelled() => Err(Ended::Displaced),
            done = tokio::time::timeout(self.of.timeout, handshake) => match done {
                Ok(done) => done.map_err(|_cause| Ended::Failed),
                Err(_slow) => Err(Ended::TooSlow),
            },
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.of.running.lock().unwrap_or_else(PoisonError::into_inner).by_age.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handshakes(max: usize, timeout_ms: u64) -> Arc<Handshakes> {
        Arc::new(Handshakes::new(&LimitsConfig {
            handshakes_max: max,
            handshake_timeout_ms: timeout_ms,
            ..LimitsConfig::default()
        }))
    }

    #[tokio::test]
    async fn one_more_ends_the_oldest_and_nobody_else() {
        let of = handshakes(2, 60_000);
        let forever = || of.enter().run(std::future::pending::<std::io::Result<()>>());
        let (mut first, mut second) = (Box::pin(forever()), Box::pin(forever()));
        for one in [&mut first, &mut second] {
            assert!(futures::poll!(one).is_pending());
        }
        assert_eq!(of.enter().run(async { Ok(7) }).await, Ok(7));
        assert_eq!(first.await, Err(Ended::Displaced));
        assert!(futures::poll!(&mut second).is_pending());
        drop(second);
        assert!(of.running.lock().expect("whole").by_age.is_empty());
    }

    #[tokio::test]
    async fn a_slow_one_ends_and_a_broken_one_says_so() {
        let of = handshakes(2, 1);
        assert_eq!(of.enter().run(std::future::pending::<std::io::Result<()>>()).await, Err(Ended::TooSlow));
        let broken = async { Err::<(), _>(std::io::Error::other("no TLS")) };
        assert_eq!(of.enter().run(broken).await, Err(Ended::Failed));
    }
}
