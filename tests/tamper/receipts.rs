//! Mutations of receipts: every member, the proof's order, indexes, checkpoints, names given twice, single bytes.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use tongqu::audit::verify::verify_receipt;

use super::made::{Files, Given, Made, made};
use super::{mutations, seed};

/// What every part of the change may use: the receipt, another one, and the logs it could be mixed with.
pub struct Parts<'a> {
    pub receipt: Value,
    pub other: Value,
    pub made: &'a Made,
}

type Mutation = fn(&mut Parts<'_>, &mut StdRng);

const MUTATIONS: &[(&str, Mutation)] = &[
    ("a member of another receipt", member_of_another),
    ("a member removed", remove),
    ("a member added", |parts, _| parts.receipt["extra"] = json!(1)),
    ("another type", retype),
    ("index", |parts, random| shift(&mut parts.receipt["index"], random)),
    ("version", |parts, random| parts.receipt["v"] = json!(random.random_range(2..300))),
    ("proof order", |parts, random| shuffle(&mut parts.receipt["proof"], random)),
    ("proof shorter", |parts, random| shorten(&mut parts.receipt["proof"], random)),
    ("proof longer", |parts, random| lengthen(&mut parts.receipt["proof"], random)),
    ("a proof hash", |parts, random| alter(&mut parts.receipt["proof"], random)),
    ("a text altered", text),
    ("state", |parts, random| {
        parts.receipt["state"] = json!(["recorded", "running", "aborted"].choose(random).expect("a state"));
    }),
    ("older checkpoint", |parts, _| parts.receipt["checkpoint"] = note(&parts.made.older)),
    ("checkpoint of a stranger", |parts, _| parts.receipt["checkpoint"] = note(&parts.made.stranger)),
    ("checkpoint of a fork", |parts, _| parts.receipt["checkpoint"] = note(&parts.made.fork)),
    ("size in the checkpoint", resized),
    ("intent", intent),
];

fn note(files: &Files) -> Value {
    json!(String::from_utf8(files["checkpoint"].clone()).expect("text"))
}

fn name(value: &Value, random: &mut StdRng) -> String {
    let names: Vec<&String> = value.as_object().expect("an object").keys().collect();
    (*names.choose(random).expect("a member")).clone()
}

fn member_of_another(parts: &mut Parts<'_>, random: &mut StdRng) {
    for _ in 0..random.random_range(1..4) {
        let name = name(&parts.receipt, random);
        parts.receipt[&name] = parts.other[&name].clone();
    }
}

fn remove(parts: &mut Parts<'_>, random: &mut StdRng) {
    let name = name(&parts.receipt, random);
    parts.receipt.as_object_mut().expect("an object").remove(&name);
}

fn retype(parts: &mut Parts<'_>, random: &mut StdRng) {
    let name = name(&parts.receipt, random);
    let old = parts.receipt[&name].clone();
    let values = [json!(null), json!([old]), json!({"a": old}), json!(1.5), json!(-1), json!(""), json!([])];
    parts.receipt[&name] = values.choose(random).expect("a value").clone();
}

fn shift(index: &mut Value, random: &mut StdRng) {
    let old = index.as_u64().expect("an index");
    let new = [old + 1, old.wrapping_sub(1), old ^ 256, old + 300, u64::MAX, random.random_range(0..300)];
    *index = json!(new.choose(random).expect("an index"));
}

fn shuffle(list: &mut Value, random: &mut StdRng) {
    list.as_array_mut().expect("a list").shuffle(random);
}

fn shorten(list: &mut Value, random: &mut StdRng) {
    let list = list.as_array_mut().expect("a list");
    list.remove(random.random_range(0..list.len()));
}

fn lengthen(list: &mut Value, random: &mut StdRng) {
    let list = list.as_array_mut().expect("a list");
    let copy = list.choose(random).expect("a hash").clone();
    for _ in 0..*[1, 1, 60].choose(random).expect("a number") {
        list.insert(random.random_range(0..=list.len()), copy.clone());
    }
}

fn alter(list: &mut Value, random: &mut StdRng) {
    let list = list.as_array_mut().expect("a list");
    let at = random.random_range(0..list.len());
    list[at] = json!(altered(list[at].as_str().expect("text"), random));
}

/// One character replaced, left out, doubled or changed in case.
fn altered(text: &str, random: &mut StdRng) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    let at = random.random_range(0..letters.len().max(1));
    match (letters.get(at).copied(), random.random_range(0..4)) {
        (None, _) => letters.push('A'),
        (Some(_), 0) => letters[at] = char::from(random.random_range(b' '..b'~')),
        (Some(_), 1) => drop(letters.remove(at)),
        (Some(letter), 2) => letters.insert(at, letter),
        (Some(letter), _) if letter.is_ascii_lowercase() => letters[at] = letter.to_ascii_uppercase(),
        (Some(letter), _) => letters[at] = letter.to_ascii_lowercase(),
    }
    letters.into_iter().collect()
}

fn text(parts: &mut Parts<'_>, random: &mut StdRng) {
    let name = *["id", "origin", "entry", "salt", "checkpoint"].choose(random).expect("a member");
    let old = parts.receipt[name].as_str().expect("text").to_owned();
    parts.receipt[name] = json!(altered(&old, random));
}

fn resized(parts: &mut Parts<'_>, random: &mut StdRng) {
    let old = parts.receipt["checkpoint"].as_str().expect("text");
    let new = old.replacen("\n300\n", &format!("\n{}\n", random.random_range(1..400)), 1);
    parts.receipt["checkpoint"] = json!(new);
}

