//! Access: a department applies, the provider grants, either side's authority suspends. Two signatures, always.
//!
//! INVARIANT: a grant never allows more than its application, which its applicant signed.

use catalog::ResourceName;
use policies::decide::{Act as LawAct, ActFacts};
use policies::{AccountKind, Caller, Grant, GrantId, GrantState, Role, Terms};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::acts::{Act, Done, failed, read_json, read_value};
use crate::audit::Draft;
use crate::crypto::{hex, random};
use crate::error::Error;
use crate::hub::Hub;
use crate::store::Write;
use crate::store::applications::Application;
use crate::store::change::Given;
use crate::store::grants::StoredGrant;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ApplicationText {
    resource: ResourceName,
    terms: Terms,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantText {
    application: String,
    /// Terms that replace those applied for; each may only narrow.
    #[serde(default)]
    terms: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateText {
    reason: String,
}

/// `POST /v1/applications`, by the head of the applicant's sharing unit.
pub async fn apply(hub: &Hub, caller: &Caller, act: Act<'_>) -> Result<Given, Error> {
    act.perform(hub, caller, async |draft| {
        let text: ApplicationText = read_json(act.text)?;
        let published = hub
            .store
            .resource(&text.resource)
            .await
            .map_err(|cause| failed(&cause))?
            .ok_or(Error::NotFound)?;
        draft.resources = vec![format!("{}@{}", text.resource, published.version)];
        text.terms.purpose.clone_into(&mut draft.purpose);
        hub.law.allow(caller, LawAct::Apply, &published.resource, &ActFacts::default())?;
        check_terms(hub, &text.terms, &published.resource, "/terms")?;
        let application = Application {
            id: format!("app_{}", uuid::Uuid::now_v7().simple()),
            resource: text.resource,
            applicant_department: caller.department().clone(),
            applicant_account: caller.account().to_owned(),
            provider: published.resource.provider.clone(),
            terms: text.terms,
            signed_us: hub.clock.now_us(),
            text_sha256: act.text_sha256(),
        };
        let answer = json!(application);
        Ok(Done { writes: vec![Write::Application(application)], status: 201, answer })
    })
    .await
}

/// `POST /v1/grants`, by the head of the provider's sharing unit.
pub async fn grant(hub: &Hub, caller: &Caller, act: Act<'_>) -> Result<Given, Error> {
    act.perform(hub, caller, async |draft| {
        let text: GrantText = read_json(act.text)?;
        let application = hub
            .store
            .application(&text.application, caller.department())
            .await
            .map_err(|cause| failed(&cause))?
            .ok_or(Error::NotFound)?;
        let published = hub
            .store
            .resource(&application.resource)
            .await
            .map_err(|cause| failed(&cause))?
            .ok_or(Error::NotFound)?;
        draft.resources = vec![format!("{}@{}", application.resource, published.version)];
        application.terms.purpose.clone_into(&mut draft.purpose);
        let facts = ActFacts {
            applicant_department: application.applicant_department.as_str(),
            applicant_account: &application.applicant_account,
            suspended_by_authority: false,
        };
        hub.law.allow(caller, LawAct::Grant, &published.resource, &facts)?;
        let terms = narrowed(&application.terms, text.terms)?;
        check_terms(hub, &terms, &published.resource, "/terms")?;
        let faults = terms.narrows(&application.terms);
        if !faults.0.is_empty() {
            return Err(under("/terms", faults).into());
        }
        known_systems(hub, &terms.systems).await?;
        let grant = Grant {
            id: GrantId(format!("grant_{}", hex(&random::<16>()))),
            version: 1,
            application: application.id.clone(),
            resource: application.resource.clone(),
            grantee: application.applicant_department.clone(),
            provider: application.provider.clone(),
            state: GrantState::Active,
            terms,
        };
        draft.grants = vec![format!("{}@1", grant.id.0)];
        let answer = json!(grant);
        Ok(Done { writes: vec![signed(hub, caller, &act, grant, false)], status: 201, answer })
    })
    .await
}

/// `POST /v1/grants/{id}/suspend|resume|revoke`.
pub async fn change_state(hub: &Hub, caller: &Caller, act: Act<'_>, change: LawAct) -> Result<Given, Error> {
    let id = GrantId(act.target.to_owned());
    let given = act
        .perform(hub, caller, async |draft| {
            let text: StateText = read_json(act.text)?;
            if text.reason.trim().is_empty() || text.reason.len() > 1000 {
                return Err(Error::invalid("/reason", "say why, in 1 to 1,000 bytes"));
            }
            let stored = visible(hub, caller, &id).await?;
            change_one(hub, caller, &act, change, stored, draft).await
        })
        .await?;
    if change != LawAct::Resume {
        // The change is durable: answers that run under an older version end at their next batch.
        if let Some(stored) = hub.store.grant(&id).await.map_err(|cause| failed(&cause))? {
            hub.stops.stop(&id, stored.grant.version);
        }
    }
    Ok(given)
}

async fn change_one(
    hub: &Hub,
    caller: &Caller,
    act: &Act<'_>,
    change: LawAct,
    stored: StoredGrant,
    draft: &mut Draft,
) -> Result<Done, Error> {
    let StoredGrant { mut grant, suspended_by_authority, .. } = stored;
    let published =
        hub.store.resource(&grant.resource).await.map_err(|cause| failed(&cause))?.ok_or(Error::NotFound)?;
    draft.resources = vec![format!("{}@{}", grant.resource, published.version)];
    draft.grants = vec![format!("{}@{}", grant.id.0, grant.version + 1)];
    let facts = ActFacts {
        applicant_department: grant.grantee.as_str(),
        applicant_account: "",
        suspended_by_authority,
    };
    hub.law.allow(caller, change, &published.resource, &facts)?;
    let (from, to): (&[GrantState], GrantState) = match change {
        LawAct::Suspend => (&[GrantState::Active], GrantState::Suspended),
        LawAct::Resume => (&[GrantState::Suspended], GrantState::Active),
        _ => (&[GrantState::Active, GrantState::Suspended], GrantState::Revoked),
    };
    if !from.contains(&grant.state) {
        return Err(Error::Conflict(format!(
            "the grant cannot `{}` from its present state; read it",
            change.as_str()
        )));
    }
    grant.state = to;
    grant.version += 1;
    let by_authority = change == LawAct::Suspend && caller.has(Role::Authority);
    let answer = json!(grant);
    Ok(Done { writes: vec![signed(hub, caller, act, grant, by_authority)], status: 200, answer })
}

fn signed(hub: &Hub, caller: &Caller, act: &Act<'_>, grant: Grant, suspended_by_authority: bool) -> Write {
    Write::Grant {
        grant,
        suspended_by_authority,
        signed_by: caller.account().to_owned(),
        signed_us: hub.clock.now_us(),
        text_sha256: act.text_sha256(),
    }
}

/// Terms applied for, with the members the provider sent in their place.
fn narrowed(applied: &Terms, given: Map<String, Value>) -> Result<Terms, Error> {
    let mut terms = serde_json::to_value(applied).unwrap_or_default();
    if let Some(members) = terms.as_object_mut() {
        members.extend(given);
    }
    read_value(terms).map_err(|error| match error {
        Error::Invalid(faults) => under("/terms", faults).into(),
        other => other,
    })
}

fn check_terms(hub: &Hub, terms: &Terms, resource: &catalog::Resource, pointer: &str) -> Result<(), Error> {
    let known = |purpose: &str| hub.purposes.grantable(purpose);
    let faults = terms.faults(resource, hub.clock.now_us(), &known);
    if faults.0.is_empty() { Ok(()) } else { Err(under(pointer, faults).into()) }
}

/// A system nobody declared could be declared later, by whoever comes first.
async fn known_systems(hub: &Hub, systems: &[String]) -> Result<(), Error> {
    let mut faults = catalog::Faults::default();
    for (index, id) in systems.iter().enumerate() {
        let account = hub.store.account_by_id(id).await.map_err(|cause| failed(&cause))?;
        if account.is_none_or(|account| account.kind != AccountKind::System) {
            let message = format!("`{id}` is no declared system; leave it out, or have it declared first");
            faults.add(format!("/terms/systems/{index}"), message);
        }
    }
    if faults.0.is_empty() { Ok(()) } else { Err(faults.into()) }
}

/// The same faults one level down.
fn under(pointer: &str, mut faults: catalog::Faults) -> catalog::Faults {
    for fault in &mut faults.0 {
        fault.pointer.insert_str(0, pointer);
    }
    faults
}

/// A grant, when the caller's department holds or gave it, or supervises.
async fn visible(hub: &Hub, caller: &Caller, id: &GrantId) -> Result<StoredGrant, Error> {
    let stored = hub.store.grant(id).await.map_err(|cause| failed(&cause))?.ok_or(Error::NotFound)?;
    let own = stored.grant.grantee == *caller.department() || stored.grant.provider == *caller.department();
    if own || caller.has(Role::Authority) { Ok(stored) } else { Err(Error::NotFound) }
}

/// `GET /v1/grants/{id}`.
pub async fn one(hub: &Hub, caller: &Caller, id: &str) -> Result<Value, Error> {
    Ok(json!(visible(hub, caller, &GrantId(id.to_owned())).await?))
}

/// `GET /v1/grants`: those the caller's department holds or gave; all of them for the authority.
pub async fn list(hub: &Hub, caller: &Caller, after: &str, count_max: usize) -> Result<Value, Error> {
    let department = (!caller.has(Role::Authority)).then(|| caller.department());
    let grants =
        hub.store.grants_after(after, department, count_max).await.map_err(|cause| failed(&cause))?;
    let next =
        (grants.len() == count_max).then(|| grants.last().map(|last| last.grant.id.0.clone())).flatten();
    Ok(json!({ "grants": grants, "next": next }))
}

/// `GET /v1/applications`: those the caller's department made or has to answer.
pub async fn applications(hub: &Hub, caller: &Caller, after: &str, count_max: usize) -> Result<Value, Error> {
    let found = hub
        .store
        .applications_after(after, caller.department(), count_max)
        .await
        .map_err(|cause| failed(&cause))?;
    let next = (found.len() == count_max).then(|| found.last().map(|last| last.id.clone())).flatten();
    Ok(json!({ "applications": found, "next": next }))
}

/// `GET /v1/applications/{id}`.
pub async fn application(hub: &Hub, caller: &Caller, id: &str) -> Result<Value, Error> {
    let found = hub.store.application(id, caller.department()).await.map_err(|cause| failed(&cause))?;
    Ok(json!(found.ok_or(Error::NotFound)?))
}
