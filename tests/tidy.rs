//! The house rules of ARCHITECTURE.md, as tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file of our own, with its text, by path relative to the root.
fn sources() -> BTreeMap<PathBuf, String> {
    fn walk(folder: &Path, found: &mut BTreeMap<PathBuf, String>) {
        for entry in std::fs::read_dir(folder).expect("folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).expect("below the root").to_owned();
                found.insert(name, std::fs::read_to_string(&path).expect("text"));
            }
        }
    }
    let mut found = BTreeMap::new();
    for folder in ["src", "catalog", "connectors", "policies", "tests", "benches"] {
        if root().join(folder).exists() {
            walk(&root().join(folder), &mut found);
        }
    }
    found
}

/// The file without its unit tests and comments: rules about code look here.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Test code: the test folders, and modules that are declared under `#[cfg(test)]`.
fn is_test(path: &Path) -> bool {
    let name = path.to_string_lossy();
    if name.starts_with("tests") || name.contains("/tests") || name.starts_with("benches") {
        return true;
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let folder = path.parent().unwrap_or(Path::new(""));
    let parents = [folder.with_extension("rs"), folder.join("lib.rs"), folder.join("main.rs")];
    parents.iter().any(|parent| {
        let text = std::fs::read_to_string(root().join(parent)).unwrap_or_default();
        text.contains(&format!("#[cfg(test)]\nmod {stem};"))
    })
}

#[test]
fn every_module_begins_with_its_purpose_and_none_is_too_long() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        if !text.starts_with("//!") {
            faults.push(format!("{}: begins without `//!`", path.display()));
        }
        if text.lines().count() > 500 {
            faults.push(format!("{}: {} lines", path.display(), text.lines().count()));
        }
        if path.ends_with("mod.rs") {
            faults.push(format!("{}: mod.rs", path.display()));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn no_function_is_longer_than_seventy_lines() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let mut start: Option<(usize, usize, String)> = None;
        for (number, line) in text.lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let trimmed = line.trim_start();
            let begins = [
                "fn ",
                "pub fn ",
                "async fn ",
                "pub async fn ",
                "pub(crate) fn ",
                "pub(super) fn ",
                "pub(crate) async fn ",
                "pub(super) async fn ",
                "const fn ",
            ]
            .iter()
            .any(|head| trimmed.starts_with(head));
            if begins && start.as_ref().is_none_or(|(_, outer, _)| indent <= *outer) {
                start = Some((number, indent, trimmed.to_owned()));
            }
            if let Some((first, at, head)) = &start
                && trimmed == "}"
                && indent == *at
            {
                let lines = number - first + 1;
                if lines > 70 {
                    faults.push(format!("{}:{}: {lines} lines: {head}", path.display(), first + 1));
                }
                start = None;
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// Modules of the hub by floor; a module may import its own floor's shared parts and the floors below.
const EDGES: &[&str] = &["api", "cli", "demo"];
const FLOWS: &[&str] = &["publish", "access", "query", "supervise"];

fn imports(text: &str, module: &str) -> bool {
    let text = code(text);
    [format!("crate::{module}::"), format!("crate::{module};"), format!("crate::{module},")]
        .iter()
        .any(|path| text.contains(path))
        || text.lines().any(|line| {
            let list = line.trim_start().strip_prefix("use crate::{");
            list.is_some_and(|list| {
                list.split([',', '}', ' ']).any(|name| name.split("::").next() == Some(module))
            })
        })
}

fn module_of(path: &Path) -> Option<String> {
    let inside = path.strip_prefix("src").ok()?;
    let first = inside.components().next()?.as_os_str().to_string_lossy().into_owned();
    Some(first.trim_end_matches(".rs").to_owned())
}

#[test]
fn floors_import_downwards_only() {
    let record_and_ground = [
        "acts",
        "audit",
        "store",
        "authn",
        "limits",
        "config",
        "error",
        "clock",
        "crypto",
        "process",
        "telemetry",
        "tls",
    ];
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let Some(module) = module_of(&path) else { continue };
        let mut deny: Vec<&str> = Vec::new();
        if FLOWS.contains(&module.as_str()) {
            deny.extend(EDGES);
            deny.extend(FLOWS.iter().filter(|other| **other != module));
        }
        if module == "engine" {
            deny.extend(EDGES);
            deny.extend(FLOWS);
            deny.push("hub");
        }
        if record_and_ground.contains(&module.as_str()) {
            deny.extend(EDGES);
            deny.extend(FLOWS);
            deny.push("engine");
        }
        for other in deny {
            if imports(&text, other) {
                faults.push(format!("{} imports `{other}`", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn crates_keep_to_their_side() {
    let manifest =
        |name: &str| std::fs::read_to_string(root().join(name).join("Cargo.toml")).expect("manifest");
    let dependencies = |name: &str| {
        let text = manifest(name);
        let text = text.split("[dependencies]").nth(1).unwrap_or_default();
        text.split("[dev-dependencies]").next().unwrap_or_default().to_owned()
    };
    for word in ["sqlx", "axum", "hyper", "reqwest", "datafusion", "sqlparser", "tokio"] {
        assert!(!dependencies("catalog").contains(word), "catalog knows `{word}`");
    }
    for word in ["sqlx", "axum", "tokio", "object_store", "connectors", "tongqu"] {
        assert!(!dependencies("policies").contains(word), "policies knows `{word}`");
    }
    assert!(
        !dependencies("policies").lines().any(|line| line.starts_with("datafusion.")),
        "policies uses the facade"
    );
    for word in ["policies", "axum", "tongqu"] {
        assert!(!dependencies("connectors").contains(word), "connectors knows `{word}`");
    }
}

/// `(what, text, where it may stand)`.
const PLACES: &[(&str, &[&str], &[&str])] = &[
    ("a caller is made only in authn", &["Caller::verified("], &["src/authn.rs", "policies/src/caller.rs"]),
    (
        "store SQL stands only in the store",
        &["sqlx::query"],
        &["src/store", "connectors/src/sqlite", "connectors/src/postgres", "src/demo/synthetic"],
    ),
    ("the environment is read only by config", &["std::env::", "env::var", "from_env"], &["src/config.rs"]),
    (
        "HTTP statuses are decided in error.rs",
        &["StatusCode::BAD", "StatusCode::FORBIDDEN", "StatusCode::NOT_FOUND"],
        &["src/error.rs"],
    ),
    (
        "sources are opened only by the engine",
        &["sources.open(", "sources.check("],
        &["src/engine.rs", "connectors/"],
    ),
];

#[test]
fn each_idea_has_its_one_place() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let name = path.to_string_lossy().into_owned();
        if is_test(&path) {
            continue;
        }
        for (rule, texts, places) in PLACES {
            let found = texts.iter().any(|text_of_rule| code(&text).contains(text_of_rule));
            if found && !places.iter().any(|place| name.starts_with(place)) {
                faults.push(format!("{name}: {rule}"));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn nothing_panics_where_nothing_may() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let name = path.to_string_lossy().into_owned();
        let guarded = name.starts_with("policies/src")
            || name.starts_with("src/audit")
            || name.starts_with("src/authn");
        if !guarded || is_test(&path) {
            continue;
        }
        for word in [".unwrap()", ".expect(", "panic!(", "unreachable!(", "todo!(", "unimplemented!("] {
            if code(&text).contains(word) {
                faults.push(format!("{name}: `{word}`"));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn no_test_is_switched_off_and_none_sleeps() {
    let marks = [concat!("#[ign", "ore"), concat!("thread::sl", "eep("), concat!("time::sl", "eep(")];
    let mut faults = Vec::new();
    for (path, text) in sources() {
        if !is_test(&path) && !text.contains("#[cfg(test)]") {
            continue;
        }
        let tests = if is_test(&path) {
            text.as_str()
        } else {
            text.split("#[cfg(test)]").nth(1).unwrap_or_default()
        };
        for mark in marks {
            if tests.contains(mark) {
                faults.push(format!("{}: `{mark}`", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn names_that_say_nothing_are_not_used() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        for line in code(&text).lines() {
            let line = line.trim_start();
            let named = ["struct ", "enum ", "trait ", "mod ", "fn "].iter().find_map(|kind| {
                let at = line.find(kind)?;
                let before = line[..at].trim_end();
                let head = before.is_empty() || before.starts_with("pub") || before == "async";
                head.then(|| {
                    line[at + kind.len()..].split(['(', '<', ' ', '{', ';', ':']).next().unwrap_or_default()
                })
            });
            let Some(name) = named else { continue };
            let words: Vec<String> = split_words(name);
            for banned in ["manager", "service", "handler", "util", "utils", "helper", "helpers", "common"] {
                if words.iter().any(|word| word == banned) {
                    faults.push(format!("{}: `{name}`", path.display()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// `SourceRows` and `source_rows` both become `source`, `rows`.
fn split_words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for letter in name.chars() {
        if letter == '_' || letter.is_uppercase() {
            words.push(String::new());
        }
        if letter != '_' {
            words.last_mut().expect("a word").extend(letter.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn every_migration_and_invariant_is_named_where_it_must_be() {
    let architecture = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let all: String = sources().into_values().collect();
    for line in architecture.lines().filter(|line| line.starts_with("| ") && line.contains("`test:")) {
        for named in line.split("`test:").skip(1) {
            let test = named.split('`').next().unwrap_or_default();
            assert!(
                all.contains(&format!("fn {test}(")),
                "ARCHITECTURE.md names test `{test}`, which does not exist"
            );
        }
    }
    for number in 1..=12 {
        assert!(
            architecture.contains(&format!("| {number} |")),
            "invariant {number} is not in ARCHITECTURE.md"
        );
    }
}
