//! Laws that every answer keeps by itself: a predicate splits the visible rows in three, and where it stands is all the same.

use super::dice::Dice;
use super::expression::{Column, Taste, truth};
use super::pairs::columns;
use super::range::{Heard, JSON, Mounted, Range, query};
use super::world::World;

/// Rows of a good answer as texts, sorted.
fn rows(heard: &Heard) -> Option<Vec<String>> {
    let answer: serde_json::Value = serde_json::from_slice(&heard.body).ok()?;
    let mut rows: Vec<String> = answer["rows"].as_array()?.iter().map(ToString::to_string).collect();
    rows.sort();
    Some(rows)
}

async fn asked(range: &Range, mounted: &Mounted, sql: &str) -> Option<Vec<String>> {
    let (heard, _) = range.ask(&query(sql, &[], JSON), &mounted.pair[0]).await;
    rows(&heard)
}

/// Checks so many predicates of a world; how many could be checked comes back.
pub async fn hold(range: &Range, mounted: &Mounted, world: &World, count: usize) -> usize {
    let mut dice = Dice::new(world.seed ^ 0x1a35);
    let columns = columns(world);
    let mut held = 0;
    for _ in 0..count {
        let (table, columns) = dice.one(&columns);
        let columns: Vec<Column> = columns.iter().map(|(name, kind)| (format!("a.{name}"), *kind)).collect();
        let test = truth(&columns, &mut dice, 2, Taste { risky: false, common: false });
        let seed = world.seed;
        let Some(whole) = asked(range, mounted, &format!("SELECT * FROM lib_.{table} AS a")).await else {
            panic!("a whole table is refused in world {seed}");
        };
        let mut parts = Vec::new();
        for part in [test.to_string(), format!("NOT ({test})"), format!("({test}) IS NULL")] {
            match asked(range, mounted, &format!("SELECT * FROM lib_.{table} AS a WHERE {part}")).await {
                Some(rows) => parts.push(rows),
                None => break,
            }
        }
        let counted = format!("SELECT sum(CASE WHEN {test} THEN 1 ELSE 0 END) AS n FROM lib_.{table} AS a");
        let (true, Some(counted)) = (parts.len() == 3, asked(range, mounted, &counted).await) else {
            continue;
        };
        // Not pushed to the source and not in a filter at all, the predicate is true just as often.
        let expected = if whole.is_empty() {
            "{\"n\":null}".to_owned()
        } else {
            format!("{{\"n\":{}}}", parts[0].len())
        };
        assert_eq!(counted, [expected], "world {seed}: {table} where {test}");
        let mut together = parts.concat();
        together.sort();
        assert_eq!(together, whole, "world {seed}: {table} in three parts by {test}");
        held += 1;
    }
    held
}
