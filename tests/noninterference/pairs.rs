//! The pair and the copy: what is asked of a world, and what must hold of the answers.

use std::collections::BTreeMap;

use catalog::ItemType;
use futures::StreamExt;
use serde_json::{Value as Json, json};

use super::dice::Dice;
use super::expression::{Column, Taste};
use super::grammar::statement;
use super::mutate::{mutated, tokens};
use super::range::{ARROW, Call, Heard, JSON, Mounted, Range, lookup, query};
use super::world::{Table, World};
use super::write;

/// Calls on their way at once.
const AT_ONCE: usize = 8;

/// Two answers that should have been one.
#[derive(Debug, Clone)]
pub struct Difference {
    pub call: Call,
    pub what: &'static str,
    pub answers: [String; 2],
}

/// How often each outcome was met.
pub type Tally = BTreeMap<String, u64>;

/// A call with what it may be compared with.
#[derive(Debug, Clone)]
pub struct Question {
    pub call: Call,
    /// Whether the copy can be asked the same.
    pub copied: bool,
    /// Whether the receipts' entries are compared too.
    pub receipts: bool,
}

/// Asks all questions of a world; differences come back.
pub async fn ask_all(
    range: &Range,
    mounted: &Mounted,
    questions: Vec<Question>,
    tally: &mut Tally,
) -> Vec<Difference> {
    let asked = futures::stream::iter(questions).map(|question| async move {
        let found = check(range, mounted, &question).await;
        (question, found)
    });
    let answers: Vec<_> = asked.buffer_unordered(AT_ONCE).collect().await;
    let mut differences = Vec::new();
    for (question, found) in answers {
        match found {
            Ok(code) => *tally.entry(format!("{} {code}", question.call.path)).or_default() += 1,
            Err(difference) => differences.push(*difference),
        }
    }
    differences
}

/// Both databases answer alike, and as the copy does; the outcome's code comes back.
pub async fn check(range: &Range, mounted: &Mounted, question: &Question) -> Result<String, Box<Difference>> {
    let call = &question.call;
    let differ = |what, left: String, right: String| {
        Err(Box::new(Difference { call: call.clone(), what, answers: [left, right] }))
    };
    let ((first, receipt), (second, other)) =
        tokio::join!(range.ask(call, &mounted.pair[0]), range.ask(call, &mounted.pair[1]));
    if first != second {
        if raced(range, call, [&mounted.pair[0], &mounted.pair[1]]).await {
            return Ok("raced".to_owned());
        }
        return differ("the two databases answer differently", told(&first), told(&second));
    }
    if let (true, Some(receipt), Some(other)) = (question.receipts, receipt, other) {
        let (left, right) =
            tokio::join!(range.entry(&receipt, &mounted.pair[0]), range.entry(&other, &mounted.pair[1]));
        if left != right {
            return differ("the entries of the two calls differ", left, right);
        }
    }
    if question.copied {
        let (copy, _) = range.ask(call, &mounted.copy).await;
        // A filter on a masked item goes down to the copy's source, never below the barrier: then the copy may leave out
        // rows on which another part of the predicate would have failed, and the other way round.
        let failed = |heard: &Heard| heard.code() == "expression_failed";
        if first != copy && !failed(&first) && !failed(&copy) {
            if raced(range, call, [&mounted.pair[0], &mounted.copy]).await {
                return Ok("raced".to_owned());
            }
            return differ("the copy answers differently", told(&first), told(&copy));
        }
    }
    Ok(first.code())
}

/// The branches of UNION run side by side, and which of them is first is decided anew each time. Such a statement differs
/// when what one library answers again and again never is what the other one does.
async fn raced(range: &Range, call: &Call, libraries: [&str; 2]) -> bool {
    if !call.body["sql"].as_str().unwrap_or_default().to_uppercase().contains("UNION") {
        return false;
    }
    let mut met: [Vec<Heard>; 2] = [Vec::new(), Vec::new()];
    for _ in 0..12 {
        for (side, library) in libraries.iter().enumerate() {
            let (heard, _) = range.ask(call, library).await;
            if met[1 - side].contains(&heard) {
                return true;
            }
            met[side].push(heard);
        }
    }
    false
}

