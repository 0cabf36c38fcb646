//! A replica's place in its fleet.

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sluice_store::{Replica, Store, StoreError};
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{limiter::Limiter, telemetry::Recorders};

/// The time between two announcements. A store forgets a replica after 15 seconds, so three
/// announcements in a row may fail.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(4);
/// How long a replica that leaves waits for its store.
const DEPART_TIMEOUT: Duration = Duration::from_secs(1);

/// A replica's place in its fleet: announces the replica in the store for as long as it is kept.
///
/// Made by [`Limiter::join`]. When it is dropped, the announcements stop, and a task in the
/// background takes the replica off the store's list; [`Membership::leave`] waits for that.
#[derive(Debug)]
#[must_use = "the replica leaves its fleet when its membership is dropped"]
pub struct Membership {
    replica: Replica,
    live_replicas: Arc<AtomicUsize>,
    /// The task ends when this is dropped.
    _keep_announcing: oneshot::Sender<()>,
    task: JoinHandle<Result<(), StoreError>>,
}

impl Limiter {
    /// Joins the fleet of processes that share this limiter's store, under `name`.
    ///
    /// The process announces itself now and every 4 seconds, and learns how many replicas there
    /// are. While a shared store is away, a [`Failover`](crate::Failover) divides each limit by
    /// that number. **Without `join`, every process takes the whole limit during an outage**, so
    /// that `n` processes admit `n` times as much.
    ///
    /// Processes may have the same name: a random suffix makes each one unique.
    ///
    /// ```
    /// use sluice::Limiter;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::in_memory("60/minute, burst 10".parse()?);
    /// let membership = limiter.join("api-7");
    /// // ... serve requests ...
    /// membership.leave().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn join(&self, name: &str) -> Membership {
        self.join_as(Replica::with_unique_id(name, env!("CARGO_PKG_VERSION")))
    }

    /// Joins as [`Limiter::join`] does, under an id that is unique already.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn join_as(&self, replica: Replica) -> Membership {
        let (keep_announcing, stopped) = oneshot::channel();
        let live_replicas = Arc::new(AtomicUsize::new(1));
        let announcer = Announcer {
            limiter: self.clone(),
            store: Arc::clone(self.store()),
            replica: replica.clone(),
            live_replicas: Arc::clone(&live_replicas),
            recorders: self.recorders().clone(),
        };
        let task = tokio::spawn(async move {
            announcer.announce_until(stopped).await;
            announcer.depart().await
        });
        Membership { replica, live_replicas, _keep_announcing: keep_announcing, task }
    }
}

impl Membership {
    /// Returns the replica as it announces itself.
    #[must_use]
    pub const fn replica(&self) -> &Replica {
        &self.replica
    }

    /// Returns the number of replicas at the last announcement that succeeded, this one included.
    #[must_use]
    pub fn live_replicas(&self) -> usize {
        self.live_replicas.load(Ordering::Relaxed)
    }

    /// Leaves the fleet: stops the announcements and takes the replica off the store's list.
    ///
    /// A [`Failover`](crate::Failover) also charges the store for what it admitted without it.
    /// Takes a second at most.
    ///
    /// # Errors
    /// When the store cannot be reached. The other replicas then notice after 15 seconds.
    pub async fn leave(self) -> Result<(), StoreError> {
        let Self { _keep_announcing: keep_announcing, task, .. } = self;
        drop(keep_announcing);
        match task.await {
            Ok(departed) => departed,
            Err(error) => Err(StoreError::Unreachable(Arc::new(error))),
        }
    }
}

/// Announces one replica.
struct Announcer {
    limiter: Limiter,
    store: Arc<dyn Store>,
    replica: Replica,
    live_replicas: Arc<AtomicUsize>,
    recorders: Recorders,
}

impl Announcer {
    /// Announces the replica at once and at regular intervals. An announcement that has begun is
    /// finished, so that it cannot overtake the departure.
    async fn announce_until(&self, mut stopped: oneshot::Receiver<()>) {
        let mut interval = interval(ANNOUNCE_EVERY);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = &mut stopped => return,
                _ = interval.tick() => {}
            }
            self.limiter.unverified().sweep();
            match self.store.announce(&self.replica).await {
                Ok(fleet) => {
                    self.live_replicas.store(fleet.size(), Ordering::Relaxed);
                    self.limiter.unverified().divide_among(fleet.size());
                    self.recorders.replica.set_live_replicas(fleet.size() as u64);
                }
                // The failover, which notices an outage first, logs it.
                Err(error) => tracing::debug!(
                    error = &error as &dyn Error,
                    "the replica could not announce itself"
                ),
            }
        }
    }

    async fn depart(&self) -> Result<(), StoreError> {
        match timeout(DEPART_TIMEOUT, self.store.depart(&self.replica)).await {
            Ok(departed) => departed,
            Err(_) => Err(StoreError::Timeout { within: DEPART_TIMEOUT }),
        }
    }
}
