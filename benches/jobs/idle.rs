//! Job 12: what an idle keep-alive connection costs, against an idle PostgreSQL backend.

use std::time::Duration;

use anyhow::ensure;

use crate::client::{Connection, Rate, get};
use crate::hub::Hub;
use crate::postgres::Postgres;
use crate::report::{Figures, Report};
use crate::{Options, machine};

const IDLE: usize = 10_000;
const BACKENDS: usize = 40;

pub fn job_12(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let most = machine::open_files_max()?;
    ensure!(most as usize > IDLE + 100, "job 12 needs more open files: `ulimit -Hn` is {most}");
    let hub = Hub::start(options)?;
    let postgres = Postgres::start(options)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut figures = Figures::default();
    for round in 0..=options.rounds.min(5) {
        let ours = runtime.block_on(idle_hub(&hub))?;
        let theirs = runtime.block_on(postgres.backend_kib(BACKENDS))?;
        eprintln!(
            "job 12, round {round}: hub {ours:.1} KiB a connection, PostgreSQL {theirs:.1} KiB a backend"
        );
        if round > 0 {
            figures.add("hub: connections a GiB", Rate { value: 1_048_576.0 / ours, ..Rate::default() });
            figures
                .add("PostgreSQL: backends a GiB", Rate { value: 1_048_576.0 / theirs, ..Rate::default() });
            figures.add("hub: KiB an idle connection", Rate { value: ours, ..Rate::default() });
            figures.add("PostgreSQL: KiB an idle backend (Pss)", Rate { value: theirs, ..Rate::default() });
        }
    }
    let ours = figures.median("hub: KiB an idle connection");
    report.ratio("12", "hub: connections a GiB", "PostgreSQL: backends a GiB", 50.0, 200.0, &figures);
    report.at_most("12", "KiB of an idle connection", ours, 64.0, 16.0);
    report.note(format!(
        "job 12: {IDLE} connections, each after one call, resident memory of the hub before and after; \
         PostgreSQL: {BACKENDS} backends, each after one select, proportional memory"
    ));
    report.job("Job 12: idle connections", figures);
    hub.stop()
}

/// KiB of each of 10,000 connections that made one call and stay open. The first round's growth stays with the
/// allocator: only what a round adds beyond the memory before it counts, so the base is read while nothing is open.
async fn idle_hub(hub: &Hub) -> anyhow::Result<f64> {
    let handles = machine::taken(hub.id())?.handles;
    let before = machine::taken(hub.id())?.rss_kib;
    let call = get("/livez");
    let mut open = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        let mut connection = Connection::open(hub.address).await?;
        connection.call(&call).await?;
        open.push(connection);
    }
    let now = machine::taken(hub.id())?;
    ensure!(now.handles as usize >= IDLE, "only {} handles are open", now.handles);
    drop(open);
    let gone = async {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        while machine::taken(hub.id()).is_ok_and(|taken| taken.handles > handles + 10) {
            tick.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await?;
    Ok(now.rss_kib.saturating_sub(before) as f64 / IDLE as f64)
}
