//! The key ring: files, modes, digests, sealing.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use signed_note::{StandardVerifier, VerifierList};

use super::*;

const ORIGIN: &str = "hub.example/record";

#[test]
fn a_ring_opens_again_with_the_same_keys_and_signs_what_its_public_key_verifies() {
    let dir = tempfile::tempdir().unwrap();
    let ring = dir.path().join("keys");
    let first = Keys::open_or_create(&ring, ORIGIN).unwrap();
    let again = Keys::open_or_create(&ring, ORIGIN).unwrap();
    assert_eq!(first.verifier_key(), again.verifier_key());
    assert_eq!(first.digest("x"), again.digest("x"));
    assert_eq!(first.salt_for("rcpt_1"), again.salt_for("rcpt_1"));
    assert_eq!(first.pseudonym_master(), again.pseudonym_master());
    let note = Note::from_bytes(&again.sign_note(b"a text\n").unwrap()).unwrap();
    let public = fs::read_to_string(ring.join("log.vkey")).unwrap();
    let verifier = StandardVerifier::new(public.trim_end()).unwrap();
    note.verify(&VerifierList::new(vec![Box::new(verifier)])).unwrap();
}

#[test]
fn refused_rings() {
    type Spoil = fn(&std::path::Path);
    let cases: [(&str, Spoil, &str); 6] = [
        (ORIGIN, |dir| drop(fs::remove_file(dir.join("salt.key"))), "missing"),
        (ORIGIN, |dir| drop(fs::remove_file(dir.join("digest-1.key"))), "missing"),
        (
            ORIGIN,
            |dir| drop(fs::set_permissions(dir.join("seal-1.key"), fs::Permissions::from_mode(0o640))),
            "chmod 600",
        ),
        (ORIGIN, |dir| drop(fs::write(dir.join("pseudonym.key"), "short")), "malformed"),
        ("other.example", |_| (), "origin"),
        ("has space", |_| (), "not a key name"),
    ];
    for (origin, spoil, expect) in cases {
        let dir = tempfile::tempdir().unwrap();
        Keys::open_or_create(dir.path(), ORIGIN).unwrap();
        spoil(dir.path());
        let fault = Keys::open_or_create(dir.path(), origin).unwrap_err().to_string();
        assert!(fault.contains(expect), "{fault} / {expect}");
    }
}

#[test]
fn key_files_are_private_and_nothing_shows_in_debug() {
    let dir = tempfile::tempdir().unwrap();
    let keys = Keys::open_or_create(dir.path(), ORIGIN).unwrap();
    let shown = format!("{keys:?}");
    for entry in fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        let name = entry.file_name().into_string().unwrap();
        assert_eq!(mode, if name == "log.vkey" { 0o644 } else { 0o600 }, "{name}");
        if name != "log.vkey" {
            let secret = fs::read_to_string(entry.path()).unwrap();
            assert!(!shown.contains(secret.trim_end()));
        }
    }
}

#[test]
fn digests_are_normalised_and_carry_their_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let keys = Keys::open_or_create(dir.path(), ORIGIN).unwrap();
    let digest = keys.digest("11010519491231002X");
    assert!(digest.starts_with("k1:") && digest.len() == 35, "{digest}");
    for same in [" 11010519491231002x ", "１１０１０５１９４９１２３１００２Ｘ", "110105491231002"]
    {
        assert_eq!(keys.digest(same), digest, "{same}");
    }
    assert_ne!(keys.digest("110105194912310021"), digest);
    fs::copy(dir.path().join("salt.key"), dir.path().join("digest-2.key")).unwrap();
    let next = Keys::open_or_create(dir.path(), ORIGIN).unwrap();
    assert!(next.digest("11010519491231002X").starts_with("k2:"));
    assert_eq!(next.digests("11010519491231002X").first(), Some(&digest));
}

#[test]
fn sealed_bytes_open_only_as_they_were_bound() {
    let dir = tempfile::tempdir().unwrap();
    let keys = Keys::open_or_create(dir.path(), ORIGIN).unwrap();
    let sealed = keys.seal(b"select 1", b"rcpt_a").unwrap();
    assert_eq!(keys.unseal(&sealed, b"rcpt_a").unwrap(), b"select 1");
    assert!(keys.unseal(&sealed, b"rcpt_b").is_err());
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert!(keys.unseal(&changed, b"rcpt_a").is_err(), "byte {at}");
        assert!(keys.unseal(&sealed[..at], b"rcpt_a").is_err(), "cut at {at}");
    }
}

#[test]
fn hexadecimal_both_ways() {
    assert_eq!(hex(&[0, 1, 0xff]), "0001ff");
    for (text, expect) in
        [("00ff", Some([0, 255])), ("00FF", None), ("00f", None), ("+0ff", None), ("zzzz", None)]
    {
        assert_eq!(unhex::<2>(text), expect, "{text}");
    }
}
