//! A replica's place in its fleet.

use std::{
    collections::HashSet,
    error::Error,
    mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sluice_store::{Fleet, Formats, Replica, Store, StoreError};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    limiter::Limiter,
    standing::{Conflict, Standing},
    telemetry::Recorders,
};

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
    standing: watch::Receiver<Standing>,
    other_secrets: watch::Receiver<usize>,
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
    /// Joining does not fail, since a store may come back at any time.
    /// [`Membership::standing`] tells whether the announcements succeed, and whether an older
    /// replica spreads its keys over another number of partitions. That one is also logged.
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
        let (standing, seen_standing) = watch::channel(Standing::Joining);
        let (other_secrets, seen_secrets) = watch::channel(0);
        let announcer = Announcer {
            limiter: self.clone(),
            store: Arc::clone(self.store()),
            replica: replica.clone(),
            live_replicas: Arc::clone(&live_replicas),
            standing,
            other_secrets,
            recorders: self.recorders().clone(),
        };
        let task = tokio::spawn(async move {
            announcer.announce_until(stopped).await;
            announcer.depart().await
        });
        Membership {
            replica,
            live_replicas,
            standing: seen_standing,
            other_secrets: seen_secrets,
            _keep_announcing: keep_announcing,
            task,
        }
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

    /// Returns how the fleet takes the replica, as it is and as it changes.
    ///
    /// ```
    /// use sluice::{Limiter, Standing};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::in_memory("60/minute, burst 10".parse()?);
    /// let membership = limiter.join("api-7");
    /// let mut standing = membership.standing();
    /// let first = standing.wait_for(|now| !matches!(now, Standing::Joining)).await?.clone();
    /// if let Standing::Conflicting(conflict) = first {
    ///     membership.leave().await?;
    ///     return Err(conflict.into());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Returns how many live replicas hash clients with another secret, as it is and as it changes.
    /// A client has a bucket of its own in each group of replicas with one secret.
    #[must_use]
    pub fn other_secrets(&self) -> watch::Receiver<usize> {
        self.other_secrets.clone()
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
    standing: watch::Sender<Standing>,
    other_secrets: watch::Sender<usize>,
    recorders: Recorders,
}

impl Announcer {
    /// Announces the replica at once and at regular intervals. An announcement that has begun is
    /// finished, so that it cannot overtake the departure.
    async fn announce_until(&self, mut stopped: oneshot::Receiver<()>) {
        let mut interval = interval(ANNOUNCE_EVERY);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut strangers = HashSet::new();
        let (mut logged, mut was_listed) = (None, false);
        loop {
            tokio::select! {
                biased;
                _ = &mut stopped => return,
                _ = interval.tick() => {}
            }
            self.limiter.unverified().sweep();
            // A reload may have changed the secret.
            let fingerprint = self.limiter.policy().tagger().fingerprint();
            let replica = self.replica.clone().with_secret_fingerprint(fingerprint);
            let announced = self.store.announce(&replica).await;
            self.stand(&announced, &mut was_listed);
            match announced {
                Ok(fleet) => {
                    if logged.take().is_some() {
                        tracing::info!("the store accepts this replica again");
                    }
                    log_strangers(&fleet, &mut strangers);
                    self.compare_secrets(&fleet, fingerprint);
                    self.live_replicas.store(fleet.size(), Ordering::Relaxed);
                    self.limiter.unverified().divide_among(fleet.size());
                    self.recorders.replica.set_live_replicas(fleet.size() as u64);
                }
                // A replica that is not ready gets no requests, so nothing else would say why.
                Err(error @ StoreError::WrongSettings(_)) => {
                    if logged.replace(Refusal::OfTheReplica) != Some(Refusal::OfTheReplica) {
                        tracing::error!(
                            error = &error as &dyn Error,
                            "the store refuses this replica: correct the settings of the store"
                        );
                    }
                }
                // Checks may still be decided, so that the failover notices nothing.
                Err(error @ (StoreError::Refused(_) | StoreError::Unreadable { .. })) => {
                    if logged.replace(Refusal::OfTheCall) != Some(Refusal::OfTheCall) {
                        tracing::warn!(
                            error = &error as &dyn Error,
                            "this replica cannot announce itself: in an outage, each replica would \
                             take too large a share of the limits"
                        );
                    }
                }
                // The failover, which notices an outage first, logs it.
                Err(error) => tracing::debug!(
                    error = &error as &dyn Error,
                    "the replica could not announce itself"
                ),
            }
        }
    }

