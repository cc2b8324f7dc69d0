//! One small register written in every format and as SQLite, and the same questions put to all.

mod arrow_damage;
mod bindings;
mod damage;
mod json;
mod lookups;
mod postgres;
mod postgres_server;
mod sqlite;

use std::{
    fs::{self, File},
    path::Path,
    sync::Arc,
};

use arrow::{
    array::{
        ArrayRef, Date32Array, DictionaryArray, Float64Array, Int32Array, ListArray, RecordBatch,
        StringArray, StringViewArray,
    },
    datatypes::Int32Type,
    ipc::{
        CompressionType,
        writer::{FileWriter, IpcWriteOptions, StreamWriter},
    },
    util::pretty::pretty_format_batches,
};
use catalog::{Binding, Classification, FileFormat, Item, ItemType, Resource, SharingClass};
use datafusion::prelude::{SessionConfig, SessionContext};
use parquet::{arrow::ArrowWriter, file::properties::WriterProperties};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

use crate::{SourceError, SourceLimits, Sources};

pub(super) struct Bench {
    pub(super) root: TempDir,
    pub(super) index: TempDir,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self { root: tempfile::tempdir().expect("root"), index: tempfile::tempdir().expect("index") }
    }

    pub(super) fn path(&self) -> &Path {
        self.root.path()
    }

    pub(super) fn sources(&self, limits: SourceLimits) -> Sources {
        Sources::new(self.root.path(), self.index.path(), limits).expect("sources")
    }
}

pub(super) fn item(name: &str, item_type: ItemType, column: Option<&str>) -> Item {
    Item {
        name: name.to_owned(),
        title: name.to_owned(),
        item_type,
        column: column.map(str::to_owned),
        key: matches!(name, "id" | "number" | "founded"),
        classification: Classification::General,
        class: None,
        derived_from: None,
    }
}

pub(super) fn resource(binding: Binding, items: Vec<Item>) -> Resource {
    Resource {
        name: "register.company".into(),
        title: "companies".to_owned(),
        summary: "companies".to_owned(),
        provider: "market".into(),
        class: SharingClass::Unconditional,
        condition: None,
        legal_basis: None,
        update_cycle: "daily".to_owned(),
        items,
        never_join: Vec::new(),
        binding,
    }
}

pub(super) fn company_items() -> Vec<Item> {
    vec![
        item("id", ItemType::Text, Some("Company ID")),
        item("number", ItemType::Integer, None),
        item("founded", ItemType::Date, None),
        item("share", ItemType::Float, None),
        item("capital", ItemType::Decimal, None),
        item("same_id", ItemType::Text, Some("Company ID")),
    ]
}

/// Row `n` of the register: `(id, number, founded, share, capital)`.
type Row = (Option<String>, Option<i32>, Option<i32>, Option<f64>, Option<String>);

pub(super) fn row(n: i32) -> Row {
    (
        (n % 11 != 5).then(|| format!("C{:04}", n / 2)),
        (n % 7 != 3).then_some(n * 3 % 1000 - 100),
        (n % 13 != 1).then_some(10_000 + n * 17 % 9_000),
        (n % 5 != 2).then_some(f64::from(n) / 4.0 - 10.0),
        (n % 3 != 1).then(|| format!("{}.{:02}", n * 100, n % 100)),
    )
}

pub(super) const ROWS: i32 = 1_000;

pub(super) fn iso(days: i32) -> String {
    let epoch = chrono::NaiveDate::from_ymd_opt(1970, 1, 1).expect("epoch");
    (epoch + chrono::TimeDelta::days(i64::from(days))).to_string()
}

pub(super) fn write_parquet(path: &Path, rows: impl Iterator<Item = i32>) {
    let rows: Vec<Row> = rows.map(row).collect();
    // The columns stand in another order than the items.
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("unused", Arc::new(Int32Array::from(vec![7; rows.len()]))),
        ("capital", Arc::new(rows.iter().map(|row| row.4.clone()).collect::<StringArray>())),
        ("founded", Arc::new(rows.iter().map(|row| row.2).collect::<Date32Array>())),
        ("Company ID", Arc::new(rows.iter().map(|row| row.0.clone()).collect::<StringArray>())),
        ("number", Arc::new(rows.iter().map(|row| row.1).collect::<Int32Array>())),
        ("share", Arc::new(rows.iter().map(|row| row.3).collect::<Float64Array>())),
    ];
    write_columns(path, columns, 128);
}

