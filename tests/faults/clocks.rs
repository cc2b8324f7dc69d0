//! Wall clocks that are wrong or jump, by `libfaketime` under the real binary: order is the sequence's, tokens are judged
//! by rule, nothing hangs, nothing panics, receipts stay right.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tongqu::audit::verify::verify_directory;
use tongqu::authn::signing::SigningKey;

use super::belief::Belief;
use super::independent::{check_receipt, check_record};
use super::judge;
use super::ledger::{ACCOUNTS, Client, JOBS, OPERATOR, held, streamed};
use super::process::{Running, prepared, verifier_key};
use super::syscalls::published;

const HOUR_S: i64 = 3600;
const DAY_S: i64 = 24 * HOUR_S;

/// How often the clock jumps, `TONGQU_JUMPS` or a few times.
fn jumps() -> u64 {
    std::env::var("TONGQU_JUMPS").ok().and_then(|text| text.parse().ok()).unwrap_or(12)
}

fn library() -> PathBuf {
    let places = std::fs::read_dir("/usr/lib").expect("libraries").flatten().map(|entry| entry.path());
    places
        .chain(["/usr/lib".into(), "/usr/local/lib".into()])
        .map(|place| place.join("faketime/libfaketimeMT.so.1"))
        .find(|path| path.exists())
        .expect("libfaketime: `tests/run` installs it")
}

/// A hub whose wall clock is set by a file; its steady time is left alone, as setting a clock leaves it.
fn serve(directory: &Path) -> Result<Running, String> {
    let file = directory.join("clock").to_string_lossy().into_owned();
    let library = library().to_string_lossy().into_owned();
    let set = [
        ("LD_PRELOAD", library.as_str()),
        ("FAKETIME_TIMESTAMP_FILE", &file),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    Running::serve_with(directory, &set)
}

/// Sets the clock so far from the true one; whole at once, for the hub reads the file at every look.
fn set(directory: &Path, offset_s: i64) {
    let (next, file) = (directory.join("clock.next"), directory.join("clock"));
    std::fs::write(&next, format!("{offset_s:+}\n")).expect("written");
    std::fs::rename(next, file).expect("renamed");
}

/// A client whose tokens were issued, for twelve hours, when the clock was so far off.
fn client_at(directory: &Path, base_url: &str, offset_s: i64) -> Client {
    let issuer = SigningKey::read(&directory.join("demo-keys/issuer.pem")).expect("the demo's issuer");
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs();
    let now_s = i64::try_from(now_s).expect("a time") + offset_s;
    let tokens = ACCOUNTS.map(|account| {
        let token = issuer.token("https://issuer.tongqu.demo", account, "tongqu.demo", now_s, 12 * HOUR_S);
        (account, token.expect("a token"))
    });
    Client::new(directory, base_url).with_tokens(tokens.into())
}

async fn status(client: &Client, body: &Value) -> u16 {
    client.try_ask(OPERATOR, "/v1/queries", body).await.expect("the hub answers").status
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_jump_keep_order_tokens_and_receipts() {
    let directory = prepared();
    let place = directory.path();
    set(place, 0);
    let hub = serve(place).expect("it starts");
    let offsets = [0, -HOUR_S, DAY_S];
    let clients = offsets.map(|offset_s| client_at(place, &hub.base_url, offset_s));
    let mut belief = Belief::asked(&clients[0]).await;
    let (mut good, mut refused) = (0, 0);
    for jump in 0..jumps() {
        let at = usize::try_from(jump % 3).expect("small");
        set(place, offsets[at]);
        for number in jump * 100..jump * 100 + 4 {
            for (of, client) in clients.iter().enumerate() {
                // A token of an hour ago is good now; one of now is none an hour ago, and none of them a day later.
                let expect = if of == at || (of == 1 && at == 0) { 200 } else { 401 };
                for body in [held(number), streamed(number)] {
                    let found = status(client, &body).await;
                    assert_eq!(found, expect, "jump {jump}: the token of {} at {}", offsets[of], offsets[at]);
                    if expect == 200 { good += 1 } else { refused += 1 }
                }
            }
        }
        assert!(belief.change(&clients[at]).await, "a change goes on at {}", offsets[at]);
        let expect = if belief.state == "active" { 200 } else { 403 };
        let jobs = clients[at].ask(JOBS, "/v1/queries", &super::ledger::jobs()).await.expect("an answer");
        assert_eq!(jobs.status, expect, "{jobs:?}");
        assert!(published(&format!("jump {jump}"), &clients[at]).await, "publications go on");
    }
    set(place, 0);
    let key = verifier_key(place);
    let mut receipts = Vec::new();
    for client in &clients {
        for kept in client.kept() {
            // Whoever holds a token that is good now may ask for the department's receipts.
            receipts.push(clients[0].prove(&kept, &key).await);
        }
    }
    assert!(!hub.said().contains("panicked"), "{}", hub.said());
    let said = hub.stop_said();
    assert!(!said.contains("panicked"), "{said}");
    concluded(place, &key, &receipts, &belief).await;
    println!(
        "{} jumps, {good} answers, {refused} tokens refused, {} receipts proven",
        jumps(),
        receipts.len()
    );
    a_start_looks_at_the_clock(place);
}

/// Both verifiers and the judge; order is the sequence's, whatever the entries' times say.
async fn concluded(place: &Path, key: &str, receipts: &[Vec<u8>], belief: &Belief) {
    let audit = place.join("audit");
    let report = verify_directory(&audit, key).expect("it verifies");
    assert_eq!((report.unpublished, report.torn_bytes), (0, 0));
    let entries = check_record(&audit, key);
    for receipt in receipts {
        check_receipt(receipt, &entries, key);
    }
    let entries = judge::stored(&entries);
    let times: Vec<u64> = entries.iter().filter_map(|entry| entry["time_us"].as_u64()).collect();
    let back = times.windows(2).filter(|pair| pair[1] + 1_000_000 < pair[0]).count();
    assert!(times.len() == entries.len() && back > 1, "the clock went back {back} times on record");
    belief.on_record(&entries);
    judge::agree(place, entries).await;
}

/// Behind the last entry a little: on record. Far behind: refused.
fn a_start_looks_at_the_clock(place: &Path) {
    set(place, -2 * DAY_S);
    let Err(said) = serve(place) else { panic!("it started three days behind its record") };
    assert!(said.contains("behind the last entry"), "{said}");
    set(place, 0);
    let hub = serve(place).expect("a day behind its newest entry it starts");
    hub.stop();
    let entries = check_record(&place.join("audit"), &verifier_key(place));
    let recovered = judge::stored(&entries).iter().any(|entry| entry["code"] == "clock_back");
    assert!(recovered, "the clock's difference is on record");
}
