//! The one hub: everything a flow needs, opened in order and closed in order.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use catalog::{DepartmentId, Purposes};
use connectors::{PostgresConnection, PostgresTls, SourceLimits, Sources};
use policies::decide::Law;
use policies::{GrantId, PseudonymKey};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::{Draft, Kind, Log};
use crate::authn::Authn;
use crate::clock::Clock;
use crate::config::{Config, PostgresConfig, TlsMode};
use crate::crypto::Keys;
use crate::days;
use crate::engine::Engine;
use crate::limits::Limits;
use crate::store::Store;
use crate::telemetry::Metrics;
use crate::tls::Tls;

/// How often the certificate's files are looked at.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(2);

/// How often the rows of the day are kept: what a start after a crash reads of the record again.
const KEEP_DAYS_EVERY: Duration = Duration::from_secs(10);

/// All parts of a running hub. Flows take `&Hub`; there is no global state.
pub struct Hub {
    pub config: Config,
    pub clock: Clock,
    pub store: Store,
    pub log: Log,
    pub authn: Authn,
    pub law: Law,
    pub limits: Limits,
    pub engine: Engine,
    pub sources: Sources,
    pub keys: Keys,
    pub pseudonyms: PseudonymKey,
    pub purposes: Purposes,
    pub stops: Stops,
    pub metrics: Metrics,
    /// None speaks plain HTTP.
    pub tls: Option<Tls>,
    /// Cancelled when the hub begins to stop.
    pub closing: CancellationToken,
    /// Deliveries and records that must end before the log closes.
    pub work: TaskTracker,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("id", &self.config.hub.id).finish_non_exhaustive()
    }
}

/// Grants that were suspended or revoked since the start, with the version that did it: running answers
/// look here at every batch, new calls read the store.
#[derive(Debug, Default)]
pub struct Stops(RwLock<HashMap<GrantId, u32>>);

impl Stops {
    pub fn stop(&self, grant: &GrantId, version: u32) {
        if let Ok(mut stops) = self.0.write() {
            // The keeper may bring an older version after a newer one was put here: the newest counts.
            let newest = stops.entry(grant.clone()).or_default();
            *newest = version.max(*newest);
        }
    }

    /// Whether a permit made under this version of the grant has been overtaken.
    pub fn stopped(&self, grant: &GrantId, version: u32) -> bool {
        self.0.read().map_or(true, |stops| stops.get(grant).is_some_and(|stopped| *stopped > version))
    }
}

fn postgres(server: &PostgresConfig) -> PostgresConnection {
    PostgresConnection {
        name: server.name.clone(),
        host: server.host.clone(),
        port: server.port,
        database: server.database.clone(),
        user: server.user.clone(),
        password_file: server.password_file.clone(),
        tls: match server.tls {
            TlsMode::Disable => PostgresTls::Disable,
            TlsMode::VerifyFull => {
                PostgresTls::VerifyFull { ca_file: server.ca_file.clone().unwrap_or_default() }
            }
        },
        connections_max: server.connections_max,
        connect_timeout_ms: server.connect_timeout_ms,
        statement_timeout_ms: server.statement_timeout_ms,
        departments: server.departments.iter().map(|name| DepartmentId(name.clone())).collect(),
    }
}

impl Hub {
    /// Opens everything, recovers what a crash left, and puts the start on record.
    pub async fn open(config: Config, clock: Clock) -> anyhow::Result<Arc<Self>> {
        let doubts = config.doubts();
        anyhow::ensure!(doubts.is_empty(), "the configuration is refused:\n- {}", doubts.join("\n- "));
        let tls = config.hub.tls.as_ref().map(|files| Tls::open(files, clock.now_us())).transpose()?;
        std::fs::create_dir_all(&config.hub.directory)?;
        // Store, indexes and sources hold what only the hub may read.
        std::fs::set_permissions(&config.hub.directory, std::fs::Permissions::from_mode(0o700))?;
        let keys = Keys::open_or_create(&config.keys_directory(), &config.hub.id)?;
        let (log, recovery) = Log::open(
            &config.audit_directory(),
            keys.clone(),
            &config.hub.id,
            clock.clone(),
            config.record.limits(),
        )?;
        if recovery.cut_bytes > 0 {
            tracing::warn!(cut_bytes = recovery.cut_bytes, "a torn last write of the record was cut");
        }
        let store = Store::open(&config.store_path()).await?;
        store.recover(&log).await?;
        let zone = config.hub.zone.parse().map_err(|cause| anyhow::anyhow!("`hub.zone`: {cause}"))?;
        let limits = Limits::new(&config.limits, zone, clock.clone());
        limits.used_rows(days::used(&config.days_path(), &log, limits.today())?);
        let rules = config
            .law
            .rules
            .iter()
            .map(|path| Ok((path.display().to_string(), std::fs::read_to_string(path)?)))
            .collect::<std::io::Result<Vec<_>>>()?;
        let source_limits = SourceLimits {
            fresh_ms: config.sources.fresh_ms,
            line_bytes_max: config.sources.line_bytes_max,
            arrow_batch_bytes_max: config.sources.arrow_batch_bytes_max,
            index_rows_max: config.sources.index_rows_max,
            ..SourceLimits::default()
        };
        std::fs::create_dir_all(&config.sources.root)?;
        let hub = Self {
            authn: Authn::new(&config.hub.id, &config.authn, clock.clone())?,
            law: Law::load(&rules)?,
            engine: Engine::new(&config.engine, &config.gate, &config.spill_directory())?,
            sources: Sources::new(&config.sources.root, &config.index_directory(), source_limits)?
                .with_postgres(config.sources.postgres.iter().map(postgres).collect()),
            pseudonyms: PseudonymKey::master(&keys.pseudonym_master()),
            purposes: Purposes::embedded().map_err(|faults| anyhow::anyhow!("purposes: {faults:?}"))?,
            stops: Stops::default(),
            metrics: Metrics::new(tls.is_some())?,
            tls,
            closing: CancellationToken::new(),
            work: TaskTracker::new(),
            config,
            clock,
            store,
            log,
            limits,
            keys,
        };
        hub.log.append(hub.started(), None).await?;
        Ok(Arc::new(hub))
    }

