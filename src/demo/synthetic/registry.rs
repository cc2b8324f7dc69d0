//! Writes `legal_entity/registry.sqlite`: the registry's own database, with its own column names.

use std::path::Path;

use anyhow::Context;
use chrono::{DateTime, SecondsFormat};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, QueryBuilder, Sqlite, SqliteConnection};

use super::entities::{Entities, Entity};
use super::output::Draft;
use super::places::Places;
use super::{Plan, Step};

/// Rows of one INSERT: 18 columns each, below SQLite's 32,766 parameters.
const INSERT_ROWS: usize = 500;
/// INSERTs of one transaction.
const INSERTS: usize = 40;

const TABLE: &str = "create table enterprise (
    uniscid text not null, entname text not null, enttype text, lerep text, regcap text, currency text,
    estdate text, apprdate text, term_from text, term_to text, regstate text, opscope text, dom text,
    region_code text, regorg text, industry_letter text, industry_code text, updated_at text
)";
const INSERT: &str = "insert into enterprise (
    uniscid, entname, enttype, lerep, regcap, currency,
    estdate, apprdate, term_from, term_to, regstate, opscope, dom,
    region_code, regorg, industry_letter, industry_code, updated_at
) ";

pub async fn write(
    target: &Path,
    places: &Places,
    plan: &Plan,
    progress: &(dyn Fn(Step, u64, u64) + Send + Sync),
) -> anyhow::Result<()> {
    let draft = Draft::new(target)?;
    // Nobody reads the draft, and an interrupted one is thrown away: no journal until it is whole.
    let mut connection = SqliteConnectOptions::new()
        .filename(draft.path())
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Off)
        .synchronous(SqliteSynchronous::Off)
        .connect()
        .await
        .context("cannot make the registry's database")?;
    sqlx::query(TABLE).execute(&mut connection).await?;
    fill(&mut connection, places, plan, progress).await?;
    sqlx::query("create unique index enterprise_uniscid on enterprise (uniscid)")
        .execute(&mut connection)
        .await?;
    sqlx::query("analyze").execute(&mut connection).await?;
    sqlx::query("pragma journal_mode = wal").execute(&mut connection).await?;
    connection.close().await?;
    draft.keep()
}

async fn fill(
    connection: &mut SqliteConnection,
    places: &Places,
    plan: &Plan,
    progress: &(dyn Fn(Step, u64, u64) + Send + Sync),
) -> anyhow::Result<()> {
    let mut entities = Entities::new(places, plan.entities, plan.seed);
    let mut done = 0;
    progress(Step::Entities, done, plan.entities);
    while done < plan.entities {
        let mut transaction = connection.begin().await?;
        for _ in 0..INSERTS {
            let rows: Vec<Entity> = entities
                .by_ref()
                .take(INSERT_ROWS)
                .map(|key| Entity::draw(places, plan.seed, &key))
                .collect::<anyhow::Result<_>>()?;
            if rows.is_empty() {
                break;
            }
            done += rows.len() as u64;
            insert(&mut transaction, rows).await?;
        }
        transaction.commit().await?;
        progress(Step::Entities, done, plan.entities);
    }
    Ok(())
}

async fn insert(connection: &mut SqliteConnection, rows: Vec<Entity>) -> anyhow::Result<()> {
    let mut query = QueryBuilder::<Sqlite>::new(INSERT);
    query.push_values(rows, |mut row, entity| {
        let updated_at = DateTime::from_timestamp(entity.updated_at_s, 0).unwrap_or_default();
        row.push_bind(entity.uscc)
            .push_bind(entity.name)
            .push_bind(entity.kind)
            .push_bind(entity.legal_representative)
            .push_bind(entity.registered_capital)
            .push_bind(entity.currency)
            .push_bind(entity.established_on.to_string())
            .push_bind(entity.approved_on.to_string())
            .push_bind(entity.established_on.to_string())
            .push_bind(entity.term_to.map(|date| date.to_string()))
            .push_bind(entity.status)
            .push_bind(entity.business_scope)
            .push_bind(entity.address)
            .push_bind(entity.region_code)
            .push_bind(entity.registrar)
            .push_bind(entity.industry_letter)
            .push_bind(entity.industry_code)
            .push_bind(updated_at.to_rfc3339_opts(SecondsFormat::Secs, true));
    });
    query.build().execute(connection).await?;
    Ok(())
}
