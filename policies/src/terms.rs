//! What terms must satisfy when a grant is made: they fit the resource, undo no mask of their own and narrow what was applied for.
//!
//! INVARIANT: all faults are told at once, each at its JSON pointer into the terms.

use std::collections::BTreeSet;

use catalog::{Faults, Item, Resource};

use crate::grant::{Operation, OutputItem, Terms};
use crate::sight::withheld;

mod narrow;
mod undo;

/// Ceilings of a grant; a deployment's rules may be stricter.
pub const ROWS_PER_ANSWER_MAX: u64 = 1_000_000;
pub const ROWS_PER_DAY_MAX: u64 = 100_000_000;
/// 20,000 a second: twice what a city of ten million asks at its peak.
pub const CALLS_PER_MINUTE_MAX: u32 = 1_200_000;
/// The longest term of a grant, in days.
pub const TERM_DAYS_MAX: i64 = 3_653;
const INPUT_MAX: usize = 16;
const OUTPUT_MAX: usize = 512;
const LIST_MAX: usize = 64;
const TEXT_CHARS_MAX: usize = 256;
const BASIS_CHARS_MAX: usize = 2_000;
const DAY_US: i64 = 86_400_000_000;

impl Terms {
    /// Everything wrong with granting these terms on `resource` at `now_us` (UTC microseconds).
    ///
    /// `purposes` tells whether a purpose code is known.
    pub fn faults(&self, resource: &Resource, now_us: i64, purposes: &dyn Fn(&str) -> bool) -> Faults {
        let mut faults = Faults::default();
        self.check_operations(&mut faults);
        self.check_lists(&mut faults);
        self.check_input(resource, &mut faults);
        self.check_output(resource, &mut faults);
        self.check_words(resource, purposes, &mut faults);
        self.check_term(now_us, &mut faults);
        self.check_ceilings(&mut faults);
        if let Some(scope) = &self.scope {
            faults.0.extend(scope.faults(resource, "/scope").0);
        }
        undo::check(self, resource, &mut faults);
        faults
    }

    fn check_operations(&self, faults: &mut Faults) {
        if self.operations.is_empty() {
            faults.add("/operations", "no operation is granted, name at least one of `query`, `lookup`");
        }
        repeated(self.operations.iter().map(|operation| operation.as_str()), "/operations", faults);
        if self.operations.contains(&Operation::Lookup) && self.input.is_empty() {
            faults.add("/input", "`lookup` needs an input item, name a key of the resource");
        }
        if self.operations.contains(&Operation::Query) && self.output.is_empty() {
            faults.add("/output", "`query` needs an output item, name at least one");
        }
    }

    fn check_lists(&self, faults: &mut Faults) {
        let lengths = [
            ("/input", self.input.len(), INPUT_MAX),
            ("/output", self.output.len(), OUTPUT_MAX),
            ("/service_items", self.service_items.len(), LIST_MAX),
            ("/systems", self.systems.len(), LIST_MAX),
            ("/standing", self.standing.len(), LIST_MAX),
            ("/joins", self.joins.len(), LIST_MAX),
        ];
        for (pointer, length, most) in lengths {
            if length > most {
                faults.add(pointer, format!("has {length} entries, give at most {most}"));
            }
        }
        for (pointer, texts) in [("/service_items", &self.service_items), ("/systems", &self.systems)] {
            for (index, text) in texts.iter().enumerate() {
                check_text(&format!("{pointer}/{index}"), text, TEXT_CHARS_MAX, faults);
            }
        }
        for (index, name) in self.joins.iter().enumerate() {
            if name.parts().is_none() {
                faults.add(format!("/joins/{index}"), "is no resource name, write `library.resource`");
            }
        }
        repeated(self.input.iter().map(String::as_str), "/input", faults);
        repeated(self.output.iter().map(|output| output.item.as_str()), "/output", faults);
    }

