//! Departments, people and systems: who exists, with which posts and keys.

use std::sync::Arc;

use catalog::DepartmentId;
use policies::{AccountKind, Role};
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;

use super::{Store, StoreError, body};

/// 政务部门.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Department {
    pub id: DepartmentId,
    pub name: String,
    /// GB 32100, 18 characters.
    pub uscc: String,
    /// GB/T 2260 division code.
    pub region_code: String,
}

/// One post: a role in a department.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Post {
    pub department: DepartmentId,
    pub role: Role,
}

/// A person or a system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    pub id: String,
    pub kind: AccountKind,
    /// `iss` of its tokens; a system is its own issuer.
    pub issuer: String,
    pub subject: String,
    pub posts: Vec<Post>,
    /// A system's registered public keys (JWK, RFC 7517): EdDSA or ES256.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<serde_json::Value>,
    #[serde(default)]
    pub disabled: bool,
}

/// The organisation file: what a deployment declares at start.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Organisation {
    pub department: Vec<Department>,
    pub account: Vec<Account>,
}

impl Organisation {
    /// Everything wrong with it, by JSON pointer.
    pub fn faults(&self) -> catalog::Faults {
        let mut faults = catalog::Faults::default();
        for (index, department) in self.department.iter().enumerate() {
            if self.department.iter().take(index).any(|other| other.id == department.id) {
                faults
                    .add(format!("/department/{index}/id"), format!("`{}` is declared twice", department.id));
            }
            if catalog::identifier::check_uscc(&department.uscc).is_err() {
                faults.add(
                    format!("/department/{index}/uscc"),
                    "no valid GB 32100 code; check its check character",
                );
            }
        }
        for (index, account) in self.account.iter().enumerate() {
            self.account_faults(index, account, &mut faults);
        }
        faults
    }

    fn account_faults(&self, index: usize, account: &Account, faults: &mut catalog::Faults) {
        if account.kind == AccountKind::Hub {
            faults.add(
                format!("/account/{index}/kind"),
                "`hub` is no account to declare; use `person` or `system`",
            );
        }
        if account.posts.is_empty() {
            faults.add(format!("/account/{index}/posts"), "name at least one post");
        }
        for (at, post) in account.posts.iter().enumerate() {
            if !self.department.iter().any(|department| department.id == post.department) {
                faults.add(
                    format!("/account/{index}/posts/{at}/department"),
                    format!("department `{}` is not declared", post.department),
                );
            }
        }
        let administrator = [Role::SystemAdmin, Role::SecurityAdmin, Role::Reviewer]
            .iter()
            .filter(|role| account.posts.iter().any(|post| post.role == **role))
            .count();
        if administrator > 1 {
            faults.add(
                format!("/account/{index}/posts"),
                "system-admin, security-admin and reviewer may not be held together; name another person",
            );
        }
    }
}

impl Department {
    pub(super) async fn write(
        &self,
        connection: &mut SqliteConnection,
        revision: i64,
    ) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO department_version (id, body, revision) VALUES ($1, $2, $3)")
            .bind(self.id.as_str())
            .bind(serde_json::to_string(self)?)
            .bind(revision)
            .execute(connection)
            .await?;
        Ok(())
    }
}

impl Account {
    pub(super) async fn write(
        &self,
        connection: &mut SqliteConnection,
        revision: i64,
    ) -> Result<(), StoreError> {
        let kind = if self.kind == AccountKind::System { "system" } else { "person" };
        let other = sqlx::query(
            "SELECT a.id FROM account_version a
             WHERE a.issuer = $1 AND a.subject = $2 AND a.id <> $3 AND a.revision =
               (SELECT MAX(n.revision) FROM account_version n WHERE n.id = a.id)",
        )
        .bind(&self.issuer)
        .bind(&self.subject)
        .bind(&self.id)
        .fetch_optional(&mut *connection)
        .await?;
        if other.is_some() {
            return Err(StoreError::Conflict("another account has this issuer and subject"));
        }
        sqlx::query(
            "INSERT INTO account_version (id, kind, issuer, subject, body, revision)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(&self.id)
        .bind(kind)
        .bind(&self.issuer)
        .bind(&self.subject)
        .bind(serde_json::to_string(self)?)
        .bind(revision)
        .execute(connection)
        .await?;
        Ok(())
    }
}

impl Store {
    pub async fn department(&self, id: &DepartmentId) -> Result<Option<Arc<Department>>, StoreError> {
        let revision = self.revision();
        if let Some(known) = self.departments.get(id.as_str(), revision) {
            return Ok(known);
        }
        let row = sqlx::query(
            "SELECT body FROM department_version WHERE id = $1 AND revision <= $2 ORDER BY revision DESC LIMIT 1",
        )
            .bind(id.as_str())
            .bind(revision)
            .fetch_optional(&self.read)
            .await?;
        let found = row.as_ref().map(body).transpose()?.map(Arc::new);
        self.departments.put(id.0.clone(), revision, found.clone());
        Ok(found)
    }

    /// The account a token of this issuer and subject belongs to.
    pub async fn account(&self, issuer: &str, subject: &str) -> Result<Option<Arc<Account>>, StoreError> {
        let revision = self.revision();
        let key = format!("{issuer}\n{subject}");
        if let Some(known) = self.accounts.get(&key, revision) {
            return Ok(known);
        }
        let row = sqlx::query(
            "SELECT a.body AS body FROM account_version a
                 WHERE a.issuer = $1 AND a.subject = $2 AND a.revision =
                   (SELECT MAX(n.revision) FROM account_version n WHERE n.id = a.id AND n.revision <= $3)",
        )
        .bind(issuer)
        .bind(subject)
        .bind(revision)
        .fetch_optional(&self.read)
        .await?;
        let found = row.as_ref().map(body).transpose()?.map(Arc::new);
        self.accounts.put(key, revision, found.clone());
        Ok(found)
    }

    pub async fn account_by_id(&self, id: &str) -> Result<Option<Account>, StoreError> {
        let row = sqlx::query(
            "SELECT body FROM account_version WHERE id = $1 AND revision <= $2 ORDER BY revision DESC LIMIT 1",
        )
            .bind(id)
            .bind(self.revision())
            .fetch_optional(&self.read)
            .await?;
        row.as_ref().map(body).transpose()
    }
}
