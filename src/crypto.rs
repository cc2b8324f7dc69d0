//! The key ring: one folder of small files that sign, digest, seal and salt for the record.
//!
//! INVARIANT: a secret is never in `Debug`, never in an error, and is wiped when dropped.
//! INVARIANT: a ring is whole or new: where the log key exists, a missing key is an error, never replaced.
//! INVARIANT: key files are made with `O_EXCL`, mode 0600, and refused when group or others can read them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::{digest, hmac};
use signed_note::{Note, StandardSigner};
use thiserror::Error;
use zeroize::Zeroizing;

mod files;

/// 256 secret bits.
pub(crate) type Secret = Zeroizing<[u8; 32]>;

const SEALED_MAGIC: [u8; 4] = *b"tqs1";
const NONCE_LEN: usize = 12;
/// Length of a keyed digest in bytes; 128 bits keep chance collisions out of reach.
const DIGEST_LEN: usize = 16;

#[derive(Debug, Error)]
pub enum KeyError {
    #[error("key file `{file}` cannot be used ({cause}): check the folder and its owner")]
    Io { file: String, cause: std::io::Error },
    #[error("key file `{file}` is readable by group or others: run chmod 600 on it")]
    TooOpen { file: String },
    #[error("key file `{file}` is malformed: restore it from your backup")]
    Malformed { file: String },
    #[error("key file `{file}` is missing beside a log key: restore it from your backup")]
    Missing { file: String },
    #[error("the log key is of origin `{found}`, not `{wanted}`: use the folder that belongs to this log")]
    OtherOrigin { found: String, wanted: String },
    #[error("origin `{0}` is not a key name: use up to 64 ASCII characters without spaces and `+`")]
    Origin(String),
    #[error("the system gives no random bytes: try again")]
    Random,
    #[error("the checkpoint text cannot be signed: it is not a well-formed note")]
    Sign,
    #[error("the sealed object cannot be opened: it was changed or its epoch key is gone")]
    Sealed,
}

struct Ring {
    origin: String,
    signer: StandardSigner,
    verifier_key: String,
    digest: BTreeMap<u32, Secret>,
    seal: BTreeMap<u32, Secret>,
    pseudonym: Secret,
    salt: Secret,
}

/// The hub's keys, shared by cloning.
#[derive(Clone)]
pub struct Keys(Arc<Ring>);

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("verifier_key", &self.0.verifier_key).finish_non_exhaustive()
    }
}

impl Keys {
    /// Opens the ring in `dir` (made with mode 0700 when missing), or makes a new one for `origin`.
    /// `log.vkey` is for verifiers: `origin+hash+base64` of <https://c2sp.org/signed-note>.
    pub fn open_or_create(dir: &Path, origin: &str) -> Result<Self, KeyError> {
        if !is_origin(origin) {
            return Err(KeyError::Origin(origin.to_owned()));
        }
        files::open_or_create(dir, origin).map(|ring| Self(Arc::new(ring)))
    }

    pub fn origin(&self) -> &str {
        &self.0.origin
    }

    /// The public log key, one line without end of line.
    pub fn verifier_key(&self) -> &str {
        &self.0.verifier_key
    }

    /// Keyed digest of a person's identifier under the newest epoch key, normalised first
    /// (15 → 18 digits, half-width, upper case, trimmed): `k1:` and 32 hex digits.
    pub fn digest(&self, identifier: &str) -> String {
        match self.0.digest.last_key_value() {
            Some((epoch, key)) => keyed(*epoch, key, identifier),
            None => String::new(),
        }
    }

    /// The digests of one identifier under every epoch key still held, to look a person up.
    pub fn digests(&self, identifier: &str) -> Vec<String> {
        self.0.digest.iter().map(|(epoch, key)| keyed(*epoch, key, identifier)).collect()
    }

    /// Salt of an answer's commitment: HMAC of the receipt id, so that no salt needs storing.
    pub fn salt_for(&self, receipt: &str) -> [u8; 32] {
        mac(&self.0.salt, &[receipt.as_bytes()])
    }

