//! Libraries: files of `[[resource]]` tables, and the three base libraries that come with the hub.
//!
//! INVARIANT: a key the hub does not know is refused with its line, never dropped: a misspelt
//! `classification` must not publish an item as something else.

use serde::Deserialize;

use crate::fault::Faults;
use crate::resource::Resource;

/// Longest library text read, in bytes.
pub const LIBRARY_BYTES_MAX: usize = 4 << 20;
/// Most resources in one library file.
pub const RESOURCES_MAX: usize = 4_096;

const POPULATION: &str = include_str!("../libraries/population.toml");
const LEGAL_ENTITY: &str = include_str!("../libraries/legal_entity.toml");
const CREDIT: &str = include_str!("../libraries/credit.toml");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LibraryFile {
    #[serde(default)]
    resource: Vec<Resource>,
}

/// Reads a library file and checks every entry in it.
///
/// Errors: one fault at the whole input for TOML that cannot be read (with line), else all faults of all
/// entries at `/resource/N/…`.
pub fn load_library(text: &str) -> Result<Vec<Resource>, Faults> {
    let mut faults = Faults::default();
    let file: LibraryFile = read_toml(text)?;
    if file.resource.is_empty() {
        faults.add("/resource", "library holds no resource; add a `[[resource]]` table");
    }
    if file.resource.len() > RESOURCES_MAX {
        faults.add(
            "/resource",
            format!("more than {RESOURCES_MAX} resources; split the library into several files"),
        );
        return Err(faults);
    }
    for (index, resource) in file.resource.iter().enumerate() {
        if file.resource.iter().take(index).any(|earlier| earlier.name == resource.name) {
            faults.add(
                format!("/resource/{index}/name"),
                format!("`{}` stands twice in this library; give each resource its own name", resource.name),
            );
        }
        for fault in resource.faults().0 {
            faults.add(format!("/resource/{index}{}", fault.pointer), fault.message);
        }
    }
    faults.or(file.resource)
}

/// The base libraries built into the hub: population, legal_entity and credit, in that order.
pub fn embedded() -> Result<Vec<Resource>, Faults> {
    let mut resources = Vec::new();
    for text in [POPULATION, LEGAL_ENTITY, CREDIT] {
        resources.extend(load_library(text)?);
    }
    Ok(resources)
}

/// Reads a TOML file of the catalogue; a fault names the line and stands at the whole text.
pub(crate) fn read_toml<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Faults> {
    let mut faults = Faults::default();
    if text.len() > LIBRARY_BYTES_MAX {
        faults.add("", format!("text is longer than {LIBRARY_BYTES_MAX} bytes; split it into several files"));
        return Err(faults);
    }
    toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        faults.add("", format!("line {line}: {}", error.message()));
        faults
    })
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::{Binding, ItemType, SharingClass};

    #[test]
    fn the_base_libraries_have_no_faults() {
        let resources = embedded().unwrap();
        let names: Vec<&str> = resources.iter().map(|resource| resource.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "population.resident",
                "legal_entity.enterprise",
                "credit.permit",
                "credit.penalty",
                "credit.serious_breach"
            ]
        );
    }

    #[test]
    fn residents_are_conditional_and_personal() {
        let resources = embedded().unwrap();
        let resident = &resources[0];
        assert_eq!(resident.class, SharingClass::Conditional);
        assert!(resident.personal());
        let keys: Vec<&str> =
            resident.items.iter().filter(|item| item.key).map(|item| item.name.as_str()).collect();
        assert_eq!(keys, ["id_number", "household_number"]);
        assert_eq!(resident.items.len(), 21);
        for derived in ["sex", "birth_date", "birth_place_code"] {
            assert_eq!(resident.item(derived).unwrap().derived_from.as_deref(), Some("id_number"));
        }
    }

    #[test]
    fn the_register_of_enterprises_is_not_personal() {
        let resources = embedded().unwrap();
        let enterprise = &resources[1];
        assert!(!enterprise.personal());
        assert_eq!(enterprise.class, SharingClass::Unconditional);
        assert_eq!(enterprise.item("uscc").unwrap().source_column(), "uniscid");
        assert_eq!(enterprise.item("registered_capital").unwrap().item_type, ItemType::Decimal);
        assert!(matches!(&enterprise.binding, Binding::Sqlite { table, .. } if table == "enterprise"));
    }

    #[test]
    fn every_entry_survives_the_way_through_json() {
        for resource in embedded().unwrap() {
            let text = serde_json::to_string(&resource).unwrap();
            assert_eq!(serde_json::from_str::<Resource>(&text).unwrap(), resource);
        }
    }

    const MINIMAL: &str = r#"[[resource]]
name = "water.meter"
title = "Meters"
abstract = "One row a meter"
provider = "water"
class = "unconditional"
update_cycle = "daily"
items = [
  { name = "number", title = "Number", type = "text", classification = "general" },
]
"#;

    fn check(text: &str, pointer: &str, expect: &str) {
        let faults = load_library(text).unwrap_err();
        assert!(
            faults.0.iter().any(|fault| fault.pointer == pointer && fault.message.contains(expect)),
            "{expect}: {faults:?}"
        );
    }

    #[test]
    fn a_library_that_cannot_be_trusted_is_refused() {
        assert_eq!(load_library(MINIMAL).unwrap()[0].binding, Binding::Unmounted);
        check("", "/resource", "holds no resource");
        check("[[resource", "", "line 1:");
        check("x = 1", "", "line 1: unknown field `x`");
        check(
            &MINIMAL.replace("title = \"Meters\"", "titel = \"Meters\""),
            "",
            "line 3: unknown field `titel`",
        );
        check(
            &MINIMAL.replace("title = \"Number\"", "sort = \"Number\""),
            "",
            "line 9: unknown field `sort`",
        );
        check(&MINIMAL.replace("\"text\"", "\"varchar\""), "", "line 9: unknown variant `varchar`");
        check(&MINIMAL.replace("class = \"unconditional\"\n", ""), "", "missing field `class`");
        check(&format!("{MINIMAL}{MINIMAL}"), "/resource/1/name", "`water.meter` stands twice");
        check(&MINIMAL.replace("\"daily\"", "\"sometimes\""), "/resource/0/update_cycle", "`sometimes`");
        check(&MINIMAL.replace("\"number\"", "\"1st\""), "/resource/0/items/0/name", "`1st`");
        check(&" ".repeat(LIBRARY_BYTES_MAX + 1), "", "longer than");
    }
}
