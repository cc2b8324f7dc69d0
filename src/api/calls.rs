//! One function per route: headers and body in, a flow called, its outcome out.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use policies::decide::Act as LawAct;
use policies::{Operation, Role};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::accept::format;
use super::door::{Entered, Named, Peer, answered, body, enter, failed, rate_headers};
use crate::acts::{Act, read_json};
use crate::engine::encode::Format;
use crate::error::Error;
use crate::hub::Hub;
use crate::limits::Lane;
use crate::query::{self, Asked};
use crate::store::change::Given;
use crate::telemetry::{Laps, Step};
use crate::{access, publish as publishing, supervise};

type SharedHub = State<Arc<Hub>>;

pub async fn query(State(hub): SharedHub, peer: Peer, headers: HeaderMap, text: Body) -> Response {
    ask(hub, peer, headers, text, Operation::Query).await
}

pub async fn lookup(State(hub): SharedHub, peer: Peer, headers: HeaderMap, text: Body) -> Response {
    ask(hub, peer, headers, text, Operation::Lookup).await
}

async fn ask(hub: Arc<Hub>, peer: Peer, headers: HeaderMap, text: Body, operation: Operation) -> Response {
    let Entered { caller, remaining } = match enter(&hub, &peer, &headers).await {
        Ok(entered) => entered,
        Err(error) => return error.into_response(),
    };
    let lane = match operation {
        // Told apart by the caller: what is asked is not read yet.
        _ if caller.has(Role::Reviewer) => Lane::Review,
        Operation::Query => Lane::Query,
        Operation::Lookup => Lane::Lookup,
    };
    // Kept until the outcome is on record.
    let _place = match hub.limits.place(lane, caller.department().as_str(), caller.account()) {
        Ok(place) => place,
        Err(error) => return error.into_response(),
    };
    let (format, asked) = match read_ask(&hub, &peer, &headers, text, operation).await {
        Ok(read) => read,
        Err(error) => return failed(query::refuse_unread(&hub, &caller, operation, error).await),
    };
    let cancel = CancellationToken::new();
    // Dropped with this future when the client goes away.
    let _guard = cancel.clone().drop_guard();
    match query::answer(hub, caller, asked, format, cancel).await {
        Ok(answer) => answered(answer, remaining),
        Err(failure) => failed(failure),
    }
}

async fn read_ask(
    hub: &Hub,
    peer: &Peer,
    headers: &HeaderMap,
    text: Body,
    operation: Operation,
) -> Result<(Format, Asked), Error> {
    let format = format(headers)?;
    let bytes = body(hub, headers, text).await?;
    peer.asks_nothing_more()?;
    let asked = match operation {
        Operation::Query => Asked::Statement(read_json(&bytes)?),
        Operation::Lookup => Asked::Keys(read_json(&bytes)?),
    };
    Ok((format, asked))
}

pub async fn publish(State(hub): SharedHub, peer: Peer, headers: HeaderMap, text: Body) -> Response {
    let if_match = header_text(&headers, "if-match");
    act(hub, peer, &headers, text, "publish", String::new(), async |hub, caller, act| {
        publishing::publish(hub, caller, act, if_match.as_deref()).await
    })
    .await
}

pub async fn apply(State(hub): SharedHub, peer: Peer, headers: HeaderMap, text: Body) -> Response {
    act(hub, peer, &headers, text, "apply", String::new(), access::apply).await
}

pub async fn grant(State(hub): SharedHub, peer: Peer, headers: HeaderMap, text: Body) -> Response {
    act(hub, peer, &headers, text, "grant", String::new(), access::grant).await
}

pub async fn suspend(hub: SharedHub, peer: Peer, id: Named, headers: HeaderMap, text: Body) -> Response {
    change(hub, peer, id, headers, text, LawAct::Suspend).await
}

pub async fn resume(hub: SharedHub, peer: Peer, id: Named, headers: HeaderMap, text: Body) -> Response {
    change(hub, peer, id, headers, text, LawAct::Resume).await
}

pub async fn revoke(hub: SharedHub, peer: Peer, id: Named, headers: HeaderMap, text: Body) -> Response {
    change(hub, peer, id, headers, text, LawAct::Revoke).await
}

