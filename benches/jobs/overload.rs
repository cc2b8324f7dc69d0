//! P3 and P10: receipts under an open loop, and a mix of calls at 1, 2, 5 and 10 times what the hub can do, and back.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use serde_json::json;

use crate::client::{self, Connection, Outcome, Said, percentile_ms};
use crate::hub::{Hub, NEIGHBOUR, OPERATOR, REVIEWER};
use crate::people::People;
use crate::report::Report;
use crate::{LOAD_CPU, Options, pin};

/// Connections of the crowd: more than can be on their way in the hub at once.
const CROWD: usize = 600;
/// Receipts whose entries are looked for afterwards.
const RECEIPTS_CHECKED: usize = 2_000;

/// P3: at 1,000 calls a second, how long from a look-up's appointed time until its receipt with proof is in hand.
pub fn receipts(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    const PER_SECOND: f64 = 1_000.0;
    let hub = Hub::start(options)?;
    let people = People::read(&hub.resident_file())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    report.note(format!("P3: {}", pin(LOAD_CPU)));
    let calls = hub.lookups(&people, 0);
    let receipt = |said: &Said| {
        let id = said.header("tongqu-receipt")?;
        Some(hub.read(OPERATOR, &format!("/v1/receipts/{id}")))
    };
    let length = Duration::from_secs(options.seconds.max(10));
    let run = |length| {
        let call = |number: u64| calls[number as usize % calls.len()].clone();
        client::open_loop(hub.address, PER_SECOND, length, 256, call, receipt)
    };
    let _warm = runtime.block_on(run(Duration::from_secs(2)))?;
    let before = runtime.block_on(hub.steps())?;
    let outcomes = runtime.block_on(run(length))?;
    let after = runtime.block_on(hub.steps())?;
    let failed = outcomes.iter().filter(|outcome| outcome.status != 200).count();
    ensure!(failed == 0, "{failed} of {} receipts could not be had", outcomes.len());
    let took: Vec<Duration> = outcomes.iter().map(|outcome| outcome.took).collect();
    let (p50, p99) = (percentile_ms(took.clone(), 0.5), percentile_ms(took, 0.99));
    report.at_most("P3", "receipt in hand, p99 ms at 1,000 look-ups/s, open loop", p99, 500.0, 50.0);
    let table = crate::lookup::steps_table(&before, &after);
    report.text(
        "P3: receipts under an open loop",
        format!(
            "{} look-ups and their receipts at {PER_SECOND} a second for {length:?}: p50 {p50:.2} ms, p99 {p99:.2} ms \
             from the appointed time of the call to the receipt with its proof.\n\n{table}",
            outcomes.len()
        ),
    );
    hub.stop()
}

/// What the crowd asks, by parts of a hundred.
const CLASSES: [(&str, u64); 5] = [
    ("look-ups, greedy department", 45),
    ("look-ups, neighbour", 25),
    ("statements, greedy department", 18),
    ("statements, neighbour", 10),
    ("streams, neighbour", 2),
];

/// The calls of a mix.
pub struct Mix<'a> {
    hub: &'a Hub,
    ids: Vec<String>,
    statements: [Vec<u8>; 2],
    stream: Vec<u8>,
}

impl<'a> Mix<'a> {
    pub fn new(hub: &'a Hub) -> anyhow::Result<Self> {
        let people = People::read(&hub.resident_file())?;
        let sql = "SELECT education, count(*) AS people FROM population.resident WHERE marital_status = '20' \
                   GROUP BY education ORDER BY education";
        let rows = "SELECT sex, birth_date, residence_code, marital_status, education FROM population.resident LIMIT 12000";
        let grants = hub.grants();
        Ok(Self {
            hub,
            ids: people.sample(20_000, 0).map(str::to_owned).collect(),
            statements: [
                hub.statement(OPERATOR, &grants.scoped, sql),
                hub.statement(NEIGHBOUR, &grants.neighbour, sql),
            ],
            stream: hub.statement(NEIGHBOUR, &grants.neighbour, rows),
        })
    }

    /// Which class a call belongs to: parts spread evenly over every hundred.
    fn class(number: u64) -> usize {
        let mut at = number.wrapping_mul(37) % 100;
        for (class, (_, share)) in CLASSES.iter().enumerate() {
            if at < *share {
                return class;
            }
            at -= share;
        }
        0
    }

    pub fn call(&self, number: u64) -> Vec<u8> {
        let id = &self.ids[number as usize % self.ids.len()];
        let grants = self.hub.grants();
        match Self::class(number) {
            0 => self.hub.lookup_of(OPERATOR, &grants.lookup, id),
            1 => self.hub.lookup_of(NEIGHBOUR, &grants.lookup_neighbour, id),
            2 => self.statements[0].clone(),
            3 => self.statements[1].clone(),
            _ => self.stream.clone(),
        }
    }

