//! admit and authenticate: the same door for every route, and how outcomes become HTTP answers.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{ConnectInfo, FromRequestParts, MatchedPath, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use policies::Caller;

use crate::error::Error;
use crate::hub::Hub;
use crate::limits::Remaining;
use crate::query::{Answer, Failure};
use crate::telemetry::{Laps, Step};

pub const RECEIPT_HEADER: &str = "tongqu-receipt";

/// Bytes of a body that is too large and still read to its end.
const DISCARDED_BYTES_MAX: usize = 64 << 20;

/// An admitted, authenticated call.
pub struct Entered {
    pub caller: Caller,
    pub remaining: Remaining,
}

/// Admission before any signature is checked, then the token, then the account's own rate.
pub async fn enter(hub: &Hub, peer: &Peer, headers: &HeaderMap) -> Result<Entered, Error> {
    let mut laps = Laps::start();
    let source = source(hub, peer.address, headers);
    hub.limits.admit(source)?;
    hub.metrics.lap(&mut laps, Step::Admit);
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if headers.get_all(header::AUTHORIZATION).iter().count() > 1 {
        hub.limits.failed(source);
        return Err(Error::Unauthenticated("send one `authorization` header"));
    }
    let caller = match hub.authn.caller(&hub.store, text("authorization"), text("tongqu-department")).await {
        Ok(caller) => caller,
        Err(error) => {
            if matches!(error, Error::Unauthenticated(_)) {
                hub.limits.failed(source);
            }
            return Err(error);
        }
    };
    hub.metrics.lap(&mut laps, Step::Authenticate);
    match hub.limits.account(caller.account()) {
        Ok(remaining) => {
            let _set_once = peer.left.0.set(remaining);
            Ok(Entered { caller, remaining })
        }
        Err(error) => {
            let quota_per_minute = hub.config.limits.account_per_minute;
            let _set_once = peer.left.0.set(Remaining { quota_per_minute, remaining: 0 });
            hub.limits.count(caller.account().to_owned(), "rate");
            Err(error)
        }
    }
}

/// Admission alone, for what needs no token.
pub fn admitted(hub: &Hub, peer: Peer, headers: &HeaderMap) -> Result<(), Error> {
    hub.limits.admit(source(hub, peer.address, headers))
}

/// The peer, or what a declared proxy says of it.
fn source(hub: &Hub, peer: SocketAddr, headers: &HeaderMap) -> IpAddr {
    if !hub.config.hub.proxies.contains(&peer.ip()) {
        return peer.ip();
    }
    let forwarded = headers.get("x-forwarded-for").and_then(|value| value.to_str().ok()).unwrap_or_default();
    forwarded.rsplit(',').next().and_then(|last| last.trim().parse().ok()).unwrap_or(peer.ip())
}

/// Reads a JSON body within its ceilings of size and time.
pub async fn body(hub: &Hub, headers: &HeaderMap, body: Body) -> Result<Vec<u8>, Error> {
    let max = hub.config.limits.body_bytes_max;
    let time = Duration::from_millis(hub.config.limits.body_timeout_ms);
    let declared =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    // A client that asks before it sends is told at once.
    let waits = headers.contains_key(header::EXPECT) && declared.is_some_and(|declared| declared > max);
    let too_large = Err(Error::TooLarge { what: "body", max });
    let read = if waits { Ok(too_large) } else { tokio::time::timeout(time, read(body, max)).await };
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = media.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") || headers.contains_key(header::CONTENT_ENCODING) {
        return Err(Error::MediaType);
    }
    match read {
        Ok(read) => read,
        Err(_slow) => Err(Error::Deadline),
    }
}

/// The body, unless it is larger than `max` or broken. What is too large is read on and thrown away, up to a
/// ceiling: a client that is still sending when the connection ends would never see the answer.
async fn read(body: Body, max: usize) -> Result<Vec<u8>, Error> {
    let mut chunks = body.into_data_stream();
    let (mut bytes, mut total) = (Vec::new(), 0_usize);
    while let Some(chunk) = chunks.next().await {
        let broken = Error::Malformed("the body broke off or its chunks have no length; send it whole");
        let chunk = chunk.map_err(|_cause| broken)?;
        total = total.saturating_add(chunk.len());
        if total > DISCARDED_BYTES_MAX.max(max) {
            break;
        }
        if total > max {
            bytes = Vec::new();
        } else {
            bytes.extend_from_slice(&chunk);
        }
    }
    if total <= max { Ok(bytes) } else { Err(Error::TooLarge { what: "body", max }) }
}

