//! The fixtures of unit tests: the HTTP port without a socket.

use std::{sync::Arc, time::Duration};

use axum::body::{Body, to_bytes};
use http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use sluice::{
    Limiter, MemoryStore, Policy, Recorders, Store,
    identify::Identifier,
    stats::{StatsCounters, events::Events},
};
use sluice_core::{Check, Decision, EndpointPatterns, Timestamp};
use sluice_store::{ManualClock, Replica, StoreError, StoreFuture};

use sluice_config::{Loader, RlsSettings};
use sluice_http::access::CallerAccess;
use sluice_rls::EnvoyRls;

use super::{HttpFrontEnds, HttpPort, Seals, Services};
use crate::{
    admin::{
        AdminRoutes,
        health::{self, Health},
    },
    engine::Engine,
    store_watch::StoreWatch,
};
use sluice_testkit::policies;

/// The address of the peer by default.
const PEER: &str = "192.0.2.7";

/// The HTTP port without a socket. Proxies in 10.0.0.0/8 are trusted.
pub(crate) struct Port {
    pub(crate) http: HttpFrontEnds,
    pub(crate) engine: Arc<Engine>,
    pub(crate) events: Events,
    pub(crate) health: Arc<Health>,
    pub(crate) rls: EnvoyRls,
    pub(crate) seals: Arc<Seals>,
    pub(crate) access: CallerAccess,
}

/// A response.
pub(crate) struct PortResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Port {
    pub(crate) fn new() -> Self {
        // The clock is stopped, so that no tokens return during a test.
        let now = Timestamp::from_unix_micros(1_800_000_000_000_000);
        Self::with(policies::document(), Arc::new(MemoryStore::with_clock(ManualClock::new(now))))
    }

    pub(crate) fn with(policy: Policy, store: Arc<dyn Store>) -> Self {
        Self::recording(policy, store, &Recorders::disabled())
    }

    /// Creates the port of a process that records its metrics with `recorders`.
    pub(crate) fn recording(policy: Policy, store: Arc<dyn Store>, recorders: &Recorders) -> Self {
        Self::open(policy, store, recorders, true)
    }

    /// Creates a port with Sluice's own paths only.
    pub(crate) fn without_any_path() -> Self {
        let (policy, store) = (policies::document(), Arc::new(MemoryStore::new()));
        Self::open(policy, store, &Recorders::disabled(), false)
    }

    fn open(policy: Policy, store: Arc<dyn Store>, recorders: &Recorders, any_path: bool) -> Self {
        let stats = StatsCounters::new(recorders);
        let events = Events::new(recorders, &stats);
        events.endpoints().replace(&policy, EndpointPatterns::default());
        let trusting = by_key().with_trusted_proxies(vec!["10.0.0.0/8".parse().unwrap()]);
        let limiter =
            Limiter::builder(policy).store(store).recorders(recorders).stats(&stats).build();
        let engine = Arc::new(Engine::new(limiter, trusting));
        let replica = Replica::new("test", "0");
        let health = Arc::new(Health::new(
            replica,
            Arc::new(MemoryStore::new()),
            StoreWatch::default(),
            Duration::ZERO,
        ));
        let routes = health::routes(Arc::clone(&engine), Arc::clone(&health));
        let seals = Arc::new(Seals::new("sluice", engine.limiter().policy().tagger()));
        let rls = EnvoyRls::new(engine.limiter().clone(), Duration::from_secs(1));
        let access = CallerAccess::default();
        let http = HttpFrontEnds::new(HttpPort {
            services: Services {
                engine: Arc::clone(&engine),
                events: events.clone(),
                rls: rls.clone(),
                seals: Arc::clone(&seals),
            },
            admin: AdminRoutes::new(routes),
            stopping: health.stop_flag(),
            gateway: None,
            models: None,
            any_path,
            access: access.clone(),
        });
        Self { http, engine, events, health, rls, seals, access }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> PortResponse {
        self.send_from(PEER, request).await
    }

    pub(crate) async fn send_from(&self, peer: &str, request: Request<Body>) -> PortResponse {
        let (head, body) = self.http.respond(peer.parse().unwrap(), request).await.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let body =
            if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        PortResponse { status: head.status, headers: head.headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> PortResponse {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl ToString) -> PortResponse {
        self.send(json_post(path, body.to_string())).await
    }

    /// Returns the tokens in the default bucket of `client`, without taking any.
    pub(crate) async fn remaining(&self, client: &str) -> u64 {
        self.post("/v1/check", json!({ "client": client, "cost": 0 })).await.body["remaining"]
            .as_u64()
            .unwrap()
    }
}

impl PortResponse {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn problem(&self) -> Option<&str> {
        (self.header("content-type") == Some("application/problem+json"))
            .then(|| self.body["type"].as_str().unwrap())
    }
}

/// Identifies clients by keys that something in front has verified, else by their address.
pub(crate) fn by_key() -> Identifier {
    let sources = ["header:x-api-key", "bearer", "ip"];
    let sources = sources.map(|source| source.parse().unwrap()).to_vec();
    Identifier::new(sources).with_unverified(None)
}

/// Reads the text of a rules file. Responses have header fields.
pub(crate) fn rls_rules(text: &str) -> RlsSettings {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yaml");
    std::fs::write(&file, text).unwrap();
    let rls = format!("{{ files: ['{}'], response_headers: true }}", file.display());
    Loader::new().flag("--rls", &["rls"], rls).load().unwrap().rls.unwrap()
}

pub(crate) fn json_post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).header("content-type", "application/json").body(body.into()).unwrap()
}

/// A store that is away.
#[derive(Debug)]
pub(crate) struct Away;

impl Store for Away {
    fn decide<'a>(&'a self, _: &'a Check) -> StoreFuture<'a, Result<Decision, StoreError>> {
        StoreFuture::ready(Err(StoreError::BreakerOpen))
    }

    fn probe(&self) -> StoreFuture<'_, Result<(), StoreError>> {
        StoreFuture::ready(Err(StoreError::BreakerOpen))
    }
}
