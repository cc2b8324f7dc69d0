//! Statements of all allowed shapes: joins, WITH, subqueries, set operations, groupings, windows, order and limits.

use catalog::ItemType;

use super::cells::TYPES;
use super::dice::Dice;
use super::expression::{Column, Taste, column, of, truth};

/// The tables of a library: name and visible columns.
pub type Tables<'t> = [(&'t str, &'t [Column])];

/// A relation in FROM, with the columns it brings into reach.
struct Source {
    from: String,
    columns: Vec<Column>,
}

pub struct Grammar<'t> {
    pub tables: &'t Tables<'t>,
    pub taste: Taste,
    /// One table, no joins: for many rows.
    pub plain: bool,
    aliases: usize,
    /// WITH queries of this statement.
    with: Vec<(String, Vec<Column>)>,
}

/// One statement; its columns are `c0`, `c1`, …
pub fn statement(tables: &Tables<'_>, dice: &mut Dice, taste: Taste, plain: bool) -> String {
    let mut grammar = Grammar { tables, taste, plain, aliases: 0, with: Vec::new() };
    let mut with = Vec::new();
    if !plain && dice.percent(20) {
        for number in 0..1 + dice.below(2) {
            let (query, kinds) = grammar.query(dice, 1);
            let name = format!("w{number}");
            with.push(format!("{name} AS ({query})"));
            grammar.with.push((name, numbered("", &kinds)));
        }
    }
    let (query, kinds) = match dice.below(10) {
        0 if !plain => grammar.set(dice),
        1 | 2 => grammar.grouped(dice, 1),
        3 => grammar.windowed(dice),
        4 if !taste.common => grammar.starred(dice),
        _ => grammar.query(dice, 2),
    };
    let with = if with.is_empty() { String::new() } else { format!("WITH {} ", with.join(", ")) };
    format!("{with}{query}{}", grammar.tail(dice, kinds.len()))
}

/// Columns of a query by position, behind an alias.
fn numbered(alias: &str, kinds: &[ItemType]) -> Vec<Column> {
    let dot = if alias.is_empty() { String::new() } else { format!("{alias}.") };
    kinds.iter().enumerate().map(|(at, kind)| (format!("{dot}c{at}"), *kind)).collect()
}