/// What the path names; a text that is no UTF-8 names nothing, and is told so after the token was checked.
pub struct Named(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let named = Path::<String>::from_request_parts(parts, state).await;
        Ok(Self(named.map(|Path(text)| text).unwrap_or_default()))
    }
}

/// An answer with its receipt and what is left of the rate.
pub fn answered(answer: Answer, account: Remaining) -> Response {
    let remaining = answer.remaining.filter(|grant| grant.remaining < account.remaining).unwrap_or(account);
    let body = match answer.body {
        crate::query::Body::Held(bytes) => Body::from(bytes),
        crate::query::Body::Stream(receiver) => {
            Body::from_stream(futures::stream::unfold(receiver, async |mut rest| {
                let chunk = rest.recv().await?;
                Some((chunk.map_err(|error| std::io::Error::other(error.code())), rest))
            }))
        }
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.format.content_type()));
    put(headers, RECEIPT_HEADER, &answer.receipt);
    rate_headers(headers, remaining);
    response
}

/// IETF draft-ietf-httpapi-ratelimit-headers.
pub fn rate_headers(headers: &mut HeaderMap, remaining: Remaining) {
    put(headers, "ratelimit-policy", &format!("\"calls\";q={};w=60", remaining.quota_per_minute));
    put(headers, "ratelimit", &format!("\"calls\";r={}", remaining.remaining));
}

fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// An outcome as RFC 9457 problem, with the receipt of its entry where there is one.
pub fn failed(failure: Failure) -> Response {
    let mut response = failure.error.into_response();
    if let Some(receipt) = &failure.receipt {
        put(response.headers_mut(), RECEIPT_HEADER, receipt);
    }
    response
}

/// The code of an answer, for metrics.
#[derive(Debug, Clone, Copy)]
struct Code(&'static str);

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let text = serde_json::to_vec(&self.problem()).unwrap_or_default();
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_s() {
            put(headers, "retry-after", &seconds.to_string());
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(Code(self.code()));
        response
    }
}

/// Around every call: time and outcome to the metrics, and the headers every answer carries.
pub async fn measure(State(hub): State<Arc<Hub>>, mut request: Request, next: Next) -> Response {
    let start = Instant::now();
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let left = Left::default();
    request.extensions_mut().insert(left.clone());
    let mut response = if has_one_host(&request) {
        next.run(request).await
    } else {
        Error::Malformed("send exactly one `host` header").into_response()
    };
    let code = response.extensions().get::<Code>().map_or("ok", |code| code.0);
    hub.metrics.call(&route, code, start.elapsed().as_secs_f64());
    let headers = response.headers_mut();
    if let Some(remaining) = left.0.get().filter(|_| !headers.contains_key("ratelimit")) {
        rate_headers(headers, *remaining);
    }
    // What is the same for everyone says so itself.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if hub.tls.is_some() {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    response
}

/// RFC 9112, 3.2: none or several in HTTP/1.1 are for whoever hopes that a proxy reads another one than the hub.
fn has_one_host(request: &Request) -> bool {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    hosts == 1 || hosts == 0 && request.version() == axum::http::Version::HTTP_10
}

/// What is left of the caller's rate, once it is known: told with every answer, good or bad.
#[derive(Clone, Default)]
struct Left(Arc<OnceLock<Remaining>>);

/// Who is at the other end, and whether the path is followed by a `?` and more.
pub struct Peer {
    address: SocketAddr,
    asks_more: bool,
    left: Left,
}

impl Peer {
    /// Only lists know parameters; one that is not known must not seem to count.
    pub fn asks_nothing_more(&self) -> Result<(), Error> {
        if self.asks_more {
            return Err(Error::invalid("", "nothing may follow the path here; remove the `?` and the rest"));
        }
        Ok(())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = <ConnectInfo<SocketAddr> as FromRequestParts<S>>::Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let ConnectInfo(address) = ConnectInfo::from_request_parts(parts, state).await?;
        let asks_more = parts.uri.query().is_some_and(|query| !query.is_empty());
        Ok(Self { address, asks_more, left: parts.extensions.get().cloned().unwrap_or_default() })
    }
}
