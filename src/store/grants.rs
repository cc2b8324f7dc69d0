//! Grants: every version kept, the newest effective one counts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use catalog::{DepartmentId, ResourceName};
use policies::ask::Ask;
use policies::decide::{Brief, Law, Refusal};
use policies::{Caller, Grant, GrantId, GrantState, Permit, PseudonymKey};
use serde::Serialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::change::taken;
use super::{Store, StoreError};

/// A grant with what only the store and the supervisor need.
#[derive(Debug, Serialize)]
pub struct StoredGrant {
    #[serde(flatten)]
    pub grant: Grant,
    pub suspended_by_authority: bool,
    pub signed_by: String,
    pub signed_us: i64,
    /// By account: what the rules need of it and this grant. Gone with this value when any fact changes.
    #[serde(skip)]
    pub briefs: Mutex<HashMap<String, Arc<Brief>>>,
}

/// Callers of one grant whose briefs are kept.
const BRIEFS_MAX: usize = 256;

impl StoredGrant {
    /// Decides a call under this grant; what stays the same from call to call is built once.
    pub fn decide(
        &self,
        law: &Law,
        caller: &Caller,
        ask: &Ask<'_>,
        master: &PseudonymKey,
    ) -> Result<Permit, Refusal> {
        let kept = self.briefs.lock().ok().and_then(|briefs| briefs.get(caller.account()).cloned());
        let brief = match kept.filter(|brief| brief.fits(caller, ask)) {
            Some(brief) => brief,
            None => {
                let made = law.brief(caller, ask.resource, ask.resource_version, &self.grant, master)?;
                let made = Arc::new(made);
                if let Ok(mut briefs) = self.briefs.lock() {
                    if briefs.len() >= BRIEFS_MAX {
                        briefs.clear();
                    }
                    briefs.insert(caller.account().to_owned(), made.clone());
                }
                made
            }
        };
        law.decide(&brief, caller, ask)
    }
}

pub(super) struct GrantRow<'a> {
    pub grant: &'a Grant,
    pub suspended_by_authority: bool,
    pub signed_by: &'a str,
    pub signed_us: i64,
    pub text_sha256: &'a str,
}

impl GrantRow<'_> {
    pub(super) async fn write(
        &self,
        connection: &mut SqliteConnection,
        revision: i64,
    ) -> Result<(), StoreError> {
        let grant = self.grant;
        sqlx::query(
            "INSERT INTO grant_version (id, version, application, resource, grantee, provider, state,
               suspended_by_authority, terms, signed_by, signed_us, text_sha256, revision)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        )
        .bind(&grant.id.0)
        .bind(i64::from(grant.version))
        .bind(&grant.application)
        .bind(grant.resource.as_str())
        .bind(grant.grantee.as_str())
        .bind(grant.provider.as_str())
        .bind(state_text(grant.state))
        .bind(i64::from(self.suspended_by_authority))
        .bind(serde_json::to_string(&grant.terms)?)
        .bind(self.signed_by)
        .bind(self.signed_us)
        .bind(self.text_sha256)
        .bind(revision)
        .execute(connection)
        .await
        .map(drop)
        .map_err(taken(
            "the grant was changed, or the application answered, meanwhile; read it and try again",
        ))
    }
}

impl StoredGrant {
    fn read(row: &SqliteRow) -> Result<Self, StoreError> {
        let state: String = row.try_get("state")?;
        let version: i64 = row.try_get("version")?;
        let by_authority: i64 = row.try_get("suspended_by_authority")?;
        Ok(Self {
            grant: Grant {
                id: GrantId(row.try_get("id")?),
                version: u32::try_from(version).unwrap_or(u32::MAX),
                application: row.try_get("application")?,
                resource: ResourceName(row.try_get("resource")?),
                grantee: DepartmentId(row.try_get("grantee")?),
                provider: DepartmentId(row.try_get("provider")?),
                state: state_of(&state),
                terms: serde_json::from_str(row.try_get("terms")?)?,
            },
            suspended_by_authority: by_authority != 0,
            signed_by: row.try_get("signed_by")?,
            signed_us: row.try_get("signed_us")?,
            briefs: Mutex::default(),
        })
    }
}

