//! Job 11: from the start of the process to the first answer, with 1,000 resources, a key index and a long record,
//! against ROAPI on the same file.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::json;
use tongqu::audit::{self, Log};
use tongqu::clock::Clock;
use tongqu::crypto::Keys;

use crate::client::{Connection, Rate, get};
use crate::hub::{Hub, OPERATOR, demo};
use crate::people::People;
use crate::report::{Figures, Report};
use crate::{Options, record, roapi};

const RESOURCES: usize = 1_000;
/// As the demo names its hub.
const HUB_ID: &str = "tongqu.demo";
const OURS: &str = "hub: starts to the first answer a second";
const THEIRS: &str = "ROAPI: starts to the first answer a second";

pub fn job_11(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let hub = Hub::start(options)?;
    let file = hub.resident_file();
    let people = People::read(&file)?;
    runtime.block_on(publish(&hub))?;
    // The first look-up builds the key index; it is kept.
    let id = people.id_numbers.first().context("nobody")?;
    ensure!(runtime.block_on(answered(&hub, &hub.grants().lookup, id))?, "no answer");
    let grant = hub.grants().lookup.clone();
    hub.stop()?;
    let entries = runtime.block_on(fill(options))?;
    let mut figures = Figures::default();
    for round in 0..=options.rounds {
        let begun = Instant::now();
        let hub = Hub::again(options)?;
        let ready = runtime.block_on(until_ready(&hub, begun))?;
        ensure!(runtime.block_on(answered(&hub, &grant, id))?, "the first answer after ready is none");
        let answer = begun.elapsed();
        for id in people.sample(200, round) {
            ensure!(runtime.block_on(answered(&hub, &grant, id))?, "an answer after ready failed");
        }
        hub.stop()?;
        eprintln!("job 11, round {round}: ready {ready:?}, answer {answer:?}");
        let theirs = options.roapi.as_ref().map(|binary| {
            let begun = Instant::now();
            let roapi = roapi::Roapi::start(binary, &file)?;
            runtime.block_on(roapi.first_answer(id))?;
            anyhow::Ok(begun.elapsed())
        });
        let theirs = theirs.transpose()?;
        eprintln!("job 11, round {round}: ROAPI {theirs:?}");
        if round > 0 {
            let value = |time: Duration| Rate { value: 1.0 / time.as_secs_f64(), ..Rate::default() };
            let millis = |time: Duration| Rate { value: time.as_secs_f64() * 1e3, ..Rate::default() };
            figures.add("hub: ready, ms", millis(ready));
            figures.add("hub: first answer, ms", millis(answer));
            figures.add(OURS, value(answer));
            if let Some(theirs) = theirs {
                figures.add(THEIRS, value(theirs));
                figures.add("ROAPI: first answer, ms", millis(theirs));
            }
        }
    }
    if options.roapi.is_some() {
        report.ratio("11", OURS, THEIRS, 5.0, 10.0, &figures);
    }
    report.at_most("11", "ms to ready", figures.median("hub: ready, ms"), f64::INFINITY, 200.0);
    report.note(format!(
        "job 11: {RESOURCES} further resources, key index over {} residents, {entries} entries in the record; files in \
         the page cache; 200 look-ups after each ready were all answered",
        options.residents
    ));
    report.job("Job 11: start", figures);
    Ok(())
}

async fn until_ready(hub: &Hub, begun: Instant) -> anyhow::Result<Duration> {
    loop {
        let (status, _) = Connection::open(hub.address).await?.call(&get("/readyz")).await?;
        if status == 200 {
            return Ok(begun.elapsed());
        }
        ensure!(begun.elapsed() < Duration::from_secs(120), "the hub does not become ready");
    }
}

async fn answered(hub: &Hub, grant: &str, id: &str) -> anyhow::Result<bool> {
    let call = hub.lookup_of(OPERATOR, grant, id);
    Ok(Connection::open(hub.address).await?.call(&call).await?.0 == 200)
}

/// Entries over one small file, each its own resource; once a directory.
async fn publish(hub: &Hub) -> anyhow::Result<()> {
    let account = "public-security.head";
    let folder = hub.directory().join("sources/public-security");
    std::fs::create_dir_all(&folder)?;
    let file = folder.join("bench.csv");
    if !file.exists() {
        std::fs::write(&file, "code,name\nw1,one\nw2,two\n")?;
    }
    let mut connection = Connection::open(hub.address).await?;
    let last = hub.read(account, &format!("/v1/resources/bench.window_{}", RESOURCES - 1));
    if connection.call(&last).await?.0 == 200 {
        return Ok(());
    }
    for number in 0..RESOURCES {
        let item = |name: &str, key: bool| json!({"name": name, "title": name, "type": "text", "key": key, "classification": "general"});
        let body = json!({
            "name": format!("bench.window_{number}"), "title": "bench", "abstract": "made for a benchmark",
            "provider": "public-security", "class": "conditional", "condition": "for a benchmark",
            "update_cycle": "monthly", "items": [item("code", true), item("name", false)],
            "binding": {"files": {"format": "csv", "path": "public-security/bench.csv"}},
        });
        let key = format!("idempotency-key: bench-window-{number}\r\n");
        let (status, said) = connection.call(&hub.post(account, "/v1/resources", &key, &body)).await?;
        ensure!(status == 201, "{status}: {}", String::from_utf8_lossy(&said));
    }
    Ok(())
}

/// Entries as look-ups leave them, until the record has as many as asked for; how many it has.
async fn fill(options: &Options) -> anyhow::Result<u64> {
    let directory = demo(options)?;
    let keys = Keys::open_or_create(&directory.join("keys"), HUB_ID)?;
    let (log, _) =
        Log::open(&directory.join("audit"), keys, HUB_ID, Clock::system(), audit::Limits::default())?;
    let begun = Instant::now();
    let writers = (0..64).map(|_| {
        let (log, entries) = (log.clone(), options.entries);
        tokio::spawn(async move {
            while log.size() < entries {
                log.append(record::draft(), None).await?;
            }
            Ok::<_, audit::AppendError>(())
        })
    });
    for ended in futures::future::join_all(writers).await {
        ended??;
    }
    let entries = log.size();
    log.close().await;
    eprintln!("job 11: {entries} entries after {:?}", begun.elapsed());
    Ok(entries)
}
