//! Look-ups find exactly the rows a scan finds, whatever the binding, and nothing after a file changed.

use std::{collections::BTreeMap, fs, path::Path, sync::LazyLock};

use arrow::{
    array::{Array, AsArray},
    datatypes::Int64Type,
};
use proptest::prelude::*;

use super::*;
use crate::LookupRows;

fn shown(rows: &LookupRows) -> Vec<(u32, Option<String>, Option<i64>)> {
    let ids = rows.rows.column(0).as_string::<i32>();
    let numbers = rows.rows.column(1).as_primitive::<Int64Type>();
    let cell = |at: usize| {
        (ids.is_valid(at).then(|| ids.value(at).to_owned()), numbers.is_valid(at).then(|| numbers.value(at)))
    };
    let rows = rows.key_index.iter().enumerate();
    rows.map(|(at, key)| (*key, cell(at).0, cell(at).1)).collect()
}

/// What a scan of the register would give.
fn scanned(item: &str, keys: &[String]) -> Vec<(u32, Option<String>, Option<i64>)> {
    let mut all = Vec::new();
    for (at, key) in keys.iter().enumerate() {
        for n in 0..ROWS {
            let (id, number, founded, ..) = row(n);
            let text = match item {
                "id" => id.clone(),
                "number" => number.map(|number| number.to_string()),
                _ => founded.map(iso),
            };
            if text.as_deref() == Some(key.trim()) {
                all.push((at as u32, id, number.map(i64::from)));
            }
        }
    }
    all
}

