//! Certificates of a test's own authority, made with the `openssl` command.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use tongqu::config::TlsConfig;

/// A folder with an authority, and the pair a hub is given.
pub struct Authority {
    folder: TempDir,
}

/// Runs `openssl` to its end.
pub fn openssl(arguments: &[&str]) -> Output {
    let mut command = Command::new("openssl");
    command.args(arguments).stdin(Stdio::null());
    command.output().expect("`openssl` runs; install it, as tests/run does")
}

pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

impl Authority {
    pub fn new() -> Self {
        let authority = Self { folder: tempfile::tempdir().expect("a folder") };
        authority.make("ca", "/CN=test authority", &["-addext", "basicConstraints=critical,CA:TRUE"]);
        authority
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn make(&self, name: &str, subject: &str, more: &[&str]) {
        let (key, certificate) = (self.path(&format!("{name}.key")), self.path(&format!("{name}.pem")));
        let (key, certificate) = (key.to_string_lossy(), certificate.to_string_lossy());
        let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let files = ["-keyout", &*key, "-out", &*certificate, "-subj", subject, "-days", "10"];
        let arguments = [&["req", "-x509"], &curve[..], &files[..], more].concat();
        let made = openssl(&arguments);
        assert!(made.status.success(), "{}", text(&made));
    }

    /// `NAME.pem` and `NAME.key` for loopback, signed by the authority.
    pub fn issue(&self, name: &str) -> TlsConfig {
        let (ca, ca_key) = (self.path("ca.pem"), self.path("ca.key"));
        let more = ["-CA", &*ca.to_string_lossy(), "-CAkey", &*ca_key.to_string_lossy()].map(str::to_owned);
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        let names = [
            "-addext",
            "subjectAltName=IP:127.0.0.1,DNS:localhost",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ];
        self.make(name, &format!("/CN={name}"), &[&more[..], &names[..]].concat());
        TlsConfig { certificate: self.path(&format!("{name}.pem")), key: self.path(&format!("{name}.key")) }
    }

    /// A client that trusts this authority alone and opens a connection for every call.
    pub fn client(&self) -> reqwest::Client {
        let bytes = std::fs::read(self.path("ca.pem")).expect("the authority");
        let certificate = reqwest::Certificate::from_pem(&bytes).expect("a certificate");
        reqwest::Client::builder()
            .tls_certs_only([certificate])
            .pool_max_idle_per_host(0)
            .no_proxy()
            .build()
            .expect("a client")
    }
}

/// Puts another pair in the place of one: first the certificate, then the key, each by a rename.
pub fn replace(files: &TlsConfig, with: &TlsConfig) {
    for (from, to) in [(&with.certificate, &files.certificate), (&with.key, &files.key)] {
        put(from, to);
    }
}

pub fn put(from: &Path, to: &Path) {
    let new = to.with_extension("new");
    std::fs::copy(from, &new).expect("copied");
    std::fs::rename(&new, to).expect("renamed");
}
