//! `tongqu audit verify URL`: a hub's record fetched over HTTP and verified, as a reviewer or cosigner does every day.
//!
//! INVARIANT: the hub is not trusted: every answer has a ceiling in bytes and time, no redirect is followed, and the
//! token goes to the address given and nowhere else.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use reqwest::{Certificate, Client, Response, redirect};
use url::{Host, Url};

use crate::audit::verify::verify_served;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// One answer, to its last byte.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Calls for one file while the hub says that it has too much to do, and the longest wait between two.
const TRIES_MAX: u32 = 5;
const WAIT_MAX_S: u64 = 60;
/// A token, checkpoint or chain of certificates read from a file.
const FILE_BYTES_MAX: u64 = 1 << 20;

pub const ONLY_FOR_A_HUB: &str =
    "`--token-file`, `--ca`, `--since` and `--keep` are for a hub's address; leave them out for a directory";

#[derive(Debug, Args)]
pub struct HubOptions {
    /// File with a reviewer's token; read again for every call, so that it can be renewed.
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// Authorities (PEM) to trust instead of the system's.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// A checkpoint kept earlier: the record must continue it, and only what came since is read.
    #[arg(long)]
    since: Option<PathBuf>,
    /// Where to keep the verified checkpoint; one that is there already is continued, as with `--since`.
    #[arg(long)]
    keep: Option<PathBuf>,
}

impl HubOptions {
    pub fn is_empty(&self) -> bool {
        [&self.token_file, &self.ca, &self.since, &self.keep].into_iter().all(Option::is_none)
    }
}

/// Verifies, prints, and keeps the checkpoint where that is asked.
pub async fn verify(address: &str, key: String, options: HubOptions) -> anyhow::Result<()> {
    let token_file = options.token_file.clone().context("give a reviewer's token with `--token-file`")?;
    let base = base(address)?;
    let hub = Hub { http: client(&base, options.ca.as_deref())?, base, token_file };
    let kept = match (&options.since, &options.keep) {
        (Some(since), _) => Some(read(since)?),
        (None, Some(keep)) if keep.exists() => Some(read(keep)?),
        _ => None,
    };
    let runtime = tokio::runtime::Handle::current();
    let verified = tokio::task::spawn_blocking(move || {
        let fetch = |path: &str, bytes_max: usize| runtime.block_on(hub.file(path, bytes_max));
        verify_served(&fetch, &key, kept.as_deref())
    });
    let verified = verified.await?.map_err(|fault| anyhow::anyhow!("the record does NOT verify: {fault}"))?;
    if let Some(keep) = &options.keep {
        write(keep, &verified.checkpoint)
            .with_context(|| format!("the checkpoint cannot be kept in `{}`", keep.display()))?;
    }
    println!("{verified}");
    Ok(())
}

/// The address, without a doubt about where the token goes.
fn base(address: &str) -> anyhow::Result<Url> {
    let mut url = Url::parse(address).context("this is no address of a hub; give https://HOST[:PORT]")?;
    let loopback = match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    ensure!(
        url.scheme() == "https" || loopback,
        "a token goes over https only, but to loopback; give https://…"
    );
    let bare = url.username().is_empty() && url.password().is_none();
    ensure!(bare && url.query().is_none() && url.fragment().is_none(), "give the hub's address alone");
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

fn client(base: &Url, ca: Option<&Path>) -> anyhow::Result<Client> {
    let mut client = Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(ANSWER_TIMEOUT)
        .redirect(redirect::Policy::none())
        .https_only(base.scheme() == "https")
        .no_proxy();
    if let Some(ca) = ca {
        let authorities = Certificate::from_pem_bundle(&read(ca)?);
        let authorities = authorities.with_context(|| format!("`{}` is no PEM", ca.display()))?;
        ensure!(!authorities.is_empty(), "`{}` holds no certificate; give authorities in PEM", ca.display());
        client = client.tls_certs_only(authorities);
    }
    client.build().context("no client can be set up")
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).with_context(|| format!("`{}` cannot be read", path.display()))?;
    io::Read::read_to_end(&mut io::Read::take(file, FILE_BYTES_MAX), &mut bytes)
        .with_context(|| format!("`{}` cannot be read", path.display()))?;
    Ok(bytes)
}

