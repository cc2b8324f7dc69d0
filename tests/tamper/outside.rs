//! A sample of the mutations before verifiers of other makers: `tlog-scales` and `aics-tlog` of PyPI, `ct-merkle` of crates.io.
//!
//! They know the tree: tiles, bundles, checkpoint, proofs. Side objects, strays, the form of entries and the other
//! members of a receipt are not theirs. What is theirs and changed must be found by every one of them.

use std::io::{BufRead, BufReader, Lines, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::made::{Files, Made, made, quick_folder, write_difference};
use super::{mutations, receipts, record, seed};
use crate::faults::independent;

/// Made by `tests/run`, beside what Cargo builds.
const PYTHON: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/../record-tools/bin/python");

/// The Python process that holds both verifiers of PyPI.
struct Outside {
    child: Child,
    asks: ChildStdin,
    says: Lines<BufReader<ChildStdout>>,
}

/// What each said: nothing wrong is none.
#[derive(Debug)]
struct Verdicts {
    scales: Option<String>,
    aics: Option<String>,
}

impl Outside {
    fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tamper/outside.py");
        let mut child = Command::new(PYTHON)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("`tests/run` installs the outside verifiers: run it once");
        let asks = child.stdin.take().expect("stdin");
        let says = BufReader::new(child.stdout.take().expect("stdout")).lines();
        Self { child, asks, says }
    }

    fn ask(&mut self, question: &Value) -> Verdicts {
        writeln!(self.asks, "{question}").expect("asked");
        let line = self.says.next().expect("an answer").expect("text");
        let said: Value = serde_json::from_str(&line).expect("JSON");
        let of = |name: &str| said[name].as_str().map(str::to_owned);
        Verdicts { scales: of("scales"), aics: of("aics") }
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _code = self.child.wait();
    }
}

/// Whether an independent check of our own, on `ct-merkle`, panics.
fn refused(check: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(check)).is_err()
}

/// What an auditor wrote down of the newest checkpoint: without it, no verifier can tell an older record from a cut one.
fn kept(made: &Made) -> Value {
    let text = String::from_utf8(made.files["checkpoint"].clone()).expect("text");
    let lines: Vec<&str> = text.lines().collect();
    json!({"size": lines[1].parse::<u64>().expect("a size"), "root": lines[2]})
}

/// The size a checkpoint tells, when it tells one.
fn size(checkpoint: &[u8]) -> Option<u64> {
    std::str::from_utf8(checkpoint).ok()?.split('\n').nth(1)?.parse().ok()
}

/// Complete or partial tiles and bundles of a tree of 300 entries: what an outside verifier reads.
const TREE: [&str; 5] =
    ["tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/000", "tile/entries/001.p/44"];

/// Whether the tree that is read differs, in a file that is there: a missing one may be served by a wider one, and
/// bytes behind the true ones are not read by all.
fn tree_differs(files: &Files, made: &Made) -> bool {
    size(&files["checkpoint"]) == size(&made.files["checkpoint"])
        && TREE
            .iter()
            .any(|name| files.get(*name).is_some_and(|bytes| !bytes.starts_with(&made.files[*name])))
}

/// The first two lines and the signature as they stand: other spellings of the same text are read alike by some.
fn head_differs(files: &Files, made: &Made) -> bool {
    let read = |files: &Files| {
        let text = String::from_utf8(files.get("checkpoint").cloned().unwrap_or_default()).ok()?;
        let lines: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
        Some((
            lines.first()?.clone(),
            lines.get(1)?.parse::<u64>().ok()?,
            lines.get(2)?.clone(),
            lines.get(4)?.clone(),
        ))
    };
    read(files) != read(&made.files)
}

