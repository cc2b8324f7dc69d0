//! Accounts behind tokens: disabled, with several posts, with posts nobody may combine; and key sets nobody may load.

use serde_json::{Value, json};
use tongqu::authn::keys::KeySet;
use tongqu::config::Config;
use tongqu::error::Error;
use tongqu::publish;

use super::forge::{P256, assert_refused, probe};
use super::{PERSON, hub};
use crate::support::{HUB_ID, ISSUER, NOW_US, PURPOSE, TestHub};

/// Declares one account beside what is there; `departments` are named again as they are.
pub async fn declare(hub: &TestHub, departments: &str, account: Value) -> Result<(), Error> {
    let mut known = Vec::new();
    for id in departments.split(' ') {
        let id = catalog::DepartmentId(id.to_owned());
        let department = hub.hub.store.department(&id).await.expect("readable").expect("declared");
        known.push(json!(*department));
    }
    let organisation = json!({"department": known, "account": [account]});
    publish::declare(&hub.hub, serde_json::from_value(organisation).expect("an organisation")).await
}

pub fn person(id: &str, posts: &[(&str, &str)], disabled: bool) -> Value {
    let posts: Vec<Value> =
        posts.iter().map(|(department, role)| json!({"department": department, "role": role})).collect();
    json!({"id": id, "kind": "person", "issuer": ISSUER, "subject": id, "posts": posts, "disabled": disabled})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_account_is_nobody_at_once() {
    let hub = hub().await;
    let token = hub.token(PERSON);
    assert_eq!(probe(&hub, &token).await.status, 200);
    let post = [("civil-affairs", "operator")];
    declare(&hub, "civil-affairs", person(PERSON, &post, true)).await.expect("declared");
    assert_refused("a remembered token", &probe(&hub, &token).await);
    let fresh = hub.issuer.token(ISSUER, PERSON, HUB_ID, hub.now_s(), 60).expect("a token");
    assert_refused("a fresh token", &probe(&hub, &fresh).await);
    declare(&hub, "civil-affairs", person(PERSON, &post, false)).await.expect("declared");
    assert_eq!(probe(&hub, &token).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_post_is_gone_with_the_next_call() {
    let hub = hub().await;
    hub.grant_residents().await;
    let sql = "SELECT name FROM population.resident LIMIT 1";
    hub.query(PERSON, sql).await.expect(200, "ok");
    let other = person(PERSON, &[("civil-affairs", "head")], false);
    declare(&hub, "civil-affairs", other).await.expect("declared");
    let said = hub.query(PERSON, sql).await.expect(403, "refused");
    assert!(said.text().contains("operator-role"), "{}", said.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn several_posts_need_the_department_to_be_named() {
    let hub = hub().await;
    hub.grant_residents().await;
    let posts = [("civil-affairs", "operator"), ("human-resources", "operator"), ("civil-affairs", "head")];
    let account = "li.two-posts";
    declare(&hub, "civil-affairs human-resources", person(account, &posts, false)).await.expect("declared");
    let body = json!({"sql": "SELECT count(*) AS n FROM population.resident", "purpose": PURPOSE, "case": "c", "operator": account});
    let ask = async |department: Option<&str>| {
        let mut call = hub.call("POST", account, "/v1/queries").header("content-type", "application/json");
        if let Some(department) = department {
            call = call.header("tongqu-department", department);
        }
        hub.send(call.body(body.to_string())).await
    };
    let said = ask(None).await.expect(422, "invalid");
    assert!(said.text().contains("tongqu-department"), "{}", said.text());
    ask(Some("civil-affairs")).await.expect(200, "ok");
    ask(Some("human-resources")).await.expect(404, "not_found");
    for wrong in ["public-security", "CIVIL-AFFAIRS", "", "civil-affairs,human-resources", "nowhere", "*"] {
        assert_refused(wrong, &ask(Some(wrong)).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_cannot_be_combined() {
    let hub = hub().await;
    let admins = ["system-admin", "security-admin", "reviewer"];
    for (at, first) in admins.iter().enumerate() {
        for second in &admins[at + 1..] {
            for place in ["data-authority", "civil-affairs"] {
                let posts = [("data-authority", *first), (place, *second)];
                let said =
                    declare(&hub, "data-authority civil-affairs", person("x.admin", &posts, false)).await;
                let faults = match said {
                    Err(Error::Invalid(faults)) => faults,
                    other => panic!("{first} and {second}: {other:?}"),
                };
                assert_eq!(faults.0[0].pointer, "/account/0/posts");
                assert!(faults.0[0].message.contains("held together"), "{faults:?}");
            }
        }
    }
    let said =
        probe(&hub, &hub.issuer.token(ISSUER, "x.admin", HUB_ID, NOW_US / 1_000_000, 60).expect("a token"))
            .await;
    assert_refused("never declared", &said);
    declare(&hub, "data-authority", person("x.admin", &[("data-authority", "reviewer")], false))
        .await
        .expect("one");
    let hub_account = json!({"id": "h", "kind": "hub", "issuer": "h", "subject": "h", "posts": [{"department": "data-authority", "role": "head"}]});
    declare(&hub, "data-authority", hub_account).await.expect_err("nobody declares a hub");
}

#[test]
fn a_key_set_holds_public_signing_keys_only() {
    let ec = P256::new("ec").jwk();
    KeySet::from_keys(std::slice::from_ref(&ec)).expect("a public key");
    let with = |name: &str, value: Value| {
        let mut key = ec.clone();
        key[name] = value;
        key
    };
    let modulus = |bytes: usize| super::forge::b64(vec![0xC5; bytes]);
    let refused = [
        ("oct", json!({"kty": "oct", "k": "c2VjcmV0", "alg": "HS256", "kid": "o"})),
        ("oct without its secret", json!({"kty": "oct", "kid": "o"})),
        ("a private EC key", with("d", json!("AAAA"))),
        ("a private RSA part", json!({"kty": "RSA", "n": modulus(256), "e": "AQAB", "p": "AA", "kid": "r"})),
        ("a short RSA key", json!({"kty": "RSA", "n": modulus(128), "e": "AQAB", "kid": "r"})),
        (
            "a short RSA key with zeros before it",
            json!({"kty": "RSA", "n": super::forge::b64([vec![0; 200], vec![0xC5; 128]].concat()), "e": "AQAB", "kid": "r"}),
        ),
        ("a long RSA key", json!({"kty": "RSA", "n": modulus(1025), "e": "AQAB", "kid": "r"})),
        (
            "an RSA key for HS256",
            json!({"kty": "RSA", "n": modulus(256), "e": "AQAB", "alg": "HS256", "kid": "r"}),
        ),
        ("an encryption key", with("use", json!("enc"))),
        ("no kid", with("kid", Value::Null)),
        ("a path as kid", with("kid", json!("../x"))),
        ("P-384", with("crv", json!("P-384"))),
        ("X25519", json!({"kty": "OKP", "crv": "X25519", "x": modulus(32), "kid": "x"})),
        ("a text", json!("key")),
        ("null", Value::Null),
    ];
    // A fetched set leaves out what a file is refused for.
    for (what, key) in refused {
        let set = json!({"keys": [key, P256::new("good").jwk()]}).to_string();
        let set = KeySet::parse_lenient(set.as_bytes()).expect("one good key");
        assert_eq!((set.len(), set.left_out, set.get("good").is_some()), (1, 1, true), "{what}");
        assert!(
            KeySet::parse_lenient(json!({"keys": [key]}).to_string().as_bytes()).is_err(),
            "{what} alone"
        );
        assert!(KeySet::from_keys(&[key]).is_err(), "{what} was taken");
    }
    assert!(KeySet::from_keys(&[ec.clone(), ec.clone()]).is_err(), "one kid twice was taken");
    let twice = json!({"keys": [ec, ec, P256::new("other").jwk()]}).to_string();
    let twice = KeySet::parse_lenient(twice.as_bytes()).expect("one good key");
    assert!(
        twice.get("ec").is_none() && twice.get("other").is_some(),
        "nobody knows which of two keys is meant"
    );
    assert!(KeySet::parse_lenient(json!({"keys": vec![ec.clone(); 65]}).to_string().as_bytes()).is_err());
    assert!(KeySet::from_keys(&vec![ec; 65]).is_err(), "65 keys were taken");
    for text in ["", "[]", "{}", r#"{"keys": 1}"#, "{\"keys\": [", "not JSON"] {
        assert!(KeySet::parse(text.as_bytes()).is_err(), "`{text}` was taken");
        assert!(KeySet::parse_lenient(text.as_bytes()).is_err(), "`{text}` was taken");
    }
    assert!(KeySet::parse(&vec![b' '; (1 << 20) + 1]).is_err(), "a file of more than 1 MiB was taken");
}

#[test]
fn a_demo_issuer_and_long_lives_are_refused() {
    let doubts = |listen: &str, demo: bool, life_max_s: u64| {
        let mut config = Config::default();
        config.hub.listen = listen.parse().expect("an address");
        config.hub.behind_proxy = true;
        config.authn.issuers = serde_json::from_value(
            json!([{"issuer": ISSUER, "jwks": "keys.json", "demo": demo, "life_max_s": life_max_s}]),
        )
        .expect("issuers");
        config.doubts().join("\n")
    };
    assert!(doubts("0.0.0.0:443", true, 3600).contains("demo issuer"));
    assert!(doubts("[::]:443", true, 3600).contains("demo issuer"));
    assert!(!doubts("127.0.0.1:443", true, 12 * 3600).contains("issuer"));
    assert!(doubts("127.0.0.1:443", true, 12 * 3600 + 1).contains("too long"));
    assert!(doubts("127.0.0.1:443", false, 24 * 3600 + 1).contains("too long"));
    assert!(!doubts("0.0.0.0:443", false, 24 * 3600).contains("issuer"));
}