    /// Master key from which pseudonyms per grantee and purpose are derived.
    pub fn pseudonym_master(&self) -> [u8; 32] {
        *self.0.pseudonym
    }

    /// Seals bytes under the newest epoch key; `bound` must be given again to open them.
    ///
    /// Layout: `tqs1`, epoch (u32 big-endian), 12 bytes nonce, ciphertext, 16 bytes tag (AES-256-GCM).
    pub fn seal(&self, plain: &[u8], bound: &[u8]) -> Result<Vec<u8>, KeyError> {
        let (epoch, key) = self.0.seal.last_key_value().ok_or(KeyError::Sealed)?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, key.as_slice()).map_err(|_| KeyError::Random)?;
        let mut body = plain.to_vec();
        let nonce =
            key.seal_in_place_append_tag(Aad::from(bound), &mut body).map_err(|_| KeyError::Random)?;
        let mut sealed = Vec::with_capacity(body.len() + 20);
        sealed.extend_from_slice(&SEALED_MAGIC);
        sealed.extend_from_slice(&epoch.to_be_bytes());
        sealed.extend_from_slice(nonce.as_ref());
        sealed.append(&mut body);
        Ok(sealed)
    }

    /// Opens what [`Self::seal`] made. Callers record that it was opened.
    pub fn unseal(&self, sealed: &[u8], bound: &[u8]) -> Result<Vec<u8>, KeyError> {
        let (epoch, rest) = split_sealed(sealed).ok_or(KeyError::Sealed)?;
        let key = self.0.seal.get(&epoch).ok_or(KeyError::Sealed)?;
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or(KeyError::Sealed)?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, key.as_slice()).map_err(|_| KeyError::Sealed)?;
        let mut body = body.to_vec();
        let plain = key
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(bound), &mut body)
            .map_err(|_| KeyError::Sealed)?;
        Ok(plain.to_vec())
    }

    /// Signs a checkpoint text as a note of <https://c2sp.org/signed-note>.
    pub(crate) fn sign_note(&self, text: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut note = Note::new(text, &[]).map_err(|_| KeyError::Sign)?;
        note.add_sigs(&[&self.0.signer]).map_err(|_| KeyError::Sign)?;
        Ok(note.to_bytes())
    }
}

fn keyed(epoch: u32, key: &Secret, identifier: &str) -> String {
    let tag = mac(key, &[catalog::identifier::normalise(identifier).as_bytes()]);
    format!("k{epoch}:{}", hex(tag.get(..DIGEST_LEN).unwrap_or_default()))
}

fn split_sealed(sealed: &[u8]) -> Option<(u32, &[u8])> {
    let (magic, rest) = sealed.split_first_chunk::<4>()?;
    let (epoch, rest) = rest.split_first_chunk::<4>()?;
    (*magic == SEALED_MAGIC).then_some((u32::from_be_bytes(*epoch), rest))
}

/// An origin is a key name of signed-note, kept to visible ASCII so that it reads the same everywhere.
fn is_origin(origin: &str) -> bool {
    origin.len() <= 64
        && origin.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
        && signed_note::is_key_name_valid(origin)
}

fn mac(key: &Secret, parts: &[&[u8]]) -> [u8; 32] {
    let mut signing = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key.as_slice()));
    for part in parts {
        signing.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(signing.sign().as_ref());
    out
}

/// SHA-256 of the parts one after another.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hashing = digest::Context::new(&digest::SHA256);
    for part in parts {
        hashing.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(hashing.finish().as_ref());
    out
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 });
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

/// Bytes of exactly `N` lower-case hexadecimal pairs.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut out = [0; N];
    if text.len() != N * 2 || text.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    text.bytes().all(|b| b.is_ascii_hexdigit()).then_some(out)
}

/// Random bytes that nobody can guess, for ids and nonces (a ChaCha generator seeded by the system).
pub fn random<const N: usize>() -> [u8; N] {
    rand::random()
}

#[cfg(test)]
mod tests;
