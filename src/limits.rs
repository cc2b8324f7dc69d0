//! Ceilings in time: who may come in, how often, how many at once, and how many rows a day.
//!
//! INVARIANT: every map and queue here is bounded; nothing here writes the store.
//! INVARIANT: a call takes a place at the door, before its body is read, and keeps it until its outcome is recorded:
//! what is present at once is bounded, and one call too many costs a glance.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock::Clock;
use crate::config::LimitsConfig;
use crate::error::Error;

type Keyed<K> =
    RateLimiter<K, DashMapStateStore<K>, governor::clock::DefaultClock, StateInformationMiddleware>;

const SOURCES_MAX: usize = 10_000;
const QUOTA_CLASSES_MAX: usize = 256;

/// What is left of a rate, for the `RateLimit` headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remaining {
    pub quota_per_minute: u32,
    pub remaining: u32,
}

/// Which lane a call runs in: lookups are short and go before statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    Lookup,
    Query,
    /// Reviewers are never behind a crowd of statements.
    Review,
    /// Answers that stream: who reads slowly holds buffers for long, and must not hold up statements meanwhile.
    Stream,
}

struct Seats {
    running: Arc<Semaphore>,
    /// Running and waiting together.
    present: Arc<Semaphore>,
    /// What one department may hold of both: half, so that no department keeps the others out.
    shares: Mutex<HashMap<String, Share>>,
    at_once: usize,
    present_max: usize,
}

type Share = (Arc<Semaphore>, Arc<Semaphore>);

impl Seats {
    fn new(at_once: usize, present_max: usize) -> Self {
        Self {
            running: Arc::new(Semaphore::new(at_once)),
            present: Arc::new(Semaphore::new(present_max)),
            shares: Mutex::new(HashMap::new()),
            at_once,
            present_max,
        }
    }

    /// A department's own semaphores: running, and running or waiting.
    fn share(&self, department: &str) -> Result<Share, Error> {
        let Ok(mut shares) = self.shares.lock() else { return Err(Error::Overloaded) };
        let half = |of: usize| Arc::new(Semaphore::new(of.div_ceil(2)));
        let share = shares
            .entry(department.to_owned())
            .or_insert_with(|| (half(self.at_once), half(self.present_max)));
        Ok(share.clone())
    }
}

/// A call's place in a lane, running or waiting, given back when dropped.
#[derive(Debug)]
pub struct Place {
    _held: [OwnedSemaphorePermit; 2],
}

/// The right to run in a lane, given back when dropped.
#[derive(Debug)]
pub struct Seat {
    _held: [OwnedSemaphorePermit; 2],
}

/// Counted failures and shed calls of one window, per source and reason.
pub type Windows = HashMap<(String, &'static str), u64>;

pub struct Limits {
    config: LimitsConfig,
    zone: chrono_tz::Tz,
    clock: Clock,
    failures: Keyed<IpAddr>,
    blocked: Mutex<HashMap<IpAddr, Instant>>,
    accounts: Keyed<String>,
    /// Sealed bytes beside an account's entries: few large ones must not crowd everybody's entries out of the record.
    sides: Keyed<String>,
    grants: Mutex<HashMap<u32, Arc<Keyed<String>>>>,
    rows: Mutex<HashMap<String, Days>>,
    windows: Mutex<Windows>,
    lookup: Seats,
    query: Seats,
    review: Seats,
    stream: Seats,
}

#[derive(Debug, Clone, Copy)]
struct Day {
    day: u64,
    rows: u64,
}

/// Days a grant's rows are counted for, used last first: a clock that jumps to another day and back must find its
/// count again, or every jump would be a new quota.
#[derive(Debug, Clone, Default)]
struct Days(Vec<Day>);

/// Days remembered for each grant.
const DAYS_MAX: usize = 4;

impl Days {
    /// The count of a day, which becomes the one used last.
    fn at(&mut self, day: u64) -> &mut Day {
        let found = self.0.iter().position(|one| one.day == day);
        let one = found.map_or(Day { day, rows: 0 }, |at| self.0.remove(at));
        self.0.truncate(DAYS_MAX - 1);
        self.0.insert(0, one);
        &mut self.0[0]
    }
}

impl std::fmt::Debug for Limits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limits").finish_non_exhaustive()
    }
}

impl Limits {
    pub fn new(config: &LimitsConfig, zone: chrono_tz::Tz, clock: Clock) -> Self {
        Self {
            failures: keyed(config.unauthenticated_per_minute),
            blocked: Mutex::new(HashMap::new()),
            accounts: keyed(config.account_per_minute),
            sides: RateLimiter::dashmap(sides(config.side_bytes_per_second))
                .with_middleware::<StateInformationMiddleware>(),
            grants: Mutex::new(HashMap::new()),
            rows: Mutex::new(HashMap::new()),
            windows: Mutex::new(HashMap::new()),
            lookup: Seats::new(config.lookups_at_once, config.lookups_at_once * 4),
            query: Seats::new(config.queries_at_once, config.queries_at_once * 4),
            review: Seats::new(2, 8),
            stream: Seats::new(config.streams_at_once, config.streams_at_once),
            config: config.clone(),
            zone,
            clock,
        }
    }