    fn started(&self) -> Draft {
        Draft {
            account: "hub".to_owned(),
            department: "hub".to_owned(),
            account_kind: "hub".to_owned(),
            rules: self.law.version().to_owned(),
            operation: "start".to_owned(),
            code: "ok".to_owned(),
            store_revision: u64::try_from(self.store.revision()).ok(),
            ..Draft::new(Kind::Started)
        }
    }

    /// Once a second while the hub runs: windows to the record, pending changes, limiters, gauges.
    pub async fn keep(&self) {
        let mut tick = tokio::time::interval(std::time::Duration::from_secs(1));
        let mut seen = self.store.revision();
        let (mut kept_at, mut kept_size) = (Instant::now(), 0);
        loop {
            tokio::select! {
                _now = tick.tick() => {}
                () = self.closing.cancelled() => break,
            }
            self.limits.sweep();
            self.authn.keep();
            if let Err(cause) = self.store.retry(&self.log).await {
                tracing::warn!(%cause, "pending changes are not on record yet");
            }
            // Changes that landed late, or whose caller went away half-way, stop running answers too.
            let now = self.store.revision();
            match self.store.stopped_since(seen).await {
                Ok(grants) => {
                    grants.iter().for_each(|(grant, version)| self.stops.stop(grant, *version));
                    seen = now;
                }
                Err(cause) => tracing::warn!(%cause, "stopped grants cannot be read"),
            }
            self.record_windows().await;
            if kept_at.elapsed() >= KEEP_DAYS_EVERY && self.log.size() != kept_size {
                (kept_at, kept_size) = (Instant::now(), self.log.size());
                days::keep(&self.config.days_path(), &self.log, &self.limits);
            }
        }
    }

    /// While the hub runs: takes a new certificate soon after its files changed, or at once on SIGHUP.
    pub async fn keep_certificate(&self) {
        let Some(tls) = &self.tls else { return };
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => hangup,
            Err(cause) => {
                return tracing::error!(%cause, "SIGHUP cannot be waited for; certificates are not looked at");
            }
        };
        let mut tick = tokio::time::interval(LOOK_EVERY);
        loop {
            let asked = tokio::select! {
                _now = tick.tick() => false,
                _hung = hangup.recv() => true,
                () = self.closing.cancelled() => break,
            };
            if let Some(taken) = tls.look(self.clock.now_us(), asked) {
                self.metrics.certificate_looked_at(taken);
            }
        }
    }

    /// Failed sign-ins and shed calls since the last time, as one entry per source and kind.
    pub async fn record_windows(&self) {
        let counts = self.limits.take_windows();
        let mut unwritten = HashMap::new();
        for ((source, what), count) in counts {
            let draft = Draft {
                account: self.keys.digest(&source),
                operation: what.to_owned(),
                rows: Some(count),
                code: what.to_owned(),
                ..Draft::new(Kind::Window)
            };
            if self.log.append(draft, None).await.is_err() {
                unwritten.insert((source, what), count);
            }
        }
        self.limits.put_windows(unwritten);
    }

    /// Ready means: facts can be read and the record can be written.
    pub async fn ready(&self) -> Result<(), &'static str> {
        if self.closing.is_cancelled() {
            return Err("stopping");
        }
        if !self.log.health().writable {
            return Err("the record cannot be written");
        }
        if !self.store.answers().await {
            return Err("the store does not answer");
        }
        Ok(())
    }

    /// Stops: no new work, running deliveries end, windows and tiles are written.
    pub async fn close(&self, patience: std::time::Duration) {
        self.closing.cancel();
        self.work.close();
        if tokio::time::timeout(patience, self.work.wait()).await.is_err() {
            tracing::warn!("some answers did not end in time");
        }
        self.record_windows().await;
        days::keep(&self.config.days_path(), &self.log, &self.limits);
        self.log.close().await;
        self.store.close().await;
    }
}
