//! People in ascending order of id number: drawn county by county, so that no table is ever sorted or held as a whole.
//!
//! Back of the envelope: a key is 4 bytes, the largest county of 10 million residents has about 330,000: 1.3 MB.
//!
//! INVARIANT: a person is a function of (seed, place, key, rank); the credit records find the same name again.

use anyhow::Context;
use catalog::identifier::{self, Sex};
use chrono::{Days, Months, NaiveDate};

use super::dice::{Dice, distinct, quotas};
use super::names;
use super::places::Places;

/// Sequence numbers of a birth day: 001 to 999.
const SEQUENCES: u32 = 999;
/// First year of a decade of births, and its weight.
const DECADES: [(i32, u64); 10] = [
    (1930, 2),
    (1940, 5),
    (1950, 11),
    (1960, 16),
    (1970, 15),
    (1980, 16),
    (1990, 13),
    (2000, 11),
    (2010, 10),
    (2020, 4),
];
const NATIONS: [(&str, u64); 8] =
    [("01", 912), ("08", 14), ("11", 8), ("03", 8), ("02", 8), ("05", 8), ("15", 7), ("07", 7)];

/// The day on which the synthetic world is seen.
pub fn today() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 6, 30).unwrap_or_default()
}

pub fn first_day() -> NaiveDate {
    NaiveDate::from_ymd_opt(1930, 1, 1).unwrap_or_default()
}

/// Who somebody is, before anything else is drawn.
pub struct PersonKey {
    pub place: usize,
    /// Days since 1930-01-01.
    day: u32,
    /// 1 to 999, odd for male.
    sequence: u16,
    /// Place in the county by age, oldest first, from 0.
    rank: usize,
    /// Households in the county.
    households: usize,
    /// Key of the head of the household.
    head: u32,
}

impl PersonKey {
    pub fn birth(&self) -> NaiveDate {
        first_day() + Days::new(self.day.into())
    }

    pub fn adult(&self) -> bool {
        today().years_since(self.birth()).is_some_and(|years| years >= 18)
    }

    fn household(&self) -> usize {
        self.rank % self.households
    }
}

/// All keys of a plan in ascending order of id number.
pub struct People<'a> {
    places: &'a Places,
    seed: u64,
    quotas: Vec<u64>,
    decades: Vec<((u32, u32), u64)>,
    place: usize,
    keys: Vec<u32>,
    next: usize,
}

impl<'a> People<'a> {
    pub fn new(places: &'a Places, residents: u64, seed: u64) -> Self {
        let day = |date: NaiveDate| (date - first_day()).num_days() as u32;
        let start = |year| NaiveDate::from_ymd_opt(year, 1, 1).unwrap_or_default();
        let decades = DECADES.iter().map(|(year, weight)| {
            let end = start(year + 10).min(today() + Days::new(1));
            ((day(start(*year)), day(end)), *weight)
        });
        Self {
            places,
            seed,
            quotas: quotas(residents, &places.weights(seed)),
            decades: decades.collect(),
            place: 0,
            keys: Vec::new(),
            next: 0,
        }
    }

    fn draw_keys(&self, place: usize) -> Vec<u32> {
        let mut dice = Dice::new(self.seed, 2, place as u64);
        distinct(self.quotas[place] as usize, || {
            let (from, to) = dice.weigh(&self.decades);
            (from + dice.roll(u64::from(to - from)) as u32) * SEQUENCES + dice.roll(SEQUENCES.into()) as u32
        })
    }
}

impl Iterator for People<'_> {
    type Item = PersonKey;

    fn next(&mut self) -> Option<PersonKey> {
        while self.next >= self.keys.len() {
            if self.place >= self.places.all.len() {
                return None;
            }
            self.keys = self.draw_keys(self.place);
            self.place += 1;
            self.next = 0;
        }
        let (rank, key) = (self.next, self.keys[self.next]);
        self.next += 1;
        let households = self.keys.len().div_ceil(3);
        Some(PersonKey {
            place: self.place - 1,
            day: key / SEQUENCES,
            sequence: (key % SEQUENCES) as u16 + 1,
            rank,
            households,
            head: self.keys[rank % households],
        })
    }
}

/// One row of `population.resident`.
pub struct Person {
    pub id_number: String,
    pub name: String,
    pub former_name: Option<String>,
    pub sex: Sex,
    pub nation: Option<&'static str>,
    pub birth: NaiveDate,
    pub birth_place: usize,
    pub residence_address: Option<String>,
    pub residence: usize,
    pub household_number: String,
    pub relation: &'static str,
    pub marital: &'static str,
    pub education: Option<&'static str>,
    pub id_valid_from: Option<NaiveDate>,
    pub id_valid_to: Option<NaiveDate>,
    pub death: Option<NaiveDate>,
    /// UTC microseconds.
    pub updated_at: i64,
}

