//! More than the hub can do: refused at the door, counted, and nobody else waits for it.

use std::time::Duration;

use serde_json::json;
use tongqu::clock::Clock;

use super::{OPERATOR, big_body, publish_big};
use crate::support::TestHub;

/// Three comparisons for every triple of rows: never done before the deadline.
const ENDLESS: &str =
    "SELECT count(*) AS n FROM city.big a, city.big b, city.big c WHERE a.key || b.key || c.key = 'none'";

#[tokio::test(flavor = "multi_thread")]
async fn a_call_too_many_is_told_at_the_door_and_counted() {
    let hub = TestHub::start_with(Clock::system(), |config| {
        config.limits.queries_at_once = 2;
        config.engine.deadline_ms = 3_000;
    })
    .await;
    publish_big(&hub, 20_000).await;
    // A department has four places of the lane's eight.
    let calls = (0..10).map(|_| hub.query(OPERATOR, ENDLESS));
    let (said, beside) = tokio::join!(futures::future::join_all(calls), async {
        // The other lanes are free all the while.
        let asked = hub.audit("SELECT count(*) AS n FROM system.audit").await;
        hub.lookup(OPERATOR, "city.big", json!([{"key": "k7"}])).await.expect(200, "ok");
        asked.len()
    });
    assert_eq!(beside, 1);
    let refused: Vec<_> = said.iter().filter(|said| said.status == 503 && said.receipt().is_none()).collect();
    assert!(refused.len() >= 6, "{:?}", said.iter().map(|said| said.status).collect::<Vec<_>>());
    for said in &refused {
        assert_eq!(said.code(), "overloaded");
        let wait: u64 = said.headers["retry-after"].parse().expect("seconds");
        assert!((1..=3).contains(&wait), "{wait}");
    }
    hub.hub.record_windows().await;
    let counted = "SELECT sum(rows) AS n FROM system.audit WHERE kind = 'window' AND code = 'overloaded'";
    assert_eq!(hub.audit(counted).await[0]["n"], json!(refused.len()));
    // Who came in is on record singly, whatever became of it.
    let singly = "SELECT count(*) AS n FROM system.audit WHERE kind = 'call' AND operation = 'query' AND code IN ('deadline', 'too_much_memory', 'overloaded')";
    let codes: Vec<_> = said.iter().map(|said| (said.status, said.code().to_owned())).collect();
    assert_eq!(hub.audit(singly).await[0]["n"], json!(said.len() - refused.len()), "{codes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_nobody_reads_are_few_and_hold_nobody_up() {
    let hub = TestHub::start_with(Clock::system(), |config| {
        config.limits.streams_at_once = 4;
        config.engine.held_bytes_max = 16 << 10;
    })
    .await;
    publish_big(&hub, 200_000).await;
    let sql = "SELECT key, note FROM city.big";
    let open = async || {
        let call = hub.call("POST", OPERATOR, "/v1/queries").header("content-type", "application/json");
        call.body(big_body(sql).to_string()).send().await.expect("the hub answers")
    };
    let (first, _second) = (open().await, open().await);
    assert_eq!(first.status().as_u16(), 200);
    let third = hub.query(OPERATOR, sql).await.expect(503, "overloaded");
    assert!(third.receipt().is_some(), "what came in is on record singly");
    let small = hub.query(OPERATOR, "SELECT count(*) AS n FROM city.big").await;
    assert_eq!(small.rows()[0]["n"], json!(200_000), "an answer that is held needs no place among streams");
    drop(first);
    let again = async {
        while open().await.status().as_u16() != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), again).await.expect("a place comes back");
}
