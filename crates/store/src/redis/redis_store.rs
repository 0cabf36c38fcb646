//! The store itself: the way of a check to its server, and a few commands beside it.

use std::{
    pin::Pin,
    slice,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use redis::{Pipeline, Value};
use sluice_core::{Action, Check, Decision, Partition};

use super::{
    announce,
    call_plan::CallPlan,
    epoch_reader::EpochReader,
    epochs::Epochs,
    job::{Answer, Manner, Miss},
    keys::{self, Keys},
    lanes::Reply,
    node::{Node, NodeSettings},
    redis_error::RedisError,
    redis_settings::RedisSettings,
    returns::Returns,
    routing::{self, Decided, Deciding},
    scripts,
    server_memory::{self, ServerMemory},
    topology::Topology,
};
use crate::{
    ColdStart, Fleet, Formats, MaybeReady, NodeId, ObserveReturns, ObserveRoundTrips, Replica,
    Store, StoreError, StoreFuture, SubscriptionId,
    formats::{HELD_LAYOUT, OTHERS_LAYOUT, RECORD_LAYOUT},
    join_all::join_all,
};

/// Keeps buckets in Redis 6.2 or later, or in Valkey: on one server, on the primary that Sentinels
/// watch, or in a cluster.
///
/// Dropping the store closes its connections.
///
/// # Clusters
/// All buckets of a client are on one server, and decided there in one piece. A check that also
/// names buckets elsewhere, such as one that all clients share, takes from one server after the
/// other, and gives back what it took if a later one denies. It never admits more than its limits.
/// While it is on its way another check may be denied for it, and a process that ends on the way
/// leaves tokens taken.
#[derive(Debug)]
pub struct RedisStore {
    topology: Arc<Topology<Node>>,
    keys: Keys,
    timeout: Duration,
    formats: Formats,
    /// The newest layout that every live replica reads.
    newest_layout: Arc<AtomicU8>,
    expected_replicas: usize,
    epochs: Arc<EpochReader>,
    cold_start: ColdStart,
    returns: Arc<Returns>,
}

impl RedisStore {
    /// Makes a store in the Redis at `settings`, which reports every round trip of checks to
    /// `observer`. Nothing is decided yet: whether Redis can be reached shows in the first
    /// decisions.
    ///
    /// # Errors
    /// When the settings are invalid, or outside of a Tokio runtime, on which the store's tasks
    /// run.
    pub fn new(
        settings: &RedisSettings,
        observer: impl ObserveRoundTrips,
    ) -> Result<Self, RedisError> {
        let keys = Keys::new(&settings.prefix)?;
        // Until the first announcement is answered, replicas of any build may be live.
        let newest_layout =
            Arc::new(AtomicU8::new(settings.formats.newest_written([Formats::BASELINE])));
        let epochs = Arc::new(Epochs::new(settings.cold_start));
        let returns = Arc::new(Returns::new(keys.clone()));
        let nodes = NodeSettings {
            keys: keys.clone(),
            lanes: settings.connections,
            observer: Arc::new(observer),
            formats: settings.formats,
            newest_layout: Arc::clone(&newest_layout),
            epochs: Arc::clone(&epochs),
            returns: Arc::clone(&returns),
        };
        let topology = Arc::new(Topology::open(settings, nodes)?);
        Ok(Self {
            epochs: Arc::new(EpochReader::new(Arc::clone(&topology), keys.clone(), epochs)),
            topology,
            keys,
            timeout: settings.timeout,
            formats: settings.formats,
            newest_layout,
            expected_replicas: settings.expected_replicas,
            cold_start: settings.cold_start,
            returns,
        })
    }

    /// Returns how many connections are open, busy or idle.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.topology.open_connections()
    }

    /// Asks each server what it does when its memory is full. A server that does not say, as when
    /// this user may not call `INFO`, or that is away while others are not, is left out.
    ///
    /// # Errors
    /// When no server can be reached.
    pub async fn server_memory(&self) -> Result<Vec<(NodeId, ServerMemory)>, StoreError> {
        let nodes = self.topology.nodes().await?;
        let request = server_memory::request();
        let asked = nodes.iter().map(|node| {
            StoreFuture::pending(self.topology.run(node.partitions[0], &request, None))
        });
        let mut memories = Vec::new();
        let mut failure = None;
        for (node, replies) in nodes.iter().zip(join_all(asked).await) {
            match replies {
                Ok(replies) => {
                    memories.extend(server_memory::parse(replies).map(|memory| (node.id, memory)));
                    failure = Some(Ok(()));
                }
                Err(error) if server_memory::is_forbidden(&error) => failure = Some(Ok(())),
                Err(error) => failure = failure.or(Some(Err(error))),
            }
        }
        failure.unwrap_or(Ok(())).map(|()| memories)
    }

    /// Returns how many of the 64 partitions have lost their memory, each as often as it did since
    /// this store was made: 64 for a server that was flushed. Announcements and probes find out.
    #[must_use]
    pub fn lost_partitions(&self) -> u64 {
        self.epochs.known().lost()
    }

    /// Returns what a bucket holds that its server has not seen since its memory began.
    #[must_use]
    pub const fn cold_start(&self) -> ColdStart {
        self.cold_start
    }

    /// Returns the fewest replicas among which limits are divided while Redis is away.
    #[must_use]
    pub const fn expected_replicas(&self) -> usize {
        self.expected_replicas
    }

    /// Returns how long one call may take.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns the error of a check that may write a state while a replica may be live that does
    /// not read it: the first record of a hold, or a limit that is no token bucket. What settles a
    /// hold is sent all the same: those that know holds read it.
    fn lacks_layouts_for(&self, check: &Check) -> Option<StoreError> {
        let newest = self.newest_layout.load(Ordering::Relaxed);
        if newest >= HELD_LAYOUT {
            return None;
        }
        if matches!(check.action(), Action::Reserve | Action::Extend) && newest < RECORD_LAYOUT {
            return Some(NO_RECORDS);
        }
        let needed = check.parts().iter().map(|part| match part.limit.rate() {
            None if part.counts_apart() => HELD_LAYOUT,
            None => OTHERS_LAYOUT,
            Some(_) => 0,
        });
        (needed.max() > Some(newest)).then(|| StoreError::unreadable(NO_OTHERS))
    }

    /// Runs a pipeline whose keys belong to no client.
    async fn run_shared(&self, pipeline: &Pipeline) -> Result<Vec<Value>, StoreError> {
        self.topology.run(keys::SHARED, pipeline, Some(&scripts::ANNOUNCE)).await
    }

    /// Succeeds if the server that has `partition` accepts writes, and lets this user run the
    /// script that decides and all commands of decisions.
    async fn probe_partition(&self, partition: Partition) -> Result<(), StoreError> {
        let mut pipeline = redis::pipe();
        let key = self.keys.probe(partition);
        // A primary that has become read-only still responds to a ping.
        pipeline.cmd("SET").arg(&key).arg(1).arg("PX").arg(1_000);
        let newest = self.newest_layout.load(Ordering::Relaxed);
        pipeline.add_command(scripts::CHECK.command_by_digest(|command| {
            CallPlan::write_probe(&key, newest, command);
        }));
        // What the scripts call only for some checks.
        pipeline.cmd("GET").arg(&key).cmd("DEL").arg(&key);
        self.topology.run(partition, &pipeline, Some(&scripts::CHECK)).await.map(drop)
    }
}

