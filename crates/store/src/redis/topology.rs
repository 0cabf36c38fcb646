//! The servers of a store: one, or those of a cluster.

use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use redis::{Pipeline, Value};
use sluice_core::Partition;
use tokio::time::sleep;

use super::{
    access::Access,
    address::{RedisAddress, Servers},
    cluster::{Cluster, Kept, NodeAddress},
    commands::Commands,
    connections::Connections,
    error_meaning::Redirect,
    given_up::UnlessWell,
    job::RedirectedAlone,
    redis_error::RedisError,
    redis_settings::RedisSettings,
    scripts::RedisScript,
};
use crate::{NodeId, StoreError};

/// How often a pipeline is sent: a script may be unknown, a slot may have moved or be on its way.
const MOST_SENT: usize = 5;
/// How often Sentinels are asked whether the primary is another one.
const SENTINELS_ASKED_EVERY: Duration = Duration::from_secs(1);
/// How long a pipeline waits whose keys are being moved.
const MOVING_PAUSE: Duration = Duration::from_millis(10);

/// The servers of a store, and what is kept for each.
pub(super) enum Topology<N: Kept> {
    /// One server, or the primary that Sentinels watch.
    Single(Arc<N>),
    /// The servers of a cluster.
    Cluster(Arc<Cluster<N>>),
}

/// A node with its partitions.
pub(super) struct NodePartitions {
    pub(super) id: NodeId,
    pub(super) partitions: Vec<Partition>,
}

impl<N: Kept> Topology<N> {
    /// Opens the servers at `settings`. Nothing is sent yet.
    ///
    /// # Errors
    /// When the settings are invalid, or outside of a Tokio runtime.
    pub(super) fn open(settings: &RedisSettings, shared: N::Shared) -> Result<Self, RedisError> {
        let address = RedisAddress::parse(&settings.url)?;
        let access = Access::new(settings, &address)?;
        if let Servers::Cluster { nodes } = &address.servers {
            let seeds = nodes.iter().map(|node| NodeAddress::new(&node.host, node.port, ""));
            return Ok(Self::Cluster(Cluster::start(access, seeds.collect(), shared)));
        }
        let connections = Arc::new(access.connections(access.server(settings, &address)?)?);
        if let Servers::Sentinels { .. } = &address.servers {
            tokio::spawn(follow_sentinels(Arc::downgrade(&connections)));
        }
        Ok(Self::Single(Arc::new(N::single(connections, &shared))))
    }

    /// Returns the id of the node that has `partition`, as far as it is known.
    pub(super) fn node(&self, partition: Partition) -> NodeId {
        match self {
            Self::Single(_) => NodeId::ONLY,
            Self::Cluster(cluster) => cluster.node(partition),
        }
    }

    /// Returns all nodes with the partitions of each.
    ///
    /// # Errors
    /// When no server of a cluster could be asked.
    pub(super) async fn nodes(&self) -> Result<Vec<NodePartitions>, StoreError> {
        Ok(match self {
            Self::Single(_) => {
                vec![NodePartitions { id: NodeId::ONLY, partitions: Partition::all().collect() }]
            }
            Self::Cluster(cluster) => {
                let nodes = cluster.nodes().await?.into_iter();
                nodes.map(|(id, _, partitions)| NodePartitions { id, partitions }).collect()
            }
        })
    }

    /// Returns how many partitions the keys of one call may be in.
    pub(super) fn partitions_of_a_call(&self) -> usize {
        match self {
            Self::Single(_) => Partition::COUNT.into(),
            Self::Cluster(_) => 1,
        }
    }

    /// Sends a pipeline to one node, and returns the reply to each command, which may be an error.
    /// Nothing is redirected.
    ///
    /// # Errors
    /// When the node is not known, or no reply arrives within the timeout.
    pub(super) async fn run_at(
        &self,
        node: &NodePartitions,
        pipeline: &Pipeline,
    ) -> Result<Vec<Value>, StoreError> {
        let server;
        let connections = match self {
            Self::Single(kept) => kept.connections(),
            Self::Cluster(cluster) => {
                server = cluster.server(node.partitions[0]).await?;
                server.kept.connections()
            }
        };
        let mut connection = connections.get().await?;
        let replies = connection.send_packed_commands(pipeline, 0, pipeline.len()).await;
        connections.finish(connection, replies)
    }

    /// Returns how many connections are open, busy or idle.
    pub(super) fn open_connections(&self) -> usize {
        match self {
            Self::Single(kept) => kept.open_connections(),
            Self::Cluster(cluster) => cluster.open(),
        }
    }

    /// Sends a pipeline, whose keys are all in `partition`, to the server that has it, and returns
    /// a reply for each of its commands.
    ///
    /// Commands that have not run are sent again, and only those: to a server that does not know
    /// `script`, which they call, behind its text, and in a cluster where they are redirected to.
    ///
    /// # Errors
    /// When a command fails, or no reply arrives within the timeout. It is then unknown which
    /// commands took effect. In a cluster, a fresh map is asked for, also if the caller waits no
    /// longer.
    pub(super) async fn run(
        &self,
        partition: Partition,
        pipeline: &Pipeline,
        script: Option<&RedisScript>,
    ) -> Result<Vec<Value>, StoreError> {
        let mut commands = Commands::of(pipeline);
        let cluster = match self {
            Self::Single(kept) => {
                commands.exchange(kept.connections(), script).await?;
                if commands.redirected().is_some() {
                    return Err(StoreError::wrong_settings(RedirectedAlone));
                }
                return commands.into_replies();
            }
            Self::Cluster(cluster) => cluster,
        };
        let doubt = UnlessWell::new(|| cluster.doubt());
        let mut server = cluster.server(partition).await?;
        for _ in 0..MOST_SENT {
            commands.exchange(server.kept.connections(), script).await?;
            match commands.redirected() {
                None => {
                    let replies = commands.into_replies()?;
                    doubt.end();
                    return Ok(replies);
                }
                Some(Redirect::Moved(to)) => {
                    server = cluster.redirected(&to, &server.address)?;
                    cluster.has_moved(partition, &server);
                }
                Some(Redirect::Ask(to)) => {
                    let target = cluster.redirected(&to, &server.address)?;
                    commands.ask(target.kept.connections(), script).await?;
                    if commands.redirected().is_some() {
                        sleep(MOVING_PAUSE).await;
                    }
                }
                // The keys of one command are at both servers.
                Some(Redirect::TryAgain) => sleep(MOVING_PAUSE).await,
            }
        }
        Err(StoreError::refused(SlotMoves))
    }
}

/// Lets connections follow the Sentinels, until they are dropped.
async fn follow_sentinels(connections: Weak<Connections>) {
    loop {
        sleep(SENTINELS_ASKED_EVERY).await;
        let Some(connections) = connections.upgrade() else { return };
        connections.follow_sentinels().await;
    }
}

/// The error of a pipeline whose slot is being moved for longer than it waits.
#[derive(Debug, thiserror::Error)]
#[error("the keys are being moved to another server of the cluster")]
struct SlotMoves;

impl<N: Kept> fmt::Debug for Topology<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single(kept) => f.debug_tuple("Single").field(kept.connections()).finish(),
            Self::Cluster(cluster) => f.debug_tuple("Cluster").field(cluster).finish(),
        }
    }
}