fn intent(parts: &mut Parts<'_>, random: &mut StdRng) {
    let Some(opened) = parts.receipt.get_mut("opened") else {
        let (index, entry) = (parts.other["index"].clone(), parts.other["entry"].clone());
        parts.receipt["opened"] = json!({"index": index, "entry": entry, "proof": parts.other["proof"]});
        return;
    };
    match random.random_range(0..6) {
        0 => shift(&mut opened["index"], random),
        1 => shuffle(&mut opened["proof"], random),
        2 => shorten(&mut opened["proof"], random),
        3 => alter(&mut opened["proof"], random),
        4 => opened["entry"] = parts.other["entry"].clone(),
        _ => opened["entry"] = json!(altered(opened["entry"].as_str().expect("text"), random)),
    }
}

/// A member named a second time, before or after the true one, at the top or inside the intent.
fn named_twice(json: &str, random: &mut StdRng) -> String {
    let value: Value = serde_json::from_str(json).expect("JSON");
    let name = name(&value, random);
    let copy = format!("\"{name}\":{},", value[&name]);
    let places: Vec<usize> = json.match_indices(['{', ',']).map(|(at, _)| at).collect();
    let inside = |at: &&usize| {
        let quotes = json[..**at].matches('"').count();
        let (open, close) = (json[..**at].matches('[').count(), json[..**at].matches(']').count());
        quotes.is_multiple_of(2) && open == close
    };
    let places: Vec<&usize> = places.iter().filter(inside).collect();
    let at = **places.choose(random).expect("a place");
    format!("{}{copy}{}", &json[..=at], &json[at + 1..])
}

fn bytes(json: &str, random: &mut StdRng) -> Vec<u8> {
    let mut bytes = json.as_bytes().to_vec();
    let at = random.random_range(0..bytes.len());
    match random.random_range(0..4) {
        0 => bytes[at] ^= 1 << random.random_range(0..8),
        1 => bytes.truncate(at),
        2 => drop(bytes.remove(at)),
        _ => bytes.insert(at, random.random()),
    }
    bytes
}

/// What is told of a mutation: its name, the bytes, and the receipt it was made from.
pub struct Mutated<'a> {
    pub name: &'static str,
    pub bytes: Vec<u8>,
    pub given: &'a Given,
}

/// One mutation that says something else than the receipt did.
pub fn mutate<'a>(made: &'a Made, random: &mut StdRng) -> Mutated<'a> {
    loop {
        let given = made.receipts.choose(random).expect("a receipt");
        let (name, bytes) = match random.random_range(0..20) {
            0..3 => ("a name given twice", named_twice(&given.json, random).into_bytes()),
            3..7 => ("a byte", bytes(&given.json, random)),
            _ => {
                let other = &made.receipts.choose(random).expect("a receipt").json;
                let read = |json: &str| serde_json::from_str(json).expect("JSON");
                let mut parts = Parts { receipt: read(&given.json), other: read(other), made };
                let (name, mutation) = MUTATIONS.choose(random).expect("a mutation");
                mutation(&mut parts, random);
                (*name, parts.receipt.to_string().into_bytes())
            }
        };
        if name == "a name given twice" || says(&bytes) != says(given.json.as_bytes()) {
            return Mutated { name, bytes, given };
        }
    }
}

/// The receipt's content, without what no proof is about: whether a stream without an outcome runs or was aborted.
fn says(json: &[u8]) -> Option<Value> {
    let mut value: Value = serde_json::from_slice(json).ok()?;
    let members = value.as_object_mut()?;
    if members.get("opened") == Some(&Value::Null) {
        members.remove("opened");
    }
    if members.get("state").and_then(Value::as_str) == Some("aborted") {
        members.insert("state".to_owned(), json!("running"));
    }
    Some(value)
}

#[test]
fn every_random_mutation_of_a_receipt_is_found() {
    let made = made();
    assert!(made.receipts.iter().any(|given| given.json.contains("\"opened\"")));
    for given in &made.receipts {
        verify_receipt(given.json.as_bytes(), &made.key, given.answer.as_deref()).expect("it verifies");
    }
    let (count, seed) = (mutations(4_000), seed());
    let mut random = StdRng::seed_from_u64(seed);
    let mut unseen = Vec::new();
    for round in 0..count {
        let mutated = mutate(&made, &mut random);
        if verify_receipt(&mutated.bytes, &made.key, mutated.given.answer.as_deref()).is_ok() {
            let text = String::from_utf8_lossy(&mutated.bytes).into_owned();
            unseen.push(format!(
                "{} (round {round} of seed {seed}): {} → {text}",
                mutated.name, mutated.given.json
            ));
        }
    }
    println!("{count} mutations of receipts, seed {seed}: {} unseen", unseen.len());
    assert!(
        unseen.is_empty(),
        "{} of {count} went unseen: {:#?}",
        unseen.len(),
        &unseen[..unseen.len().min(5)]
    );
}

/// Not only the JSON: the bytes of the answer belong to the receipt too.
#[test]
fn every_changed_byte_of_an_answer_is_found() {
    let made = made();
    let mut tried = 0;
    for given in made.receipts.iter().take(20) {
        let Some(answer) = &given.answer else { continue };
        for at in 0..answer.len() {
            let mut changed = answer.clone();
            changed[at] ^= 1;
            assert!(verify_receipt(given.json.as_bytes(), &made.key, Some(&changed)).is_err(), "byte {at}");
            tried += 1;
        }
    }
    assert!(tried > 100);
}
