//! What the server does when its memory is full: it may evict buckets, whose clients then find full
//! ones.

use std::error::Error;

use redis::{FromRedisValue, Pipeline, Value};

use crate::StoreError;

/// How the server treats its keys when its memory is full, as `INFO` says.
///
/// Every key of a store expires, so a policy that evicts only keys that expire (`volatile-lru`)
/// evicts buckets too.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerMemory {
    /// The server's `maxmemory-policy`.
    pub policy: String,
    /// How many keys the server has evicted since it started, of whatever program.
    pub evicted_keys: u64,
}

impl ServerMemory {
    /// Creates what a server says.
    #[must_use]
    pub fn new(policy: impl Into<String>, evicted_keys: u64) -> Self {
        Self { policy: policy.into(), evicted_keys }
    }

    /// Returns whether the server evicts keys when its memory is full, instead of refusing writes.
    #[must_use]
    pub fn may_evict(&self) -> bool {
        self.policy != "noeviction"
    }

    /// Parses the reply to `INFO`; `None` if the server says nothing about its memory.
    fn parse(info: &str) -> Option<Self> {
        let value = |name: &str| {
            info.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'))
        };
        let evicted_keys = value("evicted_keys")?.parse().ok()?;
        Some(Self::new(value("maxmemory_policy")?, evicted_keys))
    }
}

/// Returns the commands that ask a server. Sections are asked for one by one, since Redis 6 takes
/// only one.
pub(super) fn request() -> Pipeline {
    let mut pipeline = redis::pipe();
    pipeline.cmd("INFO").arg("memory").cmd("INFO").arg("stats");
    pipeline
}

/// Reads the replies to [`request`]; `None` if the server says nothing about its memory.
pub(super) fn parse(replies: Vec<Value>) -> Option<ServerMemory> {
    let sections: Option<Vec<String>> =
        replies.into_iter().map(|reply| String::from_redis_value(reply).ok()).collect();
    ServerMemory::parse(&sections?.join("\n"))
}

/// Returns whether the server does not let this user ask. It lets the user decide nevertheless.
pub(super) fn is_forbidden(error: &StoreError) -> bool {
    let cause = error.source().map(ToString::to_string).unwrap_or_default().to_ascii_lowercase();
    cause.contains("noperm") || cause.contains("unknown command")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_and_the_evictions_are_read() {
        let info = "# Memory\r\nmaxmemory_human:3.00M\r\nmaxmemory_policy:volatile-lru\r\n\r\n\
                    # Stats\r\nevicted_keys:17\r\nevicted_clients:0\r\n";
        let memory = ServerMemory::parse(info).unwrap();
        assert_eq!(memory, ServerMemory::new("volatile-lru", 17));
        assert!(memory.may_evict());
        assert!(!ServerMemory::new("noeviction", 17).may_evict());
    }

    #[test]
    fn a_server_that_says_nothing_of_its_memory_is_unknown() {
        for info in ["", "evicted_keys:1\r\n", "maxmemory_policy:noeviction\r\nevicted_keys:x\r\n"]
        {
            assert_eq!(ServerMemory::parse(info), None, "{info}");
        }
    }
}
