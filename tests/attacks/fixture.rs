//! The tables of the attack list: what is stored, what the grant shows of it, and both written as sources.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc::writer::FileWriter;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};

/// Libraries under the grant, one a kind of binding; same length as [`COPY`], so that positions in faults agree.
pub const GOVERNED: [&str; 6] = ["fixp", "fixc", "fixs", "fixj", "fixa", "fixg"];
/// Library of the physical copies of what is visible.
pub const COPY: &str = "copy";
/// Every hidden text, and every part of a masked text that the mask hides, begins with it.
pub const CANARY: &str = "CANARY";
/// Hidden values that are no texts of their own: salaries, bonuses, birthdays, phones, ID cards.
pub const SECRETS: [&str; 12] = [
    "987123456789",
    "777001000000",
    "1990-07-13",
    "1985-07-13",
    "1971-07-13",
    "1988-07-13",
    "1380000000",
    "3101011990",
    "3101011985",
    "1101011971",
    "1101011988",
    "110101199001011234",
];

/// `(name, type, key, classification)`.
type Column = (&'static str, &'static str, bool, &'static str);

/// One table: its columns, all rows, and what the grant makes of them.
pub struct Table {
    pub name: &'static str,
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Value>>,
    /// Output items with the mask as terms write it.
    pub output: Vec<(&'static str, Option<Value>)>,
    pub scope: Option<Value>,
    visible: fn(&[Value]) -> bool,
}

pub fn tables() -> Vec<Table> {
    vec![population(), pay(), legal_entity()]
}

fn population() -> Table {
    let rows = json!([
        [1, "CANARY-name-1", "110101199001011234", "1990-07-13", "110000", "13800000001"],
        [2, "CANARY-name-2", "110101197107131235", "1971-07-13", "110000", "13800000002"],
        [3, "张CANARY-三", "310101199007130010", "1990-07-13", "310000", "13800000003"],
        [4, "CANARY-name-4", "110101198807130016", "1988-07-13", null, "13800000004"],
        [5, "李CANARY-四", "310101198507130027", "1985-07-13", "310000", "13800000005"],
        [6, "王CANARY-五", "310101199007130036", "1990-07-13", "310000", null],
        [7, "CANARY-name-7", null, null, "440000", "13800000007"],
    ]);
    Table {
        name: "population",
        columns: vec![
            ("id", "integer", true, "general"),
            ("name", "text", false, "personal"),
            ("id_card", "text", true, "sensitive"),
            ("birth", "date", false, "personal"),
            ("region", "text", false, "general"),
            ("phone", "text", false, "sensitive"),
        ],
        rows: listed(&rows),
        output: vec![
            ("id", None),
            ("name", Some(json!({"keep_first": 1}))),
            ("id_card", Some(json!("hide"))),
            ("birth", Some(json!("year"))),
            ("region", None),
        ],
        scope: Some(json!({"compare": {"item": "region", "op": "=", "value": "310000"}})),
        visible: |row| row[4] == "310000",
    }
}

/// The first stored rows are hidden, as are some in the middle and the last: the first row group shows nothing.
fn pay() -> Table {
    let rows = json!([
        [1, "B", "CANARY-pay-1", 200, 0.0, "0.0000", "2020-01-01", 7770010000000001_i64, "CANARY-note-1"],
        [2, "B", "CANARY-pay-2", 250, -1.0, "-1.5000", "1900-01-01", 7770010000000002_i64, "CANARY-note-2"],
        [
            3,
            "B",
            "CANARY-pay-3",
            987123456789_i64,
            1e300,
            "99999999999.0000",
            "2999-12-31",
            7770010000000003_i64,
            "CANARY-note-3"
        ],
        [
            4,
            null,
            "CANARY-pay-4",
            -987123456789_i64,
            4.5,
            "1.0000",
            null,
            7770010000000004_i64,
            "CANARY-note-4"
        ],
        [5, "A", "1", 100, 1.5, "10.2500", "2021-03-01", 7770010000000005_i64, "CANARY-note-5"],
        [6, "A", "2", 150, 2.5, "20.5000", "2021-06-01", 7770010000000006_i64, "CANARY-note-6"],
        [7, "B", "CANARY-pay-7", 200, null, null, "2021-06-01", 7770010000000007_i64, "CANARY-note-7"],
        [8, "A", "3", 199, 2.5, "20.5000", "2022-01-15", 7770010000000008_i64, "CANARY-note-8"],
        [9, "A", "4", 201, 4.0, "40.0000", null, 7770010000000009_i64, "CANARY-note-9"],
        [10, "A", "5", 300, null, "50.7500", "2023-05-05", 7770010000000010_i64, "CANARY-note-10"],
        [11, "C", "CANARY-pay-11", 300, 7.0, "3.0000", "2023-05-05", 7770010000000011_i64, "CANARY-note-11"],
        [12, "A", "6", 300, 6.25, null, "2023-05-05", 7770010000000012_i64, "CANARY-note-12"],
        [13, "A", "7", null, 8.0, "70.0000", "2024-02-29", 7770010000000013_i64, "CANARY-note-13"],
        [14, "B", "CANARY-pay-14", 0, 0.0, "0.0000", "2024-02-29", 7770010000000014_i64, "CANARY-note-14"],
    ]);
    Table {
        name: "pay",
        columns: vec![
            ("id", "integer", true, "general"),
            ("dept", "text", false, "general"),
            ("name", "text", true, "general"),
            ("salary", "integer", false, "commercial"),
            ("score", "float", false, "general"),
            ("rate", "decimal", false, "general"),
            ("hired", "date", false, "general"),
            ("bonus", "integer", false, "commercial"),
            ("note", "text", false, "commercial"),
        ],
        rows: listed(&rows),
        output: ["id", "dept", "name", "salary", "score", "rate", "hired"].map(|item| (item, None)).to_vec(),
        scope: Some(json!({"compare": {"item": "dept", "op": "=", "value": "A"}})),
        visible: |row| row[1] == "A",
    }
}

fn legal_entity() -> Table {
    let rows = json!([
        [1, "甲公司", "310000", "1000000.0000"],
        [2, "乙公司", "310000", "5.5000"],
        [3, "丙合作社", "440000", null],
        [4, "丁厂", "110000", "12.0000"],
    ]);
    Table {
        name: "legal_entity",
        columns: vec![
            ("id", "integer", true, "general"),
            ("title", "text", false, "general"),
            ("region", "text", false, "general"),
            ("capital", "decimal", false, "general"),
        ],
        rows: listed(&rows),
        output: ["id", "title", "region", "capital"].map(|item| (item, None)).to_vec(),
        scope: None,
        visible: |_| true,
    }
}

/// There, with rows, and granted to nobody who asks here.
pub fn credit() -> Table {
    let rows =
        json!([[1, "CANARY-credit-1", 987123456789_i64], [2, "CANARY-credit-2", 7770010000000001_i64]]);
    Table {
        name: "credit",
        columns: vec![
            ("id", "integer", true, "general"),
            ("name", "text", false, "personal"),
            ("score", "integer", false, "personal"),
        ],
        rows: listed(&rows),
        output: vec![("id", None), ("name", None), ("score", None)],
        scope: None,
        visible: |_| true,
    }
}

/// Enough rows that a cross join never ends.
pub fn big(rows: i64) -> Table {
    Table {
        name: "big",
        columns: vec![("id", "integer", true, "general"), ("x", "integer", false, "general")],
        rows: (0..rows).map(|row| vec![json!(row), json!(row * 7919 % rows)]).collect(),
        output: vec![("id", None), ("x", None)],
        scope: None,
        visible: |_| true,
    }
}

impl Table {
    /// What the grant shows, as a table of its own.
    pub fn copy(&self) -> Self {
        let shown: Vec<usize> = self
            .output
            .iter()
            .map(|(item, _)| self.columns.iter().position(|(name, ..)| name == item).expect("an item"))
            .collect();
        let rows = self.rows.iter().filter(|row| (self.visible)(row)).map(|row| {
            let masked =
                self.output.iter().zip(&shown).map(|((_, mask), at)| masked(&row[*at], mask.as_ref()));
            masked.collect()
        });
        Self {
            name: self.name,
            columns: shown.iter().map(|at| self.columns[*at]).collect(),
            rows: rows.collect(),
            output: self.output.iter().map(|(item, _)| (*item, None)).collect(),
            scope: None,
            visible: |_| true,
        }
    }

    pub fn resource(&self, library: &str, binding: &Value) -> Value {
        let items: Vec<Value> = self
            .columns
            .iter()
            .map(|(name, kind, key, class)| {
                json!({"name": name, "title": name, "type": kind, "key": key, "classification": class})
            })
            .collect();
        json!({
            "name": format!("{library}.{}", self.name), "title": self.name, "abstract": "of the attack list",
            "provider": "public-security", "class": "conditional", "condition": "as the test grants it",
            "update_cycle": "daily", "items": items, "binding": binding,
        })
    }

    pub fn keys(&self) -> Vec<&'static str> {
        self.columns.iter().filter(|(_, _, key, _)| *key).map(|(name, ..)| *name).collect()
    }

    /// All rows in one batch.
    fn batch(&self) -> RecordBatch {
        let arrays: Vec<ArrayRef> = (0..self.columns.len()).map(|at| self.array(at)).collect();
        let fields: Vec<Field> = self
            .columns
            .iter()
            .zip(&arrays)
            .map(|((name, ..), array)| Field::new(*name, array.data_type().clone(), true))
            .collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("a batch")
    }

    /// Row groups of so many rows.
    pub fn write_parquet(&self, path: &Path, group_rows: usize) {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        let batch = self.batch();
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group_rows)).build();
        let file = std::fs::File::create(path).expect("a file");
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).expect("a writer");
        writer.write(&batch).expect("written");
        writer.close().expect("closed");
    }

    fn array(&self, at: usize) -> ArrayRef {
        let cells = self.rows.iter().map(|row| &row[at]);
        match self.columns[at].1 {
            "integer" => Arc::new(cells.map(Value::as_i64).collect::<Int64Array>()),
            "float" => Arc::new(cells.map(Value::as_f64).collect::<Float64Array>()),
            "text" => Arc::new(cells.map(|cell| cell.as_str()).collect::<StringArray>()),
            "date" => {
                let days = cells.map(|cell| {
                    let date: chrono::NaiveDate = cell.as_str()?.parse().expect("a date");
                    Some((date - chrono::NaiveDate::default()).num_days() as i32)
                });
                Arc::new(days.collect::<Date32Array>())
            }
            "decimal" => {
                let scaled = cells
                    .map(|cell| Some(cell.as_str()?.replace('.', "").parse::<i128>().expect("a decimal")));
                let array = scaled.collect::<Decimal128Array>().with_precision_and_scale(38, 4);
                Arc::new(array.expect("it fits"))
            }
            other => panic!("{other} is not written here: {:?}", DataType::Null),
        }
    }

    /// An Arrow file whose batches hold four rows each.
    pub fn write_arrow(&self, path: &Path) {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        let batch = self.batch();
        let file = std::fs::File::create(path).expect("a file");
        let mut writer = FileWriter::try_new(file, &batch.schema()).expect("a writer");
        for at in (0..batch.num_rows()).step_by(4) {
            writer.write(&batch.slice(at, 4.min(batch.num_rows() - at))).expect("written");
        }
        writer.finish().expect("closed");
    }

    /// One object a line.
    pub fn write_json(&self, path: &Path) {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        let mut text = String::new();
        for row in &self.rows {
            let members =
                self.columns.iter().zip(row).map(|((name, ..), cell)| ((*name).to_owned(), cell.clone()));
            text.push_str(&(Value::Object(members.collect()).to_string() + "\n"));
        }
        std::fs::write(path, text).expect("written");
    }

    pub fn write_csv(&self, path: &Path) {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        let head: Vec<&str> = self.columns.iter().map(|(name, ..)| *name).collect();
        let mut text = head.join(",") + "\n";
        for row in &self.rows {
            let cells: Vec<String> = row
                .iter()
                .map(|cell| match cell {
                    Value::Null => String::new(),
                    Value::String(text) => format!("\"{text}\""),
                    other => other.to_string(),
                })
                .collect();
            text.push_str(&(cells.join(",") + "\n"));
        }
        std::fs::write(path, text).expect("written");
    }

    pub async fn write_sqlite(&self, connection: &mut SqliteConnection) {
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|(name, kind, ..)| {
                let kind = match *kind {
                    "integer" => "INTEGER",
                    "float" => "REAL",
                    _ => "TEXT",
                };
                format!("{name} {kind}")
            })
            .collect();
        let create = format!("CREATE TABLE {} ({})", self.name, columns.join(", "));
        sqlx::query(sqlx::AssertSqlSafe(create)).execute(&mut *connection).await.expect("created");
        let marks = vec!["?"; self.columns.len()].join(", ");
        let insert = format!("INSERT INTO {} VALUES ({marks})", self.name);
        for row in &self.rows {
            let mut query = sqlx::query(sqlx::AssertSqlSafe(insert.clone()));
            for cell in row {
                query = match cell {
                    Value::Null => query.bind(None::<i64>),
                    Value::Number(number) if number.is_i64() => query.bind(number.as_i64()),
                    Value::Number(number) => query.bind(number.as_f64()),
                    other => query.bind(other.as_str().expect("text").to_owned()),
                };
            }
            query.execute(&mut *connection).await.expect("inserted");
        }
    }
}

