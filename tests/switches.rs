//! Change under load: grants, terms, accounts, posts, departments and versions switch while calls run all the time.
//!
//! Each subject has a truth: what was acknowledged last, and whether a change is under way. A call that began and ended
//! between two changes must be answered by that truth: anything else is a stale decision or a false refusal.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use tongqu::clock::Clock;
use tongqu::publish;
use tongqu::store::organisation::Organisation;

use crate::faults::independent::check_record;
use crate::faults::judge;
use crate::support::{ISSUER, Said, TestHub, terms};

/// Calls judged in all, `TONGQU_SWITCHED_CALLS` or enough for a glance.
fn calls() -> u64 {
    std::env::var("TONGQU_SWITCHED_CALLS").ok().and_then(|text| text.parse().ok()).unwrap_or(900)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    /// A grant is suspended and resumed.
    Suspended,
    /// A grant is revoked and given anew with another mask.
    Terms,
    /// An account is disabled and enabled.
    Account,
    /// An operator's post is taken away and given back.
    Post,
    /// What is changed must not matter: another post beside the operator's, another name of the department.
    Beside,
    /// A next version binds another file.
    Version,
}

const SUBJECTS: [Subject; 6] =
    [Subject::Suspended, Subject::Terms, Subject::Account, Subject::Post, Subject::Beside, Subject::Version];

/// What was acknowledged last: state 0 or 1, and a sequence that is odd while a change is under way.
#[derive(Debug, Default)]
struct Truth {
    sequence: AtomicU64,
    state: AtomicU64,
    answered: AtomicU64,
}

#[derive(Debug, Default)]
struct Tally {
    calls: AtomicU64,
    judged: AtomicU64,
    switches: AtomicU64,
}

impl Subject {
    fn resource(self) -> &'static str {
        match self {
            Self::Suspended => "city.suspended",
            Self::Terms => "city.terms",
            Self::Account => "city.account",
            Self::Post => "city.post",
            Self::Beside => "city.beside",
            Self::Version => "city.version",
        }
    }

    fn caller(self) -> &'static str {
        match self {
            Self::Suspended | Self::Version => "civil-affairs.operator",
            Self::Terms => "human-resources.operator",
            Self::Account => "civil-affairs.clerk-account",
            Self::Post => "civil-affairs.clerk-post",
            Self::Beside => "civil-affairs.clerk-beside",
        }
    }

    async fn ask(self, hub: &TestHub, number: u64) -> Said {
        let (resource, caller) = (self.resource(), self.caller());
        if number.is_multiple_of(2) && self != Self::Version {
            return hub.lookup(caller, resource, json!([{"key": "a"}])).await;
        }
        hub.query(caller, &format!("SELECT note FROM {resource} WHERE key = 'a'")).await
    }

    /// The state an answer belongs to; none for what no state gives.
    fn seen(self, said: &Said) -> Option<u64> {
        let note = || said.json()["rows"][0]["note"].as_str().map(str::to_owned);
        match (self, said.status) {
            (Self::Terms, 200) => match note()?.as_str() {
                "f***" => Some(0),
                "fi***" => Some(1),
                _ => None,
            },
            (Self::Version, 200) => match note()?.as_str() {
                "first" => Some(0),
                "second" => Some(1),
                _ => None,
            },
            (Self::Beside, 200) => Some(0),
            (Self::Suspended | Self::Account | Self::Post, 200) => Some(0),
            (Self::Suspended | Self::Post, 403) | (Self::Account, 401) => Some(1),
            _ => None,
        }
    }

    /// What an answer may be in a state: what is beside never shows.
    fn expected(self, state: u64) -> u64 {
        if self == Self::Beside { 0 } else { state }
    }

    /// Makes the change and returns when it is acknowledged.
    async fn switch(self, hub: &TestHub, to: u64, grant: &mut String) {
        match self {
            Self::Suspended => {
                act(hub, grant, if to == 0 { "resume" } else { "suspend" }).await;
            }
            Self::Terms => {
                act(hub, grant, "revoke").await;
                *grant = hub
                    .grant(self.resource(), "human-resources", "public-security", &note_terms(to + 1))
                    .await;
            }
            Self::Account => declare(hub, self.caller(), &["operator"], to == 1, None).await,
            Self::Post => {
                declare(hub, self.caller(), &[["operator", "head"][to as usize]], false, None).await
            }
            Self::Beside => {
                let posts: &[&str] = if to == 0 { &["operator"] } else { &["operator", "head"] };
                declare(hub, self.caller(), posts, false, Some(to)).await;
            }
            Self::Version => bind(hub, self.resource(), to).await,
        }
    }
}

