//! Non-interference through the router: databases that differ only in what a grant hides answer every call alike.
//!
//! A world is two tables of random items under a random grant, filled twice: other hidden rows, other values of denied
//! items, other values under the masks, another layout of the file. Both are asked the same statements and look-ups; status,
//! headers, body and the caller's part of the entry must be the same bytes but for ids and times. A physical copy of what is
//! visible, granted whole, must give the same answer too. What differs is made small and printed.
//!
//! INVARIANT: a world follows from its seed alone: `TONGQU_SEED=n` begins elsewhere, `TONGQU_PAIRS=n` asks more.

mod cells;
mod dice;
mod expression;
mod grammar;
mod laws;
mod mutate;
mod pairs;
mod range;
mod reference;
mod rls;
mod shrink;
mod world;
mod write;

use dice::Dice;
use pairs::{Tally, ask_all, questions};
use range::Range;
use world::{World, alike};

/// Calls asked of one world.
const PER_WORLD: usize = 250;
/// Worlds mounted in one hub before the next one starts.
const PER_HUB: usize = 40;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Every second seed from `half` on.
async fn try_worlds(half: u64) {
    let start = std::time::Instant::now();
    let wanted = number("TONGQU_PAIRS", 1_000).div_ceil(2) as usize;
    let seed = number("TONGQU_SEED", 1) * 1_000_000 + half;
    let mut tally = Tally::new();
    let (mut asked, mut worlds) = (0, 0);
    let mut range = Range::open().await;
    while asked < wanted {
        if worlds > 0 && worlds % PER_HUB == 0 {
            range.hub.stop().await;
            range = Range::open().await;
        }
        let world = World::random(seed + 2 * worlds as u64);
        worlds += 1;
        assert!(
            world.tables.iter().all(alike),
            "the generator shows what it should hide: seed {}",
            world.seed
        );
        let mounted = range.mount(&world).await;
        let count = if world.large { 12 } else { PER_WORLD.min(wanted - asked) };
        let questions = questions(&world, count, &mut Dice::new(world.seed ^ 0x5eed));
        asked += questions.len();
        let differences = ask_all(&range, &mounted, questions, &mut tally).await;
        if let Some(first) = differences.first() {
            println!("made small now: {first:?}");
            let told = shrink::reproduce(&range, &world, first).await;
            panic!("{} differences in world {}; the first: {told}", differences.len(), world.seed);
        }
    }
    range.hub.stop().await;
    println!("{asked} calls of each database, {worlds} worlds, {} s: {tally:?}", start.elapsed().as_secs());
    // A generator whose statements are all refused would show nothing.
    let good: u64 = tally.iter().filter(|(code, _)| code.ends_with(" ok")).map(|(_, count)| count).sum();
    assert!(good * 2 > asked as u64, "too few of the statements are answered: {tally:?}");
    let raced = tally.get("/v1/queries raced").copied().unwrap_or_default();
    assert!(raced * 20 < asked as u64, "too many answers depend on a race: {tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_hidden_changes_no_answer_first_half() {
    try_worlds(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_hidden_changes_no_answer_second_half() {
    try_worlds(1).await;
}

/// Two thirds of the statements must be understood by both, or the comparison would show little.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_level_security_gives_the_same_rows() {
    let wanted = number("TONGQU_RLS", 300) as usize;
    let postgres = rls::Postgres::start();
    let mut owner = postgres.connect("owner").await;
    sqlx::raw_sql("CREATE ROLE reader LOGIN").execute(&mut owner).await.expect("a role");
    let mut reader = postgres.connect("reader").await;
    let range = Range::open().await;
    let mut refused = Vec::new();
    let (mut asked, mut compared, mut seed) = (0, 0, number("TONGQU_SEED", 1) * 1_000_000 + 500_000);
    while asked < wanted {
        seed += 1;
        let world = World::random(seed);
        if !rls::comparable(&world) {
            continue;
        }
        let mounted = range.mount(&world).await;
        let schema = format!("w{seed}");
        rls::fill(&mut owner, &world, &schema).await;
        let columns: Vec<_> = world.tables.iter().map(|table| (table.name, rls::shared(table))).collect();
        let tables: Vec<_> = columns.iter().map(|(name, columns)| (*name, columns.as_slice())).collect();
        let mut dice = Dice::new(seed ^ 0x915);
        for _ in 0..75.min(wanted - asked) {
            asked += 1;
            let taste = expression::Taste { risky: false, common: true };
            let sql = grammar::statement(&tables, &mut dice, taste, false);
            let (heard, _) = range.ask(&range::query(&sql, &[], range::JSON), &mounted.pair[0]).await;
            let answer: serde_json::Value = serde_json::from_slice(&heard.body).unwrap_or_default();
            let rows = answer["rows"].as_array();
            let expected = rls::ask(&mut reader, &sql.replace("lib_", &schema)).await;
            let (Some(rows), Ok(expected)) = (rows, &expected) else {
                refused.push(format!("{} | {:?} | {sql}", heard.code(), expected.err()));
                continue;
            };
            compared += 1;
            assert_eq!(rls::neutral(rows), *expected, "world {seed} over {:?}: {sql}", world.store);
        }
    }
    println!("{compared} of {asked} statements compared with row-level security");
    refused.truncate(10);
    assert!(compared * 3 > asked * 2, "only {compared} of {asked} are understood by both: {refused:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn predicates_split_what_is_visible() {
    let wanted = number("TONGQU_LAWS", 40) as usize;
    let range = Range::open().await;
    let (mut held, mut asked, mut seed) = (0, 0, number("TONGQU_SEED", 1) * 1_000_000 + 700_000);
    while asked < wanted {
        seed += 1;
        let world = World::random(seed);
        if world.large {
            continue;
        }
        let mounted = range.mount(&world).await;
        held += laws::hold(&range, &mounted, &world, 20).await;
        asked += 20;
    }
    println!("{held} of {asked} predicates split the visible rows");
    assert!(held * 2 > asked, "only {held} of {asked} predicates are answered");
}
