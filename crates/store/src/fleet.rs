//! The replicas that share a store.

use std::time::Duration;

/// A replica that has not announced itself for this long is no longer counted among the living.
pub(crate) const FORGOTTEN_AFTER: Duration = Duration::from_secs(15);

/// One running process, as it announces itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Unlike any other's, and new with every start.
    pub id: String,
    /// The version it runs.
    pub version: String,
}

/// A replica that announced itself lately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveReplica {
    /// Who.
    pub replica: Replica,
    /// How long ago it last announced itself, by the store's clock.
    pub seen_ago: Duration,
    /// How long ago it first did.
    pub age: Duration,
}

/// All replicas that share one store and prefix, and have announced themselves in the last 15
/// seconds; oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// The living.
    pub replicas: Vec<LiveReplica>,
}

impl Fleet {
    /// How many replicas share the limits: never none, since somebody asks.
    #[must_use]
    pub fn size(&self) -> usize {
        self.replicas.len().max(1)
    }
}
