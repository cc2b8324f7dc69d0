//! One entry of the record, schema `v: 1`: what was asked by whom, under which right, and what came of it.
//!
//! INVARIANT: the stored bytes are what is hashed; an entry is parsed for reading, never written again.
//! INVARIANT: at most 2 KiB; whatever is longer keeps its beginning and its SHA-256.
//!
//! A usual entry of a look-up is about 900 bytes: a million a day is 0.9 GB, three years are 1 TB before compression.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use super::canonical::{Caps, Fields, Reader, Size, Writer};
use crate::crypto::{hex, random, unhex};

/// Largest entry in bytes.
pub const ENTRY_BYTES_MAX: usize = 2048;
/// Data subjects named in an entry; more go to the sealed side object.
pub const SUBJECTS_MAX: usize = 8;

/// Tried one after another until the entry fits; the last one always does.
const ATTEMPTS: [Caps; 4] = [
    Caps { short: 96, long: 512 },
    Caps { short: 96, long: 256 },
    Caps { short: 66, long: 128 },
    Caps { short: 66, long: 66 },
];

/// `rcpt_` and 128 random bits in hexadecimal: says nothing about the index.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReceiptId([u8; 16]);

impl ReceiptId {
    pub fn random() -> Self {
        Self(random())
    }

    pub fn parse(text: &str) -> Option<Self> {
        unhex(text.strip_prefix("rcpt_")?).map(Self)
    }

    pub(crate) fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for ReceiptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rcpt_{}", hex(&self.0))
    }
}

impl Serialize for ReceiptId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ReceiptId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a receipt id"))
    }
}

/// What an entry tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A held answer or a refusal: intent and outcome in one.
    Call,
    /// Intent of a stream, durable before its first row leaves.
    Opened,
    /// Outcome of a stream; names the index of its `Opened`.
    Closed,
    /// A change in the store: who decided what, with the hash of the exact text.
    Act,
    /// Refused sign-ins and the like, counted over a window.
    Window,
    /// The hub started.
    Started,
    /// The log cut a torn tail, or the wall clock went back, before it went on.
    Recovered,
}

impl Kind {
    pub const ALL: [Self; 7] =
        [Self::Call, Self::Opened, Self::Closed, Self::Act, Self::Window, Self::Started, Self::Recovered];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Opened => "opened",
            Self::Closed => "closed",
            Self::Act => "act",
            Self::Window => "window",
            Self::Started => "started",
            Self::Recovered => "recovered",
        }
    }
}

/// What a caller of the log fills in; empty and `None` are left out of the entry.
///
/// Its serde form is for the store's outbox only; an entry has its own canonical writer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    pub kind: Kind,
    pub receipt: ReceiptId,
    /// UTC microseconds; the log's clock when unset.
    pub time_us: Option<u64>,
    /// Revision of the store the decision was made in (of the change itself, for an act).
    pub store_revision: Option<u64>,
    pub account: String,
    pub department: String,
    /// `person`, `system` or `hub`.
    pub account_kind: String,
    /// A code of `catalog/codes/purposes.toml`.
    pub purpose: String,
    /// Keyed digest of the case number.
    pub case: String,
    /// Who stands behind the call: operator, terminal or rule.
    pub standing: String,
    pub channel: String,
    /// `id@version` each.
    pub grants: Vec<String>,
    /// Hash of the policy version decided under.
    pub rules: String,
    pub operation: String,
    /// `name@version` each.
    pub resources: Vec<String>,
    pub items: Vec<String>,
    /// The statement without literals, comments and aliases.
    pub shape: String,
    /// Keyed digests of data subjects, at most [`SUBJECTS_MAX`]; each starts with its key id.
    pub subjects: Vec<String>,
    /// Rows released; in an `Opened`, the rows reserved.
    pub rows: Option<u64>,
    pub bytes: Option<u64>,
    /// SHA-256(salt ‖ SHA-256(body)) in hexadecimal, see `Log::commitment`.
    pub commitment: String,
    /// HTTP status told to the caller.
    pub status: Option<u64>,
    /// Outcome code, `ok` or a code of the outcome table.
    pub code: String,
    /// Rule ids.
    pub reasons: Vec<String>,
    /// Index of the `Opened` that a `Closed` ends.
    pub opened_index: Option<u64>,
    /// The day whose quota the rows count against, `YYYYMMDD` in the hub's zone.
    pub day: Option<u64>,
    /// SHA-256 of the exact text of an act, in hexadecimal.
    pub payload: String,
}