impl Person {
    pub fn draw(places: &Places, seed: u64, key: &PersonKey) -> anyhow::Result<Self> {
        let place = &places.all[key.place];
        let mut own = Dice::new(seed, 3, (key.place as u64) << 32 | key.rank as u64);
        // Whoever shares a household shares these rolls: surname, home, address.
        let mut shared = Dice::new(seed, 4, (key.place as u64) << 32 | key.household() as u64);
        let birth = key.birth();
        let sex = if key.sequence % 2 == 1 { Sex::Male } else { Sex::Female };
        let id_number = identifier::compose_id_number(&place.code, birth, key.sequence)
            .with_context(|| format!("division `{}` makes no id numbers; correct its code", place.code))?;
        let family_name = names::surname(&mut shared);
        let residence = places.moved(key.place, &mut shared);
        let address = format!("{}{}", places.all[residence].full_name, names::street_address(&mut shared));
        let relation = relation(key, sex);
        let own_name = matches!(relation, "10" | "97");
        let surname = if own_name { names::surname(&mut own) } else { family_name };
        let age = today().years_since(birth).unwrap_or_default();
        let death = death(age, birth, &mut own);
        let card = id_card(birth, death.unwrap_or_else(today), &mut own);
        Ok(Self {
            name: format!("{surname}{}", names::given_name(&mut own, sex)),
            former_name: own.chance(30).then(|| format!("{surname}{}", names::given_name(&mut own, sex))),
            nation: (!own.chance(5)).then(|| own.weigh(&NATIONS)),
            household_number: format!("{}{:08}", place.code, key.household() + 1),
            residence_address: (!own.chance(10)).then_some(address),
            marital: marital(age, relation, &mut own),
            education: education(age, &mut own),
            id_valid_from: card.map(|(from, _)| from),
            id_valid_to: card.and_then(|(_, to)| to),
            // 2024-01-01 to 2026-06-29, in microseconds.
            updated_at: own.between(1_704_067_200_000_000, 1_782_777_600_000_000),
            id_number,
            sex,
            birth,
            birth_place: key.place,
            residence,
            relation,
            death,
        })
    }
}

/// GB/T 4761: 01 head, 10 spouse, 20 son, 30 daughter, 40 grandchild, 97 other.
fn relation(key: &PersonKey, sex: Sex) -> &'static str {
    if key.rank == key.household() {
        return "01";
    }
    let head_is_male = (key.head % SEQUENCES + 1) % 2 == 1;
    let other_sex = head_is_male != (sex == Sex::Male);
    match (key.day - key.head / SEQUENCES) / 365 {
        0..16 if other_sex && key.adult() && key.rank / key.households == 1 => "10",
        0..16 => "97",
        16..45 if sex == Sex::Male => "20",
        16..45 => "30",
        _ => "40",
    }
}

/// GB/T 2261.2: 10 unmarried, 20 married, 30 widowed, 40 divorced.
fn marital(age: u32, relation: &str, dice: &mut Dice) -> &'static str {
    match age {
        _ if relation == "10" => "20",
        0..20 => "10",
        20..30 => dice.weigh(&[("10", 60), ("20", 38), ("40", 2)]),
        30..60 => dice.weigh(&[("10", 8), ("20", 82), ("30", 2), ("40", 8)]),
        _ => dice.weigh(&[("10", 2), ("20", 70), ("30", 24), ("40", 4)]),
    }
}

/// GB/T 4658: 10 graduate, 20 bachelor, 30 college, 40 vocational, 60 high school, 70 junior, 80 primary, 90 other.
fn education(age: u32, dice: &mut Dice) -> Option<&'static str> {
    if dice.chance(30) {
        return None;
    }
    Some(match age {
        0..6 => "90",
        6..12 => "80",
        12..15 => "70",
        15..18 => dice.weigh(&[("60", 60), ("40", 40)]),
        18..50 => {
            dice.weigh(&[("10", 4), ("20", 24), ("30", 20), ("40", 14), ("60", 16), ("70", 20), ("80", 2)])
        }
        _ => dice.weigh(&[("20", 5), ("30", 7), ("40", 8), ("60", 18), ("70", 36), ("80", 22), ("90", 4)]),
    })
}

fn death(age: u32, birth: NaiveDate, dice: &mut Dice) -> Option<NaiveDate> {
    let per_thousand = match age {
        0..40 => 2,
        40..65 => 20,
        65..80 => 180,
        _ => 600,
    };
    if !dice.chance(per_thousand) {
        return None;
    }
    // The register was set up in 2000: who died earlier is not in it.
    let from = birth.max(NaiveDate::from_ymd_opt(2000, 1, 1)?);
    Some(from + Days::new(dice.roll((today() - from).num_days() as u64 + 1)))
}

/// Validity of the card somebody held when last seen: 5 years below 16, 10 to 25, 20 to 45, then for life; many
/// children have none.
fn id_card(birth: NaiveDate, seen: NaiveDate, dice: &mut Dice) -> Option<(NaiveDate, Option<NaiveDate>)> {
    let age = seen.years_since(birth).unwrap_or_default();
    let years = match age {
        0..16 => 5,
        16..26 => 10,
        26..46 => 20,
        _ => 100,
    };
    if (age < 16 && dice.chance(400)) || dice.chance(3) {
        return None;
    }
    let from = birth.max(seen - Days::new(dice.roll(years.min(20) * 365)));
    let to = from.checked_add_months(Months::new(years as u32 * 12));
    Some((from, to.filter(|_| years < 100)))
}
