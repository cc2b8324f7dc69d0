//! Job 1: a look-up by key over HTTP, against the null route, prepared PostgreSQL and ROAPI; and where its time goes.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use crate::client::{self, Rate};
use crate::hub::Hub;
use crate::report::{Figures, Report};
use crate::{CONNECTIONS, LOAD_CPU, Options, people, pin, postgres, record, roapi};

pub fn job_1(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let hub = Hub::start(options)?;
    let people = people::People::read(&hub.resident_file())?;
    let postgres = postgres::Postgres::start(options)?;
    postgres.load(&people)?;
    let roapi =
        options.roapi.as_ref().map(|path| roapi::Roapi::start(path, &hub.resident_file())).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let equal = people::check_equal(&runtime, &hub, &postgres, roapi.as_ref(), &people)?;
    report.note(format!("job 1: equal answers checked first on {equal} look-ups by all servers"));
    // Only now: what is started earlier must not inherit it.
    report.note(format!("job 1: {}", pin(LOAD_CPU)));
    let length = Duration::from_secs(options.seconds);
    let mut figures = Figures::default();
    let mut before = BTreeMap::new();
    for round in 0..=options.rounds {
        // Round 0 warms every server up and is not counted.
        let mut take = |name: &'static str, rate: Rate| {
            eprintln!("job 1, round {round}: {name} {rate}");
            if round > 0 {
                figures.add(name, rate);
            }
        };
        if round == 1 {
            before = runtime.block_on(hub.steps())?;
        }
        let (p50, p99) = record::fdatasync(&options.dir)?;
        take("disk: fdatasync p50 (µs)", p50);
        take("disk: fdatasync p99 (µs)", p99);
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
    let after = runtime.block_on(hub.steps())?;
    report.ratio("1", "hub: lookup", "pgbench: prepared select by key", 0.2, 0.6, &figures);
    report.ratio("1", "hub: lookup", "hub: null route", 0.3, 0.6, &figures);
    if roapi.is_some() {
        report.ratio("1", "hub: lookup", "ROAPI: lookup", 100.0, 300.0, &figures);
    } else {
        report.note("ROAPI was not given (`--roapi`): its ratio is missing".to_owned());
    }
    report.job("Job 1: point look-up by key", figures);
    report.text("Job 1: where the time of a look-up goes", steps_table(&before, &after));
    hub.stop()
}

/// In the order of the line; what passed between two readings of `tongqu_step_seconds`.
pub fn steps_table(before: &BTreeMap<String, (f64, f64)>, after: &BTreeMap<String, (f64, f64)>) -> String {
    const ORDER: [&str; 13] = [
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
    let mut text = String::from(
        "Wall time a call, from `/metrics` (`tongqu_step_seconds`), so waiting for a turn on the processor or for the \
         disk is in it.\n\n| step | calls | µs a call |\n|---|---|---|\n",
    );
    let mut sum = 0.0;
    for step in ORDER {
        let (was, is) =
            (before.get(step).copied().unwrap_or_default(), after.get(step).copied().unwrap_or_default());
        let calls = is.1 - was.1;
        if calls > 0.0 {
            let micros = (is.0 - was.0) / calls * 1e6;
            sum += micros;
            let _written = writeln!(text, "| {step} | {calls:.0} | {micros:.1} |");
        }
    }
    let _written = writeln!(text, "| all | | {sum:.1} |");
    text
}
