//! Keeps the map of a cluster up to date, beside the traffic.

use std::{
    error::Error,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    node_address::NodeAddress,
    servers::{Cluster, Kept},
    view::View,
};
use crate::{
    StoreError,
    redis::{access::Access, connections::Connections, redis_error::RedisError},
};

/// How old a map may become although nothing speaks against it.
const OLDEST: Duration = Duration::from_secs(60);
/// The most that a replica adds to that, so that a fleet does not ask all at once.
const OLDEST_SPREAD_MS: u64 = 15_000;
/// The least time between two refreshes: while a primary is away, each failing call asks for one.
const PAUSE: Duration = Duration::from_millis(200);
/// How many servers are asked. One alone may be cut off from the others, and not know it yet.
const ASKED: usize = 3;
/// How long the others may take once one has answered.
const OTHERS_TIMEOUT: Duration = Duration::from_millis(100);

impl<N: Kept> Cluster<N> {
    /// Makes a cluster of which some servers are known, and starts to keep its map up to date on
    /// the current runtime. That ends when the cluster is dropped.
    pub(in crate::redis) fn start(
        access: Access,
        seeds: Vec<NodeAddress>,
        shared: N::Shared,
    ) -> Arc<Self> {
        let cluster = Self::new(access, seeds, shared);
        tokio::spawn(run(Arc::downgrade(&cluster), cluster.refresh.wanted()));
        cluster
    }
}

async fn run<N: Kept>(cluster: Weak<Cluster<N>>, wanted: Arc<Notify>) {
    loop {
        let age = OLDEST + Duration::from_millis(random(OLDEST_SPREAD_MS));
        // A map that nothing speaks against is read again all the same.
        let _ = timeout(age, wanted.notified()).await;
        let Some(cluster) = cluster.upgrade() else { return };
        let result = cluster.read_map().await;
        if let Err(error) = &result {
            tracing::debug!(error = error as &dyn Error, "no server shows the cluster's slots");
        }
        cluster.refresh.end(result);
        drop(cluster);
        sleep(PAUSE).await;
    }
}

impl<N: Kept> Cluster<N> {
    /// Asks some servers for the map, and takes the newest one. The known servers come first, in
    /// another order each time, and then the seeds.
    async fn read_map(&self) -> Result<(), StoreError> {
        let mut candidates: Vec<NodeAddress> =
            self.map.read().servers().iter().map(|server| server.address.clone()).collect();
        if !candidates.is_empty() {
            let first = random(candidates.len() as u64);
            candidates.rotate_left(usize::try_from(first).unwrap_or_default());
        }
        for seed in &self.seeds {
            if !candidates.contains(seed) {
                candidates.push(seed.clone());
            }
        }
        let mut failure = None;
        for some in candidates.chunks(ASKED) {
            let mut asked = JoinSet::new();
            for address in some {
                let connections = self.connections_to(address).map_err(StoreError::unreachable)?;
                asked.spawn(ask(connections, address.clone()));
            }
            let mut views = Vec::new();
            while let Some(Ok(answer)) = asked.join_next().await {
                match answer {
                    Ok(view) => {
                        views.push(view);
                        break;
                    }
                    Err(error) => failure = Some(error),
                }
            }
            while let Ok(Some(answer)) = timeout(OTHERS_TIMEOUT, asked.join_next()).await {
                views.extend(answer.into_iter().flatten());
            }
            if let Some(view) = View::best(views) {
                return self.adopt(&view);
            }
        }
        Err(failure.unwrap_or_else(|| StoreError::unreadable("the URL names no server")))
    }

    fn adopt(&self, view: &View) -> Result<(), StoreError> {
        let mut map = self.map.write();
        let next = map.with_owners(&view.owners, |address| self.make(address));
        *map = Arc::new(next.map_err(StoreError::unreachable)?);
        Ok(())
    }

    fn connections_to(&self, address: &NodeAddress) -> Result<Arc<Connections>, RedisError> {
        match self.map.read().at(address) {
            Some(server) => Ok(Arc::clone(server.kept.connections())),
            None => Ok(Arc::new(self.access.connections(address.server())?)),
        }
    }
}

async fn ask(connections: Arc<Connections>, address: NodeAddress) -> Result<View, StoreError> {
    let mut connection = connections.get().await?;
    let view = View::ask(&mut connection, &address.host).await;
    let view = connections.finish(connection, view)?;
    view.ok_or_else(|| StoreError::unreadable("CLUSTER SLOTS returned no list of slots"))
}

/// Returns a random number below `limit`. That many replicas do not do the same at once is all it
/// is for.
fn random(limit: u64) -> u64 {
    // The standard library seeds the hashers of its maps randomly.
    RandomState::new().build_hasher().finish() % limit
}
