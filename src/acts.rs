//! An authenticated act: who, which post, when, the SHA-256 of the exact text; done once per idempotency key.
//!
//! INVARIANT: an act and its entry are one change (outbox); a refused act is an entry too.

mod strict;

use policies::{AccountKind, Caller};

use crate::audit::{Draft, Kind};
use crate::crypto::{hex, sha256};
use crate::error::Error;
use crate::hub::Hub;
use crate::store::change::Given;
use crate::store::{StoreError, Write};
use strict::Strict;

const KEY_BYTES_MAX: usize = 128;

/// An act as it was sent.
#[derive(Debug, Clone, Copy)]
pub struct Act<'a> {
    /// `publish`, `apply`, `grant`, `suspend`, `resume`, `revoke`.
    pub operation: &'static str,
    /// What the path names, part of what an idempotency key stands for.
    pub target: &'a str,
    /// The exact bytes that were signed.
    pub text: &'a [u8],
    pub idempotency_key: Option<&'a str>,
}

/// What an act does when nothing stands against it.
#[derive(Debug)]
pub struct Done {
    pub writes: Vec<Write>,
    pub status: u16,
    pub answer: serde_json::Value,
}

/// An entry that says who calls.
pub fn drafted(kind: Kind, caller: &Caller) -> Draft {
    let account_kind = match caller.kind() {
        AccountKind::Person => "person",
        AccountKind::System => "system",
        AccountKind::Hub => "hub",
    };
    Draft {
        account: caller.account().to_owned(),
        department: caller.department().0.clone(),
        account_kind: account_kind.to_owned(),
        ..Draft::new(kind)
    }
}

impl Act<'_> {
    /// Lower-case hexadecimal SHA-256 of the text.
    pub fn text_sha256(&self) -> String {
        hex(&sha256(&[self.text]))
    }

    fn call_sha256(&self) -> String {
        hex(&sha256(&[self.operation.as_bytes(), b"\n", self.target.as_bytes(), b"\n", self.text]))
    }

    /// Performs the act once: a repeated key gets the first answer, an old key for another call is a conflict.
    pub async fn perform(
        &self,
        hub: &Hub,
        caller: &Caller,
        make: impl AsyncFnOnce(&mut Draft) -> Result<Done, Error>,
    ) -> Result<Given, Error> {
        let mut draft = self.drafted(hub, caller);
        let done = match self.given(hub, caller).await {
            Ok(Some(given)) => return Ok(given),
            Ok(None) => self.try_perform(hub, caller, &mut draft, make).await,
            Err(error) => Err(error),
        };
        // The first call with this key may have been stored and not recorded: it counted only when this one, which
        // repeats it, had it recorded, and then stood in its way.
        if let Err(Error::Conflict(_)) = &done
            && let Ok(Some(given)) = self.given(hub, caller).await
        {
            return Ok(given);
        }
        match done {
            Ok(given) => Ok(given),
            Err(error) => Err(refused(hub, draft, error).await),
        }
    }

    /// Records an act whose text could not be read.
    pub async fn refuse_unread(&self, hub: &Hub, caller: &Caller, error: Error) -> Error {
        refused(hub, self.drafted(hub, caller), error).await
    }

    fn drafted(&self, hub: &Hub, caller: &Caller) -> Draft {
        Draft {
            operation: self.operation.to_owned(),
            rules: hub.law.version().to_owned(),
            payload: self.text_sha256(),
            ..drafted(Kind::Act, caller)
        }
    }

    async fn given(&self, hub: &Hub, caller: &Caller) -> Result<Option<Given>, Error> {
        let Some(key) = self.idempotency_key else { return Ok(None) };
        if key.is_empty() || key.len() > KEY_BYTES_MAX || !key.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Error::invalid(
                "",
                format!("`idempotency-key` is 1 to {KEY_BYTES_MAX} visible ASCII characters"),
            ));
        }
        let given = hub.store.given(caller.account(), key).await.map_err(|cause| failed(&cause))?;
        match given {
            Some(given) if given.call_sha256 != self.call_sha256() => Err(Error::Conflict(
                "the idempotency key was used for another call; choose a new one".to_owned(),
            )),
            given => Ok(given),
        }
    }

    async fn try_perform(
        &self,
        hub: &Hub,
        caller: &Caller,
        draft: &mut Draft,
        make: impl AsyncFnOnce(&mut Draft) -> Result<Done, Error>,
    ) -> Result<Given, Error> {
        let Done { mut writes, status, answer } = make(draft).await?;
        let given = Given { call_sha256: self.call_sha256(), status, answer: answer.to_string() };
        if let Some(key) = self.idempotency_key {
            writes.push(Write::Idempotency {
                account: caller.account().to_owned(),
                key: key.to_owned(),
                call_sha256: given.call_sha256.clone(),
                status,
                answer: given.answer.clone(),
            });
        }
        let mut entry = draft.clone();
        entry.status = Some(u64::from(status));
        "ok".clone_into(&mut entry.code);
        hub.store.change(&hub.log, entry, writes).await.map_err(|cause| failed(&cause))?;
        Ok(given)
    }
}

