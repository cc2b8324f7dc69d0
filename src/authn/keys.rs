//! Public keys by id: an issuer's JWKS file, or the keys registered for a system.
//!
//! A key fixes its algorithm; a token's header never chooses one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};

const KEYS_MAX: usize = 64;
const RSA_BYTES_MIN: usize = 256;

/// Why a key set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("key set `{}` cannot be read: {cause}", path.display())]
    Read { path: PathBuf, cause: std::io::Error },
    #[error("the key set is not JSON of the form {{\"keys\": [...]}}: {0}")]
    Json(#[from] serde_json::Error),
    #[error("key {index} is refused: {why}")]
    Key { index: usize, why: &'static str },
}

/// One verification key and the only algorithm it is used with.
pub struct Key {
    pub algorithm: Algorithm,
    pub decoding: DecodingKey,
}

/// Verification keys by `kid`.
#[derive(Default)]
pub struct KeySet(HashMap<String, Key>);

#[derive(serde::Deserialize)]
struct Jwks {
    keys: Vec<serde_json::Value>,
}

impl KeySet {
    pub fn read(path: &Path) -> Result<Self, KeysError> {
        let text = std::fs::read_to_string(path)
            .map_err(|cause| KeysError::Read { path: path.to_owned(), cause })?;
        let set: Jwks = serde_json::from_str(&text)?;
        Self::from_keys(&set.keys)
    }

    pub fn from_keys(keys: &[serde_json::Value]) -> Result<Self, KeysError> {
        if keys.len() > KEYS_MAX {
            return Err(KeysError::Key { index: KEYS_MAX, why: "too many keys; 64 at most" });
        }
        let mut set = HashMap::new();
        for (index, value) in keys.iter().enumerate() {
            let refused = |why| KeysError::Key { index, why };
            let (kid, key) = read_key(value).map_err(refused)?;
            if set.insert(kid, key).is_some() {
                return Err(refused("its `kid` is taken; give every key its own"));
            }
        }
        Ok(Self(set))
    }

    pub fn get(&self, kid: &str) -> Option<&Key> {
        self.0.get(kid)
    }
}

fn read_key(value: &serde_json::Value) -> Result<(String, Key), &'static str> {
    let members = value.as_object().ok_or("it is no object")?;
    if ["d", "p", "q", "k"].iter().any(|private| members.contains_key(*private)) {
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
            // Base64url carries six bits a character.
            if rsa.n.len() * 6 / 8 < RSA_BYTES_MIN {
                return Err("its RSA modulus is shorter than 2048 bits");
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

/// `[A-Za-z0-9._-]`, 1 to 128 characters: a key id is a name, never a path or a query.
pub fn kid_is_sound(kid: &str) -> bool {
    (1..=128).contains(&kid.len()) && kid.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}
