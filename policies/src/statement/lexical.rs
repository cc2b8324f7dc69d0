//! The scan before parsing: what tokens alone can tell about size, depth and kind of a statement.
//!
//! INVARIANT: linear in the text, no recursion; what passes cannot overflow a stack in the parser, in the walk or when dropped.

use datafusion_sql::sqlparser::dialect::GenericDialect;
use datafusion_sql::sqlparser::keywords::{ALL_KEYWORDS, Keyword};
use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Word};

use super::{GateLimits, Limit, StatementFault, deny};

/// The parser reads a long path by recursion; no name has this many parts.
const PATH_PARTS_MAX: usize = 64;

/// Tokens without white space and comments, or the first fault.
pub(super) fn scan(sql: &str, limits: &GateLimits) -> Result<Vec<TokenWithSpan>, StatementFault> {
    if sql.len() > limits.text_bytes_max {
        return Err(StatementFault::TooComplex(Limit::Text, limits.text_bytes_max));
    }
    let mut tokens = Vec::new();
    Tokenizer::new(&GenericDialect {}, sql)
        .tokenize_with_location_into_buf(&mut tokens)
        .map_err(|error| StatementFault::at(error.location))?;
    tokens.retain(|t| !matches!(t.token, Token::Whitespace(_)));
    if tokens.len() > limits.tokens_max {
        return Err(StatementFault::TooComplex(Limit::Tokens, limits.tokens_max));
    }
    if tokens.iter().any(|t| literal_len(&t.token) > limits.literal_bytes_max) {
        return Err(StatementFault::TooComplex(Limit::Literal, limits.literal_bytes_max));
    }
    kind(&tokens)?;
    one_statement(&tokens)?;
    depth(&tokens, limits)?;
    Ok(tokens)
}

/// The first word tells most statements that are not a SELECT, also those this parser cannot read.
fn kind(tokens: &[TokenWithSpan]) -> Result<(), StatementFault> {
    let first = tokens.iter().find(|t| t.token != Token::LParen);
    let Some(first) = first else {
        return Err(StatementFault::Syntax { line: 1, column: 1 });
    };
    match &first.token {
        Token::Word(Word {
            keyword: Keyword::SELECT | Keyword::WITH | Keyword::VALUES,
            quote_style: None,
            ..
        }) => Ok(()),
        Token::Word(Word { value, quote_style: None, .. }) => {
            match ALL_KEYWORDS.iter().find(|keyword| keyword.eq_ignore_ascii_case(value)) {
                Some(keyword) => deny(keyword),
                None => Err(StatementFault::at(first.span.start)),
            }
        }
        _ => Err(StatementFault::at(first.span.start)),
    }
}

/// One semicolon may end the statement; nothing may follow it.
fn one_statement(tokens: &[TokenWithSpan]) -> Result<(), StatementFault> {
    match tokens.iter().position(|t| t.token == Token::SemiColon) {
        Some(at) if at + 1 < tokens.len() => deny("more than one statement"),
        _ => Ok(()),
    }
}

/// An open bracket: operators since the last comma, and the deepest closed bracket among them.
#[derive(Default)]
struct Level {
    operators: usize,
    inner: usize,
    deepest: usize,
}

impl Level {
    fn end_segment(&mut self) {
        self.deepest = self.deepest.max(self.operators.saturating_add(self.inner));
        self.operators = 0;
        self.inner = 0;
    }
}

