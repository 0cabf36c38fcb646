//! `/monitoring`: how the fleet is, for people. Whichever replica is asked, the answer is the
//! fleet's; with the memory store it is this process'.
//!
//! | path | |
//! |---|---|
//! | `/monitoring/rate-limit/stats` | clients of the last hour, requests and rejections by endpoint, who is limited most |
//! | `/monitoring/metrics/summary` | HTTP, language models, blueprints, deployments, tools: totals and means |
//! | `/monitoring/stats/overview` | the most important of all these on one page |
//! | `/monitoring/health/detailed` | each part of this replica, and the replicas of the fleet |
//!
//! Totals count from the first replica that told the store something, and survive every replica.

pub(crate) mod detailed;
mod number;
pub(crate) mod overview;
pub(crate) mod rate_limits;
pub(crate) mod summary;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, body::Body, response::Response, routing::get};
use http::{
    HeaderValue,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use serde::Serialize;
use sluice::stats::{FleetStats, Reporter};
use sluice_store::Replica;
use tokio::sync::Mutex;

use sluice_http::{Problem, ProblemKind};

use crate::{admin::health::Health, engine::Engine, store::OpenStore};

/// Where clients, requests and rejections are told.
pub(crate) const RATE_LIMITS_PATH: &str = "/monitoring/rate-limit/stats";
/// Where totals and means are.
pub(crate) const SUMMARY_PATH: &str = "/monitoring/metrics/summary";
/// Where the most important of them are.
pub(crate) const OVERVIEW_PATH: &str = "/monitoring/stats/overview";
/// Where each part of the replica is.
pub(crate) const DETAILED_PATH: &str = "/monitoring/health/detailed";

/// How long figures that were read are told again, so that a crowd at the pages costs the store
/// little.
const KEPT: Duration = Duration::from_millis(200);
/// How long a page waits for the store.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the pages are made of. Cheap to clone.
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
    /// Held while they are read: who comes meanwhile gets the same.
    figures: Mutex<Option<(Instant, Arc<FleetStats>)>>,
}

impl Monitoring {
    pub(crate) fn new(
        engine: Arc<Engine>,
        health: Arc<Health>,
        store: OpenStore,
        replica: Replica,
        reporter: Reporter,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                engine,
                health,
                store,
                replica,
                reporter,
                figures: Mutex::default(),
            }),
        }
    }

    /// The figures of the fleet.
    async fn figures(&self) -> Result<Arc<FleetStats>, Problem> {
        let mut kept = self.inner.figures.lock().await;
        if let Some((read, figures)) = &*kept
            && read.elapsed() < KEPT
        {
            return Ok(Arc::clone(figures));
        }
        match tokio::time::timeout(PATIENCE, self.inner.reporter.read()).await {
            Ok(Ok(figures)) => {
                let figures = Arc::new(figures);
                *kept = Some((Instant::now(), Arc::clone(&figures)));
                Ok(figures)
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(Problem::new(
                ProblemKind::StoreUnavailable,
                format!("the store did not answer within {PATIENCE:?}"),
            )),
        }
    }

    async fn rate_limits(self) -> Response {
        match self.figures().await {
            Ok(figures) => {
                answer(&rate_limits::page(&figures, &self.inner.engine.limiter().policy()))
            }
            Err(problem) => problem.into_response(),
        }
    }

    async fn summary(self) -> Response {
        match self.figures().await {
            Ok(figures) => answer(&summary::page(&figures)),
            Err(problem) => problem.into_response(),
        }
    }

    async fn overview(self) -> Response {
        match self.figures().await {
            Ok(figures) => answer(&overview::page(&self.inner.health, &figures)),
            Err(problem) => problem.into_response(),
        }
    }

    async fn detailed(self) -> Response {
        let Inner { engine, health, store, replica, reporter, .. } = &*self.inner;
        let figures = self.figures().await.ok();
        answer(
            &detailed::page(
                &engine.limiter().policy(),
                health,
                store,
                replica,
                &reporter.status(),
                figures.as_deref(),
            )
            .await,
        )
    }
}

/// `/monitoring`.
pub(crate) fn routes(monitoring: &Monitoring) -> Router {
    macro_rules! page {
        ($method:ident) => {{
            let monitoring = monitoring.clone();
            get(move || monitoring.clone().$method())
        }};
    }
    Router::new()
        .route(RATE_LIMITS_PATH, page!(rate_limits))
        .route(SUMMARY_PATH, page!(summary))
        .route(OVERVIEW_PATH, page!(overview))
        .route(DETAILED_PATH, page!(detailed))
}

fn answer(page: &impl Serialize) -> Response {
    let body = serde_json::to_vec(page).expect("a page is strings and numbers");
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