    /// Calls a second the hub does when 16 connections keep it busy and nothing is refused.
    pub async fn capacity(&self, length: Duration) -> anyhow::Result<f64> {
        let outcomes =
            client::closed_loop_of(self.hub.address, 16, length, |number| self.call(number)).await?;
        let good = outcomes.iter().filter(|outcome| outcome.status == 200).count();
        ensure!(good * 100 >= outcomes.len() * 99, "{good} of {} good without a crowd", outcomes.len());
        Ok(good as f64 / length.as_secs_f64())
    }

    pub async fn crowd(&self, per_second: f64, length: Duration) -> anyhow::Result<Vec<Outcome>> {
        client::open_loop(self.hub.address, per_second, length, CROWD, |number| self.call(number), |_| None)
            .await
    }
}

/// Health and reviewers, beside the crowd and at their own pace: how many were answered well, of how many.
async fn first_in_line(hub: &Hub, length: Duration) -> anyhow::Result<(Outcomes, Outcomes)> {
    let newest = |_: u64| {
        let sql = "SELECT count(*) AS n FROM system.audit WHERE index < 100";
        hub.post(REVIEWER, "/v1/queries", "", &json!({"sql": sql, "purpose": "audit"}))
    };
    let checkpoint = |_: u64| hub.read(REVIEWER, "/v1/audit/checkpoint");
    let ready = |_: u64| client::get("/readyz");
    let (health, asked, read) = tokio::try_join!(
        client::open_loop(hub.address, 20.0, length, 20, ready, |_| None),
        client::open_loop(hub.address, 2.0, length, 8, newest, |_| None),
        client::open_loop(hub.address, 10.0, length, 10, checkpoint, |_| None),
    )?;
    Ok((Outcomes(health), Outcomes([asked, read].concat())))
}

struct Outcomes(Vec<Outcome>);

impl Outcomes {
    fn good(&self) -> impl Iterator<Item = &Outcome> {
        self.0.iter().filter(|outcome| outcome.status == 200)
    }

    fn refused(&self) -> impl Iterator<Item = &Outcome> {
        self.0.iter().filter(|outcome| outcome.status == 503 || outcome.status == 429)
    }

    fn broken(&self) -> usize {
        self.0.len() - self.good().count() - self.refused().count()
    }

    fn p99_ms<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> f64 {
        percentile_ms(outcomes.map(|outcome| outcome.took).collect(), 0.99)
    }
}

/// One step of the run.
struct Step {
    name: String,
    offered: f64,
    crowd: Outcomes,
    health: Outcomes,
    review: Outcomes,
    length: Duration,
}

impl Step {
    fn goodput(&self) -> f64 {
        self.crowd.good().count() as f64 / self.length.as_secs_f64()
    }

    fn row(&self) -> String {
        let share = |of: &Outcomes| of.good().count() as f64 / of.0.len().max(1) as f64 * 100.0;
        format!(
            "| {} | {:.0} | {:.0} | {:.1} | {} | {:.1} | {} | {:.2} % | {:.2} % |",
            self.name,
            self.offered,
            self.goodput(),
            Outcomes::p99_ms(self.crowd.good()),
            self.crowd.refused().count(),
            Outcomes::p99_ms(self.crowd.refused()),
            self.crowd.broken(),
            share(&self.health),
            share(&self.review)
        )
    }
}

pub fn job(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let hub = Hub::start(options)?;
    let mix = Mix::new(&hub)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    report.note(format!("overload: {}", pin(LOAD_CPU)));
    let length = Duration::from_secs(options.seconds.max(10));
    let _warm = runtime.block_on(mix.capacity(length / 2))?;
    let capacity = runtime.block_on(mix.capacity(length))?;
    eprintln!("overload: capacity {capacity:.0} calls a second");
    let mut steps = Vec::new();
    for (name, times) in [("1 ×", 1.0), ("2 ×", 2.0), ("5 ×", 5.0), ("10 ×", 10.0), ("back to 0.7 ×", 0.7)]
    {
        let offered = capacity * times;
        let (crowd, (health, review)) = runtime
            .block_on(async { tokio::try_join!(mix.crowd(offered, length), first_in_line(&hub, length)) })?;
        let step = Step { name: name.to_owned(), offered, crowd: Outcomes(crowd), health, review, length };
        eprintln!("overload: {}", step.row());
        steps.push(step);
    }
    judge(report, capacity, &steps);
    let checked = runtime.block_on(gaps(&hub, &steps))?;
    report.at_most("P10", &format!("answers without an entry, of {checked} looked for"), 0.0, 0.0, 0.0);
    report.text("P10: overload", tables(capacity, &steps));
    let record = hub.directory().join("audit");
    let key = hub.directory().join("audit.pub");
    hub.stop()?;
    let verified =
        Command::new(&options.hub).args(["audit", "verify"]).arg(&record).arg("--key").arg(&key).output()?;
    ensure!(
        verified.status.success(),
        "the record does not verify: {}",
        String::from_utf8_lossy(&verified.stderr)
    );
    report.note("overload: the whole record verifies afterwards (`tongqu audit verify`)".to_owned());
    Ok(())
}

