//! A tour of the API: every body sent fits its schema exactly when the hub takes it, every answer fits its own.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Value, json};
use tongqu::api::{openapi, routes};

use super::schema::faults;
use crate::support::{PURPOSE, Said, TestHub, terms};

struct Tour {
    hub: TestHub,
    document: Value,
    seen: RefCell<BTreeSet<&'static str>>,
}

fn component(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

impl Tour {
    /// Calls a route by its name; what is sent and what comes back are held against the document.
    async fn call(
        &self,
        name: &'static str,
        account: &str,
        id: &str,
        body: Option<Value>,
        status: u16,
    ) -> Said {
        self.seen.borrow_mut().insert(name);
        let routes = routes();
        let route = routes.iter().find(|route| route.name == name).expect("a route");
        let path = route.path.replace("{id}", id).replace("{*path}", id).replace("{file}", id);
        let mut call = self.hub.call(route.method, account, &path);
        if let Some(body) = &body {
            let found = faults(&self.document, &component(route.body.expect("a body")), body);
            // 422 by the document is 422 by the hub; what the document lets through may still be refused.
            assert!(found.is_empty() || status == 422, "{name} sends {body}: {found:#?}");
            call = call.header("content-type", "application/json").body(body.to_string());
        }
        let said = self.hub.send(call).await;
        assert_eq!(said.status, status, "{name} {path} {body:?}: {}", said.text());
        if said.status >= 400 {
            self.fits("Problem", &said.json(), name);
        } else if route.answer.1.contains(&"application/json") {
            assert_eq!(said.status, route.answer.0, "{name}");
            self.fits(route.answer.2, &said.json(), name);
        }
        said
    }

    #[track_caller]
    fn fits(&self, schema: &str, value: &Value, what: &str) {
        let found = faults(&self.document, &component(schema), value);
        assert!(found.is_empty(), "{what}: {value} is no {schema}: {found:#?}");
    }
}

const OPERATOR: &str = "civil-affairs.operator";
const APPLICANT: &str = "civil-affairs.sharing-head";
const PROVIDER: &str = "public-security.sharing-head";

fn every_term() -> Value {
    let mut every = terms(
        &["query", "lookup"],
        &["id_number"],
        json!([
            {"item": "name", "mask": {"keep_first": 1}}, {"item": "former_name", "mask": {"keep_last": 1}},
            {"item": "nation", "mask": "hide"}, {"item": "birth_date", "mask": "year"}, {"item": "marital_status", "mask": null},
            {"item": "residence_code", "mask": {"region_prefix": 4}}, {"item": "household_number", "mask": "pseudonym"},
        ]),
        Some(json!({"all": [
            {"compare": {"item": "residence_code", "op": "like_prefix", "value": "33"}},
            {"any": [{"is_null": "death_date"}, {"not": {"in": {"item": "sex", "values": ["0", "9"]}}}]},
            {"compare": {"item": "residence_code", "op": "<>", "value": {"caller": "region_code"}}},
        ]})),
    );
    every["service_items"] = json!(["s-1"]);
    every["joins"] = json!(["credit.penalty"]);
    every["valid_from"] = json!("2026-01-01T00:00:00+08:00");
    every
}

fn entry(name: &str, more: Value) -> Value {
    let mut entry = json!({
        "name": name, "title": "t", "abstract": "a", "provider": "public-security", "class": "unconditional", "update_cycle": "daily",
        "items": [{"name": "uscc", "title": "t", "type": "text", "column": "uniscid", "key": true, "classification": "general"}],
        "never_join": ["population.resident"],
        "binding": {"sqlite": {"path": "public-security/registry.sqlite", "table": "enterprise"}},
    });
    for (member, value) in more.as_object().expect("members") {
        entry[member] = value.clone();
    }
    entry
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_and_said_is_what_the_document_describes() {
    let hub = TestHub::start().await;
    let tour = Tour { hub, document: openapi::document(), seen: RefCell::default() };
    let said = tour.call("read_openapi", OPERATOR, "", None, 200).await;
    assert_eq!(said.json(), tour.document);
    catalogue(&tour).await;
    let grant = granting(&tour).await;
    asking(&tour, &grant).await;
    for verb in ["suspend_grant", "resume_grant", "revoke_grant"] {
        tour.call(verb, PROVIDER, &grant, Some(json!({"reason": "r"})), 200).await;
        tour.call(verb, OPERATOR, &grant, Some(json!({"reason": "r"})), 403).await;
        tour.call(verb, PROVIDER, &grant, Some(json!({"reason": ""})), 422).await;
    }
    tour.call("resume_grant", PROVIDER, &grant, Some(json!({"reason": "r"})), 409).await;
    for plain in ["live", "ready", "metrics"] {
        let said = tour.call(plain, OPERATOR, "", None, 200).await;
        assert!(said.headers["content-type"].starts_with("text/plain"), "{plain}: {:?}", said.headers);
    }
    tour.call("browse", OPERATOR, "", None, 200).await;
    tour.call("browse_file", OPERATOR, "start.js", None, 200).await;
    tour.call("browse_file", OPERATOR, "index.html", None, 404).await;
    let sql = "SELECT max(index) AS last FROM system.audit WHERE side IS NOT NULL";
    let index = tour.hub.audit(sql).await[0]["last"].to_string();
    tour.call("open_side", "data-authority.reviewer", &index, None, 200).await;
    tour.call("open_side", OPERATOR, &index, None, 404).await;
    tour.hub.hub.log.close().await;
    let said = tour.call("read_checkpoint", OPERATOR, "", None, 200).await;
    assert!(said.text().starts_with(crate::support::HUB_ID), "{}", said.text());
    tour.call("read_tile", OPERATOR, "0/000", None, 404).await;
    let all: BTreeSet<&str> = routes().iter().map(|route| route.name).collect();
    assert_eq!(*tour.seen.borrow(), all, "the tour leaves something out");
}

async fn catalogue(tour: &Tour) {
    let head = "public-security.head";
    tour.call("list_resources", OPERATOR, "", None, 200).await;
    tour.call("read_resource", OPERATOR, "population.resident", None, 200).await;
    tour.call("read_resource", head, "population.resident", None, 200).await;
    tour.call("read_resource", head, "population.nothing", None, 404).await;
    tour.call("publish_resource", head, "", Some(entry("tour.one", json!({}))), 201).await;
    tour.call("publish_resource", head, "", Some(entry("tour.one", json!({}))), 428).await;
    let withheld = json!({"class": "withheld", "legal_basis": "Order 809 art. 14", "binding": "unmounted"});
    tour.call("publish_resource", head, "", Some(entry("tour.withheld", withheld)), 201).await;
    for more in [
        json!({"class": "open"}),
        json!({"items": []}),
        json!({"items": [{"name": "uscc", "title": "t", "type": "varchar", "classification": "general"}]}),
        json!({"binding": {"files": {"format": "xml", "path": "x"}}}),
        json!({"surprise": 1}),
        json!({"update_cycle": "never ever"}),
    ] {
        let body = entry("tour.two", more);
        assert!(
            !faults(&tour.document, &component("Resource"), &body).is_empty(),
            "the document takes {body}"
        );
        tour.call("publish_resource", head, "", Some(body), 422).await;
    }
}

async fn granting(tour: &Tour) -> String {
    let application = json!({"resource": "population.resident", "terms": every_term()});
    let applied = tour.call("apply", APPLICANT, "", Some(application), 201).await.json()["id"].clone();
    let id = applied.as_str().expect("an id");
    tour.call("read_application", PROVIDER, id, None, 200).await;
    tour.call("list_applications", PROVIDER, "", None, 200).await;
    tour.call(
        "apply",
        OPERATOR,
        "",
        Some(json!({"resource": "population.resident", "terms": every_term()})),
        403,
    )
    .await;
    for (member, value) in [
        ("operations", json!(["delete"])),
        ("output", json!([{"item": "name", "mask": "blur"}])),
        ("output", json!([{"item": "name", "mask": {"keep_first": 1, "keep_last": 1}}])),
        ("scope", json!({"all": [], "any": []})),
        ("scope", json!({"compare": {"item": "sex", "op": "like", "value": "1"}})),
        ("standing", json!(["anybody"])),
        ("rows_per_day_max", json!(0)),
        ("valid_from", json!(null)),
        ("calls_per_minute_max", json!("1")),
    ] {
        let mut terms = every_term();
        terms[member] = value;
        let body = json!({"resource": "population.resident", "terms": terms});
        assert!(
            !faults(&tour.document, &component("ApplicationText"), &body).is_empty(),
            "the document takes {body}"
        );
        tour.call("apply", APPLICANT, "", Some(body), 422).await;
    }
    let body = json!({"application": applied, "terms": {"rows_per_answer_max": 1_000}});
    let granted = tour.call("grant", PROVIDER, "", Some(body.clone()), 201).await.json()["id"].clone();
    tour.call("grant", PROVIDER, "", Some(body), 409).await;
    let grant = granted.as_str().expect("an id").to_owned();
    tour.call("read_grant", APPLICANT, &grant, None, 200).await;
    tour.call("list_grants", APPLICANT, "", None, 200).await;
    grant
}

async fn asking(tour: &Tour, grant: &str) {
    let query = |more: Value| {
        let mut body = json!({
            "sql": "SELECT sum(1.5) AS a, count(*) AS n, true AS b, min(birth_date) AS d, max(name) AS t, sum(1e0) AS f FROM population.resident",
            "params": [], "purpose": PURPOSE, "case": "c", "operator": OPERATOR, "terminal": null, "channel": "web", "grants": [grant],
        });
        for (member, value) in more.as_object().expect("members") {
            body[member] = value.clone();
        }
        Some(body)
    };
    let said = tour.call("query", OPERATOR, "", query(json!({})), 200).await;
    let types: Vec<Value> = said.json()["columns"]
        .as_array()
        .expect("columns")
        .iter()
        .map(|column| column["type"].clone())
        .collect();
    assert_eq!(types.len(), 6, "{types:?}");
    let receipt = said.receipt().expect("a receipt").to_owned();
    tour.call("read_receipt", OPERATOR, &receipt, None, 200).await;
    tour.call("query", OPERATOR, "", query(json!({"purpose": "credit-review"})), 403).await;
    tour.call("query", OPERATOR, "", query(json!({"sql": "SELECT x FROM a.b"})), 404).await;
    for more in [
        json!({"params": [{}]}),
        json!({"case": "c".repeat(257)}),
        json!({"purpose": ""}),
        json!({"grants": "x"}),
        json!({"x": 1}),
    ] {
        assert!(
            !faults(&tour.document, &component("QueryCall"), &query(more.clone()).expect("a body"))
                .is_empty(),
            "{more}"
        );
        tour.call("query", OPERATOR, "", query(more), 422).await;
    }
    let lookup = |more: Value| {
        let mut body = json!({
            "resource": "population.resident", "keys": [{"id_number": "x"}, {"id_number": 7}], "purpose": PURPOSE, "case": "c",
            "rule": "auto-1", "items": ["name"],
        });
        for (member, value) in more.as_object().expect("members") {
            body[member] = value.clone();
        }
        Some(body)
    };
    tour.call("lookup", OPERATOR, "", lookup(json!({})), 200).await;
    tour.call("lookup", OPERATOR, "", lookup(json!({"items": null})), 200).await;
    for more in [
        json!({"keys": []}),
        json!({"keys": [{}]}),
        json!({"keys": [{"a": "1", "b": "2"}]}),
        json!({"keys": [{"id_number": 1.5}]}),
        json!({"keys": [{"id_number": null}]}),
        json!({"items": "name"}),
    ] {
        assert!(
            !faults(&tour.document, &component("LookupCall"), &lookup(more.clone()).expect("a body"))
                .is_empty(),
            "{more}"
        );
        tour.call("lookup", OPERATOR, "", lookup(more), 422).await;
    }
}
