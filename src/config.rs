//! The hub's configuration: one documented struct; unknown keys are errors with file and line.
//!
//! INVARIANT: this module alone reads the environment and configuration files.
//! Every input, list, query and queue has its ceiling here; `deploy/tongqu.toml` is the annotated default.

mod postgres;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use policies::statement::GateLimits;
use serde::{Deserialize, Serialize};

pub use postgres::{PostgresConfig, TlsMode};

/// Everything a deployment can set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub hub: HubConfig,
    pub sources: SourcesConfig,
    pub authn: AuthnConfig,
    pub limits: LimitsConfig,
    pub engine: EngineConfig,
    pub record: RecordConfig,
    pub gate: GateLimits,
    pub law: LawConfig,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HubConfig {
    /// Name of this hub: audience of tokens and origin of the record.
    pub id: String,
    pub listen: SocketAddr,
    /// Holds store, record and keys; relative paths are relative to the configuration file.
    pub directory: PathBuf,
    /// True says: TLS ends at a proxy in front; required to listen off loopback.
    pub behind_proxy: bool,
    /// Addresses of that proxy; only from them is `X-Forwarded-For` believed.
    pub proxies: Vec<std::net::IpAddr>,
    /// TLS of the hub's own.
    pub tls: Option<TlsConfig>,
    /// False keeps the process out of core dumps and away from debuggers of its own user.
    pub core_dumps: bool,
    /// IANA zone whose midnight ends a day (rows a day).
    pub zone: String,
    /// Departments, people and systems, read at start.
    pub organisation: Option<PathBuf>,
    /// Library files read at start beside the built-in ones' shapes.
    pub libraries: Vec<PathBuf>,
}

/// PEM files; their identity is looked at while the hub runs, so that a new pair needs no restart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The hub's own certificate first, then the chain to its authority.
    pub certificate: PathBuf,
    /// Its private key, mode 0600.
    pub key: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourcesConfig {
    /// Every file and database of a binding lies below this folder.
    pub root: PathBuf,
    /// One line of CSV, one record of JSON, one cell of SQLite, the text of one row of Arrow.
    pub line_bytes_max: usize,
    /// One record batch, or all dictionaries, of an Arrow file, uncompressed.
    pub arrow_batch_bytes_max: usize,
    /// Rows of the files of one resource that can be looked up in.
    pub index_rows_max: u64,
    /// For how long files that were looked at count as unchanged.
    pub fresh_ms: u64,
    /// PostgreSQL servers that departments may bind to, by name.
    pub postgres: Vec<PostgresConfig>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthnConfig {
    /// Time between two regular fetches of a `jwks_url`.
    pub refresh_s: u64,
    /// A token with an unknown key id asks its issuer at most so often.
    pub unknown_key_interval_s: u64,
    /// How long such a call waits for the answer.
    pub unknown_key_wait_ms: u64,
    /// Fetched keys count so long without being confirmed.
    pub keys_age_max_s: u64,
    pub fetch_timeout_ms: u64,
    pub key_set_bytes_max: usize,
    /// Issuers of people's tokens; last, as a table of tables ends the keys above.
    pub issuers: Vec<IssuerConfig>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// Exact `iss`.
    pub issuer: String,
    /// JWKS file with the issuer's public keys; read again when it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<PathBuf>,
    /// Where the issuer publishes them, in place of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    /// PEM file of the only authorities trusted for that URL; without it the machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Lets that URL lead to a private network.
    #[serde(default)]
    pub private_addresses: bool,
    /// Longest life of a token, `exp` − `iat`.
    #[serde(default = "one_hour")]
    pub life_max_s: u64,
    /// The demo's issuer: refused off loopback.
    #[serde(default)]
    pub demo: bool,
}

fn one_hour() -> u64 {
    3600
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    pub body_bytes_max: usize,
    pub header_bytes_max: usize,
    /// Open connections; one more waits in the listen queue.
    pub connections_max: usize,
    /// TLS handshakes in flight; one more ends the oldest.
    pub handshakes_max: usize,
    pub handshake_timeout_ms: u64,
    pub header_timeout_ms: u64,
    pub body_timeout_ms: u64,
    /// Calls a minute of one address without a valid token.
    pub unauthenticated_per_minute: u32,
    /// Calls a minute of one account over all its grants.
    pub account_per_minute: u32,
    /// Sealed detail (statements with parameters, long lists of keys) of one account.
    pub side_bytes_per_second: u32,
    /// Statements running at once; three times as many may be on their way beside them.
    pub queries_at_once: usize,
    pub lookups_at_once: usize,
    /// Answers streaming at once; each may hold a few megabytes for a client that reads slowly.
    pub streams_at_once: usize,
    /// How long a call may wait for its turn.
    pub queue_age_ms: u64,
    pub keys_per_lookup_max: usize,
    pub list_max: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineConfig {
    /// Memory all statements share.
    pub memory_bytes: usize,
    pub spill_bytes: u64,
    /// From arrival to the last row.
    pub deadline_ms: u64,
    /// Answers up to this size are held until their entry is durable; larger ones stream.
    pub held_bytes_max: usize,
    /// Largest answer that streams.
    pub stream_bytes_max: u64,
    /// A client that takes no bytes for so long is dropped.
    pub idle_timeout_ms: u64,
    pub threads: usize,
    pub thread_stack_bytes: usize,
    /// Rows a reviewer gets from the record in one answer.
    pub record_rows_max: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecordConfig {
    /// Entries waiting to be written; one more is `overloaded` at once.
    pub queue_max: usize,
    /// Entries made durable by one sync.
    pub batch_max: usize,
    /// How often tiles and checkpoint are written.
    pub publish_every_ms: u64,
    /// A write-ahead segment is replaced at the first publication beyond this size.
    pub segment_bytes_max: u64,
    /// Durable bytes not yet in tiles; beyond, nothing is answered until publishing works again.
    pub unpublished_bytes_max: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LawConfig {
    /// A deployment's own Cedar rules, checked against the schema at start.
    pub rules: Vec<PathBuf>,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            id: "tongqu.local".to_owned(),
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            directory: PathBuf::from("tongqu"),
            behind_proxy: false,
            proxies: Vec::new(),
            tls: None,
            core_dumps: false,
            zone: "Asia/Shanghai".to_owned(),
            organisation: None,
            libraries: Vec::new(),
        }
    }
}

impl Default for SourcesConfig {
    fn default() -> Self {
        Self {
            root: PathBuf::from("sources"),
            line_bytes_max: 1 << 20,
            arrow_batch_bytes_max: 128 << 20,
            index_rows_max: 50_000_000,
            fresh_ms: 100,
            postgres: Vec::new(),
        }
    }
}

impl Default for AuthnConfig {
    fn default() -> Self {
        Self {
            refresh_s: 300,
            unknown_key_interval_s: 30,
            unknown_key_wait_ms: 1_000,
            keys_age_max_s: 86_400,
            fetch_timeout_ms: 5_000,
            key_set_bytes_max: 65_536,
            issuers: Vec::new(),
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            body_bytes_max: 1 << 20,
            header_bytes_max: 32 << 10,
            connections_max: 10_000,
            handshakes_max: 256,
            handshake_timeout_ms: 5_000,
            header_timeout_ms: 10_000,
            body_timeout_ms: 10_000,
            unauthenticated_per_minute: 600,
            account_per_minute: 60_000,
            side_bytes_per_second: 4 << 20,
            queries_at_once: 8,
            lookups_at_once: 64,
            streams_at_once: 32,
            queue_age_ms: 2_000,
            keys_per_lookup_max: 1_000,
            list_max: 200,
        }
    }
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            memory_bytes: 512 << 20,
            spill_bytes: 2 << 30,
            deadline_ms: 30_000,
            held_bytes_max: 1 << 20,
            stream_bytes_max: 4 << 30,
            idle_timeout_ms: 30_000,
            threads: 2,
            thread_stack_bytes: 16 << 20,
            record_rows_max: 100_000,
        }
    }
}