/// An upper bound on the depth of the tree: every level of it needs a bracket, or an operator or keyword
/// that no comma separates from the next. Five tokens a link, as in `a IS NOT NULL AND`, leave room for a full chain.
fn depth(tokens: &[TokenWithSpan], limits: &GateLimits) -> Result<(), StatementFault> {
    let too_deep = || StatementFault::TooComplex(Limit::Nesting, limits.nesting_max);
    let operators_max = limits.chain_max.saturating_mul(5);
    let mut levels = vec![Level::default()];
    let mut prefix_run = 0usize;
    let mut set_operators = 0usize;
    let mut after_period = false;
    let mut path = 0usize;
    for token in tokens {
        let open = levels.len();
        let Some(level) = levels.last_mut() else {
            return Err(too_deep());
        };
        let prefix = matches!(
            &token.token,
            Token::Minus | Token::Plus | Token::Tilde | Token::ExclamationMark | Token::AtSign
        ) || is_keyword(&token.token, Keyword::NOT);
        prefix_run = if prefix { prefix_run + 1 } else { 0 };
        if prefix_run > limits.nesting_max {
            return Err(too_deep());
        }
        match &token.token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                if open > limits.nesting_max {
                    return Err(too_deep());
                }
                levels.push(Level::default());
            }
            Token::RParen | Token::RBracket | Token::RBrace => {
                level.end_segment();
                let inner = level.deepest.saturating_add(1);
                levels.pop();
                let Some(outer) = levels.last_mut() else {
                    return Err(StatementFault::at(token.span.start));
                };
                outer.inner = outer.inner.max(inner);
            }
            Token::Comma => level.end_segment(),
            Token::Word(word) if word.quote_style.is_none() => {
                if !after_period && word.keyword != Keyword::NoKeyword {
                    level.operators += 1;
                }
                set_operators += usize::from(matches!(
                    word.keyword,
                    Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT
                ));
            }
            other if !is_operand(other) => level.operators += 1,
            _ => {}
        }
        let open_depth = levels.last().map_or(0, |l| l.operators.saturating_add(l.inner));
        if open_depth > operators_max {
            return Err(StatementFault::TooComplex(Limit::Chain, limits.chain_max));
        }
        after_period = token.token == Token::Period;
        path = match &token.token {
            Token::Period => path + 1,
            Token::Word(_) => path,
            _ => 0,
        };
        if path > PATH_PARTS_MAX {
            return deny("a path");
        }
    }
    if set_operators > limits.set_branches_max.saturating_mul(4) {
        return Err(StatementFault::TooComplex(Limit::SetBranches, limits.set_branches_max));
    }
    Ok(())
}

fn is_keyword(token: &Token, keyword: Keyword) -> bool {
    matches!(token, Token::Word(word) if word.quote_style.is_none() && word.keyword == keyword)
}

fn is_operand(token: &Token) -> bool {
    matches!(
        token,
        Token::Word(_)
            | Token::Number(..)
            | Token::Placeholder(_)
            | Token::Period
            | Token::SemiColon
            | Token::EOF
    ) || is_text(token)
}

/// Literals of any quoting, also those the walk refuses later.
pub(super) fn is_text(token: &Token) -> bool {
    matches!(
        token,
        Token::SingleQuotedString(_)
            | Token::DoubleQuotedString(_)
            | Token::TripleSingleQuotedString(_)
            | Token::TripleDoubleQuotedString(_)
            | Token::DollarQuotedString(_)
            | Token::SingleQuotedByteStringLiteral(_)
            | Token::DoubleQuotedByteStringLiteral(_)
            | Token::TripleSingleQuotedByteStringLiteral(_)
            | Token::TripleDoubleQuotedByteStringLiteral(_)
            | Token::SingleQuotedRawStringLiteral(_)
            | Token::DoubleQuotedRawStringLiteral(_)
            | Token::TripleSingleQuotedRawStringLiteral(_)
            | Token::TripleDoubleQuotedRawStringLiteral(_)
            | Token::NationalStringLiteral(_)
            | Token::QuoteDelimitedStringLiteral(_)
            | Token::NationalQuoteDelimitedStringLiteral(_)
            | Token::EscapedStringLiteral(_)
            | Token::UnicodeStringLiteral(_)
            | Token::HexStringLiteral(_)
    )
}

fn literal_len(token: &Token) -> usize {
    match token {
        Token::Word(word) => word.value.len(),
        Token::Number(text, _) | Token::Placeholder(text) => text.len(),
        Token::SingleQuotedString(text)
        | Token::DoubleQuotedString(text)
        | Token::TripleSingleQuotedString(text)
        | Token::TripleDoubleQuotedString(text)
        | Token::SingleQuotedByteStringLiteral(text)
        | Token::DoubleQuotedByteStringLiteral(text)
        | Token::NationalStringLiteral(text)
        | Token::EscapedStringLiteral(text)
        | Token::UnicodeStringLiteral(text)
        | Token::HexStringLiteral(text) => text.len(),
        Token::DollarQuotedString(text) => text.value.len(),
        _ => 0,
    }
}
