//! What the store keeps for each server: its connections, lanes and subscription.

use std::sync::{Arc, Weak, atomic::AtomicU8};

use super::{
    cluster::{Cluster, Kept},
    connections::Connections,
    epochs::Epochs,
    keys::Keys,
    lanes::Lanes,
    returns::Returns,
    subscription::Subscription,
    trip::Route,
};
use crate::{Formats, ObserveRoundTrips};

/// A server, as the store uses it.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) connections: Arc<Connections>,
    pub(super) lanes: Lanes,
    pub(super) subscription: Subscription,
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
    pub(super) returns: Arc<Returns>,
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
        let subscription = Subscription::start(&connections, &self.returns);
        Node { connections, lanes: Lanes::start(self.lanes, route), subscription }
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

    fn open_connections(&self) -> usize {
        self.connections.open() + usize::from(self.subscription.number().is_some())
    }
}