impl Default for RecordConfig {
    fn default() -> Self {
        Self {
            queue_max: 1024,
            batch_max: 256,
            publish_every_ms: 1_000,
            segment_bytes_max: 4 << 20,
            unpublished_bytes_max: 64 << 20,
        }
    }
}

impl RecordConfig {
    /// What the log is opened with.
    pub fn limits(&self) -> crate::audit::Limits {
        crate::audit::Limits {
            queue_max: self.queue_max,
            batch_max: self.batch_max.max(1),
            publish_every: Duration::from_millis(self.publish_every_ms),
            segment_bytes_max: self.segment_bytes_max,
            unpublished_bytes_max: self.unpublished_bytes_max,
            ..crate::audit::Limits::default()
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("`{}` cannot be read: {cause}", path.display())]
    Read { path: PathBuf, cause: std::io::Error },
    #[error("`{}`: {cause}", path.display())]
    Parse { path: PathBuf, cause: Box<toml::de::Error> },
}

impl Config {
    /// Reads a file; paths in it become relative to its folder.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|cause| ConfigError::Read { path: path.to_owned(), cause })?;
        let mut config: Self = toml::from_str(&text)
            .map_err(|cause| ConfigError::Parse { path: path.to_owned(), cause: Box::new(cause) })?;
        let folder = path.parent().unwrap_or(Path::new("."));
        config.resolve(folder);
        Ok(config)
    }

    /// Makes every path absolute or relative to the working folder.
    fn resolve(&mut self, folder: &Path) {
        self.hub.directory = folder.join(&self.hub.directory);
        let directory = self.hub.directory.clone();
        self.sources.root = directory.join(&self.sources.root);
        for path in self.hub.organisation.iter_mut().chain(&mut self.hub.libraries).chain(&mut self.law.rules)
        {
            *path = folder.join(&*path);
        }
        for server in &mut self.sources.postgres {
            for path in server.password_file.iter_mut().chain(&mut server.ca_file) {
                *path = folder.join(&*path);
            }
        }
        for issuer in &mut self.authn.issuers {
            for path in issuer.jwks.iter_mut().chain(&mut issuer.ca) {
                *path = folder.join(&*path);
            }
        }
        if let Some(tls) = &mut self.hub.tls {
            tls.certificate = folder.join(&tls.certificate);
            tls.key = folder.join(&tls.key);
        }
    }

