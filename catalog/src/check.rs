//! What makes a catalogue entry good enough to publish: every rule at once, each fault with its place.
//!
//! INVARIANT: every text, list and name of an entry has a ceiling here; nothing longer gets into the hub.
//! INVARIANT: a source column is read by one item only, so that a value has one classification.

use std::collections::{BTreeMap, BTreeSet};

use crate::fault::Faults;
use crate::ids::is_name;
use crate::resource::{Binding, Classification, Item, ItemType, Resource, SharingClass, UPDATE_CYCLES};

/// Most items of one resource.
pub const ITEMS_MAX: usize = 512;
/// Longest title of a resource or item, in characters.
pub const TITLE_CHARS_MAX: usize = 200;
/// Longest abstract, condition or legal basis, in characters.
pub const TEXT_CHARS_MAX: usize = 4_000;
/// Longest path of a binding, in bytes.
pub const PATH_BYTES_MAX: usize = 1_024;
/// Longest source table or column name, in bytes.
pub const SOURCE_NAME_BYTES_MAX: usize = 128;
/// `NAMEDATALEN` of PostgreSQL, without the byte that ends it.
const POSTGRES_NAME_BYTES_MAX: usize = 63;
/// Most resources named in `never_join`.
pub const NEVER_JOIN_MAX: usize = 64;
/// Libraries whose names mean something to the hub itself or to SQL clients.
pub const RESERVED_LIBRARIES: [&str; 5] =
    ["system", "information_schema", "pg_catalog", "public", "datafusion"];
/// Item names that answers use for themselves.
pub const RESERVED_ITEMS: [&str; 1] = ["key_index"];

/// Words that tell an ID number, phone, bank account or passport, as parts of a name between `_`.
const SENSITIVE_NAMES: [&str; 22] = [
    "id_number",
    "id_no",
    "id_num",
    "id_card",
    "idcard",
    "idno",
    "identity_card",
    "citizen_id",
    "sfz",
    "sfzh",
    "sfzhm",
    "gmsfhm",
    "phone",
    "telephone",
    "mobile",
    "cellphone",
    "sjh",
    "sjhm",
    "bank_card",
    "bank_account",
    "yhkh",
    "passport",
];
/// The same as they stand in Chinese titles; English titles are compared with [`SENSITIVE_NAMES`].
const SENSITIVE_TITLES: [&str; 10] =
    ["身份证", "身份号码", "手机", "电话", "联系方式", "银行卡", "银行账号", "银行账户", "护照", "通行证号"];

impl Resource {
    /// Everything wrong with this entry, at JSON pointers into it; empty means it may be published.
    pub fn faults(&self) -> Faults {
        let mut faults = Faults::default();
        self.name_faults(&mut faults);
        self.text_faults(&mut faults);
        self.class_faults(&mut faults);
        self.never_join_faults(&mut faults);
        self.items_faults(&mut faults);
        self.derivation_faults(&mut faults);
        self.binding.faults(&mut faults);
        faults
    }

    /// Whether bytes stand behind the entry and the law lets them be shared: only then may it be opened.
    pub fn mountable(&self) -> bool {
        self.class != SharingClass::Withheld && self.binding != Binding::Unmounted
    }

    /// Sharing class of an item: its own where stricter, else the resource's.
    pub fn class_of(&self, item: &Item) -> SharingClass {
        item.class.map_or(self.class, |class| class.max(self.class))
    }

    fn name_faults(&self, faults: &mut Faults) {
        match self.name.parts() {
            None => faults.add(
                "/name",
                format!(
                    "{} is no resource name; write `library.resource` in lower case",
                    quoted(self.name.as_str())
                ),
            ),
            Some((library, _)) if RESERVED_LIBRARIES.contains(&library) => {
                faults.add("/name", format!("library `{library}` is reserved; choose another library"));
            }
            Some(_) => {}
        }
        let provider = self.provider.as_str();
        if !is_name(&provider.replace('-', "_")) || provider.ends_with('-') {
            faults.add(
                "/provider",
                format!("{} is no department; use its short name, like `public-security`", quoted(provider)),
            );
        }
    }

    fn text_faults(&self, faults: &mut Faults) {
        text(faults, "/title", &self.title, TITLE_CHARS_MAX);
        text(faults, "/abstract", &self.summary, TEXT_CHARS_MAX);
        for (pointer, value) in [("/condition", &self.condition), ("/legal_basis", &self.legal_basis)] {
            if let Some(value) = value {
                text(faults, pointer, value, TEXT_CHARS_MAX);
            }
        }
        if !UPDATE_CYCLES.contains(&self.update_cycle.as_str()) {
            let cycles = UPDATE_CYCLES.join(", ");
            faults.add(
                "/update_cycle",
                format!("{} is no update cycle; use one of {cycles}", quoted(&self.update_cycle)),
            );
        }
    }

