//! The shape of a statement for the record: what was asked, without what was asked for.
//!
//! INVARIANT: no literal and no name the caller made up appears; ASCII, one line, bounded.

use std::collections::{BTreeMap, BTreeSet};

use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::lexical::is_text;

const SHAPE_BYTES_MAX: usize = 16 * 1024;
const NAME_BYTES_MAX: usize = 63;
/// A name with more digits in a row than this may be a number of a person.
const DIGITS_MAX: usize = 5;

/// Tokens joined by single spaces; a list of literals becomes one `?`.
pub(super) fn shape(tokens: &[TokenWithSpan], aliases: &BTreeSet<String>) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut numbered: BTreeMap<String, usize> = BTreeMap::new();
    let mut bytes = 0usize;
    for token in tokens {
        let word = match &token.token {
            Token::SemiColon | Token::EOF => continue,
            Token::Word(word) => {
                let normal = if word.quote_style.is_none() {
                    word.value.to_ascii_lowercase()
                } else {
                    word.value.clone()
                };
                if aliases.contains(&normal) {
                    let next = numbered.len() + 1;
                    format!("a{}", numbered.entry(normal).or_insert(next))
                } else if word.quote_style.is_none() && word.keyword != Keyword::NoKeyword {
                    word.value.to_ascii_uppercase()
                } else {
                    name(&normal)
                }
            }
            Token::Number(..) => "?".to_owned(),
            text if is_text(text) => "?".to_owned(),
            Token::Placeholder(text) => placeholder(text),
            other => other.to_string().chars().filter(char::is_ascii_graphic).collect(),
        };
        if word == "?" && ends_in_list(&words) {
            words.pop();
            continue;
        }
        bytes += word.len() + 1;
        if bytes > SHAPE_BYTES_MAX - 4 {
            words.push("...".to_owned());
            break;
        }
        words.push(word);
    }
    words.join(" ")
}

fn ends_in_list(words: &[String]) -> bool {
    matches!(words, [.., literal, comma] if literal == "?" && comma == ",")
}

fn name(normal: &str) -> String {
    let plain =
        normal.len() <= NAME_BYTES_MAX && normal.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if plain && digits_in_a_row(normal) <= DIGITS_MAX { normal.to_owned() } else { "?".to_owned() }
}

fn digits_in_a_row(text: &str) -> usize {
    text.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or(0)
}

fn placeholder(text: &str) -> String {
    let numbered =
        text.strip_prefix('$').is_some_and(|n| n.len() <= 3 && n.bytes().all(|b| b.is_ascii_digit()));
    if numbered { text.to_owned() } else { "?".to_owned() }
}
