//! A verifier of someone else's making: files parsed by hand, hashed by `ct-merkle`, signatures checked by `aws-lc-rs`.

use std::path::Path;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use ct_merkle::{HashableLeaf, InclusionProof, RootHash};
use serde_json::Value;
use sha2::Sha256;

struct Leaf(Vec<u8>);

impl HashableLeaf for Leaf {
    fn hash<H: ct_merkle::digest::Update>(&self, hasher: &mut H) {
        hasher.update(&self.0);
    }
}

/// Size and root of a signed note, its signature checked.
fn head(note: &str, verifier_key: &str) -> (u64, [u8; 32]) {
    let (name, rest) = verifier_key.split_once('+').expect("a name");
    let key = STANDARD.decode(rest.split_once('+').expect("a hash").1).expect("base64");
    assert_eq!(key[0], 1, "not Ed25519");
    let (text, signatures) = note.split_once("\n\n").expect("a signature");
    let text = format!("{text}\n");
    let line =
        signatures.lines().find(|line| line.starts_with(&format!("— {name} "))).expect("its signature");
    let signature = STANDARD.decode(line.rsplit(' ').next().expect("base64")).expect("base64");
    UnparsedPublicKey::new(&ED25519, &key[1..])
        .verify(text.as_bytes(), &signature[4..])
        .expect("the checkpoint is signed");
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some(name), "another origin");
    let size = lines.next().expect("a size").parse().expect("a number");
    let root = STANDARD.decode(lines.next().expect("a root")).expect("base64");
    (size, root.try_into().expect("32 bytes"))
}

/// Every entry in order, from the published bundles alone.
pub fn entries(audit: &Path, size: u64) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for n in 0..size.div_ceil(256) {
        let width = (size - n * 256).min(256);
        let mut place = format!("{:03}", n % 1000);
        assert!(n < 1000, "more entries than this test makes");
        if width < 256 {
            place.push_str(&format!(".p/{width}"));
        }
        let bytes = std::fs::read(audit.join("tile/entries").join(&place)).expect("a bundle");
        let mut rest = bytes.as_slice();
        while let Some((length, behind)) = rest.split_first_chunk::<2>() {
            let (entry, behind) = behind.split_at(usize::from(u16::from_be_bytes(*length)));
            found.push(entry.to_vec());
            rest = behind;
        }
    }
    assert_eq!(found.len() as u64, size);
    found
}

/// All entries of a published record, whose root is the signed one.
pub fn check_record(audit: &Path, verifier_key: &str) -> Vec<Vec<u8>> {
    let note = std::fs::read_to_string(audit.join("checkpoint")).expect("a checkpoint");
    let (size, root) = head(&note, verifier_key);
    let entries = entries(audit, size);
    let mut tree = MemoryBackedTree::<Sha256, Leaf>::new();
    entries.iter().for_each(|entry| tree.push(Leaf(entry.clone())));
    assert_eq!(tree.root().as_bytes().as_slice(), root, "another root");
    entries
}

/// A receipt against the record it was taken from: its entry stands there, its proof leads to its signed head.
pub fn check_receipt(receipt: &[u8], entries: &[Vec<u8>], verifier_key: &str) {
    let receipt: Value = serde_json::from_slice(receipt).expect("JSON");
    let (size, root) = head(receipt["checkpoint"].as_str().expect("a checkpoint"), verifier_key);
    let bytes = |value: &Value| STANDARD.decode(value.as_str().expect("base64")).expect("base64");
    let entry = bytes(&receipt["entry"]);
    let index = receipt["index"].as_u64().expect("an index");
    assert_eq!(entries[usize::try_from(index).expect("small")], entry, "another entry at {index}");
    let proof = receipt["proof"].as_array().expect("a proof").iter().flat_map(bytes).collect();
    let proof = InclusionProof::<Sha256>::try_from_bytes(proof).expect("whole hashes");
    RootHash::<Sha256>::new(root.into(), size)
        .verify_inclusion(&Leaf(entry), index, &proof)
        .expect("the proof leads to the head");
}
