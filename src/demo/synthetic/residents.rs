//! Writes `population/resident.parquet`, sorted by id number.

use std::path::Path;

use arrow::array::ArrayRef;
use catalog::Resource;
use chrono::NaiveDate;

use super::output::{BATCH_ROWS, ParquetFile, dates, instants, texts};
use super::people::{People, Person, today};
use super::places::Places;
use super::{Plan, Step};

/// Items with few different values: worth a dictionary.
const REPEATING: [&str; 9] = [
    "sex",
    "nation",
    "birth_place_code",
    "residence_code",
    "relation_to_head",
    "marital_status",
    "education",
    "issuing_authority",
    "record_flag",
];

pub fn write(
    target: &Path,
    resource: &Resource,
    places: &Places,
    plan: &Plan,
    progress: &dyn Fn(Step, u64, u64),
) -> anyhow::Result<()> {
    let mut file = ParquetFile::create(target, resource, &REPEATING)?;
    let mut people = People::new(places, plan.residents, plan.seed);
    let mut done = 0;
    progress(Step::Residents, done, plan.residents);
    loop {
        let batch: Vec<Person> = people
            .by_ref()
            .take(BATCH_ROWS)
            .map(|key| Person::draw(places, plan.seed, &key))
            .collect::<anyhow::Result<_>>()?;
        if batch.is_empty() {
            return file.finish();
        }
        file.write(columns(&batch, places), resource)?;
        done += batch.len() as u64;
        progress(Step::Residents, done, plan.residents);
    }
}

/// In the order of the resource's items.
fn columns(people: &[Person], places: &Places) -> Vec<ArrayRef> {
    let code = |at: usize| Some(places.all[at].code.as_str());
    let authority = |person: &Person| {
        person.id_valid_from.map(|_| format!("{}公安局", places.all[person.residence].county))
    };
    let valid_from = |person: &Person| -> Option<NaiveDate> {
        // A version starts with the last change of the person's facts, which the card's date stands for.
        Some(person.death.or(person.id_valid_from).unwrap_or(person.birth).min(today()))
    };
    vec![
        texts(people.iter().map(|p| Some(&p.id_number))),
        texts(people.iter().map(|p| Some(&p.name))),
        texts(people.iter().map(|p| p.former_name.as_ref())),
        texts(people.iter().map(|p| Some(p.sex.code()))),
        texts(people.iter().map(|p| p.nation)),
        dates(people.iter().map(|p| Some(p.birth))),
        texts(people.iter().map(|p| code(p.birth_place))),
        texts(people.iter().map(|p| p.residence_address.as_ref())),
        texts(people.iter().map(|p| code(p.residence))),
        texts(people.iter().map(|p| Some(&p.household_number))),
        texts(people.iter().map(|p| Some(p.relation))),
        texts(people.iter().map(|p| Some(p.marital))),
        texts(people.iter().map(|p| p.education)),
        texts(people.iter().map(authority)),
        dates(people.iter().map(|p| p.id_valid_from)),
        dates(people.iter().map(|p| p.id_valid_to)),
        dates(people.iter().map(|p| p.death)),
        texts(people.iter().map(|p| Some(if p.death.is_some() { "0" } else { "1" }))),
        dates(people.iter().map(valid_from)),
        dates(people.iter().map(|_| None)),
        instants(people.iter().map(|p| p.updated_at)),
    ]
}
