//! The doors: each translates one wire protocol to a request, and the decision back. None knows of
//! stores, and the limiter knows of none.
//!
//! [`HttpDoors`] is the HTTP port: the doors themselves, the paths that tell about this process,
//! and whatever else is asked. What goes wrong is answered as an RFC 9457 problem, and takes
//! nothing from any bucket.

mod any_path;
mod body;
pub(crate) mod check;
mod decision;
pub mod envoy_rls;
pub(crate) mod events;
#[cfg(test)]
pub(crate) mod fixtures;
pub(crate) mod forward_auth;
#[cfg(test)]
mod fuzz;
pub mod gateway;
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
use http::{HeaderValue, Request, StatusCode, Version, header::CONNECTION, request::Parts};
use hyper::body::Incoming;
use hyper_util::{rt::TokioExecutor, server::conn::auto};
use sluice::{
    Checked,
    events::Events,
    layer::metrics::{Answered, Traffic},
};
use sluice_core::Decision;
use sluice_telemetry::{ConnectionKind, MethodLabel, RequestSpan, join_trace};
use tower::ServiceExt;
use tracing::Instrument;

pub(crate) use self::problem::{Kind, Problem};
use self::{
    envoy_rls::EnvoyRls,
    gateway::{AnswerBody, Gateway, Sent},
    traffic::{Exchange, Label},
};
use crate::{engine::Engine, health::Health, listener::Door};

/// The paths, and all below them, that tell about this process. They are never limited.
pub(crate) const HOUSE: [&str; 6] =
    ["/health", "/ready", "/metrics", "/monitoring", "/openapi.json", "/openapi"];

/// Those of them that a gateway keeps for itself, whatever else is on its port.
const HOUSE_OF_A_GATEWAY: [&str; 2] = ["/health", "/ready"];
/// And those that it keeps unless they are on a port of their own.
const WATCHED: [&str; 2] = ["/metrics", "/monitoring"];

/// The longest head that is read: as long as Envoy, the most generous of proxies, lets it be.
const MAX_HEAD_BYTES: usize = 60 << 10;

/// The longest list of header fields that HTTP/2 lets through; our own refusal, which says what is
/// wrong, begins below it.
const MAX_HEADER_LIST_BYTES: u32 = 256 << 10;

/// Longer than proxies keep idle connections (nginx: a minute, Go: a minute and a half), so that it
/// is nearly always they who close, and no request meets a closing connection.
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
    traffic: Arc<Traffic>,
    /// The paths, and all below them, that `house` answers.
    own: Vec<&'static str>,
    /// Whether other doors are closed.
    house_only: bool,
    /// Where other paths lead, once they are decided about.
    gateway: Option<Gateway>,
}

/// How a request is answered.
enum Reply {
    /// By us.
    Ours(Response),
    /// By an upstream.
    Theirs(http::Response<AnswerBody>),
}

impl Reply {
    fn status(&self) -> u16 {
        match self {
            Self::Ours(response) => response.status().as_u16(),
            Self::Theirs(response) => response.status().as_u16(),
        }
    }
}

impl HttpDoors {
    /// Doors to `engine` and `rls`; `house` answers the paths that tell about this process, whose
    /// health is `health`, and `events` takes what applications report.
    #[must_use]
    pub fn new(
        engine: Arc<Engine>,
        health: Arc<Health>,
        house: Router,
        events: Events,
        rls: EnvoyRls,
    ) -> Self {
        Self::open(engine, health, house, events, rls, false)
    }

    /// The same doors in front of `gateway`, which gets what they allow. With `watched_elsewhere`,
    /// metrics and monitoring have another port, and their paths are like any others here.
    #[must_use]
    pub fn before(self, gateway: Gateway, watched_elsewhere: bool) -> Self {
        let mut own = HOUSE_OF_A_GATEWAY.to_vec();
        if gateway.leaves_doors_open() {
            own = HOUSE.to_vec();
        } else if !watched_elsewhere {
            own.extend(WATCHED);
        }
        if watched_elsewhere {
            own.retain(|path| !WATCHED.contains(path));
        }
        let Inner { engine, health, house, events, rls, traffic, house_only, .. } = &*self.inner;
        let (engine, health, house, events) =
            (Arc::clone(engine), Arc::clone(health), house.clone(), events.clone());
        let (rls, traffic, house_only) = (rls.clone(), Arc::clone(traffic), *house_only);
        Self {
            inner: Arc::new(Inner {
                engine,
                health,
                house,
                events,
                rls,
                traffic,
                own,
                house_only,
                gateway: Some(gateway),
            }),
        }
    }

    /// The paths that tell about this process, and no other doors: for a port that only those see
    /// who run it.
    #[must_use]
    pub fn house_only(
        engine: Arc<Engine>,
        health: Arc<Health>,
        house: Router,
        events: Events,
    ) -> Self {
        let rls = EnvoyRls::new(engine.limiter().clone());
        Self::open(engine, health, house, events, rls, true)
    }

    fn open(
        engine: Arc<Engine>,
        health: Arc<Health>,
        house: Router,
        events: Events,
        rls: EnvoyRls,
        house_only: bool,
    ) -> Self {
        let house = house
            .fallback(async || {
                Problem::new(Kind::NotFound, "there is nothing at this path").into_response()
            })
            .method_not_allowed_fallback(async || {
                Problem::new(Kind::MethodNotAllowed, "`Allow` says by which").into_response()
            });
        let traffic = Arc::new(Traffic::with_stats(&events.recorders().http, events.counters()));
        let own = HOUSE.to_vec();
        Self {
            inner: Arc::new(Inner {
                engine,
                health,
                house,
                events,
                rls,
                traffic,
                own,
                house_only,
                gateway: None,
            }),
        }
    }