/// The error of a hold while its record may not be written.
const NO_RECORDS: StoreError = StoreError::NoHolds {
    why: "a replica of the fleet is of a version without holds, or this one has not announced \
          itself yet",
};

/// What is wrong with the states of limits that are no token buckets while they may not be written.
const NO_OTHERS: &str = "a replica of the fleet is of a version that does not know limits of this \
                         kind, or this one has not announced itself yet";

/// A check on its way.
enum Sent {
    ToServer(Reply),
    ToCluster(Deciding),
}

/// An `async` block would be twice as large, and it is a part of every caller's future.
impl Future for Sent {
    type Output = Decided;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Decided> {
        match self.get_mut() {
            Self::ToServer(reply) => {
                let mut answers = ready!(Pin::new(reply).poll(context));
                Poll::Ready(undivided(answers.pop().expect("one check has one answer")))
            }
            Self::ToCluster(deciding) => deciding.as_mut().poll(context),
        }
    }
}

/// Returns the decision of the only server.
fn undivided(answer: Answer) -> Decided {
    answer.map_err(Miss::into_error)
}

impl Store for RedisStore {
    fn decide<'a>(&'a self, check: &'a Check) -> StoreFuture<'a, Decided> {
        self.decide_unboxed(check, None).boxed()
    }

