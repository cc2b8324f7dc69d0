//! TLS of the hub's own: a certificate and its key, read from files and looked at again while the hub runs.
//!
//! INVARIANT: a pair is taken only whole: of bounded size, its key closed to others, matching, in its time. A bad new
//! one leaves the old one in place; connections that run keep what they began with.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use crate::clock::SECOND_US;
use crate::config::TlsConfig;

mod validity;

use validity::{Validity, day};

/// Bytes of a certificate chain or key file.
const FILE_BYTES_MAX: u64 = 128 << 10;
/// Certificates of a chain.
const CHAIN_MAX: usize = 16;
const DAY_S: i64 = 86_400;
/// From here on the log says every day that the certificate ends.
const WARNED_DAYS: i64 = 30;

/// Why a certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("`{}` cannot be read: {cause}; check `hub.tls`, the path and its owner", path.display())]
    Read { path: PathBuf, cause: std::io::Error },
    #[error("`{}` is larger than {FILE_BYTES_MAX} bytes; give one certificate chain and one key", .0.display())]
    TooLarge(PathBuf),
    #[error("key `{}` can be read by others; `chmod 600` it", .0.display())]
    TooOpen(PathBuf),
    #[error("`{}` is no PEM chain of 1 to {CHAIN_MAX} certificates; give the hub's own first, then those above it", .0.display())]
    Chain(PathBuf),
    #[error("`{}` holds no usable private key; give it in PEM (PKCS#8, SEC1 or PKCS#1), without a passphrase", .0.display())]
    Key(PathBuf),
    #[error("certificate `{}` and key `{}` do not belong together; give the key that the certificate was made for", certificate.display(), key.display())]
    OtherKey { certificate: PathBuf, key: PathBuf },
    #[error("certificate `{}` ended {on}; put a new one in place", path.display())]
    Ended { path: PathBuf, on: String },
    #[error("certificate `{}` counts only from {on}; check the clock, or put another one in place", path.display())]
    NotYet { path: PathBuf, on: String },
    #[error("TLS cannot be set up: {0}")]
    Protocol(rustls::Error),
}

/// A whole pair.
#[derive(Debug)]
struct Pair {
    certified: Arc<CertifiedKey>,
    validity: Validity,
}

impl Pair {
    fn read(files: &TlsConfig, now_s: i64, provider: &CryptoProvider) -> Result<Self, TlsError> {
        let TlsConfig { certificate, key } = files;
        let bad_chain = || TlsError::Chain(certificate.clone());
        let bad_key = || TlsError::Key(key.clone());
        let (chain, _) = read(certificate)?;
        let (secret, metadata) = read(key)?;
        if metadata.mode() & 0o077 != 0 {
            return Err(TlsError::TooOpen(key.clone()));
        }
        let chain = CertificateDer::pem_slice_iter(&chain).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|_malformed| bad_chain())?;
        let own = chain.first().filter(|_| chain.len() <= CHAIN_MAX).ok_or_else(bad_chain)?;
        let validity = Validity::of(own).ok_or_else(bad_chain)?;
        let secret = PrivateKeyDer::from_pem_slice(&secret).map_err(|_malformed| bad_key())?;
        let certified = CertifiedKey::from_der(chain, secret, provider).map_err(|cause| match cause {
            rustls::Error::InconsistentKeys(_) => {
                TlsError::OtherKey { certificate: certificate.clone(), key: key.clone() }
            }
            rustls::Error::InvalidCertificate(_) => bad_chain(),
            _ => bad_key(),
        })?;
        let path = certificate.clone();
        if now_s >= validity.until_s {
            return Err(TlsError::Ended { path, on: day(validity.until_s) });
        }
        if now_s < validity.from_s {
            return Err(TlsError::NotYet { path, on: day(validity.from_s) });
        }
        Ok(Self { certified: Arc::new(certified), validity })
    }
}

fn read(path: &Path) -> Result<(Zeroizing<Vec<u8>>, Metadata), TlsError> {
    let fault = |cause| TlsError::Read { path: path.to_owned(), cause };
    let file = File::open(path).map_err(fault)?;
    let metadata = file.metadata().map_err(fault)?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(fault)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(TlsError::TooLarge(path.to_owned()));
    }
    Ok((bytes, metadata))
}

/// What tells one version of a file from the next.
type Identity = Option<(u64, u64, u64, i64, i64, i64, i64)>;

fn identity(path: &Path) -> Identity {
    let at = std::fs::metadata(path).ok()?;
    Some((at.dev(), at.ino(), at.size(), at.mtime(), at.mtime_nsec(), at.ctime(), at.ctime_nsec()))
}

fn identities(files: &TlsConfig) -> [Identity; 2] {
    [identity(&files.certificate), identity(&files.key)]
}

/// The pair in force, for new handshakes.
#[derive(Debug)]
struct Current(RwLock<Pair>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).certified.clone())
    }
}

/// What was looked at last.
#[derive(Debug)]
struct Seen {
    files: [Identity; 2],
    days_left: i64,
}

/// The hub's TLS.
pub struct Tls {
    files: TlsConfig,
    provider: Arc<CryptoProvider>,
    current: Arc<Current>,
    seen: Mutex<Seen>,
    acceptor: TlsAcceptor,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the pair; TLS 1.2 and 1.3, HTTP/1.1.
    pub fn open(files: &TlsConfig, now_us: i64) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        // Before the files are read: what changes meanwhile is seen at the next look.
        let seen = Seen { files: identities(files), days_left: i64::MAX };
        let pair = Pair::read(files, now_us / SECOND_US, &provider)?;
        let current = Arc::new(Current(RwLock::new(pair)));
        let mut config = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(TlsError::Protocol)?
            .with_no_client_auth()
            .with_cert_resolver(current.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self { files: files.clone(), provider, current, seen: Mutex::new(seen), acceptor })
    }

    pub fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }

    /// Until the certificate ends; negative when it has.
    pub fn seconds_left(&self, now_us: i64) -> i64 {
        let until_s = self.current.0.read().unwrap_or_else(PoisonError::into_inner).validity.until_s;
        until_s - now_us / SECOND_US
    }

    /// Takes the pair anew when its files changed since the last look, or when `asked`; whether it could be taken.
    pub fn look(&self, now_us: i64, asked: bool) -> Option<bool> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let files = identities(&self.files);
        let taken = (asked || files != seen.files).then(|| self.take(now_us / SECOND_US));
        seen.files = files;
        let days_left = self.seconds_left(now_us).div_euclid(DAY_S);
        if days_left < WARNED_DAYS && (days_left != seen.days_left || taken.is_some()) {
            tracing::warn!(days_left, "the certificate ends soon; put a new one in place");
        }
        seen.days_left = days_left;
        taken
    }

    fn take(&self, now_s: i64) -> bool {
        match Pair::read(&self.files, now_s, &self.provider) {
            Ok(pair) => {
                tracing::info!(until = day(pair.validity.until_s), "a new certificate is in force");
                *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = pair;
                true
            }
            Err(cause) => {
                tracing::error!(%cause, "the new certificate is not taken; the old one stays in force");
                false
            }
        }
    }
}
