//! `/health` and `/ready`: whether the process lives, and whether it should be asked.
//!
//! `/health` is 200 as long as the process answers. `/ready` says what each part is like:
//!
//! | status | | |
//! |---|---|---|
//! | `ready` | 200 | all is well |
//! | `degraded` | 200 | the store is away, and limits answer by themselves, or the last change of the configuration was refused: better asked than left out |
//! | `unavailable` | 503 | the store is away, and every limit leaves the answer to the caller |
//! | `stopping` | 503 | the process was told to stop, and finishes what is in flight |

use std::{
    error::Error,
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
use sluice_store::{BreakerState, Replica};
use utoipa::ToSchema;

use crate::{engine::Engine, shutdown::StopFlag, store::Watched};

/// Where a process says that it lives.
pub(crate) const HEALTH_PATH: &str = "/health";
/// Where it says whether it should be asked.
pub(crate) const READY_PATH: &str = "/ready";

/// How long a store may take to show that it would decide. Less than the second that most probes
/// wait, and far more than a check may take.
const PROBE_PATIENCE: Duration = Duration::from_millis(500);

/// What this process tells about itself to those who decide whether to ask it.
#[derive(Debug)]
pub struct Health {
    stopping: StopFlag,
    store: Arc<dyn Watched>,
    configuration: Mutex<Configuration>,
    replica: Replica,
    started: Instant,
}

/// The configuration in force.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Configuration {
    /// How many were in force since the start, this one included.
    pub(crate) version: u64,
    /// When it came into force, in Unix seconds.
    pub(crate) loaded_at: u64,
    /// Why the last change was refused; left out when it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) refused: Option<String>,
}

/// What `/ready` answers.
#[derive(Debug, Serialize, ToSchema)]
#[schema(description = "How this replica is, part by part.")]
pub(crate) struct Readiness {
    status: Status,
    store: StorePart,
    configuration: Configuration,
    replica: ReplicaPart,
}

/// Whether this replica wants to be asked: `ready` and `degraded` do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Ready,
    Degraded,
    Unavailable,
    Stopping,
}

/// What `/health` answers.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Health, description = "That the process lives.")]
pub(crate) struct Alive {
    /// `alive`.
    status: &'static str,
}

/// The store, as readiness sees it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Store)]
pub(crate) struct StorePart {
    /// `memory` or `redis`.
    name: &'static str,
    /// `up` or `away`.
    status: &'static str,
    /// Why it is away.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<String>,
    /// Among how many replicas limits are shared while it is away.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    live_replicas: Option<usize>,
}

/// The replica that answers.
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
    /// The health of `replica`, whose buckets live in `store`, with its first configuration in
    /// force.
    #[must_use]
    pub fn new(replica: Replica, store: Arc<dyn Watched>) -> Self {
        let configuration = Configuration { version: 1, loaded_at: unix_seconds(), refused: None };
        Self {
            stopping: StopFlag::default(),
            store,
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

    /// From now on the process is not ready: it was told to stop.
    pub fn stop(&self) {
        self.stopping.set();
    }

    /// Whether the process was told to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_set()
    }

    /// Another configuration is in force.
    pub fn configuration_replaced(&self) {
        let mut configuration = self.configuration();
        *configuration = Configuration {
            version: configuration.version + 1,
            loaded_at: unix_seconds(),
            refused: None,
        };
    }

    /// A changed configuration was refused, and the one before it stays in force.
    pub fn configuration_refused(&self, why: String) {
        self.configuration().refused = Some(why);
    }

    fn configuration(&self) -> MutexGuard<'_, Configuration> {
        // Nothing panics while it is held.
        self.configuration.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who this replica is.
    pub(crate) const fn replica(&self) -> &Replica {
        &self.replica
    }

    /// How long this replica lives.
    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// The configuration in force.
    pub(crate) fn configuration_in_force(&self) -> Configuration {
        self.configuration().clone()
    }

    /// How all is, and the store by itself.
    pub(crate) async fn status(&self, policy: &Policy) -> (Status, StorePart) {
        let Readiness { status, store, .. } = self.readiness(policy).await;
        (status, store)
    }

    async fn readiness(&self, policy: &Policy) -> Readiness {
        let store = self.store_part().await;
        let configuration = self.configuration_in_force();
        let away = store.error.is_some();
        let status = match () {
            () if self.is_stopping() => Status::Stopping,
            () if away && leaves_all_to_callers(policy) => Status::Unavailable,
            () if away || configuration.refused.is_some() => Status::Degraded,
            () => Status::Ready,
        };
        let replica = ReplicaPart {
            id: self.replica.id.clone(),
            version: self.replica.version.clone(),
            uptime_seconds: self.started.elapsed().as_secs(),
        };
        Readiness { status, store, configuration, replica }
    }

    async fn store_part(&self) -> StorePart {
        let error = match tokio::time::timeout(PROBE_PATIENCE, self.store.backing().probe()).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(with_causes(&error)),
            Err(_) => Some(format!("no answer within {PROBE_PATIENCE:?}")),
        };
        let observation = self.store.observe();
        // It may answer again, and not be asked yet.
        let not_asked = observation.as_ref().filter(|seen| seen.breaker != BreakerState::Closed);
        let error =
            error.or_else(|| {
                let failure = not_asked?.last_failure.as_ref();
                Some(failure.map_or_else(
                    || "it is not asked yet".to_owned(),
                    |(_, error)| with_causes(error),
                ))
            });
        let status = if error.is_none() { "up" } else { "away" };
        StorePart {
            name: self.store.name(),
            status,
            error,
            live_replicas: observation.map(|seen| seen.live_replicas),
        }
    }
}

