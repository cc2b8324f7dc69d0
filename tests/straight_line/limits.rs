//! What a grant allows in number: rows an answer, rows a day, calls a minute; over it nothing leaves.

use serde_json::json;
use tongqu::clock::Clock;

use super::{OPERATOR, note_terms, publish_csv};
use crate::support::{NOW_US, TestHub};

async fn noted(hub: &TestHub, set: serde_json::Value) -> String {
    publish_csv(hub, "city.notes", "key,note\na,1\nb,2\nc,3\nd,4\n", json!({})).await;
    let mut terms = note_terms();
    for (member, value) in set.as_object().expect("members") {
        terms[member] = value.clone();
    }
    hub.grant("city.notes", "civil-affairs", "public-security", &terms).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_over_its_rows_is_refused_never_cut() {
    let hub = TestHub::start().await;
    noted(&hub, json!({"rows_per_answer_max": 3})).await;
    let said = hub.query(OPERATOR, "SELECT key FROM city.notes").await.expect(422, "too_many_rows");
    assert!(said.text().contains("more than 3 rows"), "{}", said.text());
    assert!(said.receipt().is_some());
    let said = hub.query(OPERATOR, "SELECT key FROM city.notes ORDER BY key LIMIT 3").await;
    assert_eq!(said.rows().len(), 3);
    let said = hub.query(OPERATOR, "SELECT count(*) AS n FROM city.notes").await;
    assert_eq!(said.rows()[0]["n"], json!(4), "an aggregate reads more than it gives");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_day_outlive_a_restart_and_end_at_midnight() {
    // 23:59:00 in Shanghai.
    let clock = Clock::fixed(NOW_US + (15 * 3600 + 59 * 60) * 1_000_000);
    let hub = TestHub::start_with(clock.clone(), |_| ()).await;
    let sql = "SELECT key FROM city.notes";
    noted(&hub, json!({"rows_per_day_max": 10, "rows_per_answer_max": 10})).await;
    for _ in 0..2 {
        assert_eq!(hub.query(OPERATOR, sql).await.rows().len(), 4);
    }
    let check = async |hub: &TestHub| {
        let said = hub.query(OPERATOR, sql).await.expect(429, "limit");
        let wait: u64 = said.headers["retry-after"].parse().expect("seconds");
        assert!(wait > 0, "{:?}", said.headers);
        assert!(said.receipt().is_some(), "a used-up quota is recorded singly");
    };
    check(&hub).await;
    let hub = hub.restart(clock.clone()).await;
    check(&hub).await;
    let two = hub.query(OPERATOR, "SELECT key FROM city.notes LIMIT 2").await;
    assert_eq!(two.rows().len(), 2, "what is left can be had");
    hub.query(OPERATOR, "SELECT key FROM city.notes LIMIT 1").await.expect(429, "limit");
    clock.turn(61 * 1_000_000);
    assert_eq!(hub.query(OPERATOR, sql).await.rows().len(), 4, "a new day in Shanghai");
}

/// What a hub kept of the day saves reading the record, and never makes the day shorter.
#[tokio::test(flavor = "multi_thread")]
async fn rows_kept_beside_the_record_count_only_when_they_belong_to_it() {
    let clock = Clock::fixed(NOW_US);
    let mut hub = TestHub::start_with(clock.clone(), |_| ()).await;
    let grant = noted(&hub, json!({"rows_per_day_max": 10, "rows_per_answer_max": 10})).await;
    let sql = "SELECT key FROM city.notes LIMIT 3";
    assert_eq!(hub.query(OPERATOR, sql).await.rows().len(), 3);
    let path = hub.hub.config.days_path();
    let kept = |set: &dyn Fn(&mut serde_json::Value)| {
        let mut kept: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).expect("kept at the close")).expect("JSON");
        set(&mut kept);
        std::fs::write(&path, kept.to_string()).expect("written");
    };
    let left = async |hub: &TestHub, rows: u64| {
        let day = hub.hub.limits.rows_today().1;
        assert_eq!(day.get(&grant).copied(), Some(rows), "{day:?}");
    };
    hub = hub.restart(clock.clone()).await;
    left(&hub, 3).await;
    for damage in [
        &(|kept: &mut serde_json::Value| kept["rows"] = json!({})) as &dyn Fn(&mut serde_json::Value),
        &|kept| kept["entries"] = json!(1_000_000),
        &|kept| kept["last_sha256"] = json!("00"),
        &|kept| kept["more"] = json!(1),
    ] {
        let damaged_only_in_rows = std::cell::Cell::new(false);
        hub = hub
            .restart_after(clock.clone(), || {
                kept(damage);
                let text = std::fs::read_to_string(&path).expect("text");
                damaged_only_in_rows.set(text.contains("\"rows\":{}"));
            })
            .await;
        // Rows are believed where the file belongs to the record, as the store is; else the record is read.
        if damaged_only_in_rows.get() {
            assert!(hub.hub.limits.rows_today().1.is_empty(), "the file was not read");
            hub = hub.restart_after(clock.clone(), || std::fs::remove_file(&path).expect("removed")).await;
        }
        left(&hub, 3).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_over_the_rate_of_a_grant_wait() {
    let hub = TestHub::start().await;
    noted(&hub, json!({"calls_per_minute_max": 3})).await;
    let mut left = Vec::new();
    for _ in 0..3 {
        let said = hub.lookup(OPERATOR, "city.notes", json!([{"key": "a"}])).await.expect(200, "ok");
        assert_eq!(said.headers["ratelimit-policy"], "\"calls\";q=3;w=60");
        left.push(said.headers["ratelimit"].clone());
    }
    assert_eq!(left, ["\"calls\";r=2", "\"calls\";r=1", "\"calls\";r=0"]);
    let said = hub.query(OPERATOR, "SELECT key FROM city.notes").await.expect(429, "limit");
    let wait: u64 = said.headers["retry-after"].parse().expect("seconds");
    assert!((1..=60).contains(&wait), "{wait}");
    assert!(said.text().contains("the grant's rate"), "{}", said.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_over_the_rate_of_an_account_wait_and_are_counted() {
    let hub = TestHub::start_with(Clock::system(), |config| config.limits.account_per_minute = 5).await;
    for _ in 0..5 {
        hub.get("civil-affairs.sharing-head", "/v1/grants").await.expect(200, "ok");
    }
    for _ in 0..3 {
        let said = hub.get("civil-affairs.sharing-head", "/v1/grants").await.expect(429, "limit");
        assert!(said.headers["retry-after"].parse::<u64>().expect("seconds") > 0);
    }
    hub.get(OPERATOR, "/v1/grants").await.expect(200, "ok");
    hub.hub.record_windows().await;
    let shed =
        hub.audit("SELECT sum(rows) AS n FROM system.audit WHERE kind = 'window' AND code = 'rate'").await;
    assert_eq!(shed[0]["n"], json!(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_to_a_caller_tells_what_is_left() {
    let hub = TestHub::start_with(Clock::fixed(NOW_US), |config| config.limits.account_per_minute = 6).await;
    let left = |said: &crate::support::Said| {
        let policy = said.headers.get("ratelimit-policy").map(String::as_str);
        assert_eq!(policy, Some("\"calls\";q=6;w=60"), "{}", said.text());
        said.headers["ratelimit"].clone()
    };
    for (path, status, expect) in [
        ("/v1/grants", 200, "\"calls\";r=5"),
        ("/v1/grants/none", 404, "\"calls\";r=4"),
        ("/v1/grants?nothing=1", 422, "\"calls\";r=3"),
        ("/v1/grants/none?x=1", 422, "\"calls\";r=2"),
    ] {
        let said = hub.get(OPERATOR, path).await;
        assert_eq!((said.status, left(&said).as_str()), (status, expect), "{path}");
    }
    let said = hub.query(OPERATOR, "SELECT 1 FROM no.where").await.expect(404, "not_found");
    assert_eq!(left(&said), "\"calls\";r=1");
    // A parameter that nobody knows is refused and on record, like any other fault of a query.
    let body = json!({"sql": "SELECT 1 AS one", "purpose": "minimum-living-allowance"});
    let said = hub.post(OPERATOR, "/v1/queries?dry_run=true", &body).await.expect(422, "invalid");
    assert_eq!(left(&said), "\"calls\";r=0");
    assert!(said.receipt().is_some(), "on record");
    let said = hub.get(OPERATOR, "/v1/grants").await.expect(429, "limit");
    assert_eq!(left(&said), "\"calls\";r=0");
    let stranger = hub.http.get(format!("{}/v1/grants", hub.base_url));
    assert!(!hub.send(stranger).await.headers.contains_key("ratelimit"), "nobody is told nothing");
}