/// Whole or not at all: the next run relies on it.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let new = path.with_extension("tmp");
    let mut file = std::fs::File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    std::fs::File::open(folder)?.sync_all()
}

struct Hub {
    http: Client,
    base: Url,
    token_file: PathBuf,
}

impl Hub {
    /// A published file of the record.
    async fn file(&self, path: &str, bytes_max: usize) -> io::Result<Vec<u8>> {
        let url = self.base.join(&format!("v1/audit/{path}")).map_err(io::Error::other)?;
        let mut tried = 0;
        loop {
            let token = read(&self.token_file).map_err(io::Error::other)?;
            let token = String::from_utf8_lossy(&token).trim().to_owned();
            let sent = self.http.get(url.clone()).bearer_auth(token).send().await;
            let answer = sent.map_err(|cause| said(&cause))?;
            tried += 1;
            match answer.status().as_u16() {
                200 => return body(answer, bytes_max).await,
                429 | 503 if tried < TRIES_MAX => {
                    let wait = answer.headers().get("retry-after").and_then(|text| text.to_str().ok());
                    let wait_s = wait.and_then(|text| text.parse().ok()).unwrap_or(1_u64);
                    tokio::time::sleep(Duration::from_secs(wait_s.min(WAIT_MAX_S))).await;
                }
                status => return Err(io::Error::other(refused(status))),
            }
        }
    }
}

fn refused(status: u16) -> String {
    let hint = match status {
        300..=399 => "redirects are not followed; give the hub's own address",
        401 => "put a fresh token into `--token-file`",
        403 | 404 => {
            "the token's account needs the role `reviewer`; or the hub lacks what its checkpoint promises"
        }
        429 | 503 => "the hub has too much to do; try again later",
        _ => "this is no answer of a hub; check the address",
    };
    format!("the hub answers {status}: {hint}")
}

async fn body(mut answer: Response, bytes_max: usize) -> io::Result<Vec<u8>> {
    let too_large =
        || io::Error::other(format!("the answer has more than {bytes_max} bytes; this is no honest hub"));
    if answer.content_length().is_some_and(|len| len > bytes_max as u64) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|cause| said(&cause))? {
        if bytes.len() + chunk.len() > bytes_max {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// An error with what is behind it: "a certificate is not trusted" helps, "error sending request" does not.
fn said(cause: &dyn std::error::Error) -> io::Error {
    let mut text = cause.to_string();
    let mut behind = cause.source();
    while let Some(next) = behind {
        text = format!("{text}: {next}");
        behind = next.source();
    }
    io::Error::other(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_over_https_or_stays_on_the_machine() {
        for (address, good) in [
            ("https://hub.example.gov.cn", true),
            ("https://hub.example.gov.cn/tongqu", true),
            ("http://127.0.0.1:8080", true),
            ("http://[::1]:8080", true),
            ("http://localhost:8080/", true),
            ("http://hub.example.gov.cn", false),
            ("http://localhost.example.com", false),
            ("http://127.0.0.1.example.com", false),
            ("https://user@hub.example.gov.cn", false),
            ("https://:secret@hub.example.gov.cn", false),
            ("https://hub.example.gov.cn/?a", false),
            ("https://", false),
        ] {
            assert_eq!(base(address).is_ok(), good, "{address}");
        }
        let joined = base("https://hub.example.gov.cn/tongqu").and_then(|base| Ok(base.join("v1/x")?));
        assert_eq!(joined.expect("an address").as_str(), "https://hub.example.gov.cn/tongqu/v1/x");
    }
}
