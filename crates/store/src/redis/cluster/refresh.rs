//! Keeps the map of a cluster up to date, beside the traffic.

use std::{
    error::Error,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{Cluster, Kept, NodeAddress, view::View};
use crate::{
    StoreError,
    redis::{connections::Connections, redis_error::RedisError},
};

/// How old a map may become although nothing speaks against it. Each replica adds up to a quarter,
/// so that a fleet does not ask all at once.
const OLDEST: Duration = Duration::from_secs(60);
/// The least time between two refreshes: while a primary is away, each failing call asks for one.
const PAUSE: Duration = Duration::from_millis(200);
/// How many servers are asked. One alone may be cut off from the others, and not know it yet.
const ASKED: usize = 3;
/// How long a server may take to answer, in which a connection may have to be opened.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Asks for refreshes, and tells when one has ended.
#[derive(Debug)]
pub(super) struct Refresh {
    wanted: Arc<Notify>,
    /// How many refreshes have ended.
    ended: watch::Sender<u64>,
    last_error: Mutex<Option<StoreError>>,
}

impl Refresh {
    pub(super) fn new() -> Self {
        Self {
            wanted: Arc::new(Notify::new()),
            ended: watch::Sender::new(0),
            last_error: Mutex::new(None),
        }
    }

    /// Asks for a refresh.
    pub(super) fn request(&self) {
        self.wanted.notify_one();
    }

    /// Waits until `is_known`, for one refresh if need be.
    ///
    /// # Errors
    /// The error of that refresh.
    pub(super) async fn wait(&self, is_known: impl Fn() -> bool) -> Result<(), StoreError> {
        let mut ended = self.ended.subscribe();
        if is_known() {
            return Ok(());
        }
        self.request();
        // The sender is this value's own, so that it is there.
        let _ = ended.changed().await;
        if is_known() {
            return Ok(());
        }
        let error = self.last_error.lock().clone();
        Err(error.unwrap_or_else(|| StoreError::unreadable("the cluster lists no slots")))
    }

    fn end(&self, result: Result<(), StoreError>) {
        *self.last_error.lock() = result.err();
        self.ended.send_modify(|ended| *ended += 1);
    }
}

impl Drop for Refresh {
    fn drop(&mut self) {
        // Wakes the task, which then finds that the cluster is gone.
        self.wanted.notify_one();
    }
}

/// Starts the task that keeps the map up to date.
pub(super) fn start<N: Kept>(cluster: &Arc<Cluster<N>>) {
    let wanted = Arc::clone(&cluster.refresh.wanted);
    tokio::spawn(run(Arc::downgrade(cluster), wanted));
}

async fn run<N: Kept>(cluster: Weak<Cluster<N>>, wanted: Arc<Notify>) {
    loop {
        let age = OLDEST + OLDEST / 4 * (random() % 256) / 256;
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
            let first = random() as usize % candidates.len();
            candidates.rotate_left(first);
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
            for answer in asked.join_all().await {
                match answer {
                    Ok(view) => views.push(view),
                    Err(error) => failure = Some(error),
                }
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
    let answer = async {
        let mut connection = connections.get().await?;
        let view = View::ask(&mut connection, &address.host).await;
        connections.finish(connection, view)
    };
    let view = timeout(ANSWER_TIMEOUT, answer).await;
    let view = view.map_err(|_| StoreError::Timeout { within: ANSWER_TIMEOUT })??;
    view.ok_or_else(|| StoreError::unreadable("CLUSTER SLOTS returned no list of slots"))
}

/// Returns a random number; that many replicas do not do the same at once is all it is for.
fn random() -> u32 {
    // The standard library seeds the hashers of its maps randomly.
    RandomState::new().build_hasher().finish() as u32
}