    fn decide_unboxed<'a>(
        &'a self,
        check: &'a Check,
        _within: Option<Duration>,
    ) -> MaybeReady<Decided, impl Future<Output = Decided> + Send + 'a> {
        if let Some(error) = self.lacks_layouts_for(check) {
            return MaybeReady::ready(Err(error));
        }
        let sent = match &*self.topology {
            Topology::Single(_) if check.parts().is_empty() => {
                return MaybeReady::ready(Ok(routing::nothing(check)));
            }
            Topology::Single(node) => {
                Sent::ToServer(node.lanes.decide(slice::from_ref(check), Manner::Gathered))
            }
            Topology::Cluster(cluster) => {
                Sent::ToCluster(routing::decide(Arc::clone(cluster), check.clone()))
            }
        };
        MaybeReady::Pending(sent)
    }

    fn decide_all<'a>(
        &'a self,
        checks: &'a [Check],
    ) -> StoreFuture<'a, Vec<Result<Decision, StoreError>>> {
        if checks.iter().any(|check| self.lacks_layouts_for(check).is_some()) {
            return StoreFuture::pending(async move {
                let mut results = Vec::with_capacity(checks.len());
                for check in checks {
                    results.push(self.decide(check).await);
                }
                results
            });
        }
        match &*self.topology {
            Topology::Single(node) => {
                let answers = node.lanes.decide_all(checks);
                StoreFuture::pending(async { answers.await.into_iter().map(undivided).collect() })
            }
            Topology::Cluster(cluster) => {
                StoreFuture::pending(routing::decide_all(cluster, checks))
            }
        }
    }

    /// Succeeds if any server would decide: a replica that starts while one is away serves the
    /// clients of the others.
    fn probe(&self) -> StoreFuture<'_, Result<(), StoreError>> {
        StoreFuture::pending(async {
            let nodes = self.topology.nodes().await?;
            let probes = nodes
                .iter()
                .map(|node| StoreFuture::pending(self.probe_partition(node.partitions[0])));
            let results = join_all(probes).await;
            if results.iter().all(Result::is_err) {
                return results.into_iter().next().unwrap_or(Ok(()));
            }
            self.epochs.read(nodes).await;
            Ok(())
        })
    }

    fn node(&self, partition: Partition) -> NodeId {
        self.topology.node(partition)
    }

    fn probe_node(&self, node: NodeId) -> StoreFuture<'_, Result<(), StoreError>> {
        StoreFuture::pending(async move {
            let nodes = self.topology.nodes().await?;
            let Some(node) = nodes.into_iter().find(|one| one.id == node) else {
                // The cluster has fewer nodes now: nothing is sent to this one any more.
                return Ok(());
            };
            self.probe_partition(node.partitions[0]).await?;
            self.epochs.read(vec![node]).await;
            Ok(())
        })
    }

    fn report_returns(&self, observer: Arc<dyn ObserveReturns>) {
        self.returns.report_to(observer);
    }

    /// In a cluster each partition has another one, since each is decided in a call of its own.
    fn subscription(&self, partition: Partition) -> Option<SubscriptionId> {
        let (number, partition) = match &*self.topology {
            Topology::Single(node) => (node.subscription.number()?, 0),
            Topology::Cluster(cluster) => {
                (cluster.known(partition)?.kept.subscription.number()?, partition.index() as u64)
            }
        };
        let number = number * u64::from(Partition::COUNT) + partition;
        // A server that has lost its buckets reports none of them.
        let lost = self.epochs.known().lost() & u64::from(u32::MAX);
        Some(SubscriptionId::new(number.wrapping_shl(u32::BITS) | lost))
    }

    fn announce<'a>(&'a self, replica: &'a Replica) -> StoreFuture<'a, Result<Fleet, StoreError>> {
        StoreFuture::pending(async {
            let mut pipeline = redis::pipe();
            pipeline.add_command(announce::call(&self.keys, replica, self.formats));
            let reply = self.run_shared(&pipeline).await?.pop().unwrap_or(Value::Nil);
            let fleet = announce::parse(reply).ok_or_else(|| {
                StoreError::unreadable("announce.lua returned no list of replicas")
            })?;
            let live = fleet.replicas.iter().map(|live| live.formats);
            self.newest_layout.store(self.formats.newest_written(live), Ordering::Relaxed);
            self.epochs.read_after_announcement().await;
            Ok(fleet)
        })
    }

    fn depart<'a>(&'a self, replica: &'a Replica) -> StoreFuture<'a, Result<(), StoreError>> {
        StoreFuture::pending(async {
            let mut pipeline = redis::pipe();
            pipeline.cmd("HDEL").arg(self.keys.fleet()).arg(&replica.id);
            self.run_shared(&pipeline).await.map(drop)
        })
    }

    fn agree<'a>(
        &'a self,
        name: &'a str,
        value: &'a [u8],
    ) -> StoreFuture<'a, Result<Vec<u8>, StoreError>> {
        StoreFuture::pending(async move {
            let key = self.keys.agreed(name);
            let mut pipeline = redis::pipe();
            pipeline.cmd("SET").arg(&key).arg(value).arg("NX").cmd("GET").arg(&key);
            match self.run_shared(&pipeline).await?.pop() {
                Some(Value::BulkString(agreed)) => Ok(agreed),
                _ => Err(StoreError::unreadable("GET returned no text of what was set before")),
            }
        })
    }
}
