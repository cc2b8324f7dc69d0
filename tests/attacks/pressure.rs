//! What presses on time, memory and sources at once: sorts that spill, a crowd, damaged files, a stopwatch (A089–A156).
//!
//! A062 (a grant that ends under a stream) and A153 (a client that never reads) are in `tests/straight_line/streams.rs`.

use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::{Value, json};

use super::fixture::{big, tables};
use super::range::{ATTACKER, Range};
use super::scan;
use crate::support::PURPOSE;

/// A138: a sort larger than the memory goes to the disk within its quota, or says so; then the disk is as before.
#[tokio::test(flavor = "multi_thread")]
async fn a_sort_larger_than_memory_spills_within_its_quota() {
    for (spill_bytes, codes) in [(256 << 20, ["ok", "too_much_memory"]), (1 << 10, ["too_much_memory"; 2])] {
        let range = Range::open_with(|config| {
            config.engine.memory_bytes = 12 << 20;
            config.engine.spill_bytes = spill_bytes;
        })
        .await;
        range.copy(&big(200_000)).await;
        let wide = "x".repeat(200);
        let sql = format!(
            "SELECT max(t) AS m FROM (SELECT CAST(x AS VARCHAR) || '{wide}' AS t, \
             row_number() OVER (ORDER BY CAST(x AS VARCHAR) || '{wide}') AS n FROM copy.big) q WHERE n > 5"
        );
        let said = range.query("A138", &sql, &json!([])).await;
        assert!(codes.contains(&said.code().as_str()), "{spill_bytes}: {}", said.text());
        range.alive().await.expect("the neighbour is served");
        assert_eq!(range.hub.hub.engine.memory_bytes(), 0);
        let mut left = Vec::new();
        scan::files(&range.hub.directory().join("spill"), &mut left);
        assert!(left.is_empty(), "{} files are left", left.len());
        range.finish().await;
    }
}

/// A155: a crowd of one account's calls is served or told to come back, and another department does not wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_one_account_keeps_nobody_out() {
    let range = Range::open_with(|config| config.limits.queue_age_ms = 20_000).await;
    let crowd = async {
        let calls = (0..200).map(|_| async {
            let params = json!([]);
            range.query("A155", "SELECT count(*) AS n FROM fixp.pay", &params).await
        });
        futures::stream::iter(calls).buffer_unordered(200).collect::<Vec<_>>().await
    };
    let neighbour = async {
        for _ in 0..10 {
            range.alive().await?;
        }
        Ok::<(), String>(())
    };
    let (answers, served) = tokio::join!(crowd, neighbour);
    served.expect("the other department is served all the while");
    for said in &answers {
        let told = matches!(said.code().as_str(), "ok" | "overloaded" | "rate");
        assert!(told, "{} {}", said.status, said.text());
        assert!(said.status == 200 || said.headers.contains_key("retry-after"), "{:?}", said.headers);
    }
    assert!(answers.iter().any(|said| said.status == 200), "some of the crowd are served");
    range.finish().await;
}

/// A156: files that are not what they seem end in a typed error or in nulls, and the hub goes on.
#[tokio::test(flavor = "multi_thread")]
async fn damaged_sources_end_in_typed_errors() {
    let range = Range::open().await;
    let entities = tables().pop().expect("legal_entity");
    let folder = range.hub.sources().join("public-security/bad");
    std::fs::create_dir_all(&folder).expect("a folder");
    let head = "id,title,region,capital\n";
    let long = [head.as_bytes(), b"1,", &vec![b'x'; 3 << 20], b",310000,1\n"].concat();
    let misfit = [head.as_bytes(), b"1,\xff\xfe,310000,NaN\n2,\"a\"\"b\",,1e400\n3,x\n"].concat();
    let many = (0..100_000).map(|at| format!("c{at}")).collect::<Vec<_>>().join(",");
    entities.write_parquet(&folder.join("good.parquet"), 2);
    let good = std::fs::read(folder.join("good.parquet")).expect("read");
    let mut torn = good.clone();
    // Pages, not the footer: what is wrong shows only when rows are read.
    torn[4..200].iter_mut().for_each(|byte| *byte ^= 0x5a);
    let mut cut = good.clone();
    cut.truncate(good.len() / 2);
    for (name, ending, bytes, codes) in [
        ("long", "csv", long, &["source_unavailable", "unpublished"][..]),
        ("misfit", "csv", misfit, &["ok"][..]),
        ("many", "csv", many.into_bytes(), &["unpublished"][..]),
        ("torn", "parquet", torn, &["source_unavailable", "unpublished"][..]),
        ("cut", "parquet", cut, &["unpublished"][..]),
        ("gzip", "csv", b"\x1f\x8b\x08\0\0\0\0\0\0\x03".repeat(1_000), &["unpublished"][..]),
    ] {
        let path = format!("public-security/bad/{name}.{ending}");
        std::fs::write(range.hub.sources().join(&path), bytes).expect("written");
        let mut entry = entities.resource("bad", &json!({"files": {"format": ending, "path": path}}));
        entry["name"] = json!(format!("bad.{name}"));
        let published = range.hub.publish("public-security.head", &entry).await;
        let code = if published.status == 201 {
            let terms =
                crate::support::terms(&["query"], &[], json!([{"item": "id"}, {"item": "title"}]), None);
            range.hub.grant(&format!("bad.{name}"), "civil-affairs", "public-security", &terms).await;
            let sql = format!("SELECT count(title) AS n, max(id) AS z FROM bad.{name}");
            range.query("A156", &sql, &json!([])).await.code()
        } else {
            assert_eq!(published.status, 422, "{name}: {}", published.text());
            "unpublished".to_owned()
        };
        assert!(codes.contains(&code.as_str()), "{name}: {code}");
        range.alive().await.expect("the neighbour is served");
    }
    range.finish().await;
}

/// A089, A165: a hidden person and nobody at all look alike in every byte. Their times are printed, not promised.
#[tokio::test(flavor = "multi_thread")]
async fn a_hidden_row_and_none_look_alike_but_for_time() {
    let range = Range::open().await;
    let body = |key: i64| json!({"resource": "fixp.pay", "keys": [{"id": key}], "purpose": PURPOSE, "case": "c", "operator": ATTACKER});
    let mut times: [Vec<Duration>; 2] = [Vec::new(), Vec::new()];
    for _ in 0..60 {
        let mut bodies: Vec<Value> = Vec::new();
        for (at, key) in [3, 9_999].into_iter().enumerate() {
            let start = Instant::now();
            let said = range.post("A089", ATTACKER, "/v1/lookups", &body(key)).await;
            times[at].push(start.elapsed());
            let mut answer = said.json();
            assert_eq!(said.status, 200, "{answer}");
            answer["receipt"] = Value::Null;
            bodies.push(answer);
        }
        assert_eq!(bodies[0], bodies[1]);
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    println!("a hidden row {:?}, none {:?} (medians of 60)", median(&mut times[0]), median(&mut times[1]));
    range.finish().await;
}
