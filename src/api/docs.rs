//! `/docs`: the API to browse, over our own `/openapi.json`, everything compiled in.
//!
//! INVARIANT: only the files named here are served, whatever a path says, and a browser is told to load nothing from
//! anywhere else and to run no script that is not one of them.

use std::sync::{Arc, LazyLock};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::door::{Named, Peer, admitted};
use crate::crypto::{hex, sha256};
use crate::error::Error;
use crate::hub::Hub;

const PAGE: &str = include_str!("docs/page.html");
const START: &str = include_str!("docs/start.js");

/// What `/docs/{file}` has.
pub const FILES: &[&str] = &["favicon-32x32.png", "start.js", "swagger-ui-bundle.js", "swagger-ui.css"];

/// Swagger UI draws its icons from `data:` images in its own style sheet.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";

struct Asset {
    name: &'static str,
    media: String,
    /// Shared: a copy for every reader would be memory without a ceiling.
    bytes: Bytes,
    /// Of the bytes, so that another build is another tag.
    tag: String,
}

impl Asset {
    fn new(name: &'static str, media: &str, bytes: Vec<u8>) -> Self {
        let digest = hex(&sha256(&[&bytes]));
        Self { name, media: media.to_owned(), tag: format!("\"{}\"", &digest[..32]), bytes: bytes.into() }
    }
}

/// Page and files; constants whose tags are reckoned once.
static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    let mut assets = vec![Asset::new("", HTML, PAGE.as_bytes().to_vec())];
    let config = Arc::new(utoipa_swagger_ui::Config::new(["openapi.json"]));
    for name in FILES {
        if *name == "start.js" {
            assets.push(Asset::new(name, "text/javascript; charset=utf-8", START.as_bytes().to_vec()));
        } else if let Ok(Some(file)) = utoipa_swagger_ui::serve(name, config.clone()) {
            assets.push(Asset::new(name, &file.content_type, file.bytes.into_owned()));
        }
    }
    assets
});

pub async fn page(State(hub): State<Arc<Hub>>, peer: Peer, headers: HeaderMap) -> Response {
    asset(&hub, peer, &headers, "")
}

pub async fn file(
    State(hub): State<Arc<Hub>>,
    peer: Peer,
    Named(name): Named,
    headers: HeaderMap,
) -> Response {
    if name.is_empty() {
        return Error::NotFound.into_response();
    }
    asset(&hub, peer, &headers, &name)
}

fn asset(hub: &Hub, peer: Peer, headers: &HeaderMap, name: &str) -> Response {
    if let Err(error) = admitted(hub, peer, headers) {
        return error.into_response();
    }
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        return Error::NotFound.into_response();
    };
    let known = headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    let known = known.is_some_and(|tags| tags.split(',').any(|tag| tag.trim() == asset.tag));
    let mut response =
        if known { StatusCode::NOT_MODIFIED.into_response() } else { asset.bytes.clone().into_response() };
    for (name, value) in [
        (header::CONTENT_TYPE, asset.media.as_str()),
        (header::ETAG, &asset.tag),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_the_page_names_is_there_and_nothing_else() {
        let mut named: Vec<&str> = Vec::new();
        for attribute in ["href=\"", "src=\""] {
            named.extend(PAGE.split(attribute).skip(1).filter_map(|rest| rest.split('"').next()));
        }
        let mut own: Vec<&str> = named.iter().filter_map(|path| path.strip_prefix("docs/")).collect();
        own.sort_unstable();
        assert_eq!(own, FILES);
        assert_eq!(ASSETS.len(), FILES.len() + 1, "a file is not compiled in");
        assert!(ASSETS.iter().all(|asset| !asset.bytes.is_empty()));
        named.retain(|path| !path.starts_with("docs/"));
        assert_eq!(named, ["openapi.json"]);
    }

    #[test]
    fn no_text_names_another_host_and_the_page_runs_nothing_of_its_own() {
        for text in [PAGE, START] {
            assert!(!text.contains("://") && !text.contains("\"//"), "{text}");
        }
        assert!(!PAGE.contains("<style") && !PAGE.contains(" style=") && !PAGE.contains(" on"));
        assert_eq!(PAGE.matches("<script").count(), PAGE.matches("<script src=").count());
        let style = ASSETS.iter().find(|asset| asset.name == "swagger-ui.css").expect("a style sheet");
        let style = String::from_utf8_lossy(&style.bytes);
        assert!(!style.contains("@import"));
        for url in style.split("url(").skip(1) {
            assert!(
                url.trim_start_matches(['"', '\'']).starts_with("data:"),
                "{}",
                &url[..60.min(url.len())]
            );
        }
        assert!(!POLICY.contains("unsafe") && !POLICY.contains("http") && !POLICY.contains('*'));
    }
}
