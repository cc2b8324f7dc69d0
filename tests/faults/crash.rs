//! `kill -9` under load, again and again: no answer without its entry, no acknowledged change lost, one unbroken record.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rand::Rng;
use serde_json::{Value, json};
use tempfile::TempDir;
use tongqu::audit::verify::verify_directory;

use super::independent::{check_receipt, check_record};
use super::ledger::{Client, JOBS, Kept, OPERATOR, PROVIDER, held, jobs, looked_up, refused, streamed};
use super::process::{Running, prepared, verifier_key};

/// How many times the hub is killed, `TONGQU_KILLS` or 100.
fn kills() -> u64 {
    std::env::var("TONGQU_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(100)
}

/// The suspended grant, as the clients believe it to be.
#[derive(Debug, Default)]
struct Belief {
    id: String,
    /// Acknowledged last.
    state: String,
    version: u64,
    /// Sent and not answered: key and operation.
    open: Option<(String, &'static str)>,
    acts: u64,
}

struct Trial {
    directory: TempDir,
    key: String,
    uscc: String,
    belief: Belief,
    answers: u64,
    cut_tails: u64,
}

#[tokio::test(flavor = "multi_thread")]
async fn no_kill_loses_an_answer_or_a_change() {
    let directory = prepared();
    let hub = Running::serve(directory.path()).expect("it starts");
    let client = Client::new(directory.path(), &hub.base_url);
    let mut trial = Trial {
        key: verifier_key(directory.path()),
        directory,
        uscc: first_uscc(&client).await,
        belief: believed(&client).await,
        answers: 0,
        cut_tails: 0,
    };
    let (mut hub, mut client) = (hub, client);
    let mut checked = 0;
    for round in 0..kills() {
        trial.load_and_kill(round, &client, &mut hub).await;
        hub = Running::serve(trial.directory.path())
            .unwrap_or_else(|said| panic!("round {round}: it did not start again: {said}"));
        trial.cut_tails += u64::from(hub.said().contains("torn last write"));
        client = client.moved(&hub.base_url);
        let kept = client.kept();
        for one in &kept[checked..] {
            client.prove(one, &trial.key).await;
        }
        checked = kept.len();
        trial.settle(round, &client).await;
    }
    trial.conclude(hub, client).await;
}

async fn first_uscc(client: &Client) -> String {
    let ask = json!({"sql": "SELECT max(uscc) AS uscc FROM legal_entity.enterprise", "purpose": "enterprise-registration-check"});
    let answer = client.ask(OPERATOR, "/v1/queries", &ask).await.expect("an answer");
    answer.json()["rows"][0]["uscc"].as_str().expect("a code").to_owned()
}

async fn grant_of_jobs(client: &Client) -> Value {
    let listed = client.get(JOBS, "/v1/grants").await.json();
    listed["grants"][0].clone()
}

async fn believed(client: &Client) -> Belief {
    let grant = grant_of_jobs(client).await;
    let text = |name: &str| grant[name].as_str().unwrap_or_else(|| panic!("no {name}: {grant}")).to_owned();
    Belief {
        id: text("id"),
        state: text("state"),
        version: grant["version"].as_u64().expect("a version"),
        ..Belief::default()
    }
}

fn target(operation: &str) -> &'static str {
    if operation == "suspend" { "suspended" } else { "active" }
}

impl Trial {
    /// Clients ask and change at once; after a random number of answers the hub is killed in the middle of it.
    async fn load_and_kill(&mut self, round: u64, client: &Client, hub: &mut Running) {
        let enough = rand::rng().random_range(2..16);
        let (answers, gone) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let mut asking = tokio::task::JoinSet::new();
        for task in 0..6 {
            let (client, uscc) = (client.clone(), self.uscc.clone());
            let (answers, gone, tell) = (answers.clone(), gone.clone(), tell.clone());
            asking.spawn(async move {
                let mut number = round * 1000 + task;
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
        hub.kill();
        gone.store(true, Ordering::Relaxed);
        while let Some(ended) = asking.join_next().await {
            ended.expect("every answer has a receipt");
        }
        self.belief = changing.await.expect("changes go as they should");
        self.answers += answers.load(Ordering::Relaxed);
    }

    /// After the start: the acknowledged state is in force; an open change can be repeated with its key.
    async fn settle(&mut self, round: u64, client: &Client) {
        let grant = grant_of_jobs(client).await;
        let found = (
            grant["state"].as_str().expect("a state").to_owned(),
            grant["version"].as_u64().expect("a version"),
        );
        let belief = &mut self.belief;
        let acknowledged = (belief.state.clone(), belief.version);
        match &belief.open {
            Some((_, operation)) => {
                let done = (target(operation).to_owned(), belief.version + 1);
                assert!(found == acknowledged || found == done, "round {round}: {found:?}, {belief:?}");
            }
            None => assert_eq!(found, acknowledged, "round {round}: {belief:?}"),
        }
        if let Some((key, operation)) = belief.open.take() {
            assert!(
                belief.send(client, &key, operation).await,
                "round {round}: the repeated act was not answered"
            );
        }
        let answer = client.ask(JOBS, "/v1/queries", &jobs()).await.expect("an answer");
        let expect = if belief.state == "active" { 200 } else { 403 };
        assert_eq!(answer.status, expect, "round {round}: {belief:?}");
    }

    /// Stops in order, then both verifiers go over everything that was ever answered.
    async fn conclude(self, hub: Running, client: Client) {
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
        self.acts_on_record(&entries);
        assert!(self.answers >= kills() * 2 && self.belief.acts > kills() / 4, "{} answers", self.answers);
        println!(
            "{} kills, {} answers proven, {} changes, {} entries, {} torn tails cut, {} streams without an outcome",
            kills(),
            receipts.len(),
            self.belief.acts,
            entries.len(),
            self.cut_tails,
            report.unclosed
        );
    }

    /// Every version of the grant has exactly one entry, in order, up to the one in force.
    fn acts_on_record(&self, entries: &[Vec<u8>]) {
        let mut versions = Vec::new();
        for entry in entries {
            let entry: Value = serde_json::from_slice(entry).expect("JSON");
            let acts = ["grant", "suspend", "resume"];
            let named = entry["grants"][0].as_str().and_then(|text| text.rsplit_once('@'));
            if let Some((id, version)) = named
                && entry["kind"] == "act"
                && entry["code"] == "ok"
                && id == self.belief.id
                && acts.iter().any(|act| entry["operation"] == *act)
            {
                versions.push(version.parse::<u64>().expect("a version"));
            }
        }
        assert_eq!(versions, (1..=self.belief.version).collect::<Vec<_>>());
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

impl Belief {
    /// Suspends what is active, resumes what is suspended; false when the hub went away.
    async fn change(&mut self, client: &Client) -> bool {
        let operation = if self.state == "active" { "suspend" } else { "resume" };
        let key = format!("act-{}", uuid::Uuid::new_v4().simple());
        self.send(client, &key, operation).await
    }

    async fn send(&mut self, client: &Client, key: &str, operation: &'static str) -> bool {
        let path = format!("/v1/grants/{}/{operation}", self.id);
        self.open = Some((key.to_owned(), operation));
        let body = json!({"reason": "a test of kills"});
        let Some(answer) = client.act(PROVIDER, &path, key, &body).await else { return false };
        if answer.json().is_null() {
            return false;
        }
        assert_eq!(answer.status, 200, "{operation}: {answer:?}");
        self.open = None;
        self.acts += 1;
        self.state = target(operation).to_owned();
        self.version += 1;
        assert_eq!(answer.json()["version"], json!(self.version), "{operation}: {answer:?}");
        true
    }
}
