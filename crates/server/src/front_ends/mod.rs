//! The doors: each translates one wire protocol to a request, and the decision back. None knows of stores, and the limiter knows of none.
//!
//! [`HttpDoors`] is the HTTP port: the doors themselves, the paths that tell about this process, and whatever else is asked. What goes wrong is
//! answered as an RFC 9457 problem, and takes nothing from any bucket.

mod any_path;
mod body;
pub(crate) mod check;
mod decision;
pub mod envoy_rls;
pub(crate) mod events;
#[cfg(test)]
pub(crate) mod fixtures;
pub(crate) mod forward_auth;
pub mod grpc;
mod problem;
#[cfg(test)]
mod tests;
mod traffic;

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, HttpBody},
    response::Response,
};
use http::{HeaderValue, Request, Version, header::CONNECTION, request::Parts};
use hyper::body::Incoming;
use hyper_util::{rt::TokioExecutor, server::conn::auto};
use sluice::{Checked, events::Events};
use sluice_telemetry::{Connection, Method, RequestSpan, join_trace};
use tower::ServiceExt;
use tracing::Instrument;

pub(crate) use self::problem::{Kind, Problem};
use self::{
    envoy_rls::EnvoyRls,
    traffic::{Answered, Label, Traffic},
};
use crate::{engine::Engine, health::Health, listener::Door};

/// The paths, and all below them, that tell about this process. They are never limited.
pub(crate) const HOUSE: [&str; 6] = ["/health", "/ready", "/metrics", "/monitoring", "/openapi.json", "/openapi"];

/// The longest head that is read: as long as Envoy, the most generous of proxies, lets it be.
const MAX_HEAD_BYTES: usize = 60 << 10;

/// The longest list of header fields that HTTP/2 lets through; our own refusal, which says what is wrong, begins below it.
const MAX_HEADER_LIST_BYTES: u32 = 256 << 10;

/// Longer than proxies keep idle connections (nginx: a minute, Go: a minute and a half), so that it is nearly always they who close, and no
/// request meets a closing connection.
const IDLE: Duration = Duration::from_secs(120);

/// What is behind the HTTP port. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HttpDoors {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    engine: Arc<Engine>,
    health: Arc<Health>,
    house: Router,
    events: Events,
    rls: EnvoyRls,
    traffic: Traffic,
    /// Whether other doors are closed.
    house_only: bool,
}

impl HttpDoors {
    /// Doors to `engine` and `rls`; `house` answers the paths that tell about this process, whose health is `health`, and `events` takes what applications
    /// report.
    #[must_use]
    pub fn new(engine: Arc<Engine>, health: Arc<Health>, house: Router, events: Events, rls: EnvoyRls) -> Self {
        Self::open(engine, health, house, events, rls, false)
    }

    /// The paths that tell about this process, and no other doors: for a port that only those see who run it.
    #[must_use]
    pub fn house_only(engine: Arc<Engine>, health: Arc<Health>, house: Router, events: Events) -> Self {
        let rls = EnvoyRls::new(engine.limiter().clone());
        Self::open(engine, health, house, events, rls, true)
    }

    fn open(engine: Arc<Engine>, health: Arc<Health>, house: Router, events: Events, rls: EnvoyRls, house_only: bool) -> Self {
        let house = house
            .fallback(async || Problem::new(Kind::NotFound, "there is nothing at this path").into_response())
            .method_not_allowed_fallback(async || Problem::new(Kind::MethodNotAllowed, "`Allow` says by which").into_response());
        let traffic = Traffic::new(&events.recorders().http, events.tally());
        Self { inner: Arc::new(Inner { engine, health, house, events, rls, traffic, house_only }) }
    }

    /// Answers a request that came over a connection from `peer`.
    pub async fn answer(&self, peer: IpAddr, request: Request<Body>) -> Response {
        let started = Instant::now();
        let method = Method::from_name(request.method().as_str());
        let version = request.version();
        let request_bytes = request.body().size_hint().lower();

        let (label, mut response) = match house_root(request.uri().path()) {
            Some(root) => (Label::Own(root), self.tell(request).await),
            None if self.inner.house_only => (Label::OTHER, self.tell(request).await),
            None => {
                let (head, mut body) = request.into_parts();
                let span = RequestSpan::http(method);
                join_trace(span.span(), &head.headers);
                let (label, response) = self.decide(peer, &head, &mut body).instrument(span.span().clone()).await;
                span.answered(method, label.as_str(), response.status().as_u16());
                body::discard(&head, &mut body).await;
                (label, response)
            }
        };

        // Whoever keeps the connection would lose it in the middle of a later request.
        if version <= Version::HTTP_11 && self.inner.health.is_stopping() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let answered = Answered {
            method,
            status: response.status().as_u16(),
            took: started.elapsed(),
            request_bytes,
            response_bytes: response.body().size_hint().lower(),
        };
        self.inner.traffic.record(&label, answered);
        response
    }

    async fn tell(&self, request: Request<Body>) -> Response {
        match self.inner.house.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    async fn decide(&self, peer: IpAddr, head: &Parts, body: &mut Body) -> (Label, Response) {
        if let Err(problem) = require_short(head) {
            return (Label::OTHER, problem.into_response());
        }
        let engine = &*self.inner.engine;
        match head.uri.path() {
            check::PATH => own(check::PATH, check::one(engine.limiter(), head, body).await),
            check::BATCH_PATH => own(check::BATCH_PATH, check::batch(engine.limiter(), head, body).await),
            events::PATH => own(events::PATH, events::take(&self.inner.events, head, body).await),
            forward_auth::PATH => {
                let checked = forward_auth::decide(engine, peer, head).await;
                own(forward_auth::PATH, checked.map(|checked| decision::respond_briefly(&checked.decision)))
            }
            // Without rules it is a path like any other.
            envoy_rls::json::PATH if self.inner.rls.has_rules() => own(envoy_rls::json::PATH, self.inner.rls.answer_json(head, body).await),
            _ => match any_path::decide(engine, peer, head).await {
                Ok(Checked { decision, endpoint }) => (Label::Endpoint(endpoint), decision::respond(&decision)),
                Err(problem) => (Label::OTHER, problem.into_response()),
            },
        }
    }
}

impl Door for HttpDoors {
    type Body = Body;

    const CONNECTION: Connection = Connection::Http;
    const IDLE: Option<Duration> = Some(IDLE);

    fn protocol() -> auto::Builder<TokioExecutor> {
        let mut protocol = auto::Builder::new(TokioExecutor::new());
        protocol.http2().max_header_list_size(MAX_HEADER_LIST_BYTES);
        protocol
    }

    async fn serve(&self, peer: IpAddr, request: Request<Incoming>) -> Response {
        self.answer(peer, request.map(Body::new)).await
    }
}

fn own(path: &'static str, answered: Result<Response, Problem>) -> (Label, Response) {
    (Label::Own(path), answered.unwrap_or_else(Problem::into_response))
}

/// The path in [`HOUSE`] that covers `path`.
pub(crate) fn house_root(path: &str) -> Option<&'static str> {
    let covers = |root: &&str| path.strip_prefix(*root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    HOUSE.into_iter().find(covers)
}

fn require_short(head: &Parts) -> Result<(), Problem> {
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let fields: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if target + fields <= MAX_HEAD_BYTES {
        return Ok(());
    }
    let what = format!("the path and the header fields together are longer than {MAX_HEAD_BYTES} bytes, the most that is read here");
    Err(Problem::new(Kind::HeadersTooLarge, what))
}
