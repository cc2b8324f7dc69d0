//! The demo's directory: libraries, organisation, keys, configuration, made once; tokens, made at every start.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use catalog::{DepartmentId, identifier};
use indicatif::{ProgressBar, ProgressStyle};
use policies::{AccountKind, Role};
use serde_json::json;

use super::Options;
use super::synthetic::{Plan, generate};
use crate::authn::signing::SigningKey;
use crate::clock::SECOND_US;
use crate::hub::Hub;
use crate::store::organisation::{Account, Department, Organisation, Post};

pub const HUB_ID: &str = "tongqu.demo";
const ISSUER: &str = "https://issuer.tongqu.demo";
const TOKEN_LIFE_S: i64 = 12 * 3600;
const SEED: u64 = 809;

/// Short name, name, region, organisation part of the social credit code.
const DEPARTMENTS: [(&str, &str, &str, &str); 6] = [
    ("civil-affairs", "民政厅", "330000", "00230001"),
    ("human-resources", "人力资源和社会保障厅", "330000", "00230002"),
    ("public-security", "公安厅", "330000", "00230003"),
    ("market-regulation", "市场监督管理局", "330000", "00230004"),
    ("credit-office", "信用中心", "330000", "00230005"),
    ("data-authority", "数据局", "330000", "00230006"),
];

const PEOPLE: [(&str, Role); 12] = [
    ("civil-affairs", Role::Operator),
    ("civil-affairs", Role::SharingHead),
    ("human-resources", Role::Operator),
    ("human-resources", Role::SharingHead),
    ("public-security", Role::Head),
    ("public-security", Role::SharingHead),
    ("market-regulation", Role::SharingHead),
    ("credit-office", Role::SharingHead),
    ("data-authority", Role::Authority),
    ("data-authority", Role::SecurityAdmin),
    ("data-authority", Role::SystemAdmin),
    ("data-authority", Role::Reviewer),
];

/// The system of a department that the demo registers a key for.
pub const SYSTEM: &str = "civil-affairs.allowance-system";

/// Makes what is missing; a directory that is complete is left as it is.
pub async fn fill(options: &Options) -> anyhow::Result<()> {
    let directory = &options.dir;
    let keys = directory.join("demo-keys");
    std::fs::create_dir_all(&keys)?;
    if !directory.join("sources/complete").exists() {
        make_sources(options).await?;
        std::fs::write(directory.join("sources/complete"), "")?;
    }
    if !directory.join("tongqu.toml").exists() {
        let issuer = key(&keys.join("issuer.pem"))?;
        let system = key(&keys.join("system.pem"))?;
        std::fs::write(keys.join("issuer.jwks.json"), json!({"keys": [issuer.jwk()]}).to_string())?;
        std::fs::write(directory.join("organisation.toml"), toml::to_string(&organisation(&system)?)?)?;
        let config = json!({
            "hub": {"id": HUB_ID, "directory": ".", "organisation": "organisation.toml"},
            "authn": {"issuers": [{
                "issuer": ISSUER, "jwks": "demo-keys/issuer.jwks.json", "life_max_s": TOKEN_LIFE_S, "demo": true,
            }]},
        });
        std::fs::write(directory.join("tongqu.toml"), toml::to_string(&config)?)?;
    }
    Ok(())
}

/// The key in a file; an interrupted first start left one there.
fn key(path: &Path) -> anyhow::Result<SigningKey> {
    if path.exists() { SigningKey::read(path) } else { SigningKey::create(path) }
}

async fn make_sources(options: &Options) -> anyhow::Result<()> {
    let plan = Plan {
        residents: options.residents,
        entities: options.residents / 5,
        credit_records: options.residents * 3 / 5,
        seed: SEED,
    };
    println!(
        "Making {} synthetic residents, {} enterprises, {} credit records in {} …",
        plan.residents,
        plan.entities,
        plan.credit_records,
        options.dir.display()
    );
    let bar = ProgressBar::new(1);
    if let Ok(style) = ProgressStyle::with_template("  {msg:<16} {bar:40} {pos}/{len} ({elapsed})") {
        bar.set_style(style);
    }
    generate(&options.dir.join("sources"), &plan, &|step, done, total| {
        bar.set_message(step.to_string());
        bar.set_length(total);
        bar.set_position(done);
    })
    .await?;
    bar.finish_and_clear();
    Ok(())
}

fn organisation(system: &SigningKey) -> anyhow::Result<Organisation> {
    let department = DEPARTMENTS
        .iter()
        .map(|(id, name, region_code, organisation)| {
            Ok(Department {
                id: DepartmentId::from(*id),
                name: (*name).to_owned(),
                uscc: identifier::compose_uscc("11", region_code, organisation)?,
                region_code: (*region_code).to_owned(),
            })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut account: Vec<Account> = PEOPLE
        .iter()
        .map(|(department, role)| {
            let id = account_id(department, *role);
            Account {
                subject: id.clone(),
                id,
                kind: AccountKind::Person,
                issuer: ISSUER.to_owned(),
                posts: vec![Post { department: DepartmentId::from(*department), role: *role }],
                keys: Vec::new(),
                disabled: false,
            }
        })
        .collect();
    account.push(Account {
        id: SYSTEM.to_owned(),
        kind: AccountKind::System,
        issuer: SYSTEM.to_owned(),
        subject: SYSTEM.to_owned(),
        posts: vec![Post { department: DepartmentId::from("civil-affairs"), role: Role::Operator }],
        keys: vec![system.jwk()],
        disabled: false,
    });
    Ok(Organisation { department, account })
}

fn account_id(department: &str, role: Role) -> String {
    format!("{department}.{}", role.as_str())
}

/// A token for every person, for twelve hours.
pub fn mint(directory: &Path, hub: &Hub) -> anyhow::Result<BTreeMap<String, String>> {
    let issuer = SigningKey::read(&directory.join("demo-keys/issuer.pem"))?;
    let now_s = hub.clock.now_us() / SECOND_US;
    PEOPLE
        .iter()
        .map(|(department, role)| {
            let id = account_id(department, *role);
            let token = issuer.token(ISSUER, &id, HUB_ID, now_s, TOKEN_LIFE_S)?;
            Ok((id, token))
        })
        .collect()
}

/// `credentials.json`: base URL and tokens, for its owner only.
pub fn write_credentials(
    directory: &Path,
    base_url: &str,
    tokens: &BTreeMap<String, String>,
) -> anyhow::Result<()> {
    let path = directory.join("credentials.json");
    let draft = directory.join("credentials.json.new");
    let _left_over = std::fs::remove_file(&draft);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let text = serde_json::to_string_pretty(&json!({"base_url": base_url, "tokens": tokens}))?;
    file.write_all(text.as_bytes())?;
    std::fs::rename(&draft, &path).context("credentials.json cannot be written")?;
    Ok(())
}