/// Records a refused act; what could not be recorded, or is to be tried again, is told as it is.
async fn refused(hub: &Hub, mut draft: Draft, error: Error) -> Error {
    if matches!(error, Error::RecordUnavailable | Error::Overloaded) {
        return error;
    }
    draft.status = Some(u64::from(error.status()));
    error.code().clone_into(&mut draft.code);
    draft.reasons = error.rules();
    match hub.log.append(draft, None).await {
        Ok(_recorded) => error,
        Err(_cause) => Error::RecordUnavailable,
    }
}

/// A store failure as the caller is told it.
pub fn failed(cause: &StoreError) -> Error {
    match cause {
        StoreError::Conflict(text) => Error::Conflict((*text).to_owned()),
        StoreError::Record(_) => Error::RecordUnavailable,
        _ => {
            tracing::error!(%cause, "the store failed");
            Error::Overloaded
        }
    }
}

/// Reads a JSON body strictly: one object that names no member twice; the fault names the place, never the value.
pub fn read_json<T: serde::de::DeserializeOwned>(text: &[u8]) -> Result<T, Error> {
    distinct_names(text)?;
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value =
        serde_path_to_error::deserialize(Strict(&mut deserializer)).map_err(|cause| json_fault(&cause))?;
    deserializer
        .end()
        .map_err(|_cause| Error::invalid("", "one JSON value is expected; remove what follows it"))?;
    if text.trim_ascii_start().first() == Some(&b'{') {
        Ok(value)
    } else {
        Err(Error::invalid("", "expected an object; see /openapi.json"))
    }
}

/// A member named twice reads one way here and another way elsewhere, so it is a fault; other faults are left to the reader.
fn distinct_names(text: &[u8]) -> Result<(), Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    match serde_path_to_error::deserialize::<_, Distinct>(&mut deserializer) {
        Err(cause) if cause.inner().is_data() => Err(json_fault(&cause)),
        _ => Ok(()),
    }
}

const TWICE: &str = "named twice";

/// Any JSON whose objects name no member twice.
struct Distinct;

impl<'de> serde::Deserialize<'de> for Distinct {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DistinctVisitor)
    }
}

struct DistinctVisitor;

