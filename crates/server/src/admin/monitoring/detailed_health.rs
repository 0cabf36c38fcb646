//! `/monitoring/health/detailed`.

use std::time::{Duration, Instant};

use serde::Serialize;
use sluice::{
    Policy,
    stats::{FleetStats, OpenConnections, ReporterStatus},
};
use sluice_store::Replica;
use utoipa::ToSchema;

use super::rounded::Rounded;
use crate::{
    admin::{
        health::{Configuration, Health, Status},
        store_part::StorePart,
    },
    logging::error_chain,
    store::OpenStore,
};

/// How long the store may take to list the replicas.
const LIST_TIMEOUT: Duration = Duration::from_secs(1);
/// How long after a flush the next one is overdue.
const FLUSH_OVERDUE: Duration = Duration::from_secs(10);

/// The health of each part of this replica, and the replicas of the fleet.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DetailedHealth {
    status: Status,
    store: MeasuredStore,
    #[schema(required)]
    breaker: Option<BreakerHealth>,
    configuration: ConfigurationHealth,
    figures: StatsHealth,
    replicas: Vec<ReplicaHealth>,
}

#[derive(Debug, Serialize, ToSchema)]
struct MeasuredStore {
    #[serde(flatten)]
    part: StorePart,
    /// How long the store took to confirm that it can decide; `null` if it did not.
    #[schema(required, value_type = Option<f64>)]
    latency_ms: Option<Rounded>,
}

/// The circuit breaker, which keeps requests from waiting for a store that is unavailable.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Breaker)]
struct BreakerHealth {
    state: &'static str,
    /// How often it has opened.
    opened: u64,
    /// Buckets with charges that the store has yet to receive.
    owed_buckets: usize,
}

#[derive(Debug, Serialize, ToSchema)]
struct ConfigurationHealth {
    /// How many configurations were active since the start, including this one.
    version: u64,
    /// When it became active, in Unix seconds.
    loaded_at: u64,
    #[schema(required)]
    last_reload_error: Option<String>,
}

/// Whether this replica flushes its statistics.
#[derive(Debug, Serialize, ToSchema)]
struct StatsHealth {
    /// `up` or `late`.
    status: &'static str,
    #[schema(required)]
    seconds_since_flush: Option<u64>,
    #[schema(required)]
    error: Option<String>,
}

/// A live replica of the fleet.
#[derive(Debug, Serialize, ToSchema)]
struct ReplicaHealth {
    id: String,
    version: String,
    age_seconds: u64,
    seen_seconds_ago: u64,
    /// Whether it is the replica that sends this response.
    this: bool,
    /// The connections that it has open; `null` if it has not flushed lately.
    #[schema(required)]
    connections: Option<ReplicaConnections>,
}

#[derive(Debug, Serialize, ToSchema)]
struct ReplicaConnections {
    http: u64,
    websocket: u64,
    grpc: u64,
}

impl DetailedHealth {
    /// Reads the health of each part. `stats` is `None` while the store is unavailable.
    pub(super) async fn read(
        policy: &Policy,
        health: &Health,
        store: &OpenStore,
        replica: &Replica,
        reporter: &ReporterStatus,
        stats: Option<&FleetStats>,
    ) -> Self {
        let started = Instant::now();
        let (status, part) = health.status(policy).await;
        let latency_ms =
            part.is_up().then(|| Rounded::new(started.elapsed().as_secs_f64() * 1_000.0));
        let breaker = store.watched.observe().map(|failover| BreakerHealth {
            state: failover.breaker.as_str(),
            opened: failover.opened,
            owed_buckets: failover.owed_buckets,
        });
        let Configuration { version, loaded_at, refused } = health.active_configuration();
        Self {
            status,
            store: MeasuredStore { part, latency_ms },
            breaker,
            configuration: ConfigurationHealth { version, loaded_at, last_reload_error: refused },
            figures: StatsHealth::new(reporter),
            replicas: replicas(health, store, replica, stats).await,
        }
    }
}

impl StatsHealth {
    fn new(reporter: &ReporterStatus) -> Self {
        let since_flush = reporter.last_flush.map(|flush| flush.elapsed());
        let is_up = reporter.error.is_none() && since_flush.is_some_and(|s| s < FLUSH_OVERDUE);
        Self {
            status: if is_up { "up" } else { "late" },
            seconds_since_flush: since_flush.map(|since| since.as_secs()),
            error: reporter.error.as_ref().map(|error| error_chain(error)),
        }
    }
}

/// All live replicas, as the store lists them; only this replica if the store does not respond.
async fn replicas(
    health: &Health,
    store: &OpenStore,
    own: &Replica,
    stats: Option<&FleetStats>,
) -> Vec<ReplicaHealth> {
    let connections = |id: &str| {
        let OpenConnections { http, websocket, grpc, .. } = stats?.replicas.get(id)?.connections;
        Some(ReplicaConnections { http, websocket, grpc })
    };
    match tokio::time::timeout(LIST_TIMEOUT, store.store.announce(own)).await {
        Ok(Ok(fleet)) => fleet
            .replicas
            .into_iter()
            .map(|live| ReplicaHealth {
                this: live.replica.id == own.id,
                connections: connections(&live.replica.id),
                id: live.replica.id,
                version: live.replica.version,
                age_seconds: live.age.as_secs(),
                seen_seconds_ago: live.seen_ago.as_secs(),
            })
            .collect(),
        Ok(Err(_)) | Err(_) => vec![ReplicaHealth {
            id: own.id.clone(),
            version: own.version.clone(),
            age_seconds: health.uptime().as_secs(),
            seen_seconds_ago: 0,
            this: true,
            connections: connections(&own.id),
        }],
    }
}
