//! The real binary on a prepared directory: started, waited for, killed, and what it said.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_tongqu");
/// Far beyond what a start takes; a hub that hangs must fail the test, not hang it.
const PATIENCE: Duration = Duration::from_secs(300);

/// Below the target folder: the hub refuses a memory disk, which `/tmp` may be.
pub fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

/// Runs the binary to its end.
pub fn run(arguments: &[&str]) -> Output {
    Command::new(BINARY).args(arguments).stdin(Stdio::null()).output().expect("the binary runs")
}

pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Tells the whole story once in a directory.
pub fn demo_once(directory: &Path) -> Output {
    let place = directory.to_string_lossy();
    run(&["demo", "--once", "--residents", "1000", "--listen", "127.0.0.1:0", "--dir", &place])
}

/// A directory of `tongqu demo`, stopped in order, its hub listening on a port of the system's choice.
pub fn prepared() -> TempDir {
    static ORIGINAL: OnceLock<TempDir> = OnceLock::new();
    let original = ORIGINAL.get_or_init(|| {
        let original = folder();
        let told = demo_once(original.path());
        assert!(told.status.success(), "{}", text(&told));
        let config = original.path().join("tongqu.toml");
        let written = std::fs::read_to_string(&config).expect("the demo's configuration");
        // Answers of more than 4 KiB stream between two entries: both kinds of answers are under test.
        let written = written.replacen(
            "[hub]",
            "[engine]\nheld_bytes_max = 4096\n\n[hub]\nlisten = \"127.0.0.1:0\"",
            1,
        );
        std::fs::write(&config, written).expect("written");
        original
    });
    let copy = folder();
    copy_tree(original.path(), copy.path());
    copy
}

/// Puts a table before the first one of a directory's configuration.
pub fn configure(directory: &Path, table: &str) {
    let path = directory.join("tongqu.toml");
    let written = std::fs::read_to_string(&path).expect("a configuration");
    std::fs::write(&path, format!("{table}\n{written}")).expect("written");
}

/// Files with their modes; folders too.
pub fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    std::fs::set_permissions(to, std::fs::metadata(from).expect("a folder").permissions()).expect("a mode");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy_tree(&source, &target);
        } else {
            std::fs::copy(&source, &target).expect("copied");
        }
    }
}

pub fn verifier_key(directory: &Path) -> String {
    std::fs::read_to_string(directory.join("audit.pub")).expect("a key").trim().to_owned()
}

/// The demo's token of an account.
pub fn token(directory: &Path, account: &str) -> String {
    let bytes = std::fs::read(directory.join("credentials.json")).expect("credentials");
    let credentials: Value = serde_json::from_slice(&bytes).expect("JSON");
    credentials["tokens"][account].as_str().expect("a token").to_owned()
}

/// A hub in its own process; killed when dropped.
pub struct Running {
    child: Child,
    pub base_url: String,
    said: Arc<Mutex<String>>,
    directory: PathBuf,
}

impl Running {
    /// `tongqu serve`; the error is what it said before it ended.
    pub fn serve(directory: &Path) -> Result<Self, String> {
        let config = directory.join("tongqu.toml");
        Self::start(
            &["serve".as_ref(), "--config".as_ref(), config.as_os_str()],
            "serving address=",
            Stdio::null(),
        )
    }

    /// Starts and is killed at a moment, served by then or not; what it said.
    pub fn serve_and_kill(directory: &Path, moment: Duration) -> String {
        let config = directory.join("tongqu.toml");
        let until = Instant::now() + moment;
        let (mut running, heard) =
            Self::spawn(&["serve".as_ref(), "--config".as_ref(), config.as_os_str()], Stdio::null());
        while heard.recv_timeout(until.saturating_duration_since(Instant::now())).is_ok() {}
        running.kill();
        running.said()
    }

    /// `tongqu demo` that keeps serving.
    pub fn demo(directory: &Path) -> Result<Self, String> {
        let options = ["demo", "--residents", "1000", "--listen", "127.0.0.1:0", "--dir"];
        let arguments: Vec<&std::ffi::OsStr> =
            options.iter().map(std::convert::AsRef::as_ref).chain([directory.as_os_str()]).collect();
        Self::start(&arguments, "Serving on http://", Stdio::piped())
    }

    /// `tongqu serve` as the direct child, its tracer beside it.
    pub fn serve_traced(directory: &Path, told: &[String]) -> Result<Self, String> {
        let mut command = Command::new("strace");
        command
            .arg("-D")
            .args(told)
            .arg(BINARY)
            .arg("serve")
            .arg("--config")
            .arg(directory.join("tongqu.toml"));
        Self::wait("serving address=", Self::spawn_command(command, Stdio::null()))
    }

    /// `tongqu serve` in an environment.
    pub fn serve_with(directory: &Path, set: &[(&str, &str)]) -> Result<Self, String> {
        let mut command = Command::new(BINARY);
        command.arg("serve").arg("--config").arg(directory.join("tongqu.toml")).envs(set.iter().copied());
        Self::wait("serving address=", Self::spawn_command(command, Stdio::null()))
    }

