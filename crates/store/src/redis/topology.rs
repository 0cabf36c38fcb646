//! The servers of a store: one, or those of a cluster.

use std::{fmt, sync::Arc, time::Duration};

use redis::{Pipeline, RedisError as CallError, Value, aio::MultiplexedConnection};
use sluice_core::Partition;
use tokio::time::sleep;

use super::{
    access::Access,
    address::{RedisAddress, Servers},
    cluster::{Cluster, Kept, NodeAddress},
    connections::{Connections, OwnedConnection},
    error_meaning::{Meaning, Redirect, is_no_script},
    given_up::UnlessWell,
    redis_error::RedisError,
    redis_settings::RedisSettings,
    scripts::RedisScript,
};
use crate::{NodeId, StoreError};

/// How often a pipeline is sent: a script may be unknown, a slot may have moved or be on its way.
const MOST_SENT: usize = 5;
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
            Self::Single(kept) => kept.connections().open(),
            Self::Cluster(cluster) => cluster.open(),
        }
    }

    /// Sends a pipeline, whose keys are all in `partition`, to the server that has it, and returns
    /// a reply for each of its commands.
    ///
    /// A server that does not know `script`, which the pipeline calls, is sent its text, and then
    /// the **whole pipeline again**.
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
        let cluster = match self {
            Self::Single(kept) => {
                let connections = kept.connections();
                let connection = connections.get().await?;
                return match exchange(connections, connection, pipeline, script, false).await? {
                    Ok(replies) => Ok(replies),
                    Err(Redirected { error, .. }) => Err(connections.error(error)),
                };
            }
            Self::Cluster(cluster) => cluster,
        };
        let mut server = cluster.server(partition).await?;
        let doubt = UnlessWell::new(|| cluster.doubt());
        let mut asking = false;
        for _ in 0..MOST_SENT {
            let connections = server.kept.connections();
            let sent = async {
                let connection = connections.get().await?;
                exchange(connections, connection, pipeline, script, asking).await
            };
            let Redirected { redirect, error } = match sent.await {
                Ok(Ok(replies)) => {
                    doubt.end();
                    return Ok(replies);
                }
                Ok(Err(redirected)) => redirected,
                Err(error) => return Err(error),
            };
            asking = false;
            match redirect {
                Redirect::Moved(to) => {
                    server = cluster.redirected(&to, &server.address)?;
                    cluster.has_moved(partition, &server);
                }
                Redirect::Ask(to) if pipeline.len() == 1 => {
                    server = cluster.redirected(&to, &server.address)?;
                    asking = true;
                }
                // Its keys are at both servers.
                Redirect::Ask(_) | Redirect::TryAgain => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "a slot moves");
                    sleep(MOVING_PAUSE).await;
                }
            }
        }
        Err(StoreError::refused(SlotMoves))
    }
}

/// The error of a pipeline whose slot is being moved for longer than it waits.
#[derive(Debug, thiserror::Error)]
#[error("the keys are being moved to another server of the cluster")]
struct SlotMoves;

/// A pipeline that did not run, since its keys are elsewhere.
struct Redirected {
    redirect: Redirect,
    error: CallError,
}

/// Sends a pipeline on a connection, and ends the use of that.
async fn exchange(
    connections: &Connections,
    mut connection: OwnedConnection,
    pipeline: &Pipeline,
    script: Option<&RedisScript>,
    asking: bool,
) -> Result<Result<Vec<Value>, Redirected>, StoreError> {
    let mut replies = send(&mut connection, pipeline, asking).await;
    if let (Err(error), Some(script)) = (&replies, script)
        && is_no_script(error)
    {
        let mut load = redis::pipe();
        load.add_command(script.load());
        replies = match send(&mut connection, &load, false).await {
            Ok(_) => send(&mut connection, pipeline, asking).await,
            Err(error) => Err(error),
        };
    }
    match replies {
        Err(error) => match Redirect::of(&error) {
            Some(redirect) => {
                connections.give_back(connection);
                Ok(Err(Redirected { redirect, error }))
            }
            // What this user may not do, it may not do on another connection either.
            None if Meaning::of(&error) == Meaning::Rejected || error.code() == Some("NOPERM") => {
                connections.give_back(connection);
                Err(connections.error(error))
            }
            None => Err(connections.close(connection, error)),
        },
        Ok(replies) => {
            connections.give_back(connection);
            Ok(Ok(replies))
        }
    }
}

/// Sends a pipeline, and returns a reply for each of its commands, or the first error.
async fn send(
    connection: &mut MultiplexedConnection,
    pipeline: &Pipeline,
    asking: bool,
) -> Result<Vec<Value>, CallError> {
    let replies = if asking {
        let mut asking = Pipeline::with_capacity(pipeline.len() + 1);
        asking.cmd("ASKING");
        pipeline.cmd_iter().for_each(|command| {
            asking.add_command(command.clone());
        });
        let mut replies = connection.send_packed_commands(&asking, 0, asking.len()).await?;
        replies.remove(0);
        replies
    } else {
        connection.send_packed_commands(pipeline, 0, pipeline.len()).await?
    };
    replies.into_iter().map(Value::extract_error).collect()
}

impl<N: Kept> fmt::Debug for Topology<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single(kept) => f.debug_tuple("Single").field(kept.connections()).finish(),
            Self::Cluster(cluster) => f.debug_tuple("Cluster").field(cluster).finish(),
        }
    }
}
