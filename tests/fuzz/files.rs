//! Files an operator or a provider hands over: configuration, organisation, libraries, rows.

use std::sync::OnceLock;

use catalog::{Binding, Classification, FileFormat, Item, ItemType, Resource, SharingClass};
use connectors::{SourceLimits, Sources};
use tempfile::TempDir;
use tongqu::config::Config;
use tongqu::store::organisation::Organisation;

use super::rules::same_json;
use crate::tamper::made::quick_folder;

pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(config) = toml::from_str::<Config>(text) else { return };
    let _doubts = config.doubts();
    same_json(&config);
}

pub fn organisation(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(organisation) = toml::from_str::<Organisation>(text) else { return };
    let _faults = organisation.faults();
    same_json(&organisation);
}

/// A library that was taken has no fault, and is the same from the store.
pub fn library(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(resources) = catalog::load_library(text) else { return };
    for resource in resources {
        assert!(resource.faults().0.is_empty(), "taken with faults");
        same_json(&resource);
    }
}

struct Bench {
    runtime: tokio::runtime::Runtime,
    folder: TempDir,
}

fn bench() -> &'static Bench {
    static BENCH: OnceLock<Bench> = OnceLock::new();
    BENCH.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Bench { runtime: runtime.expect("a runtime"), folder: quick_folder() }
    })
}

fn rows(format: FileFormat, path: &str) -> Resource {
    let types = [
        ("id", ItemType::Text),
        ("number", ItemType::Integer),
        ("share", ItemType::Float),
        ("sum", ItemType::Decimal),
        ("day", ItemType::Date),
        ("at", ItemType::Timestamp),
        ("yes", ItemType::Boolean),
    ];
    let item = |(name, item_type): (&str, ItemType)| Item {
        name: name.to_owned(),
        title: name.to_owned(),
        item_type,
        column: None,
        key: name == "id" || name == "number",
        classification: Classification::General,
        class: None,
        derived_from: None,
    };
    Resource {
        name: "fuzz.rows".into(),
        title: "rows".to_owned(),
        summary: "rows".to_owned(),
        provider: "fuzz".into(),
        class: SharingClass::Unconditional,
        condition: None,
        legal_basis: None,
        update_cycle: "daily".to_owned(),
        items: types.map(item).to_vec(),
        never_join: Vec::new(),
        binding: Binding::Files { format, path: path.to_owned() },
    }
}

/// A provider's file of any content: mounted or refused, its look-ups answer or fail; a row found has the key asked for.
pub fn source(bytes: &[u8]) {
    let Some((kind, content)) = bytes.split_first() else { return };
    let (format, name) = match kind % 4 {
        0 => (FileFormat::Parquet, "rows.parquet"),
        1 => (FileFormat::Csv, "rows.csv"),
        2 => (FileFormat::Json, "rows.json"),
        _ => (FileFormat::Arrow, "rows.arrow"),
    };
    let bench = bench();
    std::fs::write(bench.folder.path().join(name), content).expect("written");
    let index = quick_folder();
    let sources = Sources::new(bench.folder.path(), index.path(), SourceLimits::default()).expect("sources");
    let resource = rows(format, name);
    bench.runtime.block_on(async {
        let _checked = sources.check(&resource).await;
        let Ok(source) = sources.open(&resource).await else { return };
        let Ok(found) = source.lookup("id", &["1".to_owned(), "a".to_owned()], &[0, 1, 4]).await else {
            return;
        };
        let _unfit = (source.unfit(), source.ragged_rows());
        drop(found);
    });
}