impl<'de> serde::de::Visitor<'de> for DistinctVisitor {
    type Value = Distinct;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Distinct, E> {
        Ok(Distinct)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Distinct, E> {
        Ok(Distinct)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Distinct, E> {
        Ok(Distinct)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Distinct, E> {
        Ok(Distinct)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Distinct, E> {
        Ok(Distinct)
    }

    fn visit_str<E>(self, _: &str) -> Result<Distinct, E> {
        Ok(Distinct)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut entries: A) -> Result<Distinct, A::Error> {
        while entries.next_element::<Distinct>()?.is_some() {}
        Ok(Distinct)
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut members: A) -> Result<Distinct, A::Error> {
        let mut names = std::collections::HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            if names.insert(name) {
                members.next_value::<Distinct>()?;
            } else {
                members.next_value::<Twice>()?;
            }
        }
        Ok(Distinct)
    }
}

/// The value of a name that was there before: fails where it stands.
struct Twice;

impl<'de> serde::Deserialize<'de> for Twice {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom(TWICE))
    }
}

/// Reads a JSON value strictly, as [`read_json`] does.
pub fn read_value<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> Result<T, Error> {
    serde_path_to_error::deserialize(Strict(value)).map_err(|cause| json_fault(&cause))
}

fn json_fault(cause: &serde_path_to_error::Error<serde_json::Error>) -> Error {
    use std::fmt::Write as _;
    let mut pointer = String::new();
    for segment in cause.path() {
        let _written = match segment {
            serde_path_to_error::Segment::Seq { index } => write!(pointer, "/{index}"),
            serde_path_to_error::Segment::Map { key }
            | serde_path_to_error::Segment::Enum { variant: key } => {
                let key: String = key.chars().take(64).collect();
                write!(pointer, "/{}", key.replace('~', "~0").replace('/', "~1"))
            }
            serde_path_to_error::Segment::Unknown => Ok(()),
        };
    }
    Error::invalid(pointer, json_message(&cause.inner().to_string(), cause.inner()))
}

/// What serde says, without the value it saw.
fn json_message(text: &str, cause: &serde_json::Error) -> String {
    let place = format!("line {}, column {}", cause.line(), cause.column());
    if cause.is_syntax() || cause.is_eof() {
        return format!("this is not JSON at {place}; see /openapi.json");
    }
    if text.starts_with(TWICE) {
        return "this name is given twice; send it once".to_owned();
    }
    if let Some(field) = text.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) {
        return format!("`{field}` is missing");
    }
    if text.starts_with("unknown field") || text.starts_with("unknown variant") {
        let expected = text.split_once("expected").map_or("", |(_, expected)| expected);
        let expected = expected.split(" at line").next().unwrap_or_default();
        return format!("this name is not known here; expected{expected}");
    }
    match text.split_once("expected ") {
        Some((_, expected)) => format!("expected {}", expected.split(" at line").next().unwrap_or_default()),
        None => "the value does not fit; see /openapi.json".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[expect(dead_code, reason = "only its reading is tested")]
        keys: Vec<u64>,
        #[serde(default)]
        #[expect(dead_code, reason = "only its reading is tested")]
        parts: Vec<Part>,
        #[serde(default)]
        #[expect(dead_code, reason = "only its reading is tested")]
        choice: Option<Choice>,
    }

    #[derive(Debug, serde::Deserialize)]
    struct Part {
        #[expect(dead_code, reason = "only its reading is tested")]
        name: String,
        #[expect(dead_code, reason = "only its reading is tested")]
        place: u64,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Choice {
        Pair {
            #[expect(dead_code, reason = "only its reading is tested")]
            left: u64,
            #[expect(dead_code, reason = "only its reading is tested")]
            right: u64,
        },
    }

    #[test]
    fn a_json_fault_tells_the_place_and_never_the_value() {
        let check = |text: &str, pointer: &str, message: &str| match read_json::<Sample>(text.as_bytes()) {
            Err(Error::Invalid(faults)) => {
                let fault = faults.0.first().expect("a fault");
                assert_eq!(fault.pointer, pointer, "{fault:?}");
                assert!(fault.message.contains(message), "{fault:?}");
                assert!(!fault.message.contains("110101"), "{fault:?}");
            }
            other => panic!("{other:?}"),
        };
        check(r#"{"keys": [1, "110101199001011234"]}"#, "/keys/1", "expected u64");
        check(r#"{"keys": [], "110101": 1}"#, "/110101", "not known");
        check(r#"{}"#, "", "`keys` is missing");
        check(r#"{"keys": ["#, "/keys", "not JSON");
        check(r#"{"keys": []} x"#, "", "one JSON value");
        check(r#"{"keys": [], "ke\u0079s": [110101]}"#, "/keys", "twice");
        check("[[]]", "", "expected an object");
        check(r#"{"keys": [], "parts": [["110101", 1]]}"#, "/parts/0", "expected an object");
        check(r#"{"keys": [], "choice": {"pair": [1, 110101]}}"#, "/choice/pair", "expected an object");
    }
}
