//! Ceilings in time, without a hub.

use super::*;

fn limits(set: fn(&mut LimitsConfig)) -> (Limits, Clock) {
    let mut config = LimitsConfig::default();
    set(&mut config);
    let clock = Clock::fixed(1_790_000_000_000_000);
    (Limits::new(&config, chrono_tz::Asia::Shanghai, clock.clone()), clock)
}

#[test]
fn rows_of_a_day_are_all_or_none_and_come_back() {
    let (limits, clock) = limits(|_| ());
    assert!(limits.reserve_rows("g", 60, 100).is_ok());
    assert!(limits.reserve_rows("g", 41, 100).is_err());
    limits.return_rows("g", 20);
    assert!(limits.reserve_rows("g", 60, 100).is_ok());
    assert!(limits.reserve_rows("g", 1, 100).is_err());
    clock.turn(24 * 3600 * 1_000_000);
    assert!(limits.reserve_rows("g", 100, 100).is_ok());
    assert!(limits.reserve_rows("g", u64::MAX, u64::MAX).is_err(), "no overflow");
}

#[test]
fn a_clock_that_jumps_to_another_day_and_back_finds_the_same_quota() {
    let (limits, clock) = limits(|_| ());
    let day_us = 24 * 3600 * 1_000_000;
    assert!(limits.reserve_rows("g", 80, 100).is_ok());
    clock.turn(day_us);
    assert!(limits.reserve_rows("g", 70, 100).is_ok(), "tomorrow has its own");
    clock.turn(-day_us);
    assert!(limits.reserve_rows("g", 21, 100).is_err(), "today's are counted on");
    clock.turn(day_us);
    assert!(limits.reserve_rows("g", 31, 100).is_err(), "and so are tomorrow's");
    assert!(limits.reserve_rows("g", 30, 100).is_ok());
}

#[test]
fn an_address_that_keeps_failing_waits_and_others_do_not() {
    let (limits, _clock) = limits(|config| config.unauthenticated_per_minute = 2);
    let (bad, good): (IpAddr, IpAddr) = ([127, 0, 0, 9].into(), [127, 0, 0, 8].into());
    for _ in 0..3 {
        limits.failed(bad);
    }
    assert!(matches!(limits.admit(bad), Err(Error::Rate { .. })));
    assert!(limits.admit(good).is_ok());
    let windows = limits.take_windows();
    assert_eq!(windows.get(&("127.0.0.9".to_owned(), "unauthenticated")), Some(&3));
    assert_eq!(windows.get(&("127.0.0.9".to_owned(), "shed")), Some(&1));
    assert!(limits.take_windows().is_empty());
}

#[test]
fn a_grant_has_its_own_rate() {
    let (limits, _clock) = limits(|_| ());
    assert_eq!(limits.grant("a", 2).map(|left| left.remaining).ok(), Some(1));
    assert!(limits.grant("a", 2).is_ok());
    assert!(limits.grant("a", 2).is_err());
    assert!(limits.grant("b", 2).is_ok());
}

#[tokio::test]
async fn who_waits_too_long_for_a_seat_is_told() {
    let (limits, _clock) = limits(|config| {
        config.queries_at_once = 1;
        config.queue_age_ms = 1;
    });
    let seat = limits.seat(Lane::Query, "a").await;
    assert!(seat.is_ok());
    assert!(matches!(limits.seat(Lane::Query, "b").await, Err(Error::Overloaded)));
    assert!(limits.seat(Lane::Review, "c").await.is_ok());
    drop(seat);
    assert!(limits.seat(Lane::Query, "b").await.is_ok());
}

#[test]
fn a_full_lane_sheds_at_once_and_counts_it() {
    let (limits, _clock) = limits(|config| config.queries_at_once = 2);
    let taken: Vec<Place> =
        (0..8).map_while(|step| limits.place(Lane::Query, ["a", "b"][step % 2], "a.x").ok()).collect();
    assert_eq!(taken.len(), 8, "four for each seat");
    assert!(matches!(limits.place(Lane::Query, "c", "c.x"), Err(Error::Overloaded)));
    assert!(limits.place(Lane::Review, "c", "c.x").is_ok());
    assert_eq!(limits.take_windows().get(&("c.x".to_owned(), "overloaded")), Some(&1));
    drop(taken);
    assert!(limits.place(Lane::Query, "c", "c.x").is_ok());
}

#[tokio::test]
async fn a_department_takes_half_of_a_lane_and_leaves_the_rest() {
    let (limits, _clock) = limits(|config| {
        config.queries_at_once = 4;
        config.queue_age_ms = 1;
    });
    let _first = limits.seat(Lane::Query, "a").await.expect("a seat");
    let _second = limits.seat(Lane::Query, "a").await.expect("a seat");
    assert!(matches!(limits.seat(Lane::Query, "a").await, Err(Error::Overloaded)));
    assert!(limits.seat(Lane::Query, "b").await.is_ok());
    // Half of all seats, and of all places.
    let own: Vec<Place> = (0..9).map_while(|_| limits.place(Lane::Query, "a", "a.x").ok()).collect();
    assert_eq!(own.len(), 8);
    assert!(limits.place(Lane::Query, "b", "b.x").is_ok());
}

#[test]
fn long_statements_of_one_account_wait_and_others_do_not() {
    let (limits, _clock) = limits(|config| config.side_bytes_per_second = 1 << 20);
    let largest = crate::audit::SIDE_BYTES_MAX;
    let most = (4 << 20) / largest;
    let passed = (0..most * 2).take_while(|_| limits.side("a", largest).is_ok()).count();
    assert!((most..most * 2).contains(&passed), "{passed}");
    assert!(matches!(limits.side("a", largest), Err(Error::Rate { .. })));
    assert!(limits.side("a", 0).is_ok());
    assert!(limits.side("b", largest).is_ok());
}
