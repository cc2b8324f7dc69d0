//! Key files: made once, read strictly.
//!
//! INVARIANT: the log key is written last, so its presence says that the ring was whole.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use signed_note::{Signer as _, StandardSigner};
use zeroize::Zeroizing;

use super::{KeyError, Ring, Secret, hex, unhex};

const LOG_KEY: &str = "log.key";
const LOG_VKEY: &str = "log.vkey";
const PSEUDONYM_KEY: &str = "pseudonym.key";
const SALT_KEY: &str = "salt.key";
/// Algorithm byte of Ed25519 in signed-note keys.
const ED25519: u8 = 1;
const FILE_MAX: u64 = 1024;

pub(super) fn open_or_create(dir: &Path, origin: &str) -> Result<Ring, KeyError> {
    if !dir.exists() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|cause| io_error("", cause))?;
    }
    let fresh = !dir.join(LOG_KEY).exists();
    let digest = epochs(dir, "digest", fresh)?;
    let seal = epochs(dir, "seal", fresh)?;
    let pseudonym = secret(dir, PSEUDONYM_KEY, fresh)?;
    let salt = secret(dir, SALT_KEY, fresh)?;
    if fresh {
        create_log_key(dir, origin)?;
    }
    let text = read(dir, LOG_KEY)?;
    let malformed = || KeyError::Malformed { file: LOG_KEY.to_owned() };
    let signer = StandardSigner::new(text.trim_end()).map_err(|_| malformed())?;
    if signer.name() != origin {
        return Err(KeyError::OtherOrigin { found: signer.name().to_owned(), wanted: origin.to_owned() });
    }
    let seed = seed_of(&text).ok_or_else(malformed)?;
    let verifier_key = verifier_key(origin, &seed).ok_or_else(malformed)?;
    // The public half is derived again whenever it is missing: it holds no secret.
    if !dir.join(LOG_VKEY).exists() {
        write_new(dir, LOG_VKEY, &verifier_key, 0o644)?;
    }
    Ok(Ring { origin: origin.to_owned(), signer, verifier_key, digest, seal, pseudonym, salt })
}

/// All keys `use-N.key`; the highest N is the one in use, the others stay to verify and to open.
fn epochs(dir: &Path, purpose: &str, fresh: bool) -> Result<BTreeMap<u32, Secret>, KeyError> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).map_err(|cause| io_error("", cause))? {
        let name = entry.map_err(|cause| io_error("", cause))?.file_name();
        let Some(name) = name.to_str() else { continue };
        let epoch = name.strip_prefix(purpose).and_then(|rest| rest.strip_prefix('-')?.strip_suffix(".key"));
        if let Some(epoch) = epoch {
            let epoch: u32 = epoch.parse().map_err(|_| KeyError::Malformed { file: name.to_owned() })?;
            found.insert(epoch, secret(dir, name, false)?);
        }
    }
    if found.is_empty() {
        found.insert(1, secret(dir, &format!("{purpose}-1.key"), fresh)?);
    }
    Ok(found)
}

fn secret(dir: &Path, name: &str, fresh: bool) -> Result<Secret, KeyError> {
    if !dir.join(name).exists() {
        if !fresh {
            return Err(KeyError::Missing { file: name.to_owned() });
        }
        let key = random_secret()?;
        let text = Zeroizing::new(hex(key.as_slice()));
        write_new(dir, name, &text, 0o600)?;
        return Ok(key);
    }
    let text = read(dir, name)?;
    unhex::<32>(text.trim_end())
        .map(Zeroizing::new)
        .ok_or_else(|| KeyError::Malformed { file: name.to_owned() })
}

fn create_log_key(dir: &Path, origin: &str) -> Result<(), KeyError> {
    let seed = random_secret()?;
    let public = public_of(&seed).ok_or(KeyError::Random)?;
    let mut private = Zeroizing::new(vec![ED25519]);
    private.extend_from_slice(seed.as_slice());
    let id = signed_note::key_id(origin, &public);
    let text =
        Zeroizing::new(format!("PRIVATE+KEY+{origin}+{id:08x}+{}", STANDARD.encode(private.as_slice())));
    write_new(dir, LOG_KEY, &text, 0o600)
}

fn seed_of(key_text: &str) -> Option<Secret> {
    let encoded = key_text.trim_end().splitn(5, '+').last()?;
    let bytes = Zeroizing::new(STANDARD.decode(encoded).ok()?);
    let (algorithm, seed) = bytes.split_first()?;
    (*algorithm == ED25519).then_some(())?;
    Some(Zeroizing::new(seed.try_into().ok()?))
}

/// Algorithm byte and public key.
fn public_of(seed: &Secret) -> Option<Vec<u8>> {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_slice()).ok()?;
    let mut public = vec![ED25519];
    public.extend_from_slice(pair.public_key().as_ref());
    Some(public)
}

fn verifier_key(origin: &str, seed: &Secret) -> Option<String> {
    let public = public_of(seed)?;
    let id = signed_note::key_id(origin, &public);
    Some(format!("{origin}+{id:08x}+{}", STANDARD.encode(&public)))
}

fn random_secret() -> Result<Secret, KeyError> {
    let mut bytes = Zeroizing::new([0; 32]);
    aws_lc_rs::rand::fill(bytes.as_mut_slice()).map_err(|_| KeyError::Random)?;
    Ok(bytes)
}

fn read(dir: &Path, name: &str) -> Result<Zeroizing<String>, KeyError> {
    let file = File::open(dir.join(name)).map_err(|cause| io_error(name, cause))?;
    let mode = file.metadata().map_err(|cause| io_error(name, cause))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(KeyError::TooOpen { file: name.to_owned() });
    }
    let mut text = Zeroizing::new(String::new());
    file.take(FILE_MAX).read_to_string(&mut text).map_err(|cause| io_error(name, cause))?;
    Ok(text)
}

fn write_new(dir: &Path, name: &str, line: &str, mode: u32) -> Result<(), KeyError> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(dir.join(name))?;
        file.write_all(line.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|cause| io_error(name, cause))
}

fn io_error(file: &str, cause: io::Error) -> KeyError {
    KeyError::Io { file: file.to_owned(), cause }
}