impl Draft {
    /// An empty draft with a fresh receipt id.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            receipt: ReceiptId::random(),
            time_us: None,
            store_revision: None,
            account: String::new(),
            department: String::new(),
            account_kind: String::new(),
            purpose: String::new(),
            case: String::new(),
            standing: String::new(),
            channel: String::new(),
            grants: Vec::new(),
            rules: String::new(),
            operation: String::new(),
            resources: Vec::new(),
            items: Vec::new(),
            shape: String::new(),
            subjects: Vec::new(),
            rows: None,
            bytes: None,
            commitment: String::new(),
            status: None,
            code: String::new(),
            reasons: Vec::new(),
            opened_index: None,
            day: None,
            payload: String::new(),
        }
    }

    /// The draft with the store revision it was decided in.
    pub fn store_revision(self, revision: u64) -> Self {
        Self { store_revision: Some(revision), ..self }
    }
}

/// An entry as stored: the draft, and what the log added to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// 128 random bits: an inclusion proof hands out a neighbour's leaf hash, which must not be guessable.
    pub nonce: String,
    /// The log this entry belongs to.
    pub origin: String,
    /// SHA-256 of the sealed side object, in hexadecimal.
    pub side: String,
    pub draft: Draft,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DraftError {
    #[error("number `{0}` of the entry is 2^53 or more")]
    Number(&'static str),
    #[error("the entry names more than {SUBJECTS_MAX} subjects: put them into the side object")]
    Subjects,
    #[error("a `closed` entry needs the index of its `opened`, and only that kind has one")]
    Opened,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the bytes are not a well-formed entry of schema 1")]
pub struct Malformed;

impl Entry {
    pub(crate) fn new(draft: Draft, origin: &str, side: String) -> Result<Self, DraftError> {
        if draft.subjects.len() > SUBJECTS_MAX {
            return Err(DraftError::Subjects);
        }
        if (draft.kind == Kind::Closed) != draft.opened_index.is_some() {
            return Err(DraftError::Opened);
        }
        Ok(Self { nonce: hex(&random::<16>()), origin: origin.to_owned(), side, draft })
    }

    pub fn time_us(&self) -> u64 {
        self.draft.time_us.unwrap_or(0)
    }

    /// The bytes to store and to hash.
    pub(crate) fn encode(mut self) -> Result<Vec<u8>, DraftError> {
        self.written()
    }

    /// Changes nothing, but the one visitor that reads and writes asks for `&mut`: parsing a million entries copies none.
    fn written(&mut self) -> Result<Vec<u8>, DraftError> {
        let mut text = String::new();
        for caps in ATTEMPTS {
            let mut writer = Writer::new(caps);
            self.visit(&mut writer, &mut self_version(), &mut String::new());
            if let Some(name) = writer.too_big {
                return Err(DraftError::Number(name));
            }
            text = writer.finish();
            if text.len() <= ENTRY_BYTES_MAX {
                break;
            }
        }
        Ok(text.into_bytes())
    }

    /// Reads stored bytes; refuses everything that the writer would not have written.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(Malformed);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Malformed)?;
        let mut draft = Draft::new(Kind::Call);
        draft.receipt = ReceiptId([0; 16]);
        let mut entry = Self { nonce: String::new(), origin: String::new(), side: String::new(), draft };
        let (mut version, mut kind) = (None, String::new());
        let mut reader = Reader::new(text);
        entry.visit(&mut reader, &mut version, &mut kind);
        let known = Kind::ALL.into_iter().find(|known| known.as_str() == kind).ok_or(Malformed)?;
        entry.draft.kind = known;
        let sound = reader.finish()
            && version == self_version()
            && unhex::<16>(&entry.nonce).is_some()
            && !entry.origin.is_empty()
            && entry.draft.time_us.is_some()
            && entry.draft.subjects.len() <= SUBJECTS_MAX
            && (known == Kind::Closed) == entry.draft.opened_index.is_some()
            && (entry.side.is_empty() || unhex::<32>(&entry.side).is_some());
        if sound && entry.written().is_ok_and(|again| again == bytes) { Ok(entry) } else { Err(Malformed) }
    }

    /// The one list of fields, in the one order.
    fn visit(&mut self, fields: &mut impl Fields, version: &mut Option<u64>, kind: &mut String) {
        use Size::{Long, Short};
        if kind.is_empty() {
            // The writer comes with an empty kind, and so does the reader, which overwrites it.
            self.draft.kind.as_str().clone_into(kind);
        }
        let mut receipt = self.draft.receipt.to_string();
        let draft = &mut self.draft;
        fields.number("v", version);
        fields.text("kind", kind, Short);
        fields.text("receipt", &mut receipt, Short);
        fields.text("nonce", &mut self.nonce, Short);
        fields.number("time_us", &mut draft.time_us);
        fields.text("origin", &mut self.origin, Short);
        fields.number("store_revision", &mut draft.store_revision);
        fields.text("account", &mut draft.account, Short);
        fields.text("department", &mut draft.department, Short);
        fields.text("account_kind", &mut draft.account_kind, Short);
        fields.text("purpose", &mut draft.purpose, Short);
        fields.text("case", &mut draft.case, Short);
        fields.text("standing", &mut draft.standing, Short);
        fields.text("channel", &mut draft.channel, Short);
        fields.list("grants", &mut draft.grants);
        fields.text("rules", &mut draft.rules, Short);
        fields.text("operation", &mut draft.operation, Short);
        fields.list("resources", &mut draft.resources);
        fields.list("items", &mut draft.items);
        fields.text("shape", &mut draft.shape, Long);
        fields.list("subjects", &mut draft.subjects);
        fields.number("rows", &mut draft.rows);
        fields.number("bytes", &mut draft.bytes);
        fields.text("commitment", &mut draft.commitment, Short);
        fields.number("status", &mut draft.status);
        fields.text("code", &mut draft.code, Short);
        fields.list("reasons", &mut draft.reasons);
        fields.text("side", &mut self.side, Short);
        fields.number("opened_index", &mut draft.opened_index);
        fields.number("day", &mut draft.day);
        fields.text("payload", &mut draft.payload, Short);
        // A malformed id does not survive the comparison of the re-encoded bytes.
        draft.receipt = ReceiptId::parse(&receipt).unwrap_or(ReceiptId([0; 16]));
    }
}

fn self_version() -> Option<u64> {
    Some(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(fill: &str, list: usize) -> Draft {
        let text = || fill.to_owned();
        let many = || vec![text(); list];
        Draft {
            time_us: Some(1_700_000_000_000_000),
            store_revision: Some((1 << 53) - 1),
            account: text(),
            department: text(),
            account_kind: text(),
            purpose: text(),
            case: text(),
            standing: text(),
            channel: text(),
            grants: many(),
            rules: text(),
            operation: text(),
            resources: many(),
            items: many(),
            shape: text(),
            subjects: vec![text(); list.min(SUBJECTS_MAX)],
            rows: Some((1 << 53) - 1),
            bytes: Some((1 << 53) - 1),
            commitment: hex(&[9; 32]),
            status: Some(599),
            code: text(),
            reasons: many(),
            opened_index: None,
            day: Some(20_260_131),
            payload: hex(&[9; 32]),
            ..Draft::new(Kind::Call)
        }
    }

    #[test]
    fn every_draft_fits_and_reads_back_the_same() {
        for fill in
            ["", "a", "\"", "户籍", "\u{1b}", &"long ".repeat(30), &"𠮷".repeat(500), &"x".repeat(1 << 17)]
        {
            for list in [0, 1, 7, 100] {
                let draft = full(fill, if fill.len() > 1000 { list.min(7) } else { list });
                let entry = Entry::new(draft, &"o".repeat(64), hex(&[7; 32])).unwrap();
                let bytes = entry.clone().encode().unwrap();
                assert!(bytes.len() <= ENTRY_BYTES_MAX, "{} bytes", bytes.len());
                let read = Entry::parse(&bytes).unwrap();
                assert_eq!(
                    (read.draft.kind, read.draft.receipt.clone()),
                    (entry.draft.kind, entry.draft.receipt.clone())
                );
                assert_eq!(read.encode().unwrap(), bytes);
                if fill.len() < 10 && list < 8 && bytes.len() < 1500 {
                    let read = Entry::parse(&bytes).unwrap();
                    let mut wanted = entry;
                    wanted.draft.grants.retain(|text| list > 0 || !text.is_empty());
                    assert_eq!(read, wanted);
                }
            }
        }
    }

    #[test]
    fn fields_come_in_their_order() {
        let mut draft = Draft::new(Kind::Closed);
        draft.time_us = Some(5);
        draft.opened_index = Some(3);
        draft.code = "ok".into();
        let entry = Entry::new(draft.clone(), "hub", String::new()).unwrap();
        let (nonce, receipt) = (entry.nonce.clone(), draft.receipt);
        let expect = format!(
            r#"{{"v":1,"kind":"closed","receipt":"{receipt}","nonce":"{nonce}","time_us":5,"origin":"hub","code":"ok","opened_index":3}}"#
        );
        assert_eq!(String::from_utf8(entry.encode().unwrap()).unwrap(), expect);
    }

    #[test]
    fn refused_drafts() {
        let refuse = |change: fn(&mut Draft), expect: DraftError| {
            let mut draft = full("x", 1);
            change(&mut draft);
            let fault = Entry::new(draft, "hub", String::new()).and_then(Entry::encode).unwrap_err();
            assert_eq!(fault, expect);
        };
        refuse(|draft| draft.rows = Some(1 << 53), DraftError::Number("rows"));
        refuse(|draft| draft.subjects = vec!["k1:0".into(); 9], DraftError::Subjects);
        refuse(|draft| draft.opened_index = Some(1), DraftError::Opened);
        refuse(|draft| draft.kind = Kind::Closed, DraftError::Opened);
    }

    #[test]
    fn refused_bytes() {
        let entry = Entry::new(full("x", 2), "hub", hex(&[7; 32])).unwrap();
        let good = String::from_utf8(entry.encode().unwrap()).unwrap();
        assert!(Entry::parse(good.as_bytes()).is_ok());
        for (from, to) in [
            ("\"v\":1", "\"v\":2"),
            ("\"v\":1", "\"v\":01"),
            ("\"v\":1,", "\"v\": 1,"),
            ("\"call\"", "\"phone\""),
            ("\"call\"", "\"closed\""),
            ("\"x\"", "\"\\u0078\""),
            ("\"x\"", "\"\\x\""),
            ("\"rcpt_", "\"rcptx"),
            ("\"time_us\"", "\"time\""),
            ("\"rows\":", "\"extra\":1,\"rows\":"),
            ("}", "} "),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good);
            assert_eq!(Entry::parse(bad.as_bytes()), Err(Malformed), "{from} → {to}");
        }
    }

    #[test]
    fn receipt_ids() {
        let id = ReceiptId::random();
        assert_eq!(ReceiptId::parse(&id.to_string()), Some(id));
        for bad in [
            "",
            "rcpt_",
            "rcpt_00",
            "RCPT_00000000000000000000000000000000",
            "rcpt_0000000000000000000000000000000G",
        ] {
            assert_eq!(ReceiptId::parse(bad), None, "{bad}");
        }
    }
}
