//! Applications: what a department asked for, signed by the head of its sharing unit (art. 20).

use catalog::{DepartmentId, ResourceName};
use policies::Terms;
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{Store, StoreError};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Application {
    /// `app_` and a UUIDv7.
    pub id: String,
    pub resource: ResourceName,
    pub applicant_department: DepartmentId,
    /// Who signed.
    pub applicant_account: String,
    pub provider: DepartmentId,
    pub terms: Terms,
    /// UTC microseconds.
    pub signed_us: i64,
    /// SHA-256 of the exact text that was signed.
    pub text_sha256: String,
}

impl Application {
    pub(super) async fn write(
        &self,
        connection: &mut SqliteConnection,
        revision: i64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO application (id, resource, applicant_department, applicant_account, provider, terms,
               signed_us, text_sha256, revision)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(&self.id)
        .bind(self.resource.as_str())
        .bind(self.applicant_department.as_str())
        .bind(&self.applicant_account)
        .bind(self.provider.as_str())
        .bind(serde_json::to_string(&self.terms)?)
        .bind(self.signed_us)
        .bind(&self.text_sha256)
        .bind(revision)
        .execute(connection)
        .await?;
        Ok(())
    }

    fn read(row: &SqliteRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.try_get("id")?,
            resource: ResourceName(row.try_get("resource")?),
            applicant_department: DepartmentId(row.try_get("applicant_department")?),
            applicant_account: row.try_get("applicant_account")?,
            provider: DepartmentId(row.try_get("provider")?),
            terms: serde_json::from_str(row.try_get("terms")?)?,
            signed_us: row.try_get("signed_us")?,
            text_sha256: row.try_get("text_sha256")?,
        })
    }
}

impl Store {
    /// An application, when the asking department is its applicant or its provider.
    pub async fn application(
        &self,
        id: &str,
        department: &DepartmentId,
    ) -> Result<Option<Application>, StoreError> {
        let row = sqlx::query(
            "SELECT * FROM application
             WHERE id = $1 AND (applicant_department = $2 OR provider = $2) AND revision <= $3",
        )
        .bind(id)
        .bind(department.as_str())
        .bind(self.revision())
        .fetch_optional(&self.read)
        .await?;
        row.as_ref().map(Application::read).transpose()
    }

    /// Applications a department made or has to answer, after an id.
    pub async fn applications_after(
        &self,
        after: &str,
        department: &DepartmentId,
        count_max: usize,
    ) -> Result<Vec<Application>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM application
             WHERE id > $1 AND (applicant_department = $2 OR provider = $2) AND revision <= $3
             ORDER BY id LIMIT $4",
        )
        .bind(after)
        .bind(department.as_str())
        .bind(self.revision())
        .bind(i64::try_from(count_max).unwrap_or(i64::MAX))
        .fetch_all(&self.read)
        .await?;
        rows.iter().map(Application::read).collect()
    }
}
