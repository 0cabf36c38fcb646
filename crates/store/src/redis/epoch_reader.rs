//! Finds out since when each server remembers its buckets.

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use redis::Pipeline;

use super::{
    epochs::{self, Epochs},
    error_meaning::Meaning,
    forbidden,
    keys::{self, Keys},
    node::Node,
    topology::{NodePartitions, Topology},
};
use crate::{StoreFuture, join_all::join_all};

/// Asks the servers for the epochs of their partitions, and remembers them.
#[derive(Debug)]
pub(super) struct EpochReader {
    topology: Arc<Topology<Node>>,
    keys: Keys,
    known: Arc<Epochs>,
    /// Whether it has been logged that a server does not tell.
    is_refused: AtomicBool,
}

impl EpochReader {
    pub(super) fn new(topology: Arc<Topology<Node>>, keys: Keys, known: Arc<Epochs>) -> Self {
        Self { topology, keys, known, is_refused: AtomicBool::new(false) }
    }

    /// Returns what is known.
    pub(super) fn known(&self) -> &Epochs {
        &self.known
    }

    /// Asks all servers: the one that has just answered an announcement at once, and the others,
    /// which may not answer, while the caller goes on.
    pub(super) async fn read_after_announcement(self: &Arc<Self>) {
        let Ok(nodes) = self.topology.nodes().await else { return };
        let (answered, others): (Vec<_>, Vec<_>) =
            nodes.into_iter().partition(|node| node.partitions.contains(&keys::SHARED));
        if !others.is_empty() {
            let reader = Arc::clone(self);
            tokio::spawn(async move { reader.read(others).await });
        }
        self.read(answered).await;
    }

    /// Asks `nodes`. One that is away is asked another time.
    pub(super) async fn read(&self, nodes: Vec<NodePartitions>) {
        let together = self.topology.partitions_of_a_call();
        let requests: Vec<Pipeline> = nodes
            .iter()
            .map(|node| epochs::request(&self.keys, &node.partitions, together))
            .collect();
        let asked = nodes
            .iter()
            .zip(&requests)
            .map(|(node, request)| StoreFuture::pending(self.topology.run_at(node, request)));
        for (node, replies) in nodes.iter().zip(join_all(asked).await) {
            let Ok(replies) = replies else { continue };
            match epochs::parse_all(replies, &node.partitions, together) {
                Ok(epochs) => {
                    if self.is_refused.swap(false, Ordering::Relaxed) {
                        tracing::info!("the store runs lua/epoch.lua again");
                    }
                    for (partition, epoch) in epochs {
                        self.known.note(partition, epoch);
                    }
                }
                // Other errors end with the outage that they are part of.
                Err(error) if Meaning::of(&error) == Meaning::WrongSettings => self.warn(&error),
                Err(_) => {}
            }
        }
    }

    fn warn(&self, error: &redis::RedisError) {
        if !self.is_refused.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                error = error as &dyn Error,
                forbidden = forbidden::command(error),
                "the store does not run lua/epoch.lua: it is not noticed when it loses its memory, \
                 and `store.cold_start: empty` has no effect"
            );
        }
    }
}
