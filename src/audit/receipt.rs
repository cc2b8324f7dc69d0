//! The receipt: stored entry, salt, inclusion proof and signed checkpoint, all that an outsider needs.
//!
//! INVARIANT: a receipt is made from stored bytes only; its entry bears the id that was asked for.
//!
//! A usual one is 2.7 KB: entry 1.2 KB in base64, proof 20 hashes for a million entries (0.9 KB), checkpoint 0.3 KB.
//! A stream's receipt also proves its intent and may reach 6 KB.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::ReadError;
use super::entry::{Entry, Kind, ReceiptId};
use super::state::Core;
use crate::crypto::hex;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptState {
    /// Intent and outcome are on record.
    Recorded,
    /// A stream that has not ended.
    Running,
    /// A stream whose hub stopped before it ended.
    Aborted,
}

/// An entry and its proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proven {
    pub index: u64,
    /// Stored bytes in base64.
    pub entry: String,
    /// Inclusion proof under the checkpoint (RFC 6962 §2.1.1), leaf end first, base64 each.
    pub proof: Vec<String>,
}

/// What `GET /v1/receipts/{id}` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    pub v: u8,
    pub id: String,
    pub state: ReceiptState,
    pub origin: String,
    pub index: u64,
    pub entry: String,
    /// Salt of the commitment in the entry, in hexadecimal; empty where the entry commits to no answer.
    pub salt: String,
    pub proof: Vec<String>,
    /// Signed note over the tree head that every proof leads to.
    pub checkpoint: String,
    /// The intent of a stream that has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened: Option<Proven>,
}

impl Receipt {
    pub fn to_json(&self) -> serde_json::Value {
        // Strings and integers only: this cannot fail.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// Department of the entry, for deciding who may see the receipt; empty when unreadable.
    pub fn department(&self) -> String {
        self.entry().map(|entry| entry.draft.department).unwrap_or_default()
    }

    pub fn entry(&self) -> Option<Entry> {
        Entry::parse(&STANDARD.decode(&self.entry).ok()?).ok()
    }
}

pub(super) fn make(core: &Core, id: &ReceiptId) -> Result<Option<Receipt>, ReadError> {
    let Some(index) = core.find(id)? else { return Ok(None) };
    let bytes = read(core, index)?;
    let entry = Entry::parse(&bytes).map_err(|_| ReadError::Damaged(index))?;
    if entry.draft.receipt != *id {
        return Err(ReadError::Damaged(index));
    }
    let state = match entry.draft.kind {
        Kind::Opened if index < core.session_first => ReceiptState::Aborted,
        Kind::Opened => ReceiptState::Running,
        _ => ReceiptState::Recorded,
    };
    let opened = entry.draft.opened_index.filter(|opened| *opened < index);
    let indexes: Vec<u64> = [Some(index), opened].into_iter().flatten().collect();
    let (proofs, checkpoint) = core.prove(&indexes)?;
    let mut proofs =
        proofs.into_iter().map(|proof| proof.iter().map(|hash| STANDARD.encode(hash.0)).collect());
    let proof = proofs.next().unwrap_or_default();
    let opened = match (opened, proofs.next()) {
        (Some(index), Some(proof)) => {
            Some(Proven { index, entry: STANDARD.encode(read(core, index)?), proof })
        }
        _ => None,
    };
    let id = id.to_string();
    let commits = !entry.draft.commitment.is_empty();
    Ok(Some(Receipt {
        v: 1,
        state,
        origin: core.keys.origin().to_owned(),
        index,
        entry: STANDARD.encode(&bytes),
        salt: if commits { hex(&core.keys.salt_for(&id)) } else { String::new() },
        proof,
        checkpoint: String::from_utf8(checkpoint).unwrap_or_default(),
        opened,
        id,
    }))
}

fn read(core: &Core, index: u64) -> Result<Vec<u8>, ReadError> {
    Ok(core.stored(index)?.ok_or(ReadError::Damaged(index))?.entry.clone())
}
