//! Job 4: a filtered aggregate under a row scope, against DuckDB and raw DataFusion with the scope written by hand;
//! and P7, the barrier against the same filter by hand in the same hub.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use arrow::util::display::array_value_to_string;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use serde_json::{Value, json};

use crate::Options;
use crate::client::{Connection, Rate, rate};
use crate::hub::{Hub, OPERATOR, PROVINCE};
use crate::report::{Figures, Report};

/// Group and count, in the order of the groups.
type Groups = Vec<(Option<String>, String)>;

const HUB: &str = "hub: scoped aggregate";
const BY_HAND: &str = "hub: the filter by hand, no scope";
const RAW: &str = "raw DataFusion, in process";
const DUCKDB: &str = "DuckDB";

/// The statement over a table, with a further condition or none.
fn sql(table: &str, more: &str) -> String {
    format!(
        "SELECT education, count(*) AS people FROM {table} \
         WHERE marital_status = '20' AND birth_date >= DATE '1970-01-01'{more} GROUP BY education ORDER BY education"
    )
}

pub fn job_4(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let hub = Hub::start(options)?;
    let file = hub.resident_file();
    let by_hand = format!(" AND residence_code >= '{}' AND residence_code < '{}'", PROVINCE.0, PROVINCE.1);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let raw = runtime.block_on(raw(&file))?;
    let raw_sql = sql("resident", &by_hand);
    let mut duckdb = options.duckdb.as_ref().map(|python| DuckDb::start(python)).transpose()?;
    let duckdb_sql = sql(&format!("read_parquet('{}')", file.display()), &by_hand);
    let scoped = hub.statement(OPERATOR, &hub.grants().scoped, &sql("population.resident", ""));
    let plain = hub.statement(OPERATOR, &hub.grants().whole, &sql("population.resident", &by_hand));

    let expect = runtime.block_on(raw_groups(&raw, &raw_sql))?;
    ensure!(expect.len() > 3, "the statement finds only {expect:?}");
    for call in [&scoped, &plain] {
        let found = runtime.block_on(hub_groups(&hub, call))?;
        ensure!(found == expect, "hub {found:?} and DataFusion {expect:?} differ");
    }
    if let Some(duckdb) = &mut duckdb {
        let found = duckdb.run(&duckdb_sql, 0.0)?.1;
        ensure!(found == expect, "DuckDB {found:?} and DataFusion {expect:?} differ");
    }
    report.note(format!(
        "job 4: equal answers checked first, {} groups; one client, one call after the other",
        expect.len()
    ));

    let length = Duration::from_secs(options.seconds);
    let mut figures = Figures::default();
    for round in 0..=options.rounds {
        let mut take = |name: &'static str, rate: Rate| {
            eprintln!("job 4, round {round}: {name} {rate}");
            if round > 0 {
                figures.add(name, rate);
            }
        };
        take(HUB, runtime.block_on(hub_loop(&hub, &scoped, length))?);
        take(RAW, runtime.block_on(raw_loop(&raw, &raw_sql, length))?);
        take(BY_HAND, runtime.block_on(hub_loop(&hub, &plain, length))?);
        if let Some(duckdb) = &mut duckdb {
            take(DUCKDB, duckdb.run(&duckdb_sql, length.as_secs_f64())?.0);
        }
    }
    report.ratio("4", HUB, RAW, 1.0 / 1.10, 1.0 / 1.03, &figures);
    report.ratio("4 (P7)", HUB, BY_HAND, 1.0 / 1.15, 1.0, &figures);
    match duckdb {
        Some(_) => report.ratio("4", HUB, DUCKDB, 0.0, 0.9, &figures),
        None => report.note("DuckDB was not given (`--duckdb`): its ratio is missing".to_owned()),
    }
    report.job("Job 4: filtered aggregate with row scope", figures);
    hub.stop()
}

