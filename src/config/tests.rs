//! The annotated file is the default, and doubtful set-ups are named.

use super::*;

#[test]
fn the_annotated_default_is_the_default() {
    let text = include_str!("../../deploy/tongqu.toml");
    let config: Config = toml::from_str(text).expect("deploy/tongqu.toml parses");
    assert_eq!(config, Config::default());
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    let fault = toml::from_str::<Config>("[hub]\nid = \"a\"\nlissten = \"x\"\n").expect_err("unknown key");
    assert!(fault.to_string().contains("line 3"), "{fault}");
}

#[test]
fn doubtful_setups_are_named() {
    let check = |set: fn(&mut Config), expect: &str| {
        let mut config = Config::default();
        set(&mut config);
        let doubts = config.doubts().join("\n");
        assert!(doubts.contains(expect), "{doubts}");
    };
    check(|c| c.hub.listen = "0.0.0.0:80".parse().expect("address"), "off loopback");
    check(
        |c| {
            c.hub.tls = Some(TlsConfig { certificate: "c.pem".into(), key: "k.pem".into() });
            c.limits.connections_max = 10;
        },
        "handshakes_max",
    );
    check(|c| c.authn.unknown_key_interval_s = 0, "authn.unknown_key_interval_s");
    check(|c| c.hub.zone = "Asia/Nowhere".to_owned(), "IANA");
    check(|c| c.hub.id = "a b".to_owned(), "hub.id");
    check(|c| c.hub.directory = PathBuf::from("/dev/shm/tongqu"), "memory disk");
}
