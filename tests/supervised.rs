//! The real binary as systemd runs it: its words to the supervisor, its signals, and the unit file itself.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const BINARY: &str = env!("CARGO_BIN_EXE_tongqu");
const UNIT: &str = include_str!("../deploy/tongqu.service");
const PATIENCE: Duration = Duration::from_secs(60);

/// Killed when dropped.
struct Supervised(Child);

impl Drop for Supervised {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _code = self.0.wait();
    }
}

impl Supervised {
    fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().expect("kill runs").success());
    }
}

/// Waits for one of the words, over all that comes before.
fn heard(socket: &UnixDatagram, wanted: &str) {
    let mut word = [0; 256];
    loop {
        let len = socket.recv(&mut word).unwrap_or_else(|cause| panic!("never heard `{wanted}`: {cause}"));
        let word = std::str::from_utf8(&word[..len]).expect("text");
        assert!(["READY=1", "WATCHDOG=1", "STOPPING=1"].contains(&word), "{word}");
        if word == wanted {
            return;
        }
    }
}

fn get(address: &str, path: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("whole");
    answer
}

#[test]
fn a_supervisor_hears_when_it_serves_that_it_lives_and_when_it_stops() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let config = folder.path().join("tongqu.toml");
    std::fs::write(&config, "[hub]\nlisten = \"127.0.0.1:0\"\ndirectory = \"hub\"\n").expect("written");
    // Not below the target folder, whose path may be too long for a socket.
    let place = tempfile::tempdir().expect("a folder");
    let name = place.path().join("notify");
    let socket = UnixDatagram::bind(&name).expect("bound");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    // The shell takes the limit off that a machine may have set.
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -S -c hard; exec \"$0\" serve --config \"$1\"", BINARY])
        .arg(&config)
        .env("NOTIFY_SOCKET", &name)
        .env("WATCHDOG_USEC", "400000")
        .env_remove("TONGQU_LOG")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let lines = BufReader::new(child.stderr.take().expect("stderr")).lines();
    let mut hub = Supervised(child);
    heard(&socket, "READY=1");
    let address = lines
        .map_while(Result::ok)
        .find_map(|line| line.split_once("serving address=").map(|(_, rest)| rest.to_owned()))
        .expect("it says where");
    let address = address.split(' ').next().expect("an address").to_owned();
    assert!(get(&address, "/livez").starts_with("HTTP/1.1 200"), "ready is said when it serves");
    heard(&socket, "WATCHDOG=1");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", hub.0.id())).expect("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a line");
    assert_eq!(core.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"], "{core}");
    // A hub without a certificate lives on.
    hub.signal("-HUP");
    heard(&socket, "WATCHDOG=1");
    heard(&socket, "WATCHDOG=1");
    assert!(get(&address, "/livez").starts_with("HTTP/1.1 200"));
    hub.signal("-TERM");
    heard(&socket, "STOPPING=1");
    assert!(hub.0.wait().expect("it ends").success());
}

/// Runs `systemd-analyze` on the unit, with this build in the place of the installed one.
fn analyze(folder: &Path, arguments: &[&str]) -> (bool, String) {
    let unit = folder.join("tongqu.service");
    std::fs::write(&unit, UNIT.replace("/usr/local/bin/tongqu", BINARY)).expect("written");
    let analyzed = Command::new("systemd-analyze")
        .args(arguments)
        .arg(&unit)
        .env("SYSTEMD_PAGER", "")
        .output()
        .expect("`systemd-analyze` runs; install systemd, as tests/run does");
    let text = [analyzed.stdout, analyzed.stderr].concat();
    (analyzed.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn the_unit_file_is_sound_and_shuts_the_hub_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let (sound, said) = analyze(folder.path(), &["verify", "--man=no"]);
    let of_ours: Vec<&str> = said.lines().filter(|line| line.contains("tongqu.service")).collect();
    assert!(sound && of_ours.is_empty(), "{said}");
    // Of ten, in tenths: what is left is network and a fixed user.
    let (shut_in, said) =
        analyze(folder.path(), &["security", "--offline=true", "--threshold=12", "--no-pager"]);
    assert!(shut_in, "{said}");
}
