//! The servers of a cluster, as far as they have been found.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use parking_lot::RwLock;
use sluice_core::Partition;

use super::{
    map::{Map, Server},
    node_address::NodeAddress,
    refresh::Refresh,
};
use crate::{
    NodeId, StoreError,
    redis::{access::Access, connections::Connections, keys::slot_of, redis_error::RedisError},
};

/// What is kept for each server.
pub(in crate::redis) trait Kept: Send + Sync + Sized + 'static {
    /// What is the same for every server.
    type Shared: Send + Sync + 'static;

    /// Makes it for the only server.
    fn single(connections: Arc<Connections>, shared: &Self::Shared) -> Self;

    /// Makes it for a server of a cluster.
    fn in_cluster(
        connections: Arc<Connections>,
        shared: &Self::Shared,
        cluster: &Weak<Cluster<Self>>,
    ) -> Self;

    /// Returns the connections to the server.
    fn connections(&self) -> &Arc<Connections>;

    /// Returns how many connections are open, busy or idle.
    fn open_connections(&self) -> usize {
        self.connections().open()
    }
}

/// A cluster whose servers are known, as far as they have been found.
pub(in crate::redis) struct Cluster<N: Kept> {
    pub(super) access: Access,
    /// The servers that are asked while no other is known.
    pub(super) seeds: Vec<NodeAddress>,
    pub(super) map: RwLock<Arc<Map<N>>>,
    pub(super) refresh: Refresh,
    shared: N::Shared,
    myself: Weak<Self>,
}

/// The error of a partition that no server has.
#[derive(Debug, thiserror::Error)]
#[error("no server of the cluster has slot {slot}: `CLUSTER SLOTS` does not list it")]
struct NobodyHas {
    slot: u16,
}

impl<N: Kept> Cluster<N> {
    /// Makes a cluster whose map nobody keeps up to date yet.
    pub(super) fn new(access: Access, seeds: Vec<NodeAddress>, shared: N::Shared) -> Arc<Self> {
        Arc::new_cyclic(|myself| Self {
            access,
            seeds,
            map: RwLock::new(Arc::new(Map::empty())),
            refresh: Refresh::new(),
            shared,
            myself: Weak::clone(myself),
        })
    }

    /// Returns the server that has `partition`. Waits for the first map, for as long as finding it
    /// takes.
    ///
    /// # Errors
    /// When no server of the cluster could be asked, or none has the partition.
    pub(in crate::redis) async fn server(
        &self,
        partition: Partition,
    ) -> Result<Arc<Server<N>>, StoreError> {
        if let Some(server) = self.map.read().owner(partition) {
            return Ok(Arc::clone(server));
        }
        self.refresh.wait(|| !self.map.read().is_empty()).await?;
        self.map.read().owner(partition).map(Arc::clone).ok_or_else(|| {
            self.refresh.request();
            StoreError::unreachable(NobodyHas { slot: slot_of(partition) })
        })
    }

    /// Returns the server that has `partition`, if it is known.
    pub(in crate::redis) fn known(&self, partition: Partition) -> Option<Arc<Server<N>>> {
        self.map.read().owner(partition).cloned()
    }

    /// Returns the nodes with the partitions of each. Waits for the first map.
    ///
    /// # Errors
    /// When no server of the cluster could be asked.
    pub(in crate::redis) async fn nodes(&self) -> Result<Vec<ClusterNode<N>>, StoreError> {
        self.refresh.wait(|| !self.map.read().is_empty()).await?;
        Ok(self.map.read().nodes())
    }

    /// Returns the id of the node that has `partition`, as far as it is known.
    pub(in crate::redis) fn node(&self, partition: Partition) -> NodeId {
        self.map.read().node(partition).unwrap_or(NodeId::ONLY)
    }

    /// Returns the server at an address to which `asked` redirects a call.
    ///
    /// # Errors
    /// When the address cannot be used.
    pub(in crate::redis) fn redirected(
        &self,
        to: &str,
        asked: &NodeAddress,
    ) -> Result<Arc<Server<N>>, StoreError> {
        let address = NodeAddress::parse(to, &asked.host).ok_or_else(|| {
            StoreError::unreadable(format!("the cluster redirects to `{to}`, which is no address"))
        })?;
        self.server_at(&address)
    }

    /// Notes that `server` has `partition` now, and asks for the rest of what has changed.
    pub(in crate::redis) fn has_moved(&self, partition: Partition, server: &Arc<Server<N>>) {
        self.refresh.request();
        let mut map = self.map.write();
        if map.owner(partition).is_none_or(|owner| owner.address != server.address) {
            Arc::make_mut(&mut map).give(partition, server);
        }
    }

    /// Asks for a fresh map, since a server does not serve.
    pub(in crate::redis) fn doubt(&self) {
        self.refresh.request();
    }

    /// Returns how many connections are open, busy or idle.
    pub(in crate::redis) fn open(&self) -> usize {
        self.map.read().servers().iter().map(|server| server.kept.open_connections()).sum()
    }

    fn server_at(&self, address: &NodeAddress) -> Result<Arc<Server<N>>, StoreError> {
        if let Some(server) = self.map.read().at(address) {
            return Ok(server);
        }
        let mut map = self.map.write();
        if let Some(server) = map.at(address) {
            return Ok(server);
        }
        let server = self.make(address).map_err(StoreError::unreachable)?;
        Arc::make_mut(&mut map).add(Arc::clone(&server));
        Ok(server)
    }

    pub(super) fn make(&self, address: &NodeAddress) -> Result<Arc<Server<N>>, RedisError> {
        let connections = Arc::new(self.access.connections(address.server())?);
        let kept = N::in_cluster(connections, &self.shared, &self.myself);
        Ok(Arc::new(Server { address: address.clone(), kept }))
    }
}

/// A node: its id, the server that it is now, and its partitions.
pub(in crate::redis) type ClusterNode<N> = (NodeId, Arc<Server<N>>, Vec<Partition>);

impl<N: Kept> fmt::Debug for Cluster<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("seeds", &self.seeds).finish_non_exhaustive()
    }
}
