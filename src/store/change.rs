//! How facts change: typed writes and their entry in one transaction, effective when the entry is durable.

use std::sync::atomic::Ordering;

use policies::Grant;
use sqlx::{Connection, Row, SqliteConnection};

use super::applications::Application;
use super::organisation::{Account, Department};
use super::resources::Published;
use super::{Store, StoreError, Writing};
use crate::audit::{Draft, Log, Recorded};

/// One fact to be written; what it replaces is said by its key.
#[derive(Debug)]
pub enum Write {
    Department(Department),
    Account(Account),
    Resource(Published),
    Application(Application),
    Grant {
        grant: Grant,
        suspended_by_authority: bool,
        signed_by: String,
        signed_us: i64,
        text_sha256: String,
    },
    Idempotency {
        account: String,
        key: String,
        call_sha256: String,
        status: u16,
        answer: String,
    },
}

/// An answer already given for an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    pub call_sha256: String,
    pub status: u16,
    pub answer: String,
}

impl Store {
    /// Writes facts and their entry together, then records the entry; returns when both are durable.
    ///
    /// When the record cannot be written the change stays pending and becomes effective with the next
    /// successful append: the caller is told `record_unavailable` and may repeat the call with its key.
    /// It is carried out in a task of its own: a caller that leaves half-way must not free the store while the
    /// entry is on its way to the disk, or the next change would record it a second time.
    pub async fn change(&self, log: &Log, draft: Draft, writes: Vec<Write>) -> Result<Recorded, StoreError> {
        let (writing, log) = (self.writing.clone(), log.clone());
        tokio::spawn(async move { writing.change(&log, draft, writes).await })
            .await
            .unwrap_or_else(|cause| Err(StoreError::Ended(cause.to_string())))
    }

    /// At start: refuses a store older than the record, then records what a crash left pending.
    pub async fn recover(&self, log: &Log) -> Result<(), StoreError> {
        let mut connection = self.writing.connection.lock().await;
        let store = newest_revision(&mut connection).await?;
        let record = i64::try_from(log.last_store_revision()).unwrap_or(i64::MAX);
        if record > store {
            return Err(StoreError::OlderThanRecord { store, record });
        }
        sqlx::query("UPDATE outbox SET recorded = 1 WHERE revision <= $1 AND recorded = 0")
            .bind(record)
            .execute(&mut *connection)
            .await?;
        self.writing.flush(&mut connection, log).await?;
        self.writing.advance(store);
        Ok(())
    }

    /// Tries again to record pending changes; called by the hub's keeper while the record was down.
    pub async fn retry(&self, log: &Log) -> Result<(), StoreError> {
        let mut connection = self.writing.connection.lock().await;
        self.writing.flush(&mut connection, log).await
    }

    /// The answer given before for this key of this account.
    pub async fn given(&self, account: &str, key: &str) -> Result<Option<Given>, StoreError> {
        let row = sqlx::query(
            "SELECT call_sha256, status, answer FROM idempotency
             WHERE account = $1 AND idempotency_key = $2 AND revision <= $3",
        )
        .bind(account)
        .bind(key)
        .bind(self.revision())
        .fetch_optional(&self.read)
        .await?;
        row.map(|row| {
            let status: i64 = row.try_get("status")?;
            Ok(Given {
                call_sha256: row.try_get("call_sha256")?,
                status: u16::try_from(status).unwrap_or(500),
                answer: row.try_get("answer")?,
            })
        })
        .transpose()
    }
}

impl Writing {
    async fn change(&self, log: &Log, draft: Draft, writes: Vec<Write>) -> Result<Recorded, StoreError> {
        let mut connection = self.connection.lock().await;
        self.flush(&mut connection, log).await?;
        let mut transaction = connection.begin().await?;
        let revision = newest_revision(&mut transaction).await? + 1;
        for write in &writes {
            apply(&mut transaction, write, revision).await?;
        }
        let draft = draft.store_revision(u64::try_from(revision).unwrap_or_default());
        sqlx::query("INSERT INTO outbox (revision, entry, recorded) VALUES ($1, $2, 0)")
            .bind(revision)
            .bind(serde_json::to_string(&draft)?)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        let recorded = log.append(draft, None).await.map_err(StoreError::Record)?;
        self.settle(&mut connection, revision).await?;
        Ok(recorded)
    }

    async fn flush(&self, connection: &mut SqliteConnection, log: &Log) -> Result<(), StoreError> {
        let pending = sqlx::query("SELECT revision, entry FROM outbox WHERE recorded = 0 ORDER BY revision")
            .fetch_all(&mut *connection)
            .await?;
        for row in pending {
            let revision: i64 = row.try_get("revision")?;
            // A change whose append failed half-way may be on record after all.
            if i64::try_from(log.last_store_revision()).unwrap_or(i64::MAX) < revision {
                let draft: Draft = serde_json::from_str(row.try_get("entry")?)?;
                log.append(draft, None).await.map_err(StoreError::Record)?;
            }
            self.settle(connection, revision).await?;
        }
        Ok(())
    }

    async fn settle(&self, connection: &mut SqliteConnection, revision: i64) -> Result<(), StoreError> {
        // The entry is durable, so the change counts whatever happens to this mark: `recover` sets it again.
        self.advance(revision);
        sqlx::query("UPDATE outbox SET recorded = 1 WHERE revision = $1")
            .bind(revision)
            .execute(connection)
            .await?;
        Ok(())
    }

    fn advance(&self, revision: i64) {
        self.effective.fetch_max(revision, Ordering::SeqCst);
    }
}

async fn newest_revision(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    let row = sqlx::query("SELECT COALESCE(MAX(revision), 0) AS revision FROM outbox")
        .fetch_one(connection)
        .await?;
    Ok(row.try_get("revision")?)
}

async fn apply(connection: &mut SqliteConnection, write: &Write, revision: i64) -> Result<(), StoreError> {
    match write {
        Write::Department(department) => department.write(connection, revision).await,
        Write::Account(account) => account.write(connection, revision).await,
        Write::Resource(published) => published.write(connection, revision).await,
        Write::Application(application) => application.write(connection, revision).await,
        Write::Grant { grant, suspended_by_authority, signed_by, signed_us, text_sha256 } => {
            let row = super::grants::GrantRow {
                grant,
                suspended_by_authority: *suspended_by_authority,
                signed_by,
                signed_us: *signed_us,
                text_sha256,
            };
            row.write(connection, revision).await
        }
        Write::Idempotency { account, key, call_sha256, status, answer } => sqlx::query(
            "INSERT INTO idempotency (account, idempotency_key, call_sha256, status, answer, revision)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(account)
        .bind(key)
        .bind(call_sha256)
        .bind(i64::from(*status))
        .bind(answer)
        .bind(revision)
        .execute(connection)
        .await
        .map(drop)
        .map_err(taken("the same idempotency key is being used by another call; repeat this call")),
    }
}

/// A unique-constraint violation under its name; every other failure as it is.
pub(super) fn taken(conflict: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |cause| match &cause {
        sqlx::Error::Database(database) if database.is_unique_violation() => StoreError::Conflict(conflict),
        _ => StoreError::Database(cause),
    }
}
