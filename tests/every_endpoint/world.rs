//! A hub with things of several departments, and what every answer must carry.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tongqu::clock::Clock;

use crate::support::{NOW_US, PEOPLE, PURPOSE, SYSTEM, Said, TestHub, terms};

/// `(account, department, roles)` of people and the system.
pub fn callers() -> Vec<(&'static str, &'static str, &'static [&'static str])> {
    let mut all = PEOPLE.to_vec();
    all.push((SYSTEM, "civil-affairs", &["operator"]));
    all
}

/// Ids by what they are: `own` belongs to civil affairs and public security, `other` to human resources and credit office.
pub struct World {
    pub hub: TestHub,
    pub ids: BTreeMap<(&'static str, &'static str), String>,
}

pub const UNKNOWN: &str = "unknown";

impl World {
    pub async fn new() -> Self {
        let clock = Clock::fixed(NOW_US);
        let hub = TestHub::start_with(clock, |config| {
            config.limits.unauthenticated_per_minute = 60_000;
            config.limits.body_bytes_max = 64 << 10;
        })
        .await;
        let mut ids = BTreeMap::new();
        let residents = hub.grant_residents().await;
        let clear = json!([{"item": "kind"}, {"item": "fine"}]);
        let penalty = terms(&["query", "lookup"], &["subject"], clear, None);
        let penalties = hub.grant("credit.penalty", "human-resources", "credit-office", &penalty).await;
        for (whose, grant, account, resource, item) in [
            ("own", residents, "civil-affairs.operator", "population.resident", "name"),
            ("other", penalties, "human-resources.operator", "credit.penalty", "kind"),
        ] {
            let read = hub.get(account, &format!("/v1/grants/{grant}")).await.json();
            ids.insert(("application", whose), read["application"].as_str().expect("an id").to_owned());
            let said = hub.query(account, &format!("SELECT {item} FROM {resource} LIMIT 1")).await;
            let receipt = said.receipt().expect("a receipt").to_owned();
            let sql =
                format!("SELECT index FROM system.audit WHERE receipt = '{receipt}' AND side IS NOT NULL");
            ids.insert(("side", whose), hub.audit(&sql).await[0]["index"].to_string());
            ids.insert(("receipt", whose), receipt);
            let entry = hub.get(account, &format!("/v1/resources/{resource}")).await.json();
            ids.insert(("resource", whose), entry["id"].as_str().expect("an id").to_owned());
            ids.insert(("grant", whose), grant);
        }
        let zeros = "0".repeat(32);
        for (thing, prefix) in
            [("grant", "grant"), ("application", "app"), ("receipt", "rcpt"), ("resource", "res")]
        {
            ids.insert((thing, UNKNOWN), format!("{prefix}_{zeros}"));
        }
        ids.insert(("side", UNKNOWN), "999999".to_owned());
        Self { hub, ids }
    }

    pub fn id(&self, thing: &'static str, whose: &'static str) -> &str {
        &self.ids[&(thing, whose)]
    }

    pub async fn send(&self, account: &str, method: &str, path: &str, body: Option<&Value>) -> Said {
        let mut call = self.hub.call(method, account, path);
        if let Some(body) = body {
            call = call.header("content-type", "application/json").body(body.to_string());
        }
        let said = self.hub.send(call).await;
        assert_headers(&format!("{method} {path} as {account}"), &said);
        said
    }
}

/// Whom a thing of civil affairs and public security (`own`), or of human resources and credit office, is shown to.
pub fn sees(thing: &str, whose: &str, department: &str, roles: &[&str]) -> bool {
    let (grantee, provider) = match whose {
        "own" => ("civil-affairs", "public-security"),
        "other" => ("human-resources", "credit-office"),
        _ => return false,
    };
    match thing {
        "receipt" => department == grantee || roles.contains(&"reviewer"),
        "side" => roles.contains(&"reviewer"),
        "grant" if roles.contains(&"authority") => true,
        "grant" | "application" => department == grantee || department == provider,
        _ => true,
    }
}

/// What every answer carries, good or bad.
#[track_caller]
pub fn assert_headers(what: &str, said: &Said) {
    let page = said.headers.contains_key("content-security-policy");
    let cached = if page { "no-cache" } else { "no-store" };
    assert_eq!(said.headers.get("cache-control").map(String::as_str), Some(cached), "{what}");
    assert_eq!(said.headers.get("x-content-type-options").map(String::as_str), Some("nosniff"), "{what}");
    assert!(said.status < 500, "{what}: {} {}", said.status, said.text());
    if said.status >= 400 && !said.bytes.is_empty() {
        let media = said.headers.get("content-type").map(String::as_str);
        assert_eq!(media, Some("application/problem+json"), "{what}: {} {}", said.status, said.text());
        let problem = said.json();
        assert_eq!(problem["status"], json!(said.status), "{what}");
        assert_eq!(problem["type"], json!(format!("urn:tongqu:problem:{}", said.code())), "{what}");
    }
    if said.status == 429 || said.status == 503 {
        assert!(said.headers.contains_key("retry-after"), "{what}");
    }
}

/// `POST /v1/queries` for a department's own grant.
pub fn query(account: &str, sql: &str) -> Value {
    let operator = if account == SYSTEM { "civil-affairs.operator" } else { account };
    json!({"sql": sql, "purpose": PURPOSE, "case": "case-1", "operator": operator})
}

pub fn lookup(account: &str, resource: &str, item: &str) -> Value {
    let operator = if account == SYSTEM { "civil-affairs.operator" } else { account };
    json!({"resource": resource, "keys": [{item: "x"}], "purpose": PURPOSE, "case": "case-1", "operator": operator})
}
