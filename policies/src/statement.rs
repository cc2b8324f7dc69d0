//! The statement gate: text in, one checked SELECT out, or a fault that says what to change.
//!
//! INVARIANT: whatever is not on a list (clause, operator, cast target, function, relation kind) is refused.
//! INVARIANT: size and depth are measured on tokens before anything recursive runs.
//! INVARIANT: the tree that was checked is the tree that runs; there is no way back to text.
//! INVARIANT: no fault repeats a literal or a token of the statement; only a function's name is echoed.

mod call;
mod clauses;
mod columns;
mod expression;
mod lexical;
mod query;
mod relation;
mod shape;
mod types;

use std::collections::BTreeSet;
use std::fmt;

use catalog::ResourceName;
use datafusion_sql::parser::Statement as DfStatement;
use datafusion_sql::sqlparser::ast::Statement as SqlStatement;
use datafusion_sql::sqlparser::dialect::GenericDialect;
use datafusion_sql::sqlparser::parser::{Parser, ParserError};
use datafusion_sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};
use serde::{Deserialize, Serialize};

/// Stack for every thread that plans or runs checked statements. The engine recurses along operators: a chain at the
/// ceiling took between 3 and 6 MiB in an unoptimised build, more than a worker has by default.
pub const STACK_BYTES: usize = 16 * 1024 * 1024;

/// Ceilings of one statement. Counts, unless the name says bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GateLimits {
    pub text_bytes_max: usize,
    pub tokens_max: usize,
    /// Nodes of the syntax tree; after expansion of common table expressions at most four times as many.
    pub nodes_max: usize,
    /// Operators of one precedence in a row.
    pub chain_max: usize,
    pub in_list_max: usize,
    /// Brackets, prefix operators, subqueries inside one another.
    pub nesting_max: usize,
    pub joins_max: usize,
    /// Relations after expansion of common table expressions.
    pub relations_max: usize,
    pub set_branches_max: usize,
    /// Grouping sets of one SELECT, CUBE and ROLLUP counted out.
    pub grouping_sets_max: usize,
    pub output_columns_max: usize,
    pub literal_bytes_max: usize,
    /// The pattern of LIKE and ILIKE.
    pub pattern_bytes_max: usize,
    pub parameters_max: u32,
}

impl Default for GateLimits {
    fn default() -> Self {
        Self {
            text_bytes_max: 64 * 1024,
            tokens_max: 10_000,
            nodes_max: 2_000,
            chain_max: 256,
            in_list_max: 1_000,
            nesting_max: 50,
            joins_max: 16,
            relations_max: 64,
            set_branches_max: 32,
            grouping_sets_max: 16,
            output_columns_max: 512,
            literal_bytes_max: 64 * 1024,
            pattern_bytes_max: 1024,
            parameters_max: 256,
        }
    }
}

/// Which ceiling a statement is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Limit {
    #[error("bytes of text; send a shorter statement and pass values as parameters")]
    Text,
    #[error("tokens; send a shorter statement or ask with `lookup`")]
    Tokens,
    #[error("parts of the statement; split it into several")]
    Nodes,
    #[error("operators in a row; use IN, `lookup` or split the statement")]
    Chain,
    #[error("values in one IN list; ask with `lookup`")]
    InList,
    #[error("levels inside one another; write it flatter, for example with WITH")]
    Nesting,
    #[error("joins; split the statement")]
    Joins,
    #[error("relations once WITH is written out; split the statement")]
    Relations,
    #[error("branches of UNION, INTERSECT and EXCEPT; split the statement")]
    SetBranches,
    #[error("grouping sets; name fewer groupings")]
    GroupingSets,
    #[error("output columns; name the columns you need")]
    OutputColumns,
    #[error("bytes in one literal; pass the value as a parameter or ask with `lookup`")]
    Literal,
    #[error("bytes in one LIKE pattern; use a shorter pattern")]
    Pattern,
    #[error("parameters; ask with `lookup`")]
    Parameters,
    #[error("parts once columns of inner queries are written out; refer to computed columns less often")]
    Growth,
}

