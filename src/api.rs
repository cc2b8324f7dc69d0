//! The HTTP edge: the whole API in one table, translated to flows and back; it decides nothing.

mod accept;
mod calls;
pub mod docs;
mod door;
mod handshakes;
pub mod openapi;
mod patient;
pub mod server;
mod unread;

use std::sync::Arc;

use axum::Router;
use axum::routing::{MethodRouter, get, post};

use crate::hub::Hub;

/// One row of the API: what the router and the OpenAPI document are made of.
pub struct Route {
    pub method: &'static str,
    /// As axum and OpenAPI both write it.
    pub path: &'static str,
    /// `operationId`.
    pub name: &'static str,
    pub summary: &'static str,
    /// Whether a token is needed.
    pub token: bool,
    /// Component schema of the body.
    pub body: Option<&'static str>,
    /// Status, media types and component schema of the good answer.
    pub answer: (u16, &'static [&'static str], &'static str),
    handler: MethodRouter<Arc<Hub>>,
}

const JSON: &[&str] = &["application/json"];
const ROWS: &[&str] = &[
    "application/json",
    "application/vnd.apache.arrow.stream",
    "application/x-ndjson",
    "text/csv",
    "application/vnd.apache.parquet",
];
const TEXT: &[&str] = &["text/plain"];
const PAGE: &[&str] = &["text/html"];
const ASSETS: &[&str] = &["text/css", "text/javascript", "image/png"];
const BYTES: &[&str] = &["application/octet-stream"];

/// Every route of the hub, one a line.
#[rustfmt::skip]
pub fn routes() -> Vec<Route> {
    let row = |method, path, name, summary, body, answer, handler| Route {
        method,
        path,
        name,
        summary,
        token: path.starts_with("/v1/"),
        body,
        answer,
        handler,
    };
    vec![
        row("POST", "/v1/queries", "query", "Ask one SQL statement under a grant", Some("QueryCall"), (200, ROWS, "Rows"), post(calls::query)),
        row("POST", "/v1/lookups", "lookup", "Rows by declared key under a grant", Some("LookupCall"), (200, ROWS, "Rows"), post(calls::lookup)),
        row("GET", "/v1/resources", "list_resources", "Published catalogue entries", None, (200, JSON, "Resources"), get(calls::resources)),
        row("POST", "/v1/resources", "publish_resource", "Publish an entry, or with `if-match` its next version", Some("Resource"), (201, JSON, "PublishedResource"), post(calls::publish)),
        row("GET", "/v1/resources/{id}", "read_resource", "One entry by id or name", None, (200, JSON, "PublishedResource"), get(calls::resource)),
        row("GET", "/v1/applications", "list_applications", "Applications of the caller's department, made or to answer", None, (200, JSON, "Applications"), get(calls::applications)),
        row("POST", "/v1/applications", "apply", "Sign an application", Some("ApplicationText"), (201, JSON, "Application"), post(calls::apply)),
        row("GET", "/v1/applications/{id}", "read_application", "One application", None, (200, JSON, "Application"), get(calls::application)),
        row("GET", "/v1/grants", "list_grants", "Grants the caller's department holds or gave", None, (200, JSON, "Grants"), get(calls::grants)),
        row("POST", "/v1/grants", "grant", "Sign the grant of an application, its terms narrowed or not", Some("GrantText"), (201, JSON, "Grant"), post(calls::grant)),
        row("GET", "/v1/grants/{id}", "read_grant", "One grant", None, (200, JSON, "Grant"), get(calls::grant_read)),
        row("POST", "/v1/grants/{id}/suspend", "suspend_grant", "Suspend a grant", Some("StateText"), (200, JSON, "Grant"), post(calls::suspend)),
        row("POST", "/v1/grants/{id}/resume", "resume_grant", "Resume a suspended grant", Some("StateText"), (200, JSON, "Grant"), post(calls::resume)),
        row("POST", "/v1/grants/{id}/revoke", "revoke_grant", "Revoke a grant for good", Some("StateText"), (200, JSON, "Grant"), post(calls::revoke)),
        row("GET", "/v1/receipts/{id}", "read_receipt", "The receipt of an answer or refusal, with its proof", None, (200, JSON, "Receipt"), get(calls::receipt)),
        row("GET", "/v1/audit/checkpoint", "read_checkpoint", "The record's signed checkpoint (C2SP tlog-checkpoint)", None, (200, TEXT, "Checkpoint"), get(calls::checkpoint)),
        row("GET", "/v1/audit/tile/{*path}", "read_tile", "Tiles of the record (C2SP tlog-tiles), for reviewers", None, (200, BYTES, "Tile"), get(calls::tile)),
        row("GET", "/v1/audit/side/{id}", "open_side", "The sealed detail of an entry by its index, for reviewers; on record", None, (200, JSON, "Side"), get(calls::side)),
        row("GET", "/openapi.json", "read_openapi", "This API as OpenAPI 3.1", None, (200, JSON, "OpenApi"), get(calls::openapi)),
        row("GET", "/docs", "browse", "This API to browse", None, (200, PAGE, "Text"), get(docs::page)),
        row("GET", "/docs/{file}", "browse_file", "What that page is made of", None, (200, ASSETS, "Text"), get(docs::file)),
        row("GET", "/livez", "live", "The process runs", None, (200, TEXT, "Text"), get(calls::live)),
        row("GET", "/readyz", "ready", "Facts can be read and the record written", None, (200, TEXT, "Text"), get(calls::ready)),
        row("GET", "/metrics", "metrics", "Prometheus metrics, without personal data", None, (200, TEXT, "Text"), get(calls::metrics)),
    ]
}

/// The router over [`routes`].
pub fn router(hub: Arc<Hub>) -> Router {
    let mut router = Router::new();
    for route in routes() {
        router = router.route(route.path, route.handler);
    }
    router
        .fallback(calls::unknown_path)
        .method_not_allowed_fallback(calls::wrong_method)
        .layer(axum::middleware::from_fn_with_state(hub.clone(), door::measure))
        .with_state(hub)
}