async fn act(hub: &TestHub, grant: &str, verb: &str) {
    let path = format!("/v1/grants/{grant}/{verb}");
    let said = hub.post("public-security.sharing-head", &path, &json!({"reason": "a switch"})).await;
    assert_eq!(said.status, 200, "{verb}: {}", said.text());
}

fn note_terms(letters: u64) -> Value {
    let output = json!([{"item": "key"}, {"item": "note", "mask": {"keep_first": letters}}]);
    terms(&["query", "lookup"], &["key"], output, None)
}

fn plain_terms() -> Value {
    terms(&["query", "lookup"], &["key"], json!([{"item": "key"}, {"item": "note"}]), None)
}

/// Declares an account anew, and with it its department, under another name where one is asked for.
async fn declare(hub: &TestHub, account: &str, roles: &[&str], disabled: bool, name: Option<u64>) {
    let id = catalog::DepartmentId("civil-affairs".to_owned());
    let known = hub.hub.store.department(&id).await.expect("facts").expect("a department");
    let mut department = (*known).clone();
    if let Some(name) = name {
        department.name = format!("civil affairs {name}");
    }
    let posts: Vec<Value> =
        roles.iter().map(|role| json!({"department": "civil-affairs", "role": role})).collect();
    let organisation: Organisation = serde_json::from_value(json!({
        "department": [department],
        "account": [{"id": account, "kind": "person", "issuer": ISSUER, "subject": account, "posts": posts,
                     "disabled": disabled}],
    }))
    .expect("an organisation");
    publish::declare(&hub.hub, organisation).await.expect("declared");
}

/// Publishes the resource, or its next version, bound to one of two files.
async fn bind(hub: &TestHub, name: &str, to: u64) {
    let file = format!("public-security/{}-{to}.csv", name.replace('.', "_"));
    let text = format!("key,note\na,{}\n", ["first", "second"][to as usize]);
    let path = hub.sources().join(&file);
    if !path.exists() {
        std::fs::write(&path, text).expect("written");
    }
    let entry = json!({
        "name": name, "title": name, "abstract": "made for a test", "provider": "public-security",
        "class": "conditional", "condition": "for tests", "update_cycle": "daily",
        "items": [
            {"name": "key", "title": "key", "type": "text", "key": true, "classification": "personal"},
            {"name": "note", "title": "note", "type": "text", "classification": "general"},
        ],
        "binding": {"files": {"format": "csv", "path": file}},
    });
    let known = hub.get("public-security.head", &format!("/v1/resources/{name}")).await;
    let mut call = hub.call("POST", "public-security.head", "/v1/resources");
    if let Some(tag) = known.headers.get("etag") {
        call = call.header("if-match", tag);
    }
    let said = hub.send(call.header("content-type", "application/json").body(entry.to_string())).await;
    assert_eq!(said.status, 201, "{}", said.text());
}

/// Asks until there were enough calls; every call between two changes is judged.
async fn watch(hub: Arc<TestHub>, subject: Subject, truth: Arc<Truth>, tally: Arc<Tally>) {
    while tally.judged.load(Ordering::SeqCst) < calls() {
        let number = tally.calls.fetch_add(1, Ordering::SeqCst);
        let before = truth.sequence.load(Ordering::SeqCst);
        let state = truth.state.load(Ordering::SeqCst);
        let said = subject.ask(&hub, number).await;
        truth.answered.fetch_add(1, Ordering::SeqCst);
        let undisturbed = before.is_multiple_of(2) && truth.sequence.load(Ordering::SeqCst) == before;
        let seen = subject.seen(&said);
        // What is beside must not show even while it changes.
        if undisturbed || subject == Subject::Beside {
            tally.judged.fetch_add(1, Ordering::SeqCst);
            assert_eq!(
                seen,
                Some(subject.expected(state)),
                "{subject:?} in state {state}: {} {}",
                said.status,
                said.text()
            );
        } else {
            assert_ne!(said.status, 500, "{}", said.text());
        }
    }
}