struct Standing {
    _bench: Bench,
    sources: Sources,
    bound: Vec<(&'static str, Resource)>,
    runtime: tokio::runtime::Runtime,
}

static STANDING: LazyLock<Standing> = LazyLock::new(|| {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    let bench = Bench::new();
    let bound = runtime.block_on(three_bindings(&bench));
    let limits = SourceLimits {
        // Several sorted runs, so that they are merged.
        index_run_rows: 100,
        ..SourceLimits::default()
    };
    Standing { sources: bench.sources(limits), _bench: bench, bound, runtime }
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_lookup_is_a_scan(picks in prop::collection::vec((0..3_usize, 0..1_200_i32, any::<bool>()), 0..20)) {
        let mut asked: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (which, n, pad) in picks {
            let (item, key) = match which {
                0 => ("id", format!("C{:04}", n / 2)),
                1 => ("number", (n - 150).to_string()),
                _ => ("founded", iso(10_000 + n * 17 % 9_100)),
            };
            asked.entry(item).or_default().push(if pad { format!(" {key} ") } else { key });
        }
        let standing = &*STANDING;
        for (item, keys) in asked {
            for (name, resource) in &standing.bound {
                let found = standing.runtime.block_on(async {
                    standing.sources.open(resource).await?.lookup(item, &keys, &[5, 1]).await
                }).expect(name);
                let mut found = shown(&found);
                let mut expect = scanned(item, &keys);
                prop_assert!(found.is_sorted_by_key(|row| row.0));
                found.sort();
                expect.sort();
                prop_assert_eq!(found, expect, "{} {}", name, item);
            }
        }
    }
}

#[tokio::test]
async fn shapes_of_a_lookup() {
    let bench = Bench::new();
    let limits = SourceLimits { lookup_rows_max: 10, lookup_keys_max: 20, ..SourceLimits::default() };
    let sources = bench.sources(limits);
    let text = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
    for (name, resource) in three_bindings(&bench).await {
        let source = sources.open(&resource).await.expect(name);
        let none = source.lookup("id", &[], &[0]).await.expect(name);
        assert_eq!((none.rows.num_rows(), none.rows.num_columns()), (0, 1), "{name}");
        let bare = source.lookup("id", &text(&["C0042", "' or ''='", "C0042"]), &[]).await.expect(name);
        assert_eq!((bare.rows.num_columns(), bare.key_index), (0, vec![0, 0, 2, 2]), "{name}");
        let typed = source.lookup("number", &text(&["x", "+20.0"]), &[4, 1]).await.expect(name);
        assert!(typed.key_index.iter().all(|key| *key == 1) && !typed.key_index.is_empty(), "{name}");
        assert_eq!(typed.rows.schema().field(0).name(), "capital");
        let twelve: Vec<String> = (10..22).map(|n| format!("C{n:04}")).collect();
        assert!(
            matches!(source.lookup("id", &twelve, &[0]).await, Err(SourceError::TooManyRows { .. })),
            "{name}"
        );
        let many = vec!["none".to_owned(); 21];
        assert!(
            matches!(source.lookup("id", &many, &[0]).await, Err(SourceError::TooManyRows { .. })),
            "{name}"
        );
        for item in ["share", "capital", "none"] {
            assert!(
                matches!(source.lookup(item, &text(&["1"]), &[0]).await, Err(SourceError::NotKey(_))),
                "{name} {item}"
            );
        }
        assert!(source.lookup("id", &text(&["C0042"]), &[99]).await.is_err(), "{name}");
    }
}

#[tokio::test]
async fn a_file_that_changed_under_its_index_answers_no_key_until_checked_again() {
    let bench = Bench::new();
    let path = bench.path().join("c.parquet");
    write_parquet(&path, 0..100);
    let asked = resource(files(FileFormat::Parquet, "c.parquet"), company_items());
    let sources = bench.sources(SourceLimits::default());
    let keys = ["C0010".to_owned()];
    sources.check(&asked).await.expect("check");
    let before = sources.open(&asked).await.expect("open");
    assert_eq!(before.lookup("id", &keys, &[0, 1]).await.expect("found").key_index.len(), 2);
    // The rows move: what the index says is wrong now.
    write_parquet(&bench.path().join("next.parquet"), (0..100).rev());
    fs::rename(bench.path().join("next.parquet"), &path).expect("rename");
    assert!(matches!(before.lookup("id", &keys, &[0, 1]).await, Err(SourceError::Changed)));
    let after = sources.open(&asked).await.expect("open");
    assert!(matches!(after.lookup("id", &keys, &[0, 1]).await, Err(SourceError::Changed)));
    let again = sources.open(&asked).await.expect("open");
    assert!(matches!(again.lookup("id", &keys, &[0, 1]).await, Err(SourceError::Changed)));
    ask(&sources, &asked, "select count(*) from t").await.expect("a scan reads the new file");
    sources.check(&asked).await.expect("check");
    let remounted = sources.open(&asked).await.expect("open");
    assert_eq!(remounted.lookup("id", &keys, &[0, 1]).await.expect("found").key_index.len(), 2);
}

#[tokio::test]
async fn an_index_is_built_once_kept_and_mended() {
    let bench = Bench::new();
    write_parquet(&bench.path().join("c.parquet"), 0..ROWS);
    let asked = resource(files(FileFormat::Parquet, "c.parquet"), company_items());
    let keys = ["C0042".to_owned()];
    let lookup = async |sources: &Sources| {
        sources.open(&asked).await.expect("open").lookup("id", &keys, &[0, 1]).await
    };
    let sources = bench.sources(SourceLimits::default());
    let together = futures::future::join_all((0..8).map(|_| lookup(&sources))).await;
    assert!(together.iter().all(|found| found.as_ref().is_ok_and(|found| found.key_index.len() == 2)));
    let kept = || {
        let files = fs::read_dir(bench.index.path()).expect("dir").map(|entry| entry.expect("entry").path());
        let mut files: Vec<_> = files.collect();
        files.sort();
        files
    };
    let written = |path: &Path| fs::metadata(path).expect("metadata").modified().expect("modified");
    let files = kept();
    assert_eq!(files.len(), 4, "three keys and the rows: {files:?}");
    let before: Vec<_> = files.iter().map(|path| written(path)).collect();
    assert_eq!(lookup(&bench.sources(SourceLimits::default())).await.expect("found").key_index.len(), 2);
    assert_eq!(kept().iter().map(|path| written(path)).collect::<Vec<_>>(), before, "not built again");
    // A damaged header or fence is seen when it is opened, what lies between when it is read: then the next call builds anew.
    for path in &files {
        let bytes = fs::read(path).expect("read");
        for at in (0..bytes.len()).step_by(bytes.len() / 23 + 1) {
            let mut bad = fs::read(path).expect("read");
            bad.iter_mut().skip(at).step_by(97).for_each(|byte| *byte ^= 0xff);
            fs::write(path, bad).expect("write");
            let sources = bench.sources(SourceLimits::default());
            match lookup(&sources).await {
                Ok(found) => assert_eq!(found.key_index.len(), 2, "{at}"),
                Err(SourceError::IndexDamaged) => {
                    assert_eq!(lookup(&sources).await.expect("mended").key_index.len(), 2, "{at}");
                }
                other => panic!("{at}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn what_was_made_for_an_earlier_version_is_removed_once_the_next_is_in_force() {
    let bench = Bench::new();
    let path = bench.path().join("c.csv");
    let asked = resource(files(FileFormat::Csv, "c.csv"), company_items());
    let sources = bench.sources(SourceLimits::default());
    let names = || {
        let files =
            fs::read_dir(bench.index.path()).expect("dir").map(|entry| entry.expect("entry").file_name());
        files.collect::<std::collections::BTreeSet<_>>()
    };
    fs::write(bench.index.path().join("register.company_2@0.rows"), "another resource's").expect("write");
    write_csv(&path, 0..10);
    sources.check(&asked).await.expect("check");
    let first = names();
    assert_eq!(first.len(), 5);
    write_csv(&path, 0..20);
    sources.check(&asked).await.expect("check");
    assert_eq!(names().len(), 9, "a version that is only checked removes nothing");
    let keys = ["C0008".to_owned()];
    let found = sources.open(&asked).await.expect("open").lookup("id", &keys, &[0]).await.expect("found");
    assert_eq!(found.key_index.len(), 1);
    assert_eq!((names().len(), names().intersection(&first).count()), (5, 1));
}