async fn hub_groups(hub: &Hub, call: &[u8]) -> anyhow::Result<Groups> {
    let (status, body) = Connection::open(hub.address).await?.call(call).await?;
    ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(&body));
    let answer: Value = serde_json::from_slice(&body)?;
    let rows = answer["rows"].as_array().context("no rows")?;
    Ok(rows
        .iter()
        .map(|row| (row["education"].as_str().map(str::to_owned), row["people"].to_string()))
        .collect())
}

async fn hub_loop(hub: &Hub, call: &[u8], length: Duration) -> anyhow::Result<Rate> {
    let (start, mut took) = (Instant::now(), Vec::new());
    let mut connection = Connection::open(hub.address).await?;
    while start.elapsed() < length {
        let sent = Instant::now();
        let (status, body) = connection.call(call).await?;
        ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(&body));
        took.push(sent.elapsed());
    }
    Ok(rate(took, start.elapsed()))
}

/// The engine as the hub sets it up, without the hub.
async fn raw(file: &Path) -> anyhow::Result<SessionContext> {
    let mut config = SessionConfig::new().with_target_partitions(2);
    config.options_mut().execution.parquet.pushdown_filters = true;
    config.options_mut().execution.parquet.schema_force_view_types = false;
    let context = SessionContext::new_with_config(config);
    let path = file.to_str().context("a path that is no text")?;
    context.register_parquet("resident", path, ParquetReadOptions::default()).await?;
    Ok(context)
}

async fn raw_groups(context: &SessionContext, sql: &str) -> anyhow::Result<Groups> {
    let mut groups = Groups::new();
    for batch in context.sql(sql).await?.collect().await? {
        for row in 0..batch.num_rows() {
            let group = batch.column(0);
            let name = (!group.is_null(row)).then(|| array_value_to_string(group, row)).transpose()?;
            groups.push((name, array_value_to_string(batch.column(1), row)?));
        }
    }
    Ok(groups)
}

async fn raw_loop(context: &SessionContext, sql: &str, length: Duration) -> anyhow::Result<Rate> {
    let (start, mut took) = (Instant::now(), Vec::new());
    while start.elapsed() < length {
        let sent = Instant::now();
        // In a task, as the hub runs it: the calling thread is no worker.
        let (context, sql) = (context.clone(), sql.to_owned());
        tokio::spawn(async move { raw_groups(&context, &sql).await }).await??;
        took.push(sent.elapsed());
    }
    Ok(rate(took, start.elapsed()))
}

/// DuckDB in a Python of its own that stays.
struct DuckDb {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

const SCRIPT: &str = "
import sys, json, time, duckdb
db = duckdb.connect()
db.execute('SET threads = 2')
for line in sys.stdin:
    ask = json.loads(line)
    end, took = time.perf_counter() + ask['seconds'], []
    while True:
        start = time.perf_counter()
        rows = db.execute(ask['sql']).fetchall()
        took.append(time.perf_counter() - start)
        if time.perf_counter() >= end:
            break
    print(json.dumps({'took': took, 'rows': [[row[0], str(row[1])] for row in rows]}), flush=True)
";

impl DuckDb {
    fn start(python: &Path) -> anyhow::Result<Self> {
        let mut child =
            Command::new(python).args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let to = child.stdin.take().context("stdin")?;
        let from = BufReader::new(child.stdout.take().context("stdout")?);
        Ok(Self { child, to, from })
    }

    /// Runs a statement again and again for so long, at least once.
    fn run(&mut self, sql: &str, seconds: f64) -> anyhow::Result<(Rate, Groups)> {
        writeln!(self.to, "{}", json!({"sql": sql, "seconds": seconds}))?;
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        let said: Value = serde_json::from_str(&line).context("DuckDB ended")?;
        let took: Vec<f64> = serde_json::from_value(said["took"].clone())?;
        let took: Vec<Duration> = took.into_iter().map(Duration::from_secs_f64).collect();
        let all = took.iter().sum();
        Ok((rate(took, all), serde_json::from_value(said["rows"].clone())?))
    }
}

impl Drop for DuckDb {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _code = self.child.wait();
    }
}
