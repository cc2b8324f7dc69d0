//! `/openapi.json` against the route table, against itself, and against what the hub says and takes.

mod schema;
mod tour;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tongqu::api::openapi::document;
use tongqu::api::routes;

/// `method path → operation, body, status, answer`: a change here is a change of the API.
const OPERATIONS: &[(&str, &str, &str, &str, u16, &str)] = &[
    ("get", "/docs", "browse", "", 200, "Text"),
    ("get", "/docs/{file}", "browse_file", "", 200, "Text"),
    ("get", "/livez", "live", "", 200, "Text"),
    ("get", "/metrics", "metrics", "", 200, "Text"),
    ("get", "/openapi.json", "read_openapi", "", 200, "OpenApi"),
    ("get", "/readyz", "ready", "", 200, "Text"),
    ("get", "/v1/applications", "list_applications", "", 200, "Applications"),
    ("post", "/v1/applications", "apply", "ApplicationText", 201, "Application"),
    ("get", "/v1/applications/{id}", "read_application", "", 200, "Application"),
    ("get", "/v1/audit/checkpoint", "read_checkpoint", "", 200, "Checkpoint"),
    ("get", "/v1/audit/side/{id}", "open_side", "", 200, "Side"),
    ("get", "/v1/audit/tile/{path}", "read_tile", "", 200, "Tile"),
    ("get", "/v1/grants", "list_grants", "", 200, "Grants"),
    ("post", "/v1/grants", "grant", "GrantText", 201, "Grant"),
    ("get", "/v1/grants/{id}", "read_grant", "", 200, "Grant"),
    ("post", "/v1/grants/{id}/resume", "resume_grant", "StateText", 200, "Grant"),
    ("post", "/v1/grants/{id}/revoke", "revoke_grant", "StateText", 200, "Grant"),
    ("post", "/v1/grants/{id}/suspend", "suspend_grant", "StateText", 200, "Grant"),
    ("post", "/v1/lookups", "lookup", "LookupCall", 200, "Rows"),
    ("post", "/v1/queries", "query", "QueryCall", 200, "Rows"),
    ("get", "/v1/receipts/{id}", "read_receipt", "", 200, "Receipt"),
    ("get", "/v1/resources", "list_resources", "", 200, "Resources"),
    ("post", "/v1/resources", "publish_resource", "Resource", 201, "PublishedResource"),
    ("get", "/v1/resources/{id}", "read_resource", "", 200, "PublishedResource"),
];

/// Members that every client of a schema can count on: fewer is a breach of `/v1`.
const REQUIRED: &[(&str, &str)] = &[
    (
        "Application",
        "applicant_account applicant_department id provider resource signed_us terms text_sha256",
    ),
    ("ApplicationText", "resource terms"),
    ("Grant", "application grantee id provider resource state terms version"),
    ("GrantText", "application"),
    ("LookupCall", "keys purpose resource"),
    ("Problem", "code detail status title title_zh type"),
    ("PublishedResource", "class id items name provider published_us title version"),
    ("QueryCall", "purpose sql"),
    ("Receipt", "checkpoint entry id index origin proof state v"),
    ("Resource", "abstract class items name provider title update_cycle"),
    ("Rows", "columns receipt rows"),
    ("StateText", "reason"),
    (
        "Terms",
        "basis calls_per_minute_max operations output purpose rows_per_answer_max rows_per_day_max valid_from valid_until",
    ),
];

fn operations(document: &Value) -> BTreeMap<(String, String), Value> {
    let mut found = BTreeMap::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            found.insert((path.clone(), method.clone()), operation.clone());
        }
    }
    found
}

