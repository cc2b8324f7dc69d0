//! Granted terms against applied terms: a provider may give less than was asked for, never more.

use catalog::Faults;

use crate::grant::{OutputItem, Terms};
use crate::scope::Scope;

impl Terms {
    /// Everything in which these terms go beyond what was applied for.
    pub fn narrows(&self, applied: &Self) -> Faults {
        let mut faults = Faults::default();
        subset("/operations", &self.operations, &applied.operations, &mut faults);
        subset("/input", &self.input, &applied.input, &mut faults);
        subset("/service_items", &self.service_items, &applied.service_items, &mut faults);
        subset("/systems", &self.systems, &applied.systems, &mut faults);
        subset("/standing", &self.standing, &applied.standing, &mut faults);
        subset("/joins", &self.joins, &applied.joins, &mut faults);
        self.narrows_output(applied, &mut faults);
        if !scope_narrows(self.scope.as_ref(), applied.scope.as_ref()) {
            let text =
                "must keep the applied row scope: leave it as it is, or put it first in `all` and add parts";
            faults.add("/scope", text);
        }
        for (pointer, granted, asked) in
            [("/purpose", &self.purpose, &applied.purpose), ("/basis", &self.basis, &applied.basis)]
        {
            if granted != asked {
                faults.add(pointer, "must be the applied one, ask for a new application to change it");
            }
        }
        if self.valid_from < applied.valid_from {
            faults.add("/valid_from", "begins before the applied term, set a later start");
        }
        if self.valid_until > applied.valid_until {
            faults.add("/valid_until", "ends after the applied term, set an earlier end");
        }
        let ceilings = [
            ("/rows_per_answer_max", self.rows_per_answer_max, applied.rows_per_answer_max),
            ("/rows_per_day_max", self.rows_per_day_max, applied.rows_per_day_max),
            (
                "/calls_per_minute_max",
                u64::from(self.calls_per_minute_max),
                u64::from(applied.calls_per_minute_max),
            ),
        ];
        for (pointer, granted, asked) in ceilings {
            if granted > asked {
                faults.add(pointer, format!("is more than the {asked} applied for, set it lower"));
            }
        }
        faults
    }

    /// An item may be left out or get a mask; an applied mask stays as it is.
    fn narrows_output(&self, applied: &Self, faults: &mut Faults) {
        for (index, OutputItem { item, mask }) in self.output.iter().enumerate() {
            match applied.output.iter().find(|asked| asked.item == *item) {
                None => faults.add(format!("/output/{index}/item"), "was not applied for, leave it out"),
                Some(asked) if asked.mask.is_some() && asked.mask != *mask => {
                    faults.add(format!("/output/{index}/mask"), "must be the applied mask, keep it");
                }
                Some(_) => {}
            }
        }
    }
}

fn subset<T: PartialEq>(pointer: &str, granted: &[T], applied: &[T], faults: &mut Faults) {
    for (index, entry) in granted.iter().enumerate() {
        if !applied.contains(entry) {
            faults.add(format!("{pointer}/{index}"), "was not applied for, leave it out");
        }
    }
}

/// Whether every row of the granted scope is one of the applied scope, by form: no solver, no surprise.
fn scope_narrows(granted: Option<&Scope>, applied: Option<&Scope>) -> bool {
    match (granted, applied) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(granted), Some(applied)) if granted == applied => true,
        (Some(Scope::All(parts)), Some(applied)) => parts.contains(applied),
        _ => false,
    }
}
