//! A checker for the part of JSON Schema that the document uses; a keyword it does not know is itself a fault.

use serde_json::{Map, Value};

/// Annotations, which hold nothing.
const SAID_ONLY: &[&str] = &["description", "examples", "format", "title"];

/// Everything in which `value` is not what `schema` says, by JSON pointer.
pub fn faults(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut checked = Checker { document, faults: Vec::new() };
    checked.check(schema, value, "");
    checked.faults
}

struct Checker<'a> {
    document: &'a Value,
    faults: Vec<String>,
}

impl Checker<'_> {
    fn fault(&mut self, at: &str, says: impl std::fmt::Display) {
        self.faults.push(format!("{at}: {says}"));
    }

    fn fits(&self, schema: &Value, value: &Value) -> bool {
        faults(self.document, schema, value).is_empty()
    }

    fn check(&mut self, schema: &Value, value: &Value, at: &str) {
        let Some(keywords) = schema.as_object() else { return self.fault(at, "the schema is no object") };
        for (keyword, rule) in keywords {
            match keyword.as_str() {
                "$ref" => match resolved(self.document, rule) {
                    Some(target) => self.check(&target, value, at),
                    None => self.fault(at, format!("{rule} leads nowhere")),
                },
                "type" if !typed(rule, value) => self.fault(at, format!("{value} is not {rule}")),
                "enum" if !rule.as_array().is_some_and(|values| values.contains(value)) => {
                    self.fault(at, format!("{value} is not one of {rule}"));
                }
                "type" | "enum" => {}
                "oneOf" | "anyOf" => self.choice(keyword, rule, value, at),
                "properties" | "required" | "additionalProperties" | "minProperties" | "maxProperties" => {
                    if let Some(members) = value.as_object() {
                        self.members(keyword, rule, keywords, members, at);
                    }
                }
                "items" => {
                    for (index, entry) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(rule, entry, &format!("{at}/{index}"));
                    }
                }
                "minItems" | "maxItems" => self.bound(keyword, rule, value.as_array().map(Vec::len), at),
                "minLength" | "maxLength" => {
                    self.bound(keyword, rule, value.as_str().map(|text| text.chars().count()), at);
                }
                "minimum" if value.as_f64() < rule.as_f64() && value.is_number() => {
                    self.fault(at, "too small")
                }
                "maximum" if value.as_f64() > rule.as_f64() && value.is_number() => {
                    self.fault(at, "too large")
                }
                "minimum" | "maximum" => {}
                "pattern" => self.pattern(rule, value, at),
                known if SAID_ONLY.contains(&known) => {}
                unknown => self.fault(at, format!("keyword `{unknown}` is not checked here")),
            }
        }
    }

    fn choice(&mut self, keyword: &str, rule: &Value, value: &Value, at: &str) {
        let choices = rule.as_array().cloned().unwrap_or_default();
        let fitting = choices.iter().filter(|choice| self.fits(choice, value)).count();
        if fitting == 0 || (keyword == "oneOf" && fitting > 1) {
            self.fault(at, format!("{value} fits {fitting} of `{keyword}`"));
        }
    }

    fn members(
        &mut self,
        keyword: &str,
        rule: &Value,
        beside: &Map<String, Value>,
        members: &Map<String, Value>,
        at: &str,
    ) {
        match keyword {
            "minProperties" | "maxProperties" => self.bound(keyword, rule, Some(members.len()), at),
            "required" => {
                for name in rule.as_array().into_iter().flatten().filter_map(Value::as_str) {
                    if !members.contains_key(name) {
                        self.fault(at, format!("`{name}` is missing"));
                    }
                }
            }
            "properties" => {
                for (name, schema) in rule.as_object().into_iter().flatten() {
                    if let Some(value) = members.get(name) {
                        self.check(schema, value, &format!("{at}/{name}"));
                    }
                }
            }
            _ => {
                let known = beside.get("properties").and_then(Value::as_object);
                for (name, value) in
                    members.iter().filter(|(name, _)| !known.is_some_and(|known| known.contains_key(*name)))
                {
                    match rule {
                        Value::Bool(true) => {}
                        Value::Bool(false) => self.fault(at, format!("`{name}` is not known")),
                        schema => self.check(schema, value, &format!("{at}/{name}")),
                    }
                }
            }
        }
    }

    fn bound(&mut self, keyword: &str, rule: &Value, length: Option<usize>, at: &str) {
        let (Some(length), Some(rule)) = (length, rule.as_u64()) else { return };
        let length = length as u64;
        if (keyword.starts_with("min") && length < rule) || (keyword.starts_with("max") && length > rule) {
            self.fault(at, format!("{length} is against `{keyword}` {rule}"));
        }
    }

    /// The one pattern there is: an item's name.
    fn pattern(&mut self, rule: &Value, value: &Value, at: &str) {
        if rule != "^[a-z][a-z0-9_]{0,62}$" {
            return self.fault(at, format!("pattern {rule} is not checked here"));
        }
        let text = value.as_str().unwrap_or("a");
        let plain = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !plain || text.len() > 63 || !text.starts_with(|first: char| first.is_ascii_lowercase()) {
            self.fault(at, format!("{value} is no name"));
        }
    }
}

fn typed(rule: &Value, value: &Value) -> bool {
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => false,
    };
    match rule {
        Value::String(name) => is(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).any(is),
        _ => false,
    }
}

/// What a local reference leads to.
pub fn resolved(document: &Value, reference: &Value) -> Option<Value> {
    document.pointer(reference.as_str()?.strip_prefix('#')?).cloned()
}