fn judge(report: &mut Report, capacity: f64, steps: &[Step]) {
    let peak = steps.iter().map(Step::goodput).fold(capacity, f64::max);
    let (Some(first), Some(worst), Some(back)) = (steps.first(), steps.get(3), steps.last()) else { return };
    report.at_least("P10", "goodput at 10 × ÷ peak", worst.goodput() / peak, 0.9, 0.95);
    let slower = Outcomes::p99_ms(worst.crowd.good()) / Outcomes::p99_ms(first.crowd.good());
    report.at_most("P10", "admitted p99 at 10 × ÷ at 1 ×", slower, 2.0, 1.2);
    report.at_most("P10", "refused p99 ms at 10 ×", Outcomes::p99_ms(worst.crowd.refused()), 50.0, 20.0);
    let refused = steps.iter().flat_map(|step| step.crowd.refused());
    let mute = refused.filter(|outcome| !outcome.retry_after).count();
    report.at_most("P10", "refusals without `retry-after`", mute as f64, 0.0, 0.0);
    let broken: usize = steps.iter().map(|step| step.crowd.broken()).sum();
    report.at_most("P10", "calls neither answered nor refused", broken as f64, 0.0, 0.0);
    for (what, of) in [("health", 0), ("reviewers", 1)] {
        let of = |step: &Step| {
            let found = if of == 0 { &step.health } else { &step.review };
            (found.good().count(), found.0.len())
        };
        let (good, all) = steps.iter().map(of).fold((0, 0), |sum, step| (sum.0 + step.0, sum.1 + step.1));
        report.at_least(
            "P10",
            &format!("{what} answered, of {all}"),
            good as f64 / all.max(1) as f64,
            0.999,
            1.0,
        );
    }
    report.at_most("P10", "seconds until nothing is refused any more", recovery_s(back), 5.0, 1.0);
}

/// The second after which nothing was refused.
fn recovery_s(back: &Step) -> f64 {
    let last = back.crowd.refused().map(|outcome| outcome.ended).max();
    last.map_or(0.0, |last| last.as_secs_f64())
}

/// Every accepted call has its entry: receipts spread over the whole run are asked for.
async fn gaps(hub: &Hub, steps: &[Step]) -> anyhow::Result<usize> {
    let all: Vec<&String> = steps
        .iter()
        .flat_map(|step| step.crowd.good())
        .filter_map(|outcome| outcome.receipt.as_ref())
        .collect();
    let good: usize = steps.iter().map(|step| step.crowd.good().count()).sum();
    ensure!(all.len() == good, "{} answers came without a receipt", good - all.len());
    let every = (all.len() / RECEIPTS_CHECKED).max(1);
    let mut connection = Connection::open(hub.address).await?;
    let mut checked = 0;
    for receipt in all.iter().step_by(every) {
        let path = format!("/v1/receipts/{receipt}");
        // Its owner is one of two departments; a reviewer reads both.
        let (status, _) = connection.call(&hub.read(REVIEWER, &path)).await?;
        let status = match status {
            200 => 200,
            _ => {
                let mine = connection.call(&hub.read(OPERATOR, &path)).await?.0;
                if mine == 200 { 200 } else { connection.call(&hub.read(NEIGHBOUR, &path)).await?.0 }
            }
        };
        ensure!(status == 200, "{receipt} has no entry: {status}");
        checked += 1;
    }
    Ok(checked)
}

fn tables(capacity: f64, steps: &[Step]) -> String {
    let mut text = format!(
        "Capacity {capacity:.0} calls a second (16 connections, nothing refused). Open loop over {CROWD} connections; times count \
         from the appointed moment. Parts of a hundred: {}. Beside the crowd, 20 health checks and 12 calls of a reviewer a second.\n\n\
         | step | offered/s | good/s | good p99 ms | refused | refused p99 ms | broken | health | reviewers |\n\
         |---|---|---|---|---|---|---|---|---|\n",
        CLASSES.map(|(name, share)| format!("{name} {share}")).join(", ")
    );
    for step in steps {
        let _written = writeln!(text, "{}", step.row());
    }
    text.push_str("\nGood a second by class:\n\n| step |");
    for (name, _) in CLASSES {
        let _written = write!(text, " {name} |");
    }
    text.push_str("\n|---|---|---|---|---|---|\n");
    for step in steps {
        let mut by: BTreeMap<usize, usize> = BTreeMap::new();
        for outcome in step.crowd.good() {
            *by.entry(Mix::class(outcome.number)).or_default() += 1;
        }
        let _written = write!(text, "| {} |", step.name);
        for class in 0..CLASSES.len() {
            let good = by.get(&class).copied().unwrap_or(0) as f64;
            let _written = write!(text, " {:.1} |", good / step.length.as_secs_f64());
        }
        text.push('\n');
    }
    text
}
