//! The rows every server answers from, and the check that they answer alike.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, ensure};
use arrow::array::AsArray;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::client::Connection;
use crate::hub::{Hub, ITEMS};
use crate::postgres::Postgres;
use crate::roapi::Roapi;

/// How many look-ups are compared.
const COMPARED: usize = 200;

pub struct People {
    pub batches: Vec<RecordBatch>,
    pub id_numbers: Vec<String>,
}

impl People {
    /// Key and released items of every resident.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(file)?)?;
        let names = std::iter::once("id_number").chain(ITEMS);
        let mask = ProjectionMask::columns(builder.parquet_schema(), names);
        let batches = builder.with_projection(mask).build()?.collect::<Result<Vec<_>, _>>()?;
        let mut id_numbers = Vec::new();
        for batch in &batches {
            let ids = batch.column_by_name("id_number").context("no id_number")?.as_string::<i32>();
            id_numbers.extend(ids.iter().flatten().map(str::to_owned));
        }
        ensure!(id_numbers.len() >= COMPARED, "too few residents");
        Ok(Self { batches, id_numbers })
    }

    /// `count` people spread over all of them by a fixed multiplicative walk, others in each round.
    pub fn sample(&self, count: usize, round: usize) -> impl Iterator<Item = &str> {
        let all = self.id_numbers.len();
        (0..count).filter_map(move |step| {
            let at = (step + round * count).wrapping_mul(2_654_435_761) % all;
            self.id_numbers.get(at).map(String::as_str)
        })
    }
}

/// Item to text; masked as the grant says.
type Row = BTreeMap<String, String>;

fn rows(values: &[Value], mask: bool) -> Vec<Row> {
    let mut rows: Vec<Row> = values
        .iter()
        .map(|value| {
            ITEMS
                .iter()
                .map(|item| {
                    let text = value[*item].as_str().unwrap_or("null").to_owned();
                    ((*item).to_owned(), if mask { masked(item, &text) } else { text })
                })
                .collect()
        })
        .collect();
    rows.sort();
    rows
}

fn masked(item: &str, text: &str) -> String {
    match item {
        "name" => format!("{}***", text.chars().next().map(String::from).unwrap_or_default()),
        "birth_date" => format!("{}-01-01", &text[..4]),
        _ => text.to_owned(),
    }
}

/// Compares hub, PostgreSQL and ROAPI on the same people; gives how many.
pub fn check_equal(
    runtime: &tokio::runtime::Runtime,
    hub: &Hub,
    postgres: &Postgres,
    roapi: Option<&Roapi>,
    people: &People,
) -> anyhow::Result<usize> {
    let ids: Vec<&str> = people.sample(COMPARED, 0).collect();
    let theirs = postgres.rows_of(&ids)?;
    for id in &ids {
        let expect = rows(theirs.get(*id).context("PostgreSQL lacks a row")?, true);
        let (status, body) =
            runtime.block_on(async { Connection::open(hub.address).await?.call(&hub.lookup(id)).await })?;
        ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(&body));
        let answer: Value = serde_json::from_slice(&body)?;
        let ours = rows(answer["rows"].as_array().context("no rows")?, false);
        ensure!(ours == expect, "hub {ours:?} and PostgreSQL {expect:?} differ");
        if let Some(roapi) = roapi {
            let (status, body) = runtime
                .block_on(async { Connection::open(roapi.address).await?.call(&roapi.lookup(id)).await })?;
            ensure!(status == 200, "ROAPI: {status}: {}", String::from_utf8_lossy(&body));
            let answer: Vec<Value> = serde_json::from_slice(&body)?;
            let found = rows(&answer, true);
            ensure!(found == expect, "ROAPI {found:?} and PostgreSQL {expect:?} differ");
        }
    }
    Ok(ids.len())
}
