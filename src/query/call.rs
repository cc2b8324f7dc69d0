//! What a caller sends: statement or keys, purpose, case, and who stands behind the call.

use datafusion::common::ScalarValue;
use policies::ask::Standing;
use serde::Deserialize;
use serde_json::Value;

use crate::crypto::Keys;
use crate::error::Error;

const TEXT_MAX: usize = 256;
const KEY_BYTES_MAX: usize = 256;

/// `POST /v1/queries`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueryCall {
    pub sql: String,
    #[serde(default)]
    pub params: Vec<Value>,
    pub purpose: String,
    pub case: Option<String>,
    pub operator: Option<String>,
    pub terminal: Option<String>,
    pub rule: Option<String>,
    pub channel: Option<String>,
    #[serde(default)]
    pub grants: Vec<String>,
}

/// `POST /v1/lookups`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LookupCall {
    pub resource: String,
    /// One object per key, each with one and the same item: `[{"id_number": "…"}]`.
    pub keys: Vec<serde_json::Map<String, Value>>,
    pub items: Option<Vec<String>>,
    pub purpose: String,
    pub case: Option<String>,
    pub operator: Option<String>,
    pub terminal: Option<String>,
    pub rule: Option<String>,
    pub channel: Option<String>,
    #[serde(default)]
    pub grants: Vec<String>,
}

/// The part that both kinds of call share.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    pub purpose: &'a str,
    pub case: Option<&'a str>,
    pub operator: Option<&'a str>,
    pub terminal: Option<&'a str>,
    pub rule: Option<&'a str>,
    pub channel: Option<&'a str>,
    pub grants: &'a [String],
}

macro_rules! about {
    ($call:expr) => {
        About {
            purpose: &$call.purpose,
            case: $call.case.as_deref(),
            operator: $call.operator.as_deref(),
            terminal: $call.terminal.as_deref(),
            rule: $call.rule.as_deref(),
            channel: $call.channel.as_deref(),
            grants: &$call.grants,
        }
    };
}

impl QueryCall {
    pub fn about(&self) -> About<'_> {
        about!(self)
    }
}

impl LookupCall {
    pub fn about(&self) -> About<'_> {
        about!(self)
    }
}

impl About<'_> {
    /// Who stands behind the call; at most one of the three.
    pub fn standing(&self) -> Result<Option<Standing>, Error> {
        for (pointer, text) in [
            ("/purpose", Some(self.purpose)),
            ("/case", self.case),
            ("/operator", self.operator),
            ("/terminal", self.terminal),
            ("/rule", self.rule),
            ("/channel", self.channel),
        ] {
            let sound = text.is_none_or(|text| {
                !text.trim().is_empty() && text.len() <= TEXT_MAX && !text.chars().any(char::is_control)
            });
            if !sound {
                return Err(Error::invalid(pointer, format!("send 1 to {TEXT_MAX} bytes of plain text")));
            }
        }
        match (self.operator, self.terminal, self.rule) {
            (None, None, None) => Ok(None),
            (Some(operator), None, None) => Ok(Some(Standing::Operator(operator.to_owned()))),
            (None, Some(terminal), None) => Ok(Some(Standing::Terminal(terminal.to_owned()))),
            (None, None, Some(rule)) => Ok(Some(Standing::Rule(rule.to_owned()))),
            _ => Err(Error::invalid("", "send only one of `operator`, `terminal` and `rule`")),
        }
    }

    /// As the record keeps it: staff are accounts, a terminal may name a person and is digested, and so is an account
    /// or a rule that does not look like one.
    pub(super) fn standing_text(&self, keys: &Keys) -> String {
        match (self.operator, self.terminal, self.rule) {
            (Some(operator), _, _) => format!("operator:{}", code_or_digest(operator, keys)),
            (_, Some(terminal), _) => format!("terminal:{}", keys.digest(terminal)),
            (_, _, Some(rule)) => format!("rule:{}", code_or_digest(rule, keys)),
            _ => String::new(),
        }
    }
}

/// A text that a caller may choose freely stands in clear only when it looks like a code: letters first, no more digits
/// than a code has. What else is sent, an ID number or a name, is told by its digest.
pub(super) fn code_or_digest(text: &str, keys: &Keys) -> String {
    const CODE_BYTES_MAX: usize = 64;
    const DIGITS_MAX: usize = 5;
    let letters = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, '.' | '-' | '_'));
    let digits = text.chars().filter(char::is_ascii_digit).count();
    if letters && digits <= DIGITS_MAX && text.len() <= CODE_BYTES_MAX {
        text.to_owned()
    } else {
        keys.digest(text)
    }
}

/// A parameter as a literal of its JSON type.
pub(super) fn param((index, value): (usize, &Value)) -> Result<ScalarValue, Error> {
    const PARAM_BYTES_MAX: usize = 64 << 10;
    let refused = |message: &str| Err(Error::invalid(format!("/params/{index}"), message));
    match value {
        Value::Null => Ok(ScalarValue::Null),
        Value::Bool(value) => Ok(ScalarValue::Boolean(Some(*value))),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Ok(ScalarValue::Int64(Some(integer))),
            (None, Some(float)) if number.is_f64() => Ok(ScalarValue::Float64(Some(float))),
            _ => refused("the number is out of range; send it as text"),
        },
        Value::String(text) if text.len() > PARAM_BYTES_MAX => refused("a parameter is at most 64 KiB"),
        Value::String(text) => Ok(ScalarValue::Utf8(Some(text.clone()))),
        Value::Array(_) | Value::Object(_) => refused("send text, a number, a boolean or null"),
    }
}

/// The keys of a look-up: one item, its values in the order sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedKeys {
    pub item: String,
    pub values: Vec<String>,
}

pub fn keys(call: &LookupCall, count_max: usize) -> Result<AskedKeys, Error> {
    let mut faults = catalog::Faults::default();
    if call.keys.is_empty() || call.keys.len() > count_max {
        faults.add("/keys", format!("send 1 to {count_max} keys"));
        return Err(faults.into());
    }
    let item = call.keys.first().and_then(|key| key.keys().next()).cloned().unwrap_or_default();
    let mut values = Vec::with_capacity(call.keys.len());
    for (index, key) in call.keys.iter().enumerate() {
        if key.len() != 1 || !key.contains_key(&item) {
            faults.add(format!("/keys/{index}"), "send one item per key, the same in every key");
            continue;
        }
        match key.get(&item) {
            Some(Value::String(text)) if (1..=KEY_BYTES_MAX).contains(&text.len()) => {
                values.push(text.clone())
            }
            Some(Value::Number(number)) if number.is_i64() => values.push(number.to_string()),
            _ => faults
                .add(format!("/keys/{index}"), format!("send the key as text of 1 to {KEY_BYTES_MAX} bytes")),
        }
    }
    Ok(faults.or(AskedKeys { item, values })?)
}
