//! A small plan, read back: counts, check digits, order, references, layout, and the same bytes twice.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::sync::Mutex;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Date32Type, TimestampMicrosecondType};
use catalog::identifier;
use chrono::{NaiveDate, TimeDelta};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Row};

use super::*;

const PLAN: Plan = Plan { residents: 9_000, entities: 1_500, credit_records: 4_000, seed: 7 };

async fn made(plan: Plan) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    generate(root.path(), &plan, &|_, _, _| {}).await.unwrap();
    root
}

fn read(root: &Path, name: &str) -> RecordBatch {
    let file = File::open(root.join(name)).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let schema = arrow::record_batch::RecordBatchReader::schema(&reader);
    concat_batches(&schema, &reader.map(Result::unwrap).collect::<Vec<_>>()).unwrap()
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Vec<Option<&'a str>> {
    batch.column_by_name(name).unwrap().as_string::<i32>().iter().collect()
}

fn date(batch: &RecordBatch, name: &str, row: usize) -> Option<NaiveDate> {
    let column = batch.column_by_name(name).unwrap().as_primitive::<Date32Type>();
    column.is_valid(row).then(|| NaiveDate::default() + TimeDelta::days(column.value(row).into()))
}

async fn registry_codes(root: &Path) -> Vec<(String, String)> {
    let options =
        SqliteConnectOptions::new().filename(root.join("legal_entity/registry.sqlite")).read_only(true);
    let mut connection = options.connect().await.unwrap();
    let rows = sqlx::query("select uniscid, entname from enterprise order by rowid")
        .fetch_all(&mut connection)
        .await;
    rows.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test]
async fn residents_are_valid_sorted_and_complete() {
    let root = made(Plan { entities: 0, credit_records: 0, ..PLAN }).await;
    let batch = read(root.path(), "population/resident.parquet");
    assert_eq!(batch.num_rows() as u64, PLAN.residents);
    let ids: Vec<&str> = column(&batch, "id_number").into_iter().flatten().collect();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "not sorted or not distinct");
    let (sex, place) = (column(&batch, "sex"), column(&batch, "birth_place_code"));
    for (row, id) in ids.iter().enumerate() {
        assert_eq!(identifier::check_id_number_on(id, people::today()), Ok(()), "{id}");
        assert_eq!(sex[row], Some(identifier::sex(id).unwrap().code()));
        assert_eq!(place[row], identifier::region(id).ok());
        assert_eq!(date(&batch, "birth_date", row), identifier::birth_date(id).ok());
        let (born, died) = (date(&batch, "birth_date", row), date(&batch, "death_date", row));
        assert!(died.is_none_or(|died| Some(died) >= born && died <= people::today()));
    }
    let share = |name: &str| batch.column_by_name(name).unwrap().null_count() as u64 * 1_000 / PLAN.residents;
    assert_eq!((share("name"), share("valid_to")), (0, 1_000));
    for (name, low, high) in [("education", 10, 60), ("former_name", 930, 995), ("death_date", 700, 980)] {
        assert!((low..high).contains(&share(name)), "{name} {}", share(name));
    }
    let home =
        column(&batch, "residence_code").iter().flatten().filter(|code| code.starts_with(HOME_CITY)).count();
    assert!(home as u64 > PLAN.residents / 5, "{home}");
}

#[tokio::test]
async fn households_live_together() {
    let root = made(Plan { entities: 0, credit_records: 0, ..PLAN }).await;
    let batch = read(root.path(), "population/resident.parquet");
    let (household, relation) = (column(&batch, "household_number"), column(&batch, "relation_to_head"));
    let heads = relation.iter().filter(|code| **code == Some("01")).count();
    let homes: BTreeSet<_> = household.iter().zip(column(&batch, "residence_code")).collect();
    let households: BTreeSet<_> = household.iter().collect();
    assert_eq!((heads, homes.len()), (households.len(), households.len()));
    assert!(households.len() < PLAN.residents as usize * 2 / 3);
}

