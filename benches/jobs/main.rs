//! Jobs of the performance plan: the release hub against its peers, same rows, equal answers first, A B A B.
//!
//! It starts every server itself, stops only what it started, and writes `benches/README.md` from what it measured.
//! A figure that misses its "hold" ends it with exit code 1, after everything is written.

mod aggregate;
mod client;
mod decision;
mod hub;
mod idle;
mod lookup;
mod machine;
mod overload;
mod people;
mod postgres;
mod record;
mod report;
mod roapi;
mod soak;
mod start;

use std::path::PathBuf;

use clap::Parser;

use report::Report;

/// Options; `cargo bench --bench jobs -- --hub target/release/tongqu`.
#[derive(Debug, Clone, Parser)]
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
    /// Which jobs, in this order.
    #[arg(long, value_delimiter = ',', default_value = "1,4,8,9,11,12,receipt,overload")]
    jobs: Vec<String>,
    /// A Python with `duckdb`, from PyPI; without it that peer is left out, and the report says so.
    #[arg(long)]
    duckdb: Option<PathBuf>,
    #[arg(long, default_value_t = 1_000_000)]
    residents: u64,
    /// Entries in the record of job 11.
    #[arg(long, default_value_t = 1_000_000)]
    entries: u64,
    /// Length of the soak.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
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
pub const ALL_CPUS: &str = "0,1";

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    std::fs::create_dir_all(&options.dir)?;
    let mut report = Report::new();
    for job in &options.jobs {
        // What a job starts must not inherit the place of the job before.
        pin(ALL_CPUS);
        match job.as_str() {
            "1" => lookup::job_1(&options, &mut report)?,
            "4" => aggregate::job_4(&options, &mut report)?,
            "8" => record::job_8(&options, &mut report)?,
            "9" => decision::job_9(&options, &mut report)?,
            "11" => start::job_11(&options, &mut report)?,
            "12" => idle::job_12(&options, &mut report)?,
            "receipt" => overload::receipts(&options, &mut report)?,
            "overload" => overload::job(&options, &mut report)?,
            "soak" => soak::job(&options, &mut report)?,
            other => anyhow::bail!("`{other}` is no job; take of 1,4,8,9,11,12,receipt,overload,soak"),
        }
        // Kept after each job: a later one that fails takes nothing away.
        report.write(&options)?;
    }
    println!("{}", std::fs::read_to_string(&options.out)?);
    anyhow::ensure!(report.holds(), "a figure misses its hold; see the tables");
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
