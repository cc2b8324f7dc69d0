//! A difference made small: tokens of the statement and rows of the world go while it stays; then it is printed whole.

use super::mutate::tokens;
use super::pairs::{Difference, Question, check};
use super::range::Range;
use super::world::{Filling, World};

/// How many smaller statements and smaller worlds are tried.
const STATEMENTS_MAX: usize = 400;
const WORLDS_MAX: usize = 60;

/// A reproduction that needs nothing but itself.
pub async fn reproduce(range: &Range, world: &World, found: &Difference) -> String {
    let mut world = world.clone();
    let mut found = found.clone();
    smaller_statement(range, &world, &mut found).await;
    smaller_world(range, &mut world, &mut found).await;
    smaller_statement(range, &world, &mut found).await;
    let mut text = format!(
        "{}\n  seed {} over {:?}\n  call {} accept {} {}\n",
        found.what, world.seed, world.store, found.call.path, found.call.accept, found.call.body
    );
    for table in &world.tables {
        text += &format!(
            "  table {}: items {:?}\n    output {:?}\n    input {:?}\n    scope {}\n",
            table.name,
            table.items.iter().map(|item| (&item.name, item.kind, item.key)).collect::<Vec<_>>(),
            table.output,
            table.input,
            table.scope.as_ref().map_or("none".to_owned(), ToString::to_string),
        );
        for (side, filling) in table.fillings.iter().enumerate() {
            text += &format!("    rows of {side} ({:?}):\n", filling.layout);
            for row in filling.rows.iter().take(40) {
                let line = format!("      {} {row:?}", if table.sees(row) { "visible" } else { "hidden " });
                text += &format!("{}\n", line.chars().take(400).collect::<String>());
            }
        }
    }
    format!("{text}  answers\n    0 {}\n    1 {}\n", found.answers[0], found.answers[1])
}

fn question(found: &Difference) -> Question {
    let copied = found.what.contains("copy");
    Question { call: found.call.clone(), copied, receipts: found.what.contains("entries") }
}

/// Takes away ever smaller runs of tokens.
async fn smaller_statement(range: &Range, world: &World, found: &mut Difference) {
    let Some(sql) = found.call.body["sql"].as_str() else { return };
    let mounted = range.mount(world).await;
    let mut kept = tokens(sql);
    let (mut width, mut tried) = (kept.len() / 2, 0);
    while width > 0 {
        let mut at = 0;
        while at + width <= kept.len() && tried < STATEMENTS_MAX {
            let mut fewer = kept.clone();
            fewer.drain(at..at + width);
            let mut asked = question(found);
            asked.call.body["sql"] = fewer.join(" ").into();
            tried += 1;
            match check(range, &mounted, &asked).await {
                Err(smaller) if smaller.what == found.what => {
                    kept = fewer;
                    *found = *smaller;
                }
                _ => at += width,
            }
        }
        width /= 2;
    }
}

/// Takes away ever smaller runs of rows, hidden ones of either side and visible ones of both.
async fn smaller_world(range: &Range, world: &mut World, found: &mut Difference) {
    let mut tried = 0;
    for table in 0..world.tables.len() {
        for visible in [false, true] {
            let mut parts = 1;
            while parts <= 16 {
                let mut part = 0;
                while part < parts && tried < WORLDS_MAX {
                    let smaller = without(world, table, visible, (part, parts));
                    part += 1;
                    let Some(smaller) = smaller else { continue };
                    tried += 1;
                    let mounted = range.mount(&smaller).await;
                    match check(range, &mounted, &question(found)).await {
                        Err(still) if still.what == found.what => {
                            *world = smaller;
                            *found = *still;
                        }
                        _ => {}
                    }
                }
                parts *= 4;
            }
        }
    }
}

/// The world without one part of the hidden rows, or of the visible ones; none where nothing would go.
fn without(world: &World, table: usize, visible: bool, (part, parts): (usize, usize)) -> Option<World> {
    let mut smaller = world.clone();
    let of = &world.tables[table];
    let mut gone = false;
    let cut = |rows: &Filling, gone: &mut bool| {
        let total = rows.rows.iter().filter(|row| of.sees(row) == visible).count();
        let mut at = 0;
        let mut kept = rows.rows.clone();
        kept.retain(|row| {
            if of.sees(row) != visible {
                return true;
            }
            let drop = (total * part / parts..total * (part + 1) / parts).contains(&at);
            at += 1;
            *gone |= drop;
            !drop
        });
        kept
    };
    for side in 0..2 {
        smaller.tables[table].fillings[side].rows = cut(&of.fillings[side], &mut gone);
    }
    if visible {
        let total = of.visible.len();
        let mut at = 0;
        smaller.tables[table].visible.retain(|_| {
            let drop = (total * part / parts..total * (part + 1) / parts).contains(&at);
            at += 1;
            !drop
        });
    }
    gone.then_some(smaller)
}
