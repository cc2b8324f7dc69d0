//! Random statements over two tables, drawn from a grammar.
//!
//! SQL leaves the order of evaluation open, so an expression that can fail stands alone: no other predicate, join or
//! limit decides whether it is reached, and both sides must then fail or succeed together.

use catalog::ItemType;

use super::world::Dice;

/// Column name and the type it is shown in.
pub type Columns = Vec<(String, ItemType)>;

pub fn statement(dice: &mut Dice<'_>, left: &Columns, right: &Columns) -> String {
    match dice.below(14) {
        0 => rows(dice, left, "t"),
        1 => format!(
            "SELECT DISTINCT {} FROM t WHERE {}",
            list(dice, left, "t"),
            predicate(dice, left, "t", 2)
        ),
        2 => format!("SELECT {} FROM t WHERE {}", aggregates(dice, left), predicate(dice, left, "t", 2)),
        3 => grouped(dice, left),
        4 => joined(dice, left, right),
        5 => nested(dice, left, right),
        6 => set(dice, left, right),
        7 => window(dice, left),
        8 => {
            let case = predicate(dice, left, "t", 1);
            let then = text(dice, left, "t");
            format!(
                "SELECT CASE WHEN {case} THEN {then} ELSE 'else' END AS c, {} FROM t",
                list(dice, left, "t")
            )
        }
        9 => {
            let inner = format!("SELECT * FROM t WHERE {}", predicate(dice, left, "t", 1));
            format!("WITH w AS ({inner}) SELECT count(*) FROM w WHERE {}", predicate(dice, left, "w", 1))
        }
        10 => format!("SELECT count(*) FROM t WHERE {}", risky(dice, left)),
        11 => format!("SELECT {} FROM t", risky(dice, left)),
        12 => format!("SELECT DISTINCT {} AS r FROM t", risky(dice, left)),
        _ => format!("SELECT count(*) FROM t{}", if dice.below(2) == 0 { "" } else { " LIMIT 0" }),
    }
}

/// Ordered by everything that is shown, so that a limit cuts at one place only.
fn rows(dice: &mut Dice<'_>, columns: &Columns, table: &str) -> String {
    let shown = list(dice, columns, table);
    let mut sql = format!("SELECT {shown} FROM {table} WHERE {}", predicate(dice, columns, table, 3));
    if dice.below(3) > 0 {
        let count = shown.split(", ").count();
        let order: Vec<String> = (1..=count)
            .map(|at| format!("{at}{}", dice.one(&["", " DESC", " ASC NULLS FIRST", " DESC NULLS LAST"])))
            .collect();
        sql += &format!(" ORDER BY {}", order.join(", "));
        if dice.below(2) == 0 {
            sql += &format!(" LIMIT {} OFFSET {}", dice.below(6), dice.below(3));
        }
    }
    sql
}

fn list(dice: &mut Dice<'_>, columns: &Columns, table: &str) -> String {
    let count = 1 + dice.below(columns.len());
    let from = dice.below(columns.len());
    let shown = columns.iter().cycle().skip(from).take(count);
    shown.map(|(name, _)| format!("{table}.{name}")).collect::<Vec<_>>().join(", ")
}

fn aggregates(dice: &mut Dice<'_>, columns: &Columns) -> String {
    let mut shown = vec!["count(*)".to_owned()];
    for number in 0..1 + dice.below(4) {
        let (name, kind) = dice.one(columns);
        let functions: &[&str] = match kind {
            ItemType::Integer | ItemType::Decimal | ItemType::Float => {
                &["count", "min", "max", "sum", "avg", "median", "count(distinct"]
            }
            ItemType::Boolean => &["count", "count(distinct"],
            _ => &["count", "min", "max", "count(distinct"],
        };
        let call = match *dice.one(functions) {
            "count(distinct" => format!("count(DISTINCT {name})"),
            function => format!("{function}({name})"),
        };
        let filter = match dice.below(4) {
            0 => format!(" FILTER (WHERE {})", predicate(dice, columns, "t", 1)),
            _ => String::new(),
        };
        shown.push(format!("{call}{filter} AS a{number}"));
    }
    shown.join(", ")
}

fn grouped(dice: &mut Dice<'_>, columns: &Columns) -> String {
    let by = dice.one(columns).0.clone();
    let having = if dice.below(2) == 0 { String::new() } else { " HAVING count(*) > 1".to_owned() };
    format!("SELECT {by} AS g, {} FROM t GROUP BY {by}{having}", aggregates(dice, columns))
}

