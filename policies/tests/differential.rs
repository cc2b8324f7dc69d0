//! Non-interference, by trying: what a caller is told about a governed table is what the same statement tells about a
//! copy that holds only the visible rows and the values as masked.
//!
//! INVARIANT: the copy is made by a reference that shares no code with scopes, masks and the barrier.

#[path = "differential/ask.rs"]
mod ask;
#[path = "differential/oracles.rs"]
mod oracles;
#[path = "differential/reference.rs"]
mod reference;
#[path = "differential/sql.rs"]
mod sql;
#[path = "differential/world.rs"]
mod world;

use proptest::collection::vec;
use proptest::prelude::any;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use ask::{Sides, compare};
use catalog::ItemType;
use sql::Columns;
use world::{Dice, ITEMS, World};

/// Statements asked of one pair of tables.
const STATEMENTS: usize = 25;

/// How many statements are tried in all: `TONGQU_CASES`, or 10,000.
fn cases() -> usize {
    std::env::var("TONGQU_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(10_000)
}

fn columns(world: &World) -> Columns {
    let shown = |(item, mask): &(usize, Option<serde_json::Value>)| {
        let (name, kind) = ITEMS[*item];
        let hidden = mask.as_ref().is_some_and(|mask| mask == "hide");
        (name.to_owned(), if hidden { ItemType::Text } else { kind })
    };
    world.output.iter().map(shown).collect()
}

/// Worlds `from` every second one: two threads share the work.
fn try_worlds(worlds: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config =
        Config { cases: worlds, max_shrink_iters: 100, failure_persistence: None, ..Config::default() };
    let drawn = (vec(any::<u32>(), 0..900), vec(vec(any::<u32>(), 0..80), STATEMENTS));
    let run = TestRunner::new(config).run(&drawn, |(picks, statements)| {
        let mut dice = Dice::new(&picks);
        let (left, right) = (World::random(&mut dice), World::random(&mut dice));
        let sides = Sides::new(&[("t", &left), ("u", &right)]);
        let (left_columns, right_columns) = (columns(&left), columns(&right));
        for (number, picks) in statements.iter().enumerate() {
            let statement = sql::statement(&mut Dice::new(picks), &left_columns, &right_columns);
            let answered = runtime.block_on(compare(&sides, &statement, number % 12 == 0));
            answered
                .map_err(|differs| TestCaseError::fail(format!("{differs}\n t {left:?}\n u {right:?}")))?;
        }
        Ok(())
    });
    if let Err(error) = run {
        panic!("{error}");
    }
}

#[test]
fn governed_answers_are_those_of_the_copy_first_half() {
    try_worlds(u32::try_from(cases().div_ceil(2 * STATEMENTS)).unwrap());
}

#[test]
fn governed_answers_are_those_of_the_copy_second_half() {
    try_worlds(u32::try_from(cases().div_ceil(2 * STATEMENTS)).unwrap());
}