    /// Publishes what an announcement led to. `was_listed` says whether one has ever succeeded.
    fn stand(&self, announced: &Result<Fleet, StoreError>, was_listed: &mut bool) {
        let standing = match announced {
            // Whoever serves already goes on: of two such halves of a fleet, neither is right.
            Ok(fleet) if !mem::replace(was_listed, true) => {
                match Conflict::find(fleet, &self.replica.id) {
                    Some(conflict) => Standing::Conflicting(conflict),
                    None => Standing::Listed,
                }
            }
            Ok(_) => Standing::Listed,
            Err(error) => Standing::Unlisted(error.clone()),
        };
        self.standing.send_if_modified(|current| {
            let stays = matches!(
                (&*current, &standing),
                (Standing::Conflicting(_), _) | (Standing::Listed, Standing::Listed)
            );
            if !stays {
                *current = standing;
            }
            !stays
        });
    }

    /// Publishes how many replicas have another secret, and logs when the first one appears and
    /// when the last one is gone.
    fn compare_secrets(&self, fleet: &Fleet, fingerprint: u64) {
        let others = fleet.with_other_secrets(fingerprint).count();
        self.recorders.replica.set_other_secrets(others as u64);
        let before = self.other_secrets.send_replace(others);
        match (before, fleet.with_other_secrets(fingerprint).next()) {
            (0, Some(other)) => tracing::warn!(
                replica = other.id,
                version = other.version,
                others,
                "another replica hashes clients with another secret, so that each client has a \
                 bucket in either group and gets its limit up to twice: give all replicas the same \
                 `clients.secret`"
            ),
            (1.., None) => tracing::info!("all replicas hash clients with the same secret again"),
            _ => {}
        }
    }

    async fn depart(&self) -> Result<(), StoreError> {
        match timeout(DEPART_TIMEOUT, self.store.depart(&self.replica)).await {
            Ok(departed) => departed,
            Err(_) => Err(StoreError::Timeout { within: DEPART_TIMEOUT }),
        }
    }
}

/// What the store does not accept. Each is logged once in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// The replica itself, until the settings are corrected.
    OfTheReplica,
    /// Its announcements.
    OfTheCall,
}

/// Logs each live replica, once, whose buckets this build does not share or cannot read. `known`
/// are those that were logged before.
fn log_strangers(fleet: &Fleet, known: &mut HashSet<String>) {
    known.retain(|id| fleet.replicas.iter().any(|live| live.replica.id == *id));
    for live in &fleet.replicas {
        if Formats::CURRENT.understands(live.formats) || known.contains(&live.replica.id) {
            continue;
        }
        tracing::error!(
            replica = live.replica.id,
            version = live.replica.version,
            formats = %live.formats,
            own_formats = %Formats::CURRENT,
            "another replica keeps its buckets in a format that this version does not use, so each \
             of the two grants every limit on its own. Run one version, or give them different \
             values of `store.prefix`"
        );
        known.insert(live.replica.id.clone());
    }
}

#[cfg(test)]
mod tests {
    use sluice_store::{Fleet, Formats, LiveReplica, Replica};

    use super::*;

    #[test]
    fn a_replica_with_other_keys_is_logged_once_while_it_lives() {
        let live = |id: &str, formats: Formats| {
            LiveReplica::new(Replica::new(id, "1"), Duration::ZERO, Duration::ZERO)
                .with_formats(formats)
        };
        let mut other = Formats::CURRENT;
        other.keys += 1;
        let mixed = Fleet::new(vec![
            live("own", Formats::CURRENT),
            live("old", Formats::BASELINE),
            live("other", other),
        ]);
        let mut known = HashSet::new();
        for _ in 0..2 {
            log_strangers(&mixed, &mut known);
            assert_eq!(known, HashSet::from(["other".to_owned()]));
        }
        log_strangers(&Fleet::new(vec![live("own", Formats::CURRENT)]), &mut known);
        assert!(known.is_empty());
    }
}