#[tokio::test]
async fn the_registry_is_valid_and_indexed() {
    let root = made(Plan { residents: 0, credit_records: 0, ..PLAN }).await;
    let codes = registry_codes(root.path()).await;
    assert_eq!(codes.len() as u64, PLAN.entities);
    assert!(codes.windows(2).all(|pair| pair[0].0 < pair[1].0), "not sorted or not distinct");
    for (code, _) in &codes {
        assert_eq!(identifier::check_uscc_strictly(code), Ok(()), "{code}");
    }
    let path = root.path().join("legal_entity/registry.sqlite");
    let mut connection = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    let plan = sqlx::query("explain query plan select * from enterprise where uniscid = 'x'");
    let plan: String = plan.fetch_one(&mut connection).await.unwrap().get("detail");
    assert!(plan.contains("enterprise_uniscid"), "{plan}");
    let mode: String = sqlx::query_scalar("pragma journal_mode").fetch_one(&mut connection).await.unwrap();
    assert_eq!(mode, "wal");
    let resources = catalog::embedded().unwrap();
    for item in &resources[1].items {
        let sql = format!("select count({}) from enterprise", item.source_column());
        let set: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&mut connection).await.unwrap();
        assert!(set > 0, "{}", item.name);
    }
}

#[tokio::test]
async fn credit_records_are_about_residents_and_entities() {
    let root = made(PLAN).await;
    let residents = read(root.path(), "population/resident.parquet");
    let mut known: BTreeSet<(String, String)> = registry_codes(root.path()).await.into_iter().collect();
    let ids: BTreeSet<&str> = column(&residents, "id_number").into_iter().flatten().collect();
    // Ids are distinct and sorted, so the set and the column run side by side.
    let names = column(&residents, "name").into_iter().flatten();
    known.extend(ids.iter().zip(names).map(|(id, name)| (id.to_string(), name.to_owned())));
    for (name, rows) in [("permit", 2_400), ("penalty", 1_200), ("serious_breach", 400)] {
        let batch = read(root.path(), &format!("credit/{name}.parquet"));
        assert_eq!(batch.num_rows(), rows, "{name}");
        let (subject, called) = (column(&batch, "subject"), column(&batch, "subject_name"));
        assert!(subject.windows(2).all(|pair| pair[0] <= pair[1]), "{name} is not sorted");
        for (row, kind) in column(&batch, "subject_kind").into_iter().enumerate() {
            let (code, called) = (subject[row].unwrap(), called[row].unwrap());
            assert!(known.contains(&(code.to_owned(), called.to_owned())), "{code} {called}");
            // Not by check digit: a credit code of digits alone can be a valid id number as well.
            assert_eq!(kind == Some("person"), ids.contains(code), "{code}");
        }
        for code in column(&batch, "authority_code").into_iter().flatten() {
            assert_eq!(identifier::check_uscc_strictly(code), Ok(()));
        }
        let decided = if name == "serious_breach" { "listed_on" } else { "decided_on" };
        assert!((0..rows).all(|row| date(&batch, decided, row).unwrap() <= people::today()));
        let people = subject.iter().flatten().filter(|code| ids.contains(*code)).count();
        assert_eq!(people, rows / 5, "{name}");
        let updated = batch.column_by_name("updated_at").unwrap();
        assert!(
            updated
                .as_primitive::<TimestampMicrosecondType>()
                .iter()
                .flatten()
                .all(|at| at > 1_700_000_000_000_000)
        );
    }
}

#[tokio::test]
async fn equal_plans_give_equal_bytes() {
    let plan = Plan { residents: 700, entities: 60, credit_records: 100, seed: 3 };
    let (one, two, other) = (made(plan).await, made(plan).await, made(Plan { seed: 4, ..plan }).await);
    for name in ["population/resident", "credit/permit", "credit/penalty", "credit/serious_breach"] {
        let bytes = |root: &tempfile::TempDir| fs::read(root.path().join(format!("{name}.parquet"))).unwrap();
        assert!(bytes(&one) == bytes(&two), "{name}");
        assert!(bytes(&one) != bytes(&other), "{name}");
    }
    assert_eq!(registry_codes(one.path()).await, registry_codes(two.path()).await);
    assert_ne!(registry_codes(one.path()).await, registry_codes(other.path()).await);
}