impl Table {
    /// The table as SQL for PostgreSQL.
    pub fn postgres(&self) -> String {
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|(name, kind, ..)| {
                let kind = match *kind {
                    "integer" => "int8",
                    "float" => "float8",
                    "decimal" => "numeric(38, 4)",
                    // An order of its own, in which "a" and "B" stand otherwise than by their bytes.
                    "text" => "text COLLATE \"und-x-icu\"",
                    other => other,
                };
                format!("{name} {kind}")
            })
            .collect();
        let mut sql = format!("CREATE TABLE {} ({});", self.name, columns.join(", "));
        for row in &self.rows {
            let cells: Vec<String> = row
                .iter()
                .map(|cell| match cell {
                    Value::Null => "NULL".to_owned(),
                    Value::String(text) => format!("'{text}'"),
                    other => other.to_string(),
                })
                .collect();
            sql.push_str(&format!("INSERT INTO {} VALUES ({});", self.name, cells.join(", ")));
        }
        sql
    }
}

/// An empty database file.
pub async fn database(path: &Path) -> SqliteConnection {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(true);
    SqliteConnection::connect_with(&options).await.expect("a database")
}

fn listed(rows: &Value) -> Vec<Vec<Value>> {
    rows.as_array().expect("rows").iter().map(|row| row.as_array().expect("a row").clone()).collect()
}

/// The mask by its definition, written a second time.
fn masked(cell: &Value, mask: Option<&Value>) -> Value {
    let Some(mask) = mask else { return cell.clone() };
    if mask == "hide" {
        return json!("***");
    }
    let Some(text) = cell.as_str() else { return Value::Null };
    if mask == "year" {
        json!(format!("{}-01-01", &text[..4]))
    } else {
        json!(format!("{}***", text.chars().next().expect("a character")))
    }
}
