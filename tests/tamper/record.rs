//! Mutations of the files of a record: bytes, entries, tiles, bundles, side objects, checkpoints, forks, mixed records.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tongqu::audit::verify::verify_directory;
use tongqu::crypto::sha256;

use super::made::{Files, Made, made, quick_folder, write_difference};
use super::{mutations, seed};

type Mutation = fn(&mut Files, &Made, &mut StdRng);

/// Each with the name it is told by when it goes unseen.
pub const MUTATIONS: &[(&str, Mutation)] = &[
    ("flip", flip),
    ("delete bytes", delete_bytes),
    ("insert bytes", insert_bytes),
    ("truncate", truncate),
    ("append", append),
    ("remove file", |files, _, random| drop(files.remove(&any(files, random)))),
    ("swap files", swap_files),
    ("rename file", rename),
    ("stray file", stray),
    ("swap entries", |files, _, random| within(files, random, "tile/entries/", 2, swap_two)),
    ("drop entry", |files, _, random| within(files, random, "tile/entries/", 2, drop_one)),
    ("repeat entry", |files, _, random| within(files, random, "tile/entries/", 2, repeat_one)),
    ("entry of another record", foreign_entry),
    ("changed entry, hashes made to fit", rehashed),
    ("swap hashes", swap_hashes),
    ("swap side objects", |files, _, random| within(files, random, "side/", 4, swap_two)),
    ("empty side object", |files, _, random| within(files, random, "side/", 4, empty_one)),
    ("older checkpoint", |files, made, random| from(files, &made.older, &["checkpoint"], random)),
    ("files of an older state", |files, made, random| several(files, &made.older, random)),
    ("checkpoint of a stranger", |files, made, random| from(files, &made.stranger, &["checkpoint"], random)),
    ("the whole record of a stranger", |files, made, _| files.clone_from(&made.stranger)),
    ("files of a stranger", |files, made, random| several(files, &made.stranger, random)),
    ("files of a fork", |files, made, random| several(files, &made.fork, random)),
    ("checkpoint signed by another key", resigned),
    ("another size or root", retold),
    ("partial tile under another width", other_width),
    ("complete tile as a partial one", narrowed),
];

fn any(files: &Files, random: &mut StdRng) -> String {
    let names: Vec<&String> = files.keys().collect();
    (*names.choose(random).expect("a file")).clone()
}

/// Some file, and a place in it.
fn place<'a>(files: &'a mut Files, random: &mut StdRng) -> (&'a mut Vec<u8>, usize) {
    let name = any(files, random);
    let bytes = files.get_mut(&name).expect("there");
    let at = random.random_range(0..bytes.len().max(1));
    (bytes, at)
}

fn flip(files: &mut Files, _: &Made, random: &mut StdRng) {
    let bit = random.random_range(0..8);
    let (bytes, at) = place(files, random);
    bytes[at] ^= 1 << bit;
}

fn delete_bytes(files: &mut Files, _: &Made, random: &mut StdRng) {
    let length = random.random_range(1..40);
    let (bytes, at) = place(files, random);
    bytes.drain(at..(at + length).min(bytes.len()));
}

fn insert_bytes(files: &mut Files, _: &Made, random: &mut StdRng) {
    let new: Vec<u8> = (0..random.random_range(1..40)).map(|_| random.random()).collect();
    let (bytes, at) = place(files, random);
    bytes.splice(at..at, new);
}

fn truncate(files: &mut Files, _: &Made, random: &mut StdRng) {
    let (bytes, at) = place(files, random);
    bytes.truncate(at);
}

fn append(files: &mut Files, _: &Made, random: &mut StdRng) {
    let new: Vec<u8> = if random.random() {
        vec![b"\n\0 "[random.random_range(0..3)]]
    } else {
        (0..random.random_range(1..70)).map(|_| random.random()).collect()
    };
    place(files, random).0.extend(new);
}

