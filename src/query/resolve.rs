//! resolve and decide: names → published versions and the caller's grants → one permit per resource.

use std::sync::Arc;

use catalog::ResourceName;
use policies::ask::{Ask, Standing};
use policies::decide::Refusal;
use policies::{AccountKind, Caller, Check, Operation, Permit, Role, Sight, Stop};

use super::call::About;
use super::{Line, RECORD};
use crate::audit::audit_resource;
use crate::error::Error;
use crate::hub::Hub;
use crate::store::StoreError;
use crate::store::resources::Published;
use crate::telemetry::Step;

/// A resource of the call with the permit for it.
pub(super) struct Decided {
    pub published: Arc<Published>,
    pub permit: Arc<Permit>,
}

/// Every resource must be permitted, each under one grant; what was decided goes into the draft.
pub(super) async fn decide_all(
    line: &mut Line,
    caller: &Caller,
    about: &About<'_>,
    names: &[ResourceName],
) -> Result<Vec<Decided>, Error> {
    let hub = line.hub.clone();
    let standing = about.standing()?;
    check_standing(&hub, caller, standing.as_ref()).await?;
    let mut published = Vec::with_capacity(names.len());
    for name in names {
        let found = find(&hub, caller, name).await?;
        line.draft.resources.push(format!("{}@{}", name, found.version));
        published.push(found);
    }
    named_grants_exist(&hub, caller, about, names).await?;
    line.lap(Step::Resolve);
    let mut decided = Vec::with_capacity(names.len());
    for (index, found) in published.iter().enumerate() {
        let beside = published.iter().enumerate().filter(|(other, _)| *other != index);
        let ask = Ask {
            operation: operation(&line.draft.operation),
            purpose: about.purpose,
            case_named: about.case.is_some(),
            standing: standing.as_ref(),
            resource: &found.resource,
            resource_version: found.version,
            beside: beside.map(|(_, other)| &other.resource).collect(),
            now_us: hub.clock.now_us(),
            // The call's own deadline is kept on steady time, see `stopped`; a permit ends by the wall clock.
            deadline_us: i64::MAX,
        };
        let permit = Arc::new(decide(&hub, caller, about, &ask).await?);
        if let Some((grant, version)) = permit.grant() {
            line.draft.grants.push(format!("{}@{}", grant.0, version));
            line.remaining = Some(hub.limits.grant(&grant.0, permit.calls_per_minute_max())?);
        }
        let seen = permit.sight().schema().fields().iter().map(|field| field.name().clone());
        line.draft.items.extend(seen);
        line.permits.push(permit.clone());
        decided.push(Decided { published: found.clone(), permit });
    }
    line.lap(Step::Decide);
    Ok(decided)
}

fn operation(text: &str) -> Operation {
    if text == Operation::Lookup.as_str() { Operation::Lookup } else { Operation::Query }
}

/// The version in force, when the caller ever had a grant for it (or may read the record).
async fn find(hub: &Hub, caller: &Caller, name: &ResourceName) -> Result<Arc<Published>, Error> {
    if name.as_str() == RECORD {
        if !caller.has(Role::Reviewer) {
            return Err(Error::NotFound);
        }
        let resource = audit_resource();
        let id = catalog::ResourceId("res_system_audit".to_owned());
        return Ok(Arc::new(Published { id, version: 1, published_us: 0, resource }));
    }
    let found = hub.store.resource(name).await.map_err(|cause| unreadable(&cause))?.ok_or(Error::NotFound)?;
    let grants = hub.store.grants(caller.department(), name).await.map_err(|cause| unreadable(&cause))?;
    if grants.is_empty() {
        return Err(Error::NotFound);
    }
    Ok(found)
}

/// A grant named in the call must be one of the caller's department for a resource of the call.
async fn named_grants_exist(
    hub: &Hub,
    caller: &Caller,
    about: &About<'_>,
    names: &[ResourceName],
) -> Result<(), Error> {
    if about.grants.len() > 64 {
        return Err(Error::invalid("/grants", "name at most 64 grants"));
    }
    for named in about.grants {
        let mut known = false;
        for name in names {
            let grants =
                hub.store.grants(caller.department(), name).await.map_err(|cause| unreadable(&cause))?;
            known |= grants.iter().any(|stored| stored.grant.id.0 == *named);
        }
        if !known {
            return Err(Error::NotFound);
        }
    }
    Ok(())
}