#[tokio::test]
async fn a_second_run_replaces_the_first_and_leaves_nothing_else() {
    let root = made(Plan { residents: 50, entities: 20, credit_records: 10, seed: 1 }).await;
    fs::write(root.path().join("legal_entity/.registry.sqlite.tmp"), "left by an interrupted run").unwrap();
    fs::write(root.path().join("legal_entity/registry.sqlite-wal"), "stale").unwrap();
    generate(root.path(), &Plan { residents: 60, entities: 30, credit_records: 10, seed: 2 }, &|_, _, _| {})
        .await
        .unwrap();
    assert_eq!(read(root.path(), "population/resident.parquet").num_rows(), 60);
    assert_eq!(registry_codes(root.path()).await.len(), 30);
    let mut names: Vec<String> = Vec::new();
    for folder in ["population", "legal_entity", "credit"] {
        let entries = fs::read_dir(root.path().join(folder)).unwrap();
        names.extend(entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()));
    }
    names.sort();
    // A reader of a WAL database may leave its two side files.
    names.retain(|name| !name.ends_with("-wal") && !name.ends_with("-shm"));
    assert_eq!(
        names,
        [
            "penalty.parquet",
            "permit.parquet",
            "registry.sqlite",
            "resident.parquet",
            "serious_breach.parquet"
        ]
    );
}

#[tokio::test]
async fn files_are_laid_out_for_lookups() {
    let root = made(Plan { entities: 0, credit_records: 0, ..PLAN }).await;
    let file = File::open(root.path().join("population/resident.parquet")).unwrap();
    let options = parquet::arrow::arrow_reader::ArrowReaderOptions::new().with_page_index_policy(true.into());
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options).unwrap();
    let metadata = reader.metadata();
    assert_eq!(metadata.num_row_groups(), 1);
    let pages = metadata.offset_index().unwrap()[0][0].page_locations().len();
    assert_eq!(pages, 9_000_usize.div_ceil(1_024));
    let dictionary = |at: usize| metadata.row_group(0).column(at).dictionary_page_offset().is_some();
    assert!(!dictionary(0) && !dictionary(1) && dictionary(3) && dictionary(8));
}

#[tokio::test]
async fn progress_ends_with_everything_done() {
    let root = tempfile::tempdir().unwrap();
    let plan = Plan { residents: 30, entities: 20, credit_records: 10, seed: 1 };
    let told = Mutex::new(Vec::new());
    generate(root.path(), &plan, &|step, done, total| told.lock().unwrap().push((step, done, total)))
        .await
        .unwrap();
    let told = told.into_inner().unwrap();
    for (step, total) in [
        (Step::Residents, 30),
        (Step::Entities, 20),
        (Step::Permits, 6),
        (Step::Penalties, 3),
        (Step::Breaches, 1),
    ] {
        assert_eq!(told.iter().rfind(|(told, ..)| *told == step), Some(&(step, total, total)), "{step}");
    }
}

#[tokio::test]
async fn odd_plans() {
    let check = async |residents, entities, credit_records, good: bool| {
        let root = tempfile::tempdir().unwrap();
        let plan = Plan { residents, entities, credit_records, seed: 1 };
        let made = generate(root.path(), &plan, &|_, _, _| {}).await;
        assert_eq!(made.is_ok(), good, "{plan:?} {made:?}");
        if good {
            assert_eq!(read(root.path(), "population/resident.parquet").num_rows() as u64, residents);
            let permits = read(root.path(), "credit/permit.parquet").num_rows() as u64;
            assert_eq!(permits, credit_records * 6 / 10);
        }
    };
    check(0, 0, 0, true).await;
    check(1, 0, 0, true).await;
    check(0, 1, 10, true).await;
    check(200, 0, 10, true).await;
    check(0, 0, 1, false).await;
    check(RESIDENTS_MAX + 1, 0, 0, false).await;
    check(0, ENTITIES_MAX + 1, 0, false).await;
    check(1, 1, CREDIT_RECORDS_MAX + 1, false).await;
}