fn swap_files(files: &mut Files, _: &Made, random: &mut StdRng) {
    let (one, two) = (any(files, random), any(files, random));
    let (first, second) = (files[&one].clone(), files[&two].clone());
    files.insert(one, second);
    files.insert(two, first);
}

fn rename(files: &mut Files, _: &Made, random: &mut StdRng) {
    let from = any(files, random);
    let names = ["tile/0/002", "tile/0/000.p/7", "tile/1/000", "tile/entries/002.p/9", "side/003", "old"];
    let mut to = (*names.choose(random).expect("a name")).to_owned();
    if random.random() {
        to = any(files, random);
    }
    let bytes = files.remove(&from).expect("there");
    files.insert(to, bytes);
}

fn stray(files: &mut Files, _: &Made, random: &mut StdRng) {
    let names = [
        "tile/0/002",
        "tile/9/000",
        "tile/entries/001.p/299",
        "side/x000/000",
        "tile/0/001.p/9",
        "notes",
        "tile/x",
    ];
    let bytes: Vec<u8> = (0..random.random_range(0..99)).map(|_| random.random()).collect();
    files.insert((*names.choose(random).expect("a name")).to_owned(), bytes);
}

/// Records behind big-endian lengths of `width` bytes.
fn split(bytes: &[u8], width: usize) -> Vec<Vec<u8>> {
    let (mut found, mut rest) = (Vec::new(), bytes);
    while rest.len() >= width {
        let length = rest[..width].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        found.push(rest[width..width + length].to_vec());
        rest = &rest[width + length..];
    }
    found
}

fn join(records: &[Vec<u8>], width: usize) -> Vec<u8> {
    records
        .iter()
        .flat_map(|record| {
            let length = (record.len() as u32).to_be_bytes();
            [length[4 - width..].to_vec(), record.clone()].concat()
        })
        .collect()
}

/// Changes the list of records of one file below a folder.
fn within(
    files: &mut Files,
    random: &mut StdRng,
    below: &str,
    width: usize,
    change: fn(&mut Vec<Vec<u8>>, &mut StdRng),
) {
    let names: Vec<String> = files.keys().filter(|name| name.starts_with(below)).cloned().collect();
    let name = names.choose(random).expect("a bundle");
    let mut records = split(&files[name], width);
    change(&mut records, random);
    files.insert(name.clone(), join(&records, width));
}

#[allow(clippy::ptr_arg)] // one of many changes of one type
fn swap_two(records: &mut Vec<Vec<u8>>, random: &mut StdRng) {
    let (one, two) = (random.random_range(0..records.len()), random.random_range(0..records.len()));
    records.swap(one, two);
}

fn drop_one(records: &mut Vec<Vec<u8>>, random: &mut StdRng) {
    records.remove(random.random_range(0..records.len()));
}

fn repeat_one(records: &mut Vec<Vec<u8>>, random: &mut StdRng) {
    let (from, to) = (random.random_range(0..records.len()), random.random_range(0..records.len()));
    let copy = records[from].clone();
    if random.random() {
        records[to] = copy;
    } else {
        records.insert(to, copy);
    }
}

#[allow(clippy::ptr_arg)] // one of many changes of one type
fn empty_one(records: &mut Vec<Vec<u8>>, random: &mut StdRng) {
    let full: Vec<usize> = (0..records.len()).filter(|at| !records[*at].is_empty()).collect();
    records[*full.choose(random).expect("a side object")].clear();
}

fn foreign_entry(files: &mut Files, made: &Made, random: &mut StdRng) {
    let other = if random.random() { &made.stranger } else { &made.fork };
    let name = "tile/entries/000";
    let (mut ours, theirs) = (split(&files[name], 2), split(&other[name], 2));
    let at = random.random_range(0..ours.len());
    ours[at].clone_from(theirs.choose(random).expect("an entry"));
    files.insert(name.to_owned(), join(&ours, 2));
}

fn node(left: &[u8], right: &[u8]) -> Vec<u8> {
    sha256(&[&[1], left, right]).to_vec()
}