/// The permit of the one grant that fits: the named one, or the only one the rules permit.
async fn decide(hub: &Hub, caller: &Caller, about: &About<'_>, ask: &Ask<'_>) -> Result<Permit, Error> {
    if ask.resource.name.as_str() == RECORD {
        return Ok(hub.law.decide_record(caller, ask, hub.config.engine.record_rows_max)?);
    }
    let name = &ask.resource.name;
    let grants = hub.store.grants(caller.department(), name).await.map_err(|cause| unreadable(&cause))?;
    let is_named = |id: &str| about.grants.iter().any(|named| named == id);
    let any_named = grants.iter().any(|stored| is_named(&stored.grant.id.0));
    let mut permits = Vec::new();
    let mut nearest: Option<Refusal> = None;
    for stored in grants.iter().filter(|stored| !any_named || is_named(&stored.grant.id.0)) {
        match stored.decide(&hub.law, caller, ask, &hub.pseudonyms) {
            Ok(permit) => permits.push(permit),
            Err(refusal) => {
                let nearer = nearest.as_ref().is_none_or(|best| refusal.reasons.len() < best.reasons.len());
                if nearer {
                    nearest = Some(refusal);
                }
            }
        }
    }
    match (permits.pop(), permits.is_empty()) {
        (Some(permit), true) => Ok(permit),
        (Some(last), false) => {
            let fitting = permits.iter().chain([&last]).filter_map(|permit| permit.grant());
            Err(Error::WhichGrant(fitting.map(|(id, _)| id.0.clone()).collect()))
        }
        (None, _) => Err(nearest.map_or(Error::NotFound, Error::Refused)),
    }
}

/// A person answers for their own calls; a system names a human operator of its department, never a system.
async fn check_standing(hub: &Hub, caller: &Caller, standing: Option<&Standing>) -> Result<(), Error> {
    let Some(Standing::Operator(operator)) = standing else { return Ok(()) };
    let sound = if caller.kind() == AccountKind::Person {
        operator == caller.account()
    } else {
        let account = hub.store.account_by_id(operator).await.map_err(|cause| unreadable(&cause))?;
        account.is_some_and(|account| {
            let post = |post: &crate::store::organisation::Post| {
                post.department == *caller.department() && post.role == Role::Operator
            };
            !account.disabled && account.kind == AccountKind::Person && account.posts.iter().any(post)
        })
    };
    if sound {
        Ok(())
    } else {
        Err(Error::invalid(
            "/operator",
            "name the account of an operator of your department; people name their own",
        ))
    }
}

/// Positions in the sight's schema of the items asked for; all of them when none are named.
pub(super) fn projection(sight: &Sight, items: Option<&[String]>) -> Result<Vec<usize>, Error> {
    let Some(items) = items else { return Ok((0..sight.schema().fields().len()).collect()) };
    let mut positions = Vec::with_capacity(items.len());
    for item in items {
        let position = sight.schema().index_of(item).map_err(|_unknown| Error::NotFound)?;
        if positions.contains(&position) {
            return Err(Error::invalid("/items", "an item is named twice"));
        }
        positions.push(position);
    }
    if positions.is_empty() {
        return Err(Error::invalid("/items", "name at least one item, or leave `items` out for all"));
    }
    Ok(positions)
}

/// What a running statement looks at before every batch: time, revocation, the hub's stop.
pub(super) fn check(hub: &Arc<Hub>, permit: &Arc<Permit>, deadline_us: i64) -> Check {
    let (hub, permit) = (hub.clone(), permit.clone());
    Arc::new(move || stopped(&hub, &permit, deadline_us))
}

fn stopped(hub: &Hub, permit: &Permit, deadline_us: i64) -> Result<(), Stop> {
    let now_us = hub.clock.now_us();
    if hub.closing.is_cancelled() {
        return Err(Stop::Closing);
    }
    if hub.clock.steady_us() >= deadline_us {
        return Err(Stop::Deadline);
    }
    if now_us >= permit.valid_until() {
        return Err(Stop::Expired);
    }
    match permit.grant() {
        Some((grant, version)) if hub.stops.stopped(grant, *version) => Err(Stop::Revoked),
        _ => Ok(()),
    }
}

/// The same look once more before rows leave: what the barrier let through may have waited in a sort.
pub(super) fn still_permitted(hub: &Hub, permits: &[Arc<Permit>], deadline_us: i64) -> Result<(), Error> {
    permits.iter().try_for_each(|permit| stopped(hub, permit, deadline_us).map_err(crate::engine::stopped))
}

fn unreadable(cause: &StoreError) -> Error {
    tracing::error!(%cause, "facts cannot be read");
    Error::Overloaded
}
