//! `/monitoring/health/detailed`.

use std::time::{Duration, Instant};

use serde::Serialize;
use sluice::{
    Policy,
    stats::{FleetStats, OpenConnections, ReporterStatus},
};
use sluice_store::Replica;
use utoipa::ToSchema;

use super::number::Rounded;
use crate::{
    admin::health::{Configuration, Health, Status, StorePart, with_causes},
    store::OpenStore,
};

/// How long the store may take to list the replicas.
const PATIENCE: Duration = Duration::from_secs(1);
/// Figures that were not flushed for so long are not well.
const LATE: Duration = Duration::from_secs(10);

/// What the page tells.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HealthDetailed)]
pub(crate) struct Page {
    status: Status,
    store: Store,
    #[schema(required)]
    breaker: Option<Breaker>,
    configuration: ConfigurationPart,
    figures: Figures,
    replicas: Vec<Living>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MeasuredStore)]
struct Store {
    #[serde(flatten)]
    part: StorePart,
    /// How long the store took to show that it would decide; `null` when it did not.
    #[schema(required, value_type = Option<f64>)]
    latency_ms: Option<Rounded>,
}

/// What keeps requests from waiting for a store that is away.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Breaker)]
struct Breaker {
    state: &'static str,
    /// How often it has opened.
    opened: u64,
    /// Buckets that the store is still to be told of.
    owed_buckets: usize,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConfigurationHealth)]
struct ConfigurationPart {
    /// How many were in force since the start, this one included.
    version: u64,
    /// When it came into force, in Unix seconds.
    loaded_at: u64,
    #[schema(required)]
    last_reload_error: Option<String>,
}

/// What is counted for the fleet.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FiguresHealth)]
struct Figures {
    status: &'static str,
    #[schema(required)]
    seconds_since_flush: Option<u64>,
    #[schema(required)]
    error: Option<String>,
}

/// A replica of the fleet.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LivingReplica)]
struct Living {
    id: String,
    version: String,
    age_seconds: u64,
    seen_seconds_ago: u64,
    /// Whether it is the one that answers.
    this: bool,
    /// What it has open; `null` when it did not say.
    #[schema(required)]
    connections: Option<Connections>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReplicaConnections)]
struct Connections {
    http: u64,
    websocket: u64,
    grpc: u64,
}

/// The page, with `figures` if there are any.
pub(super) async fn page(
    policy: &Policy,
    health: &Health,
    store: &OpenStore,
    replica: &Replica,
    reporter: &ReporterStatus,
    figures: Option<&FleetStats>,
) -> Page {
    let began = Instant::now();
    let (status, part) = health.status(policy).await;
    let latency_ms = part.is_up().then(|| Rounded::new(began.elapsed().as_secs_f64() * 1_000.0));
    let breaker = store.watched.observe().map(|seen| Breaker {
        state: seen.breaker.as_str(),
        opened: seen.opened,
        owed_buckets: seen.owed_buckets,
    });
    let Configuration { version, loaded_at, refused } = health.configuration_in_force();
    Page {
        status,
        store: Store { part, latency_ms },
        breaker,
        configuration: ConfigurationPart { version, loaded_at, last_reload_error: refused },
        figures: told(reporter),
        replicas: living(health, store, replica, figures).await,
    }
}

fn told(reporter: &ReporterStatus) -> Figures {
    let since = reporter.last_flush.map(|last| last.elapsed());
    let is_well = reporter.error.is_none() && since.is_some_and(|since| since < LATE);
    Figures {
        status: if is_well { "up" } else { "late" },
        seconds_since_flush: since.map(|since| since.as_secs()),
        error: reporter.error.as_ref().map(|error| with_causes(error)),
    }
}

/// All replicas, as the store lists them; without it the one that answers.
async fn living(
    health: &Health,
    store: &OpenStore,
    own: &Replica,
    figures: Option<&FleetStats>,
) -> Vec<Living> {
    let connections = |id: &str| {
        let OpenConnections { http, websocket, grpc, .. } = figures?.replicas.get(id)?.connections;
        Some(Connections { http, websocket, grpc })
    };
    match tokio::time::timeout(PATIENCE, store.store.announce(own)).await {
        Ok(Ok(fleet)) => fleet
            .replicas
            .into_iter()
            .map(|living| Living {
                this: living.replica.id == own.id,
                connections: connections(&living.replica.id),
                id: living.replica.id,
                version: living.replica.version,
                age_seconds: living.age.as_secs(),
                seen_seconds_ago: living.seen_ago.as_secs(),
            })
            .collect(),
        _ => vec![Living {
            id: own.id.clone(),
            version: own.version.clone(),
            age_seconds: health.uptime().as_secs(),
            seen_seconds_ago: 0,
            this: true,
            connections: connections(&own.id),
        }],
    }
}
