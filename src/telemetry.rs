//! Metrics and log set-up. Telemetry is not the record: it may be filtered, and it never carries personal data.
//!
//! INVARIANT: labels are codes, operations, steps and status classes, never ids, names or values.

use std::time::Instant;

use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

/// A step of the straight line, as `tongqu_step_seconds` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Admit,
    Authenticate,
    Parse,
    Resolve,
    Decide,
    /// For a seat in the lane.
    Wait,
    Open,
    Plan,
    /// Rows by key, governed.
    Execute,
    /// Rows of a statement as they are made, governed and encoded.
    Encode,
    Record,
    Release,
    Receipt,
}

impl Step {
    const NAMES: [&'static str; 13] = [
        "admit",
        "authenticate",
        "parse",
        "resolve",
        "decide",
        "wait",
        "open",
        "plan",
        "execute",
        "encode",
        "record",
        "release",
        "receipt",
    ];
}

/// A call's own stopwatch: every lap is a step.
#[derive(Debug, Clone, Copy)]
pub struct Laps(Instant);

impl Laps {
    pub fn start() -> Self {
        Self(Instant::now())
    }
}

/// What the hub counts.
pub struct Metrics {
    registry: Registry,
    calls: IntCounterVec,
    seconds: HistogramVec,
    /// By [`Step`]: looked up once, since every call passes all of them.
    steps: [Histogram; Step::NAMES.len()],
    rows: IntCounterVec,
    memory: IntGauge,
    entries: IntGauge,
    tls: Option<TlsMetrics>,
}

/// Only where the hub speaks TLS itself: a certificate that is not there has no seconds left.
struct TlsMetrics {
    handshakes: IntCounterVec,
    reloads: IntCounterVec,
    seconds_left: IntGauge,
}

impl TlsMetrics {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let handshakes = IntCounterVec::new(
            Opts::new("tongqu_tls_handshakes_total", "TLS handshakes by how they ended"),
            &["outcome"],
        )?;
        let reloads = IntCounterVec::new(
            Opts::new("tongqu_tls_reloads_total", "New certificates by whether they were taken"),
            &["outcome"],
        )?;
        let seconds_left =
            IntGauge::new("tongqu_tls_certificate_seconds_left", "Until the certificate in force ends")?;
        registry.register(Box::new(handshakes.clone()))?;
        registry.register(Box::new(reloads.clone()))?;
        registry.register(Box::new(seconds_left.clone()))?;
        Ok(Self { handshakes, reloads, seconds_left })
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    pub fn new(tls: bool) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let calls = IntCounterVec::new(
            Opts::new("tongqu_calls_total", "Calls by route and outcome code"),
            &["route", "code"],
        )?;
        let buckets = vec![0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];
        let seconds = HistogramVec::new(
            HistogramOpts::new("tongqu_call_seconds", "Time from arrival to the answer's head")
                .buckets(buckets),
            &["route"],
        )?;
        let buckets =
            vec![1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0];
        let step_seconds = HistogramVec::new(
            HistogramOpts::new("tongqu_step_seconds", "Time of a call by step of the line").buckets(buckets),
            &["step"],
        )?;
        let steps = Step::NAMES.map(|name| step_seconds.with_label_values(&[name]));
        let rows = IntCounterVec::new(Opts::new("tongqu_rows_total", "Rows released"), &["operation"])?;
        let memory = IntGauge::new("tongqu_engine_memory_bytes", "Memory held by running statements")?;
        let entries = IntGauge::new("tongqu_record_entries", "Entries in the record")?;
        for collector in [
            Box::new(calls.clone()) as Box<dyn prometheus::core::Collector>,
            Box::new(seconds.clone()),
            Box::new(step_seconds),
            Box::new(rows.clone()),
            Box::new(memory.clone()),
            Box::new(entries.clone()),
        ] {
            registry.register(collector)?;
        }
        let tls = tls.then(|| TlsMetrics::new(&registry)).transpose()?;
        Ok(Self { registry, calls, seconds, steps, rows, memory, entries, tls })
    }

    pub fn call(&self, route: &str, code: &str, seconds: f64) {
        self.calls.with_label_values(&[route, code]).inc();
        self.seconds.with_label_values(&[route]).observe(seconds);
    }

    /// The time since the last lap was this step's.
    pub fn lap(&self, laps: &mut Laps, step: Step) {
        let now = Instant::now();
        if let Some(histogram) = self.steps.get(step as usize) {
            histogram.observe(now.saturating_duration_since(laps.0).as_secs_f64());
        }
        laps.0 = now;
    }

    pub fn released(&self, operation: &str, rows: u64) {
        self.rows.with_label_values(&[operation]).inc_by(rows);
    }

    pub fn handshake(&self, outcome: &str) {
        if let Some(tls) = &self.tls {
            tls.handshakes.with_label_values(&[outcome]).inc();
        }
    }

    pub fn certificate_looked_at(&self, taken: bool) {
        if let Some(tls) = &self.tls {
            tls.reloads.with_label_values(&[if taken { "taken" } else { "refused" }]).inc();
        }
    }

    pub fn certificate_ends_in(&self, seconds: i64) {
        if let Some(tls) = &self.tls {
            tls.seconds_left.set(seconds);
        }
    }

    /// Prometheus text, with the gauges as they are now.
    pub fn text(&self, memory_bytes: usize, entries: u64) -> String {
        self.memory.set(i64::try_from(memory_bytes).unwrap_or(i64::MAX));
        self.entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
        let mut out = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut out) {
            Ok(()) => String::from_utf8(out).unwrap_or_default(),
            Err(_cause) => String::new(),
        }
    }
}

/// Log lines to standard error, as the filter says.
pub fn log_to_stderr(filter: &str) {
    let filter = tracing_subscriber::EnvFilter::new(filter);
    // A second initialisation (tests) changes nothing.
    let _set = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_has_its_own_name() -> Result<(), prometheus::Error> {
        let metrics = Metrics::new(false)?;
        let mut laps = Laps::start();
        for step in [Step::Admit, Step::Wait, Step::Receipt, Step::Receipt] {
            metrics.lap(&mut laps, step);
        }
        let text = metrics.text(0, 0);
        for (name, count) in [("admit", 1), ("wait", 1), ("receipt", 2), ("plan", 0)] {
            let line = format!("tongqu_step_seconds_count{{step=\"{name}\"}} {count}\n");
            assert!(text.contains(&line), "{line} in {text}");
        }
        Ok(())
    }
}
