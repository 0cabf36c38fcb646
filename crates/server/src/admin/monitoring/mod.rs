//! `/monitoring`: JSON pages about the fleet, for people.
//!
//! Every replica returns the same values, because they come from the stats store. With the memory
//! store they describe this process.
//!
//! | path | content |
//! |---|---|
//! | [`INDEX_PATH`] | the list of the others |
//! | [`RATE_LIMITS_PATH`] | clients of the last hour, requests and denials by endpoint |
//! | [`SUMMARY_PATH`] | totals and means of HTTP, language models, blueprints, deployments, tools |
//! | [`OVERVIEW_PATH`] | the most important values of the others |
//! | [`SLO_PATH`] | the service level objectives, and what is left of their error budgets |
//! | [`DENIALS_PATH`] | the last denials of this replica |
//! | [`DETAILED_PATH`] | each part of this replica, and the replicas of the fleet |
//!
//! Totals count from the first flush of any replica, and outlive every replica.

mod cost_summary;
mod denials_page;
mod detailed_health;
mod metrics_summary;
mod rate_limit_stats;
mod rounded;
mod slo_page;
mod stats_overview;

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    response::Response,
    routing::{MethodRouter, get},
};
use bytes::Bytes;
use http::{
    HeaderValue,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use serde::Serialize;
use sluice::stats::{FleetStats, Reporter, costs::CostReport, history::History, slos::SloReport};
use sluice_http::{Problem, ProblemKind};
use sluice_store::{Replica, StoreError};
use tokio::{sync::Mutex, task::spawn_blocking};
use utoipa::ToSchema;

pub(crate) use self::{
    denials_page::DenialsPage, detailed_health::DetailedHealth, metrics_summary::MetricsSummary,
    rate_limit_stats::RateLimitStats, slo_page::SloPage, stats_overview::StatsOverview,
};
use super::shared_text::SharedText;
use crate::{admin::health::Health, decision_log::DecisionLog, engine::Engine, store::OpenStore};

/// The path of [`MonitoringIndex`].
pub(crate) const INDEX_PATH: &str = "/monitoring";
/// The path of [`RateLimitStats`].
pub(crate) const RATE_LIMITS_PATH: &str = "/monitoring/rate-limit/stats";
/// The path of [`MetricsSummary`].
pub(crate) const SUMMARY_PATH: &str = "/monitoring/metrics/summary";
/// The path of [`StatsOverview`].
pub(crate) const OVERVIEW_PATH: &str = "/monitoring/stats/overview";
/// The path of [`DetailedHealth`].
pub(crate) const DETAILED_PATH: &str = "/monitoring/health/detailed";

/// The path of [`SloPage`].
pub(crate) const SLO_PATH: &str = "/monitoring/slo";
/// The path of [`DenialsPage`].
pub(crate) const DENIALS_PATH: &str = "/monitoring/denials";

/// How long the stats of one read are shown again, so that many readers cost the store little.
const CACHE_LIFETIME: Duration = Duration::from_millis(200);
/// How long a page waits for the store.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// The pages below `/monitoring`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MonitoringIndex {
    pages: [PageOfIndex; 6],
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MonitoringPage)]
struct PageOfIndex {
    path: &'static str,
    /// What the page shows.
    content: &'static str,
}

impl MonitoringIndex {
    pub(crate) const ALL: Self = Self {
        pages: [
            PageOfIndex {
                path: OVERVIEW_PATH,
                content: "the most important values of the other pages",
            },
            PageOfIndex {
                path: RATE_LIMITS_PATH,
                content: "clients of the last hour, requests and denials by endpoint",
            },
            PageOfIndex {
                path: SUMMARY_PATH,
                content: "totals and means of HTTP, models, blueprints, deployments and tools",
            },
            PageOfIndex {
                path: SLO_PATH,
                content: "the service level objectives, and what is left of their error budgets",
            },
            PageOfIndex { path: DENIALS_PATH, content: "the last denials of this replica" },
            PageOfIndex {
                path: DETAILED_PATH,
                content: "each part of this replica, and the replicas of the fleet",
            },
        ],
    };
}

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
    decisions: Arc<DecisionLog>,
    /// Locked during a read, so that concurrent readers share its result.
    cached_stats: Cached<FleetStats>,
    cached_history: Cached<History>,
}

/// What was read last, and when.
type Cached<T> = Mutex<Option<(Instant, Arc<T>)>>;

impl Monitoring {
    pub(crate) fn new(
        engine: Arc<Engine>,
        health: Arc<Health>,
        store: OpenStore,
        replica: Replica,
        reporter: Reporter,
        decisions: Arc<DecisionLog>,
    ) -> Self {
        let (cached_stats, cached_history) = Default::default();
        Self {
            inner: Arc::new(Inner {
                engine,
                health,
                store,
                replica,
                reporter,
                decisions,
                cached_stats,
                cached_history,
            }),
        }
    }

