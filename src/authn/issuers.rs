//! The configured issuers and the keys that count now: read from a file or fetched by URL, exchanged without a restart.
//!
//! INVARIANT: a call never waits for an issuer, but for a key id nobody has seen, and then for `unknown_key_wait_ms`
//! at most. A set that cannot be read or fetched leaves the last good one in force, a fetched one until its age ends it.
//! INVARIANT: whoever remembers a checked signature compares `Issuers::version`: a key that is gone verifies nothing.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use tokio::sync::watch;

use super::fetch::{Door, FetchError};
use super::keys::{KeySet, KeysError};
use crate::clock::{Clock, SECOND_US};
use crate::config::{AuthnConfig, IssuerConfig};

/// Waiting time after a fetch that failed, where the regular one is longer.
const RETRY_US: i64 = 10 * SECOND_US;

/// Why an issuer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    #[error("issuer `{issuer}`: {cause}")]
    Keys { issuer: String, cause: KeysError },
    #[error("issuer `{issuer}`: {cause}")]
    Door { issuer: String, cause: FetchError },
    #[error("issuer `{0}` needs `jwks` or `jwks_url`, one of them")]
    NoKeys(String),
    #[error("issuer `{0}` is configured twice; keep one")]
    Twice(String),
}

/// Keys in force, and what a remembered signature is compared with.
pub struct InForce {
    pub set: KeySet,
    /// 1 and up; another number after every change of the set.
    pub version: u64,
    /// When the set was last seen to be the issuer's; of a file always now.
    seen_us: i64,
}

enum Source {
    File { path: PathBuf },
    Url { door: Door },
}

/// When what was asked for, and what is under way.
#[derive(Default)]
struct Asking {
    under_way: bool,
    next_us: i64,
    unknown_us: Option<i64>,
    /// The bytes in force, so that an unchanged set forgets no signature.
    text: Vec<u8>,
    file: Option<Stamp>,
}

/// What tells that a file is another one.
#[derive(PartialEq, Eq)]
struct Stamp(u64, u64, std::time::SystemTime);

/// One issuer of people's tokens.
pub struct Issuer {
    name: String,
    pub life_max_s: i64,
    source: Source,
    keys: RwLock<Arc<InForce>>,
    asking: Mutex<Asking>,
    /// Counts the fetches that ended.
    rounds: watch::Sender<u64>,
    times: Times,
    clock: Clock,
}

#[derive(Clone, Copy)]
struct Times {
    refresh_us: i64,
    age_max_us: i64,
    unknown_us: i64,
    wait: Duration,
}

/// All issuers by their exact `iss`.
pub struct Issuers(HashMap<String, Arc<Issuer>>);

impl Issuers {
    pub fn new(config: &AuthnConfig, clock: &Clock) -> Result<Self, IssuerError> {
        let mut issuers = HashMap::new();
        for one in &config.issuers {
            let issuer = Issuer::new(one, config, clock.clone())?;
            if issuers.insert(one.issuer.clone(), Arc::new(issuer)).is_some() {
                return Err(IssuerError::Twice(one.issuer.clone()));
            }
        }
        Ok(Self(issuers))
    }

    pub fn get(&self, iss: &str) -> Option<&Arc<Issuer>> {
        self.0.get(iss)
    }

    /// The version of an issuer's keys; 0 where `iss` is no configured issuer.
    pub fn version(&self, iss: &str) -> u64 {
        self.0.get(iss).map_or(0, |issuer| issuer.keys().version)
    }

    /// Once a second: looks at files, begins fetches that are due, ends sets that are too old. Never waits for an issuer.
    pub fn keep(&self) {
        for issuer in self.0.values() {
            issuer.clone().keep();
        }
    }
}

impl Issuer {
    fn new(one: &IssuerConfig, config: &AuthnConfig, clock: Clock) -> Result<Self, IssuerError> {
        let named = |cause| IssuerError::Keys { issuer: one.issuer.clone(), cause };
        let mut asking = Asking::default();
        let (source, set) = match (&one.jwks, &one.jwks_url) {
            (Some(path), None) => {
                asking.file = stamp(path);
                asking.text = read(path).map_err(named)?;
                (Source::File { path: path.clone() }, KeySet::parse(&asking.text).map_err(named)?)
            }
            (None, Some(_)) => {
                let door = Door::new(one, config)
                    .map_err(|cause| IssuerError::Door { issuer: one.issuer.clone(), cause })?;
                (Source::Url { door }, KeySet::default())
            }
            _ => return Err(IssuerError::NoKeys(one.issuer.clone())),
        };
        let micros = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(SECOND_US);
        let (rounds, _nobody_yet) = watch::channel(0);
        Ok(Self {
            name: one.issuer.clone(),
            life_max_s: i64::try_from(one.life_max_s).unwrap_or(i64::MAX),
            source,
            keys: RwLock::new(Arc::new(InForce { set, version: 1, seen_us: clock.now_us() })),
            asking: Mutex::new(asking),
            rounds,
            times: Times {
                refresh_us: micros(config.refresh_s),
                age_max_us: micros(config.keys_age_max_s),
                unknown_us: micros(config.unknown_key_interval_s),
                wait: Duration::from_millis(config.unknown_key_wait_ms),
            },
            clock,
        })
    }

    /// The keys that count now.
    pub fn keys(&self) -> Arc<InForce> {
        match self.keys.read() {
            Ok(keys) => keys.clone(),
            Err(poisoned) => poisoned.into_inner().clone(),
        }
    }