/// Why a statement may not run. `Display` is what the caller is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementFault {
    /// One-based, as the tokenizer counts characters.
    #[error("the statement cannot be read at line {line}, column {column}; correct the SQL there")]
    Syntax { line: u64, column: u64 },
    /// The kind is one of the gate's own words, never the caller's.
    #[error("{0} is not allowed; send one SELECT of columns, allowed functions and allowed operators")]
    StatementNotAllowed(&'static str),
    /// The name as it was written, at most 64 characters.
    #[error("function `{0}` is not on the list of allowed functions; use one that is")]
    FunctionNotAllowed(String),
    #[error("too complex: at most {1} {0}")]
    TooComplex(Limit, usize),
}

impl StatementFault {
    /// The code a client acts on (the table "What a caller is told").
    pub fn code(&self) -> &'static str {
        match self {
            Self::Syntax { .. } => "invalid",
            Self::StatementNotAllowed(_) => "statement_not_allowed",
            Self::FunctionNotAllowed(_) => "function_not_allowed",
            Self::TooComplex(..) => "too_complex",
        }
    }

    pub(crate) fn function(name: &str) -> Self {
        let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
        Self::FunctionNotAllowed(name.chars().take(64).map(clean).collect())
    }

    fn at(place: Location) -> Self {
        Self::Syntax { line: place.line.max(1), column: place.column.max(1) }
    }
}

/// A base relation a statement names, once common table expressions are resolved away.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Relation {
    /// Exactly `library.resource`, both valid catalogue names.
    Resource(ResourceName),
    /// One part, three parts, a path, a name no resource can have: the answer is `not_found`.
    Other(String),
}

/// One SELECT that passed the gate. It cannot be made or changed elsewhere.
#[derive(Clone)]
pub struct CheckedStatement {
    statement: DfStatement,
    relations: Vec<Relation>,
    parameters: u32,
    shape: String,
}

/// The tree may hold personal data in its literals: only counts and the shape are shown.
impl fmt::Debug for CheckedStatement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckedStatement")
            .field("relations", &self.relations.len())
            .field("parameters", &self.parameters)
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}

impl CheckedStatement {
    /// The tree, in the type `SessionState::statement_to_plan` takes.
    pub fn statement(&self) -> &DfStatement {
        &self.statement
    }

    pub fn into_df_statement(self) -> DfStatement {
        self.statement
    }

    /// Every base relation named anywhere in the statement, sorted, once each.
    pub fn relations(&self) -> &[Relation] {
        &self.relations
    }

    /// The highest `$n` used, 0 when there is none; the caller gives exactly that many values.
    pub fn parameters(&self) -> usize {
        self.parameters as usize
    }

    /// The statement for the record: keywords and names, literals as `?`, comments gone, aliases numbered.
    /// At most 16 KiB, ASCII. Not a plan key: different statements may share a shape.
    pub fn shape(&self) -> &str {
        &self.shape
    }
}

/// Checks one statement. Cost is linear in the text; text over a ceiling is refused before it is parsed.
pub fn check(sql: &str, limits: &GateLimits) -> Result<CheckedStatement, StatementFault> {
    let tokens = lexical::scan(sql, limits)?;
    let shape_tokens = tokens.clone();
    let query = parse(tokens, limits)?;
    let mut gate = Gate::new(limits);
    gate.query(&query)?;
    let shape = shape::shape(&shape_tokens, &gate.aliases);
    Ok(CheckedStatement {
        relations: gate.relations.into_iter().collect(),
        parameters: gate.parameters,
        shape,
        statement: DfStatement::Statement(Box::new(SqlStatement::Query(query))),
    })
}

type Query = datafusion_sql::sqlparser::ast::Query;