#[test]
fn verifiers_of_other_makers_find_what_is_changed_in_the_tree() {
    let made = made();
    let (count, seed) = (mutations(800) / 20, seed());
    let mut outside = Outside::start();
    let folder = quick_folder();
    write_difference(folder.path(), &Files::new(), &made.files);
    let question = json!({"audit": folder.path(), "key": made.key, "kept": kept(&made)});
    let good = outside.ask(&question);
    assert!(good.scales.is_none() && good.aics.is_none(), "{good:?}");
    assert!(!refused(|| drop(independent::check_record(folder.path(), &made.key))));
    let mut random = StdRng::seed_from_u64(seed);
    let (mut theirs, mut found, mut unseen) = (0, [0; 3], Vec::new());
    for round in 0..count {
        let mut files = made.files.clone();
        let name = record::mutate(&mut files, &made, &mut random);
        write_difference(folder.path(), &made.files, &files);
        let said = outside.ask(&question);
        let third = refused(|| drop(independent::check_record(folder.path(), &made.key)));
        let each = [said.scales.is_some(), said.aics.is_some(), third];
        each.iter().zip(&mut found).for_each(|(one, sum)| *sum += usize::from(*one));
        if files.contains_key("checkpoint") && (head_differs(&files, &made) || tree_differs(&files, &made)) {
            theirs += 1;
            // The third reads bundles only.
            if !(each[0] && each[1]) {
                unseen.push(format!("{name} (round {round} of seed {seed}): {said:?}"));
            }
        }
        write_difference(folder.path(), &files, &made.files);
    }
    println!(
        "{count} mutations of the record, {theirs} of the tree; found by tlog-scales, aics-tlog, ct-merkle: {found:?}"
    );
    assert!(theirs > count / 3, "{theirs} of {count} concern the tree");
    assert!(unseen.is_empty(), "{unseen:#?}");
}

/// What outside verifiers read of a receipt: head, then index, entry and proof of each part.
fn parts(receipt: &Value) -> (String, Vec<String>) {
    let part = |part: &Value| format!("{} {} {}", part["index"], part["entry"], part["proof"]);
    let opened = receipt.get("opened").filter(|opened| opened.is_object());
    let parts = [Some(receipt), opened].into_iter().flatten().map(part).collect();
    (receipt["checkpoint"].to_string(), parts)
}

#[test]
fn verifiers_of_other_makers_find_what_is_changed_in_a_proof() {
    let made = made();
    let (count, seed) = (mutations(6_000) / 20, seed());
    let mut outside = Outside::start();
    let mut random = StdRng::seed_from_u64(seed);
    for given in &made.receipts {
        let receipt: Value = serde_json::from_str(&given.json).expect("JSON");
        let said = outside.ask(&json!({"receipt": receipt, "key": made.key}));
        assert!(said.scales.is_none() && said.aics.is_none(), "{said:?}");
    }
    let given: Vec<_> =
        made.receipts.iter().map(|given| parts(&serde_json::from_str(&given.json).expect("JSON"))).collect();
    let (mut theirs, mut unseen) = (0, Vec::new());
    for round in 0..count {
        let mutated = receipts::mutate(&made, &mut random);
        let Ok(receipt) = serde_json::from_slice::<Value>(&mutated.bytes) else { continue };
        let (head, parts) = parts(&receipt);
        // True parts of another receipt in this one's place are for the hub's own verifier, which reads the entries.
        if parts.iter().all(|part| given.iter().any(|one| one.0 == head && one.1.contains(part))) {
            continue;
        }
        theirs += 1;
        let said = outside.ask(&json!({"receipt": receipt, "key": made.key}));
        if said.scales.is_none() || said.aics.is_none() {
            unseen.push(format!("{} (round {round} of seed {seed}): {said:?}: {receipt}", mutated.name));
        }
    }
    println!(
        "{count} mutations of receipts, {theirs} of what is proven; unseen by one of the two: {}",
        unseen.len()
    );
    assert!(theirs > count / 4, "{theirs} of {count} concern the proof");
    assert!(unseen.is_empty(), "{:#?}", &unseen[..unseen.len().min(8)]);
}
