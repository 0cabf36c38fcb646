//! The probes `/health` (liveness) and `/ready` (readiness).
//!
//! `/health`, or `/healthcheck`, has status 200 as long as the process responds. `/ready` describes
//! each part:
//!
//! - `ready` (status 200): the replica works.
//! - `degraded` (200): the store, or one of its nodes, is away and limits are decided locally, its
//!   server may evict buckets, it rejects the replica's announcements, or the last configuration
//!   change was rejected. The replica should still get requests.
//! - `unavailable` (503): the store is away, and every limit leaves the decision to the caller, or
//!   the store has never responded since the start (until `store.wait_at_start` has passed); or the
//!   store refuses this replica (a wrong password, missing permissions, a server of a kind that it
//!   cannot use) until somebody corrects the settings, so that a rollout of them stops here.
//! - `stopping` (503): the process is about to stop and finishes the requests in flight.
//!
//! Everyone who reaches the port can read both, also strangers on a gateway's port. So they give
//! causes in a few fixed words, without addresses, paths or texts of errors.
//! `/monitoring/health/detailed` and the log have those.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::{Router, body::Body, response::Response, routing::get};
use http::{
    HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use serde::Serialize;
use sluice::Policy;
use sluice_core::OnStoreFailure;
use sluice_store::Replica;
use utoipa::ToSchema;

use super::{shortened::shortened, store_part::StorePart};
use crate::{engine::Engine, shutdown::StopFlag, store::Watched, store_watch::StoreWatch};

/// The path of the liveness probe.
pub(crate) const HEALTH_PATH: &str = "/health";
/// The path under which manifests for envoyproxy/ratelimit expect the liveness probe.
pub(crate) const HEALTHCHECK_PATH: &str = "/healthcheck";
/// The path of the readiness probe.
pub(crate) const READY_PATH: &str = "/ready";

/// What `/ready` says of a rejected configuration.
const REJECTED_CHANGE: &str =
    "the last change was rejected: the log and /monitoring/health/detailed name the errors";

/// The health of this replica, as the probes report it.
#[derive(Debug)]
pub struct Health {
    stopping: StopFlag,
    store: Arc<dyn Watched>,
    watch: StoreWatch,
    /// How long after the start the first contact with the store is waited for.
    wait_at_start: Duration,
    configuration: Mutex<Configuration>,
    replica: Replica,
    started: Instant,
}

/// The active configuration.
#[derive(Clone, Debug)]
pub(crate) struct Configuration {
    /// How many configurations were active since the start, this one included.
    pub(crate) version: u64,
    /// When it became active, in Unix seconds.
    pub(crate) loaded_at: u64,
    /// Why the last change was rejected, shortened; `None` if it was not.
    pub(crate) refused: Option<String>,
}

/// The state of this replica, with all that is known about it.
struct State {
    status: Status,
    store: StorePart,
    configuration: Configuration,
}

/// The body of `/ready`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(description = "The state of this replica, part by part.")]
pub(crate) struct Readiness {
    status: Status,
    store: ReadyStore,
    configuration: ReadyConfiguration,
    replica: ReplicaPart,
}

/// The store's part of `/ready`.
#[derive(Debug, Serialize, ToSchema)]
struct ReadyStore {
    /// `memory` or `redis`.
    name: &'static str,
    /// `up`, `away`, or `refused` if the settings have to be corrected.
    status: &'static str,
    /// Why the store is away, in a few words.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<&'static str>,
    /// The number of the store's nodes that are away, if others are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    unavailable_nodes: Option<usize>,
    /// Why clients may get more than their limits although the store works, and what to do: its
    /// server may evict buckets, or it rejects the announcements of this replica.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    warning: Option<String>,
    /// The number of live replicas that the store counted last. They share the limits while the
    /// store is away; if more are expected (`store.expected_replicas`), as many as those.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    live_replicas: Option<usize>,
}

/// The configuration's part of `/ready`.
#[derive(Debug, Serialize, ToSchema)]
struct ReadyConfiguration {
    /// How many configurations were active since the start, this one included.
    version: u64,
    /// When it became active, in Unix seconds.
    loaded_at: u64,
    /// Where to find out why the last change was rejected; left out if it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    refused: Option<&'static str>,
}

/// Whether this replica should get requests: `ready` and `degraded` mean yes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Ready,
    Degraded,
    Unavailable,
    Stopping,
}