pub(super) fn write_json(path: &Path, rows: impl Iterator<Item = i32>, list: bool) {
    let cell = |cell: Option<String>| cell.map_or("null".to_owned(), |cell| format!("\"{cell}\""));
    let records: Vec<String> = rows
        .map(|n| {
            let (id, number, founded, share, capital) = row(n);
            // A member that is null is left out now and then, as programs do; numbers stand with and without quotes.
            let number = number.map_or(String::new(), |number| format!("\"number\": {number}, "));
            let share = share.map_or("null".to_owned(), |share| format!("{share:?}"));
            let unused = r#""unused": {"x": [1, {"y": "}]\\\"{"}]}"#;
            let (id, founded) = (cell(id), cell(founded.map(iso)));
            let capital = capital.unwrap_or_else(|| "null".to_owned());
            format!(
                r#"{{{number}"share": {share}, {unused}, "Company ID": {id}, "capital": {capital}, "founded": {founded}}}"#
            )
        })
        .collect();
    let text = match list {
        true => format!("\u{feff} [\n{}\n] \n", records.join(" ,\n")),
        false => records.join("\n") + "\n",
    };
    fs::write(path, text).expect("json");
}

/// As an Arrow file or stream of several batches, texts in a dictionary and as views.
pub(super) fn write_arrow(
    path: &Path,
    rows: impl Iterator<Item = i32>,
    options: IpcWriteOptions,
    stream: bool,
) {
    let rows: Vec<Row> = rows.map(row).collect();
    let ids: DictionaryArray<Int32Type> = rows.iter().map(|row| row.0.as_deref()).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "nested",
            Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(rows.iter().map(|_| None::<Vec<_>>))),
        ),
        ("capital", Arc::new(rows.iter().map(|row| row.4.clone()).collect::<StringViewArray>())),
        ("founded", Arc::new(rows.iter().map(|row| row.2).collect::<Date32Array>())),
        ("Company ID", Arc::new(ids)),
        ("number", Arc::new(rows.iter().map(|row| row.1).collect::<Int32Array>())),
        ("share", Arc::new(rows.iter().map(|row| row.3).collect::<Float64Array>())),
    ];
    let columns = columns.into_iter().map(|(name, column)| (name, column, true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).expect("batch");
    let batches: Vec<RecordBatch> = (0..batch.num_rows())
        .step_by(300)
        .map(|at| batch.slice(at, 300.min(batch.num_rows() - at)))
        .collect();
    fs::write(path, arrow_bytes(&batches, options, stream)).expect("arrow");
}

pub(super) fn arrow_bytes(batches: &[RecordBatch], options: IpcWriteOptions, stream: bool) -> Vec<u8> {
    let schema = batches[0].schema();
    if stream {
        let mut writer = StreamWriter::try_new_with_options(Vec::new(), &schema, options).expect("writer");
        batches.iter().for_each(|batch| writer.write(batch).expect("write"));
        writer.into_inner().expect("finish")
    } else {
        let mut writer = FileWriter::try_new_with_options(Vec::new(), &schema, options).expect("writer");
        batches.iter().for_each(|batch| writer.write(batch).expect("write"));
        writer.into_inner().expect("finish")
    }
}

pub(super) fn packed(compression: CompressionType) -> IpcWriteOptions {
    IpcWriteOptions::default().try_with_compression(Some(compression)).expect("options")
}

pub(super) fn write_columns(path: &Path, columns: Vec<(&str, ArrayRef)>, group_rows: usize) {
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, column)| (name, column, true)),
    )
    .expect("batch");
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(group_rows))
        .set_data_page_row_count_limit(32)
        .set_write_batch_size(16);
    let file = File::create(path).expect("file");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties.build())).expect("writer");
    writer.write(&batch).expect("write");
    writer.close().expect("close");
}

pub(super) fn write_csv(path: &Path, rows: impl Iterator<Item = i32>) {
    let mut text = "\u{feff}share,number, Company ID ,unused,capital,founded\r\n".to_owned();
    for n in rows {
        let (id, number, founded, share, capital) = row(n);
        let cell = |cell: Option<String>| cell.unwrap_or_default();
        text.push_str(&format!(
            "{},{},\"{}\",\"x, \"\"y\"\"\",{},{}\r\n",
            cell(share.map(|share| share.to_string())),
            cell(number.map(|number| number.to_string())),
            cell(id),
            cell(capital),
            cell(founded.map(iso)),
        ));
    }
    fs::write(path, text).expect("csv");
}

pub(super) async fn sqlite(path: &Path, script: &str) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut connection = SqliteConnection::connect_with(&options).await.expect("create");
    sqlx::raw_sql(sqlx::AssertSqlSafe(script.to_owned())).execute(&mut connection).await.expect("script");
    connection
}

