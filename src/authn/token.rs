//! A JWT access token (RFC 7519, RFC 9068), parsed strictly and verified with the key its issuer registered.
//!
//! The crate's own validation reads the system clock and forgives much, so header and claims are read here
//! (duplicate members, wrong types and `crit` are refused) and only the signature check is the crate's.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde::{Deserialize, Serialize};

use super::keys::{KeySet, kid_is_sound};

pub const TOKEN_BYTES_MAX: usize = 8 << 10;
/// Latest instant a claim may name (year 9999): beyond it arithmetic is meaningless.
const TIME_MAX_S: i64 = 253_402_300_799;

#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
    #[serde(default)]
    crit: Option<serde_json::Value>,
    /// Unencoded payloads (RFC 7797) are refused with `crit`, and alone.
    #[serde(default)]
    b64: Option<serde_json::Value>,
    /// Compressed or nested content is refused.
    #[serde(default)]
    zip: Option<serde_json::Value>,
    #[serde(default)]
    cty: Option<serde_json::Value>,
}

/// The registered claims the hub reads; others are ignored, none of these may be missing or doubled.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Claims {
    pub iss: String,
    pub sub: String,
    pub aud: Audience,
    pub exp: i64,
    pub iat: i64,
    pub nbf: i64,
    /// Makes two tokens of the same second differ; not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    /// This audience and no other: whoever else a token is for could send it here (RFC 9068, 5).
    pub fn is_exactly(&self, audience: &str) -> bool {
        match self {
            Self::One(one) => one == audience,
            Self::Several(several) => matches!(several.as_slice(), [one] if one == audience),
        }
    }
}

/// A token that has the right form; nothing in it is believed yet.
pub struct Token<'a> {
    header: Header,
    claims: Claims,
    signed: &'a str,
    signature: &'a str,
}

impl<'a> Token<'a> {
    pub fn parse(text: &'a str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        if claims.contains('.') || signature.is_empty() || text.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let header: Header = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
        let claims: Claims = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        let plain =
            header.crit.is_none() && header.b64.is_none() && header.zip.is_none() && header.cty.is_none();
        let typed = header.typ.eq_ignore_ascii_case("at+jwt")
            || header.typ.eq_ignore_ascii_case("application/at+jwt");
        let timed = [claims.exp, claims.iat, claims.nbf].iter().all(|time| (0..=TIME_MAX_S).contains(time));
        let sound = plain && typed && timed && kid_is_sound(&header.kid) && claims.iss.len() <= 512;
        (sound && claims.sub.len() <= 255).then_some(Self { header, claims, signed, signature })
    }

    /// What the token says, unverified: enough to find the issuer.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Which key it says it was signed with.
    pub fn kid(&self) -> &str {
        &self.header.kid
    }

    /// The claims, when the signature is the named key's in that key's own algorithm.
    pub fn verify(self, keys: &KeySet) -> Option<Claims> {
        let key = keys.get(&self.header.kid)?;
        if self.header.alg != algorithm_name(key.algorithm)? {
            return None;
        }
        let good = jsonwebtoken::crypto::verify(
            self.signature,
            self.signed.as_bytes(),
            &key.decoding,
            key.algorithm,
        );
        good.unwrap_or(false).then_some(self.claims)
    }
}

fn algorithm_name(algorithm: Algorithm) -> Option<&'static str> {
    match algorithm {
        Algorithm::EdDSA => Some("EdDSA"),
        Algorithm::ES256 => Some("ES256"),
        Algorithm::RS256 => Some("RS256"),
        Algorithm::PS256 => Some("PS256"),
        _ => None,
    }
}

/// Signs a token; used by `tongqu token` and the demo's issuer.
pub fn mint(
    claims: &Claims,
    kid: &str,
    key: &EncodingKey,
    algorithm: Algorithm,
) -> Result<String, jsonwebtoken::errors::Error> {
    let mut header = jsonwebtoken::Header::new(algorithm);
    header.typ = Some("at+jwt".to_owned());
    header.kid = Some(kid.to_owned());
    jsonwebtoken::encode(&header, claims, key)
}
