//! A Redis Cluster: which of its servers has which partition.
//!
//! | file | what it does |
//! |---|---|
//! | `map` | the servers, their partitions, and the ids of the nodes |
//! | `view` | asks a server which server has which slot |
//! | `node_address` | reads where a server is |
//! | `refresh` | keeps the map up to date, beside the traffic |

mod map;
mod node_address;
mod refresh;
mod view;

use std::{
    fmt,
    sync::{Arc, Weak},
};

use parking_lot::RwLock;
use sluice_core::Partition;

use self::{map::Map, refresh::Refresh};
pub(super) use self::{map::Server, node_address::NodeAddress};
use super::{access::Access, connections::Connections, redis_error::RedisError};
use crate::{NodeId, StoreError};

/// What is kept for each server.
pub(super) trait Kept: Send + Sync + Sized + 'static {
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
}

/// A cluster whose servers are known, as far as they have been found.
pub(super) struct Cluster<N: Kept> {
    access: Access,
    /// The servers that are asked while no other is known.
    seeds: Vec<NodeAddress>,
    map: RwLock<Arc<Map<N>>>,
    refresh: Refresh,
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
    /// Makes a cluster of which some servers are known, and starts to keep its map up to date on
    /// the current runtime. That ends when the cluster is dropped.
    pub(super) fn start(access: Access, seeds: Vec<NodeAddress>, shared: N::Shared) -> Arc<Self> {
        let cluster = Arc::new_cyclic(|myself| Self {
            access,
            seeds,
            map: RwLock::new(Arc::new(Map::empty())),
            refresh: Refresh::new(),
            shared,
            myself: Weak::clone(myself),
        });
        refresh::start(&cluster);
        cluster
    }

    /// Returns the server that has `partition`. Waits for the first map, for as long as finding it
    /// takes.
    ///
    /// # Errors
    /// When no server of the cluster could be asked, or none has the partition.
    pub(super) async fn server(&self, partition: Partition) -> Result<Arc<Server<N>>, StoreError> {
        if let Some(server) = self.map.read().owner(partition) {
            return Ok(Arc::clone(server));
        }
        self.refresh.wait(|| !self.map.read().is_empty()).await?;
        self.map.read().owner(partition).map(Arc::clone).ok_or_else(|| {
            self.refresh.request();
            StoreError::unreachable(NobodyHas { slot: super::keys::slot_of(partition) })
        })
    }

    /// Returns the nodes with the partitions of each. Waits for the first map.
    ///
    /// # Errors
    /// When no server of the cluster could be asked.
    pub(super) async fn nodes(&self) -> Result<Vec<ClusterNode<N>>, StoreError> {
        self.refresh.wait(|| !self.map.read().is_empty()).await?;
        Ok(self.map.read().nodes())
    }

    /// Returns the id of the node that has `partition`, as far as it is known.
    pub(super) fn node(&self, partition: Partition) -> NodeId {
        self.map.read().node(partition).unwrap_or(NodeId::ONLY)
    }

    /// Returns the server at an address to which `asked` redirects a call.
    ///
    /// # Errors
    /// When the address cannot be used.
    pub(super) fn redirected(
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
    pub(super) fn has_moved(&self, partition: Partition, server: &Arc<Server<N>>) {
        self.refresh.request();
        let mut map = self.map.write();
        if map.owner(partition).is_none_or(|owner| owner.address != server.address) {
            Arc::make_mut(&mut map).give(partition, server);
        }
    }

    /// Asks for a fresh map, since a server does not serve.
    pub(super) fn doubt(&self) {
        self.refresh.request();
    }

    /// Returns how many connections are open, busy or idle.
    pub(super) fn open(&self) -> usize {
        self.map.read().servers().iter().map(|server| server.kept.connections().open()).sum()
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

    fn make(&self, address: &NodeAddress) -> Result<Arc<Server<N>>, RedisError> {
        let connections = Arc::new(self.access.connections(address.server())?);
        let kept = N::in_cluster(connections, &self.shared, &self.myself);
        Ok(Arc::new(Server { address: address.clone(), kept }))
    }
}

/// A node: its id, the server that it is now, and its partitions.
pub(super) type ClusterNode<N> = (NodeId, Arc<Server<N>>, Vec<Partition>);

impl<N: Kept> fmt::Debug for Cluster<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("seeds", &self.seeds).finish_non_exhaustive()
    }
}