pub(super) async fn write_sqlite(path: &Path, rows: impl Iterator<Item = i32>) {
    let mut script = "BEGIN; CREATE TABLE \"the companies\" (unused BLOB, share REAL, founded DATE, \
        \"Company ID\" TEXT COLLATE NOCASE, number INTEGER, capital NUMERIC);"
        .to_owned();
    for n in rows {
        let (id, number, founded, share, capital) = row(n);
        let quoted = |cell: Option<String>| cell.map_or("NULL".to_owned(), |cell| format!("'{cell}'"));
        script.push_str(&format!(
            "INSERT INTO \"the companies\" VALUES (x'00', {}, {}, {}, {}, {});",
            share.map_or("NULL".to_owned(), |share| format!("{share:?}")),
            quoted(founded.map(iso)),
            quoted(id),
            number.map_or("NULL".to_owned(), |number| number.to_string()),
            quoted(capital),
        ));
    }
    script.push_str("COMMIT;");
    sqlite(path, &script).await.close().await.expect("close");
}

pub(super) fn files(format: FileFormat, path: &str) -> Binding {
    Binding::Files { format, path: path.to_owned() }
}

/// The register behind each kind of binding.
pub(super) async fn three_bindings(bench: &Bench) -> Vec<(&'static str, Resource)> {
    fs::create_dir_all(bench.path().join("market/parts")).expect("folder");
    write_parquet(&bench.path().join("market/companies.parquet"), 0..ROWS);
    write_parquet(&bench.path().join("market/parts/a.parquet"), 0..400);
    write_parquet(&bench.path().join("market/parts/b.parquet"), 400..ROWS);
    write_csv(&bench.path().join("market/companies.csv"), 0..ROWS);
    write_csv(&bench.path().join("market/parts/1.csv"), 0..10);
    write_csv(&bench.path().join("market/parts/2.csv"), 10..ROWS);
    write_json(&bench.path().join("market/companies.ndjson"), 0..ROWS, false);
    write_json(&bench.path().join("market/parts/1.json"), 0..10, true);
    write_json(&bench.path().join("market/parts/2.jsonl"), 10..ROWS, false);
    let plain = IpcWriteOptions::default;
    write_arrow(&bench.path().join("market/companies.arrow"), 0..ROWS, plain(), false);
    write_arrow(&bench.path().join("market/parts/1.arrows"), 0..10, packed(CompressionType::LZ4_FRAME), true);
    write_arrow(&bench.path().join("market/parts/2.arrow"), 10..ROWS, packed(CompressionType::ZSTD), false);
    write_sqlite(&bench.path().join("market/companies.db"), 0..ROWS).await;
    let sqlite =
        Binding::Sqlite { path: "market/companies.db".to_owned(), table: "the companies".to_owned() };
    [
        ("parquet", files(FileFormat::Parquet, "market/companies.parquet")),
        ("parquet folder", files(FileFormat::Parquet, "market/parts")),
        ("csv", files(FileFormat::Csv, "market/companies.csv")),
        ("csv folder", files(FileFormat::Csv, "market/parts")),
        ("json", files(FileFormat::Json, "market/companies.ndjson")),
        ("json folder", files(FileFormat::Json, "market/parts")),
        ("arrow", files(FileFormat::Arrow, "market/companies.arrow")),
        ("arrow folder", files(FileFormat::Arrow, "market/parts")),
        ("sqlite", sqlite),
    ]
    .map(|(name, binding)| (name, resource(binding, company_items())))
    .into()
}

/// The answer to `sql` over table `t` as text.
pub(super) async fn ask(sources: &Sources, resource: &Resource, sql: &str) -> Result<String, SourceError> {
    let source = sources.open(resource).await?;
    let session = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(3));
    session.register_table("t", source.table()).expect("register");
    let answer = async { session.sql(sql).await?.collect().await };
    match answer.await {
        Ok(batches) => Ok(pretty_format_batches(&batches).expect("pretty").to_string()),
        Err(error) if SourceError::of(&error).is_some() => match SourceError::of(&error) {
            Some(SourceError::Changed) => Err(SourceError::Changed),
            Some(SourceError::Deadline) => Err(SourceError::Deadline),
            Some(SourceError::TooLarge(what)) => Err(SourceError::TooLarge(what.clone())),
            _ => Err(SourceError::unavailable(error)),
        },
        Err(error) => panic!("{sql}: {error}"),
    }
}
