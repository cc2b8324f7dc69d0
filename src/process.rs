//! What the process owes its surroundings: no memory in core files, and word to the supervisor that started it.
//!
//! The words are those of `sd_notify(3)`, sent to the socket that systemd names; without one nobody is told.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Keeps keys and rows out of core files, and the process away from debuggers of its own user.
pub fn keep_out_of_core_dumps() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Who started the process and waits for word of it.
#[derive(Debug)]
pub struct Supervisor {
    address: SocketAddr,
    /// Between two signs of life; half of what the supervisor waits.
    pub pace: Option<Duration>,
}

impl Supervisor {
    /// From the socket's name, an abstract one with `@`, and the time it waits for a sign of life.
    pub fn new(socket: &OsStr, watchdog_us: Option<u64>) -> io::Result<Self> {
        let address = match socket.as_bytes().split_first() {
            Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(socket)?,
        };
        let pace =
            watchdog_us.filter(|wait_us| *wait_us > 1).map(|wait_us| Duration::from_micros(wait_us / 2));
        Ok(Self { address, pace })
    }

    pub fn say(&self, word: &str) {
        let sent = UnixDatagram::unbound().and_then(|socket| {
            // A supervisor that does not listen must not hold the hub.
            socket.set_nonblocking(true)?;
            socket.send_to_addr(word.as_bytes(), &self.address)
        });
        if let Err(cause) = sent {
            tracing::warn!(%cause, "the supervisor cannot be told");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_stays_out_of_core_files() {
        keep_out_of_core_dumps().expect("allowed");
        assert_eq!(rustix::process::dumpable_behavior().expect("readable"), DumpableBehavior::NotDumpable);
        let limit = rustix::process::getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
    }

    #[test]
    fn an_abstract_socket_is_told_too() {
        let name = format!("tongqu-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name.as_bytes()).expect("a name");
        let socket = UnixDatagram::bind_addr(&address).expect("bound");
        let supervisor = Supervisor::new(OsStr::new(&format!("@{name}")), Some(10)).expect("an address");
        assert_eq!(supervisor.pace, Some(Duration::from_micros(5)));
        supervisor.say("READY=1");
        let mut word = [0; 64];
        let len = socket.recv(&mut word).expect("told");
        assert_eq!(&word[..len], b"READY=1");
    }
}
