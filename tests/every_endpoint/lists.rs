//! Pages: every thing once, whatever the page size; what is not known in a query is refused.

use std::collections::BTreeSet;

use serde_json::json;

use super::world::World;
use crate::support::terms;

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_any_size_give_every_thing_once() {
    let world = World::new().await;
    let hub = &world.hub;
    for _ in 0..6 {
        let terms = terms(&["query"], &[], json!([{"item": "kind"}]), None);
        hub.grant("credit.penalty", "civil-affairs", "credit-office", &terms).await;
    }
    for (path, list, id) in [
        ("/v1/grants", "grants", "id"),
        ("/v1/applications", "applications", "id"),
        ("/v1/resources", "resources", "name"),
    ] {
        let account = "civil-affairs.operator";
        let whole = world.send(account, "GET", path, None).await.json();
        assert!(whole["next"].is_null());
        let all: BTreeSet<String> =
            whole[list].as_array().expect("a list").iter().map(|thing| thing[id].to_string()).collect();
        assert!(all.len() >= 5, "{path}: {all:?}");
        for limit in [1, 2, 3, 200] {
            let (mut seen, mut after, mut pages) = (Vec::new(), String::new(), 0);
            loop {
                let page = world
                    .send(account, "GET", &format!("{path}?limit={limit}&after={after}"), None)
                    .await
                    .json();
                let things = page[list].as_array().expect("a list");
                assert!(things.len() <= limit, "{path}: {} of {limit}", things.len());
                seen.extend(things.iter().map(|thing| thing[id].to_string()));
                pages += 1;
                assert!(pages < 100, "{path}: pages without end");
                match page["next"].as_str() {
                    Some(next) => after = next.to_owned(),
                    None => break,
                }
            }
            assert_eq!(seen.len(), all.len(), "{path} limit {limit}: {seen:?}");
            assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), all, "{path} limit {limit}");
        }
        for query in [
            "limit=0",
            "limit=201",
            "limit=-1",
            "limit=x",
            "limit=",
            "limit=1.5",
            "limit=99999999999999999999",
            "page=2",
            "offset=1",
            "Limit=1",
            "=",
            "x",
            "after=%00",
        ] {
            let said = world.send(account, "GET", &format!("{path}?{query}"), None).await;
            assert_eq!(
                (said.status, said.code().as_str()),
                (422, "invalid"),
                "{path}?{query}: {}",
                said.text()
            );
        }
        let long = format!("{path}?after={}", "a".repeat(257));
        world.send(account, "GET", &long, None).await.expect(422, "invalid");
        let end = world.send(account, "GET", &format!("{path}?after=zzzz"), None).await.json();
        assert_eq!((&end[list], end["next"].is_null()), (&json!([]), true));
        let text = world.send(account, "GET", &format!("{path}?after=%27%20OR%201=1%20--"), None).await;
        assert_eq!(text.status, 200, "{}", text.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_signed_in_answer_tells_what_is_left_of_the_rate() {
    let world = World::new().await;
    let account = "data-authority.reviewer";
    for path in ["/v1/resources", "/v1/grants", "/v1/applications", "/v1/audit/checkpoint"] {
        let left = async || {
            let wait = async {
                loop {
                    let said = world.send(account, "GET", path, None).await;
                    if said.status == 200 {
                        return said;
                    }
                    tokio::task::yield_now().await;
                }
            };
            let said =
                tokio::time::timeout(std::time::Duration::from_secs(10), wait).await.expect("a good answer");
            assert_eq!(
                said.headers.get("ratelimit-policy").map(String::as_str),
                Some("\"calls\";q=60000;w=60"),
                "{path}"
            );
            let left =
                said.headers["ratelimit"].strip_prefix("\"calls\";r=").expect("what is left").to_owned();
            left.parse::<u32>().expect("a number")
        };
        assert!(left().await < 60_000, "{path}");
    }
}
