//! `kill -9` at random moments, again and again: no answer without its entry, no acknowledged change lost, one unbroken
//! record, and store and record of one mind after every start.
//!
//! A hub is killed under load (answers, streams, changes, publications and new segments, which are made as often as the
//! configuration lets them) and while it starts and recovers. Records are closed and judged after some hundred kills.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::Rng;
use serde_json::json;
use tempfile::TempDir;
use tongqu::audit::verify::verify_directory;

use super::belief::Belief;
use super::independent::{check_receipt, check_record};
use super::judge;
use super::ledger::{Client, Kept, OPERATOR, held, looked_up, refused, streamed};
use super::process::{Running, configure, prepared, verifier_key};

/// How many times a hub is killed, `TONGQU_KILLS` or 100.
fn kills() -> u64 {
    std::env::var("TONGQU_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(100)
}

/// Proving every answer again at the end of each record keeps the cost of a kill flat.
const KILLS_PER_RECORD: u64 = 250;

/// What was done and found.
#[derive(Debug, Default)]
struct Tally {
    kills: u64,
    kills_in_start: u64,
    proven: u64,
    changes: u64,
    entries: u64,
    facts: u64,
    cut_tails: u64,
    unclosed: u64,
}

struct Trial {
    directory: TempDir,
    key: String,
    uscc: String,
    belief: Belief,
    /// How long the last start took: kills in the next one fall into that time.
    start: Duration,
    cut_tails: u64,
    kills: u64,
    kills_in_start: u64,
}

#[tokio::test(flavor = "multi_thread")]
async fn no_kill_loses_an_answer_or_a_change() {
    let mut tally = Tally::default();
    while tally.kills < kills() {
        let wanted = (kills() - tally.kills).min(KILLS_PER_RECORD);
        one_record(wanted, &mut tally).await;
        println!("{tally:?}");
    }
    assert!(tally.proven >= kills() && tally.changes > kills() / 4, "{tally:?}");
    assert!(tally.kills_in_start > kills() / 5 && tally.kills_in_start < kills(), "{tally:?}");
}

/// Kills hubs on one record until there were enough, then has the whole record judged.
async fn one_record(wanted: u64, tally: &mut Tally) {
    let directory = prepared();
    // Publications and new segments all the time, so that kills fall into them too.
    configure(directory.path(), "[record]\npublish_every_ms = 15\nsegment_bytes_max = 3000\n");
    let begun = Instant::now();
    let mut hub = Running::serve(directory.path()).expect("it starts");
    let mut client = Client::new(directory.path(), &hub.base_url);
    let mut trial = Trial {
        key: verifier_key(directory.path()),
        directory,
        uscc: first_uscc(&client).await,
        belief: Belief::asked(&client).await,
        start: begun.elapsed(),
        cut_tails: 0,
        kills: 0,
        kills_in_start: 0,
    };
    let mut checked = 0;
    while trial.kills < wanted {
        trial.load_and_kill(&client, &mut hub).await;
        hub = trial.start_again();
        client = client.moved(&hub.base_url);
        let kept = client.kept();
        for one in &kept[checked..] {
            client.prove(one, &trial.key).await;
        }
        checked = kept.len();
        let case = format!("kill {}", trial.kills);
        trial.belief.settle(&case, &client).await;
        judge::agree(trial.directory.path(), judge::shown(&client).await).await;
    }
    trial.conclude(hub, client, tally).await;
}

async fn first_uscc(client: &Client) -> String {
    let ask = json!({"sql": "SELECT max(uscc) AS uscc FROM legal_entity.enterprise", "purpose": "enterprise-registration-check"});
    let answer = client.ask(OPERATOR, "/v1/queries", &ask).await.expect("an answer");
    answer.json()["rows"][0]["uscc"].as_str().expect("a code").to_owned()
}

impl Trial {
    /// Clients ask and change at once; after a random number of answers and a random moment the hub is killed.
    async fn load_and_kill(&mut self, client: &Client, hub: &mut Running) {
        let enough = rand::rng().random_range(0..12);
        let (answers, gone) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let mut asking = tokio::task::JoinSet::new();
        for task in 0..6 {
            let (client, uscc) = (client.clone(), self.uscc.clone());
            let (answers, gone, tell) = (answers.clone(), gone.clone(), tell.clone());
            let mut number = self.kills * 1000 + task;
            asking.spawn(async move {
                while !gone.load(Ordering::Relaxed) {
                    number += 6;
                    if ask_one(&client, task, number, &uscc).await.is_none() {
                        break;
                    }
                    answers.fetch_add(1, Ordering::Relaxed);
                    let _unheard = tell.send(());
                }
            });
        }
        let mut belief = std::mem::take(&mut self.belief);
        let changing = tokio::spawn({
            let client = client.clone();
            async move {
                while belief.change(&client).await {}
                belief
            }
        });
        for _ in 0..enough {
            told.recv().await.expect("clients ask until the hub is gone");
        }
        // Not only just after an answer: at most so long after the last one.
        let moment = Duration::from_micros(rand::rng().random_range(0..3000));
        let _next = tokio::time::timeout(moment, told.recv()).await;
        hub.kill();
        self.kills += 1;
        gone.store(true, Ordering::Relaxed);
        while let Some(ended) = asking.join_next().await {
            ended.expect("every answer has a receipt");
        }
        self.belief = changing.await.expect("changes go as they should");
    }

    /// Starts until one start is not killed on its way.
    fn start_again(&mut self) -> Running {
        while rand::rng().random_bool(0.6) {
            let moment = self.start.mul_f64(rand::rng().random_range(0.0..1.3));
            let said = Running::serve_and_kill(self.directory.path(), moment);
            self.cut_tails += u64::from(said.contains("torn last write"));
            self.kills += 1;
            self.kills_in_start += 1;
        }
        let begun = Instant::now();
        let hub = Running::serve(self.directory.path())
            .unwrap_or_else(|said| panic!("kill {}: it did not start again: {said}", self.kills));
        self.start = begun.elapsed();
        self.cut_tails += u64::from(hub.said().contains("torn last write"));
        hub
    }

    /// Stops in order, then both verifiers and the judge go over everything that was ever answered.
    async fn conclude(self, hub: Running, client: Client, tally: &mut Tally) {
        let mut receipts = Vec::new();
        let kept: Vec<Kept> = client.kept();
        for one in &kept {
            receipts.push(client.prove(one, &self.key).await);
        }
        hub.stop();
        let audit = self.directory.path().join("audit");
        let report = verify_directory(&audit, &self.key).expect("our verifier agrees");
        assert_eq!((report.unpublished, report.torn_bytes), (0, 0));
        let entries = check_record(&audit, &self.key);
        assert_eq!(entries.len() as u64, report.size);
        for receipt in &receipts {
            check_receipt(receipt, &entries, &self.key);
        }
        let entries = judge::stored(&entries);
        self.belief.on_record(&entries);
        let agreed = judge::agree(self.directory.path(), entries).await;
        tally.kills += self.kills;
        tally.kills_in_start += self.kills_in_start;
        tally.proven += receipts.len() as u64;
        tally.changes += self.belief.acts;
        tally.entries += report.size;
        tally.facts += agreed.facts as u64;
        tally.cut_tails += self.cut_tails;
        tally.unclosed += report.unclosed;
    }
}

async fn ask_one(client: &Client, task: u64, number: u64, uscc: &str) -> Option<()> {
    let (path, body) = match task {
        0 | 1 => ("/v1/queries", held(number)),
        2 | 3 => ("/v1/queries", streamed(number)),
        4 => ("/v1/lookups", looked_up(number, uscc)),
        _ => ("/v1/queries", refused(number)),
    };
    let answer = client.ask(OPERATOR, path, &body).await?;
    let expect = if task == 5 { 403 } else { 200 };
    assert_eq!(answer.status, expect, "{answer:?}");
    Some(())
}