fn state_text(state: GrantState) -> &'static str {
    match state {
        GrantState::Active => "active",
        GrantState::Suspended => "suspended",
        GrantState::Revoked => "revoked",
    }
}

/// Anything unknown counts as revoked: unreadable means refused.
fn state_of(text: &str) -> GrantState {
    match text {
        "active" => GrantState::Active,
        "suspended" => GrantState::Suspended,
        _ => GrantState::Revoked,
    }
}

impl Store {
    /// Every grant a department ever had on a resource, in its newest version.
    pub async fn grants(
        &self,
        grantee: &DepartmentId,
        resource: &ResourceName,
    ) -> Result<Arc<Vec<StoredGrant>>, StoreError> {
        let revision = self.revision();
        let key = format!("{grantee}\n{resource}");
        if let Some(Some(known)) = self.grants.get(&key, revision) {
            return Ok(known);
        }
        let rows = sqlx::query(
            "SELECT g.* FROM grant_version g
             WHERE g.grantee = $1 AND g.resource = $2 AND g.revision <= $3 AND g.version =
               (SELECT MAX(n.version) FROM grant_version n WHERE n.id = g.id AND n.revision <= $3)
             ORDER BY g.id",
        )
        .bind(grantee.as_str())
        .bind(resource.as_str())
        .bind(revision)
        .fetch_all(&self.read)
        .await?;
        let found: Vec<StoredGrant> = rows.iter().map(StoredGrant::read).collect::<Result<_, _>>()?;
        let found = Arc::new(found);
        self.grants.put(key, revision, Some(found.clone()));
        Ok(found)
    }

    /// A grant in its newest version, whoever asks: the caller decides visibility.
    pub async fn grant(&self, id: &GrantId) -> Result<Option<StoredGrant>, StoreError> {
        let row = sqlx::query(
            "SELECT * FROM grant_version WHERE id = $1 AND revision <= $2 ORDER BY version DESC LIMIT 1",
        )
        .bind(&id.0)
        .bind(self.revision())
        .fetch_optional(&self.read)
        .await?;
        row.as_ref().map(StoredGrant::read).transpose()
    }

    /// Versions that suspended or revoked a grant after a revision.
    pub async fn stopped_since(&self, revision: i64) -> Result<Vec<(GrantId, u32)>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, version FROM grant_version WHERE revision > $1 AND revision <= $2 AND state <> 'active'",
        )
        .bind(revision)
        .bind(self.revision())
        .fetch_all(&self.read)
        .await?;
        rows.iter()
            .map(|row| {
                let version: i64 = row.try_get("version")?;
                Ok((GrantId(row.try_get("id")?), u32::try_from(version).unwrap_or(u32::MAX)))
            })
            .collect()
    }

    /// Grants after an id that a department holds or gave; every grant for the authority (`department` none).
    pub async fn grants_after(
        &self,
        after: &str,
        department: Option<&DepartmentId>,
        count_max: usize,
    ) -> Result<Vec<StoredGrant>, StoreError> {
        let rows = sqlx::query(
            "SELECT g.* FROM grant_version g
             WHERE g.id > $1 AND ($2 = '' OR g.grantee = $2 OR g.provider = $2) AND g.revision <= $3 AND g.version =
               (SELECT MAX(n.version) FROM grant_version n WHERE n.id = g.id AND n.revision <= $3)
             ORDER BY g.id LIMIT $4",
        )
        .bind(after)
        .bind(department.map_or("", DepartmentId::as_str))
        .bind(self.revision())
        .bind(i64::try_from(count_max).unwrap_or(i64::MAX))
        .fetch_all(&self.read)
        .await?;
        rows.iter().map(StoredGrant::read).collect()
    }
}
