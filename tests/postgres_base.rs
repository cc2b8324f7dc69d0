//! A database of one test at the PostgreSQL server that all tests share, and how a hub is told of it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;
use tongqu::config::{PostgresConfig, TlsMode};

use crate::postgres_server::{PASSWORD, PostgresServer, account, shared};

pub struct PostgresBase {
    pub server: &'static PostgresServer,
    name: String,
    folder: TempDir,
}

impl PostgresBase {
    pub async fn new() -> Self {
        Self::at(shared()).await
    }

    pub async fn at(server: &'static PostgresServer) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("base_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let base = Self { server, name, folder: tempfile::tempdir().expect("a folder") };
        let mut owner = PgConnection::connect(&server.url("postgres")).await.expect("the server");
        for sql in [account(), format!("CREATE DATABASE {} TEMPLATE template0", base.name)] {
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut owner).await.expect("made");
        }
        base.run("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO hub").await;
        std::fs::write(base.password_file(), PASSWORD).expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(base.password_file(), mode).expect("set");
        base
    }

    /// Runs SQL as the owner; the hub's account may read the tables that are made.
    pub async fn run(&self, sql: &str) {
        let mut owner = PgConnection::connect(&self.server.url(&self.name)).await.expect("the server");
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut owner).await.expect("run");
    }

    pub fn password_file(&self) -> PathBuf {
        self.folder.path().join("password")
    }

    /// What an operator writes: over TLS, checked in full.
    pub fn config(&self, name: &str, departments: &[&str]) -> PostgresConfig {
        PostgresConfig {
            name: name.to_owned(),
            host: "localhost".to_owned(),
            port: self.server.port,
            database: self.name.clone(),
            user: "hub".to_owned(),
            password_file: Some(self.password_file()),
            tls: TlsMode::VerifyFull,
            ca_file: Some(self.server.folder.join("ca.pem")),
            connections_max: 4,
            connect_timeout_ms: 5_000,
            statement_timeout_ms: 30_000,
            departments: departments.iter().map(|department| (*department).to_owned()).collect(),
        }
    }
}
