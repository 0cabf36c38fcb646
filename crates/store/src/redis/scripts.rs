//! Lua scripts, which are called by the digests of their text.

use redis::Cmd;

/// A Lua script and the SHA-1 digest of its text, by which Redis knows it.
#[derive(Debug)]
pub struct RedisScript {
    source: &'static str,
    digest: &'static str,
}

/// Decides a batch of checks.
pub(super) static CHECK: RedisScript = RedisScript {
    source: include_str!("../../../../lua/check.lua"),
    digest: "f491a99320961a96c699cb1d93091e10d8f46a95",
};

/// Decides one simple check, or says that [`CHECK`] has to.
pub(super) static CHECK_ONE: RedisScript = RedisScript {
    source: include_str!("../../../../lua/check_one.lua"),
    digest: "2b88424f4450d4f2cdd2accb66d9abe2f8efe416",
};

/// Says since when the server remembers its buckets.
pub(super) static EPOCH: RedisScript = RedisScript {
    source: include_str!("../../../../lua/epoch.lua"),
    digest: "0d9a5cb16080643c40aeca6374bcd4ad2c00c712",
};

/// Records that a replica is alive, and lists the live ones.
pub(super) static ANNOUNCE: RedisScript = RedisScript {
    source: include_str!("../../../../lua/announce.lua"),
    digest: "6cb331691b92c421f607f82e5a19aee4034d9f70",
};

/// The scripts of the store.
pub(super) static ALL: [&RedisScript; 4] = [&CHECK, &CHECK_ONE, &EPOCH, &ANNOUNCE];

impl RedisScript {
    /// Pairs a script with its digest, in lower-case hexadecimal. A test should compare the two.
    #[must_use]
    pub const fn new(source: &'static str, digest: &'static str) -> Self {
        Self { source, digest }
    }

    /// Returns the call by digest, for a pipeline that
    /// [`RedisHandle::run_with_script`](super::RedisHandle::run_with_script) sends. `arguments`
    /// adds the number of keys, the keys and the arguments.
    pub fn command_by_digest(&self, arguments: impl Fn(&mut Cmd)) -> Cmd {
        let mut command = self.call_with_room(4, 64);
        arguments(&mut command);
        command
    }

    /// Returns the call by digest, with room for so many arguments of so many bytes in all. The
    /// number of keys, the keys and the arguments are missing.
    pub(super) fn call_with_room(&self, arguments: usize, bytes: usize) -> Cmd {
        const CALL: &[u8] = b"EVALSHA";
        let own = CALL.len() + self.digest.len();
        let mut command = Cmd::with_capacity(arguments + 2, bytes + own);
        command.arg(CALL).arg(self.digest);
        command
    }

    pub(super) const fn source(&self) -> &'static str {
        self.source
    }

    pub(super) const fn digest(&self) -> &'static str {
        self.digest
    }

    /// Returns the command that makes the script known to a server.
    pub(super) fn load(&self) -> Cmd {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg(self.source);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_scripts() {
        for (name, script) in [
            ("check.lua", &CHECK),
            ("check_one.lua", &CHECK_ONE),
            ("announce.lua", &ANNOUNCE),
            ("epoch.lua", &EPOCH),
        ] {
            let digest = redis::Script::new(script.source).get_hash().to_owned();
            assert_eq!(
                digest, script.digest,
                "{name} has changed. Can older replicas read the state that it writes? Then set \
                 the new digest"
            );
        }
    }
}
