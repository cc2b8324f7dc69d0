//! Places: the counties that residents and enterprises are spread over, with one home city where many live.

use anyhow::Context;
use catalog::Divisions;

use super::dice::Dice;

/// City in which about a third of the residents and enterprises of a demonstration live (宁波市): scopes
/// by region then have something to tell apart.
pub const HOME_CITY: &str = "3302";
/// Weight of a home county, where any other weighs 1 to 7 (4 on average, 2,968 of them).
const HOME_WEIGHT: u64 = 600;

pub struct Place {
    /// Six digits.
    pub code: String,
    /// Name of the county alone.
    pub county: String,
    /// Province, city and county.
    pub full_name: String,
}

/// All counties in order of code.
pub struct Places {
    pub all: Vec<Place>,
    home: Vec<usize>,
}

impl Places {
    pub fn embedded() -> anyhow::Result<Self> {
        let divisions = Divisions::embedded()
            .map_err(|faults| anyhow::anyhow!("{faults:?}"))
            .context("the table of divisions does not load; restore catalog/codes/divisions.csv")?;
        let all: Vec<Place> = divisions
            .leaves()
            .map(|division| Place {
                code: division.code.clone(),
                county: division.name.clone(),
                full_name: divisions.full_name(&division.code),
            })
            .collect();
        let home: Vec<usize> = (0..all.len()).filter(|at| all[*at].code.starts_with(HOME_CITY)).collect();
        anyhow::ensure!(
            !home.is_empty(),
            "city `{HOME_CITY}` has no counties; restore catalog/codes/divisions.csv"
        );
        Ok(Self { all, home })
    }

    /// How much of everything a place gets.
    pub fn weights(&self, seed: u64) -> Vec<u64> {
        let weight = |(at, place): (usize, &Place)| match place.code.starts_with(HOME_CITY) {
            true => HOME_WEIGHT,
            false => 1 + Dice::new(seed, 1, at as u64).roll(7),
        };
        self.all.iter().enumerate().map(weight).collect()
    }

    /// Where somebody born at `at` lives: mostly there, else in the home city or anywhere.
    pub fn moved(&self, at: usize, dice: &mut Dice) -> usize {
        match dice.roll(100) {
            0..75 => at,
            75..90 => dice.pick(&self.home),
            _ => dice.roll(self.all.len() as u64) as usize,
        }
    }
}
