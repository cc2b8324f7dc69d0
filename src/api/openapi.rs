//! `/openapi.json`: OpenAPI 3.1, made from the route table and the component schemas beside it.

use serde_json::{Map, Value, json};

use super::docs::FILES;
use super::{Route, routes};

/// Component schemas (JSON Schema 2020-12); `tests/openapi.rs` holds them against what the hub says and takes.
const SCHEMAS: &str = include_str!("schemas.json");

/// The whole document.
pub fn document() -> Value {
    let schemas: Value = serde_json::from_str(SCHEMAS).unwrap_or_default();
    let mut paths: Map<String, Value> = Map::new();
    for route in routes() {
        let path = route.path.replace("{*", "{");
        let methods = paths.entry(path).or_insert_with(|| json!({}));
        if let Some(methods) = methods.as_object_mut() {
            methods.insert(route.method.to_ascii_lowercase(), operation(&route));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tongqu",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A data-sharing exchange hub: governed answers that leave evidence. \
                Times are UTC microseconds; problems are RFC 9457 and their codes stable; /v1 changes by addition only.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT (at+jwt)"}},
        },
    })
}

fn operation(route: &Route) -> Value {
    let (status, media_types, schema) = route.answer;
    let content: Map<String, Value> = media_types
        .iter()
        .map(|media| {
            let schema = match *media {
                "application/json" => reference(schema),
                "text/plain"
                | "text/html"
                | "text/css"
                | "text/javascript"
                | "text/csv"
                | "application/x-ndjson" => json!({"type": "string"}),
                _ => json!({"type": "string", "format": "binary"}),
            };
            ((*media).to_owned(), json!({ "schema": schema }))
        })
        .collect();
    let mut answers = json!({
        status.to_string(): {"description": "Done", "content": content},
        "default": {
            "description": "A problem; `code` tells which",
            "content": {"application/problem+json": {"schema": reference("Problem")}},
        },
    });
    if status == 200 && matches!(route.name, "query" | "lookup") {
        answers["200"]["headers"] = json!({
            "Tongqu-Receipt": {"description": "Id of the receipt, see /v1/receipts/{id}", "schema": {"type": "string"}},
        });
    }
    let mut operation = json!({
        "operationId": route.name,
        "summary": route.summary,
        "parameters": parameters(route),
        "responses": answers,
    });
    if route.token {
        operation["security"] = json!([{"bearer": []}]);
    }
    if let Some(body) = route.body {
        operation["requestBody"] =
            json!({"required": true, "content": {"application/json": {"schema": reference(body)}}});
    }
    operation
}

fn parameters(route: &Route) -> Vec<Value> {
    let text = |name: &str, place: &str, required: bool, description: &str| {
        json!({"name": name, "in": place, "required": required, "description": description,
            "schema": {"type": "string", "minLength": 1}})
    };
    let mut parameters = Vec::new();
    if route.path.contains("{id}") {
        parameters.push(text("id", "path", true, "Id of the thing"));
    }
    if route.path.contains("{file}") {
        let mut file = text("file", "path", true, "Name of the file");
        file["schema"] = json!({"type": "string", "enum": FILES});
        parameters.push(file);
    }
    if route.path.contains("{*path}") {
        parameters.push(text(
            "path",
            "path",
            true,
            "C2SP tile path after `tile/`, e.g. `0/000` or `entries/000.p/5`",
        ));
    }
    if route.name.starts_with("list_") {
        parameters.push(text("after", "query", false, "`next` of the page before"));
        let mut limit = text("limit", "query", false, "Rows of a page");
        limit["schema"] = json!({"type": "integer", "minimum": 1, "maximum": 200});
        parameters.push(limit);
    }
    if route.token {
        parameters.push(text(
            "Tongqu-Department",
            "header",
            false,
            "Department acted for, when the account has posts in several",
        ));
    }
    let changes = route.body.is_some() && !matches!(route.name, "query" | "lookup");
    if changes {
        parameters.push(text("Idempotency-Key", "header", false, "Repeats of a key get the first answer"));
    }
    if route.name == "publish_resource" {
        parameters.push(text("If-Match", "header", false, "`etag` of the version this one follows"));
    }
    parameters
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}