    fn check_input(&self, resource: &Resource, faults: &mut Faults) {
        for (index, name) in self.input.iter().enumerate().take(INPUT_MAX) {
            let pointer = format!("/input/{index}");
            let Some(item) = granted_item(resource, name, &pointer, faults) else {
                continue;
            };
            if !item.key {
                faults.add(pointer, format!("`{name}` is not a key of the resource, use a declared key"));
            }
        }
    }

    fn check_output(&self, resource: &Resource, faults: &mut Faults) {
        for (index, OutputItem { item: name, mask }) in self.output.iter().enumerate().take(OUTPUT_MAX) {
            let Some(item) = granted_item(resource, name, &format!("/output/{index}/item"), faults) else {
                continue;
            };
            if let Some(Err(fault)) = mask.as_ref().map(|mask| mask.output_type(item.item_type)) {
                faults.add(format!("/output/{index}/mask"), fault.message);
            }
        }
    }

    fn check_words(&self, resource: &Resource, purposes: &dyn Fn(&str) -> bool, faults: &mut Faults) {
        check_text("/purpose", &self.purpose, TEXT_CHARS_MAX, faults);
        if !purposes(&self.purpose) {
            faults.add(
                "/purpose",
                format!("purpose `{}` is not known, use a code of the list", shown(&self.purpose)),
            );
        }
        check_text("/basis", &self.basis, BASIS_CHARS_MAX, faults);
        if resource.personal() && self.standing.is_empty() {
            faults.add("/standing", "the resource is personal, name who may stand behind a call");
        }
    }

    fn check_term(&self, now_us: i64, faults: &mut Faults) {
        if self.valid_until <= self.valid_from {
            faults.add("/valid_until", "the term ends before it begins, set a later end");
        } else if self.valid_until <= now_us {
            faults.add("/valid_until", "the term is over already, set an end in the future");
        } else if self.valid_until.saturating_sub(self.valid_from) > TERM_DAYS_MAX * DAY_US {
            faults.add(
                "/valid_until",
                format!("the term is longer than {TERM_DAYS_MAX} days, set an earlier end"),
            );
        }
    }

    fn check_ceilings(&self, faults: &mut Faults) {
        let ceilings = [
            ("/rows_per_answer_max", self.rows_per_answer_max, ROWS_PER_ANSWER_MAX),
            ("/rows_per_day_max", self.rows_per_day_max, ROWS_PER_DAY_MAX),
            ("/calls_per_minute_max", u64::from(self.calls_per_minute_max), u64::from(CALLS_PER_MINUTE_MAX)),
        ];
        for (pointer, value, most) in ceilings {
            if !(1..=most).contains(&value) {
                faults.add(pointer, format!("set a number from 1 to {most}"));
            }
        }
    }
}

fn granted_item<'r>(
    resource: &'r Resource,
    name: &str,
    pointer: &str,
    faults: &mut Faults,
) -> Option<&'r Item> {
    let Some(item) = resource.item(name) else {
        faults.add(pointer, format!("the resource has no item `{}`, use one of its items", shown(name)));
        return None;
    };
    if withheld(resource, name) {
        faults.add(pointer, format!("`{name}` is withheld (art. 14) and cannot be granted, leave it out"));
        return None;
    }
    Some(item)
}

fn check_text(pointer: &str, text: &str, chars_max: usize, faults: &mut Faults) {
    let chars = text.chars().count();
    if text.trim().is_empty() || chars > chars_max {
        faults.add(pointer, format!("give 1 to {chars_max} characters"));
    }
}

fn repeated<'t>(names: impl Iterator<Item = &'t str>, pointer: &str, faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    for (index, name) in names.enumerate() {
        if !seen.insert(name) {
            faults.add(
                format!("{pointer}/{index}"),
                format!("`{}` is named twice, leave one out", shown(name)),
            );
        }
    }
}

/// User input short enough to be said back.
fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests;