async fn change(
    State(hub): SharedHub,
    peer: Peer,
    Named(id): Named,
    headers: HeaderMap,
    text: Body,
    change: LawAct,
) -> Response {
    act(hub, peer, &headers, text, change.as_str(), id, async |hub, caller, act| {
        access::change_state(hub, caller, act, change).await
    })
    .await
}

/// An act: enters, reads the exact text, performs it once.
async fn act(
    hub: Arc<Hub>,
    peer: Peer,
    headers: &HeaderMap,
    text: Body,
    operation: &'static str,
    target: String,
    flow: impl AsyncFnOnce(&Hub, &policies::Caller, Act<'_>) -> Result<Given, Error>,
) -> Response {
    let done = async {
        let Entered { caller, remaining } = enter(&hub, &peer, headers).await?;
        let key = header_text(headers, "idempotency-key");
        let act = |text| Act { operation, target: &target, text, idempotency_key: key.as_deref() };
        let bytes = match body(&hub, headers, text)
            .await
            .and_then(|bytes| peer.asks_nothing_more().map(|()| bytes))
        {
            Ok(bytes) => bytes,
            Err(error) => return Err(act(&[]).refuse_unread(&hub, &caller, error).await),
        };
        let act = act(&bytes);
        Ok((flow(&hub, &caller, act).await?, remaining))
    };
    match done.await {
        Ok((given, remaining)) => {
            let status = StatusCode::from_u16(given.status).unwrap_or(StatusCode::OK);
            let mut response = (status, given.answer).into_response();
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            rate_headers(response.headers_mut(), remaining);
            response
        }
        Err(error) => Error::into_response(error),
    }
}

pub async fn resources(
    State(hub): SharedHub,
    peer: Peer,
    headers: HeaderMap,
    RawQuery(page): RawQuery,
) -> Response {
    listed(&hub, peer, &headers, page, publishing::list).await
}

pub async fn applications(
    State(hub): SharedHub,
    peer: Peer,
    headers: HeaderMap,
    RawQuery(page): RawQuery,
) -> Response {
    listed(&hub, peer, &headers, page, access::applications).await
}

pub async fn grants(
    State(hub): SharedHub,
    peer: Peer,
    headers: HeaderMap,
    RawQuery(page): RawQuery,
) -> Response {
    listed(&hub, peer, &headers, page, access::list).await
}

async fn listed(
    hub: &Hub,
    peer: Peer,
    headers: &HeaderMap,
    page: Option<String>,
    flow: impl AsyncFnOnce(&Hub, &policies::Caller, &str, usize) -> Result<Value, Error>,
) -> Response {
    let list = async {
        let Entered { caller, remaining } = enter(hub, &peer, headers).await?;
        let (after, count) = paging(page.as_deref().unwrap_or_default(), hub.config.limits.list_max)?;
        Ok((flow(hub, &caller, &after, count).await?, remaining))
    };
    json(list.await, StatusCode::OK)
}

/// `after` (the last id or name of the page before) and `limit`.
fn paging(query: &str, list_max: usize) -> Result<(String, usize), Error> {
    let (mut after, mut count) = (String::new(), list_max);
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            "after" if value.len() <= 256 && !value.contains('\0') => after = value.into_owned(),
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=list_max).contains(limit));
                count = limit
                    .ok_or_else(|| Error::invalid("/limit", format!("a number from 1 to {list_max}")))?;
            }
            _ => return Err(Error::invalid("", "only `after` and `limit` are known here")),
        }
    }
    Ok((after, count))
}

pub async fn resource(State(hub): SharedHub, peer: Peer, Named(id): Named, headers: HeaderMap) -> Response {
    let read = async {
        let Entered { caller, remaining } = enter(&hub, &peer, &headers).await?;
        peer.asks_nothing_more()?;
        let (value, tag) = publishing::one(&hub, &caller, &id).await?;
        Ok(((value, remaining), tag))
    };
    match read.await {
        Ok((value, tag)) => {
            let mut response = json(Ok(value), StatusCode::OK);
            if let Ok(tag) = HeaderValue::from_str(&tag) {
                response.headers_mut().insert(header::ETAG, tag);
            }
            response
        }
        Err(error) => Error::into_response(error),
    }
}

