//! The table: for every route, which calls are tried and what each caller must get.

use serde_json::{Value, json};

use super::world::{UNKNOWN, World, lookup, query, sees};
use crate::support::{SYSTEM, terms};

/// One call on a route and the statuses each caller may get.
pub struct Try {
    pub path: String,
    pub body: Option<Value>,
    /// Expected statuses; more than one where an earlier caller may have done it.
    pub expect: Vec<u16>,
    /// Whether what is named exists for nobody: 404 bodies are compared with this one's.
    pub unknown: bool,
}

fn one(path: impl Into<String>, body: Option<Value>, expect: u16) -> Try {
    Try { path: path.into(), body, expect: vec![expect], unknown: false }
}

pub struct Who {
    pub account: &'static str,
    pub department: &'static str,
    pub roles: &'static [&'static str],
}

impl Who {
    fn has(&self, role: &str) -> bool {
        self.roles.contains(&role)
    }
}

/// Ids that name nothing: of good form, of bad form, of the wrong kind.
fn unknown_ids(world: &World, thing: &'static str) -> Vec<String> {
    let wrong_kind = if thing == "receipt" { "grant" } else { "receipt" };
    let mut ids = vec![world.id(thing, UNKNOWN).to_owned(), world.id(wrong_kind, "own").to_owned()];
    let bad = ["x", "%20", "..", "%2e%2e%2f", "%00", "%FF", "%27%20OR%201=1", "*", "own%2Fother", "人"];
    ids.extend(bad.map(str::to_owned));
    ids.push("9".repeat(2_000));
    ids
}

/// A call on one thing by id: the two sides' things, then ids of nothing.
fn by_id(
    world: &World,
    who: &Who,
    route: &str,
    thing: &'static str,
    body: Option<&Value>,
    seen: &[u16],
) -> Vec<Try> {
    let mut tries = Vec::new();
    for id in unknown_ids(world, thing) {
        tries.push(Try { unknown: true, ..one(route.replace("{id}", &id), body.cloned(), 404) });
    }
    for whose in ["own", "other"] {
        let visible = sees(thing, whose, who.department, who.roles);
        let expect = if visible { seen.to_vec() } else { vec![404] };
        let path = route.replace("{id}", world.id(thing, whose));
        tries.push(Try { path, body: body.cloned(), expect, unknown: false });
    }
    tries
}

/// Suspend, resume, revoke: the provider's head of sharing and the authority may.
fn change(world: &World, who: &Who, route: &str) -> Vec<Try> {
    let body = json!({"reason": "tried by a test"});
    let mut tries = by_id(world, who, route, "grant", Some(&body), &[403]);
    for (whose, provider) in [("own", "public-security"), ("other", "credit-office")] {
        let may = who.has("authority") || (who.has("sharing-head") && who.department == provider);
        if may {
            let path = route.replace("{id}", world.id("grant", whose));
            // 403: the authority suspended it and another resumes.
            let expect = if who.has("authority") { vec![200, 409] } else { vec![200, 409, 403] };
            tries.retain(|tried| tried.path != path);
            tries.push(Try { path, body: Some(body.clone()), expect, unknown: false });
        }
    }
    tries
}

fn asks(who: &Who, body: &dyn Fn(&str, &str, &str) -> Value, path: &str) -> Vec<Try> {
    let mut tries = Vec::new();
    for resource in ["nowhere.nothing", "population.nothing", "public.population", "x"] {
        tries.push(Try { unknown: true, ..one(path, Some(body(resource, "name", "id_number")), 404) });
    }
    for (resource, item, key, grantee) in [
        ("population.resident", "name", "id_number", "civil-affairs"),
        ("credit.penalty", "kind", "subject", "human-resources"),
    ] {
        let expect = match (who.department == grantee, who.has("operator")) {
            (true, true) if who.account == SYSTEM && grantee != "civil-affairs" => 403,
            (true, true) => 200,
            (true, false) => 403,
            (false, _) => 404,
        };
        tries.push(one(path, Some(body(resource, item, key)), expect));
    }
    tries
}

fn publishing(who: &Who) -> Vec<Try> {
    let departments = [
        "civil-affairs",
        "human-resources",
        "public-security",
        "market-regulation",
        "credit-office",
        "data-authority",
    ];
    let entry = |provider: &str| {
        json!({
            "name": format!("tried.by_{}", who.account.replace(['.', '-'], "_")), "title": "t", "abstract": "t", "provider": provider,
            "class": "unconditional", "update_cycle": "daily",
            "items": [{"name": "uscc", "title": "t", "type": "text", "column": "uniscid", "key": true, "classification": "general"}],
            "binding": {"sqlite": {"path": format!("{provider}/registry.sqlite"), "table": "enterprise"}},
        })
    };
    departments
        .iter()
        .map(|provider| {
            let may = who.has("head") && who.department == *provider;
            one("/v1/resources", Some(entry(provider)), if may { 201 } else { 403 })
        })
        .collect()
}

