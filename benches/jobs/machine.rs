//! What a process takes of the machine, as `/proc` tells it.

use std::path::Path;

use anyhow::Context;

/// One reading.
#[derive(Debug, Clone, Copy, Default)]
pub struct Taken {
    pub rss_kib: u64,
    pub handles: u64,
    pub threads: u64,
    /// Seconds of processor so far.
    pub cpu_s: f64,
}

fn field(status: &str, name: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
    rest.trim_start_matches(':').split_whitespace().next()?.parse().ok()
}

pub fn taken(process: u32) -> anyhow::Result<Taken> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let ticks: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split_whitespace().collect();
    let tick = |at: usize| ticks.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    Ok(Taken {
        rss_kib: field(&status, "VmRSS").context("no VmRSS")?,
        threads: field(&status, "Threads").context("no Threads")?,
        handles: std::fs::read_dir(format!("/proc/{process}/fd"))?.count() as u64,
        cpu_s: (tick(11) + tick(12)) / 100.0,
    })
}

/// Memory that is a process's own, in KiB, shared pages divided among those who share them.
pub fn pss_kib(process: u32) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    field(&text, "Pss").context("no Pss")
}

/// Processes whose parent this is.
pub fn children(parent: u32) -> anyhow::Result<Vec<u32>> {
    let text = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))?;
    Ok(text.split_whitespace().filter_map(|id| id.parse().ok()).collect())
}

/// Bytes of all files below a folder; files that go away meanwhile do not count.
pub fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => bytes_below(&entry.path()),
            Ok(found) => found.len(),
            Err(_gone) => 0,
        })
        .sum()
}

/// As many open files as the system lets this process and its children have; how many that is.
pub fn open_files_max() -> anyhow::Result<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum })?;
    Ok(now.maximum.unwrap_or(u64::MAX))
}