fn told(heard: &Heard) -> String {
    format!("{} {:?} whole: {}\n      {}", heard.status, heard.headers, heard.whole, heard.text())
}

/// The columns of both tables as the grammar takes them.
pub fn columns(world: &World) -> Vec<(&'static str, Vec<Column>)> {
    world.tables.iter().map(|table| (table.name, table.columns())).collect()
}

pub fn questions(world: &World, count: usize, dice: &mut Dice) -> Vec<Question> {
    let columns = columns(world);
    let tables: Vec<(&str, &[Column])> =
        columns.iter().map(|(name, columns)| (*name, columns.as_slice())).collect();
    let mut questions = Vec::with_capacity(count);
    let mut last = String::new();
    for number in 0..count {
        let accept = if dice.percent(15) { ARROW } else { JSON };
        let taste = Taste { risky: dice.percent(30), common: false };
        let lane = dice.below(100);
        let question = if lane < 12 { keys(world, dice, accept) } else { None };
        let mut question = question.unwrap_or_else(|| {
            let sql = if lane > 75 && !last.is_empty() {
                mutated(&last, dice)
            } else {
                last = statement(&tables, dice, taste, world.large);
                last.clone()
            };
            let (sql, params) = if dice.percent(15) { parameters(&sql, dice) } else { (sql, Vec::new()) };
            Question { call: query(&sql, &params, accept), copied: true, receipts: false }
        });
        question.copied &= number % 3 == 0;
        question.receipts = number % 16 == 0;
        questions.push(question);
    }
    questions
}

/// Some quoted texts of the statement as parameters.
fn parameters(sql: &str, dice: &mut Dice) -> (String, Vec<Json>) {
    let mut tokens = tokens(sql);
    let mut params = Vec::new();
    for at in 1..tokens.len() {
        let typed = ["DATE", "TIMESTAMP", "INTERVAL"].contains(&tokens[at - 1].as_str());
        if tokens[at].starts_with('\'') && !typed && dice.percent(60) && params.len() < 4 {
            params.push(json!(tokens[at].trim_matches('\'')));
            tokens[at] = format!("${}", params.len());
        }
    }
    (tokens.join(" "), params)
}

/// A look-up: keys that hit visible rows, rows hidden in one database or both, and nothing.
fn keys(world: &World, dice: &mut Dice, accept: &'static str) -> Option<Question> {
    let table = dice.one(&world.tables);
    let at = *dice.one(if table.input.is_empty() { &[0] } else { &table.input });
    let mut values = Vec::new();
    for _ in 0..1 + dice.below(5) {
        let rows = match dice.below(4) {
            0 => &table.visible,
            side => &table.fillings[side % 2].rows,
        };
        let row = if rows.is_empty() { None } else { Some(dice.one(rows)) };
        let value = row.and_then(|row| write::text(&row[at])).filter(|text| (1..200).contains(&text.len()));
        values.push(value.unwrap_or_else(|| format!("{}", dice.below(900))));
    }
    let items = dice.percent(40).then(|| named(table, dice));
    // The copy holds the key only where it is shown in the clear.
    let shown = table.output.iter().any(|(item, mask)| *item == at && mask.is_none());
    let copied = shown && table.input.contains(&at) && table.items[at].kind != ItemType::Binary;
    let call = lookup(table.name, &table.items[at].name, &values, items.as_deref(), accept);
    Some(Question { call, copied, receipts: false })
}

/// Items to be shown; now and then one that is not granted.
fn named(table: &Table, dice: &mut Dice) -> Vec<String> {
    let mut items: Vec<String> = table.columns().into_iter().map(|(name, _)| name).collect();
    items.truncate(1 + dice.below(items.len()));
    if dice.percent(10) {
        items.push(dice.one(&table.items).name.clone());
    }
    items
}
