//! Statements cut into tokens: for mutations of accepted ones, and for making a failing one smaller.

use super::dice::Dice;

/// Words, numbers, quoted texts and signs; blanks are dropped.
pub fn tokens(sql: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut chars = sql.chars().peekable();
    let word = |char: char| char.is_alphanumeric() || matches!(char, '_' | '.' | '$');
    while let Some(first) = chars.next() {
        let mut token = first.to_string();
        if first == '\'' {
            for char in chars.by_ref() {
                token.push(char);
                if char == '\'' {
                    break;
                }
            }
        } else if word(first) {
            while let Some(char) = chars.next_if(|char| word(*char)) {
                token.push(char);
            }
        } else if let Some(second) =
            chars.next_if(|second| matches!((first, *second), ('<' | '>', '=') | ('<', '>') | ('|', '|')))
        {
            token.push(second);
        } else if first.is_whitespace() {
            continue;
        }
        tokens.push(token);
    }
    tokens
}

/// Another statement near an accepted one; most of them are accepted too, or refused for a new reason.
pub fn mutated(sql: &str, dice: &mut Dice) -> String {
    let mut tokens = tokens(sql);
    for _ in 0..1 + dice.below(3) {
        if tokens.len() < 2 {
            break;
        }
        let (at, other) = (dice.below(tokens.len()), dice.below(tokens.len()));
        match dice.below(8) {
            0 => drop(tokens.remove(at)),
            1 => tokens.swap(at, other),
            2 => tokens.insert(at, tokens[other].clone()),
            3 => tokens[at] = tokens[other].clone(),
            4 => tokens[at] = (*dice.one(&SPARE)).to_owned(),
            5 => tokens.insert(at, (*dice.one(&SPARE)).to_owned()),
            _ => near(&mut tokens[at], dice),
        }
    }
    tokens.join(" ")
}

const SPARE: [&str; 34] = [
    "NOT",
    "NULL",
    "DISTINCT",
    "0",
    "200",
    "-1",
    "'CANARY'",
    "'***'",
    "IS",
    "count",
    "*",
    "/",
    "%",
    "||",
    "=",
    "<>",
    "OR",
    "AND",
    "i0",
    "i1",
    "i2",
    "i9",
    "(",
    ")",
    ",",
    "LIMIT",
    "1",
    "c0",
    "1e308",
    "9223372036854775807",
    "CAST",
    "ORDER",
    "EXISTS",
    "lib_.u",
];

/// The same kind of token with another meaning.
fn near(token: &mut String, dice: &mut Dice) {
    const FAMILIES: [&[&str]; 9] = [
        &["=", "<>", "<", "<=", ">", ">="],
        &["+", "-", "*", "/", "%"],
        &["AND", "OR"],
        &["i0", "i1", "i2", "i3", "i4", "i5", "i6", "i7"],
        &["lib_.t", "lib_.u", "lib_.v"],
        &["JOIN", "CROSS", "LEFT", "RIGHT", "FULL"],
        &["min", "max", "sum", "avg", "count", "median", "stddev", "first_value", "last_value"],
        &["UNION", "INTERSECT", "EXCEPT"],
        &["BIGINT", "SMALLINT", "TINYINT", "VARCHAR", "DATE", "DOUBLE", "BOOLEAN", "TIMESTAMP"],
    ];
    if let Some((alias, column)) = token.split_once('.').filter(|(alias, _)| alias.starts_with('a')) {
        let _unused = column;
        *token = format!("{alias}.i{}", dice.below(10));
    } else if let Some(family) = FAMILIES.iter().find(|family| family.contains(&token.as_str())) {
        *token = (*dice.one(family)).to_owned();
    } else if token.parse::<i64>().is_ok() {
        *token = dice.one(&["0", "1", "2", "199", "200", "250", "9223372036854775807", "0.5"]).to_string();
    } else if token.starts_with('\'') {
        *token =
            dice.one(&["''", "'A'", "'CANARY-1'", "'%'", "'33'", "'1990-01-01'", "'\u{10FFFF}'"]).to_string();
    }
}
