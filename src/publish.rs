//! Publishing: a provider's head signs a catalogue entry, it is checked against its source and becomes a version.
//!
//! check faults → decide → mount → write with its entry. The full life cycle comes in its own issue.

use catalog::{Binding, Resource, ResourceId};
use policies::Caller;
use policies::decide::{Act as LawAct, ActFacts};
use serde_json::{Value, json};

use crate::acts::{Act, Done, failed, read_json};
use crate::error::Error;
use crate::hub::Hub;
use crate::store::Write;
use crate::store::change::Given;
use crate::store::organisation::Organisation;
use crate::store::resources::Published;

/// `POST /v1/resources`: a new resource, or with `If-Match` a new version of one.
pub async fn publish(
    hub: &Hub,
    caller: &Caller,
    act: Act<'_>,
    if_match: Option<&str>,
) -> Result<Given, Error> {
    act.perform(hub, caller, async |draft| {
        let resource: Resource = read_json(act.text)?;
        draft.resources = vec![resource.name.0.chars().take(80).collect()];
        let faults = resource.faults();
        if !faults.0.is_empty() {
            return Err(faults.into());
        }
        hub.law.allow(caller, LawAct::Publish, &resource, &ActFacts::default())?;
        let before = hub.store.resource(&resource.name).await.map_err(|cause| failed(&cause))?;
        if let Some(before) = &before {
            if before.resource.provider != resource.provider {
                return Err(Error::Conflict(
                    "another department provides a resource of this name".to_owned(),
                ));
            }
            match if_match {
                None => return Err(Error::PreconditionRequired),
                Some(tag) if tag != etag(before) => return Err(Error::PreconditionFailed),
                Some(_) => {}
            }
        } else if if_match.is_some() {
            return Err(Error::PreconditionFailed);
        }
        check_place(&resource, before.as_deref().map(|before| &before.resource))?;
        if resource.mountable() {
            crate::engine::mount(&hub.sources, &resource).await?;
        }
        let published = Published {
            id: before.as_ref().map_or_else(new_id, |before| before.id.clone()),
            version: before.as_ref().map_or(1, |before| before.version + 1),
            published_us: hub.clock.now_us(),
            resource,
        };
        draft.resources = vec![format!("{}@{}", published.resource.name, published.version)];
        let answer = shown(&published, caller);
        Ok(Done { writes: vec![Write::Resource(published)], status: 201, answer })
    })
    .await
}

/// A provider binds what lies in its own folder below the source root (`<department>/…`), or what the operator bound
/// this resource to: nobody publishes another department's file as their own.
fn check_place(resource: &Resource, before: Option<&Resource>) -> Result<(), Error> {
    let Some(path) = path_of(&resource.binding) else { return Ok(()) };
    let own = path.split('/').next() == Some(resource.provider.as_str()) && path.contains('/');
    let kept = before.is_some_and(|before| before.binding == resource.binding);
    if own || kept {
        return Ok(());
    }
    let folder = &resource.provider;
    Err(Error::invalid(
        "/binding",
        format!("bind a source in your department's own folder, `{folder}/…`; put it there"),
    ))
}

fn path_of(binding: &Binding) -> Option<&str> {
    match binding {
        Binding::Files { path, .. } | Binding::Sqlite { path, .. } => Some(path),
        // Which department may name which connection is checked where it is opened.
        Binding::Postgres { .. } | Binding::Unmounted => None,
    }
}

/// Loads library files at start: entries that are not in the store yet, signed by the hub itself.
pub async fn load(hub: &Hub, resources: Vec<Resource>) -> Result<usize, Error> {
    let mut loaded = 0;
    for resource in resources {
        if hub.store.resource(&resource.name).await.map_err(|cause| failed(&cause))?.is_some() {
            continue;
        }
        let faults = resource.faults();
        if !faults.0.is_empty() {
            return Err(faults.into());
        }
        if resource.mountable() {
            crate::engine::mount(&hub.sources, &resource).await?;
        }
        let text = serde_json::to_vec(&resource).unwrap_or_default();
        let name = resource.name.clone();
        let act = Act { operation: "load", target: name.as_str(), text: &text, idempotency_key: None };
        let published = Published { id: new_id(), version: 1, published_us: hub.clock.now_us(), resource };
        act.perform(hub, &hub.authn.hub(), async |draft| {
            draft.resources = vec![format!("{name}@1")];
            Ok(Done { writes: vec![Write::Resource(published)], status: 201, answer: Value::Null })
        })
        .await?;
        loaded += 1;
    }
    Ok(loaded)
}

/// Brings a declared organisation into the store; what is there already and unchanged is left alone.
pub async fn declare(hub: &Hub, organisation: Organisation) -> Result<(), Error> {
    let faults = organisation.faults();
    if !faults.0.is_empty() {
        return Err(faults.into());
    }
    let mut writes = Vec::new();
    for department in organisation.department {
        let known = hub.store.department(&department.id).await.map_err(|cause| failed(&cause))?;
        if known.as_deref() != Some(&department) {
            writes.push(Write::Department(department));
        }
    }
    for account in organisation.account {
        if hub.store.account_by_id(&account.id).await.map_err(|cause| failed(&cause))?.as_ref()
            != Some(&account)
        {
            writes.push(Write::Account(account));
        }
    }
    if writes.is_empty() {
        return Ok(());
    }
    let text = format!("{writes:?}");
    let act =
        Act { operation: "declare", target: "organisation", text: text.as_bytes(), idempotency_key: None };
    act.perform(hub, &hub.authn.hub(), async |draft| {
        draft.rows = Some(writes.len() as u64);
        Ok(Done { writes, status: 200, answer: Value::Null })
    })
    .await
    .map(drop)
}

/// `GET /v1/resources`: every signed-in caller sees every published entry.
pub async fn list(hub: &Hub, caller: &Caller, after: &str, count_max: usize) -> Result<Value, Error> {
    let found = hub.store.resources_after(after, count_max).await.map_err(|cause| failed(&cause))?;
    let next =
        (found.len() == count_max).then(|| found.last().map(|last| last.resource.name.0.clone())).flatten();
    let resources: Vec<Value> = found.iter().map(|published| shown(published, caller)).collect();
    Ok(json!({ "resources": resources, "next": next }))
}

/// `GET /v1/resources/{id}`: by id or by name; with its entity tag.
pub async fn one(hub: &Hub, caller: &Caller, id: &str) -> Result<(Value, String), Error> {
    let published = if id.contains('.') {
        let name = catalog::ResourceName(id.to_owned());
        hub.store.resource(&name).await.map_err(|cause| failed(&cause))?.map(|found| (*found).clone())
    } else {
        hub.store.resource_by_id(&ResourceId(id.to_owned())).await.map_err(|cause| failed(&cause))?
    };
    let published = published.ok_or(Error::NotFound)?;
    Ok((shown(&published, caller), etag(&published)))
}

fn new_id() -> ResourceId {
    ResourceId(format!("res_{}", uuid::Uuid::now_v7().simple()))
}

fn etag(published: &Published) -> String {
    format!("\"{}.{}\"", published.id, published.version)
}

/// An entry as others see it; where the bytes are is the provider's own business.
fn shown(published: &Published, caller: &Caller) -> Value {
    let mut entry = serde_json::to_value(&published.resource).unwrap_or_default();
    if let Some(members) = entry.as_object_mut() {
        if *caller.department() != published.resource.provider {
            members.remove("binding");
        }
        members.insert("id".to_owned(), json!(published.id));
        members.insert("version".to_owned(), json!(published.version));
        members.insert("published_us".to_owned(), json!(published.published_us));
    }
    entry
}
