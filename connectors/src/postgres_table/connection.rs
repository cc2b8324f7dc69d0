//! Connections to departments' PostgreSQL servers: named by the operator, borrowed for one read-only transaction.
//!
//! INVARIANT: hosts and credentials come from the configuration only; the password is read from its file when a
//! connection is made and not kept, so it is in no `Debug`, error or log line.
//! INVARIANT: a connection goes back only after its transaction was rolled back (whatever a function below a view set is
//! gone); one that was left in the middle is closed, and its server stops the statement.
//! INVARIANT: no word of the server is kept: its errors become their SQLSTATE.

use std::{
    collections::HashMap,
    fmt,
    io::Read,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use catalog::{DepartmentId, Faults};
use sqlx::{
    AssertSqlSafe, ConnectOptions, PgConnection,
    postgres::{PgConnectOptions, PgSslMode},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use zeroize::Zeroizing;

use crate::{SourceError, error::blocking};

/// An idle connection older than this is not used again.
const IDLE_MAX: Duration = Duration::from_secs(60);
const PASSWORD_BYTES_MAX: u64 = 4_096;
/// First version whose backends notice while they compute that nobody listens any more.
const VERSION_THAT_CHECKS: u32 = 140_000;
/// First version with collations of its own rules, which the checks ask for.
const VERSION_MIN: u32 = 120_000;

/// How the way to a server is protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PostgresTls {
    /// Not at all: loopback and Unix sockets only (the configuration is refused otherwise).
    Disable,
    /// The certificate must be for the host's name and signed by this authority (PEM file).
    VerifyFull { ca_file: PathBuf },
}

/// One server and account that the operator opens to departments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresConnection {
    /// What bindings call it.
    pub name: String,
    /// Name or address; a path is the folder of a Unix socket.
    pub host: String,
    pub port: u16,
    pub database: String,
    pub user: String,
    /// Read at every connect; without it an empty password is offered.
    pub password_file: Option<PathBuf>,
    pub tls: PostgresTls,
    pub connections_max: u32,
    /// Connecting, and waiting for a free connection.
    pub connect_timeout_ms: u64,
    /// One statement, rows fetched included.
    pub statement_timeout_ms: u64,
    /// Providers that may bind to it.
    pub departments: Vec<DepartmentId>,
}

/// A configured server with its open connections.
pub(crate) struct Server {
    settings: PostgresConnection,
    seats: Arc<Semaphore>,
    idle: Mutex<Vec<(PgConnection, Instant)>>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("name", &self.settings.name).finish_non_exhaustive()
    }
}

/// All configured servers by name.
#[derive(Debug, Default)]
pub(crate) struct Servers(HashMap<String, Arc<Server>>);

impl Servers {
    pub(crate) fn new(connections: Vec<PostgresConnection>) -> Self {
        let servers = connections.into_iter().map(|settings| {
            let seats = usize::try_from(settings.connections_max.max(1)).unwrap_or(1);
            let name = settings.name.clone();
            let seats = Arc::new(Semaphore::new(seats));
            (name, Arc::new(Server { settings, seats, idle: Mutex::default() }))
        });
        Self(servers.collect())
    }

    /// The server of this name, if the department may bind to it; one text for both faults, so that nobody learns
    /// what others have.
    pub(crate) fn get(&self, name: &str, department: &DepartmentId) -> Result<Arc<Server>, SourceError> {
        let server = self.0.get(name).filter(|server| server.settings.departments.contains(department));
        server.cloned().ok_or_else(|| {
            let mut faults = Faults::default();
            faults.add(
                "/binding",
                format!(
                    "`{name}` is no connection your department may bind to; ask the operator to list `{department}` in `sources.postgres`"
                ),
            );
            SourceError::Mismatch(faults)
        })
    }
}

/// A failed call: the code of the server or the kind of failure, never its text.
pub(super) fn failed(error: sqlx::Error) -> SourceError {
    match error {
        sqlx::Error::Database(said) => match said.code().as_deref() {
            // Cancelled: by `statement_timeout`, or by the department's own administrator.
            Some("57014") => SourceError::Deadline,
            Some(code) => SourceError::unavailable(format!("sqlstate {code}")),
            None => SourceError::unavailable("the server refused without a code"),
        },
        sqlx::Error::Io(cause) => SourceError::unavailable(cause.kind()),
        sqlx::Error::Tls(_) => SourceError::unavailable("no trusted TLS connection"),
        _ => SourceError::unavailable("the connection failed"),
    }
}

fn late() -> SourceError {
    SourceError::unavailable("the server did not answer in time")
}

impl Server {
    fn connect_max(&self) -> Duration {
        Duration::from_millis(self.settings.connect_timeout_ms.max(1))
    }