    /// Order 809 arts. 14–15: conditional lists its conditions, withheld its basis, nobody invents conditions.
    fn class_faults(&self, faults: &mut Faults) {
        match self.class {
            SharingClass::Conditional if self.condition.is_none() => {
                faults.add("/condition", "a conditional resource lists scope and use; say them");
            }
            SharingClass::Unconditional if self.condition.is_some() => {
                faults.add(
                    "/condition",
                    "an unconditional resource has no condition; drop it or declare `conditional`",
                );
            }
            SharingClass::Withheld if self.binding != Binding::Unmounted => {
                faults.add(
                    "/binding",
                    "a withheld resource cannot be mounted; declare the binding `unmounted`",
                );
            }
            _ => {}
        }
        let withheld = self.class == SharingClass::Withheld
            || self.items.iter().any(|item| item.class == Some(SharingClass::Withheld));
        if withheld && self.legal_basis.is_none() {
            faults.add(
                "/legal_basis",
                "what is withheld rests on a law, administrative regulation or State Council decision; name it",
            );
        }
    }

    fn never_join_faults(&self, faults: &mut Faults) {
        if self.never_join.len() > NEVER_JOIN_MAX {
            faults.add(
                "/never_join",
                format!("more than {NEVER_JOIN_MAX} resources; name the ones that matter"),
            );
        }
        for (index, name) in self.never_join.iter().take(NEVER_JOIN_MAX).enumerate() {
            if name.parts().is_none() {
                faults.add(
                    format!("/never_join/{index}"),
                    format!("{} is no resource name; write `library.resource`", quoted(name.as_str())),
                );
            }
        }
    }

    fn items_faults(&self, faults: &mut Faults) {
        if self.items.is_empty() || self.items.len() > ITEMS_MAX {
            faults.add(
                "/items",
                format!("a resource has 1 to {ITEMS_MAX} items, this one {}; add or split", self.items.len()),
            );
        }
        let mut names = BTreeSet::new();
        let mut columns = BTreeSet::new();
        for (index, item) in self.items.iter().take(ITEMS_MAX).enumerate() {
            let at = format!("/items/{index}");
            if !names.insert(item.name.as_str()) {
                faults.add(format!("{at}/name"), format!("{} stands twice; rename one", quoted(&item.name)));
            // SQLite and CSV headers do not tell upper case from lower.
            } else if !columns.insert(item.source_column().to_lowercase()) {
                faults.add(
                    format!("{at}/column"),
                    format!("column {} is read by another item; read it once", quoted(item.source_column())),
                );
            }
            item.faults(&at, faults);
            if item.class.is_some_and(|class| class < self.class) {
                faults
                    .add(format!("{at}/class"), "an item cannot be laxer than its resource; drop the class");
            }
        }
    }

    fn derivation_faults(&self, faults: &mut Faults) {
        let items = self.items.iter().take(ITEMS_MAX);
        let sources: BTreeMap<&str, Option<&str>> =
            items.clone().map(|item| (item.name.as_str(), item.derived_from.as_deref())).collect();
        for (index, item) in items.enumerate() {
            let Some(source) = item.derived_from.as_deref() else {
                continue;
            };
            let at = format!("/items/{index}/derived_from");
            if !sources.contains_key(source) {
                faults.add(at, format!("{} is no item of this resource; name one that is", quoted(source)));
            } else if circular(&sources, item) {
                faults.add(at, format!("{} is derived from itself; cut the circle", quoted(&item.name)));
            }
        }
    }
}

impl Item {
    fn faults(&self, at: &str, faults: &mut Faults) {
        if !is_name(&self.name) {
            let shape = "use lower-case letters, digits and `_`, a letter first, at most 63";
            faults.add(format!("{at}/name"), format!("{} is no item name; {shape}", quoted(&self.name)));
        } else if RESERVED_ITEMS.contains(&self.name.as_str()) {
            faults.add(
                format!("{at}/name"),
                format!("`{}` is used by answers themselves; rename it", self.name),
            );
        }
        text(faults, &format!("{at}/title"), &self.title, TITLE_CHARS_MAX);
        let unnamed = |column: &String| {
            column.trim().is_empty()
                || column.len() > SOURCE_NAME_BYTES_MAX
                || column.chars().any(char::is_control)
        };
        if self.column.as_ref().is_some_and(unnamed) {
            faults.add(
                format!("{at}/column"),
                format!(
                    "no column name; write 1 to {SOURCE_NAME_BYTES_MAX} bytes without control characters"
                ),
            );
        }
        if self.key && matches!(self.item_type, ItemType::Boolean | ItemType::Float | ItemType::Binary) {
            faults.add(
                format!("{at}/key"),
                "a key is text, a whole number, a decimal or a date; change type or key",
            );
        }
        if self.classification == Classification::General && self.looks_sensitive() {
            faults.add(
                format!("{at}/classification"),
                format!(
                    "{} looks like an id, phone or bank number; declare it `sensitive`",
                    quoted(&self.name)
                ),
            );
        }
    }

