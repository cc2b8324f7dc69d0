//! The attack list, §1, on fixed tables: each statement is answered as on the copy, and some with a known answer.

use serde_json::{Value as Json, json};

use super::ask::{Sides, ask, compare};
use super::world::{Cell, ITEMS, World};

/// `pay`: rows of department B are hidden; the first stored rows are such, with the only salaries 200 and 250.
fn pay() -> World {
    let row = |id: i64, dept: &str, name: &str, salary: i64| {
        let mut row = vec![Cell::Null; ITEMS.len()];
        row[0] = Cell::Integer(id);
        row[1] = Cell::Text(dept.to_owned());
        row[2] = Cell::Text(name.to_owned());
        row[3] = Cell::Integer(salary);
        row[10] = Cell::Text("CANARY-bonus".to_owned());
        row
    };
    World {
        rows: vec![
            row(1, "B", "CANARY-1", 200),
            row(2, "B", "CANARY-2", 250),
            row(3, "A", "100", 100),
            row(4, "A", "7", 300),
            row(5, "B", "CANARY-5", 200),
            row(6, "A", "100", 100),
        ],
        output: vec![(0, None), (1, None), (2, None), (3, None)],
        scope: Some(json!({"compare": {"item": "dept", "op": "=", "value": "A"}})),
        chunk_rows: 2,
    }
}

/// `person`: names cut, ID numbers (here `region`) hidden, birth dates by year.
fn person() -> World {
    let row = |id: i64, name: &str, number: &str, born: i32| {
        let mut row = vec![Cell::Null; ITEMS.len()];
        row[0] = Cell::Integer(id);
        row[2] = Cell::Text(name.to_owned());
        row[6] = Cell::Date(born);
        row[9] = Cell::Text(number.to_owned());
        row[10] = Cell::Text("CANARY-phone".to_owned());
        row
    };
    let mask = |text: Json| Some(text);
    World {
        rows: vec![
            row(1, "张CANARY", "CANARY110101199001011234", 7_300),
            row(2, "李CANARY", "CANARY310101198512310021", 5_843),
            row(3, "张CANARYY", "CANARY310101198512310022", 5_900),
        ],
        output: vec![
            (0, None),
            (2, mask(json!({"keep_first": 1}))),
            (6, mask(json!("year"))),
            (9, mask(json!("hide"))),
        ],
        scope: None,
        chunk_rows: 8,
    }
}

fn sides() -> Sides {
    Sides::new(&[("pay", &pay()), ("person", &person())])
}