impl StorePart {
    /// Whether the store decides.
    pub(crate) const fn is_up(&self) -> bool {
        self.error.is_none()
    }
}

/// Whether no request that is limited would be answered without the store.
fn leaves_all_to_callers(policy: &Policy) -> bool {
    let mut enforced = policy.limits().iter().filter(|limit| limit.denies()).peekable();
    enforced.peek().is_some()
        && enforced.all(|limit| limit.on_store_failure() == OnStoreFailure::Error)
}

/// An error and what caused it.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut texts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        texts.push(error.to_string());
        cause = error.source();
    }
    // Some errors say what their cause says.
    texts.dedup();
    texts.join(": ")
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

/// `/health` and `/ready`.
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
    Router::new().route(HEALTH_PATH, get(alive)).route(READY_PATH, get(ready))
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
    use sluice_core::{Rate, Terms};
    use sluice_store::{FailoverState, StoreError};

    use super::*;
    use crate::front_ends::fixtures::Away;
    use sluice_testkit::policies;

    /// A store that answers a probe with what it is told.
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

    fn health(store: impl Store) -> Health {
        let replica = Replica::new("a", "1.2.3");
        Health::new(replica, Arc::new(Probed(Box::new(store))))
    }

    async fn told(health: &Health, policy: &Policy) -> (u16, Value) {
        let readiness = health.readiness(policy).await;
        (readiness.status.code().as_u16(), serde_json::to_value(&readiness).unwrap())
    }

    /// A policy with this answer where the store gives none.
    fn policy_that_answers(on_store_failure: OnStoreFailure) -> Policy {
        let rate: Rate = "60/minute, burst 10".parse().unwrap();
        let terms = Terms::from(rate).on_store_failure(on_store_failure);
        Policy::builder().default_limit(terms).build().unwrap()
    }

    #[tokio::test]
    async fn all_is_told_part_by_part() {
        let (status, mut body) = told(&health(MemoryStore::new()), &policies::document()).await;
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
    async fn without_its_store_a_replica_stays_in_service_unless_it_could_answer_nothing() {
        let health = health(Away);
        for (on_store_failure, expected) in [
            (OnStoreFailure::Local, (200, json!("degraded"))),
            (OnStoreFailure::Allow, (200, json!("degraded"))),
            (OnStoreFailure::Deny, (200, json!("degraded"))),
            (OnStoreFailure::Error, (503, json!("unavailable"))),
        ] {
            let (status, mut body) = told(&health, &policy_that_answers(on_store_failure)).await;
            assert_eq!((status, body["status"].take()), expected, "{on_store_failure:?}");
            assert_eq!(body["store"]["status"], "away");
            assert_eq!(body["store"]["error"], StoreError::BreakerOpen.to_string());
        }
        let without_limits = Policy::builder();
        assert_eq!(
            told(&health, &without_limits.build().unwrap()).await.1["status"],
            "degraded",
            "what is not limited passes"
        );
    }

    #[tokio::test]
    async fn a_refused_configuration_is_told_until_a_good_one_comes() {
        let health = health(MemoryStore::new());
        health.configuration_refused("sluice.yaml: limits[0].rate: `6` is not a rate".to_owned());
        let (status, body) = told(&health, &policies::document()).await;
        assert_eq!(
            (status, &body["status"], &body["configuration"]["version"]),
            (200, &json!("degraded"), &json!(1))
        );
        assert_eq!(
            body["configuration"]["refused"],
            "sluice.yaml: limits[0].rate: `6` is not a rate"
        );
        health.configuration_replaced();
        let (_, body) = told(&health, &policies::document()).await;
        assert_eq!(
            (&body["status"], &body["configuration"]["version"]),
            (&json!("ready"), &json!(2))
        );
        assert_eq!(body["configuration"].get("refused"), None);
    }

    #[tokio::test]
    async fn causes_are_told_too_and_each_once() {
        let refused = StoreError::Refused(Arc::new(std::io::Error::other("read-only")));
        assert_eq!(with_causes(&refused), "the store rejected the call: read-only");
        let twice = StoreError::Unreachable(Arc::new(StoreError::Unreachable(Arc::new(
            std::io::Error::other("connection refused"),
        ))));
        assert_eq!(with_causes(&twice), "the store cannot be reached: connection refused");
    }
}
