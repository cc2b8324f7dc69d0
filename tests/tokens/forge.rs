//! Tokens built by hand, member by member, so that each can be wrong in one way.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use crate::support::{HUB_ID, ISSUER, Said, TestHub};

pub fn b64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// An Ed25519 key of the test hub, able to sign any text.
pub struct Forge {
    pub key: EncodingKey,
    pub kid: String,
    pub now_s: i64,
    pub iss: String,
    pub sub: String,
}

impl Forge {
    /// The issuer's key, for a person.
    pub fn person(hub: &TestHub, account: &str) -> Self {
        Self {
            key: read_key(hub, "issuer.pem"),
            kid: hub.issuer.kid(),
            now_s: hub.now_s(),
            iss: ISSUER.to_owned(),
            sub: account.to_owned(),
        }
    }

    /// The system's own key.
    pub fn system(hub: &TestHub, id: &str) -> Self {
        Self {
            key: read_key(hub, "system.pem"),
            kid: hub.system.kid(),
            now_s: hub.now_s(),
            iss: id.to_owned(),
            sub: id.to_owned(),
        }
    }

    pub fn header(&self) -> Value {
        json!({"alg": "EdDSA", "typ": "at+jwt", "kid": self.kid})
    }

    pub fn claims(&self) -> Value {
        let now_s = self.now_s;
        json!({"iss": self.iss, "sub": self.sub, "aud": HUB_ID, "exp": now_s + 300, "iat": now_s, "nbf": now_s})
    }

    /// Signs exact texts.
    pub fn sign(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", b64(header), b64(claims));
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &self.key, Algorithm::EdDSA);
        format!("{signed}.{}", signature.expect("a signature"))
    }

    /// A token whose header and claims differ from good ones in the given members; null takes one away.
    pub fn token(&self, header: Value, claims: Value) -> String {
        let header = changed(self.header(), header).to_string();
        self.sign(&header, &changed(self.claims(), claims).to_string())
    }
}

/// The members of `by` put in place of those of `value`; null removes.
pub fn changed(mut value: Value, by: Value) -> Value {
    let members = value.as_object_mut().expect("an object");
    for (name, new) in by.as_object().expect("an object") {
        if new.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), new.clone());
        }
    }
    value
}

fn read_key(hub: &TestHub, file: &str) -> EncodingKey {
    EncodingKey::from_ed_der(&der(hub, file))
}

fn der(hub: &TestHub, file: &str) -> Vec<u8> {
    let directory = hub.directory();
    let path = directory.parent().expect("a folder").join("test-keys").join(file);
    let text = std::fs::read_to_string(path).expect("a key file");
    let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    BASE64_STANDARD.decode(body).expect("PEM")
}

/// A P-256 key of a system, made for one test.
pub struct P256 {
    pair: EcdsaKeyPair,
    pub kid: String,
}

impl P256 {
    pub fn new(kid: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        Self { pair, kid: kid.to_owned() }
    }

    pub fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.kid,
            "x": b64(&point[1..33]), "y": b64(&point[33..65])})
    }

    pub fn signature(&self, text: &str) -> Vec<u8> {
        self.pair.sign(&SystemRandom::new(), text.as_bytes()).expect("a signature").as_ref().to_vec()
    }
}

/// What the hub says to a token.
pub async fn probe(hub: &TestHub, token: &str) -> Said {
    let call = hub.http.get(format!("{}/v1/grants", hub.base_url)).bearer_auth(token);
    hub.send(call).await
}

/// Refused as unauthenticated, in words that repeat nothing of the token.
#[track_caller]
pub fn assert_refused(what: &str, said: &Said) {
    assert_eq!((said.status, said.code().as_str()), (401, "unauthenticated"), "{what}: {}", said.text());
    assert_eq!(said.headers.get("www-authenticate").map(String::as_str), Some("Bearer"), "{what}");
}