/// The body of `/health`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Health, description = "The process is alive.")]
pub(crate) struct Alive {
    /// Always `alive`.
    status: &'static str,
}

/// The replica that responds.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReadyReplica)]
struct ReplicaPart {
    /// Its name in the fleet.
    id: String,
    /// The program's version.
    version: String,
    uptime_seconds: u64,
}

// === impl Health ===

impl Health {
    /// Creates the health of `replica`, whose buckets are in `store`, with its first configuration.
    #[must_use]
    pub fn new(
        replica: Replica,
        store: Arc<dyn Watched>,
        watch: StoreWatch,
        wait_at_start: Duration,
    ) -> Self {
        let configuration = Configuration { version: 1, loaded_at: unix_seconds(), refused: None };
        Self {
            stopping: StopFlag::default(),
            store,
            watch,
            wait_at_start,
            configuration: Mutex::new(configuration),
            replica,
            started: Instant::now(),
        }
    }

    /// Returns the flag that says whether the process is about to stop.
    #[must_use]
    pub fn stop_flag(&self) -> StopFlag {
        self.stopping.clone()
    }

    /// Marks the process as about to stop, and so not ready.
    pub fn stop(&self) {
        self.stopping.set();
    }

    /// Returns whether the process is about to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_set()
    }

    /// Records that another configuration is active.
    pub fn configuration_replaced(&self) {
        let mut configuration = self.configuration();
        *configuration = Configuration {
            version: configuration.version + 1,
            loaded_at: unix_seconds(),
            refused: None,
        };
    }

    /// Records that a changed configuration was rejected; the previous one stays active.
    pub fn configuration_rejected(&self, why: String) {
        self.configuration().refused = Some(shortened(why));
    }

    fn configuration(&self) -> MutexGuard<'_, Configuration> {
        // No code panics while it holds the lock.
        self.configuration.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns this replica's name and version.
    pub(crate) const fn replica(&self) -> &Replica {
        &self.replica
    }

    /// Returns how long this replica has been running.
    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Returns the active configuration.
    pub(crate) fn active_configuration(&self) -> Configuration {
        self.configuration().clone()
    }

    /// Returns the overall status, and the store's part of it.
    pub(crate) async fn status(&self, policy: &Policy) -> (Status, StorePart) {
        let State { status, store, .. } = self.state(policy).await;
        (status, store)
    }

    async fn readiness(&self, policy: &Policy) -> Readiness {
        let State { status, store, configuration } = self.state(policy).await;
        Readiness {
            status,
            store: ReadyStore {
                name: store.name,
                status: store.status,
                error: store.cause,
                unavailable_nodes: store.unavailable_nodes,
                warning: store.warning,
                live_replicas: store.live_replicas,
            },
            configuration: ReadyConfiguration {
                version: configuration.version,
                loaded_at: configuration.loaded_at,
                refused: configuration.refused.map(|_| REJECTED_CHANGE),
            },
            replica: ReplicaPart {
                id: self.replica.id.clone(),
                version: self.replica.version.clone(),
                uptime_seconds: self.started.elapsed().as_secs(),
            },
        }
    }

    async fn state(&self, policy: &Policy) -> State {
        let store = StorePart::read(&*self.store, &self.watch).await;
        let configuration = self.active_configuration();
        let away = store.error.is_some();
        let status = match () {
            () if self.is_stopping() => Status::Stopping,
            () if store.is_refused() => Status::Unavailable,
            () if store.is_wholly_away() && leaves_all_to_callers(policy) => Status::Unavailable,
            () if away && self.waits_for_store() => Status::Unavailable,
            () if store.warning.is_some() => Status::Degraded,
            () if away || configuration.refused.is_some() => Status::Degraded,
            () => Status::Ready,
        };
        State { status, store, configuration }
    }

    /// Returns whether the store has never responded, and may still be starting.
    fn waits_for_store(&self) -> bool {
        !self.watch.was_contacted() && self.started.elapsed() < self.wait_at_start
    }
}

