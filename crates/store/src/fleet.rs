//! The replicas that share a store.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

use crate::Formats;

/// A replica that has not announced itself for this long is no longer listed as live.
pub(crate) const FORGOTTEN_AFTER: Duration = Duration::from_secs(15);

/// One running process, as it announces itself to its store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replica {
    /// Unique in the fleet, and new at every start of the process.
    pub id: String,
    /// The version of the program.
    pub version: String,
    /// The fingerprint of the secret with which the replica hashes clients, if it is known.
    /// Replicas with different ones share no bucket of a client.
    pub secret_fingerprint: Option<u64>,
}

/// A replica that announced itself lately.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LiveReplica {
    /// The replica, as it announced itself.
    pub replica: Replica,
    /// The time since its last announcement, by the store's clock.
    pub seen_ago: Duration,
    /// The time since its first announcement, by the store's clock.
    pub age: Duration,
    /// The formats that it reads and writes.
    pub formats: Formats,
}

/// The replicas that share one store and prefix and announced themselves in the last 15 seconds,
/// the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fleet {
    /// The live replicas.
    pub replicas: Vec<LiveReplica>,
}

impl Replica {
    /// Makes a replica of a unique id and the version that it runs.
    pub fn new(id: impl Into<String>, version: impl Into<String>) -> Self {
        Self { id: id.into(), version: version.into(), secret_fingerprint: None }
    }

    /// Returns this replica with the [fingerprint](sluice_core::Tagger::fingerprint) of its secret.
    #[must_use]
    pub fn with_secret_fingerprint(self, fingerprint: u64) -> Self {
        Self { secret_fingerprint: Some(fingerprint), ..self }
    }

    /// Makes a replica whose id is `name` and 64 random bits, so that processes may share a name
    /// and a restarted process is another replica.
    #[must_use]
    pub fn with_unique_id(name: &str, version: impl Into<String>) -> Self {
        // The standard library seeds the hashers of its maps randomly.
        let random = RandomState::new().build_hasher().finish();
        Self::new(format!("{name}-{random:016x}"), version)
    }
}

impl LiveReplica {
    /// Makes a live replica that announced itself first `age` ago and last `seen_ago` ago.
    #[must_use]
    pub const fn new(replica: Replica, age: Duration, seen_ago: Duration) -> Self {
        Self { replica, seen_ago, age, formats: Formats::CURRENT }
    }

    /// Returns this replica with other formats than those of this build.
    #[must_use]
    pub fn with_formats(self, formats: Formats) -> Self {
        Self { formats, ..self }
    }
}

impl Fleet {
    /// How long a replica is counted as live after it last announced itself.
    pub const FORGOTTEN_AFTER: Duration = FORGOTTEN_AFTER;

    /// Makes a fleet of these replicas, which stand from the oldest to the youngest.
    #[must_use]
    pub const fn new(replicas: Vec<LiveReplica>) -> Self {
        Self { replicas }
    }

    /// Makes the fleet of a store that only `replica` uses.
    #[must_use]
    pub fn of_one(replica: &Replica) -> Self {
        Self::new(vec![LiveReplica::new(replica.clone(), Duration::ZERO, Duration::ZERO)])
    }

    /// Returns the replicas that hash clients with another secret than `fingerprint` stands for.
    pub fn with_other_secrets(&self, fingerprint: u64) -> impl Iterator<Item = &Replica> {
        let is_other = move |replica: &&Replica| {
            replica.secret_fingerprint.is_some_and(|other| other != fingerprint)
        };
        self.replicas.iter().map(|live| &live.replica).filter(is_other)
    }

    /// Returns the number of replicas among which limits are shared: at least 1, for the caller is
    /// a replica itself.
    #[must_use]
    pub fn size(&self) -> usize {
        self.replicas.len().max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unique_ids_differ_although_names_are_equal() {
        let [one, other] = [(); 2].map(|()| Replica::with_unique_id("api", "1"));
        assert!(one.id.starts_with("api-") && other.id.starts_with("api-"));
        assert_ne!(one.id, other.id);
    }
}