    pub(super) fn statement_max(&self) -> Duration {
        Duration::from_millis(self.settings.statement_timeout_ms.max(1))
    }

    /// A connection inside a read-only transaction, whose settings are pinned.
    pub(crate) async fn lease(self: &Arc<Self>) -> Result<Lease, SourceError> {
        let seat = timeout(self.connect_max(), Arc::clone(&self.seats).acquire_owned()).await;
        let seat = seat
            .map_err(|_| SourceError::unavailable("all connections are in use"))?
            .map_err(SourceError::unavailable)?;
        while let Some(mut kept) = self.take_idle() {
            // A server that was started again closed it; one that hangs would hang for the others too.
            match timeout(self.connect_max(), begin(&mut kept, &self.settings)).await {
                Ok(Ok(())) => return Ok(self.lent(kept, seat)),
                Ok(Err(_)) => {}
                Err(_) => {
                    self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
                    return Err(late());
                }
            }
        }
        let fresh = async {
            let mut connection = self.connect().await?;
            begin(&mut connection, &self.settings).await.map_err(failed)?;
            Ok::<_, SourceError>(connection)
        };
        let fresh = timeout(self.connect_max(), fresh).await.map_err(|_| late())??;
        Ok(self.lent(fresh, seat))
    }

    fn lent(self: &Arc<Self>, connection: PgConnection, seat: OwnedSemaphorePermit) -> Lease {
        Lease { server: Arc::clone(self), connection, _seat: seat }
    }

    fn take_idle(&self) -> Option<PgConnection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(_, since)| since.elapsed() < IDLE_MAX);
        idle.pop().map(|(connection, _)| connection)
    }

    async fn connect(&self) -> Result<PgConnection, SourceError> {
        let password = match self.settings.password_file.clone() {
            Some(path) => blocking(move || password(path)).await?,
            None => Zeroizing::default(),
        };
        let options = PgConnectOptions::new_without_pgpass()
            .host(&self.settings.host)
            .port(self.settings.port)
            .database(&self.settings.database)
            .username(&self.settings.user)
            .password(&password)
            .application_name("tongqu")
            .statement_cache_capacity(0)
            .disable_statement_logging();
        let options = match &self.settings.tls {
            PostgresTls::Disable => options.ssl_mode(PgSslMode::Disable),
            PostgresTls::VerifyFull { ca_file } => {
                options.ssl_mode(PgSslMode::VerifyFull).ssl_root_cert(ca_file)
            }
        };
        let connection = options.connect().await.map_err(failed)?;
        if connection.server_version_num().is_none_or(|version| version < VERSION_MIN) {
            return Err(SourceError::unavailable("older than PostgreSQL 12"));
        }
        Ok(connection)
    }
}

fn password(path: PathBuf) -> Result<Zeroizing<String>, SourceError> {
    // Enough from the start: a buffer that grows would leave its old bytes behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(PASSWORD_BYTES_MAX as usize + 1));
    std::fs::File::open(path)?.take(PASSWORD_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > PASSWORD_BYTES_MAX {
        return Err(SourceError::unavailable("the password file is too long"));
    }
    let text =
        std::str::from_utf8(&bytes).map_err(|_| SourceError::unavailable("the password is no UTF-8"))?;
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Begins a transaction that cannot write and in which names, times and numbers mean one thing.
async fn begin(connection: &mut PgConnection, settings: &PostgresConnection) -> Result<(), sqlx::Error> {
    let statement_ms = settings.statement_timeout_ms.max(1);
    let mut sql = format!(
        "BEGIN TRANSACTION ISOLATION LEVEL READ COMMITTED READ ONLY; \
        SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL client_min_messages = error; \
        SET LOCAL statement_timeout = {statement_ms}; SET LOCAL lock_timeout = {statement_ms}; \
        SET LOCAL idle_in_transaction_session_timeout = {statement_ms}; \
        SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL extra_float_digits = 1; \
        SET LOCAL standard_conforming_strings = on"
    );
    if connection.server_version_num().is_some_and(|version| version >= VERSION_THAT_CHECKS) {
        sql.push_str("; SET LOCAL client_connection_check_interval = 500");
    }
    // Safe: only numbers of the configuration are written into it.
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.map(drop)
}

/// A connection on loan; dropped without [`Lease::done`] it is closed.
pub(crate) struct Lease {
    server: Arc<Server>,
    pub(super) connection: PgConnection,
    _seat: OwnedSemaphorePermit,
}

impl Lease {
    /// Ends the transaction and gives the connection back.
    pub(super) async fn done(mut self) {
        let ended = sqlx::raw_sql("ROLLBACK").execute(&mut self.connection);
        if matches!(timeout(self.server.connect_max(), ended).await, Ok(Ok(_))) {
            let mut idle = self.server.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push((self.connection, Instant::now()));
        }
    }
}