fn subtree(hashes: &[Vec<u8>]) -> Vec<u8> {
    match hashes.len() {
        1 => hashes[0].clone(),
        length => node(&subtree(&hashes[..length / 2]), &subtree(&hashes[length / 2..])),
    }
}

/// An entry changed as a careful forger would: leaf, tile and parent tile are computed anew, all but the signed root.
fn rehashed(files: &mut Files, _: &Made, random: &mut StdRng) {
    let mut entries = split(&files["tile/entries/000"], 2);
    let at = random.random_range(0..entries.len());
    let text = String::from_utf8(entries[at].clone()).expect("ASCII");
    let changes = [
        ("\"rows\":1", "\"rows\":2"),
        ("civil-affairs\"", "civil-affairz\""),
        ("\"status\":", "\"status\":1"),
    ];
    let (old, new) = changes.choose(random).expect("a change");
    entries[at] = text.replacen(old, new, 1).into_bytes();
    let leaves: Vec<Vec<u8>> = entries.iter().map(|entry| sha256(&[&[0], entry]).to_vec()).collect();
    files.insert("tile/entries/000".to_owned(), join(&entries, 2));
    files.insert("tile/0/000".to_owned(), leaves.concat());
    files.insert("tile/1/000.p/1".to_owned(), subtree(&leaves));
}

fn swap_hashes(files: &mut Files, _: &Made, random: &mut StdRng) {
    let name = *["tile/0/000", "tile/0/001.p/44"].choose(random).expect("a tile");
    let mut hashes: Vec<Vec<u8>> = files[name].chunks(32).map(<[u8]>::to_vec).collect();
    swap_two(&mut hashes, random);
    files.insert(name.to_owned(), hashes.concat());
}

fn from(files: &mut Files, other: &Files, names: &[&str], _: &mut StdRng) {
    for name in names {
        files.insert((*name).to_owned(), other[*name].clone());
    }
}

/// One or more files of another record in the place of ours.
fn several(files: &mut Files, other: &Files, random: &mut StdRng) {
    for _ in 0..random.random_range(1..=other.len()) {
        let name = any(other, random);
        files.insert(name.clone(), other[&name].clone());
    }
}

fn text(files: &Files) -> String {
    String::from_utf8(files["checkpoint"].clone()).expect("text")
}

/// The same text, or one for another tree, under a key of the forger's, with our key's name and with or without its id.
fn resigned(files: &mut Files, made: &Made, random: &mut StdRng) {
    let pair = Ed25519KeyPair::generate().expect("a key");
    let source = if random.random() { text(files) } else { text(&made.fork) };
    let (said, signatures) = source.split_once("\n\n").expect("signatures");
    let said = format!("{said}\n");
    let line = signatures.lines().next().expect("a line");
    let (head, old) = line.rsplit_once(' ').expect("a signature");
    let mut id = STANDARD.decode(old).expect("base64")[..4].to_vec();
    if random.random() {
        let name = super::made::ORIGIN.as_bytes();
        id = sha256(&[name, b"\n\x01", pair.public_key().as_ref()])[..4].to_vec();
    }
    let signature = STANDARD.encode([&id, pair.sign(said.as_bytes()).as_ref()].concat());
    files.insert("checkpoint".to_owned(), format!("{said}\n{head} {signature}\n").into_bytes());
}

fn retold(files: &mut Files, made: &Made, random: &mut StdRng) {
    let said = text(files);
    let lines: Vec<&str> = said.split('\n').collect();
    let size: u64 = lines[1].parse().expect("a size");
    let new = match random.random_range(0..5) {
        0 => said.replacen(lines[1], &(size - random.random_range(1..size)).to_string(), 1),
        1 => said.replacen(lines[1], &(size + random.random_range(1..1000)).to_string(), 1),
        2 => said.replacen(lines[2], &STANDARD.encode(random.random::<[u8; 32]>()), 1),
        3 => said.replacen(lines[2], text(&made.fork).split('\n').nth(2).expect("a root"), 1),
        _ => said.replacen(lines[0], "hub.example/recorc", 1),
    };
    files.insert("checkpoint".to_owned(), new.into_bytes());
}

