//! What a client believes about one grant that it keeps changing, and how that belief is settled after a crash.

use std::time::Duration;

use serde_json::{Value, json};

use super::ledger::{Client, JOBS, PROVIDER, jobs};

/// The grant of human resources, as the client was told last.
#[derive(Debug, Clone, Default)]
pub struct Belief {
    pub id: String,
    /// Acknowledged last.
    pub state: String,
    pub version: u64,
    /// Sent and not acknowledged: key and operation.
    pub open: Option<(String, &'static str)>,
    pub acts: u64,
}

async fn found(client: &Client) -> Value {
    let listed = client.get(JOBS, "/v1/grants").await.json();
    listed["grants"][0].clone()
}

fn target(operation: &str) -> &'static str {
    if operation == "suspend" { "suspended" } else { "active" }
}

impl Belief {
    /// As the hub says now.
    pub async fn asked(client: &Client) -> Self {
        let grant = found(client).await;
        let text =
            |name: &str| grant[name].as_str().unwrap_or_else(|| panic!("no {name}: {grant}")).to_owned();
        let version = grant["version"].as_u64().expect("a version");
        Self { id: text("id"), state: text("state"), version, ..Self::default() }
    }

    /// Suspends what is active, resumes what is suspended; false when the hub went away.
    pub async fn change(&mut self, client: &Client) -> bool {
        let operation = if self.state == "active" { "suspend" } else { "resume" };
        let key = format!("act-{}", uuid::Uuid::new_v4().simple());
        self.send(client, &key, operation).await
    }

    pub async fn send(&mut self, client: &Client, key: &str, operation: &'static str) -> bool {
        let path = format!("/v1/grants/{}/{operation}", self.id);
        self.open = Some((key.to_owned(), operation));
        let body = json!({"reason": "a test of kills"});
        let Some(answer) = client.act(PROVIDER, &path, key, &body).await else { return false };
        if answer.json().is_null() || answer.status == 503 {
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

    /// After a start: the acknowledged state is in force; an open change can be repeated with its key.
    pub async fn settle(&mut self, case: &str, client: &Client) {
        let grant = found(client).await;
        let found = (
            grant["state"].as_str().expect("a state").to_owned(),
            grant["version"].as_u64().expect("a version"),
        );
        let acknowledged = (self.state.clone(), self.version);
        match &self.open {
            Some((_, operation)) => {
                let done = (target(operation).to_owned(), self.version + 1);
                assert!(found == acknowledged || found == done, "{case}: {found:?}, {self:?}");
            }
            None => assert_eq!(found, acknowledged, "{case}: {self:?}"),
        }
        // A fault that is still to come may strike here too: then it is asked again, until it is over.
        let settled = tokio::time::timeout(Duration::from_secs(120), async {
            while let Some((key, operation)) = self.open.take() {
                self.send(client, &key, operation).await;
            }
            loop {
                let answer = client.ask(JOBS, "/v1/queries", &jobs()).await.expect("an answer");
                if answer.status != 503 {
                    return answer.status;
                }
            }
        });
        let found = settled.await.unwrap_or_else(|_late| panic!("{case}: nothing is answered any more"));
        let expect = if self.state == "active" { 200 } else { 403 };
        assert_eq!(found, expect, "{case}: {self:?}");
    }

    /// Every version of the grant has exactly one entry, in order, up to the one in force.
    pub fn on_record(&self, entries: &[Value]) {
        let mut versions = Vec::new();
        for entry in entries {
            let acts = ["grant", "suspend", "resume"];
            let named = entry["grants"][0].as_str().and_then(|text| text.rsplit_once('@'));
            if let Some((id, version)) = named
                && entry["kind"] == "act"
                && entry["code"] == "ok"
                && id == self.id
                && acts.iter().any(|act| entry["operation"] == *act)
            {
                versions.push(version.parse::<u64>().expect("a version"));
            }
        }
        assert_eq!(versions, (1..=self.version).collect::<Vec<_>>());
    }
}
