//! The same rows as a Parquet file, a CSV file or a table of a SQLite database.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Field, Schema};
use catalog::ItemType;
use chrono::{DateTime, NaiveDate, SecondsFormat};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use sqlx::{Connection, SqliteConnection};

use super::cells::Cell;
use super::world::{Filling, Item};

pub fn parquet(items: &[Item], filling: &Filling, path: &Path) {
    let arrays: Vec<ArrayRef> =
        items.iter().enumerate().map(|(at, item)| array(item.kind, &filling.rows, at)).collect();
    let fields: Vec<Field> = items
        .iter()
        .zip(&arrays)
        .map(|(item, array)| Field::new(&item.name, array.data_type().clone(), true))
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(schema.clone(), arrays).expect("a batch");
    let layout = filling.layout;
    let statistics = if layout.statistics { EnabledStatistics::Page } else { EnabledStatistics::None };
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(layout.group_rows))
        .set_data_page_row_count_limit(layout.page_rows)
        .set_write_batch_size(layout.page_rows)
        .set_dictionary_enabled(layout.dictionary)
        .set_statistics_enabled(statistics)
        .build();
    let file = std::fs::File::create(path).expect("a file");
    let mut writer = ArrowWriter::try_new(file, schema, Some(properties)).expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("closed");
}

fn array(kind: ItemType, rows: &[Vec<Cell>], at: usize) -> ArrayRef {
    macro_rules! of {
        ($variant:ident, $array:ty) => {
            rows.iter()
                .map(|row| match &row[at] {
                    Cell::$variant(value) => Some(value.clone()),
                    _ => None,
                })
                .collect::<$array>()
        };
    }
    match kind {
        ItemType::Text => Arc::new(of!(Text, StringArray)),
        ItemType::Integer => Arc::new(of!(Integer, Int64Array)),
        ItemType::Decimal => {
            Arc::new(of!(Decimal, Decimal128Array).with_precision_and_scale(38, 4).expect("it fits"))
        }
        ItemType::Float => Arc::new(of!(Float, Float64Array)),
        ItemType::Date => Arc::new(of!(Date, Date32Array)),
        ItemType::Timestamp => Arc::new(of!(Timestamp, TimestampMicrosecondArray).with_timezone("UTC")),
        ItemType::Boolean => Arc::new(of!(Boolean, BooleanArray)),
        ItemType::Binary => {
            let cells: Vec<Option<&[u8]>> = rows
                .iter()
                .map(|row| if let Cell::Binary(bytes) = &row[at] { Some(bytes.as_slice()) } else { None })
                .collect();
            Arc::new(BinaryArray::from(cells))
        }
    }
}

/// A value as text; none for null.
pub fn text(cell: &Cell) -> Option<String> {
    Some(match cell {
        Cell::Null => return None,
        Cell::Unfit => "misfit".to_owned(),
        Cell::Text(text) => text.clone(),
        Cell::Integer(number) => number.to_string(),
        Cell::Decimal(number) => {
            let sign = if *number < 0 { "-" } else { "" };
            let whole = number.unsigned_abs();
            format!("{sign}{}.{:04}", whole / 10_000, whole % 10_000)
        }
        Cell::Float(number) => number.to_string(),
        Cell::Date(day) => {
            NaiveDate::from_num_days_from_ce_opt(day + 719_163).expect("a day").format("%Y-%m-%d").to_string()
        }
        Cell::Timestamp(micros) => DateTime::from_timestamp_micros(*micros)
            .expect("a time")
            .to_rfc3339_opts(SecondsFormat::Micros, true),
        Cell::Boolean(flag) => flag.to_string(),
        Cell::Binary(bytes) => bytes.iter().fold("\\x".to_owned(), |text, byte| format!("{text}{byte:02x}")),
    })
}

pub fn csv(items: &[Item], filling: &Filling, path: &Path) {
    let mut lines = items.iter().map(|item| item.name.as_str()).collect::<Vec<_>>().join(",") + "\n";
    for row in &filling.rows {
        let cells: Vec<String> = row
            .iter()
            .map(|cell| match text(cell) {
                Some(text) => format!("\"{}\"", text.replace('"', "\"\"")),
                None => String::new(),
            })
            .collect();
        lines.push_str(&(cells.join(",") + "\n"));
    }
    std::fs::write(path, lines).expect("written");
}

/// Both tables of a world in one database.
pub async fn sqlite(tables: &[(&str, &[Item], &Filling)], path: &Path) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut connection = SqliteConnection::connect_with(&options).await.expect("a database");
    let mut writing = connection.begin().await.expect("a transaction");
    for (name, items, filling) in tables {
        let columns: Vec<String> =
            items.iter().map(|item| format!("{} {}", item.name, column(item.kind))).collect();
        let create = format!("CREATE TABLE {name} ({})", columns.join(", "));
        sqlx::query(sqlx::AssertSqlSafe(create)).execute(&mut *writing).await.expect("created");
        let marks = vec!["?"; items.len()].join(", ");
        let insert = format!("INSERT INTO {name} VALUES ({marks})");
        for row in &filling.rows {
            let mut query = sqlx::query(sqlx::AssertSqlSafe(insert.clone()));
            for cell in row {
                query = match cell {
                    Cell::Integer(number) => query.bind(*number),
                    Cell::Float(number) => query.bind(*number),
                    Cell::Binary(bytes) => query.bind(bytes.clone()),
                    other => query.bind(text(other)),
                };
            }
            query.execute(&mut *writing).await.expect("inserted");
        }
    }
    writing.commit().await.expect("committed");
    connection.close().await.expect("closed");
}

fn column(kind: ItemType) -> &'static str {
    match kind {
        ItemType::Integer => "INTEGER",
        ItemType::Float => "REAL",
        ItemType::Binary => "BLOB",
        _ => "TEXT",
    }
}
