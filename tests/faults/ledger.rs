//! A client that keeps what it was given, and the one question it asks later: is it on record?

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tongqu::audit::verify::verify_receipt;

use super::process::token;

pub const OPERATOR: &str = "civil-affairs.operator";
pub const JOBS: &str = "human-resources.operator";
pub const PROVIDER: &str = "public-security.sharing-head";
pub const REVIEWER: &str = "data-authority.reviewer";

/// Everyone a client speaks for.
pub const ACCOUNTS: [&str; 4] = [OPERATOR, JOBS, PROVIDER, REVIEWER];

/// Whether the client has all of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    Complete(Vec<u8>),
    /// Head came, the end did not.
    Cut,
}

/// One answer with its receipt.
#[derive(Debug, Clone)]
pub struct Kept {
    pub account: &'static str,
    pub receipt: String,
    pub status: u16,
    pub body: Body,
}

/// An answer or a problem; none when the hub went away before its head.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub receipt: Option<String>,
    pub body: Body,
}

impl Answer {
    pub fn json(&self) -> Value {
        match &self.body {
            Body::Complete(bytes) => serde_json::from_slice(bytes).unwrap_or_default(),
            Body::Cut => Value::Null,
        }
    }

    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or("ok").to_owned()
    }
}

#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base_url: String,
    tokens: Arc<BTreeMap<&'static str, String>>,
    ledger: Arc<Mutex<Vec<Kept>>>,
}

impl Client {
    pub fn new(directory: &Path, base_url: &str) -> Self {
        // The hub closes a connection that is idle for ten seconds; the client must not use it just then.
        let http = reqwest::Client::builder().pool_idle_timeout(Duration::from_secs(3));
        Self {
            http: http.build().expect("a client"),
            base_url: base_url.to_owned(),
            tokens: Arc::new(
                ACCOUNTS.into_iter().map(|account| (account, token(directory, account))).collect(),
            ),
            ledger: Arc::default(),
        }
    }

    /// The same client and ledger, for a hub that came back at another port.
    pub fn moved(&self, base_url: &str) -> Self {
        Self { base_url: base_url.to_owned(), ..self.clone() }
    }

    /// The same client with other tokens.
    pub fn with_tokens(self, tokens: BTreeMap<&'static str, String>) -> Self {
        Self { tokens: Arc::new(tokens), ..self }
    }

    /// The same client with a ledger of its own, so far the same.
    pub fn forked(&self) -> Self {
        Self { ledger: Arc::new(Mutex::new(self.kept())), ..self.clone() }
    }

    /// Status of `/livez`; none when the hub went away.
    pub async fn alive(&self) -> Option<u16> {
        self.call(self.http.get(format!("{}/livez", self.base_url)), OPERATOR)
            .await
            .map(|answer| answer.status)
    }

    pub async fn ready(&self) -> bool {
        let ready = self.call(self.http.get(format!("{}/readyz", self.base_url)), OPERATOR).await;
        ready.is_some_and(|answer| answer.status == 200)
    }

    /// Entries under the public checkpoint; none when the hub went away.
    pub async fn published(&self) -> Option<u64> {
        let answer =
            self.call(self.http.get(format!("{}/v1/audit/checkpoint", self.base_url)), OPERATOR).await?;
        let Body::Complete(note) = answer.body else { return None };
        String::from_utf8(note).ok()?.lines().nth(1)?.parse().ok()
    }

    /// Index of the newest answer in the ledger; none when nothing was answered or the hub went away.
    pub async fn newest_index(&self) -> Option<u64> {
        let newest = self.ledger.lock().expect("the ledger").last().cloned()?;
        let call = self.http.get(format!("{}/v1/receipts/{}", self.base_url, newest.receipt));
        self.call(call, newest.account).await?.json()["index"].as_u64()
    }

    pub fn kept(&self) -> Vec<Kept> {
        self.ledger.lock().expect("the ledger").clone()
    }

    async fn call(&self, call: reqwest::RequestBuilder, account: &'static str) -> Option<Answer> {
        let token = self.tokens.get(account).expect("a token");
        let mut response =
            call.bearer_auth(token).send().await.inspect_err(|gone| eprintln!("no answer: {gone:?}")).ok()?;
        let status = response.status().as_u16();
        let receipt = response.headers().get("tongqu-receipt");
        let receipt = receipt.map(|id| id.to_str().expect("ASCII").to_owned());
        let mut bytes = Vec::new();
        let body = loop {
            match response.chunk().await {
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => break Body::Complete(bytes),
                Err(_cut) => break Body::Cut,
            }
        };
        Some(Answer { status, receipt, body })
    }

