//! Jobs 1 and 8 of the performance plan: the release hub against its peers, same rows, equal answers first, A B A B.
//!
//! It starts every server itself, stops only what it started, and writes `benches/README.md` from what it measured.
//! A ratio below "hold" ends it with exit code 1, after everything is written.

mod client;
mod hub;
mod people;
mod postgres;
mod record;
mod report;
mod roapi;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use report::{Figures, Report};

/// Options; `cargo bench --bench jobs -- --hub target/release/tongqu`.
#[derive(Debug, Parser)]
pub struct Options {
    /// The release binary.
    #[arg(long)]
    hub: PathBuf,
    /// ROAPI's binary, from PyPI; without it that peer is left out, and the report says so.
    #[arg(long)]
    roapi: Option<PathBuf>,
    /// Where PostgreSQL's programs are.
    #[arg(long, default_value = "/usr/lib/postgresql/15/bin")]
    postgres: PathBuf,
    /// Folder for demo, databases and records; not on a memory disk. The demo in it is used again.
    #[arg(long, default_value = env!("CARGO_TARGET_TMPDIR"))]
    dir: PathBuf,
    #[arg(long, default_value_t = 1_000_000)]
    residents: u64,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of one measurement.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    #[arg(long, default_value = "benches/README.md")]
    out: PathBuf,
    /// Date and commit to print.
    #[arg(long, default_value = "unknown date, unknown commit")]
    when: String,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

pub const CONNECTIONS: usize = 32;
/// Processor of the load generators, ours and pgbench.
pub const LOAD_CPU: &str = "1";

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    std::fs::create_dir_all(&options.dir)?;
    let mut report = Report::new();
    job_1(&options, &mut report)?;
    record::job_8(&options, &mut report)?;
    report.write(&options)?;
    anyhow::ensure!(report.holds(), "a ratio is below its hold; see the table");
    Ok(())
}

/// Pins the driver, threads and all, to these processors; says whether it could.
pub fn pin(processors: &str) -> String {
    let driver = std::process::id().to_string();
    let said = std::process::Command::new("taskset").args(["-acp", processors, &driver]).output();
    match said.is_ok_and(|said| said.status.success()) {
        true => format!("driver pinned to CPU {processors}; servers use every CPU"),
        false => "the driver could NOT be pinned".to_owned(),
    }
}

fn job_1(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let hub = hub::Hub::start(options)?;
    let people = people::People::read(&hub.resident_file())?;
    let postgres = postgres::Postgres::start(options)?;
    postgres.load(&people)?;
    let roapi =
        options.roapi.as_ref().map(|path| roapi::Roapi::start(path, &hub.resident_file())).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let equal = people::check_equal(&runtime, &hub, &postgres, roapi.as_ref(), &people)?;
    report.note(format!("equal answers checked first on {equal} look-ups by all servers"));
    // Only now: what is started earlier must not inherit it.
    report.note(pin(LOAD_CPU));
    let length = Duration::from_secs(options.seconds);
    let mut figures = Figures::default();
    for round in 0..=options.rounds {
        // Round 0 warms every server up and is not counted.
        let mut take = |name: &'static str, rate: client::Rate| {
            eprintln!("job 1, round {round}: {name} {rate}");
            if round > 0 {
                figures.add(name, rate);
            }
        };
        take("disk: fdatasync p50 (µs)", record::fdatasync(&options.dir)?.0);
        take("disk: fdatasync p99 (µs)", record::fdatasync(&options.dir)?.1);
        let lookups = hub.lookups(&people, round);
        take(
            "hub: lookup",
            runtime.block_on(client::closed_loop(hub.address, &lookups, CONNECTIONS, length))?,
        );
        take("pgbench: prepared select by key", postgres.pgbench("select", length)?);
        let null = [client::get("/livez")];
        take(
            "hub: null route",
            runtime.block_on(client::closed_loop(hub.address, &null, CONNECTIONS, length))?,
        );
        if let Some(roapi) = &roapi {
            let lookups = roapi.lookups(&people, round);
            take(
                "ROAPI: lookup",
                runtime.block_on(client::closed_loop(roapi.address, &lookups, CONNECTIONS, length))?,
            );
        }
    }
    report.ratio("1", "hub: lookup", "pgbench: prepared select by key", 0.2, 0.6, &figures);
    report.ratio("1", "hub: lookup", "hub: null route", 0.3, 0.6, &figures);
    if roapi.is_some() {
        report.ratio("1", "hub: lookup", "ROAPI: lookup", 100.0, 300.0, &figures);
    } else {
        report.note("ROAPI was not given (`--roapi`): its ratio is missing".to_owned());
    }
    report.job("Job 1: point look-up by key", figures);
    hub.stop()
}
