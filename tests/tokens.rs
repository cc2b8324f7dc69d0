//! Forged, twisted and stale tokens: only a fresh token of a registered key, made for this hub, is somebody.

mod accounts;
mod assertions;
mod by_url;
mod forge;
mod generated;
mod provider;

use serde_json::{Value, json};
use tongqu::clock::Clock;

use crate::support::{HUB_ID, ISSUER, NOW_US, TestHub};
use forge::{Forge, assert_refused, b64, changed, probe};

const PERSON: &str = "civil-affairs.operator";

async fn hub() -> TestHub {
    TestHub::start_with(Clock::fixed(NOW_US), |config| config.limits.unauthenticated_per_minute = 60_000)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_never_chooses_how_it_is_checked() {
    let hub = hub().await;
    let forge = Forge::person(&hub, PERSON);
    let kid = forge.kid.clone();
    let long = "k".repeat(10_000);
    let refused = [
        ("alg none over a real signature", json!({"alg": "none"})),
        ("alg None", json!({"alg": "None"})),
        ("alg missing", json!({"alg": null})),
        ("alg a number", json!({"alg": 1})),
        ("alg in other case", json!({"alg": "eddsa"})),
        ("family swap to ES256", json!({"alg": "ES256"})),
        ("family swap to RS256", json!({"alg": "RS256"})),
        ("family swap to HS256", json!({"alg": "HS256"})),
        ("an ID token", json!({"typ": "JWT"})),
        ("typ missing", json!({"typ": null})),
        ("typ of an ID token", json!({"typ": "id+jwt"})),
        ("kid missing", json!({"kid": null})),
        ("kid empty", json!({"kid": ""})),
        ("kid unknown", json!({"kid": "k0000"})),
        ("kid in other case", json!({"kid": kid.to_uppercase()})),
        ("kid with a blank", json!({"kid": format!("{kid} ")})),
        ("kid a path", json!({"kid": "../../../../dev/null"})),
        ("kid SQL", json!({"kid": "' OR 1=1 --"})),
        ("kid of 10 KB", json!({"kid": long})),
        ("kid a list", json!({"kid": [kid]})),
        ("crit", json!({"crit": ["exp"]})),
        ("crit empty", json!({"crit": []})),
        ("b64 false", json!({"b64": false})),
        ("zip", json!({"zip": "DEF"})),
        ("nested", json!({"cty": "JWT"})),
    ];
    for (what, header) in refused {
        assert_refused(what, &probe(&hub, &forge.token(header, json!({}))).await);
    }
    let good = [
        json!({}),
        json!({"typ": "AT+JWT"}),
        json!({"typ": "application/at+jwt"}),
        json!({"jku": "https://evil.test/keys", "x5u": "https://evil.test/x", "x5c": ["AA"]}),
    ];
    for header in good {
        let said = probe(&hub, &forge.token(header.clone(), json!({}))).await;
        assert_eq!(said.status, 200, "{header}: {}", said.text());
    }
    for doubled in [r#""kid":"k0""#, r#""alg":"EdDSA""#, r#""typ":"JWT""#] {
        let header = forge.header().to_string().replacen('{', &format!("{{{doubled},"), 1);
        assert_refused(doubled, &probe(&hub, &forge.sign(&header, &forge.claims().to_string())).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_the_header_and_a_public_key_as_secret_are_nothing() {
    let hub = hub().await;
    let forge = Forge::person(&hub, PERSON);
    let folder = tempfile::tempdir().expect("a folder");
    let evil = tongqu::authn::signing::SigningKey::create(&folder.path().join("evil.pem")).expect("a key");
    let text = evil.token(ISSUER, PERSON, HUB_ID, hub.now_s(), 300).expect("a token");
    assert_refused("a stranger's key", &probe(&hub, &text).await);
    let pem = std::fs::read_to_string(folder.path().join("evil.pem")).expect("a key file");
    let stranger =
        Forge { key: jsonwebtoken::EncodingKey::from_ed_pem(pem.as_bytes()).expect("a key"), ..forge };
    for header in [
        json!({}),
        json!({"jwk": evil.jwk()}),
        json!({"jwk": evil.jwk(), "kid": evil.kid()}),
        json!({"jku": "data:application/json,{}", "kid": evil.kid()}),
    ] {
        assert_refused(&header.to_string(), &probe(&hub, &stranger.token(header.clone(), json!({}))).await);
    }
    let public = hub.issuer.jwk();
    let raw = base64_url(public["x"].as_str().expect("x"));
    for (what, secret) in [
        ("raw", raw),
        ("as JWK", public.to_string().into_bytes()),
        ("in base64", public["x"].as_str().expect("x").as_bytes().to_vec()),
        ("empty", Vec::new()),
    ] {
        let header = changed(stranger.header(), json!({"alg": "HS256"})).to_string();
        let signed = format!("{}.{}", b64(header), b64(stranger.claims().to_string()));
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
        let mac = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
        assert_refused(what, &probe(&hub, &format!("{signed}.{}", b64(mac.as_ref()))).await);
    }
}

fn base64_url(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(text).expect("base64url")
}

/// Claims that are not what they should be, by name.
fn wrong_times(now: i64) -> Vec<Value> {
    vec![
        json!(null),
        json!(now.to_string()),
        json!((now + 10) as f64 + 0.5),
        json!(1e300),
        json!(-1),
        json!(u64::MAX),
        json!(i64::MAX),
        json!([now]),
        json!({"now": now}),
        json!(true),
    ]
}

fn wrong_claims(now: i64) -> Vec<(String, Value)> {
    let upper = ISSUER.to_uppercase();
    let mut refused: Vec<(String, Value)> = Vec::new();
    for time in ["exp", "iat", "nbf"] {
        refused.extend(wrong_times(now).into_iter().map(|value| (time.to_owned(), value)));
    }
    let member = |name: &str, values: Vec<Value>| -> Vec<(String, Value)> {
        values.into_iter().map(|value| (name.to_owned(), value)).collect()
    };
    refused.extend(member(
        "iss",
        vec![
            json!(null),
            json!(""),
            json!(format!("{ISSUER}/")),
            json!(upper),
            json!([ISSUER]),
            json!(format!(" {ISSUER}")),
            json!("http://issuer.test"),
            json!("https://other.test"),
            json!("i".repeat(2_000)),
            json!(HUB_ID),
        ],
    ));
    refused.extend(member(
        "aud",
        vec![
            json!(null),
            json!(""),
            json!(format!("{HUB_ID}.evil")),
            json!(format!("evil-{HUB_ID}")),
            json!("tongqu"),
            json!(HUB_ID.to_uppercase()),
            json!([]),
            json!(["other", "tongqu"]),
            json!([[HUB_ID]]),
            json!([HUB_ID, "other"]),
            json!(["other", HUB_ID]),
            json!([HUB_ID, HUB_ID]),
            json!({"aud": HUB_ID}),
            json!(format!("other {HUB_ID}")),
            json!(format!("{HUB_ID}/")),
            json!(1),
        ],
    ));
    refused.extend(member(
        "sub",
        vec![
            json!(null),
            json!(""),
            json!("nobody"),
            json!([PERSON]),
            json!(format!("{PERSON}\u{0}")),
            json!("hub"),
            json!("s".repeat(300)),
            json!(PERSON.to_uppercase()),
            json!("civil-affairs.%"),
        ],
    ));
    refused
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_of_another_type_or_place_is_no_claim() {
    let hub = hub().await;
    let forge = Forge::person(&hub, PERSON);
    let refused = wrong_claims(forge.now_s);
    for (name, value) in refused {
        let claims = json!({name.clone(): value});
        assert_refused(&claims.to_string(), &probe(&hub, &forge.token(json!({}), claims.clone())).await);
    }
    for doubled in ["exp", "iat", "nbf", "iss", "sub", "aud"] {
        let claims = forge.claims();
        let first = format!("{{\"{doubled}\":{},", claims[doubled]);
        let text = claims.to_string().replacen('{', &first, 1);
        assert_refused(
            &format!("`{doubled}` twice"),
            &probe(&hub, &forge.sign(&forge.header().to_string(), &text)).await,
        );
    }
    let said = probe(&hub, &forge.token(json!({}), json!({"aud": [HUB_ID]}))).await;
    assert_eq!(said.status, 200, "a list of this hub alone: {}", said.text());
    let more = json!({"roles": ["authority"], "department": "data-authority", "scope": "admin"});
    let said = probe(&hub, &forge.token(json!({}), more)).await;
    assert_eq!(said.status, 200, "unknown claims are ignored: {}", said.text());
    let said = hub
        .send(
            hub.http
                .get(format!("{}/v1/grants", hub.base_url))
                .bearer_auth(forge.token(json!({}), json!({"department": "data-authority"})))
                .header("tongqu-department", "data-authority"),
        )
        .await;
    assert_refused("a department from the token", &said);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_counts_between_its_instants_and_thirty_seconds_of_leeway() {
    let clock = Clock::fixed(NOW_US);
    let hub = TestHub::start_with(clock.clone(), |_| ()).await;
    let forge = Forge::person(&hub, PERSON);
    let now = forge.now_s;
    let check = async |claims: Value, expect: u16| {
        let said = probe(&hub, &forge.token(json!({}), claims.clone())).await;
        assert_eq!(said.status, expect, "{claims}: {}", said.text());
    };
    check(json!({"iat": now - 100, "nbf": now - 100, "exp": now - 29}), 200).await;
    check(json!({"iat": now - 100, "nbf": now - 100, "exp": now - 30}), 401).await;
    check(json!({"nbf": now + 30}), 200).await;
    check(json!({"nbf": now + 31}), 401).await;
    check(json!({"iat": now + 30}), 200).await;
    check(json!({"iat": now + 31}), 401).await;
    check(json!({"iat": now + 20, "exp": now + 10}), 401).await;
    check(json!({"exp": now + 3600}), 200).await;
    check(json!({"exp": now + 3601}), 401).await;
    check(json!({"iat": now - 3600, "exp": now + 1}), 401).await;
    check(json!({"iat": 0, "nbf": 0, "exp": 253_402_300_799_i64}), 401).await;
    // The signature is remembered, the time is not.
    let token = forge.token(json!({}), json!({"exp": now + 300}));
    for (turn, expect) in [(0, 200), (329, 200), (1, 401), (-1, 200), (10_000, 401)] {
        clock.turn(turn * 1_000_000);
        assert_eq!(probe(&hub, &token).await.status, expect, "after {turn} s");
    }
    clock.turn(-(10_329 + 31) * 1_000_000);
    assert_eq!(probe(&hub, &token).await.status, 401, "31 s before it begins");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_is_no_token_is_refused() {
    let hub = hub().await;
    let forge = Forge::person(&hub, PERSON);
    let token = forge.token(json!({}), json!({}));
    let parts: Vec<&str> = token.split('.').collect();
    let (header, claims, signature) = (parts[0], parts[1], parts[2]);
    let flipped = format!("{}{}", if signature.starts_with('A') { "B" } else { "A" }, &signature[1..]);
    let none = b64(r#"{"alg":"none","typ":"at+jwt","kid":"x"}"#);
    for text in [
        String::new(),
        "x".to_owned(),
        "..".to_owned(),
        format!("{header}.{claims}"),
        format!("{header}.{claims}."),
        format!("{none}.{claims}."),
        format!("{header}.{claims}.{flipped}"),
        format!("{header}.{claims}.{}", &signature[..80]),
        format!("{header}.{claims}.{signature}.{signature}"),
        format!("{header}.{claims}.{signature}="),
        format!("{header}=.{claims}.{signature}"),
        format!("{header}.{header}.{signature}"),
        format!("{claims}.{header}.{signature}"),
        format!(
            "{header}.{}.{signature}",
            b64(forge.claims().to_string().replace("operator", "sharing-head"))
        ),
        format!("{}.{claims}.{signature}", b64("null")),
        forge.token(json!({"pad": "p".repeat(7_000)}), json!({})),
        forge.sign(&forge.header().to_string(), "[]"),
        forge.sign(&forge.header().to_string(), "not JSON"),
        forge.sign(&forge.header().to_string(), &format!("{} trailing", forge.claims())),
        forge.sign("", &forge.claims().to_string()),
    ] {
        assert_refused(&text, &probe(&hub, &text).await);
    }
    let url = format!("{}/v1/grants", hub.base_url);
    for scheme in ["Basic", "Token", "DPoP", "Bearer,"] {
        let call = hub.http.get(&url).header("authorization", format!("{scheme} {token}"));
        assert_refused(scheme, &hub.send(call).await);
    }
    let call = hub.http.get(&url).header("authorization", "Bearer");
    assert_refused("a scheme alone", &hub.send(call).await);
    let call = hub.http.get(&url).header("authorization", format!("bearer {token}"));
    assert_eq!(hub.send(call).await.status, 200, "the scheme's case does not count");
    let twice = hub.http.get(&url).bearer_auth(&token).header("authorization", format!("Bearer {token}"));
    assert_refused("two headers", &hub.send(twice).await);
    let call = hub.http.post(format!("{}/v1/queries?access_token={token}", hub.base_url));
    assert_refused("a token in the URL", &hub.send(call).await);
    let call = hub.http.get(&url).header("cookie", format!("token={token}"));
    assert_refused("a token in a cookie", &hub.send(call).await);
}