impl Grammar<'_> {
    fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("a{}", self.aliases)
    }

    fn table(&mut self, dice: &mut Dice) -> Source {
        let alias = self.alias();
        if !self.with.is_empty() && dice.percent(50) {
            let (name, columns) = dice.one(&self.with);
            let columns = columns.iter().map(|(name, kind)| (format!("{alias}.{name}"), *kind)).collect();
            return Source { from: format!("{name} AS {alias}"), columns };
        }
        let (name, columns) = *dice.one(self.tables);
        let columns = columns.iter().map(|(name, kind)| (format!("{alias}.{name}"), *kind)).collect();
        Source { from: format!("lib_.{name} AS {alias}"), columns }
    }

    fn source(&mut self, dice: &mut Dice, depth: usize) -> Source {
        if depth == 0 || self.plain {
            return self.table(dice);
        }
        match dice.below(8) {
            0 => {
                let alias = self.alias();
                let (query, kinds) = self.query(dice, depth - 1);
                let limit = if dice.percent(25) && !self.taste.common { " LIMIT 3" } else { "" };
                Source { from: format!("({query}{limit}) AS {alias}"), columns: numbered(&alias, &kinds) }
            }
            1..=3 => self.join(dice),
            _ => self.table(dice),
        }
    }

    fn join(&mut self, dice: &mut Dice) -> Source {
        let (left, right) = (self.table(dice), self.table(dice));
        let mut columns = left.columns.clone();
        columns.extend(right.columns.clone());
        let kind = *dice.one(&["JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "CROSS JOIN"]);
        if kind == "CROSS JOIN" {
            return Source { from: format!("{} CROSS JOIN {}", left.from, right.from), columns };
        }
        let equal = TYPES.iter().find_map(|kind| {
            Some((column(*kind, &left.columns, dice)?, column(*kind, &right.columns, dice)?))
        });
        let on = match equal {
            // PostgreSQL has full joins on plain equality only.
            Some((a, b)) if self.taste.common || dice.percent(60) => format!("{a} = {b}"),
            Some((a, b)) if dice.percent(50) => {
                format!("{a} = {b} AND {}", truth(&columns, dice, 1, self.taste))
            }
            _ if self.taste.common => {
                return Source { from: format!("{} CROSS JOIN {}", left.from, right.from), columns };
            }
            _ => truth(&columns, dice, 1, self.taste),
        };
        Source { from: format!("{} {kind} {} ON {on}", left.from, right.from), columns }
    }

    fn filter(&mut self, columns: &[Column], dice: &mut Dice, depth: usize) -> String {
        if dice.percent(25) {
            return String::new();
        }
        let mut test = truth(columns, dice, 2, self.taste);
        if depth > 0 && !self.plain && dice.percent(25) {
            let and = dice.one(&["AND", "AND", "OR"]);
            test = format!("({test}) {and} {}", self.subquery(columns, dice));
        }
        format!(" WHERE {test}")
    }

    /// A predicate with a query in it: EXISTS, IN, or a comparison with a single value; the first two may be correlated.
    fn subquery(&mut self, columns: &[Column], dice: &mut Dice) -> String {
        let inner = self.table(dice);
        let kind = *dice.one(&[ItemType::Integer, ItemType::Text, ItemType::Date]);
        let not = *dice.one(&["", "NOT "]);
        let outer = of(kind, columns, dice, 0, self.taste);
        let own = of(kind, &inner.columns, dice, 0, self.taste);
        let test = truth(&inner.columns, dice, 1, self.taste);
        match dice.below(4) {
            0 => format!("{not}EXISTS (SELECT 1 FROM {} WHERE {own} = {outer} AND {test})", inner.from),
            1 => format!("{outer} {not}IN (SELECT {own} FROM {} WHERE {test})", inner.from),
            2 => format!("{not}EXISTS (SELECT 1 FROM {} WHERE {test})", inner.from),
            _ => {
                let of = dice.one(&["max", "min", "count"]);
                let outer = if *of == "count" { "3".to_owned() } else { outer };
                format!("{outer} >= (SELECT {of}({own}) FROM {} WHERE {test})", inner.from)
            }
        }
    }

    pub fn query(&mut self, dice: &mut Dice, depth: usize) -> (String, Vec<ItemType>) {
        if depth > 0 && dice.percent(15) {
            return self.grouped(dice, depth - 1);
        }
        let source = self.source(dice, depth);
        let kinds: Vec<ItemType> = (0..1 + dice.below(3)).map(|_| self.kind(&source.columns, dice)).collect();
        let list = self.list(&kinds, &source.columns, dice);
        let filter = self.filter(&source.columns, dice, depth);
        let distinct = if dice.percent(15) { "DISTINCT " } else { "" };
        (format!("SELECT {distinct}{list} FROM {}{filter}", source.from), kinds)
    }

    fn kind(&self, columns: &[Column], dice: &mut Dice) -> ItemType {
        let kind = if dice.percent(75) { dice.one(columns).1 } else { *dice.one(&TYPES) };
        if kind == ItemType::Binary && self.taste.common { ItemType::Integer } else { kind }
    }

    fn list(&self, kinds: &[ItemType], columns: &[Column], dice: &mut Dice) -> String {
        let list: Vec<String> = kinds
            .iter()
            .enumerate()
            .map(|(at, kind)| format!("{} AS c{at}", of(*kind, columns, dice, 2, self.taste)))
            .collect();
        list.join(", ")
    }

    fn starred(&mut self, dice: &mut Dice) -> (String, Vec<ItemType>) {
        let source = self.table(dice);
        let filter = self.filter(&source.columns, dice, 1);
        let kinds = source.columns.iter().map(|(_, kind)| *kind).collect();
        (format!("SELECT * FROM {}{filter}", source.from), kinds)
    }

    fn set(&mut self, dice: &mut Dice) -> (String, Vec<ItemType>) {
        let kinds: Vec<ItemType> = (0..1 + dice.below(2))
            .map(|_| *dice.one(&[ItemType::Integer, ItemType::Text, ItemType::Date]))
            .collect();
        let mut branch = |dice: &mut Dice| {
            let source = self.source(dice, 1);
            let list = self.list(&kinds, &source.columns, dice);
            let filter = self.filter(&source.columns, dice, 0);
            format!("SELECT {list} FROM {}{filter}", source.from)
        };
        let (first, second) = (branch(dice), branch(dice));
        let op = dice.one(&["UNION", "UNION ALL", "INTERSECT", "EXCEPT"]);
        (format!("{first} {op} {second}"), kinds)
    }

    pub fn grouped(&mut self, dice: &mut Dice, depth: usize) -> (String, Vec<ItemType>) {
        let source = self.source(dice, depth);
        let columns = &source.columns;
        let keys: Vec<Column> = (0..dice.below(3)).map(|_| dice.one(columns).clone()).collect();
        let mut list: Vec<String> = keys.iter().map(|(name, _)| name.clone()).collect();
        let mut kinds: Vec<ItemType> = keys.iter().map(|(_, kind)| *kind).collect();
        for _ in 0..1 + dice.below(3) {
            let (call, kind) = self.aggregate(columns, dice);
            list.push(call);
            kinds.push(kind);
        }
        let list: Vec<String> =
            list.iter().enumerate().map(|(at, expr)| format!("{expr} AS c{at}")).collect();
        let filter = self.filter(columns, dice, depth);
        let names: Vec<&str> = keys.iter().map(|(name, _)| name.as_str()).collect();
        let group = match (keys.len(), dice.below(6)) {
            (0, _) => String::new(),
            (2, 0) if !self.taste.common => format!(" GROUP BY ROLLUP({})", names.join(", ")),
            (2, 1) if !self.taste.common => format!(" GROUP BY CUBE({})", names.join(", ")),
            (2, 2) if !self.taste.common => format!(" GROUP BY GROUPING SETS (({}), ())", names.join(", ")),
            _ => format!(" GROUP BY {}", names.join(", ")),
        };
        let having = if dice.percent(25) {
            let call = self.aggregate(columns, dice).0;
            let op = *dice.one(&[">", "<="]);
            format!(" HAVING {call} {op} {}", dice.below(4))
        } else {
            String::new()
        };
        // What HAVING compares must be a number, so it may not fit; then both sides say so.
        (format!("SELECT {} FROM {}{filter}{group}{having}", list.join(", "), source.from), kinds)
    }

    fn aggregate(&self, columns: &[Column], dice: &mut Dice) -> (String, ItemType) {
        let kind = self.kind(columns, dice);
        let depth = usize::from(dice.percent(30));
        let column = of(kind, columns, dice, depth, self.taste);
        let whole = of(ItemType::Integer, columns, dice, 1, self.taste);
        let float = of(ItemType::Float, columns, dice, 0, self.taste);
        let flag = of(ItemType::Boolean, columns, dice, 0, self.taste);
        let (call, kind) = match dice.below(if self.taste.common { 6 } else { 12 }) {
            0 => ("count(*)".to_owned(), ItemType::Integer),
            1 => (format!("count({column})"), ItemType::Integer),
            2 => (format!("count(DISTINCT {column})"), ItemType::Integer),
            3 => (format!("sum({whole})"), ItemType::Integer),
            4 if kind != ItemType::Boolean => (format!("min({column})"), kind),
            5 if kind != ItemType::Boolean => (format!("max({column})"), kind),
            6 => (format!("avg({whole})"), ItemType::Float),
            7 => (format!("sum({float})"), ItemType::Float),
            8 => (format!("median({float})"), ItemType::Float),
            9 => (format!("stddev({float})"), ItemType::Float),
            10 => (format!("bool_or({flag})"), ItemType::Boolean),
            11 => (format!("first_value({column})"), kind),
            _ => ("count(*)".to_owned(), ItemType::Integer),
        };
        if dice.percent(20) {
            return (format!("{call} FILTER (WHERE {})", truth(columns, dice, 1, self.taste)), kind);
        }
        (call, kind)
    }

    fn windowed(&mut self, dice: &mut Dice) -> (String, Vec<ItemType>) {
        let source = self.table(dice);
        let columns = &source.columns;
        let (first, kind) = dice.one(columns).clone();
        // For PostgreSQL only what ties cannot change.
        let order: Vec<String> = columns
            .iter()
            .take(if self.taste.common { columns.len() } else { 2 })
            .map(|(name, _)| format!("{name} ASC NULLS LAST"))
            .collect();
        let partition = if dice.percent(50) { format!("PARTITION BY {first} ") } else { String::new() };
        let whole = of(ItemType::Integer, columns, dice, 1, self.taste);
        let call = match dice.below(if self.taste.common { 3 } else { 9 }) {
            0 => "row_number()".to_owned(),
            1 => format!("sum({whole})"),
            2 => "count(*)".to_owned(),
            3 => "rank()".to_owned(),
            4 => format!("lag({first})"),
            5 => format!("lead({first}, 2)"),
            6 => "ntile(4)".to_owned(),
            7 => "percent_rank()".to_owned(),
            _ => format!("max({whole})"),
        };
        let filter = self.filter(columns, dice, 1);
        let over = format!("{call} OVER ({partition}ORDER BY {})", order.join(", "));
        let kinds = vec![kind, ItemType::Integer];
        (format!("SELECT {first} AS c0, {over} AS c1 FROM {}{filter}", source.from), kinds)
    }

    fn tail(&self, dice: &mut Dice, columns: usize) -> String {
        if self.taste.common {
            return String::new();
        }
        let mut tail = String::new();
        if dice.percent(35) {
            let parts = 1 + dice.below(columns.min(3));
            let by: Vec<String> = (0..parts)
                .map(|_| {
                    let at = 1 + dice.below(columns);
                    format!("{at}{}", dice.one(&["", " DESC", " NULLS FIRST"]))
                })
                .collect();
            tail += &format!(" ORDER BY {}", by.join(", "));
        }
        if dice.percent(25) {
            tail += &format!(" LIMIT {}", dice.below(12));
        }
        if dice.percent(12) {
            tail += &format!(" OFFSET {}", dice.below(6));
        }
        tail
    }
}
