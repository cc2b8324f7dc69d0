//! Writes `credit/{permit,penalty,serious_breach}.parquet`, sorted by subject.

use std::path::Path;

use anyhow::Context;
use arrow::array::ArrayRef;
use catalog::{Resource, identifier};
use chrono::{Datelike, Days, Months, NaiveDate};

use super::credit_kinds::{
    BREACHES, Breach, ENTITY_PENALTIES, ENTITY_PERMITS, OFFICES, PERSON_PENALTIES, PERSON_PERMITS, Penalty,
    Permit,
};
use super::dice::Dice;
use super::output::{BATCH_ROWS, ParquetFile, amounts, dates, instants, texts};
use super::people::today;
use super::places::Places;
use super::subjects::{Census, Subject, subjects};
use super::{Plan, Step};

/// Items with few different values; those a table lacks are left out.
const REPEATING: [&str; 14] = [
    "subject_kind",
    "document_name",
    "kind",
    "certificate_name",
    "content",
    "authority",
    "authority_code",
    "source_unit",
    "source_unit_code",
    "act",
    "facts",
    "basis",
    "reason",
    "public_until",
];

/// What the three tables have in common.
struct Record {
    subject: String,
    entity: bool,
    name: String,
    /// Place in the list of kinds for entities or persons.
    kind: usize,
    decided_on: NaiveDate,
    document_number: String,
    authority: String,
    authority_code: String,
    dice: Dice,
    updated_at: i64,
}

/// Which table, and how its rows look.
struct Table {
    step: Step,
    /// 1 permits, 2 penalties, 3 breaches: keeps their dice apart.
    number: u64,
    records: u64,
    /// Draws a kind: its place in the list for entities or persons, and the office that decides it.
    draw: fn(&mut Dice, bool) -> (usize, &'static str),
    columns: fn(Vec<Record>) -> anyhow::Result<Vec<ArrayRef>>,
}

/// Three tables into `folder`; `find` gives the catalogue entry of a name.
pub fn write<'a>(
    folder: &Path,
    find: impl Fn(&str) -> anyhow::Result<&'a Resource>,
    places: &Places,
    plan: &Plan,
    progress: &dyn Fn(Step, u64, u64),
) -> anyhow::Result<()> {
    let census = Census::take(places, plan);
    let (permits, penalties) = (plan.credit_records * 6 / 10, plan.credit_records * 3 / 10);
    let breaches = plan.credit_records - permits - penalties;
    for (name, table) in [
        (
            "permit",
            Table {
                step: Step::Permits,
                number: 1,
                records: permits,
                draw: draw_permit,
                columns: permit_columns,
            },
        ),
        (
            "penalty",
            Table {
                step: Step::Penalties,
                number: 2,
                records: penalties,
                draw: draw_penalty,
                columns: penalty_columns,
            },
        ),
        (
            "serious_breach",
            Table {
                step: Step::Breaches,
                number: 3,
                records: breaches,
                draw: draw_breach,
                columns: breach_columns,
            },
        ),
    ] {
        let resource = find(&format!("credit.{name}"))?;
        let target = folder.join(format!("{name}.parquet"));
        write_table(&target, resource, &table, places, plan, &census, progress)
            .with_context(|| format!("cannot write credit.{name}"))?;
    }
    Ok(())
}

fn write_table(
    target: &Path,
    resource: &Resource,
    table: &Table,
    places: &Places,
    plan: &Plan,
    census: &Census,
    progress: &dyn Fn(Step, u64, u64),
) -> anyhow::Result<()> {
    let repeating: Vec<&str> = REPEATING.into_iter().filter(|item| resource.item(item).is_some()).collect();
    let mut file = ParquetFile::create(target, resource, &repeating)?;
    let mut batch = Vec::with_capacity(BATCH_ROWS);
    let mut done = 0;
    progress(table.step, done, table.records);
    for subject in subjects(places, plan, census, table.records, 20 + table.number) {
        let subject = subject?;
        for _ in 0..subject.records {
            batch.push(record(&subject, places, plan.seed, table, done)?);
            done += 1;
            if batch.len() == BATCH_ROWS {
                let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH_ROWS));
                file.write((table.columns)(full)?, resource)?;
                progress(table.step, done, table.records);
            }
        }
    }
    if !batch.is_empty() {
        file.write((table.columns)(batch)?, resource)?;
    }
    progress(table.step, done, table.records);
    file.finish()
}

