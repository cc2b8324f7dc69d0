//! A real PostgreSQL server for tests: own folder, free loopback port, gone when the test process is.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::LazyLock,
};

/// What the account of the hub signs in with; looked for wherever the hub writes.
pub const PASSWORD: &str = "CANARY-p4ss w0rd";
/// Who may do everything, without a password, for the test's own work.
pub const OWNER: &str = "postgres";

/// Runs the server below a shell that waits for its standard input to end, which it does however the test ends.
const SCRIPT: &str = r#"
set -eu
umask 077
folder=$(mktemp -d); bin=$1; port=$2
trap 'rm -rf "$folder"' EXIT
"$bin/initdb" -D "$folder/data" -U postgres -E UTF8 --locale=C.UTF-8 --no-sync -A trust >/dev/null
cd "$folder"
{
  openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=ca" -keyout ca.key -out ca.pem
  openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=other ca" -keyout other.key -out other.pem
  openssl req -newkey rsa:2048 -nodes -subj "/CN=localhost" -keyout server.key -out server.csr
  printf 'subjectAltName=DNS:localhost\n' > names
  openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile names -out server.pem
} >/dev/null 2>&1
printf '%s\n' 'local all all trust' 'host all postgres 127.0.0.1/32 trust' 'host all all 127.0.0.1/32 scram-sha-256' 'host all all ::1/128 scram-sha-256' > data/pg_hba.conf
start() {
  "$bin/postgres" -D "$folder/data" -p "$port" -k "$folder" -c listen_addresses=localhost -c fsync=off -c max_connections=60 \
    -c shared_buffers=16MB -c ssl=on -c ssl_cert_file="$folder/server.pem" -c ssl_key_file="$folder/server.key" \
    -c log_min_messages=panic -c timezone=Asia/Shanghai -c datestyle='SQL, DMY' >/dev/null 2>&1 </dev/null &
  pid=$!
  tries=0
  until "$bin/pg_isready" -q -h 127.0.0.1 -p "$port"; do
    tries=$((tries + 1)); [ $tries -lt 600 ] || exit 1
    kill -0 $pid || exit 1
    sleep 0.1
  done
}
start
chmod 755 "$folder"; chmod 644 ca.pem other.pem
echo "$folder"
while read -r order; do
  case $order in
    stop) kill -QUIT $pid; wait $pid || true ;;
    start) start ;;
    hang) kill -STOP $pid $(ps -o pid= --ppid $pid) ;;
    wake) kill -CONT $pid $(ps -o pid= --ppid $pid) ;;
  esac
  echo done
done
kill -CONT $pid 2>/dev/null || true
kill -QUIT $pid 2>/dev/null || true
wait $pid || true
"#;

pub struct PostgresServer {
    pub port: u16,
    /// Holds `ca.pem`, which signed the server's certificate, and `other.pem`, which did not.
    pub folder: PathBuf,
    shell: Child,
    said: std::sync::Mutex<BufReader<std::process::ChildStdout>>,
}

/// The server that tests share; each makes a database of its own.
pub fn shared() -> &'static PostgresServer {
    static SERVER: LazyLock<PostgresServer> = LazyLock::new(PostgresServer::start);
    &SERVER
}

fn programs() -> PathBuf {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().expect("PostgreSQL is needed: install the package `postgresql` (tests/run does)")
}

/// SQL that makes the hub's account, once a server, however many tests begin together.
pub fn account() -> String {
    format!(
        "DO $$ BEGIN PERFORM pg_advisory_xact_lock(1); IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'hub') \
        THEN CREATE ROLE hub LOGIN PASSWORD '{PASSWORD}'; END IF; END $$"
    )
}

impl PostgresServer {
    pub fn start() -> Self {
        // The port is free now and taken a moment later; a test that loses that race is started again.
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
        let (bin, port_text) = (programs(), port.to_string());
        let root = std::process::Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
        // The server refuses to run as root.
        let mut command = if root { Command::new("runuser") } else { Command::new("sh") };
        if root {
            command.args(["-u", "postgres", "--", "sh"]);
        }
        let mut shell = command
            .args(["-c", SCRIPT, "postgres-server"])
            .arg(&bin)
            .arg(&port_text)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut said = BufReader::new(shell.stdout.take().expect("its output"));
        let mut folder = String::new();
        said.read_line(&mut folder).expect("the server's folder");
        assert!(!folder.trim().is_empty(), "PostgreSQL did not start: see `{}/initdb`", bin.display());
        Self { port, folder: Path::new(folder.trim()).to_owned(), shell, said: std::sync::Mutex::new(said) }
    }

    /// `stop` (at once, clients are cut off), `start`, `hang` (stopped in its tracks), `wake`.
    pub fn order(&self, order: &str) {
        let mut said = self.said.lock().expect("free");
        let mut stdin = self.shell.stdin.as_ref().expect("its input");
        writeln!(stdin, "{order}").expect("ordered");
        let mut line = String::new();
        said.read_line(&mut line).expect("an answer");
        assert_eq!(line, "done\n", "{order}");
    }

    /// Address of a database, for the owner.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{OWNER}@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ended = self.shell.wait();
    }
}
