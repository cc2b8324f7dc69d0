//! The libraries the demo mounts: the built-in ones, or a real register in place of the synthetic enterprises.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use anyhow::Context;
use arrow::csv::reader::Format;
use catalog::{Binding, Classification, FileFormat, Item, ItemType, Resource};

use super::Options;

pub const ENTERPRISE: &str = "legal_entity.enterprise";

/// Column names under which published registers carry an item.
const KNOWN: [(&str, &[&str]); 8] = [
    ("uscc", &["uscc", "统一社会信用代码"]),
    ("name", &["name", "企业名称", "名称"]),
    ("kind", &["kind", "ent_type", "企业类型"]),
    ("legal_representative", &["legal_representative", "法人代表", "法定代表人"]),
    ("established_on", &["established_on", "reg_date", "注册日期", "成立日期"]),
    ("business_scope", &["business_scope", "经营范围"]),
    ("address", &["address", "注册地址", "住所"]),
    ("registered_capital", &["registered_capital"]),
];

/// Columns that registers have beside the library's items, and the item each becomes.
const BESIDE: [(&str, &[&str]); 3] = [
    ("province", &["所在省份", "省份"]),
    ("city", &["地区", "城市"]),
    ("capital", &["注册资金", "注册资本"]),
];

/// The entries to load at start.
pub fn resources(options: &Options) -> anyhow::Result<Vec<Resource>> {
    let mut resources = catalog::embedded().map_err(|faults| anyhow::anyhow!("{faults:?}"))?;
    if let Some(file) = &options.legal_entities {
        let place = link(&options.dir, file)?;
        let entry = resources
            .iter_mut()
            .find(|resource| resource.name.as_str() == ENTERPRISE)
            .context("the legal-entity library is missing")?;
        *entry = mapped(entry, file, &place, &options.columns)?;
    }
    Ok(resources)
}

/// Brings the file below the source root: as a second name of the same bytes where the file system can, else as a copy.
fn link(directory: &Path, file: &Path) -> anyhow::Result<String> {
    let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let name = format!("legal_entity/register.{extension}");
    let target = directory.join("sources").join(&name);
    std::fs::create_dir_all(target.parent().context("the source root has no parent")?)?;
    if target.exists() && std::fs::metadata(&target)?.len() == std::fs::metadata(file)?.len() {
        return Ok(name);
    }
    let _gone = std::fs::remove_file(&target);
    if std::fs::hard_link(file, &target).is_err() {
        std::fs::copy(file, &target).with_context(|| format!("`{}` cannot be copied", file.display()))?;
    }
    Ok(name)
}

/// The entry over the register's own columns: known ones become the library's items, others text items of their own.
fn mapped(entry: &Resource, file: &Path, place: &str, given: &[String]) -> anyhow::Result<Resource> {
    let format = match file.extension().and_then(|extension| extension.to_str()) {
        Some("parquet") => FileFormat::Parquet,
        Some("csv") => FileFormat::Csv,
        _ => anyhow::bail!("`{}` is neither .parquet nor .csv", file.display()),
    };
    let columns = columns(file, format)?;
    let given = given
        .iter()
        .map(|pair| pair.split_once('=').with_context(|| format!("`--column {pair}` is not ITEM=COLUMN")))
        .collect::<anyhow::Result<BTreeMap<&str, &str>>>()?;
    let mut items = Vec::new();
    let mut used = Vec::new();
    for item in &entry.items {
        let known =
            KNOWN.iter().find(|(name, _)| *name == item.name).map_or(&[] as &[&str], |(_, names)| *names);
        let column = match given.get(item.name.as_str()) {
            Some(column) => {
                anyhow::ensure!(
                    columns.iter().any(|have| have == column),
                    "the register has no column `{column}`"
                );
                Some((*column).to_owned())
            }
            None => columns.iter().find(|have| known.contains(&have.as_str())).cloned(),
        };
        if let Some(column) = column {
            used.push(column.clone());
            items.push(Item { column: Some(column), ..item.clone() });
        }
    }
    anyhow::ensure!(
        items.iter().any(|item| item.name == "uscc"),
        "no column of the register is known as `uscc`; say `--column uscc=NAME`, columns are: {}",
        columns.join(", ")
    );
    for column in columns.into_iter().filter(|column| !used.contains(column)) {
        let known = BESIDE.iter().find(|(_, names)| names.contains(&column.as_str()));
        let name = known.map_or(column.clone(), |(name, _)| (*name).to_owned());
        if catalog::ids::is_name(&name) && items.iter().all(|item| item.name != name) {
            items.push(other(name, column));
        }
    }
    Ok(Resource { items, binding: Binding::Files { format, path: place.to_owned() }, ..entry.clone() })
}

/// A text item over a column that the library does not know.
fn other(name: String, column: String) -> Item {
    Item {
        title: column.clone(),
        name,
        item_type: ItemType::Text,
        column: Some(column),
        key: false,
        classification: Classification::General,
        class: None,
        derived_from: None,
    }
}

fn columns(file: &Path, format: FileFormat) -> anyhow::Result<Vec<String>> {
    let open = || File::open(file).with_context(|| format!("`{}` cannot be read", file.display()));
    match format {
        FileFormat::Parquet => {
            let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(open()?)
                .with_context(|| format!("`{}` is not Parquet", file.display()))?;
            Ok(reader.schema().fields().iter().map(|field| field.name().clone()).collect())
        }
        FileFormat::Csv => {
            let format = Format::default().with_header(true);
            let (schema, _rows) = format
                .infer_schema(open()?, Some(0))
                .with_context(|| format!("`{}` has no readable header", file.display()))?;
            let names = schema.fields().iter().map(|field| field.name().trim_start_matches('\u{feff}'));
            Ok(names.map(str::to_owned).collect())
        }
        FileFormat::Json | FileFormat::Arrow => {
            anyhow::bail!("`{}` is neither .parquet nor .csv", file.display())
        }
    }
}