pub async fn application(
    State(hub): SharedHub,
    peer: Peer,
    Named(id): Named,
    headers: HeaderMap,
) -> Response {
    one(&hub, peer, &headers, id, access::application).await
}

pub async fn grant_read(State(hub): SharedHub, peer: Peer, Named(id): Named, headers: HeaderMap) -> Response {
    one(&hub, peer, &headers, id, access::one).await
}

pub async fn receipt(State(hub): SharedHub, peer: Peer, Named(id): Named, headers: HeaderMap) -> Response {
    one(&hub, peer, &headers, id, async |hub, caller, id| {
        let mut laps = Laps::start();
        let receipt = supervise::receipt(hub, caller, id).await;
        hub.metrics.lap(&mut laps, Step::Receipt);
        receipt
    })
    .await
}

async fn one(
    hub: &Hub,
    peer: Peer,
    headers: &HeaderMap,
    id: String,
    flow: impl AsyncFnOnce(&Hub, &policies::Caller, &str) -> Result<Value, Error>,
) -> Response {
    let read = async {
        let Entered { caller, remaining } = enter(hub, &peer, headers).await?;
        peer.asks_nothing_more()?;
        Ok((flow(hub, &caller, &id).await?, remaining))
    };
    json(read.await, StatusCode::OK)
}

pub async fn side(State(hub): SharedHub, peer: Peer, Named(id): Named, headers: HeaderMap) -> Response {
    one(&hub, peer, &headers, id, supervise::side).await
}

pub async fn checkpoint(State(hub): SharedHub, peer: Peer, headers: HeaderMap) -> Response {
    let read = async {
        let Entered { remaining, .. } = enter(&hub, &peer, &headers).await?;
        peer.asks_nothing_more()?;
        Ok((supervise::checkpoint(&hub).await?, remaining))
    };
    bytes(read.await, "text/plain; charset=utf-8")
}

pub async fn tile(State(hub): SharedHub, peer: Peer, Named(path): Named, headers: HeaderMap) -> Response {
    let read = async {
        let Entered { caller, remaining } = enter(&hub, &peer, &headers).await?;
        peer.asks_nothing_more()?;
        Ok((supervise::tile(&hub, &caller, &path).await?, remaining))
    };
    bytes(read.await, "application/octet-stream")
}

pub async fn openapi() -> Response {
    json_value(super::openapi::document(), StatusCode::OK)
}

pub async fn live() -> &'static str {
    "live\n"
}

pub async fn ready(State(hub): SharedHub) -> Response {
    match hub.ready().await {
        Ok(()) => "ready\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

pub async fn metrics(State(hub): SharedHub) -> String {
    if let Some(tls) = &hub.tls {
        hub.metrics.certificate_ends_in(tls.seconds_left(hub.clock.now_us()));
    }
    hub.metrics.text(hub.engine.memory_bytes(), hub.log.size())
}

pub async fn unknown_path() -> Response {
    Error::NotFound.into_response()
}

pub async fn wrong_method() -> Response {
    Error::Method.into_response()
}

fn json(read: Result<(Value, crate::limits::Remaining), Error>, status: StatusCode) -> Response {
    match read {
        Ok((value, remaining)) => {
            let mut response = json_value(value, status);
            rate_headers(response.headers_mut(), remaining);
            response
        }
        Err(error) => error.into_response(),
    }
}

fn json_value(value: Value, status: StatusCode) -> Response {
    let mut response = (status, value.to_string()).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn bytes(read: Result<(Vec<u8>, crate::limits::Remaining), Error>, media: &'static str) -> Response {
    match read {
        Ok((bytes, remaining)) => {
            let mut response = ([(header::CONTENT_TYPE, media)], bytes).into_response();
            rate_headers(response.headers_mut(), remaining);
            response
        }
        Err(error) => error.into_response(),
    }
}

fn header_text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default().to_owned())
}
