//! Ports for servers that need theirs before they start.
//!
//! To open a port that the kernel chooses and close it again is a race: another test may get the
//! same port, and an outgoing connection may use it while a server restarts. So ports come from a
//! range that the kernel does not use by itself, and each is reserved by a lock on a file, which
//! the kernel releases even when a test is killed.

use std::collections::hash_map::RandomState;
use std::fs::{self, File, OpenOptions};
use std::hash::BuildHasher;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

/// Below the ephemeral range (32768 and up on Linux) even with the 10,000 that Redis Cluster adds
/// for its bus.
const RANGE: std::ops::Range<u16> = 12_000..22_700;

/// A TCP port on 127.0.0.1 that no other test on this machine gets while this value exists.
///
/// Nothing listens on it: it is for a server that starts or restarts.
#[derive(Debug)]
pub struct ReservedPort {
    port: u16,
    _lock: File,
}

impl ReservedPort {
    /// Reserves a port on which nothing listens.
    ///
    /// # Panics
    /// When the whole range is taken, or the lock files cannot be written.
    #[must_use]
    #[allow(
        clippy::new_without_default,
        reason = "a reservation has an effect, which a default must not have"
    )]
    pub fn new() -> Self {
        let locks = lock_directory();
        let size = u64::from(RANGE.end - RANGE.start);
        // A random start, so that test processes seldom try the same ports one after the other.
        let start = RandomState::new().hash_one(()) % size;
        (0..size)
            .map(|step| {
                RANGE.start + u16::try_from((start + step) % size).expect("below the range's size")
            })
            .find_map(|port| Self::try_reserve(&locks, port))
            .unwrap_or_else(|| {
                panic!("no free port on 127.0.0.1 between {} and {}", RANGE.start, RANGE.end)
            })
    }

    /// Reserves a port for a node of a cluster whose bus is 10,000 above it: no other port of this
    /// kind is there.
    pub(crate) fn with_bus_above() -> Self {
        loop {
            let port = Self::new();
            if port.number() >= RANGE.end - 10_000 {
                return port;
            }
        }
    }

    /// Returns the number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.port
    }

    fn try_reserve(locks: &Path, port: u16) -> Option<Self> {
        let path = locks.join(port.to_string());
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .unwrap_or_else(|error| panic!("could not open {}: {error}", path.display()));
        lock.try_lock().ok()?;
        // A program that does not use the locks may listen there.
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
        Some(Self { port, _lock: lock })
    }
}

/// Returns one directory for each user, since a user cannot lock the files of another.
fn lock_directory() -> PathBuf {
    let user = rustix::process::getuid().as_raw();
    let path = std::env::temp_dir().join(format!("sluice-testkit-ports-{user}"));
    fs::create_dir_all(&path)
        .unwrap_or_else(|error| panic!("could not create {}: {error}", path.display()));
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ports_reserved_at_the_same_time_differ() {
        let ports: Vec<_> = (0..200).map(|_| ReservedPort::new()).collect();
        let distinct: HashSet<_> = ports.iter().map(ReservedPort::number).collect();
        assert_eq!(distinct.len(), ports.len());
    }

    #[test]
    fn a_reserved_port_can_be_listened_on() {
        let port = ReservedPort::new();
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, port.number())).is_ok());
    }

    /// A port that no other test gets, and a directory of locks in which it is still free.
    fn private_port() -> (ReservedPort, tempfile::TempDir) {
        (ReservedPort::new(), tempfile::tempdir().unwrap())
    }

    #[test]
    fn a_port_in_use_is_not_reserved() {
        let (port, locks) = private_port();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.number())).unwrap();
        assert!(ReservedPort::try_reserve(locks.path(), port.number()).is_none());
        drop(listener);
        assert!(ReservedPort::try_reserve(locks.path(), port.number()).is_some());
    }

    #[test]
    fn a_port_is_reserved_until_its_reservation_is_dropped() {
        let (port, locks) = private_port();
        let held = ReservedPort::try_reserve(locks.path(), port.number()).unwrap();
        assert!(ReservedPort::try_reserve(locks.path(), port.number()).is_none());
        drop(held);
        assert!(ReservedPort::try_reserve(locks.path(), port.number()).is_some());
    }
}
