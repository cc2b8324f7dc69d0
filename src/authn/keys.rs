//! Public keys by id: an issuer's JWKS (RFC 7517), or the keys registered for a system.
//!
//! INVARIANT: a key fixes its algorithm; a token's header never chooses one.
//! INVARIANT: a private or shared key verifies nothing, wherever it stands.

use std::collections::HashMap;
use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};

const KEYS_MAX: usize = 64;
/// 2048 to 8192 bits: what is longer costs every check more than it protects.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;
/// Longest key set that is read from a file.
pub const TEXT_BYTES_MAX: u64 = 1 << 20;

/// Why a key set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("key set `{}` cannot be read: {cause}", path.display())]
    Read { path: PathBuf, cause: std::io::Error },
    #[error("the key set is not JSON of the form {{\"keys\": [...]}}: {0}")]
    Json(#[from] serde_json::Error),
    #[error("key {index} is refused: {why}")]
    Key { index: usize, why: &'static str },
    #[error("the key set has more than {KEYS_MAX} keys")]
    TooMany,
    #[error("the key set is larger than {TEXT_BYTES_MAX} bytes")]
    TooLarge,
    #[error(
        "the key set holds no key that the hub can use: EdDSA (Ed25519), ES256 or RSA, each with a `kid` of its own"
    )]
    NoneUsable,
}

/// One verification key and the only algorithm it is used with.
pub struct Key {
    pub algorithm: Algorithm,
    pub decoding: DecodingKey,
}

/// Verification keys by `kid`.
#[derive(Default)]
pub struct KeySet {
    keys: HashMap<String, Key>,
    /// Keys of a fetched set that the hub does not use.
    pub left_out: usize,
}

#[derive(serde::Deserialize)]
struct Jwks {
    keys: Vec<serde_json::Value>,
}

impl KeySet {
    /// An operator's own file: one key that is not as it should be refuses the set.
    pub fn parse(text: &[u8]) -> Result<Self, KeysError> {
        if text.len() as u64 > TEXT_BYTES_MAX {
            return Err(KeysError::TooLarge);
        }
        let set: Jwks = serde_json::from_slice(text)?;
        Self::from_keys(&set.keys)
    }

    /// An issuer's published set (RFC 7517, 5): keys for other purposes stand in it too, so what the hub does not use,
    /// or must not (private, shared, weak, one `kid` twice), is left out, and the rest counts.
    pub fn parse_lenient(text: &[u8]) -> Result<Self, KeysError> {
        let published: Jwks = serde_json::from_slice(text)?;
        if published.keys.len() > KEYS_MAX {
            return Err(KeysError::TooMany);
        }
        let mut set = Self::default();
        let mut taken: HashMap<&str, usize> = HashMap::new();
        for kid in published.keys.iter().filter_map(|key| key.get("kid")?.as_str()) {
            *taken.entry(kid).or_default() += 1;
        }
        for value in &published.keys {
            match read_key(value) {
                Ok((kid, key)) if taken.get(kid.as_str()) == Some(&1) => {
                    set.keys.insert(kid, key);
                }
                _ => set.left_out += 1,
            }
        }
        if set.is_empty() { Err(KeysError::NoneUsable) } else { Ok(set) }
    }

    pub fn from_keys(keys: &[serde_json::Value]) -> Result<Self, KeysError> {
        if keys.len() > KEYS_MAX {
            return Err(KeysError::TooMany);
        }
        let mut set = Self::default();
        for (index, value) in keys.iter().enumerate() {
            let refused = |why| KeysError::Key { index, why };
            let (kid, key) = read_key(value).map_err(refused)?;
            if set.keys.insert(kid, key).is_some() {
                return Err(refused("its `kid` is taken; give every key its own"));
            }
        }
        Ok(set)
    }

    pub fn get(&self, kid: &str) -> Option<&Key> {
        self.keys.get(kid)
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

fn read_key(value: &serde_json::Value) -> Result<(String, Key), &'static str> {
    let members = value.as_object().ok_or("it is no object")?;
    if ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].iter().any(|private| members.contains_key(*private)) {
        return Err("it holds a private or shared key; publish the public part only");
    }
    let jwk: Jwk =
        serde_json::from_value(value.clone()).map_err(|_cause| "it is no JWK the hub understands")?;
    if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return Err("its `use` is not `sig`");
    }
    let kid = jwk.common.key_id.clone().filter(|kid| kid_is_sound(kid)).ok_or("it needs a sound `kid`")?;
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
        AlgorithmParameters::EllipticCurve(point) if point.curve == EllipticCurve::P256 => Algorithm::ES256,
        AlgorithmParameters::RSA(rsa) => {
            if !RSA_BYTES.contains(&length(&rsa.n)) || length(&rsa.e) > 4 {
                return Err("its RSA modulus is not of 2048 to 8192 bits, or its exponent longer than 32");
            }
            match jwk.common.key_algorithm {
                Some(KeyAlgorithm::PS256) => Algorithm::PS256,
                None | Some(KeyAlgorithm::RS256) => Algorithm::RS256,
                Some(_) => return Err("its `alg` is not RS256 or PS256"),
            }
        }
        _ => return Err("its type is not EdDSA (Ed25519), ES256 or RSA"),
    };
    let decoding = DecodingKey::from_jwk(&jwk).map_err(|_cause| "its numbers cannot be read")?;
    Ok((kid, Key { algorithm, decoding }))
}

/// Bytes of a base64url number without leading zeros, which would make a short one look long; 0 when it is none.
fn length(number: &str) -> usize {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(number).unwrap_or_default();
    bytes.iter().skip_while(|byte| **byte == 0).count()
}

/// `[A-Za-z0-9._-]`, 1 to 128 characters: a key id is a name, never a path or a query.
pub fn kid_is_sound(kid: &str) -> bool {
    (1..=128).contains(&kid.len()) && kid.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}