fn parse(tokens: Vec<TokenWithSpan>, limits: &GateLimits) -> Result<Box<Query>, StatementFault> {
    // A level of brackets or subquery costs the parser up to four of its own levels.
    let depth_max = limits.nesting_max.saturating_mul(4).saturating_add(10);
    let mut parser =
        Parser::new(&GenericDialect {}).with_recursion_limit(depth_max).with_tokens_with_locations(tokens);
    let parsed = parser.parse_statement();
    let statement = parsed.map_err(|error| {
        let place = parser.peek_token_ref().span.start;
        match error {
            ParserError::RecursionLimitExceeded => {
                StatementFault::TooComplex(Limit::Nesting, limits.nesting_max)
            }
            ParserError::ParserError(text) | ParserError::TokenizerError(text) => {
                StatementFault::at(place_in(&text).unwrap_or(place))
            }
        }
    })?;
    let _ = parser.consume_token(&Token::SemiColon);
    let rest = parser.peek_token_ref();
    if rest.token != Token::EOF {
        return Err(StatementFault::at(rest.span.start));
    }
    match statement {
        SqlStatement::Query(query) => Ok(query),
        _ => Err(StatementFault::StatementNotAllowed("a statement other than SELECT")),
    }
}

/// The parser knows the place of a fault only at the end of its message; the message itself is never sent.
fn place_in(message: &str) -> Option<Location> {
    let (_, tail) = message.rsplit_once(" at Line: ")?;
    let (line, column) = tail.split_once(", Column: ")?;
    Some(Location { line: line.parse().ok()?, column: column.parse().ok()? })
}

/// What a query adds to every place that refers to it.
#[derive(Debug, Clone, Copy, Default)]
struct Weight {
    relations: usize,
    nodes: usize,
}

/// Nodes an expression may have, for every node the statement may have, once inner columns are written out.
const GROWTH: usize = 50;

/// The walk over one statement: what was counted so far and which names are in reach.
struct Gate<'a> {
    limits: &'a GateLimits,
    depth: usize,
    nodes: usize,
    joins: usize,
    branches: usize,
    parameters: u32,
    weight: Weight,
    relations: BTreeSet<Relation>,
    /// Every name the statement makes up itself, normalised.
    aliases: BTreeSet<String>,
    /// Common table expressions in reach, innermost last.
    expressions: Vec<(String, Weight, columns::Columns)>,
    /// Columns of the queries around the current expression, innermost last.
    columns: Vec<columns::Columns>,
    /// Size of the current expression once columns of inner queries are written out.
    growth: u64,
}

impl<'a> Gate<'a> {
    fn new(limits: &'a GateLimits) -> Self {
        Self {
            limits,
            depth: 0,
            nodes: 0,
            joins: 0,
            branches: 0,
            parameters: 0,
            weight: Weight::default(),
            relations: BTreeSet::new(),
            aliases: BTreeSet::new(),
            expressions: Vec::new(),
            columns: Vec::new(),
            growth: 0,
        }
    }

    /// Counts one node of the tree and one level; `leave` gives the level back.
    fn enter(&mut self) -> Result<(), StatementFault> {
        self.node()?;
        self.depth += 1;
        if self.depth > self.limits.nesting_max.saturating_mul(4) {
            return Err(StatementFault::TooComplex(Limit::Nesting, self.limits.nesting_max));
        }
        Ok(())
    }

    fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    fn node(&mut self) -> Result<(), StatementFault> {
        self.nodes += 1;
        self.weight.nodes += 1;
        self.within(Limit::Nodes, self.nodes, self.limits.nodes_max)?;
        self.grow(1)
    }

    fn grow(&mut self, size: u64) -> Result<(), StatementFault> {
        self.growth = self.growth.saturating_add(size);
        let growth = usize::try_from(self.growth).unwrap_or(usize::MAX);
        let growth_max = self.limits.nodes_max.saturating_mul(GROWTH);
        self.within(Limit::Growth, growth, growth_max)
    }

    fn within(&self, limit: Limit, count: usize, max: usize) -> Result<(), StatementFault> {
        if count > max { Err(StatementFault::TooComplex(limit, max)) } else { Ok(()) }
    }
}

fn deny<T>(kind: &'static str) -> Result<T, StatementFault> {
    Err(StatementFault::StatementNotAllowed(kind))
}