fn other_width(files: &mut Files, _: &Made, random: &mut StdRng) {
    let name = *["tile/0/001", "tile/entries/001", "side/001", "tile/1/000"].choose(random).expect("a tile");
    let width = if name == "tile/1/000" { 1 } else { 44 };
    let bytes = files.remove(&format!("{name}.p/{width}")).expect("there");
    let new = random.random_range(1..256);
    let path = if new == width { name.to_owned() } else { format!("{name}.p/{new}") };
    files.insert(path, bytes);
}

/// The complete tile goes, its first hashes stay.
fn narrowed(files: &mut Files, _: &Made, random: &mut StdRng) {
    let bytes = files.remove("tile/0/000").expect("there");
    let width = random.random_range(1..256);
    files.insert(format!("tile/0/000.p/{width}"), bytes[..width * 32].to_vec());
}

/// One mutation that changes something; its name.
pub fn mutate(files: &mut Files, made: &Made, random: &mut StdRng) -> &'static str {
    loop {
        let (name, mutation) = MUTATIONS.choose(random).expect("a mutation");
        mutation(files, made, random);
        if changes(files, made) {
            return name;
        }
        files.clone_from(&made.files);
    }
}

/// Whether the files say something else than the record; true partial files of an earlier time say nothing new.
fn changes(files: &Files, made: &Made) -> bool {
    let superfluous = |name: &String, bytes: &Vec<u8>| {
        !made.files.contains_key(name) && made.older.get(name) == Some(bytes)
    };
    let kept = files.iter().filter(|(name, bytes)| !superfluous(name, bytes));
    !kept.eq(made.files.iter()) && *files != made.older
}

/// Tries `count` mutations in a folder of its own; the names of those that verify.
fn unseen(made: &Made, count: usize, seed: u64) -> Vec<String> {
    let folder = quick_folder();
    write_difference(folder.path(), &Files::new(), &made.files);
    let mut random = StdRng::seed_from_u64(seed);
    let mut unseen = Vec::new();
    let only: Option<usize> = std::env::var("TONGQU_ROUND").ok().and_then(|text| text.parse().ok());
    for round in 0..count {
        let mut files = made.files.clone();
        let name = mutate(&mut files, made, &mut random);
        if only.is_some_and(|only| only != round) {
            continue;
        }
        if files == made.fork {
            // Another true record, signed by the log's own key: no folder tells it, a kept checkpoint does.
            println!("round {round} of seed {seed}: the whole record of the fork");
            continue;
        }
        write_difference(folder.path(), &made.files, &files);
        if verify_directory(folder.path(), &made.key).is_ok() {
            unseen.push(format!("{name} (round {round} of seed {seed})"));
        }
        write_difference(folder.path(), &files, &made.files);
    }
    verify_directory(folder.path(), &made.key).expect("put back, it verifies");
    unseen
}

#[test]
fn every_random_mutation_of_a_closed_record_is_found() {
    let made = made();
    let report = verify_directory(&made.audit(), &made.key).expect("it verifies");
    assert!(report.size == 300 && report.sides > 30 && report.unclosed > 0, "{report:?}");
    assert!(verify_directory(&made.folder.path().join("stranger/audit"), &made.stranger_key).is_ok());
    let (count, seed) = (mutations(1_200), seed());
    let unseen: Vec<String> = std::thread::scope(|scope| {
        let halves = [seed, seed.wrapping_add(1)].map(|seed| {
            let made = &made;
            scope.spawn(move || unseen(made, count / 2, seed))
        });
        halves.into_iter().flat_map(|half| half.join().expect("it ends")).collect()
    });
    println!("{count} mutations of the record, seed {seed}: {} unseen", unseen.len());
    assert!(
        unseen.is_empty(),
        "{} of {count} went unseen: {:#?}",
        unseen.len(),
        &unseen[..unseen.len().min(20)]
    );
}