fn record(
    subject: &Subject,
    places: &Places,
    seed: u64,
    table: &Table,
    index: u64,
) -> anyhow::Result<Record> {
    let mut dice = Dice::new(seed, 30 + table.number, index);
    // The register of decisions starts in 2016, except for those who were gone by then.
    let start = NaiveDate::from_ymd_opt(2016, 1, 1).unwrap_or_default().min(subject.until);
    let from = subject.since.max(start);
    let decided_on = from + Days::new(dice.roll((subject.until - from).num_days().max(0) as u64 + 1));
    let place = &places.all[subject.place];
    let (kind, office) = (table.draw)(&mut dice, subject.entity);
    // One code an office, here the same number in every county.
    let number = OFFICES.iter().position(|known| *known == office).unwrap_or(OFFICES.len());
    let mark = match table.number {
        1 => "许准",
        2 => "罚决",
        _ => "失信",
    };
    Ok(Record {
        subject: subject.code.clone(),
        entity: subject.entity,
        name: subject.name.clone(),
        kind,
        decided_on,
        document_number: format!(
            "{}{mark}字〔{}〕第{:06}号",
            place.county,
            decided_on.year(),
            dice.roll(1_000_000)
        ),
        authority: format!("{}{office}", place.county),
        authority_code: identifier::compose_uscc("11", &place.code, &format!("{:08}", 10_117 * (number + 1)))
            .with_context(|| format!("division `{}` makes no credit codes; correct its code", place.code))?,
        updated_at: dice.between(1_704_067_200_000_000, 1_782_777_600_000_000),
        dice,
    })
}

fn subject_columns(records: &[Record]) -> Vec<ArrayRef> {
    vec![
        texts(records.iter().map(|r| Some(&r.subject))),
        texts(records.iter().map(|r| Some(if r.entity { "entity" } else { "person" }))),
        texts(records.iter().map(|r| Some(&r.name))),
    ]
}

fn authority_columns(records: &[Record]) -> Vec<ArrayRef> {
    vec![
        texts(records.iter().map(|r| Some(&r.authority))),
        texts(records.iter().map(|r| Some(&r.authority_code))),
    ]
}

fn draw_permit(dice: &mut Dice, entity: bool) -> (usize, &'static str) {
    let kinds: &[Permit] = if entity { &ENTITY_PERMITS } else { &PERSON_PERMITS };
    let at = dice.roll(kinds.len() as u64) as usize;
    (at, kinds[at].office)
}

fn draw_penalty(dice: &mut Dice, entity: bool) -> (usize, &'static str) {
    let kinds: &[Penalty] = if entity { &ENTITY_PENALTIES } else { &PERSON_PENALTIES };
    let at = dice.roll(kinds.len() as u64) as usize;
    (at, kinds[at].office)
}

fn draw_breach(dice: &mut Dice, _entity: bool) -> (usize, &'static str) {
    let at = dice.roll(BREACHES.len() as u64) as usize;
    (at, BREACHES[at].office)
}

