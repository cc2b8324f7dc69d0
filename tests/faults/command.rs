//! The commands and their exit codes: two hubs on one directory, the demo again and at once, doubtful set-ups.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use super::ledger::{Client, OPERATOR, PROVIDER, held};
use super::process::{Running, demo_once, folder, prepared, run, text, token};

#[test]
fn two_hubs_on_one_directory_are_refused() {
    let directory = prepared();
    let first = Running::serve(directory.path()).expect("it starts");
    let Err(said) = Running::serve(directory.path()) else { panic!("a second hub started") };
    assert!(said.contains("in use: stop the other hub first"), "{said}");
    first.stop();
    Running::serve(directory.path()).expect("the directory is free again");
}

async fn grants(directory: &Path) -> Vec<Value> {
    let hub = Running::serve(directory).expect("it starts");
    let client = Client::new(directory, &hub.base_url);
    let mut found = Vec::new();
    for account in [OPERATOR, PROVIDER] {
        found.push(client.get(account, "/v1/grants").await.json());
    }
    assert!(!found[0]["grants"].as_array().expect("grants").is_empty(), "{found:?}");
    hub.stop();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_demo_reuses_the_directory() {
    let directory = prepared();
    let before = grants(directory.path()).await;
    let old_token = token(directory.path(), OPERATOR);
    let people = std::fs::read(directory.path().join("sources/population/resident.parquet")).expect("people");
    let told = demo_once(directory.path());
    assert!(told.status.success(), "{}", text(&told));
    assert_eq!(grants(directory.path()).await, before);
    let again = std::fs::read(directory.path().join("sources/population/resident.parquet")).expect("people");
    assert!(people == again, "the sources were made again");
    assert_ne!(token(directory.path(), OPERATOR), old_token, "tokens are minted anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_demos_at_once_are_refused() {
    let directory = prepared();
    let first = Running::demo(directory.path()).expect("it starts");
    let second = demo_once(directory.path());
    assert_eq!(second.status.code(), Some(1), "{}", text(&second));
    assert!(text(&second).contains("another demo runs"), "{}", text(&second));
    let client = Client::new(directory.path(), &first.base_url);
    let answer = client.ask(OPERATOR, "/v1/queries", &held(1)).await.expect("the first one still answers");
    assert_eq!(answer.status, 200, "{answer:?}");
    first.stop();
}

#[test]
fn doubtful_setups_are_refused() {
    let directory = folder();
    let config = directory.path().join("tongqu.toml");
    let keys = directory.path().join("tongqu/keys");
    std::fs::create_dir_all(&keys).expect("a folder");
    std::fs::write(keys.join("log.key"), "synthetic").expect("written");
    let mode = |mode| {
        std::fs::set_permissions(keys.join("log.key"), std::fs::Permissions::from_mode(mode))
            .expect("a mode");
    };
    let check = |command: &str, text_of_config: &str| {
        std::fs::write(&config, text_of_config).expect("written");
        run(&[command, "--config", &config.to_string_lossy()])
    };
    mode(0o600);
    let sound = check("check", "");
    assert_eq!(sound.status.code(), Some(0), "{}", text(&sound));
    let refused = |text_of_config: &str, expect: &str| {
        for command in ["check", "serve"] {
            let said = check(command, text_of_config);
            assert_eq!(said.status.code(), Some(1), "{command} {text_of_config}: {}", text(&said));
            assert!(text(&said).contains(expect), "{command} {text_of_config}: {}", text(&said));
        }
    };
    refused("[hub]\nlisten = \"0.0.0.0:0\"\n", "off loopback without TLS");
    let issuer = "[[authn.issuers]]\nissuer = \"https://i.test\"\njwks = \"i.json\"\n";
    let open = "[hub]\nlisten = \"0.0.0.0:0\"\nbehind_proxy = true\n";
    refused(&format!("{open}{issuer}demo = true\n"), "demo issuer");
    refused(&format!("{issuer}life_max_s = 864000\n"), "live too long");
    refused("[hub]\ndirectory = \"/dev/shm/tongqu\"\n", "memory disk");
    refused("[hub]\nzone = \"Asia/Nowhere\"\n", "time zone");
    refused("[hub]\nid = \"a b\"\n", "hub.id");
    refused("[hub]\n\nlissten = \"127.0.0.1:0\"\n", "line 3");
    refused("[hub\n", "line 1");
    mode(0o644);
    refused("", "can be read by others");
    let missing = run(&["check", "--config", "no-such-file.toml"]);
    assert_eq!(missing.status.code(), Some(1), "{}", text(&missing));
}

#[test]
fn the_public_log_key_may_be_read_by_anyone() {
    let directory = prepared();
    let key = directory.path().join("keys/log.vkey");
    let mode = std::fs::metadata(&key).expect("a key").permissions().mode();
    assert_ne!(mode & 0o044, 0, "verifiers can read it");
    let sound = run(&["check", "--config", &directory.path().join("tongqu.toml").to_string_lossy()]);
    assert_eq!(sound.status.code(), Some(0), "{}", text(&sound));
}
