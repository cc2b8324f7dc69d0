//! Subjects of credit records: adults and entities of the same plan, in ascending order of their code.

use chrono::{Months, NaiveDate};

use super::Plan;
use super::dice::{Dice, Spread};
use super::entities::{Entities, Entity};
use super::people::{People, Person, today};
use super::places::Places;

/// Entities have four of five records where there are both.
const ENTITY_SHARE_PER_MILLE: u64 = 800;

/// Somebody with records.
pub struct Subject {
    /// Credit code or id number.
    pub code: String,
    pub entity: bool,
    pub name: String,
    pub place: usize,
    /// First and last day a record can be decided: of age and alive, or established.
    pub since: NaiveDate,
    pub until: NaiveDate,
    pub records: u64,
}

/// How many subjects of each sort a plan has; counted once, as only adults have records.
pub struct Census {
    pub adults: u64,
    pub entities: u64,
}

impl Census {
    pub fn take(places: &Places, plan: &Plan) -> Self {
        let adults = People::new(places, plan.residents, plan.seed).filter(|key| key.adult()).count() as u64;
        Self { adults, entities: plan.entities }
    }

    fn share(&self, records: u64) -> (u64, u64) {
        let entities = match (self.adults, self.entities) {
            (_, 0) => 0,
            (0, _) => records,
            _ => records * ENTITY_SHARE_PER_MILLE / 1_000,
        };
        (records - entities, entities)
    }
}

/// The subjects among whom `records` records are spread; `stream` tells tables apart.
pub fn subjects<'a>(
    places: &'a Places,
    plan: &'a Plan,
    census: &Census,
    records: u64,
    stream: u64,
) -> impl Iterator<Item = anyhow::Result<Subject>> + use<'a> {
    let (of_people, of_entities) = census.share(records);
    let spread =
        |records, subjects, index| Spread { records, subjects, dice: Dice::new(plan.seed, stream, index) };
    let (mut to_people, mut to_entities) =
        (spread(of_people, census.adults, 0), spread(of_entities, census.entities, 1));
    let people =
        People::new(places, plan.residents, plan.seed).filter(|key| key.adult()).filter_map(move |key| {
            let records = to_people.next();
            (records > 0).then(|| {
                let person = Person::draw(places, plan.seed, &key)?;
                let since = person.birth.checked_add_months(Months::new(18 * 12)).unwrap_or(person.birth);
                let until = person.death.unwrap_or_else(today).max(since);
                Ok(Subject {
                    code: person.id_number,
                    entity: false,
                    name: person.name,
                    place: key.place,
                    since,
                    until,
                    records,
                })
            })
        });
    let entities = Entities::new(places, plan.entities, plan.seed).filter_map(move |key| {
        let records = to_entities.next();
        (records > 0).then(|| {
            let entity = Entity::draw(places, plan.seed, &key)?;
            let (since, until) = (entity.established_on, today());
            Ok(Subject {
                code: entity.uscc,
                entity: true,
                name: entity.name,
                place: key.place,
                since,
                until,
                records,
            })
        })
    });
    merge(people, entities)
}

/// Two ascending runs as one; an error comes first, so that it is seen at once.
fn merge(
    left: impl Iterator<Item = anyhow::Result<Subject>>,
    right: impl Iterator<Item = anyhow::Result<Subject>>,
) -> impl Iterator<Item = anyhow::Result<Subject>> {
    let (mut left, mut right) = (left.peekable(), right.peekable());
    std::iter::from_fn(move || match (left.peek(), right.peek()) {
        (Some(Ok(a)), Some(Ok(b))) if b.code < a.code => right.next(),
        (Some(_), _) => left.next(),
        (None, _) => right.next(),
    })
}
