//! A system's own assertion: its key, its name, five minutes.

use serde_json::{Value, json};
use tongqu::authn::Authn;
use tongqu::config::AuthnConfig;

use super::forge::{Forge, P256, assert_refused, b64, changed, probe};
use super::{PERSON, hub};
use crate::support::{HUB_ID, ISSUER, SYSTEM, TestHub};

const EC_SYSTEM: &str = "human-resources.system";

/// Declares one more system with these keys; the departments are there already.
pub async fn declare_system(hub: &TestHub, id: &str, department: &str, keys: &[Value]) {
    let mut account = json!({
        "id": id, "kind": "system", "issuer": id, "subject": id,
        "posts": [{"department": department, "role": "operator"}],
    });
    account["keys"] = json!(keys);
    super::accounts::declare(hub, department, account).await.expect("declared");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_is_short_and_its_systems_own() {
    let hub = hub().await;
    let own = Forge::system(&hub, SYSTEM);
    let now = own.now_s;
    assert_eq!(probe(&hub, &own.token(json!({}), json!({}))).await.status, 200);
    assert_refused("301 s", &probe(&hub, &own.token(json!({}), json!({"exp": now + 301}))).await);
    assert_refused(
        "300 s since long ago",
        &probe(&hub, &own.token(json!({}), json!({"iat": now - 1}))).await,
    );
    for sub in [PERSON, "civil-affairs", "data-authority.reviewer", "", "hub"] {
        assert_refused(sub, &probe(&hub, &own.token(json!({}), json!({"sub": sub}))).await);
    }
    for name in [PERSON, "hub", "nobody", HUB_ID, "tongqu"] {
        let claims = json!({"iss": name, "sub": name});
        assert_refused(name, &probe(&hub, &own.token(json!({}), claims)).await);
    }
    let as_issuer = json!({"iss": ISSUER, "sub": PERSON});
    assert_refused("a system as the issuer", &probe(&hub, &own.token(json!({}), as_issuer)).await);
    let as_issuer = json!({"iss": ISSUER, "sub": SYSTEM});
    assert_refused("a system as its own issuer", &probe(&hub, &own.token(json!({}), as_issuer)).await);
    let person = Forge::person(&hub, SYSTEM);
    assert_refused("the issuer for a system", &probe(&hub, &person.token(json!({}), json!({}))).await);
    let as_system = json!({"iss": SYSTEM});
    assert_refused("the issuer as a system", &probe(&hub, &person.token(json!({}), as_system.clone())).await);
    let kid = json!({"kid": own.kid});
    assert_refused("the same with its kid", &probe(&hub, &person.token(kid, as_system)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_its_owners_alone_even_under_the_same_id() {
    let hub = hub().await;
    let own = Forge::system(&hub, SYSTEM);
    let mut twin = hub.issuer.jwk();
    twin["kid"] = json!(own.kid);
    declare_system(&hub, EC_SYSTEM, "human-resources", &[twin]).await;
    let stranger =
        Forge { iss: EC_SYSTEM.to_owned(), sub: EC_SYSTEM.to_owned(), ..Forge::person(&hub, EC_SYSTEM) };
    let kid = json!({"kid": own.kid});
    assert_eq!(probe(&hub, &stranger.token(kid.clone(), json!({}))).await.status, 200);
    let as_other = json!({"iss": SYSTEM, "sub": SYSTEM});
    assert_refused("the other's name", &probe(&hub, &stranger.token(kid, as_other)).await);
    let as_other = json!({"iss": EC_SYSTEM, "sub": EC_SYSTEM});
    assert_refused("the other's key", &probe(&hub, &own.token(json!({}), as_other)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_issuers_with_the_same_key_id_stay_apart() {
    let hub = hub().await;
    let folder = tempfile::tempdir().expect("a folder");
    let other = tongqu::authn::signing::SigningKey::create(&folder.path().join("other.pem")).expect("a key");
    let mut twin = other.jwk();
    twin["kid"] = json!(hub.issuer.kid());
    let write = |name: &str, keys: Value| {
        let path = folder.path().join(name);
        std::fs::write(&path, json!({"keys": [keys]}).to_string()).expect("written");
        path
    };
    let (first, second) = (write("first.json", hub.issuer.jwk()), write("second.json", twin));
    let config: AuthnConfig = serde_json::from_value(json!({"issuers": [
        {"issuer": ISSUER, "jwks": first}, {"issuer": "https://second.test", "jwks": second},
    ]}))
    .expect("issuers");
    let authn = Authn::new(HUB_ID, &config, hub.hub.clock.clone()).expect("key sets");
    let bearer = |token: String| format!("Bearer {token}");
    let good = bearer(hub.token(PERSON));
    authn.caller(&hub.hub.store, Some(&good), None).await.expect("the first issuer's");
    let pem = std::fs::read(folder.path().join("other.pem")).expect("a key file");
    let key = jsonwebtoken::EncodingKey::from_ed_pem(&pem).expect("a key");
    let forge = Forge { key, ..Forge::person(&hub, PERSON) };
    let crossed = bearer(forge.token(json!({}), json!({})));
    authn
        .caller(&hub.hub.store, Some(&crossed), None)
        .await
        .expect_err("the second's key for the first's name");
    let own_name = bearer(forge.token(json!({}), json!({"iss": "https://second.test"})));
    authn.caller(&hub.hub.store, Some(&own_name), None).await.expect_err("no account of the second issuer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_p256_signature_is_checked_as_one() {
    let hub = hub().await;
    let key = P256::new("ec-1");
    declare_system(&hub, EC_SYSTEM, "human-resources", &[key.jwk()]).await;
    let forge = Forge::system(&hub, EC_SYSTEM);
    let signed = |alg: &str| {
        let header = changed(forge.header(), json!({"alg": alg, "kid": key.kid})).to_string();
        format!("{}.{}", b64(header), b64(forge.claims().to_string()))
    };
    let text = signed("ES256");
    let good = key.signature(&text);
    let said = probe(&hub, &format!("{text}.{}", b64(&good))).await;
    assert_eq!(said.status, 200, "{}", said.text());
    let (r, s) = good.split_at(32);
    let order = hex_bytes("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    let zero = [0_u8; 32];
    let forged: [(&str, Vec<u8>); 9] = [
        ("r = s = 0", vec![0; 64]),
        ("r = 0", [&zero[..], s].concat()),
        ("s = 0", [r, &zero[..]].concat()),
        ("r = s = order", [&order[..], &order[..]].concat()),
        ("r = s = 1", [&[0; 31][..], &[1], &[0; 31][..], &[1]].concat()),
        ("63 bytes", good[..63].to_vec()),
        ("65 bytes", [&good[..], &[0]].concat()),
        ("DER", [&[0x30, 0x44, 0x02, 0x20][..], r, &[0x02, 0x20], s].concat()),
        ("swapped halves", [s, r].concat()),
    ];
    for (what, signature) in forged {
        assert_refused(what, &probe(&hub, &format!("{text}.{}", b64(signature))).await);
    }
    for alg in ["EdDSA", "ES384", "HS256", "RS256", "none"] {
        let text = signed(alg);
        assert_refused(alg, &probe(&hub, &format!("{text}.{}", b64(key.signature(&text)))).await);
    }
}

fn hex_bytes(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_key_ends_its_tokens_at_once() {
    let hub = hub().await;
    let (old, new) = (P256::new("a"), P256::new("b"));
    declare_system(&hub, EC_SYSTEM, "human-resources", &[old.jwk()]).await;
    let forge = Forge::system(&hub, EC_SYSTEM);
    let token = |key: &P256| {
        let header = changed(forge.header(), json!({"alg": "ES256", "kid": key.kid})).to_string();
        let text = format!("{}.{}", b64(header), b64(forge.claims().to_string()));
        format!("{text}.{}", b64(key.signature(&text)))
    };
    let (with_old, with_new) = (token(&old), token(&new));
    assert_eq!(probe(&hub, &with_old).await.status, 200);
    assert_refused("not registered yet", &probe(&hub, &with_new).await);
    declare_system(&hub, EC_SYSTEM, "human-resources", &[new.jwk()]).await;
    assert_refused("no longer registered", &probe(&hub, &with_old).await);
    assert_eq!(probe(&hub, &with_new).await.status, 200);
}