/// Returns whether no limited request could be decided without the store.
fn leaves_all_to_callers(policy: &Policy) -> bool {
    let mut enforced = policy.limits().iter().filter(|limit| limit.denies()).peekable();
    enforced.peek().is_some()
        && enforced.all(|limit| limit.on_store_failure() == OnStoreFailure::Error)
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

// === impl Status ===

impl Status {
    const fn code(self) -> StatusCode {
        match self {
            Self::Ready | Self::Degraded => StatusCode::OK,
            Self::Unavailable | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// Returns the routes `/health` and `/ready`.
pub(crate) fn routes(engine: Arc<Engine>, health: Arc<Health>) -> Router {
    let ready = async move || {
        let readiness = health.readiness(&engine.limiter().policy()).await;
        let body = serde_json::to_vec(&readiness).expect("readiness is strings and numbers");
        answer(readiness.status.code(), body)
    };
    let alive = async || {
        answer(
            StatusCode::OK,
            serde_json::to_vec(&Alive { status: "alive" }).expect("a word can be written"),
        )
    };
    Router::new()
        .route(HEALTH_PATH, get(alive))
        .route(HEALTHCHECK_PATH, get(alive))
        .route(READY_PATH, get(ready))
}

fn answer(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use sluice::{MemoryStore, Store};
    use sluice_core::{
        Action, Algorithm, Check, Cost, Decision, Limit, Partition, Rate, Subject, Tagger, Terms,
    };
    use sluice_store::{Failover, FailoverState, NodeId, ServerMemory, StoreError, StoreFuture};

    use super::*;
    use crate::{front_ends::fixtures::Away, store_watch::EvictionRisk};
    use sluice_testkit::policies;

    /// A store that responds to a probe as the test says.
    #[derive(Debug)]
    struct Probed(Box<dyn Store>);

    impl Watched for Probed {
        fn name(&self) -> &'static str {
            "redis"
        }

        fn backing(&self) -> &dyn Store {
            &*self.0
        }

        fn observe(&self) -> Option<FailoverState> {
            None
        }

        fn open_connections(&self) -> Option<usize> {
            None
        }
    }

    /// A store that fails every probe.
    #[derive(Debug)]
    struct Failing(StoreError);

    impl Store for Failing {
        fn decide<'a>(&'a self, _: &'a Check) -> StoreFuture<'a, Result<Decision, StoreError>> {
            StoreFuture::ready(Err(self.0.clone()))
        }

        fn probe(&self) -> StoreFuture<'_, Result<(), StoreError>> {
            StoreFuture::ready(Err(self.0.clone()))
        }
    }

    fn health(store: impl Store) -> Health {
        let replica = Replica::new("a", "1.2.3");
        let store = Arc::new(Probed(Box::new(store)));
        Health::new(replica, store, StoreWatch::default(), Duration::ZERO)
    }

    async fn respond(health: &Health, policy: &Policy) -> (u16, Value) {
        let readiness = health.readiness(policy).await;
        (readiness.status.code().as_u16(), serde_json::to_value(&readiness).unwrap())
    }

    /// Returns a policy whose limits all have this `on_store_failure`.
    fn policy_that_answers(on_store_failure: OnStoreFailure) -> Policy {
        let rate: Rate = "60/minute, burst 10".parse().unwrap();
        let terms = Terms::from(rate).on_store_failure(on_store_failure);
        Policy::builder().default_limit(terms).build().unwrap()
    }

    #[tokio::test]
    async fn readiness_describes_every_part() {
        let (status, mut body) = respond(&health(MemoryStore::new()), &policies::document()).await;
        assert!(body["configuration"]["loaded_at"].take().as_u64().unwrap() > 1_700_000_000);
        assert!(body["replica"]["uptime_seconds"].take().is_u64());
        let expected = json!({
            "status": "ready",
            "store": { "name": "redis", "status": "up" },
            "configuration": { "version": 1, "loaded_at": null },
            "replica": { "id": "a", "version": "1.2.3", "uptime_seconds": null },
        });
        assert_eq!((status, body), (200, expected));
    }

    #[tokio::test]
    async fn a_replica_waits_for_a_store_that_it_has_never_reached() {
        let policy = policy_that_answers(OnStoreFailure::Local);
        let away = |wait| {
            let watch = StoreWatch::default();
            let store = Arc::new(Probed(Box::new(Away)));
            (Health::new(Replica::new("a", "1.2.3"), store, watch.clone(), wait), watch)
        };
        let (health, watch) = away(Duration::from_secs(3_600));
        assert_eq!(respond(&health, &policy).await.0, 503);
        watch.contacted();
        assert_eq!(respond(&health, &policy).await.0, 200, "it was reached before");
        assert_eq!(respond(&away(Duration::ZERO).0, &policy).await.0, 200, "waited long enough");
    }

    #[tokio::test]
    async fn a_server_that_may_evict_buckets_is_a_warning() {
        let watch = StoreWatch::default();
        let store = Arc::new(Probed(Box::new(MemoryStore::new())));
        let health = Health::new(Replica::new("a", "1.2.3"), store, watch.clone(), Duration::ZERO);
        let policy = policies::document();
        watch.memory_read(vec![(NodeId::ONLY, ServerMemory::new("allkeys-lru", 0))]);
        let (status, body) = respond(&health, &policy).await;
        assert_eq!((status, &body["status"]), (200, &json!("degraded")));
        assert_eq!(body["store"]["status"], "up");
        assert_eq!(body["store"]["warning"], EvictionRisk::MayEvict.as_str());
        watch.memory_read(vec![(NodeId::ONLY, ServerMemory::new("noeviction", 0))]);
        assert_eq!(respond(&health, &policy).await.1["status"], "ready");
    }

    #[tokio::test]
    async fn without_its_store_a_replica_is_ready_unless_it_can_decide_nothing() {
        let health = health(Away);
        for (on_store_failure, expected) in [
            (OnStoreFailure::Local, (200, json!("degraded"))),
            (OnStoreFailure::Allow, (200, json!("degraded"))),
            (OnStoreFailure::Deny, (200, json!("degraded"))),
            (OnStoreFailure::Error, (503, json!("unavailable"))),
        ] {
            let (status, mut body) = respond(&health, &policy_that_answers(on_store_failure)).await;
            assert_eq!((status, body["status"].take()), expected, "{on_store_failure:?}");
            assert_eq!(body["store"]["status"], "away");
            assert_eq!(body["store"]["error"], "not reachable lately");
            let detailed = health.status(&policy_that_answers(on_store_failure)).await.1;
            assert_eq!(detailed.error, Some(StoreError::BreakerOpen.to_string()));
        }
        let without_limits = Policy::builder();
        assert_eq!(
            respond(&health, &without_limits.build().unwrap()).await.1["status"],
            "degraded",
            "what is not limited passes"
        );
    }

    /// A store of two nodes, of which one is away.
    #[derive(Debug)]
    struct HalfAway;

    impl Store for HalfAway {
        fn decide<'a>(&'a self, check: &'a Check) -> StoreFuture<'a, Result<Decision, StoreError>> {
            let away = check.parts().iter().any(|part| part.tag.partition() != Partition::FIRST);
            if away { Away.decide(check) } else { StoreFuture::pending(decide_anew(check)) }
        }

        fn probe_node(&self, node: NodeId) -> StoreFuture<'_, Result<(), StoreError>> {
            if node == NodeId::ONLY { StoreFuture::ready(Ok(())) } else { Away.probe() }
        }

        fn node(&self, partition: Partition) -> NodeId {
            NodeId::all().nth(usize::from(partition != Partition::FIRST)).unwrap()
        }
    }

    async fn decide_anew(check: &Check) -> Result<Decision, StoreError> {
        MemoryStore::new().decide(check).await
    }

    impl Watched for Failover<HalfAway> {
        fn name(&self) -> &'static str {
            "redis"
        }

        fn backing(&self) -> &dyn Store {
            self.inner()
        }

        fn observe(&self) -> Option<FailoverState> {
            Some(self.state())
        }

        fn open_connections(&self) -> Option<usize> {
            None
        }
    }

    #[tokio::test]
    async fn a_replica_stays_ready_while_one_of_several_nodes_is_away() {
        let store = Arc::new(Failover::over(HalfAway, Duration::from_secs(1)));
        let waits = Duration::from_secs(3_600);
        let watched = StoreWatch::default();
        let health = Health::new(Replica::new("a", "1.2.3"), store.clone(), watched, waits);
        let assert_half_away = async || {
            for rule in [OnStoreFailure::Local, OnStoreFailure::Error] {
                let (status, body) = respond(&health, &policy_that_answers(rule)).await;
                assert_eq!((status, &body["status"]), (200, &json!("degraded")), "{rule:?}");
                let expected = json!({
                    "name": "redis", "status": "away", "error": "not reachable lately",
                    "unavailable_nodes": 1, "live_replicas": 1,
                });
                assert_eq!(body["store"], expected);
            }
        };
        // A replica knows before its first request, and does not wait for that node.
        assert_half_away().await;
        let rate = Algorithm::TokenBucket("60/minute, burst 10".parse().unwrap());
        let limit = Arc::new(Limit::new("default", rate).unwrap());
        let tags = (0..4_u8).map(|client| Tagger::new(b"").tag(Subject::Client(&[client])));
        for tag in tags {
            let check = Check::new(Action::Take).with(&limit, tag, Cost::ONE);
            store.decide(&check).await.unwrap();
        }
        assert_eq!(store.state().unavailable_nodes, 1);
        assert_half_away().await;
    }

    /// A store that does not let the replica in.
    #[derive(Debug)]
    struct LockedOut;

    impl Store for LockedOut {
        fn decide<'a>(&'a self, _: &'a Check) -> StoreFuture<'a, Result<Decision, StoreError>> {
            StoreFuture::ready(Err(wrong_password()))
        }

        fn probe(&self) -> StoreFuture<'_, Result<(), StoreError>> {
            StoreFuture::ready(Err(wrong_password()))
        }
    }

    fn wrong_password() -> StoreError {
        StoreError::wrong_settings(std::io::Error::other("WRONGPASS"))
    }

    #[tokio::test]
    async fn a_replica_that_its_store_refuses_is_not_ready() {
        let (status, body) =
            respond(&health(LockedOut), &policy_that_answers(OnStoreFailure::Local)).await;
        assert_eq!((status, &body["status"]), (503, &json!("unavailable")));
        assert_eq!(body["store"]["status"], "refused");
        assert!(!body.to_string().contains("WRONGPASS"), "strangers can read it: {body}");
    }

    #[tokio::test]
    async fn a_rejected_configuration_is_reported_until_a_valid_one_is_loaded() {
        let health = health(MemoryStore::new());
        health.configuration_rejected("sluice.yaml: limits[0].rate: `6` is not a rate".to_owned());
        let (status, body) = respond(&health, &policies::document()).await;
        assert_eq!(
            (status, &body["status"], &body["configuration"]["version"]),
            (200, &json!("degraded"), &json!(1))
        );
        assert_eq!(body["configuration"]["refused"], REJECTED_CHANGE);
        assert_eq!(
            health.active_configuration().refused.as_deref(),
            Some("sluice.yaml: limits[0].rate: `6` is not a rate")
        );
        health.configuration_replaced();
        let (_, body) = respond(&health, &policies::document()).await;
        assert_eq!(
            (&body["status"], &body["configuration"]["version"]),
            (&json!("ready"), &json!(2))
        );
        assert_eq!(body["configuration"].get("refused"), None);
    }

    #[tokio::test]
    async fn strangers_learn_no_address_no_path_and_no_text_of_an_error() {
        let cause = std::io::Error::other("redis.internal:6379: WRONGPASS");
        let store = Failing(StoreError::refused(cause));
        let health = health(store);
        health.configuration_rejected("/etc/sluice.yaml: é is not a rate\n".repeat(100_000));
        let (_, body) = respond(&health, &policies::document()).await;
        assert_eq!(
            (&body["status"], &body["store"]["error"]),
            (&json!("degraded"), &json!("the call was rejected"))
        );
        let text = body.to_string();
        assert!(text.len() < 500, "{text}");
        for secret in ["redis.internal", "WRONGPASS", "/etc/", "rate"] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
        let (_, store) = health.status(&policies::document()).await;
        assert!(store.error.unwrap().contains("redis.internal:6379: WRONGPASS"));
        let refused = health.active_configuration().refused.unwrap();
        assert!(refused.contains("/etc/sluice.yaml") && refused.len() < 5_000, "{refused}");
    }
}
