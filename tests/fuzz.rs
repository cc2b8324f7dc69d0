//! Readers of what comes from outside, fed with bytes nobody sends in good faith: a short pass here, hours with libFuzzer.
//!
//! INVARIANT: a target's property is about what was accepted, not only "no panic"; a finding stays as a seed for ever.
//!
//! `cargo test --test main fuzz::` runs every seed and some hundred mutations of each target. `tests/fuzz/long` builds
//! our own crates instrumented (by `RUSTC_WORKSPACE_WRAPPER`, so that no dependency is built again) and hands a target
//! to libFuzzer of Debian's `libclang-rt-19-dev`.

mod files;
#[cfg(fuzz_guided)]
mod guided;
mod rules;
mod short;
mod trust;

/// One reader under test.
pub struct Target {
    pub name: &'static str,
    /// Panics when a property does not hold.
    pub run: fn(&[u8]),
    /// Where mutations begin: seeds of the repository, findings among them, divided by lines of `%%`.
    pub seeds: &'static str,
    /// Mutations of the short pass; fewer where an input is written to a file.
    pub short: usize,
}

macro_rules! seeds {
    ($name:literal) => {
        include_str!(concat!("fuzz/corpus/", $name, ".txt"))
    };
}

pub const TARGETS: &[Target] = &[
    Target { name: "gate", run: rules::gate, seeds: seeds!("gate"), short: 400 },
    Target { name: "scope", run: rules::scope, seeds: seeds!("scope"), short: 400 },
    Target { name: "terms", run: rules::terms, seeds: seeds!("terms"), short: 400 },
    Target { name: "keys", run: rules::keys, seeds: seeds!("keys"), short: 400 },
    Target { name: "token", run: trust::token, seeds: seeds!("token"), short: 300 },
    Target { name: "receipt", run: trust::receipt, seeds: seeds!("receipt"), short: 200 },
    Target { name: "checkpoint", run: trust::checkpoint, seeds: seeds!("checkpoint"), short: 200 },
    Target { name: "record", run: trust::record, seeds: seeds!("record"), short: 200 },
    Target { name: "entry", run: trust::entry, seeds: seeds!("entry"), short: 400 },
    Target { name: "config", run: files::config, seeds: seeds!("config"), short: 100 },
    Target { name: "organisation", run: files::organisation, seeds: seeds!("organisation"), short: 200 },
    Target { name: "library", run: files::library, seeds: seeds!("library"), short: 100 },
    Target { name: "source", run: files::source, seeds: seeds!("source"), short: 150 },
];

/// Seeds of a target; a seed that begins with `hex:` is bytes.
pub fn seeds(target: &Target) -> Vec<Vec<u8>> {
    let seed = |text: &str| match text.strip_prefix("hex:") {
        Some(digits) => digits
            .trim()
            .as_bytes()
            .chunks(2)
            .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect(),
        None => text.as_bytes().to_vec(),
    };
    target.seeds.split("\n%%\n").map(seed).chain(trust::known(target.name)).collect()
}