    /// Whether name, column or title look like an ID number, phone, bank account or passport.
    pub fn looks_sensitive(&self) -> bool {
        let words = [self.name.as_str(), self.source_column(), self.title.as_str()].map(words);
        SENSITIVE_NAMES.iter().any(|known| words.iter().any(|text| text.contains(&format!("_{known}_"))))
            || SENSITIVE_TITLES
                .iter()
                .any(|known| self.title.contains(known) || self.source_column().contains(known))
    }
}

impl Binding {
    fn faults(&self, faults: &mut Faults) {
        match self {
            Self::Files { path, .. } => path_faults(faults, "/binding/files/path", path),
            Self::Sqlite { path, table } => {
                path_faults(faults, "/binding/sqlite/path", path);
                let shaped = table.len() <= SOURCE_NAME_BYTES_MAX
                    && table.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                    && table.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                    && !table.to_ascii_lowercase().starts_with("sqlite_");
                if !shaped {
                    faults.add(
                        "/binding/sqlite/table",
                        format!("{} is no table; use letters, digits and `_`, not `sqlite_…`", quoted(table)),
                    );
                }
            }
            Self::Postgres { connection, schema, table } => {
                if !is_connection_name(connection) {
                    faults.add(
                        "/binding/postgres/connection",
                        format!(
                            "{} names no connection; write the name that the operator gave it",
                            quoted(connection)
                        ),
                    );
                }
                // PostgreSQL cuts longer names off, so that another table would be meant.
                let shaped = |name: &str| {
                    (1..=POSTGRES_NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
                };
                let systems = schema.starts_with("pg_") || schema == "information_schema";
                if !shaped(schema) || systems {
                    faults.add(
                        "/binding/postgres/schema",
                        format!(
                            "{} is no schema of a department; name the one your table is in",
                            quoted(schema)
                        ),
                    );
                }
                if !shaped(table) {
                    faults.add(
                        "/binding/postgres/table",
                        format!(
                            "{} is no table; write its name in 1 to {POSTGRES_NAME_BYTES_MAX} bytes",
                            quoted(table)
                        ),
                    );
                }
            }
            Self::Unmounted => {}
        }
    }
}

/// How an operator may name a connection to a database: `[a-z0-9_-]`, 1 to 64 bytes.
pub fn is_connection_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
}

/// A path stays below the source root whatever it is joined to: relative, no `..`, nothing that other
/// systems read as a root or a separator.
fn path_faults(faults: &mut Faults, pointer: &str, path: &str) {
    let part_bad = |part: &str| part.is_empty() || part == "." || part == ".." || part.trim() != part;
    if path.is_empty() || path.len() > PATH_BYTES_MAX {
        faults.add(
            pointer,
            format!("a path has 1 to {PATH_BYTES_MAX} bytes; give one relative to the source root"),
        );
    } else if path.chars().any(|c| c.is_control() || matches!(c, '\\' | ':' | '*' | '?')) {
        faults.add(pointer, "path holds a control character, `\\`, `:`, `*` or `?`; write it plainly");
    } else if path.trim_end_matches('/').split('/').any(part_bad) || path.ends_with("//") {
        faults.add(
            pointer,
            format!("{} leaves the source root; write it relative, without `.` or `..`", quoted(path)),
        );
    }
}

fn circular(sources: &BTreeMap<&str, Option<&str>>, item: &Item) -> bool {
    let mut next = item.derived_from.as_deref();
    for _ in 0..=sources.len() {
        match next {
            None => return false,
            Some(name) if name == item.name => return true,
            Some(name) => next = sources.get(name).copied().flatten(),
        }
    }
    // Never came back to this item: the circle lies further on and is told there.
    false
}

fn text(faults: &mut Faults, pointer: &str, value: &str, chars_max: usize) {
    if value.trim().is_empty() {
        faults.add(pointer, "is empty; fill it in");
    } else if value.chars().count() > chars_max {
        faults.add(pointer, format!("is longer than {chars_max} characters; shorten it"));
    } else if value.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
        faults.add(pointer, "holds a control character; remove it");
    }
}

/// Lower-case words between `_`, with `_` at both ends.
fn words(text: &str) -> String {
    let mut words = String::from("_");
    for word in text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
        words.push_str(&word.to_ascii_lowercase());
        words.push('_');
    }
    words
}

/// User input in backticks, cut to 64 characters, control characters shown escaped.
fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(64).flat_map(char::escape_debug).collect();
    if text.chars().count() > 64 {
        shown.push('…');
    }
    format!("`{shown}`")
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