/// In the order of the items of `credit.permit`.
fn permit_columns(mut records: Vec<Record>) -> anyhow::Result<Vec<ArrayRef>> {
    let drawn: Vec<(Permit, u64, Option<NaiveDate>)> = records
        .iter_mut()
        .map(|r| {
            let permit = if r.entity { ENTITY_PERMITS[r.kind] } else { PERSON_PERMITS[r.kind] };
            let months = permit.years.map(|years| Months::new(years * 12));
            let until = months.and_then(|months| r.decided_on.checked_add_months(months));
            (permit, r.dice.roll(10_000_000_000), until)
        })
        .collect();
    let mut columns = subject_columns(&records);
    columns.extend([
        texts(drawn.iter().map(|(p, ..)| Some(format!("{}准予许可决定书", p.certificate)))),
        texts(records.iter().map(|r| Some(&r.document_number))),
        texts(drawn.iter().map(|(p, ..)| Some(p.kind))),
        texts(drawn.iter().map(|(p, ..)| Some(p.certificate))),
        texts(drawn.iter().map(|(p, number, _)| Some(format!("{}{number:010}", p.prefix)))),
        texts(drawn.iter().map(|(p, ..)| Some(p.content))),
        dates(records.iter().map(|r| Some(r.decided_on))),
        dates(records.iter().map(|r| Some(r.decided_on))),
        dates(drawn.iter().map(|(.., until)| *until)),
    ]);
    columns.extend(authority_columns(&records));
    // The source unit is the authority itself, as for nearly all of 双公示.
    columns.extend(authority_columns(&records));
    columns.push(instants(records.iter().map(|r| r.updated_at)));
    Ok(columns)
}

/// In the order of the items of `credit.penalty`.
fn penalty_columns(mut records: Vec<Record>) -> anyhow::Result<Vec<ArrayRef>> {
    let drawn: Vec<(Penalty, i64, Option<i64>)> = records
        .iter_mut()
        .map(|r| {
            let penalty = if r.entity { ENTITY_PENALTIES[r.kind] } else { PERSON_PENALTIES[r.kind] };
            let fine_yuan = if penalty.kind == "警告" {
                0
            } else {
                100 * r.dice.between(2, penalty.fine_max_yuan / 100)
            };
            (penalty, fine_yuan, r.dice.chance(80).then(|| r.dice.between(100, 80_000)))
        })
        .collect();
    let public_until =
        |r: &Record, p: &Penalty| r.decided_on.checked_add_months(Months::new(p.public_years * 12));
    let mut columns = subject_columns(&records);
    columns.extend([
        texts(records.iter().map(|r| Some(&r.document_number))),
        texts(drawn.iter().map(|(p, ..)| Some(p.act))),
        texts(drawn.iter().map(|(p, ..)| Some(p.facts))),
        texts(drawn.iter().map(|(p, ..)| Some(p.basis))),
        texts(drawn.iter().map(|(p, ..)| Some(p.kind))),
        texts(drawn.iter().map(|(p, fine, _)| {
            Some(if *fine == 0 { p.kind.to_owned() } else { format!("处罚款{fine}元") })
        })),
        amounts(drawn.iter().map(|(_, fine, _)| (*fine > 0).then_some(*fine)))?,
        amounts(drawn.iter().map(|(.., confiscation)| *confiscation))?,
        dates(records.iter().map(|r| Some(r.decided_on))),
        dates(records.iter().zip(&drawn).map(|(r, (p, ..))| public_until(r, p))),
    ]);
    columns.extend(authority_columns(&records));
    columns.push(instants(records.iter().map(|r| r.updated_at)));
    Ok(columns)
}

/// In the order of the items of `credit.serious_breach`.
fn breach_columns(mut records: Vec<Record>) -> anyhow::Result<Vec<ArrayRef>> {
    let drawn: Vec<(Breach, Option<NaiveDate>)> = records
        .iter_mut()
        .map(|r| {
            let breach = BREACHES[r.kind];
            // A listing ends after three years, or earlier by repair.
            let listed_days = if r.dice.chance(300) { 180 + r.dice.roll(900) } else { 1_095 };
            (breach, Some(r.decided_on + Days::new(listed_days)).filter(|date| *date <= today()))
        })
        .collect();
    let mut columns = subject_columns(&records);
    columns.extend([
        texts(drawn.iter().map(|(b, _)| Some(b.reason))),
        texts(drawn.iter().map(|(b, _)| Some(b.basis))),
        texts(records.iter().map(|r| Some(&r.document_number))),
    ]);
    columns.extend(authority_columns(&records));
    columns.extend([
        dates(records.iter().map(|r| Some(r.decided_on))),
        dates(drawn.iter().map(|(_, removed)| *removed)),
        instants(records.iter().map(|r| r.updated_at)),
    ]);
    Ok(columns)
}
