//! Job 8: durable entries a second, in process with 64 writers, against PostgreSQL's commits and the bare disk.

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;
use tongqu::audit::{self, Draft, Entry, Kind, Log};
use tongqu::clock::Clock;
use tongqu::crypto::Keys;

use crate::Options;
use crate::client::{Rate, rate};
use crate::postgres::Postgres;
use crate::report::{Figures, Report};

const WRITERS: usize = 64;

/// p50 and p99 in microseconds of 4 KiB writes with `fdatasync`, one after the other.
pub fn fdatasync(folder: &Path) -> anyhow::Result<(Rate, Rate)> {
    let mut file = tempfile::tempfile_in(folder)?;
    file.write_all(&[0; 1 << 20])?;
    file.sync_all()?;
    let mut latencies = Vec::new();
    for step in 0..200 {
        let start = Instant::now();
        file.seek(SeekFrom::Start(step % 200 * 4096))?;
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        latencies.push(start.elapsed());
    }
    let rate = rate(latencies, Duration::from_secs(1));
    let micros = |ms: Option<f64>| Rate { value: ms.unwrap_or(0.0) * 1e3, ..Rate::default() };
    Ok((micros(rate.p50_ms), micros(rate.p99_ms)))
}

/// An entry as a look-up leaves it.
pub fn draft() -> Draft {
    let text = str::to_owned;
    Draft {
        account: text("civil-affairs.operator"),
        department: text("civil-affairs"),
        account_kind: text("person"),
        purpose: text("minimum-living-allowance"),
        case: text("bench-1"),
        standing: text("operator:civil-affairs.operator"),
        grants: vec![format!("grant_{}@1", "0".repeat(32))],
        rules: "0".repeat(16),
        operation: text("lookup"),
        resources: vec![text("population.resident@1")],
        items: crate::hub::ITEMS.map(text).to_vec(),
        subjects: vec![format!("k1:{}", "0".repeat(32))],
        rows: Some(1),
        bytes: Some(400),
        commitment: "0".repeat(64),
        status: Some(200),
        code: text("ok"),
        day: Some(20_261_122),
        ..Draft::new(Kind::Call)
    }
}

/// Every writer appends its next entry when the last is durable.
async fn append_for(log: &Log, length: Duration) -> anyhow::Result<Rate> {
    let start = Instant::now();
    let writers = (0..WRITERS).map(|_| {
        let log = log.clone();
        tokio::spawn(async move {
            let mut latencies = Vec::new();
            while start.elapsed() < length {
                let sent = Instant::now();
                log.append(draft(), None).await?;
                latencies.push(sent.elapsed());
            }
            Ok::<_, audit::AppendError>(latencies)
        })
    });
    let mut latencies = Vec::new();
    for ended in futures::future::join_all(writers).await {
        latencies.extend(ended??);
    }
    Ok(rate(latencies, start.elapsed()))
}

/// Syncs a second by `fio`, where it is installed.
fn fio(folder: &Path, length: Duration) -> anyhow::Result<Option<Rate>> {
    let seconds = length.as_secs().to_string();
    let folder = tempfile::tempdir_in(folder)?;
    let said = Command::new("fio")
        .args(["--name=sync", "--rw=write", "--bs=4k", "--size=64m", "--fdatasync=1", "--time_based"])
        .args(["--ioengine=sync", "--output-format=json", "--runtime", &seconds, "--directory"])
        .arg(folder.path())
        .output();
    let Ok(said) = said else { return Ok(None) };
    let report: Value = serde_json::from_slice(&said.stdout).context("fio's report")?;
    let job = &report["jobs"][0];
    let percentile = |name: &str| job["sync"]["lat_ns"]["percentile"][name].as_f64().map(|ns| ns / 1e6);
    let value = job["write"]["iops"].as_f64().context("fio's iops")?;
    Ok(Some(Rate { value, p50_ms: percentile("50.000000"), p99_ms: percentile("99.000000") }))
}

pub fn job_8(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("record").tempdir_in(&options.dir)?;
    let keys = Keys::open_or_create(&folder.path().join("keys"), "bench")?;
    // Two threads for 64 writers, as the hub has; unpinned, since this is the server.
    report.note(format!("job 8: {}", crate::pin("0,1")));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (log, _recovery) =
        Log::open(&folder.path().join("audit"), keys, "bench", Clock::system(), audit::Limits::default())?;
    runtime.block_on(log.append(draft(), None))?;
    let (_, bytes) = log.entries(0..1).next().context("an entry")??;
    anyhow::ensure!(Entry::parse(&bytes).is_ok(), "the entry does not read back");
    let postgres = Postgres::start(options)?;
    postgres.entries(bytes.len())?;
    report.note(format!("job 8 writes entries of {} bytes, PostgreSQL rows of as many", bytes.len()));
    let length = Duration::from_secs(options.seconds);
    let mut figures = Figures::default();
    for round in 0..=options.rounds {
        let mut take = |name: &'static str, rate: Rate| {
            eprintln!("job 8, round {round}: {name} {rate}");
            if round > 0 {
                figures.add(name, rate);
            }
        };
        let (p50, p99) = fdatasync(&options.dir)?;
        take("disk: fdatasync p50 (µs)", p50);
        take("disk: fdatasync p99 (µs)", p99);
        take("record: entries, 64 writers", runtime.block_on(append_for(&log, length))?);
        take("PostgreSQL: INSERT + commit, 32 clients", postgres.pgbench("insert", length)?);
        if let Some(rate) = fio(&options.dir, length)? {
            take("fio: 4 KiB write + fdatasync", rate);
        }
    }
    report.ratio(
        "8",
        "record: entries, 64 writers",
        "PostgreSQL: INSERT + commit, 32 clients",
        4.0,
        10.0,
        &figures,
    );
    report.job("Job 8: durable entries", figures);
    runtime.block_on(log.close());
    Ok(())
}
