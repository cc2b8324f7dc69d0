//! Reading evidence: receipts for whoever was answered, checkpoint for every signed-in caller, tiles for reviewers.

use policies::{Caller, Role};
use serde_json::Value;

use crate::acts::drafted;
use crate::audit::{Draft, Kind, ReceiptId};
use crate::error::Error;
use crate::hub::Hub;

/// `GET /v1/receipts/{id}`: the caller's department's own, or any for a reviewer.
pub async fn receipt(hub: &Hub, caller: &Caller, id: &str) -> Result<Value, Error> {
    let id = ReceiptId::parse(id).ok_or(Error::NotFound)?;
    let found = hub.log.receipt(&id).map_err(|cause| {
        tracing::error!(%cause, "a receipt cannot be read");
        Error::RecordUnavailable
    })?;
    let (receipt, department) =
        found.map(|found| (found.to_json(), found.department())).ok_or(Error::NotFound)?;
    if department == caller.department().as_str() || caller.has(Role::Reviewer) {
        Ok(receipt)
    } else {
        Err(Error::NotFound)
    }
}

/// `GET /v1/audit/checkpoint`.
pub async fn checkpoint(hub: &Hub) -> Result<Vec<u8>, Error> {
    hub.log.read("checkpoint").map_err(|_cause| Error::RecordUnavailable)?.ok_or(Error::NotFound)
}

/// `GET /v1/audit/tile/…` in C2SP form, for reviewers; reading entry bundles is itself on record.
pub async fn tile(hub: &Hub, caller: &Caller, path: &str) -> Result<Vec<u8>, Error> {
    if !caller.has(Role::Reviewer) {
        return Err(Error::NotFound);
    }
    let bytes = hub.log.read(&format!("tile/{path}")).map_err(|_cause| Error::RecordUnavailable)?;
    let bytes = bytes.ok_or(Error::NotFound)?;
    if path.starts_with("entries/") {
        let draft = Draft {
            operation: "read_tile".to_owned(),
            shape: path.to_owned(),
            bytes: Some(bytes.len() as u64),
            status: Some(200),
            code: "ok".to_owned(),
            rules: hub.law.version().to_owned(),
            ..drafted(Kind::Call, caller)
        };
        hub.log.append(draft, None).await.map_err(|_cause| Error::RecordUnavailable)?;
    }
    Ok(bytes)
}

/// `GET /v1/audit/side/{index}`: the sealed detail of an entry, opened for a reviewer; recorded before it leaves.
pub async fn side(hub: &Hub, caller: &Caller, index: &str) -> Result<Value, Error> {
    if !caller.has(Role::Reviewer) {
        return Err(Error::NotFound);
    }
    let index: u64 = index.parse().map_err(|_unreadable| Error::NotFound)?;
    let opened = hub.log.side(index).map_err(|cause| {
        tracing::error!(%cause, "a sealed detail cannot be opened");
        Error::RecordUnavailable
    })?;
    let detail: Value =
        opened.and_then(|bytes| serde_json::from_slice(&bytes).ok()).ok_or(Error::NotFound)?;
    let draft = Draft {
        operation: "open_side".to_owned(),
        shape: format!("entry {index}"),
        status: Some(200),
        code: "ok".to_owned(),
        rules: hub.law.version().to_owned(),
        ..drafted(Kind::Call, caller)
    };
    hub.log.append(draft, None).await.map_err(|_cause| Error::RecordUnavailable)?;
    Ok(detail)
}
