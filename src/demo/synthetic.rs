//! Synthetic base libraries: residents, a registry and credit records that look real and are nobody's.
//!
//! INVARIANT: equal plans give equal files, on every machine.
//! INVARIANT: memory is bounded by one county and one batch, whatever the plan.

mod credit;
mod credit_kinds;
mod dice;
mod entities;
mod names;
mod output;
mod people;
mod places;
mod registry;
mod residents;
mod subjects;

use std::fmt;
use std::path::Path;

use anyhow::{Context, ensure};
use catalog::Resource;

pub use places::HOME_CITY;
use places::Places;

/// Most residents; a county must still have room for its id numbers.
pub const RESIDENTS_MAX: u64 = 50_000_000;
pub const ENTITIES_MAX: u64 = 20_000_000;
pub const CREDIT_RECORDS_MAX: u64 = 1_000_000_000;

/// How much to make, and from which seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    pub residents: u64,
    pub entities: u64,
    /// Permits (6 of 10), penalties (3) and serious breaches (1) together.
    pub credit_records: u64,
    pub seed: u64,
}

/// What is being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    Residents,
    Entities,
    Permits,
    Penalties,
    Breaches,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Residents => "residents",
            Self::Entities => "enterprises",
            Self::Permits => "permits",
            Self::Penalties => "penalties",
            Self::Breaches => "serious breaches",
        })
    }
}

/// Writes the sources of the base libraries below `root`, where their default bindings look for them:
/// `population/resident.parquet`, `legal_entity/registry.sqlite`, `credit/*.parquet`.
///
/// Each file appears whole or not at all and replaces an older one. `progress` is told step, rows done and
/// rows in all about every 10,000 rows. Computes on the calling task: call it where blocking does no harm.
pub async fn generate(
    root: &Path,
    plan: &Plan,
    progress: &(dyn Fn(Step, u64, u64) + Send + Sync),
) -> anyhow::Result<()> {
    check(plan)?;
    let resources = catalog::embedded()
        .map_err(|faults| anyhow::anyhow!("{faults:?}"))
        .context("the base libraries do not load; restore catalog/libraries")?;
    let find = |name: &str| -> anyhow::Result<&Resource> {
        let found = resources.iter().find(|resource| resource.name.as_str() == name);
        found.with_context(|| format!("`{name}` is missing; restore catalog/libraries"))
    };
    let places = Places::embedded()?;
    let resident = root.join("population/resident.parquet");
    residents::write(&resident, find("population.resident")?, &places, plan, progress)
        .context("cannot write population.resident")?;
    registry::write(&root.join("legal_entity/registry.sqlite"), &places, plan, progress)
        .await
        .context("cannot write legal_entity.enterprise")?;
    credit::write(&root.join("credit"), find, &places, plan, progress)
}

fn check(plan: &Plan) -> anyhow::Result<()> {
    for (what, asked, max) in [
        ("residents", plan.residents, RESIDENTS_MAX),
        ("entities", plan.entities, ENTITIES_MAX),
        ("credit records", plan.credit_records, CREDIT_RECORDS_MAX),
    ] {
        ensure!(asked <= max, "{asked} {what} are more than {max}; ask for less");
    }
    let nobody = plan.residents == 0 && plan.entities == 0;
    ensure!(plan.credit_records == 0 || !nobody, "credit records need residents or entities; ask for some");
    Ok(())
}

#[cfg(test)]
#[path = "synthetic/tests.rs"]
mod tests;
