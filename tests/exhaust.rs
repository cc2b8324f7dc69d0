//! Resource exhaustion against the real binary: every case of the list again and again while a neighbour asks, and
//! afterwards the process is there, in time, and as small as before.
//!
//! `TONGQU_EXHAUST=1` or `100`: a long form only, since its ceilings need a quiet machine.

mod cases;
mod target;

use std::time::{Duration, Instant};

use cases::{Case, Way};
use target::Target;

/// Of every call, the time of planning included.
const DEADLINE: Duration = Duration::from_millis(1_500);
const GRACE: Duration = Duration::from_millis(500);
/// The tests share two processors with others: what is late by the hub's own clock is a fault, what is late by ours
/// only when it is far too late.
const CROWDED: u32 = 10;
/// Above the engine's ceiling of memory: the binary, its caches, answers on their way, what the allocator keeps.
const RESIDENT_MIB_MAX: u64 = 768;

/// How often the list is gone through; none without `TONGQU_EXHAUST`, since its ceilings are those of a quiet machine.
fn rounds() -> usize {
    std::env::var("TONGQU_EXHAUST").ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_on_the_list_stops_the_hub_or_makes_it_grow() {
    if rounds() == 0 {
        eprintln!(
            "set TONGQU_EXHAUST=1 (or 100) to go through the whole list; it takes a quiet machine two minutes a round"
        );
        return;
    }
    let target = Target::start(DEADLINE).await;
    let cases = cases::all();
    // Once through what is quick, so that caches and the allocator have their size.
    for case in cases.iter().filter(|case| !case.endless) {
        eprintln!("warm: {} {}", case.id, target.run(case).await);
    }
    target.rest(None).await.expect("the hub comes to rest");
    let base = target.taken();
    let mut wrong = Vec::new();
    let neighbour = target.neighbour();
    for round in 0..rounds() {
        for case in &cases {
            target.forget_peak();
            let start = Instant::now();
            let said = target.run(case).await;
            let took = start.elapsed();
            let peak = target.peak_mib();
            eprintln!("round {round}: {} {said} in {took:?}, peak {peak} MiB", case.id);
            // On a crowded machine anything may be late; that it ends is what the short form asks.
            let late = rounds() == 1 && said.split('+').all(|said| said == "deadline");
            if !case.fits(&said) && !late {
                wrong.push(format!("{}: {said}, not one of {:?}", case.id, case.codes));
            }
            if took > (DEADLINE + GRACE) * CROWDED {
                wrong.push(format!("{}: {took:?}", case.id));
            }
            if peak > RESIDENT_MIB_MAX {
                wrong.push(format!("{}: {peak} MiB", case.id));
            }
        }
    }
    let served = neighbour.stop().await;
    eprintln!("the neighbour: {served:?}");
    if let Err(fault) = target.rest(Some(base)).await {
        wrong.push(fault);
    }
    if served.failed > 0 || served.answered < 10 {
        wrong.push(format!("the neighbour was served {served:?}"));
    }
    wrong.extend(target.late(DEADLINE + GRACE).await);
    if target.said().contains("panicked") {
        wrong.push("something panicked; see the hub's log above".to_owned());
        eprintln!("{}", target.said());
    }
    assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong.join("\n"));
    target.stop();
}

/// Keeps the two files apart in their use: a case names a way, the target walks it.
fn statement(id: &'static str, sql: impl Into<String>, codes: &'static [&'static str]) -> Case {
    Case { id, way: Way::Statement(sql.into()), codes, endless: false }
}
