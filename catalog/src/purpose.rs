//! Purposes: what data may be used for, as a list that an operator can replace.
//!
//! INVARIANT: a code that is not on the list is no purpose; a `system` purpose stands in no application or grant.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::fault::Faults;

const PURPOSES: &str = include_str!("../codes/purposes.toml");
/// Most purposes on a list.
pub const PURPOSES_MAX: usize = 1_024;
/// The purpose under which security reviewers read the record.
pub const AUDIT: &str = "audit";

/// One purpose, named in Chinese and English.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Purpose {
    /// Lower-case words between hyphens, at most 63 characters.
    pub code: String,
    pub title: PurposeTitle,
    /// For the hub's own roles only.
    #[serde(default)]
    pub system: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PurposeTitle {
    pub zh: String,
    pub en: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PurposeFile {
    #[serde(default)]
    purpose: Vec<Purpose>,
}

/// A validated list of purposes, by code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purposes(BTreeMap<String, Purpose>);

impl Purposes {
    /// The list built into the hub.
    pub fn embedded() -> Result<Self, Faults> {
        Self::load(PURPOSES)
    }

    /// Reads `[[purpose]]` tables; faults stand at `/purpose/N/…`, or at the whole text with a line.
    pub fn load(text: &str) -> Result<Self, Faults> {
        let mut faults = Faults::default();
        let file: PurposeFile = crate::library::read_toml(text)?;
        if file.purpose.is_empty() || file.purpose.len() > PURPOSES_MAX {
            faults.add("/purpose", format!("a list has 1 to {PURPOSES_MAX} purposes; add or split"));
            return Err(faults);
        }
        let mut purposes = BTreeMap::new();
        for (index, purpose) in file.purpose.into_iter().enumerate() {
            let at = format!("/purpose/{index}");
            if !is_code(&purpose.code) {
                faults.add(
                    format!("{at}/code"),
                    "no code; use lower-case words between `-`, at most 63 characters",
                );
            }
            for (language, title) in [("zh", &purpose.title.zh), ("en", &purpose.title.en)] {
                if title.trim().is_empty() || title.chars().count() > crate::check::TITLE_CHARS_MAX {
                    faults.add(format!("{at}/title/{language}"), "is empty or too long; give a short title");
                }
            }
            let code = purpose.code.clone();
            if purposes.insert(code, purpose).is_some() {
                faults.add(format!("{at}/code"), "stands twice; keep one");
            }
        }
        faults.or(Self(purposes))
    }

    pub fn get(&self, code: &str) -> Option<&Purpose> {
        self.0.get(code)
    }

    /// Whether an application or grant may name this code: known, and not for the hub's own roles.
    pub fn grantable(&self, code: &str) -> bool {
        self.get(code).is_some_and(|purpose| !purpose.system)
    }

    /// All purposes in order of code.
    pub fn iter(&self) -> impl Iterator<Item = &Purpose> {
        self.0.values()
    }
}

fn is_code(text: &str) -> bool {
    crate::ids::is_name(&text.replace('-', "_")) && !text.contains('_') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_list() {
        let purposes = Purposes::embedded().unwrap();
        assert_eq!(purposes.iter().count(), 14);
        let check = |code: &str, known: bool, grantable: bool| {
            assert_eq!(
                (purposes.get(code).is_some(), purposes.grantable(code)),
                (known, grantable),
                "{code}"
            );
        };
        check("minimum-living-allowance", true, true);
        check("employment-support", true, true);
        check("enterprise-registration-check", true, true);
        check("credit-review", true, true);
        check(AUDIT, true, false);
        check("Audit", false, false);
        check("curiosity", false, false);
        check("", false, false);
        assert_eq!(purposes.get("credit-review").unwrap().title.zh, "信用核查");
        assert_eq!(purposes.iter().filter(|purpose| purpose.system).count(), 1);
    }

    #[test]
    fn a_broken_list_is_refused() {
        let check = |text: &str, pointer: &str, expect: &str| {
            let faults = Purposes::load(text).unwrap_err();
            assert!(
                faults.0.iter().any(|fault| fault.pointer == pointer && fault.message.contains(expect)),
                "{text}: {faults:?}"
            );
        };
        let good = "[[purpose]]\ncode = \"a-b\"\ntitle = { zh = \"甲\", en = \"a\" }\n";
        assert!(Purposes::load(good).is_ok());
        check("", "/purpose", "1 to 1024");
        check(&format!("{good}secret = true\n"), "", "line 4: unknown field `secret`");
        check(&format!("{good}{good}"), "/purpose/1/code", "stands twice");
        check(&good.replace("\"甲\"", "\"\""), "/purpose/0/title/zh", "short title");
        for code in ["", "A", "a_b", "a-", "-a", "a b", "1a"] {
            check(&good.replace("a-b", code), "/purpose/0/code", "no code");
        }
    }
}