fn joined(dice: &mut Dice<'_>, left: &Columns, right: &Columns) -> String {
    let kind = *dice.one(&["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]);
    let (a, a_kind) = dice.one(left).clone();
    let partner = right.iter().find(|(_, kind)| *kind == a_kind);
    match (partner, dice.below(5)) {
        (Some((b, _)), 0..=3) => {
            let (lefts, rights) = (list(dice, left, "t"), list(dice, right, "u"));
            format!("SELECT {lefts}, {rights} FROM t {kind} u ON t.{a} = u.{b}")
        }
        (_, 4) => format!("SELECT a.{a} AS x, b.{a} AS y FROM t a JOIN t b ON a.{a} = b.{a}"),
        _ => format!("SELECT {} FROM t CROSS JOIN (SELECT count(*) AS n FROM u) c", list(dice, left, "t")),
    }
}

fn nested(dice: &mut Dice<'_>, left: &Columns, right: &Columns) -> String {
    let shown = list(dice, left, "t");
    let (a, kind) = dice.one(left).clone();
    let there = predicate(dice, right, "u", 2);
    let same = right.iter().find(|(_, other)| *other == kind).map(|(name, _)| name.clone());
    match (dice.below(5), same) {
        (0, Some(b)) => {
            let not = *dice.one(&["", "NOT "]);
            format!("SELECT {shown} FROM t WHERE t.{a} {not}IN (SELECT u.{b} FROM u WHERE {there})")
        }
        (1, Some(b)) => {
            let not = *dice.one(&["", "NOT "]);
            format!(
                "SELECT {shown} FROM t WHERE {not}EXISTS (SELECT 1 FROM u WHERE u.{b} = t.{a} AND {there})"
            )
        }
        (2, Some(b)) => format!("SELECT {shown}, (SELECT count(*) FROM u WHERE u.{b} = t.{a}) AS n FROM t"),
        (3, _) => format!("SELECT {shown} FROM t WHERE EXISTS (SELECT 1 FROM u WHERE {there})"),
        _ => format!("SELECT {shown}, (SELECT count(*) FROM u WHERE {there}) AS n FROM t"),
    }
}

fn set(dice: &mut Dice<'_>, left: &Columns, right: &Columns) -> String {
    let (a, kind) = dice.one(left).clone();
    let b = right.iter().find(|(_, other)| *other == kind);
    let op = *dice.one(&["UNION ALL", "UNION", "INTERSECT", "EXCEPT"]);
    let (b, table) = b.map_or((a.as_str(), "t"), |(b, _)| (b.as_str(), "u"));
    let there = if table == "t" { predicate(dice, left, "t", 1) } else { predicate(dice, right, "u", 1) };
    format!(
        "SELECT t.{a} FROM t WHERE {} {op} SELECT {table}.{b} FROM {table} WHERE {there}",
        predicate(dice, left, "t", 1)
    )
}

fn window(dice: &mut Dice<'_>, columns: &Columns) -> String {
    // Rows alike in every column are alike in every answer, whichever comes first.
    let order = columns.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>().join(", ");
    let by = dice.one(columns).0.clone();
    let of = dice.one(columns).0.clone();
    let function = match dice.below(6) {
        0 => "row_number()".to_owned(),
        1 => "rank()".to_owned(),
        2 => format!("lag({of})"),
        3 => format!("lead({of})"),
        4 => format!("count({of})"),
        _ => format!("max({of})"),
    };
    let partition = if dice.below(2) == 0 { String::new() } else { format!("PARTITION BY {by} ") };
    format!("SELECT {order}, {function} OVER ({partition}ORDER BY {order}) AS w FROM t")
}

/// A predicate that cannot fail.
fn predicate(dice: &mut Dice<'_>, columns: &Columns, table: &str, depth: usize) -> String {
    if depth > 0 {
        match dice.below(6) {
            1 => {
                return format!(
                    "({} AND {})",
                    predicate(dice, columns, table, depth - 1),
                    predicate(dice, columns, table, depth - 1)
                );
            }
            2 => {
                return format!(
                    "({} OR {})",
                    predicate(dice, columns, table, depth - 1),
                    predicate(dice, columns, table, depth - 1)
                );
            }
            3 => return format!("NOT ({})", predicate(dice, columns, table, depth - 1)),
            _ => {}
        }
    }
    let (name, kind) = dice.one(columns).clone();
    let column = format!("{table}.{name}");
    let op = *dice.one(&["=", "<>", "<", "<=", ">", ">=", "IS DISTINCT FROM"]);
    match dice.below(10) {
        0..=2 => format!("{column} {op} {}", literal(dice, kind)),
        3 => format!("{} {op} {column}", literal(dice, kind)),
        4 => format!("{column} IS {}NULL", dice.one(&["", "NOT "])),
        5 => format!(
            "{column} {}IN ({}, {})",
            dice.one(&["", "NOT "]),
            literal(dice, kind),
            literal(dice, kind)
        ),
        6 if kind != ItemType::Boolean => {
            format!("{column} BETWEEN {} AND {}", literal(dice, kind), literal(dice, kind))
        }
        7 if kind == ItemType::Text => {
            format!("{column} LIKE '{}'", dice.one(&["6%", "%*%", "CANAR%", "张_%", "p:%", "%"]))
        }
        8 if kind == ItemType::Text => format!("length({column}) > {}", dice.below(8)),
        9 => format!("{} = {}", text(dice, columns, table), literal(dice, ItemType::Text)),
        _ if kind == ItemType::Boolean => column,
        _ => format!("{column} {op} {}", other_type(dice, kind)),
    }
}

fn text(dice: &mut Dice<'_>, columns: &Columns, table: &str) -> String {
    let (name, kind) = dice.one(columns);
    let column = format!("{table}.{name}");
    match (kind, dice.below(4)) {
        (ItemType::Text, 0) => column,
        (ItemType::Text, 1) => format!("substr({column}, 1, 2)"),
        (ItemType::Text, 2) => format!("upper(coalesce({column}, 'none'))"),
        _ => format!("CAST({column} AS VARCHAR)"),
    }
}

/// An expression that fails on some values.
fn risky(dice: &mut Dice<'_>, columns: &Columns) -> String {
    let (name, kind) = dice.one(columns).clone();
    let number = *dice.one(&["200", "0", "100", "7"]);
    match (kind, dice.below(3)) {
        (ItemType::Integer, 0) => format!("1/({name} - {number}) > -10"),
        (ItemType::Integer, 1) => {
            format!("CASE WHEN {name} = {number} THEN 1/({name} - {number}) ELSE 1 END = 1")
        }
        (ItemType::Integer, _) => format!("CAST({name} AS TINYINT) > 0"),
        (ItemType::Text, 0) => format!("CAST({name} AS BIGINT) >= 0"),
        (ItemType::Text, 1) => {
            format!("CAST(CASE WHEN {name} LIKE 'CANAR%' THEN {name} ELSE '1' END AS INT) = 1")
        }
        (ItemType::Text, _) => format!("CAST({name} AS DATE) > DATE '2000-01-01'"),
        (ItemType::Decimal, _) => format!("1/({name} - 50) > -10"),
        (ItemType::Date, _) => format!("1/(CASE WHEN {name} < DATE '1980-01-01' THEN 0 ELSE 1 END) = 1"),
        _ => format!("1/(CASE WHEN {name} IS NULL THEN 0 ELSE 1 END) = 1"),
    }
}

fn literal(dice: &mut Dice<'_>, kind: ItemType) -> String {
    let number = *dice.one(&["0", "1", "100", "200", "250", "-5"]);
    match kind {
        ItemType::Integer => number.to_owned(),
        ItemType::Decimal => format!("CAST({number} AS DECIMAL(38, 4)) / 4"),
        ItemType::Float => format!("CAST({number} AS DOUBLE)"),
        ItemType::Date => format!("DATE '{}'", dice.one(&["1970-01-01", "1990-01-01", "2022-01-08"])),
        ItemType::Timestamp => {
            format!(
                "arrow_cast('{}T00:00:00.000001', 'Timestamp(Microsecond, Some(\"UTC\"))')",
                dice.one(&["1970-01-01", "1990-01-01"])
            )
        }
        ItemType::Boolean => (*dice.one(&["true", "false"])).to_owned(),
        _ => format!("'{}'", dice.one(&["A", "B", "6401", "***", "张***", "", "64", "HIDDEN"])),
    }
}

/// A literal of a related type, so that the engine casts one side; for numbers only, where no cast fails.
fn other_type(dice: &mut Dice<'_>, kind: ItemType) -> String {
    match kind {
        ItemType::Integer => "99.5".to_owned(),
        ItemType::Decimal | ItemType::Float => "100".to_owned(),
        kind => literal(dice, kind),
    }
}