    pub fn store_path(&self) -> PathBuf {
        self.hub.directory.join("store.sqlite")
    }

    pub fn audit_directory(&self) -> PathBuf {
        self.hub.directory.join("audit")
    }

    pub fn days_path(&self) -> PathBuf {
        self.hub.directory.join("days.json")
    }

    pub fn keys_directory(&self) -> PathBuf {
        self.hub.directory.join("keys")
    }

    pub fn index_directory(&self) -> PathBuf {
        self.hub.directory.join("index")
    }

    pub fn spill_directory(&self) -> PathBuf {
        self.hub.directory.join("spill")
    }

    /// The doubtful set-ups that `tongqu check` and a start refuse, all at once.
    pub fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        let loopback = self.hub.listen.ip().is_loopback();
        if !loopback && !self.hub.behind_proxy && self.hub.tls.is_none() {
            doubts.push(format!(
                "`hub.listen` {} is off loopback without TLS; set `hub.tls`, or put a proxy in front and set `hub.behind_proxy`",
                self.hub.listen
            ));
        }
        if self.hub.tls.is_some() && self.limits.handshakes_max >= self.limits.connections_max {
            doubts.push(
                "`limits.handshakes_max` must be below `limits.connections_max`, or handshakes take every connection"
                    .to_owned(),
            );
        }
        if self.authn.issuers.iter().any(|issuer| issuer.demo) && !loopback {
            doubts
                .push("a demo issuer is configured off loopback; remove it from `authn.issuers`".to_owned());
        }
        for issuer in &self.authn.issuers {
            if issuer.demo && issuer.life_max_s > 12 * 3600 || !issuer.demo && issuer.life_max_s > 24 * 3600 {
                doubts
                    .push(format!("tokens of issuer `{}` live too long; lower `life_max_s`", issuer.issuer));
            }
        }
        if self.authn.refresh_s == 0 || self.authn.unknown_key_interval_s == 0 {
            doubts.push(
                "`authn.refresh_s` and `authn.unknown_key_interval_s` are 1 second at least".to_owned(),
            );
        }
        if self.hub.zone.parse::<chrono_tz::Tz>().is_err() {
            doubts.push(format!("`hub.zone` `{}` is no IANA time zone", self.hub.zone));
        }
        if self.hub.id.is_empty() || self.hub.id.len() > 128 || self.hub.id.contains(char::is_whitespace) {
            doubts.push("`hub.id` must be 1 to 128 characters without blanks".to_owned());
        }
        if self.engine.held_bytes_max > self.engine.memory_bytes {
            doubts.push("`engine.held_bytes_max` is larger than `engine.memory_bytes`".to_owned());
        }
        doubts.extend(postgres::doubts(&self.sources.postgres));
        doubts.extend(on_memory_disk(&self.hub.directory));
        doubts.extend(readable_by_others(&self.keys_directory()));
        doubts
    }
}

/// What the log shows: `TONGQU_LOG`, by default `info`. Never by default what a department's server says of itself.
pub fn log_filter() -> String {
    std::env::var("TONGQU_LOG")
        .unwrap_or_else(|_unset| "info,sqlx=warn,sqlx::postgres::notice=off".to_owned())
}

/// Where systemd waits for word of the start (`Type=notify`), and how often it wants a sign of life, in microseconds.
pub fn supervisor() -> Option<(std::ffi::OsString, Option<u64>)> {
    let socket = std::env::var_os("NOTIFY_SOCKET")?;
    let watchdog_us = std::env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok());
    Some((socket, watchdog_us))
}

/// A record on tmpfs is gone with the power.
fn on_memory_disk(directory: &Path) -> Option<String> {
    const TMPFS_MAGIC: i64 = 0x0102_1994;
    const RAMFS_MAGIC: i64 = 0x8584_58f6;
    let existing = directory.ancestors().find(|path| path.exists())?;
    let kind = rustix::fs::statfs(existing).ok()?.f_type;
    (kind == TMPFS_MAGIC || kind == RAMFS_MAGIC).then(|| {
        format!("`hub.directory` `{}` is on a memory disk; the record would not survive", directory.display())
    })
}

fn readable_by_others(keys: &Path) -> Vec<String> {
    use std::os::unix::fs::PermissionsExt;
    let Ok(entries) = std::fs::read_dir(keys) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.path().extension().is_none_or(|extension| extension != "vkey"))
        .filter_map(|entry| {
            let mode = entry.metadata().ok()?.permissions().mode();
            (mode & 0o077 != 0)
                .then(|| format!("key `{}` can be read by others; `chmod 600` it", entry.path().display()))
        })
        .collect()
}

#[cfg(test)]
mod tests;
