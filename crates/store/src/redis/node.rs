//! What the store keeps for each server: its connections and lanes.

use std::sync::{Arc, Weak, atomic::AtomicU8};

use super::{
    cluster::{Cluster, Kept},
    connections::Connections,
    epochs::Epochs,
    keys::Keys,
    lanes::Lanes,
    trip::Route,
};
use crate::{Formats, ObserveRoundTrips};

/// A server, as the store uses it.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) connections: Arc<Connections>,
    pub(super) lanes: Lanes,
}

/// What is the same for every server of a store.
pub(super) struct NodeSettings {
    pub(super) keys: Keys,
    pub(super) lanes: usize,
    pub(super) observer: Arc<dyn ObserveRoundTrips>,
    pub(super) formats: Formats,
    /// The newest layout that every live replica reads.
    pub(super) newest_layout: Arc<AtomicU8>,
    pub(super) epochs: Arc<Epochs>,
}

impl NodeSettings {
    fn node(
        &self,
        connections: Arc<Connections>,
        one_partition_a_call: bool,
        on_trouble: Box<dyn Fn() + Send + Sync>,
    ) -> Node {
        let route = Route {
            connections: Arc::clone(&connections),
            keys: self.keys.clone(),
            observer: Arc::clone(&self.observer),
            formats: self.formats,
            newest_layout: Arc::clone(&self.newest_layout),
            epochs: Arc::clone(&self.epochs),
            one_partition_a_call,
            on_trouble,
        };
        Node { connections, lanes: Lanes::start(self.lanes, route) }
    }
}

impl Kept for Node {
    type Shared = NodeSettings;

    fn single(connections: Arc<Connections>, settings: &NodeSettings) -> Self {
        settings.node(connections, false, Box::new(|| {}))
    }

    fn in_cluster(
        connections: Arc<Connections>,
        settings: &NodeSettings,
        cluster: &Weak<Cluster<Self>>,
    ) -> Self {
        let cluster = Weak::clone(cluster);
        let doubt = move || {
            if let Some(cluster) = cluster.upgrade() {
                cluster.doubt();
            }
        };
        settings.node(connections, true, Box::new(doubt))
    }

    fn connections(&self) -> &Arc<Connections> {
        &self.connections
    }
}