/// Switches after every few answers, so that most calls fall between two changes.
async fn switch(
    hub: Arc<TestHub>,
    subject: Subject,
    truth: Arc<Truth>,
    tally: Arc<Tally>,
    mut grant: String,
) {
    let mut answered = 0;
    while tally.judged.load(Ordering::SeqCst) < calls() {
        if truth.answered.load(Ordering::SeqCst) < answered + 8 {
            tokio::task::yield_now().await;
            continue;
        }
        let to = 1 - truth.state.load(Ordering::SeqCst);
        truth.sequence.fetch_add(1, Ordering::SeqCst);
        subject.switch(&hub, to, &mut grant).await;
        truth.state.store(to, Ordering::SeqCst);
        truth.sequence.fetch_add(1, Ordering::SeqCst);
        tally.switches.fetch_add(1, Ordering::SeqCst);
        answered = truth.answered.load(Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_decision_is_stale_and_no_refusal_false_while_everything_changes() {
    let hub = TestHub::start_with(Clock::system(), |config| {
        config.limits.queue_age_ms = 60_000;
        // Calls of a disabled account count as failed sign-ins of this one address.
        config.limits.unauthenticated_per_minute = 1_000_000;
        config.engine.deadline_ms = 120_000;
    })
    .await;
    let (hub, tally) = (Arc::new(hub), Arc::new(Tally::default()));
    let mut running = tokio::task::JoinSet::new();
    for subject in SUBJECTS {
        bind(&hub, subject.resource(), 0).await;
        if subject.caller().contains("clerk") {
            declare(&hub, subject.caller(), &["operator"], false, None).await;
        }
        let grantee = subject.caller().split('.').next().expect("a department");
        let terms = if subject == Subject::Terms { note_terms(1) } else { plain_terms() };
        let grant = hub.grant(subject.resource(), grantee, "public-security", &terms).await;
        let truth = Arc::new(Truth::default());
        for _ in 0..2 {
            running.spawn(watch(hub.clone(), subject, truth.clone(), tally.clone()));
        }
        running.spawn(switch(hub.clone(), subject, truth, tally.clone(), grant));
    }
    while let Some(ended) = running.join_next().await {
        ended.expect("no decision is stale, no refusal false");
    }
    let (calls, judged) = (tally.calls.load(Ordering::SeqCst), tally.judged.load(Ordering::SeqCst));
    let switches = tally.switches.load(Ordering::SeqCst);
    assert!(switches > judged / 50, "{tally:?}");
    let mut hub = Arc::into_inner(hub).expect("nobody asks any more");
    let key = hub.hub.keys.verifier_key().to_owned();
    hub.stop().await;
    let entries = judge::stored(&check_record(&hub.directory().join("audit"), &key));
    let agreed = judge::agree(&hub.directory(), entries).await;
    println!("{calls} calls, {judged} judged, {switches} switches: 0 stale, 0 false refusals; {agreed:?}");
}

/// A caller that leaves between the change and its entry does not have it recorded twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_caller_left_is_recorded_once() {
    use std::future::Future;
    use std::task::{Context, Poll, Waker};
    use tongqu::audit::{Draft, Kind};

    let mut hub = TestHub::start().await;
    for polls in 1..60 {
        let draft = Draft { operation: "declare".to_owned(), code: "ok".to_owned(), ..Draft::new(Kind::Act) };
        let id = format!("civil-affairs.left-{polls}");
        let account = serde_json::from_value(json!({
            "id": id, "kind": "person", "issuer": ISSUER, "subject": id,
            "posts": [{"department": "civil-affairs", "role": "operator"}],
        }))
        .expect("an account");
        let writes = vec![tongqu::store::Write::Account(account)];
        {
            let mut change = Box::pin(hub.hub.store.change(&hub.hub.log, draft, writes));
            for _ in 0..polls {
                if let Poll::Ready(done) = change.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    done.expect("changed");
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        // What the next change, or the keeper, does first.
        hub.hub.store.retry(&hub.hub.log).await.expect("nothing is pending");
    }
    // Every change was begun, so every one comes to its end.
    let all = tokio::time::timeout(std::time::Duration::from_secs(30), async {
        for polls in 1..60 {
            let id = format!("civil-affairs.left-{polls}");
            while hub.hub.store.account_by_id(&id).await.expect("facts").is_none() {
                tokio::task::yield_now().await;
            }
        }
    });
    all.await.expect("no change is left behind");
    let key = hub.hub.keys.verifier_key().to_owned();
    hub.stop().await;
    let entries = judge::stored(&check_record(&hub.directory().join("audit"), &key));
    judge::agree(&hub.directory(), entries).await;
}
