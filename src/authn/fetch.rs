//! One issuer's key set by URL: exactly the configured address, within time and size, and nowhere else.
//!
//! INVARIANT: no redirect is followed, no proxy of the environment is used, and an address of a private network is
//! connected to only when the issuer's `private_addresses` says so, whatever its name resolves to at that moment.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::keys::KeysError;
use crate::config::{AuthnConfig, IssuerConfig};

/// Why a key set could not be fetched, or its URL not be used.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("`jwks_url` is no URL: {0}")]
    Url(#[from] url::ParseError),
    #[error("`jwks_url` {0}")]
    Refused(&'static str),
    #[error("`ca` `{}` cannot be read: {cause}", path.display())]
    Ca { path: PathBuf, cause: std::io::Error },
    #[error("`ca` holds no PEM certificate")]
    CaEmpty,
    #[error("the connection failed: {}", chain(.0))]
    Http(#[from] reqwest::Error),
    #[error("it answered {0} in place of 200")]
    Status(u16),
    #[error("its answer is larger than {0} bytes")]
    TooLarge(usize),
    #[error(transparent)]
    Keys(#[from] KeysError),
}

/// reqwest keeps what went wrong in the sources of its errors.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The way to one issuer's key set.
pub struct Door {
    url: Url,
    client: reqwest::Client,
    bytes_max: usize,
}

impl Door {
    pub fn new(issuer: &IssuerConfig, config: &AuthnConfig) -> Result<Self, FetchError> {
        let url = Url::parse(issuer.jwks_url.as_deref().unwrap_or_default())?;
        let private = issuer.private_addresses;
        check_url(&url, private)?;
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(Duration::from_millis(config.fetch_timeout_ms))
            .pool_max_idle_per_host(0)
            .dns_resolver(Guarded { private });
        if let Some(path) = &issuer.ca {
            let text = std::fs::read(path).map_err(|cause| FetchError::Ca { path: path.clone(), cause })?;
            let certificates = reqwest::Certificate::from_pem_bundle(&text)?;
            if certificates.is_empty() {
                return Err(FetchError::CaEmpty);
            }
            builder = builder.tls_certs_only(certificates);
        }
        Ok(Self { url, client: builder.build()?, bytes_max: config.key_set_bytes_max })
    }

    /// The bytes at the URL.
    pub async fn fetch(&self) -> Result<Vec<u8>, FetchError> {
        let call =
            self.client.get(self.url.clone()).header("accept", "application/jwk-set+json, application/json");
        let mut response = call.send().await.map_err(reqwest::Error::without_url)?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        let mut text = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(reqwest::Error::without_url)? {
            if text.len().saturating_add(chunk.len()) > self.bytes_max {
                return Err(FetchError::TooLarge(self.bytes_max));
            }
            text.extend_from_slice(&chunk);
        }
        Ok(text)
    }
}

/// Whether a URL may be configured at all.
fn check_url(url: &Url, private: bool) -> Result<(), FetchError> {
    let refused = |why| Err(FetchError::Refused(why));
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return refused("names a user or a fragment; leave them out");
    }
    let address = match url.host() {
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
        Some(Host::Domain(_)) => None,
        None => return refused("names no host"),
    };
    let allowed = match url.scheme() {
        "https" => true,
        "http" => private && address.is_some_and(|address| address.is_loopback()),
        _ => false,
    };
    if !allowed {
        return refused("is not https; http is for a loopback address with `private_addresses = true`");
    }
    if address.is_some_and(|address| !may_connect(address, private)) {
        return refused(
            "is an address of a private network; set `private_addresses = true` if that is meant",
        );
    }
    Ok(())
}

/// Resolves names and leaves out what may not be connected to: a name can point elsewhere at any moment.
struct Guarded {
    private: bool,
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let private = self.private;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0))
                .await?
                .filter(|address| may_connect(address.ip(), private))
                .collect();
            if found.is_empty() {
                return Err("the name leads to no address that may be connected to".into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Public unicast always; private networks and loopback when configured; link-local, multicast and nowhere never.
pub fn may_connect(address: IpAddr, private: bool) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address) || private && is_private_v4(address),
        IpAddr::V6(address) => is_public_v6(address) || private && is_private_v6(address),
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    address.is_private() || address.is_loopback() || a == 100 && (64..128).contains(&b)
}

/// What the registry of special-purpose addresses (RFC 6890) leaves.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = a == 0
        || is_private_v4(address)
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || (a, b, c) == (192, 0, 0)
        || (a, b, c) == (192, 88, 99)
        || a == 198 && (b == 18 || b == 19)
        || a >= 240;
    !special
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    address.is_loopback() || address.is_unique_local()
}

/// Global unicast (2000::/3) without protocol assignments, documentation, and tunnels that carry an IPv4 address.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    let special = first == 0x2001 && (second < 0x0200 || second == 0x0db8)
        || first == 0x2002
        || first == 0x3fff && second < 0x1000;
    (0x2000..0x4000).contains(&first) && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_unless_configured_and_some_never() {
        let check = |text: &str, public: bool, private: bool| {
            let address: IpAddr = text.parse().expect("an address");
            assert_eq!(
                (may_connect(address, false), may_connect(address, true)),
                (public, private),
                "{text}"
            );
        };
        for text in [
            "8.8.8.8",
            "1.1.1.1",
            "100.63.0.1",
            "100.128.0.1",
            "172.32.0.1",
            "2400:3200::1",
            "::ffff:8.8.8.8",
        ] {
            check(text, true, true);
        }
        for text in [
            "10.0.0.1",
            "127.0.0.1",
            "127.9.9.9",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "100.127.255.255",
            "::1",
            "fc00::1",
            "fd12::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
        ] {
            check(text, false, true);
        }
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "::",
            "fe80::1",
            "ff02::1",
            "64:ff9b::a00:1",
            "2002:a00:1::",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "::ffff:169.254.169.254",
            "::10.0.0.1",
            "fec0::1",
        ] {
            check(text, false, false);
        }
    }

    #[test]
    fn a_url_is_https_or_a_configured_loopback() {
        let check = |text: &str, public: bool, private: bool| {
            let said = |private| check_url(&Url::parse(text).expect("a URL"), private).is_ok();
            assert_eq!((said(false), said(true)), (public, private), "{text}");
        };
        check("https://id.example.gov.cn/jwks", true, true);
        check("https://8.8.8.8/jwks", true, true);
        check("https://10.1.1.1/jwks", false, true);
        check("https://[fd00::1]:8443/jwks", false, true);
        check("http://127.0.0.1:9/jwks", false, true);
        check("http://[::1]:9/jwks", false, true);
        for never in [
            "http://id.example.gov.cn/jwks",
            "http://localhost/jwks",
            "http://10.1.1.1/jwks",
            "http://8.8.8.8/jwks",
            "https://169.254.169.254/jwks",
            "https://0x7f.1/jwks#x",
            "https://user@id.example.gov.cn/jwks",
            "https://:secret@id.example.gov.cn/jwks",
            "https://id.example.gov.cn/jwks#key",
            "file:///etc/passwd",
            "ftp://id.example.gov.cn/jwks",
            "data:application/json,{}",
        ] {
            check(never, false, false);
        }
        // Another way to write 127.0.0.1 is that address.
        check("https://0x7f.1/jwks", false, true);
        check("https://2130706433/jwks", false, true);
    }
}
