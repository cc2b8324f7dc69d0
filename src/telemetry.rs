//! Metrics and log set-up. Telemetry is not the record: it may be filtered, and it never carries personal data.
//!
//! INVARIANT: labels are codes, operations and status classes, never ids, names or values.

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

/// What the hub counts.
pub struct Metrics {
    registry: Registry,
    calls: IntCounterVec,
    seconds: HistogramVec,
    rows: IntCounterVec,
    memory: IntGauge,
    entries: IntGauge,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    pub fn new() -> Result<Self, prometheus::Error> {
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
        let rows = IntCounterVec::new(Opts::new("tongqu_rows_total", "Rows released"), &["operation"])?;
        let memory = IntGauge::new("tongqu_engine_memory_bytes", "Memory held by running statements")?;
        let entries = IntGauge::new("tongqu_record_entries", "Entries in the record")?;
        for collector in [
            Box::new(calls.clone()) as Box<dyn prometheus::core::Collector>,
            Box::new(seconds.clone()),
            Box::new(rows.clone()),
            Box::new(memory.clone()),
            Box::new(entries.clone()),
        ] {
            registry.register(collector)?;
        }
        Ok(Self { registry, calls, seconds, rows, memory, entries })
    }

    pub fn call(&self, route: &str, code: &str, seconds: f64) {
        self.calls.with_label_values(&[route, code]).inc();
        self.seconds.with_label_values(&[route]).observe(seconds);
    }

    pub fn released(&self, operation: &str, rows: u64) {
        self.rows.with_label_values(&[operation]).inc_by(rows);
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