fn applying(who: &Who) -> Vec<Try> {
    let output = |item: &str| terms(&["query"], &[], json!([{"item": item}]), None);
    let body = |resource: &str, item: &str| json!({"resource": resource, "terms": output(item)});
    let unknown = one("/v1/applications", Some(body("nowhere.nothing", "x")), 404);
    let mut tries = vec![Try { unknown: true, ..unknown }];
    for (resource, item, provider) in
        [("population.resident", "name", "public-security"), ("credit.penalty", "kind", "credit-office")]
    {
        let may = who.has("sharing-head") && who.department != provider;
        tries.push(one("/v1/applications", Some(body(resource, item)), if may { 201 } else { 403 }));
    }
    tries
}

fn granting(world: &World, who: &Who) -> Vec<Try> {
    let body = |id: &str| Some(json!({"application": id}));
    let mut tries =
        vec![Try { unknown: true, ..one("/v1/grants", body(world.id("application", UNKNOWN)), 404) }];
    for id in ["", "x", "../x", "\u{0}", "人"] {
        tries.push(Try { unknown: true, ..one("/v1/grants", body(id), 404) });
    }
    for (whose, provider) in [("own", "public-security"), ("other", "credit-office")] {
        let expect = if !sees("application", whose, who.department, who.roles) {
            404
        } else if who.has("sharing-head") && who.department == provider {
            409
        } else {
            403
        };
        tries.push(one("/v1/grants", body(world.id("application", whose)), expect));
    }
    tries
}

fn tiles(who: &Who) -> Vec<Try> {
    let mut tries: Vec<Try> = [
        "0/999",
        "x",
        "..%2F..%2Fcheckpoint",
        "entries/x999/999",
        "0/000/1",
        "%FF",
        "9".repeat(2_000).as_str(),
    ]
    .iter()
    .map(|path| Try { unknown: true, ..one(format!("/v1/audit/tile/{path}"), None, 404) })
    .collect();
    let reviewer = who.has("reviewer");
    for path in ["0/000.p/1", "entries/000.p/1"] {
        // Which partial tiles there are depends on how often they were written: a reviewer sees them or not.
        let expect = if reviewer { vec![200, 404] } else { vec![404] };
        tries.push(Try { path: format!("/v1/audit/tile/{path}"), body: None, expect, unknown: false });
    }
    tries
}

fn doc_files() -> Vec<Try> {
    let long = "9".repeat(2_000);
    let unknown = [
        "index.html",
        "x",
        "..",
        "%2e%2e%2fCargo.toml",
        "%2e%2e",
        "start.js%00",
        "%FF",
        "%20",
        "人",
        long.as_str(),
    ];
    let mut tries: Vec<Try> =
        unknown.iter().map(|name| Try { unknown: true, ..one(format!("/docs/{name}"), None, 404) }).collect();
    tries.extend(tongqu::api::docs::FILES.iter().map(|name| one(format!("/docs/{name}"), None, 200)));
    tries
}

/// The row of a route; a route without a row is none.
pub fn row(name: &str, world: &World, who: &Who) -> Option<Vec<Try>> {
    let lists = |path: &str| vec![one(path, None, 200)];
    Some(match name {
        "query" => asks(
            who,
            &|resource, item, _| query(who.account, &format!("SELECT {item} FROM {resource} LIMIT 1")),
            "/v1/queries",
        ),
        "lookup" => asks(who, &|resource, _, key| lookup(who.account, resource, key), "/v1/lookups"),
        "list_resources" => lists("/v1/resources"),
        "publish_resource" => publishing(who),
        "read_resource" => by_id(world, who, "/v1/resources/{id}", "resource", None, &[200]),
        "list_applications" => lists("/v1/applications"),
        "apply" => applying(who),
        "read_application" => by_id(world, who, "/v1/applications/{id}", "application", None, &[200]),
        "list_grants" => lists("/v1/grants"),
        "grant" => granting(world, who),
        "read_grant" => by_id(world, who, "/v1/grants/{id}", "grant", None, &[200]),
        "suspend_grant" => change(world, who, "/v1/grants/{id}/suspend"),
        "resume_grant" => change(world, who, "/v1/grants/{id}/resume"),
        "revoke_grant" => change(world, who, "/v1/grants/{id}/revoke"),
        "read_receipt" => by_id(world, who, "/v1/receipts/{id}", "receipt", None, &[200]),
        "read_checkpoint" => lists("/v1/audit/checkpoint"),
        "read_tile" => tiles(who),
        "open_side" => by_id(world, who, "/v1/audit/side/{id}", "side", None, &[200]),
        "read_openapi" => lists("/openapi.json"),
        "browse" => lists("/docs"),
        "browse_file" => doc_files(),
        "live" => lists("/livez"),
        "ready" => lists("/readyz"),
        "metrics" => lists("/metrics"),
        _ => return None,
    })
}