    async fn stats(&self) -> Result<Arc<FleetStats>, Problem> {
        let Inner { reporter, cached_stats, .. } = &*self.inner;
        read_once(cached_stats, reporter.read()).await
    }

    async fn history(&self) -> Result<Arc<History>, Problem> {
        let Inner { reporter, cached_history, .. } = &*self.inner;
        read_once(cached_history, reporter.read_history()).await
    }
}

/// What was read a moment ago, or what `read` reads.
async fn read_once<T>(
    cached: &Cached<T>,
    read: impl Future<Output = Result<T, StoreError>>,
) -> Result<Arc<T>, Problem> {
    let mut cached = cached.lock().await;
    if let Some((read_at, value)) = &*cached
        && read_at.elapsed() < CACHE_LIFETIME
    {
        return Ok(Arc::clone(value));
    }
    match tokio::time::timeout(READ_TIMEOUT, read).await {
        Ok(Ok(value)) => {
            let value = Arc::new(value);
            *cached = Some((Instant::now(), Arc::clone(&value)));
            Ok(value)
        }
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(Problem::new(
            ProblemKind::StoreUnavailable,
            format!("the store did not respond within {READ_TIMEOUT:?}"),
        )),
    }
}

/// The routes of `/monitoring`.
pub(crate) fn routes(monitoring: &Monitoring) -> Router {
    Router::new()
        .route(INDEX_PATH, page(monitoring, index))
        .route(RATE_LIMITS_PATH, page(monitoring, rate_limits))
        .route(SUMMARY_PATH, page(monitoring, summary))
        .route(OVERVIEW_PATH, page(monitoring, overview))
        .route(DETAILED_PATH, page(monitoring, detailed))
        .route(SLO_PATH, page(monitoring, slos))
        .route(DENIALS_PATH, page(monitoring, denials))
}

/// Returns a page, whose text is made by `make` once for all who ask at the same time.
fn page<F>(monitoring: &Monitoring, make: fn(Monitoring) -> F) -> MethodRouter
where
    F: Future<Output = Result<Bytes, Problem>> + Send + 'static,
{
    let (monitoring, text) = (monitoring.clone(), SharedText::default());
    get(async move || match text.get(|| make(monitoring.clone())).await {
        Ok(text) => {
            let mut response = Response::new(text);
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Err(problem) => problem.into_response(),
    })
}

async fn index(_: Monitoring) -> Result<Bytes, Problem> {
    Ok(json(&MonitoringIndex::ALL))
}

async fn rate_limits(monitoring: Monitoring) -> Result<Bytes, Problem> {
    let stats = monitoring.stats().await?;
    write(move || json(&RateLimitStats::new(&stats, &monitoring.inner.engine.limiter().policy())))
        .await
}

async fn summary(monitoring: Monitoring) -> Result<Bytes, Problem> {
    let stats = monitoring.stats().await?;
    let history = monitoring.history().await?;
    write(move || json(&MetricsSummary::new(&stats, &CostReport::new(&history)))).await
}

async fn slos(monitoring: Monitoring) -> Result<Bytes, Problem> {
    let history = monitoring.history().await?;
    let slos = monitoring.inner.reporter.slos();
    write(move || json(&SloPage::new(&SloReport::new(&slos, &history)))).await
}

/// Needs no store: the denials are those of this replica.
async fn denials(monitoring: Monitoring) -> Result<Bytes, Problem> {
    let denials = monitoring.inner.decisions.recent_denials();
    write(move || json(&DenialsPage::new(denials))).await
}

async fn overview(monitoring: Monitoring) -> Result<Bytes, Problem> {
    let stats = monitoring.stats().await?;
    write(move || json(&StatsOverview::new(&stats, &monitoring.inner.health))).await
}

/// Works without the stats: it shows what is wrong while the store is away.
async fn detailed(monitoring: Monitoring) -> Result<Bytes, Problem> {
    let stats = monitoring.stats().await.ok();
    let Inner { engine, health, store, replica, reporter, .. } = &*monitoring.inner;
    let (policy, flushes) = (engine.limiter().policy(), reporter.status());
    let page =
        DetailedHealth::read(&policy, health, store, replica, &flushes, stats.as_deref()).await;
    write(move || json(&page)).await
}

/// Writes a page on a thread that does not decide: the page of a large fleet is long.
async fn write(page: impl FnOnce() -> Bytes + Send + 'static) -> Result<Bytes, Problem> {
    spawn_blocking(page)
        .await
        .map_err(|_| Problem::new(ProblemKind::Internal, "the page could not be written"))
}

fn json(page: &impl Serialize) -> Bytes {
    serde_json::to_vec(page).expect("strings and numbers can be serialized").into()
}