    pub fn config(&self) -> &LimitsConfig {
        &self.config
    }

    /// Before any signature is checked: an address that failed too often waits.
    pub fn admit(&self, source: IpAddr) -> Result<(), Error> {
        let Ok(mut blocked) = self.blocked.lock() else { return Err(Error::Overloaded) };
        match blocked.get(&source) {
            Some(until) if *until > Instant::now() => {
                let wait = until.saturating_duration_since(Instant::now()).as_secs() + 1;
                drop(blocked);
                self.count(source.to_string(), "shed");
                Err(Error::Rate { what: "too many calls without a valid token", retry_after_s: wait })
            }
            Some(_) => {
                blocked.remove(&source);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Counts a failed authentication of an address; too many block it for a while.
    pub fn failed(&self, source: IpAddr) {
        self.count(source.to_string(), "unauthenticated");
        if let Err(not_until) = self.failures.check_key(&source) {
            let wait = not_until
                .wait_time_from(governor::clock::Clock::now(&governor::clock::DefaultClock::default()));
            if let Ok(mut blocked) = self.blocked.lock() {
                if blocked.len() >= SOURCES_MAX {
                    blocked.clear();
                }
                blocked.insert(source, Instant::now() + wait);
            }
        }
    }

    /// Counts something that is recorded by the window, not one by one.
    pub fn count(&self, source: String, what: &'static str) {
        if let Ok(mut windows) = self.windows.lock() {
            let source = if windows.len() >= SOURCES_MAX { "other".to_owned() } else { source };
            *windows.entry((source, what)).or_default() += 1;
        }
    }

    /// The counts since the last call, for one entry.
    pub fn take_windows(&self) -> Windows {
        self.windows.lock().map(|mut windows| std::mem::take(&mut *windows)).unwrap_or_default()
    }

    /// Puts counts back whose entry could not be written.
    pub fn put_windows(&self, counts: Windows) {
        if let Ok(mut windows) = self.windows.lock() {
            for (key, count) in counts {
                *windows.entry(key).or_default() += count;
            }
        }
    }

    /// After authentication: the account's own rate.
    pub fn account(&self, account: &str) -> Result<Remaining, Error> {
        check(&self.accounts, account, self.config.account_per_minute, "the account's rate is used up")
    }

    /// The rate a grant fixes, one limiter per quota class.
    pub fn grant(&self, grant: &str, per_minute: u32) -> Result<Remaining, Error> {
        let limiter = {
            let Ok(mut classes) = self.grants.lock() else { return Err(Error::Overloaded) };
            if classes.len() >= QUOTA_CLASSES_MAX && !classes.contains_key(&per_minute) {
                classes.clear();
            }
            classes.entry(per_minute).or_insert_with(|| Arc::new(keyed(per_minute))).clone()
        };
        check(&limiter, grant, per_minute, "the grant's rate is used up")
    }

    /// `YYYYMMDD` in the hub's zone.
    pub fn today(&self) -> u64 {
        use chrono::{Datelike, TimeZone};
        match self.zone.timestamp_micros(self.clock.now_us()) {
            chrono::offset::LocalResult::Single(time) => {
                u64::from(time.year().unsigned_abs()) * 10_000 + u64::from(time.month() * 100 + time.day())
            }
            _ => 0,
        }
    }

    /// Takes rows from a grant's day before they leave; all or none.
    pub fn reserve_rows(&self, grant: &str, rows: u64, per_day_max: u64) -> Result<(), Error> {
        let today = self.today();
        let Ok(mut days) = self.rows.lock() else { return Err(Error::Overloaded) };
        let day = days.entry(grant.to_owned()).or_default().at(today);
        match day.rows.checked_add(rows).filter(|sum| *sum <= per_day_max) {
            Some(sum) => {
                day.rows = sum;
                Ok(())
            }
            None => {
                Err(Error::Limit { what: "the grant's rows of this day are used up", retry_after_s: 3600 })
            }
        }
    }

    /// Gives rows back that did not leave after all.
    pub fn return_rows(&self, grant: &str, rows: u64) {
        if let Ok(mut days) = self.rows.lock()
            && let Some(day) = days.get_mut(grant).and_then(|days| days.0.first_mut())
        {
            day.rows = day.rows.saturating_sub(rows);
        }
    }

    /// Rows taken today by grant, with the day (`YYYYMMDD`).
    pub fn rows_today(&self) -> (u64, std::collections::BTreeMap<String, u64>) {
        let today = self.today();
        let rows = self.rows.lock().map(|days| {
            let used = days.iter().filter_map(|(grant, days)| {
                let day = days.0.iter().find(|day| day.day == today && day.rows > 0)?;
                Some((grant.clone(), day.rows))
            });
            used.collect()
        });
        (today, rows.unwrap_or_default())
    }

    /// At start: what the record says was used today.
    pub fn used_rows(&self, used: impl IntoIterator<Item = (String, u64)>) {
        let today = self.today();
        if let Ok(mut days) = self.rows.lock() {
            for (grant, rows) in used {
                days.insert(grant, Days(vec![Day { day: today, rows }]));
            }
        }
    }

    fn lane(&self, lane: Lane) -> &Seats {
        match lane {
            Lane::Lookup => &self.lookup,
            Lane::Query => &self.query,
            Lane::Review => &self.review,
            Lane::Stream => &self.stream,
        }
    }

    /// A place in a lane, or `overloaded` at once: counted, since an entry for each would make a flood heavier.
    pub fn place(&self, lane: Lane, department: &str, account: &str) -> Result<Place, Error> {
        let seats = self.lane(lane);
        let (_, own) = seats.share(department)?;
        let held =
            own.try_acquire_owned().and_then(|own| Ok([own, seats.present.clone().try_acquire_owned()?]));
        held.map(|held| Place { _held: held }).map_err(|_full| {
            self.count(account.to_owned(), "overloaded");
            Error::Overloaded
        })
    }

    /// A seat in a lane, or `overloaded` when the wait for one takes too long.
    pub async fn seat(&self, lane: Lane, department: &str) -> Result<Seat, Error> {
        let seats = self.lane(lane);
        let (own_running, _) = seats.share(department)?;
        let both = async {
            let own = own_running.acquire_owned().await;
            (own, seats.running.clone().acquire_owned().await)
        };
        let wait = Duration::from_millis(self.config.queue_age_ms);
        match tokio::time::timeout(wait, both).await {
            Ok((Ok(own), Ok(running))) => Ok(Seat { _held: [own, running] }),
            _ => Err(Error::Overloaded),
        }
    }

    /// Bytes that an account wants sealed beside an entry.
    pub fn side(&self, account: &str, bytes: usize) -> Result<(), Error> {
        const WHAT: &str = "the account has sent too many long statements or lists of keys";
        let Some(bytes) = u32::try_from(bytes).ok().and_then(NonZeroU32::new) else { return Ok(()) };
        match self.sides.check_key_n(&account.to_owned(), bytes) {
            Ok(Ok(_state)) => Ok(()),
            Ok(Err(not_until)) => {
                let now = governor::clock::Clock::now(&governor::clock::DefaultClock::default());
                Err(Error::Rate { what: WHAT, retry_after_s: not_until.wait_time_from(now).as_secs() + 1 })
            }
            Err(_never) => Err(Error::TooLarge { what: "statement or list of keys", max: 0 }),
        }
    }

    /// Forgets limiters nobody used lately; called by the hub's keeper.
    pub fn sweep(&self) {
        self.failures.retain_recent();
        self.accounts.retain_recent();
        self.sides.retain_recent();
        if let Ok(classes) = self.grants.lock() {
            classes.values().for_each(|limiter| limiter.retain_recent());
        }
        if let Ok(mut blocked) = self.blocked.lock() {
            blocked.retain(|_, until| *until > Instant::now());
        }
    }
}

/// A rate with four seconds of it at once, and always room for one object of the largest size.
fn sides(per_second: u32) -> Quota {
    let largest = u32::try_from(crate::audit::SIDE_BYTES_MAX).unwrap_or(u32::MAX);
    let burst = NonZeroU32::new(per_second.saturating_mul(4).max(largest)).unwrap_or(NonZeroU32::MAX);
    Quota::per_second(NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN)).allow_burst(burst)
}

fn keyed<K: Clone + std::hash::Hash + Eq>(per_minute: u32) -> Keyed<K> {
    let quota = Quota::per_minute(NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN));
    RateLimiter::dashmap(quota).with_middleware::<StateInformationMiddleware>()
}

fn check(
    limiter: &Keyed<String>,
    key: &str,
    per_minute: u32,
    what: &'static str,
) -> Result<Remaining, Error> {
    match limiter.check_key(&key.to_owned()) {
        Ok(state) => {
            Ok(Remaining { quota_per_minute: per_minute, remaining: state.remaining_burst_capacity() })
        }
        Err(not_until) => {
            let now = governor::clock::Clock::now(&governor::clock::DefaultClock::default());
            Err(Error::Rate { what, retry_after_s: not_until.wait_time_from(now).as_secs() + 1 })
        }
    }
}

#[cfg(test)]
#[path = "limits/tests.rs"]
mod tests;
