//! The soak: the mix of the overload run at 30 % of capacity for an hour; memory, handles, threads and disk are sampled.

use std::fmt::Write;
use std::time::Duration;

use anyhow::ensure;

use crate::hub::Hub;
use crate::machine::{self, Taken};
use crate::overload::Mix;
use crate::report::{Report, median};
use crate::{LOAD_CPU, Options, pin};

const PART: f64 = 0.3;

pub fn job(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let hub = Hub::start(options)?;
    let mix = Mix::new(&hub)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    report.note(format!("soak: {}", pin(LOAD_CPU)));
    let capacity = runtime.block_on(mix.capacity(Duration::from_secs(options.seconds.max(5))))?;
    let per_second = capacity * PART;
    let record = hub.directory().join("audit");
    let before = (machine::taken(hub.id())?, machine::bytes_below(&record));
    let (mut samples, mut calls, mut bad) = (Vec::new(), 0, 0);
    for minute in 0..options.minutes {
        let outcomes = runtime.block_on(mix.crowd(per_second, Duration::from_secs(60)))?;
        calls += outcomes.len();
        bad += outcomes.iter().filter(|outcome| outcome.status != 200).count();
        let taken = machine::taken(hub.id())?;
        eprintln!("soak, minute {minute}: {taken:?}, {bad} of {calls} not answered");
        samples.push(taken);
    }
    let after = machine::bytes_below(&record);
    ensure!(samples.len() >= 4, "a soak takes at least 4 minutes");
    let quarter = samples.len() / 4;
    // The first quarter fills caches and the allocator.
    let middle = |pick: fn(&Taken) -> u64, from: usize| {
        median(samples.iter().skip(from).take(quarter).map(|taken| pick(taken) as f64).collect())
    };
    let grown =
        |pick: fn(&Taken) -> u64| middle(pick, samples.len() - quarter) / middle(pick, quarter).max(1.0);
    report.at_most(
        "soak",
        "resident memory, last ÷ second quarter",
        grown(|taken| taken.rss_kib),
        1.15,
        1.05,
    );
    report.at_most("soak", "open handles, last ÷ second quarter", grown(|taken| taken.handles), 1.1, 1.0);
    report.at_most("soak", "threads, last ÷ second quarter", grown(|taken| taken.threads), 1.1, 1.0);
    report.at_most("soak", "part of calls not answered well", bad as f64 / calls.max(1) as f64, 0.001, 0.0);
    let mut text = format!(
        "{} minutes at {per_second:.0} calls a second, {PART} of a capacity of {capacity:.0}: {calls} calls, {bad} not answered \
         well. Before: {} MiB resident, {} handles, {} threads. The record grew by {:.0} bytes a call.\n\n\
         | minute | resident MiB | handles | threads | processor s |\n|---|---|---|---|---|\n",
        samples.len(),
        before.0.rss_kib / 1024,
        before.0.handles,
        before.0.threads,
        after.saturating_sub(before.1) as f64 / calls.max(1) as f64
    );
    let every = (samples.len() / 12).max(1);
    for (minute, taken) in samples.iter().enumerate().filter(|(minute, _)| minute % every == every - 1) {
        let _written = writeln!(
            text,
            "| {} | {} | {} | {} | {:.0} |",
            minute + 1,
            taken.rss_kib / 1024,
            taken.handles,
            taken.threads,
            taken.cpu_s
        );
    }
    report.text("Soak", text);
    hub.stop()
}
