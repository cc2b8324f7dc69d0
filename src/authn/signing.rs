//! Private signing keys of systems and of the demo's issuer: made, kept as PKCS #8, used to mint tokens.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::token::{Audience, Claims, mint};
use crate::crypto::{hex, sha256};

/// An Ed25519 key that signs tokens.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    encoding: EncodingKey,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey")
    }
}

impl SigningKey {
    /// Makes a key and writes it where no file is yet, readable by its owner only.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let pair = Ed25519KeyPair::generate().context("no randomness for a key")?;
        let pkcs8 = pair.to_pkcs8().context("the key cannot be written as PKCS #8")?;
        let text = Zeroizing::new(pem(pkcs8.as_ref()));
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .with_context(|| format!("key file `{}` cannot be created", path.display()))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        Self::from_pem(&text)
    }

    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path);
        let text =
            Zeroizing::new(text.with_context(|| format!("key file `{}` cannot be read", path.display()))?);
        Self::from_pem(&text)
    }

    fn from_pem(text: &str) -> anyhow::Result<Self> {
        let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
        let der = Zeroizing::new(BASE64_STANDARD.decode(body.trim()).context("the key is not PEM")?);
        let pair = Ed25519KeyPair::from_pkcs8(&der)
            .map_err(|_cause| anyhow::anyhow!("the key is not an Ed25519 key in PKCS #8"))?;
        Ok(Self { pair, encoding: EncodingKey::from_ed_der(&der) })
    }

    /// `k` and the first 16 hex digits of the public key's SHA-256.
    pub fn kid(&self) -> String {
        let digest = hex(&sha256(&[self.pair.public_key().as_ref()]));
        format!("k{}", digest.get(..16).unwrap_or_default())
    }

    /// The public part as JWK, to be registered.
    pub fn jwk(&self) -> Value {
        let x = BASE64_URL_SAFE_NO_PAD.encode(self.pair.public_key());
        json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": self.kid(), "x": x})
    }

    /// A token for a subject, valid from now for so many seconds.
    pub fn token(
        &self,
        issuer: &str,
        subject: &str,
        audience: &str,
        now_s: i64,
        life_s: i64,
    ) -> anyhow::Result<String> {
        let claims = Claims {
            iss: issuer.to_owned(),
            sub: subject.to_owned(),
            aud: Audience::One(audience.to_owned()),
            exp: now_s + life_s,
            iat: now_s,
            nbf: now_s,
            jti: Some(uuid::Uuid::now_v7().simple().to_string()),
        };
        mint(&claims, &self.kid(), &self.encoding, Algorithm::EdDSA).context("the token cannot be signed")
    }
}

fn pem(der: &[u8]) -> String {
    let body = BASE64_STANDARD.encode(der);
    let mut text = String::from("-----BEGIN PRIVATE KEY-----\n");
    for line in body.as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str("-----END PRIVATE KEY-----\n");
    text
}