    /// A governed call; its answer goes to the ledger, and must bear a receipt unless nothing could be recorded.
    pub async fn ask(&self, account: &'static str, path: &str, body: &Value) -> Option<Answer> {
        let answer = self.try_ask(account, path, body).await?;
        assert!(answer.receipt.is_some() || answer.status == 503, "an answer without a receipt: {answer:?}");
        Some(answer)
    }

    /// The same, where the caller may not be known to the hub: then there is no receipt.
    pub async fn try_ask(&self, account: &'static str, path: &str, body: &Value) -> Option<Answer> {
        let call = self.http.post(format!("{}{path}", self.base_url));
        let call = call.header("content-type", "application/json").body(body.to_string());
        let answer = self.call(call, account).await?;
        if let Some(receipt) = &answer.receipt {
            self.ledger.lock().expect("the ledger").push(Kept {
                account,
                receipt: receipt.clone(),
                status: answer.status,
                body: answer.body.clone(),
            });
        }
        Some(answer)
    }

    pub async fn act(&self, account: &'static str, path: &str, key: &str, body: &Value) -> Option<Answer> {
        let call = self.http.post(format!("{}{path}", self.base_url));
        let call = call.header("content-type", "application/json").header("idempotency-key", key);
        self.call(call.body(body.to_string()), account).await
    }

    pub async fn get(&self, account: &'static str, path: &str) -> Answer {
        let call = self.http.get(format!("{}{path}", self.base_url));
        self.call(call, account).await.expect("the hub answers")
    }

    /// The receipt of a kept answer: on record, proven, of these very bytes and this outcome.
    pub async fn prove(&self, kept: &Kept, verifier_key: &str) -> Vec<u8> {
        let answer = self.get(kept.account, &format!("/v1/receipts/{}", kept.receipt)).await;
        assert_eq!(answer.status, 200, "no entry for {kept:?}");
        let Body::Complete(receipt) = answer.body else { panic!("a cut receipt") };
        // The record commits to the bytes of good answers; problems carry their receipt in the head.
        let bytes = match &kept.body {
            Body::Complete(bytes) if kept.status == 200 => Some(bytes.as_slice()),
            _ => None,
        };
        let verified = verify_receipt(&receipt, verifier_key, bytes)
            .unwrap_or_else(|fault| panic!("{fault}: {kept:?} {}", String::from_utf8_lossy(&receipt)));
        let entry = &verified.entry.draft;
        assert_eq!(entry.account, kept.account);
        if matches!(kept.body, Body::Complete(_)) {
            assert_eq!(entry.status, Some(u64::from(kept.status)), "{kept:?}");
            assert!(
                entry.kind != tongqu::audit::Kind::Opened,
                "a whole answer without its outcome: {kept:?}"
            );
        }
        receipt
    }
}

/// A small answer, held until its entry is durable.
pub fn held(number: u64) -> Value {
    json!({
        "sql": "SELECT name, birth_date, residence_code FROM population.resident WHERE sex = $1 ORDER BY 3, 1 LIMIT 5",
        "params": [if number.is_multiple_of(2) { "1" } else { "2" }], "purpose": "minimum-living-allowance",
        "case": format!("2026-{number}"), "operator": OPERATOR,
    })
}

/// An answer that streams between two entries.
pub fn streamed(number: u64) -> Value {
    json!({
        "sql": "SELECT name, birth_date, residence_code, marital_status FROM population.resident LIMIT 150",
        "purpose": "minimum-living-allowance", "case": format!("2026-{number}"), "operator": OPERATOR,
    })
}

/// Refused, and on record as such.
pub fn refused(number: u64) -> Value {
    json!({
        "sql": "SELECT name FROM population.resident LIMIT 1", "purpose": "credit-review",
        "case": format!("2026-{number}"), "operator": OPERATOR,
    })
}

pub fn looked_up(number: u64, uscc: &str) -> Value {
    json!({
        "resource": "legal_entity.enterprise", "keys": [{"uscc": uscc}], "items": ["uscc", "name"],
        "purpose": "enterprise-registration-check", "case": format!("2026-{number}"), "operator": OPERATOR,
    })
}

/// What the grant of human resources allows when it is active.
pub fn jobs() -> Value {
    json!({
        "sql": "SELECT count(*) AS n FROM population.resident", "purpose": "employment-support",
        "case": "2026-0002", "operator": JOBS,
    })
}