#[test]
fn the_document_is_the_api_and_nothing_else() {
    let document = document();
    assert_eq!(document["openapi"], json!("3.1.0"));
    assert!(document["info"]["title"].is_string() && document["info"]["version"].is_string());
    let operations = operations(&document);
    let told: BTreeSet<(String, String)> = operations.keys().cloned().collect();
    let served: BTreeSet<(String, String)> = routes()
        .iter()
        .map(|route| (route.path.replace("{*", "{"), route.method.to_ascii_lowercase()))
        .collect();
    assert_eq!(told, served);
    let expected: BTreeSet<(String, String)> =
        OPERATIONS.iter().map(|(method, path, ..)| ((*path).to_owned(), (*method).to_owned())).collect();
    assert_eq!(told, expected, "a route came or went: change the table on purpose");
    let names: BTreeSet<&str> =
        operations.values().filter_map(|operation| operation["operationId"].as_str()).collect();
    assert_eq!(names.len(), operations.len(), "every operation has its own id");
    for (method, path, name, body, status, answer) in OPERATIONS {
        let operation = &operations[&((*path).to_owned(), (*method).to_owned())];
        let what = format!("{method} {path}");
        assert_eq!(operation["operationId"], json!(name), "{what}");
        assert!(!operation["summary"].as_str().expect("a summary").is_empty(), "{what}");
        let sent = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            .as_str()
            .unwrap_or_default();
        assert_eq!(sent.rsplit('/').next().unwrap_or_default(), *body, "{what}");
        let content = &operation["responses"][status.to_string()]["content"];
        if let Some(reference) = content["application/json"]["schema"]["$ref"].as_str() {
            assert_eq!(reference.rsplit('/').next(), Some(*answer), "{what}");
        } else {
            assert!(["Text", "Checkpoint", "Tile"].contains(answer), "{what}: {content}");
        }
        let problem =
            &operation["responses"]["default"]["content"]["application/problem+json"]["schema"]["$ref"];
        assert_eq!(*problem, json!("#/components/schemas/Problem"), "{what}");
        let signed = operation["security"] == json!([{"bearer": []}]);
        assert_eq!(signed, path.starts_with("/v1/"), "{what}: who needs a token");
        let parameters = operation["parameters"].as_array().expect("parameters");
        let named = |name: &str| parameters.iter().any(|parameter| parameter["name"] == json!(name));
        for part in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
            assert!(named(part), "{what}: `{part}` is not declared");
        }
        assert_eq!(named("limit") && named("after"), name.starts_with("list_"), "{what}");
        assert_eq!(named("Tongqu-Department"), signed, "{what}");
        let acts = !body.is_empty() && !["query", "lookup"].contains(name);
        assert_eq!(named("Idempotency-Key"), acts, "{what}");
        assert_eq!(named("If-Match"), *name == "publish_resource", "{what}");
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_schema_is_used() {
    let document = document();
    let mut used = BTreeSet::new();
    collect(&document, &mut used);
    for reference in &used {
        assert!(schema::resolved(&document, &json!(reference)).is_some(), "{reference} leads nowhere");
    }
    let declared = document["components"]["schemas"].as_object().expect("schemas");
    assert!(declared.len() > 20);
    // Answers that are not JSON are named in the route table only.
    for name in declared.keys().filter(|name| !["Text", "Checkpoint", "Tile"].contains(&name.as_str())) {
        assert!(used.contains(&format!("#/components/schemas/{name}")), "`{name}` is used nowhere");
    }
    for route in routes() {
        for name in route.body.into_iter().chain([route.answer.2]) {
            assert!(declared.contains_key(name), "`{name}` of {} is not declared", route.path);
        }
    }
}

fn collect(value: &Value, used: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get("$ref") {
                used.insert(reference.clone());
            }
            members.values().for_each(|member| collect(member, used));
        }
        Value::Array(entries) => entries.iter().for_each(|entry| collect(entry, used)),
        _ => {}
    }
}

#[test]
fn what_clients_count_on_is_required() {
    let document = document();
    for (name, members) in REQUIRED {
        let schema = &document["components"]["schemas"][name];
        let mut required: Vec<&str> =
            schema["required"].as_array().expect(name).iter().filter_map(Value::as_str).collect();
        required.sort_unstable();
        assert_eq!(required.join(" "), *members, "{name}");
        if let Some(properties) = schema["properties"].as_object() {
            for member in members.split(' ') {
                assert!(
                    properties.contains_key(member),
                    "`{member}` of {name} is required and not described"
                );
            }
        }
        let read_by_hub =
            ["QueryCall", "LookupCall", "Resource", "Terms", "ApplicationText", "GrantText", "StateText"];
        if read_by_hub.contains(name) {
            assert_eq!(
                schema["additionalProperties"],
                json!(false),
                "{name}: the hub refuses what it does not know"
            );
        }
    }
}

#[test]
fn the_checker_finds_what_is_wrong() {
    let document = document();
    let check = |name: &str, value: Value, expect: &str| {
        let schema = json!({"$ref": format!("#/components/schemas/{name}")});
        let faults = schema::faults(&document, &schema, &value).join("\n");
        assert!(
            faults.contains(expect) && (!faults.is_empty() || expect.is_empty()),
            "{name} {value}: `{faults}`"
        );
    };
    let good = json!({"sql": "SELECT 1", "purpose": "p"});
    assert_eq!(
        schema::faults(&document, &json!({"$ref": "#/components/schemas/QueryCall"}), &good),
        Vec::<String>::new()
    );
    check("QueryCall", json!({"sql": "SELECT 1"}), "`purpose` is missing");
    check("QueryCall", json!({"sql": 1, "purpose": "p"}), "/sql: 1 is not");
    check("QueryCall", json!({"sql": "", "purpose": "", "x": 1}), "`x` is not known");
    check("QueryCall", json!({"sql": "", "purpose": "p", "params": [[]]}), "/params/0");
    check(
        "LookupCall",
        json!({"resource": "a.b", "purpose": "p", "keys": [{}]}),
        "/keys/0: 0 is against `minProperties`",
    );
    check("Mask", json!("keep"), "fits 0 of `oneOf`");
    check("Scope", json!({"compare": {"item": "a", "op": "~", "value": 1}}), "/compare/op");
    check("Item", json!({"name": "Ä", "title": "t", "type": "text", "classification": "general"}), "/name");
    check("Grant", json!({"state": "unknown"}), "/state");
    assert!(schema::faults(&document, &json!({"if": {}}), &good)[0].contains("not checked here"));
    assert!(schema::faults(&document, &json!({"$ref": "#/nowhere"}), &good)[0].contains("leads nowhere"));
}
