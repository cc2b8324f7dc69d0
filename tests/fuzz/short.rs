//! The short pass: every seed, then mutations of seeds that need no guidance.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::{TARGETS, Target, seeds};

/// What numbers and names are replaced by.
const WORDS: [&str; 24] = [
    "0",
    "-1",
    "1e999",
    "9223372036854775807",
    "18446744073709551616",
    "null",
    "true",
    "\"\"",
    "[]",
    "{}",
    "((",
    "))",
    "'",
    "\"",
    "--",
    "/*",
    "\\u0000",
    "\u{feff}",
    "\u{202e}",
    "é",
    "%",
    "select",
    " union ",
    ",",
];

fn mutate(seeds: &[Vec<u8>], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = seeds.choose(random).expect("a seed").clone();
    for _ in 0..random.random_range(1..5) {
        let at = random.random_range(0..=bytes.len());
        let end = random.random_range(at..=bytes.len()).min(at + 64);
        match random.random_range(0..6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
            1 => drop(bytes.drain(at..end)),
            2 => drop(bytes.splice(at..at, WORDS.choose(random).expect("a word").bytes())),
            3 => drop(bytes.splice(at..end, WORDS.choose(random).expect("a word").bytes())),
            4 => {
                let copy = bytes[at..end].repeat(random.random_range(1..40));
                drop(bytes.splice(at..at, copy));
            }
            _ => {
                let other = seeds.choose(random).expect("a seed");
                let from = random.random_range(0..=other.len());
                drop(bytes.splice(at..end, other[from..other.len().min(from + 200)].iter().copied()));
            }
        }
    }
    bytes
}

/// Runs one input on a stack as large as the hub gives such work.
fn run(target: &Target) {
    let seeds = seeds(target);
    let seed = rand::random();
    let mut random = StdRng::seed_from_u64(seed);
    let times = std::env::var("TONGQU_FUZZ_TIMES").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let count = target.short * times;
    println!("{}: {} seeds, {count} mutations, random seed {seed}", target.name, seeds.len());
    seeds.iter().for_each(|seed| (target.run)(seed));
    for _ in 0..count {
        let bytes = mutate(&seeds, &mut random);
        let told = std::panic::catch_unwind(|| (target.run)(&bytes));
        assert!(told.is_ok(), "{}: {:?}", target.name, String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn every_target_stands_its_seeds_and_a_short_random_pass() {
    let stack = policies::statement::STACK_BYTES;
    let only = std::env::var("TONGQU_FUZZ").ok();
    for target in TARGETS.iter().filter(|target| only.as_deref().is_none_or(|only| only == target.name)) {
        let thread = std::thread::Builder::new().stack_size(stack).spawn(move || run(target));
        thread.expect("a thread").join().unwrap_or_else(|_| panic!("{}: see above", target.name));
    }
}

/// The pass finds what it looks for: a reader that would accept a byte too many is told.
#[test]
fn a_property_that_does_not_hold_is_found() {
    fn careless(bytes: &[u8]) {
        assert!(!String::from_utf8_lossy(bytes).contains("1e999"));
    }
    let target = Target { name: "careless", run: careless, seeds: "{\"a\": 1}", short: 2_000 };
    assert!(std::panic::catch_unwind(|| run(&target)).is_err());
}
