//! PostgreSQL servers that the operator opens to departments: where they are, who signs in, what is doubtful.
//!
//! INVARIANT: a password is named by its file and never read here, so no `Debug` and no message can show one.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// How the way to a server is protected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// Not at all: loopback and Unix sockets only.
    Disable,
    /// The certificate must be for the host and signed by `ca_file`.
    #[default]
    VerifyFull,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    /// What bindings call it: `[a-z0-9_-]`, at most 64 bytes.
    pub name: String,
    /// Name or address; a path is the folder of a Unix socket.
    pub host: String,
    #[serde(default = "postgres_port")]
    pub port: u16,
    pub database: String,
    pub user: String,
    /// The password alone, read at every connect; without it none is offered.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    #[serde(default)]
    pub tls: TlsMode,
    /// Certificates (PEM) of who signs the server's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    #[serde(default = "postgres_connections")]
    pub connections_max: u32,
    /// Connecting, and waiting for a free connection.
    #[serde(default = "five_seconds")]
    pub connect_timeout_ms: u64,
    /// One statement, rows fetched included.
    #[serde(default = "half_a_minute")]
    pub statement_timeout_ms: u64,
    /// Providers that may bind to it.
    pub departments: Vec<String>,
}

fn postgres_port() -> u16 {
    5432
}

fn postgres_connections() -> u32 {
    8
}

fn five_seconds() -> u64 {
    5_000
}

fn half_a_minute() -> u64 {
    30_000
}

/// What is doubtful about the servers departments may bind to.
pub(super) fn doubts(servers: &[PostgresConfig]) -> Vec<String> {
    let mut doubts = Vec::new();
    for (number, server) in servers.iter().enumerate() {
        let name = &server.name;
        let mut doubt = |what: &str| doubts.push(format!("`sources.postgres` `{name}`: {what}"));
        if !catalog::check::is_connection_name(name) {
            doubt("a name is 1 to 64 of `a-z`, `0-9`, `-`, `_`; choose another");
        }
        if servers.iter().take(number).any(|other| other.name == *name) {
            doubt("two servers have this name; rename one");
        }
        if server.departments.is_empty() {
            doubt("no department may bind to it; list one in `departments`");
        }
        let near = server.host == "localhost"
            || server.host.starts_with('/')
            || server.host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
        match server.tls {
            TlsMode::Disable if !near => doubt("is off loopback without TLS; set `tls = \"verify-full\"`"),
            TlsMode::VerifyFull if server.ca_file.is_none() => {
                doubt("does not say who signs the server's certificate; set `ca_file`");
            }
            _ => {}
        }
        if server.connections_max == 0 || server.connect_timeout_ms == 0 || server.statement_timeout_ms == 0 {
            doubt("a ceiling is 0; raise it");
        }
        if server.password_file.as_deref().is_some_and(is_open_to_others) {
            doubt("others can read `password_file`; `chmod 600` it");
        }
    }
    doubts
}

fn is_open_to_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn doubtful_servers_are_named() {
        let server = |set: &str| {
            let text = format!(
                "[[sources.postgres]]\nname = \"market\"\nhost = \"127.0.0.1\"\ndatabase = \"d\"\nuser = \"u\"\n{set}"
            );
            toml::from_str::<Config>(&text).expect("a server").doubts().join("\n")
        };
        assert_eq!(server("tls = \"disable\"\ndepartments = [\"market-regulation\"]"), "");
        assert!(server("departments = [\"market-regulation\"]").contains("`ca_file`"));
        assert!(server("tls = \"disable\"\ndepartments = []").contains("no department"));
        let ceiling = server("tls = \"disable\"\nconnections_max = 0\ndepartments = [\"a\"]");
        assert!(ceiling.contains("a ceiling is 0"), "{ceiling}");
        let mut config: Config = toml::from_str(
            "[[sources.postgres]]\nname = \"A b\"\nhost = \"10.0.0.7\"\ndatabase = \"d\"\nuser = \"u\"\ntls = \"disable\"\ndepartments = [\"a\"]",
        )
        .expect("a server");
        config.sources.postgres.push(config.sources.postgres[0].clone());
        let open = tempfile::NamedTempFile::new().expect("a file");
        std::fs::set_permissions(open.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .expect("set");
        config.sources.postgres[1].password_file = Some(open.path().to_owned());
        let doubts = config.doubts().join("\n");
        for expect in ["off loopback without TLS", "choose another", "rename one", "chmod 600"] {
            assert!(doubts.contains(expect), "{doubts}");
        }
    }
}
