//! Licences and sources of every dependency, from `cargo metadata`.

use std::process::Command;

use serde_json::Value;

/// Licences a dependency may be taken under.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "OpenSSL",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Whether an SPDX expression can be met from the allowed list.
fn met(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    let mut depth = 0i32;
    // Split at the top level only; OR binds weaker than AND.
    let mut split = |word: &str| {
        let mut parts = vec![String::new()];
        for token in expression.replace('(', " ( ").replace(')', " ) ").split_whitespace() {
            match token {
                "(" => depth += 1,
                ")" => depth -= 1,
                _ => {}
            }
            if depth == 0 && token == word {
                parts.push(String::new());
            } else {
                let part = parts.last_mut().expect("a part");
                if !part.is_empty() {
                    part.push(' ');
                }
                part.push_str(token);
            }
        }
        parts
    };
    let or = split("OR");
    if or.len() > 1 {
        return or.iter().any(|part| met(part));
    }
    let and = split("AND");
    if and.len() > 1 {
        return and.iter().all(|part| met(part));
    }
    let plain = expression.trim();
    match plain.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
        Some(inner) => met(inner.trim()),
        None => ALLOWED.contains(&plain),
    }
}

#[test]
fn licence_expressions_are_read_as_spdx_says() {
    for (expression, expect) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("MIT OR GPL-3.0", true),
        ("MIT AND GPL-3.0", false),
        ("(MIT OR GPL-3.0) AND Unicode-3.0", true),
        ("ISC AND (Apache-2.0 OR ISC)", true),
        ("MIT/Apache-2.0", true),
        ("LGPL-2.1 OR (GPL-3.0 AND MIT)", false),
    ] {
        assert_eq!(met(expression), expect, "{expression}");
    }
}

#[test]
fn every_dependency_has_an_allowed_licence_and_comes_from_the_registry() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--offline", "--locked", "--filter-platform", &platform])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("metadata is JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    assert!(packages.len() > 100, "only {} packages were looked at", packages.len());
    let mut faults = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        match package["source"].as_str() {
            None => assert!(["tongqu", "catalog", "connectors", "policies"].contains(&name), "{name}"),
            Some(source) if !source.starts_with("registry+") => {
                faults.push(format!("{name} comes from {source}"))
            }
            Some(_) => {}
        }
        let licence = package["license"].as_str().unwrap_or_default();
        if !met(licence) {
            faults.push(format!("{name}: `{licence}`"));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn crates_that_move_together_are_there_once() {
    let lock =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock")).expect("Cargo.lock");
    for name in ["arrow", "parquet", "datafusion", "object_store", "axum", "tokio", "sqlx", "rustls"] {
        let count = lock.matches(&format!("name = \"{name}\"\n")).count();
        assert!(count <= 1, "{name} is there {count} times");
    }
}