#[tokio::test]
async fn every_statement_of_the_list_is_answered_as_on_the_copy() {
    let sides = sides();
    for sql in [
        "SELECT id FROM pay WHERE 1/(salary-200) > -10",
        "SELECT id FROM pay WHERE CAST(CASE WHEN name LIKE 'CANAR%' THEN name ELSE '1' END AS INT) = 1",
        "SELECT id FROM pay WHERE CAST(name AS BIGINT) >= 0",
        "SELECT id FROM pay WHERE CASE WHEN salary = 200 THEN 1/(salary-200) ELSE 1 END = 1",
        "SELECT id FROM pay WHERE id IN (1, 2) AND CAST(name AS INT) = 1",
        "SELECT salary FROM pay GROUP BY salary HAVING 1/(salary-200) > -10",
        "SELECT salary FROM pay WHERE salary <> 200 AND 1/(salary-200) > -10",
        "SELECT DISTINCT 1/(salary-200) FROM pay",
        "SELECT a.id, b.id FROM pay a JOIN pay b ON 1/(a.salary-200) = 1/(b.salary-200)",
        "SELECT pay.id FROM pay LEFT JOIN (SELECT 1 AS k) x ON CAST(name AS INT) = x.k",
        "SELECT id FROM pay WHERE EXISTS (SELECT 1 FROM pay p2 WHERE p2.name LIKE 'CANAR%')",
        "SELECT (SELECT count(*) FROM pay) AS n",
        "SELECT count(*) FROM pay",
        "SELECT count(*) FROM pay WHERE id > 0",
        "SELECT count(1), count(id), count(DISTINCT dept) FROM pay",
        "SELECT min(salary), max(salary), sum(salary), avg(salary), median(salary) FROM pay",
        "SELECT max(name), min(name) FROM pay",
        "SELECT approx_distinct(salary) FROM pay",
        "SELECT count(*) FILTER (WHERE dept = 'B') FROM pay",
        "SELECT salary, row_number() OVER (ORDER BY salary, id) AS n FROM pay",
        "SELECT ntile(100) OVER (ORDER BY salary, id), percent_rank() OVER (ORDER BY salary, id) FROM pay",
        "SELECT dept FROM pay WHERE dept = 'B'",
        "SELECT dept FROM pay WHERE dept <> 'A' OR dept IS NULL",
        "SELECT id FROM pay WHERE dept = 'B' OR salary = 200",
        "SELECT * FROM pay ORDER BY 1 LIMIT 2",
        "SELECT * FROM pay ORDER BY 1 LIMIT 2 OFFSET 2",
        "SELECT pay.id FROM person NATURAL JOIN pay",
        "SELECT * FROM person NATURAL JOIN pay",
        "SELECT * FROM pay WHERE name = 5",
        "SELECT salary * 100000000000000000 FROM pay",
        "SELECT CAST(salary AS TINYINT) FROM pay",
        "SELECT chr(salary * 100000) FROM pay",
        "SELECT split_part(name, '-', salary-200) FROM pay",
        "SELECT to_timestamp(name) FROM pay",
        "SELECT id FROM person WHERE region LIKE '3101%'",
        "SELECT id FROM person WHERE region LIKE 'CANAR%'",
        "SELECT id FROM person WHERE region = '***'",
        "SELECT id FROM person WHERE substr(region, 7, 8) = '19900101'",
        "SELECT region FROM person GROUP BY region",
        "SELECT count(DISTINCT region), count(DISTINCT name) FROM person",
        "SELECT region FROM person ORDER BY 1 LIMIT 1",
        "SELECT a.id, b.id FROM person a JOIN person b ON a.region = b.region",
        "SELECT a.id, b.id FROM person a JOIN person b ON a.name = b.name",
        "SELECT max(region), min(region) FROM person",
        "SELECT CASE WHEN region = 'CANAR%110101199001011234' THEN 1 END FROM person",
        "SELECT id FROM person WHERE hired = DATE '1990-01-01'",
        "SELECT id FROM person WHERE hired = DATE '1989-01-01'",
        "SELECT hired, count(*) FROM person GROUP BY hired",
        "SELECT length(region), length(name) FROM person",
        "SELECT id FROM person WHERE length(name) > 4",
    ] {
        compare(&sides, sql, true).await.unwrap();
    }
}

#[tokio::test]
async fn known_answers() {
    let sides = sides();
    for (sql, expect) in [
        ("SELECT count(*) FROM pay", "\"3\":Int64"),
        ("SELECT count(*) FILTER (WHERE dept = 'B') FROM pay", "\"0\":Int64"),
        ("SELECT max(salary) FROM pay WHERE salary < 300", "\"100\":Int64"),
        ("SELECT count(*) FROM (SELECT * FROM pay LIMIT 2) AS x", "\"2\":Int64"),
        ("SELECT count(*) FROM pay WHERE 1/(salary-200) > -10", "\"3\":Int64"),
        ("SELECT count(DISTINCT region) FROM person", "\"1\":Int64"),
        ("SELECT count(*) FROM person a JOIN person b ON a.region = b.region", "\"9\":Int64"),
        ("SELECT count(*) FROM person WHERE region <> '***' OR region IS NULL", "\"0\":Int64"),
    ] {
        let answer = ask(&sides.governed, sql).await.unwrap();
        assert_eq!(answer.len(), 1, "{sql}");
        // The engine may choose another text type.
        assert!(answer[0].starts_with(expect), "{sql}: {answer:?}");
    }
}

#[tokio::test]
async fn what_is_not_granted_has_no_name() {
    let sides = sides();
    for sql in [
        "SELECT note FROM pay",
        "SELECT id FROM pay WHERE note LIKE '138%'",
        "SELECT id FROM pay ORDER BY note",
        "SELECT count(note) FROM pay",
        "SELECT 1 FROM pay GROUP BY note",
        "SELECT a.id FROM pay a JOIN pay b USING (note)",
        "SELECT note FROM (SELECT * FROM pay) AS x",
        "WITH pay AS (SELECT * FROM pay) SELECT note FROM pay",
        "SELECT score FROM person",
    ] {
        let told = ask(&sides.governed, sql).await.unwrap_err();
        assert!(told.contains("No field named") && !told.contains("CANARY"), "{sql}: {told}");
        // Only granted names are offered instead.
        assert!(
            !told.contains("pay.note,") && !told.contains("Some(\"pay\"), name: \"note\" }, "),
            "{sql}: {told}"
        );
        assert_eq!(ask(&sides.copy, sql).await.unwrap_err(), told, "{sql}");
    }
    let all = ask(&sides.governed, "SELECT * FROM pay").await.unwrap();
    assert!(all.iter().all(|row| row.split('|').count() == 4), "{all:?}");
}
