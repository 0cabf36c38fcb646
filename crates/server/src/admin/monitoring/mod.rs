//! `/monitoring`: JSON pages about the fleet, for people.
//!
//! Every replica returns the same values, because they come from the stats store. With the memory
//! store they describe this process.
//!
//! | path | content |
//! |---|---|
//! | [`RATE_LIMITS_PATH`] | clients of the last hour, requests and denials by endpoint |
//! | [`SUMMARY_PATH`] | totals and means of HTTP, language models, blueprints, deployments, tools |
//! | [`OVERVIEW_PATH`] | the most important values of the others |
//! | [`DETAILED_PATH`] | each part of this replica, and the replicas of the fleet |
//!
//! Totals count from the first flush of any replica, and outlive every replica.

mod detailed_health;
mod metrics_summary;
mod rate_limit_stats;
mod rounded;
mod stats_overview;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, body::Body, extract::State, response::Response, routing::get};
use http::{
    HeaderValue,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use serde::Serialize;
use sluice::stats::{FleetStats, Reporter};
use sluice_http::{Problem, ProblemKind};
use sluice_store::Replica;
use tokio::sync::Mutex;

pub(crate) use self::{
    detailed_health::DetailedHealth, metrics_summary::MetricsSummary,
    rate_limit_stats::RateLimitStats, stats_overview::StatsOverview,
};
use crate::{admin::health::Health, engine::Engine, store::OpenStore};

/// The path of [`RateLimitStats`].
pub(crate) const RATE_LIMITS_PATH: &str = "/monitoring/rate-limit/stats";
/// The path of [`MetricsSummary`].
pub(crate) const SUMMARY_PATH: &str = "/monitoring/metrics/summary";
/// The path of [`StatsOverview`].
pub(crate) const OVERVIEW_PATH: &str = "/monitoring/stats/overview";
/// The path of [`DetailedHealth`].
pub(crate) const DETAILED_PATH: &str = "/monitoring/health/detailed";

/// How long the stats of one read are shown again, so that many readers cost the store little.
const CACHE_LIFETIME: Duration = Duration::from_millis(200);
/// How long a page waits for the store.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// What the pages read. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Monitoring {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    engine: Arc<Engine>,
    health: Arc<Health>,
    store: OpenStore,
    replica: Replica,
    reporter: Reporter,
    /// Locked during a read, so that concurrent readers share its result.
    cached_stats: Mutex<Option<(Instant, Arc<FleetStats>)>>,
}

impl Monitoring {
    pub(crate) fn new(
        engine: Arc<Engine>,
        health: Arc<Health>,
        store: OpenStore,
        replica: Replica,
        reporter: Reporter,
    ) -> Self {
        let cached_stats = Mutex::default();
        Self { inner: Arc::new(Inner { engine, health, store, replica, reporter, cached_stats }) }
    }

    async fn stats(&self) -> Result<Arc<FleetStats>, Problem> {
        let mut cached = self.inner.cached_stats.lock().await;
        if let Some((read_at, stats)) = &*cached
            && read_at.elapsed() < CACHE_LIFETIME
        {
            return Ok(Arc::clone(stats));
        }
        match tokio::time::timeout(READ_TIMEOUT, self.inner.reporter.read()).await {
            Ok(Ok(stats)) => {
                let stats = Arc::new(stats);
                *cached = Some((Instant::now(), Arc::clone(&stats)));
                Ok(stats)
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(Problem::new(
                ProblemKind::StoreUnavailable,
                format!("the store did not respond within {READ_TIMEOUT:?}"),
            )),
        }
    }

    /// The page that `page` makes of the stats, or the problem that prevents it.
    async fn page(&self, page: impl FnOnce(&Inner, &FleetStats) -> Response) -> Response {
        match self.stats().await {
            Ok(stats) => page(&self.inner, &stats),
            Err(problem) => problem.into_response(),
        }
    }
}

/// The routes of `/monitoring`.
pub(crate) fn routes(monitoring: &Monitoring) -> Router {
    Router::new()
        .route(RATE_LIMITS_PATH, get(rate_limits))
        .route(SUMMARY_PATH, get(summary))
        .route(OVERVIEW_PATH, get(overview))
        .route(DETAILED_PATH, get(detailed))
        .with_state(monitoring.clone())
}

async fn rate_limits(State(monitoring): State<Monitoring>) -> Response {
    let page = |inner: &Inner, stats: &FleetStats| {
        json_response(&RateLimitStats::new(stats, &inner.engine.limiter().policy()))
    };
    monitoring.page(page).await
}

async fn summary(State(monitoring): State<Monitoring>) -> Response {
    monitoring.page(|_, stats| json_response(&MetricsSummary::new(stats))).await
}

async fn overview(State(monitoring): State<Monitoring>) -> Response {
    monitoring.page(|inner, stats| json_response(&StatsOverview::new(stats, &inner.health))).await
}

/// Works without the stats: it shows what is wrong while the store is away.
async fn detailed(State(monitoring): State<Monitoring>) -> Response {
    let stats = monitoring.stats().await.ok();
    let Inner { engine, health, store, replica, reporter, .. } = &*monitoring.inner;
    let (policy, flushes) = (engine.limiter().policy(), reporter.status());
    let page =
        DetailedHealth::read(&policy, health, store, replica, &flushes, stats.as_deref()).await;
    json_response(&page)
}

fn json_response(page: &impl Serialize) -> Response {
    let body = serde_json::to_vec(page).expect("strings and numbers can be serialized");
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