    /// The keys after an unknown key id was met: asked for again where that is due, waited for where an answer is
    /// under way.
    pub async fn keys_with(self: &Arc<Self>, kid: &str) -> Arc<InForce> {
        let keys = self.keys();
        if keys.set.get(kid).is_some() || !matches!(self.source, Source::Url { .. }) {
            return keys;
        }
        let mut rounds = self.rounds.subscribe();
        let known = async {
            // What was under way may have left the issuer before the key came; then it is asked once more.
            for _turn in 0..2 {
                if !self.begin(true) && !self.under_way() || rounds.changed().await.is_err() {
                    break;
                }
                if self.keys().set.get(kid).is_some() {
                    break;
                }
            }
        };
        let _late = tokio::time::timeout(self.times.wait, known).await;
        self.keys()
    }

    fn keep(self: Arc<Self>) {
        match &self.source {
            Source::File { path } => {
                let now = stamp(path);
                let changed = self.asking.lock().is_ok_and(|mut asking| {
                    let changed = asking.file != now;
                    asking.file = now;
                    changed
                });
                if changed {
                    self.take(
                        read(path).and_then(|text| Ok((KeySet::parse(&text)?, text))).map_err(Into::into),
                    );
                }
            }
            Source::Url { .. } => {
                self.age();
                self.begin(false);
            }
        }
    }

    /// Ends a fetched set that nobody has confirmed for too long.
    fn age(&self) {
        let keys = self.keys();
        let age_us = self.clock.now_us().saturating_sub(keys.seen_us);
        if age_us > self.times.age_max_us && !keys.set.is_empty() {
            tracing::error!(issuer = self.name, "its keys are too old to count; bring its `jwks_url` back");
            self.exchange(KeySet::default(), Vec::new());
        }
    }

    fn under_way(&self) -> bool {
        self.asking.lock().is_ok_and(|asking| asking.under_way)
    }

    /// Begins a fetch where one is due and none under way; whether it did.
    fn begin(self: &Arc<Self>, unknown: bool) -> bool {
        let now_us = self.clock.now_us();
        let Ok(mut asking) = self.asking.lock() else { return false };
        let due = if unknown {
            // A clock that was turned back must not keep a new key out.
            asking.unknown_us.is_none_or(|last| now_us.abs_diff(last) >= self.times.unknown_us.unsigned_abs())
        } else {
            now_us >= asking.next_us || asking.next_us.saturating_sub(now_us) > self.times.refresh_us
        };
        if !due || asking.under_way {
            return false;
        }
        asking.under_way = true;
        asking.next_us = now_us.saturating_add(self.times.refresh_us);
        if unknown {
            asking.unknown_us = Some(now_us);
        }
        drop(asking);
        let issuer = self.clone();
        tokio::spawn(async move { issuer.fetch().await });
        true
    }

    async fn fetch(self: Arc<Self>) {
        let Source::Url { door } = &self.source else { return };
        let _ends = Round(&self);
        let fetched = door.fetch().await;
        self.take(fetched.and_then(|text| Ok((KeySet::parse_lenient(&text)?, text))));
    }

    /// Puts what was read in force, or says why not.
    fn take(&self, read: Result<(KeySet, Vec<u8>), FetchError>) {
        match read {
            Ok((set, text)) => self.exchange_if_changed(set, text),
            Err(cause) => {
                tracing::warn!(issuer = self.name, %cause, "its keys cannot be read; the last good ones count on");
                if let Ok(mut asking) = self.asking.lock() {
                    let retry_us = self.clock.now_us().saturating_add(RETRY_US);
                    asking.next_us = asking.next_us.min(retry_us);
                }
            }
        }
    }

    fn exchange_if_changed(&self, set: KeySet, text: Vec<u8>) {
        let same = self.asking.lock().is_ok_and(|asking| asking.text == text);
        if !same {
            tracing::info!(issuer = self.name, keys = set.len(), left_out = set.left_out, "new keys");
            return self.exchange(set, text);
        }
        if let Ok(mut keys) = self.keys.write() {
            let version = keys.version;
            *keys = Arc::new(InForce { set, version, seen_us: self.clock.now_us() });
        }
    }

    fn exchange(&self, set: KeySet, text: Vec<u8>) {
        if let Ok(mut asking) = self.asking.lock() {
            asking.text = text;
        }
        if let Ok(mut keys) = self.keys.write() {
            let version = keys.version.wrapping_add(1);
            *keys = Arc::new(InForce { set, version, seen_us: self.clock.now_us() });
        }
    }
}

/// A fetch under way; however it ends, the next one may begin and who waits is told.
struct Round<'a>(&'a Issuer);

impl Drop for Round<'_> {
    fn drop(&mut self) {
        if let Ok(mut asking) = self.0.asking.lock() {
            asking.under_way = false;
        }
        self.0.rounds.send_modify(|rounds| *rounds = rounds.wrapping_add(1));
    }
}

fn stamp(path: &std::path::Path) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt;
    let found = std::fs::metadata(path).ok()?;
    Some(Stamp(found.ino(), found.len(), found.modified().ok()?))
}

/// A key set's bytes, up to a ceiling no sensible one reaches.
fn read(path: &std::path::Path) -> Result<Vec<u8>, KeysError> {
    use std::io::Read;
    let failed = |cause| KeysError::Read { path: path.to_owned(), cause };
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(super::keys::TEXT_BYTES_MAX + 1).read_to_end(&mut text).map_err(failed)?;
    Ok(text)
}
