//! Published catalogue entries: immutable versions, the newest is in force.

use std::sync::Arc;

use catalog::{Resource, ResourceId, ResourceName};
use serde::{Deserialize, Serialize};
use sqlx::{Row, SqliteConnection};

use super::change::taken;
use super::{Store, StoreError, body};

/// A resource in one published version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Published {
    pub id: ResourceId,
    pub version: u32,
    /// UTC microseconds.
    pub published_us: i64,
    pub resource: Resource,
}

impl Published {
    pub(super) async fn write(
        &self,
        connection: &mut SqliteConnection,
        revision: i64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO resource (id, name, version, provider, body, published_us, revision)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(self.id.as_str())
        .bind(self.resource.name.as_str())
        .bind(i64::from(self.version))
        .bind(self.resource.provider.as_str())
        .bind(serde_json::to_string(self)?)
        .bind(self.published_us)
        .bind(revision)
        .execute(connection)
        .await
        .map(drop)
        .map_err(taken("another version of this resource was published meanwhile; read it and try again"))
    }
}

impl Store {
    /// The version in force of a resource by name.
    pub async fn resource(&self, name: &ResourceName) -> Result<Option<Arc<Published>>, StoreError> {
        let revision = self.revision();
        if let Some(known) = self.resources.get(name.as_str(), revision) {
            return Ok(known);
        }
        let row = sqlx::query(
            "SELECT body FROM resource WHERE name = $1 AND revision <= $2 ORDER BY version DESC LIMIT 1",
        )
        .bind(name.as_str())
        .bind(revision)
        .fetch_optional(&self.read)
        .await?;
        let found = row.as_ref().map(body).transpose()?.map(Arc::new);
        self.resources.put(name.0.clone(), revision, found.clone());
        Ok(found)
    }

    pub async fn resource_by_id(&self, id: &ResourceId) -> Result<Option<Published>, StoreError> {
        let row = sqlx::query(
            "SELECT body FROM resource WHERE id = $1 AND revision <= $2 ORDER BY version DESC LIMIT 1",
        )
        .bind(id.as_str())
        .bind(self.revision())
        .fetch_optional(&self.read)
        .await?;
        row.as_ref().map(body).transpose()
    }

    /// The version in force of every resource after a name, in name order.
    pub async fn resources_after(&self, name: &str, count_max: usize) -> Result<Vec<Published>, StoreError> {
        let rows = sqlx::query(
            "SELECT r.body AS body FROM resource r
             WHERE r.name > $1 AND r.revision <= $2 AND r.version =
               (SELECT MAX(n.version) FROM resource n WHERE n.name = r.name AND n.revision <= $2)
             ORDER BY r.name LIMIT $3",
        )
        .bind(name)
        .bind(self.revision())
        .bind(i64::try_from(count_max).unwrap_or(i64::MAX))
        .fetch_all(&self.read)
        .await?;
        rows.iter().map(body).collect()
    }

    /// How many resources are published, for metrics.
    pub async fn resources_count(&self) -> Result<i64, StoreError> {
        let row = sqlx::query("SELECT COUNT(DISTINCT name) AS count FROM resource WHERE revision <= $1")
            .bind(self.revision())
            .fetch_one(&self.read)
            .await?;
        Ok(row.try_get("count")?)
    }
}