    fn start(arguments: &[&std::ffi::OsStr], sign: &str, stdout: Stdio) -> Result<Self, String> {
        Self::wait(sign, Self::spawn(arguments, stdout))
    }

    fn wait(sign: &str, (mut running, heard): (Self, Receiver<String>)) -> Result<Self, String> {
        match address(&heard, sign) {
            Some(address) => {
                running.base_url = format!("http://{address}");
                Ok(running)
            }
            None => {
                let ended = running.child.try_wait().expect("a state");
                let _gone = running.child.kill();
                let _code = running.child.wait();
                Err(format!("{ended:?}: {}", running.said()))
            }
        }
    }

    fn spawn(arguments: &[&std::ffi::OsStr], stdout: Stdio) -> (Self, Receiver<String>) {
        let mut command = Command::new(BINARY);
        command.args(arguments);
        Self::spawn_command(command, stdout)
    }

    fn spawn_command(mut command: Command, stdout: Stdio) -> (Self, Receiver<String>) {
        let mut child =
            command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap_or_else(
                |cause| {
                    panic!(
                        "`{:?}` does not start; `tests/run` installs what is missing: {cause}",
                        command.get_program()
                    )
                },
            );
        let said = Arc::new(Mutex::new(String::new()));
        // Every command ends with the configuration, or with the demo's directory.
        let last = PathBuf::from(command.get_args().last().unwrap_or_default());
        let directory = if last.is_file() { last.parent().unwrap_or(&last).to_owned() } else { last };
        let (lines, heard) = channel();
        if let Some(stdout) = child.stdout.take() {
            let lines = lines.clone();
            listen(stdout, said.clone(), lines);
        }
        listen(child.stderr.take().expect("stderr"), said.clone(), lines);
        (Self { child, base_url: String::new(), said, directory }, heard)
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What the process wrote so far.
    pub fn said(&self) -> String {
        self.said.lock().expect("text").clone()
    }

    /// `kill -9`, at once.
    pub fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }

    /// The thread of this name.
    pub fn thread(&self, name: &str) -> u32 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("threads");
        tasks
            .flatten()
            .find(|task| {
                std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name)
            })
            .and_then(|task| task.file_name().to_string_lossy().parse().ok())
            .unwrap_or_else(|| panic!("no thread `{name}`"))
    }

    /// As an operator stops it, whatever it says to that.
    pub fn stop_any(&mut self) {
        let id = self.child.id().to_string();
        let _gone =
            Command::new("kill").args(["-TERM", &id]).stderr(Stdio::null()).status().expect("kill runs");
        self.child.wait().expect("it ends");
    }

    /// As an operator stops it; everything is published afterwards.
    pub fn stop(self) {
        self.stop_said();
    }

    /// The same; what it said until its end.
    pub fn stop_said(mut self) -> String {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().expect("kill runs").success());
        let code = self.child.wait().expect("it ends");
        assert!(code.success(), "{code}: {}", self.said());
        self.said()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _code = self.child.wait();
        // The demo's story shows its calls whole, synthetic keys included; that is no log.
        let said = self.said();
        let log: Vec<&str> = said.lines().filter(|line| !line.contains("-d '{")).collect();
        if std::thread::panicking() {
            eprintln!("what the hub said:\n{said}");
        }
        crate::leaks::search(&self.directory, log.join("\n").as_bytes());
    }
}

/// `strace` on one thread of a hub.
pub struct Tracer(Child);

impl Tracer {
    /// Returns when the thread is traced.
    pub fn attach(thread: u32, told: &[String]) -> Self {
        let mut child = Command::new("strace")
            .args(told)
            .args(["-p", &thread.to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|cause| panic!("strace does not start; `tests/run` installs it: {cause}"));
        let mut line = String::new();
        BufReader::new(child.stderr.take().expect("stderr")).read_line(&mut line).expect("a line");
        assert!(
            line.contains("attached"),
            "strace may not trace (root, or `kernel.yama.ptrace_scope` 0): {line}"
        );
        Self(child)
    }

    /// Until what it traced is gone.
    pub fn wait(mut self) {
        self.0.wait().expect("strace ends");
    }
}

fn listen(
    pipe: impl std::io::Read + Send + 'static,
    said: Arc<Mutex<String>>,
    lines: std::sync::mpsc::Sender<String>,
) {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if let Ok(mut said) = said.lock() {
                said.push_str(&line);
                said.push('\n');
            }
            // Nobody waits for lines once the hub serves.
            let _unheard = lines.send(line);
        }
    });
}

/// The address in the line that says the hub serves; none when the process ended first.
fn address(heard: &Receiver<String>, sign: &str) -> Option<String> {
    let until = Instant::now() + PATIENCE;
    loop {
        match heard.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                if let Some((_, rest)) = line.split_once(sign) {
                    return rest.split(' ').next().map(str::to_owned);
                }
            }
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => panic!("the hub did not start in {PATIENCE:?}"),
        }
    }
}

/// The newest write-ahead segment.
pub fn segment(directory: &Path) -> PathBuf {
    let folder = std::fs::read_dir(directory.join("audit/segment")).expect("segments");
    folder.flatten().map(|entry| entry.path()).max().expect("a segment")
}