    /// Answers a request that came over a connection from `peer`.
    pub async fn answer(&self, peer: IpAddr, request: Request<Body>) -> Response {
        let started = Instant::now();
        let method = MethodLabel::from_name(request.method().as_str());
        let version = request.version();
        let request_bytes = request.body().size_hint().lower();

        let (label, reply) = match house_root(&self.inner.own, request.uri().path()) {
            Some(root) => (Label::Own(root), Reply::Ours(self.tell(request).await)),
            None if self.inner.house_only => (Label::OTHER, Reply::Ours(self.tell(request).await)),
            None => {
                let (mut head, mut body) = request.into_parts();
                let span = RequestSpan::http(method);
                join_trace(span.span(), &head.headers);
                let (label, reply) =
                    self.decide(peer, &mut head, &mut body).instrument(span.span().clone()).await;
                span.responded(method, label.as_str(), reply.status());
                body::discard(&head, &mut body).await;
                (label, reply)
            }
        };
        let response = match reply {
            Reply::Ours(response) => response,
            Reply::Theirs(mut response) => {
                let (traffic, status) =
                    (Arc::clone(&self.inner.traffic), response.status().as_u16());
                response.body_mut().record_at_the_end(Exchange {
                    traffic,
                    label,
                    method,
                    status,
                    started,
                });
                return self.last_words(version, response.map(Body::new));
            }
        };
        let answered = Answered {
            method,
            status: response.status().as_u16(),
            took: started.elapsed(),
            request_bytes,
            response_bytes: response.body().size_hint().lower(),
        };
        self.inner.traffic.record(label.as_str(), answered);
        self.last_words(version, response)
    }

    /// Tells a client not to keep its connection when it would lose it in the middle of a later
    /// request.
    fn last_words(&self, version: Version, mut response: Response) -> Response {
        let keeps =
            version > Version::HTTP_11 || response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if !keeps && self.inner.health.is_stopping() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn tell(&self, request: Request<Body>) -> Response {
        match self.inner.house.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    async fn decide(&self, peer: IpAddr, head: &mut Parts, body: &mut Body) -> (Label, Reply) {
        if let Err(problem) = require_short(head) {
            return (Label::OTHER, Reply::Ours(problem.into_response()));
        }
        if let Some((path, answered)) = self.try_doors(peer, head, body).await {
            return (
                Label::Own(path),
                Reply::Ours(answered.unwrap_or_else(Problem::into_response)),
            );
        }
        match any_path::decide(&self.inner.engine, peer, head).await {
            Ok(Checked { decision, endpoint }) => {
                let reply = match &self.inner.gateway {
                    Some(gateway) if decision.is_allowed() => {
                        self.pass(gateway, peer, head, body, &decision).await
                    }
                    _ => Reply::Ours(decision::respond(&decision)),
                };
                (Label::Endpoint(endpoint), reply)
            }
            Err(problem) => (Label::OTHER, Reply::Ours(problem.into_response())),
        }
    }

    /// What the door at the path answers; `None` where there is none.
    async fn try_doors(
        &self,
        peer: IpAddr,
        head: &Parts,
        body: &mut Body,
    ) -> Option<(&'static str, Result<Response, Problem>)> {
        let Inner { engine, events, rls, gateway, .. } = &*self.inner;
        if gateway.as_ref().is_some_and(|gateway| !gateway.leaves_doors_open()) {
            return None;
        }
        Some(match head.uri.path() {
            check::PATH => (check::PATH, check::one(engine.limiter(), head, body).await),
            check::BATCH_PATH => {
                (check::BATCH_PATH, check::batch(engine.limiter(), head, body).await)
            }
            events::PATH => (events::PATH, events::take(events, head, body).await),
            forward_auth::PATH => {
                let checked = forward_auth::decide(engine, peer, head).await;
                (
                    forward_auth::PATH,
                    checked.map(|checked| decision::respond_briefly(&checked.decision)),
                )
            }
            // Without rules it is a path like any other.
            envoy_rls::json::PATH if rls.has_rules() => {
                (envoy_rls::json::PATH, rls.answer_json(head, body).await)
            }
            _ => return None,
        })
    }

    /// Hands on what was allowed. What is left of the request is empty.
    async fn pass(
        &self,
        gateway: &Gateway,
        peer: IpAddr,
        head: &mut Parts,
        body: &mut Body,
        decision: &Decision,
    ) -> Reply {
        let sent = Sent { peer, trusted: self.inner.engine.trusts(peer) };
        let head = std::mem::replace(head, Request::new(()).into_parts().0);
        match gateway.forward(sent, head, std::mem::take(body)).await {
            Ok(mut response) => {
                gateway.tell(decision, response.headers_mut());
                Reply::Theirs(response)
            }
            Err(problem) => {
                let mut response = problem.into_response();
                gateway.tell(decision, response.headers_mut());
                Reply::Ours(response)
            }
        }
    }
}

impl Door for HttpDoors {
    type Body = Body;

    const CONNECTION: ConnectionKind = ConnectionKind::Http;
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

/// Which of the paths in `own` covers `path`.
pub(crate) fn house_root(own: &[&'static str], path: &str) -> Option<&'static str> {
    let covers = |root: &&&str| {
        path.strip_prefix(**root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    own.iter().find(covers).copied()
}

fn require_short(head: &Parts) -> Result<(), Problem> {
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let fields: usize =
        head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if target + fields <= MAX_HEAD_BYTES {
        return Ok(());
    }
    let what = format!(
        "the path and the header fields together are longer than {MAX_HEAD_BYTES} bytes, the most that is read here"
    );
    Err(Problem::new(Kind::HeadersTooLarge, what))
}
