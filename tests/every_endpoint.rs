//! Every route by every caller with every credential, and every shape of call that must be refused.

mod acts;
mod bodies;
mod lists;
mod table;
mod world;

use std::collections::BTreeMap;

use serde_json::Value;
use tongqu::api::{Route, routes};

use crate::support::{HUB_ID, ISSUER};
use table::{Who, row};
use world::{World, assert_headers, callers};

fn who(at: usize) -> Who {
    let (account, department, roles) = callers()[at];
    Who { account, department, roles }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_by_every_role_and_every_id() {
    let world = World::new().await;
    checkpoint_is_there(&world).await;
    let mut routes = routes();
    // Revoking ends what the other rows need.
    routes.sort_by_key(|route| route.name == "revoke_grant");
    let mut tried = 0;
    for route in &routes {
        let mut unknown: BTreeMap<String, String> = BTreeMap::new();
        for at in 0..callers().len() {
            let who = who(at);
            let tries = row(route.name, &world, &who);
            let tries = tries.unwrap_or_else(|| panic!("route `{}` has no row in the table", route.name));
            for one in &tries {
                let said = world.send(who.account, route.method, &one.path, one.body.as_ref()).await;
                let what = format!("{} {} {:?} as {}", route.method, one.path, one.body, who.account);
                assert!(
                    one.expect.contains(&said.status),
                    "{what}: {} not in {:?}: {}",
                    said.status,
                    one.expect,
                    said.text()
                );
                if said.status == 404 {
                    let first = unknown.entry(route.name.to_owned()).or_insert_with(|| {
                        assert!(one.unknown, "{what}: the first 404 is not of something unknown");
                        said.text()
                    });
                    assert_eq!(*first, said.text(), "{what}: another 404 than for what does not exist");
                }
                tried += 1;
            }
        }
    }
    assert!(tried > 1_500, "{tried} calls");
}

async fn checkpoint_is_there(world: &World) {
    let wait = async {
        while world.hub.get("data-authority.reviewer", "/v1/audit/checkpoint").await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), wait).await.expect("a checkpoint is published");
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_see_no_payload() {
    let world = World::new().await;
    for (account, department, roles) in callers() {
        if !roles
            .iter()
            .any(|role| ["system-admin", "security-admin", "reviewer", "authority"].contains(role))
        {
            continue;
        }
        for (path, body) in [
            ("/v1/queries", world::query(account, "SELECT name FROM population.resident")),
            ("/v1/lookups", world::lookup(account, "population.resident", "id_number")),
        ] {
            let said = world.send(account, "POST", path, Some(&body)).await;
            assert_eq!(said.code(), "not_found", "{account} of {department}: {}", said.text());
        }
    }
    // Not even with a post and a grant that would do.
    let posts = serde_json::json!([
        {"department": "civil-affairs", "role": "operator"}, {"department": "civil-affairs", "role": "reviewer"},
    ]);
    let id = catalog::DepartmentId("civil-affairs".to_owned());
    let department = world.hub.hub.store.department(&id).await.expect("readable").expect("declared");
    let account = serde_json::json!({"id": "li.both", "kind": "person", "issuer": ISSUER, "subject": "li.both", "posts": posts});
    let organisation = serde_json::json!({"department": [*department], "account": [account]});
    let organisation = serde_json::from_value(organisation).expect("an organisation");
    tongqu::publish::declare(&world.hub.hub, organisation).await.expect("declared");
    let body = world::query("li.both", "SELECT name FROM population.resident");
    let said = world.send("li.both", "POST", "/v1/queries", Some(&body)).await;
    assert_eq!(said.json()["reasons"][0]["rule"], "administrators-see-no-payload", "{}", said.text());
}

fn concrete(route: &Route) -> String {
    route.path.replace("{id}", "x").replace("{*path}", "0/000").replace("{file}", "start.js")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_refuses_every_bad_credential() {
    let world = World::new().await;
    let hub = &world.hub;
    let (now_s, good) = (hub.now_s(), "civil-affairs.operator");
    let token = |issuer: &str, account: &str, audience: &str, now_s: i64| {
        Some(hub.issuer.token(issuer, account, audience, now_s, 300).expect("a token"))
    };
    let credentials: [(&str, Option<String>); 7] = [
        ("none", None),
        ("garbage", Some("garbage".to_owned())),
        ("expired", token(ISSUER, good, HUB_ID, now_s - 3_600)),
        ("not yet", token(ISSUER, good, HUB_ID, now_s + 3_600)),
        ("another audience", token(ISSUER, good, "another-hub", now_s)),
        ("another issuer", token("https://other.test", good, HUB_ID, now_s)),
        ("an unknown account", token(ISSUER, "nobody", HUB_ID, now_s)),
    ];
    for route in routes() {
        for (what, credential) in &credentials {
            let method = reqwest::Method::from_bytes(route.method.as_bytes()).expect("a method");
            let mut call = hub.http.request(method, format!("{}{}", hub.base_url, concrete(&route)));
            if let Some(token) = credential {
                call = call.bearer_auth(token);
            }
            let said = hub.send(call).await;
            let what = format!("{} {} with {what}", route.method, route.path);
            assert_headers(&what, &said);
            let expected = if route.path.starts_with("/v1/") { 401 } else { 200 };
            assert_eq!(said.status, expected, "{what}: {}", said.text());
            if expected == 401 {
                assert_eq!(said.code(), "unauthenticated", "{what}");
                assert_eq!(said.headers["www-authenticate"], "Bearer", "{what}");
                assert!(said.receipt().is_none(), "{what}: counted, not recorded singly");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_and_paths_are_told_so() {
    let world = World::new().await;
    let account = "data-authority.reviewer";
    let mut methods: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for route in routes() {
        methods.entry(route.path).or_default().push(route.method);
    }
    for route in routes() {
        let path = concrete(&route);
        let taken = &methods[route.path];
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"] {
            if taken.contains(&method) {
                continue;
            }
            let said = world.send(account, method, &path, None).await.expect(405, "invalid");
            let allow = said.headers.get("allow").cloned().unwrap_or_default();
            assert!(taken.iter().all(|taken| allow.contains(taken)), "{method} {path}: allow is `{allow}`");
        }
        let head = world.send(account, "HEAD", &path, None).await;
        assert!(head.bytes.is_empty());
        if taken.contains(&"GET") {
            let get = world.send(account, "GET", &path, None).await;
            assert_eq!(head.status, get.status, "HEAD {path}");
        } else {
            assert_eq!(head.status, 405, "HEAD {path}");
        }
    }
    let unknown = world.send(account, "GET", "/v1/nothing", None).await.expect(404, "not_found").text();
    for path in [
        "/",
        "/v1",
        "/v1/",
        "/v2/grants",
        "/v1/grants/",
        "/v1/grants/x/y",
        "//v1/grants",
        "/V1/grants",
        "/metrics/x",
        "/.git/config",
    ] {
        for method in ["GET", "POST"] {
            let said = world.send(account, method, path, None).await.expect(404, "not_found");
            assert_eq!(said.text(), unknown, "{method} {path}");
        }
    }
}

/// The names of all routes that take a body, for tables beside this one.
fn with_body() -> Vec<(&'static str, String, Value)> {
    let sample = |name: &str| match name {
        "query" => world::query("civil-affairs.operator", "SELECT name FROM population.resident LIMIT 1"),
        "lookup" => world::lookup("civil-affairs.operator", "population.resident", "id_number"),
        "grant" => serde_json::json!({"application": "x"}),
        "publish_resource" | "apply" => serde_json::json!({}),
        _ => serde_json::json!({"reason": "r"}),
    };
    let taking = routes().into_iter().filter(|route| route.body.is_some());
    taking.map(|route| (route.name, concrete(&route), sample(route.name))).collect()
}
