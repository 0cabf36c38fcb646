//! The HTTP port: front ends, admin routes, and every other path.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{body::Body, response::Response};
use http::{
    HeaderValue, Method, Request, StatusCode, Version,
    header::{CONNECTION, COOKIE, HOST},
    request::Parts,
    uri::PathAndQuery,
};
use hyper::body::Incoming;
use sluice::{Checked, stats::EndpointLabels};
use sluice_core::{Decision, NormalPath, RequestError};
use sluice_gateway::{
    ClientConnection, DecidingFields, Destination, Gateway, OccupiedSlots, UpstreamBody,
};
use sluice_http::{
    Handler, Problem, ProblemKind, RequestBody,
    access::{CallerAccess, Rejected, TokenFields},
    body, decision,
    traffic::{EndpointLabel, PendingResponse, StartedRequest, Traffic},
};
use sluice_telemetry::{ConnectionKind, RequestSpan, join_trace};
use tracing::Instrument;

use super::{
    FRONT_ENDS, Services, any_path,
    front_end::Respond,
    misspelt,
    models::{MeteredBody, Models, Outgoing},
    start_page,
    taken_head::take,
};
use crate::{admin::AdminRoutes, protocol, shutdown::StopFlag};

/// Handles the HTTP port. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HttpFrontEnds {
    inner: Arc<Inner>,
}

/// What [`HttpFrontEnds`] are made from.
#[derive(Debug)]
pub struct HttpPort {
    /// What front ends are made from.
    pub services: Services,
    /// The admin routes of this port.
    pub admin: AdminRoutes,
    /// Whether the process is about to stop.
    pub stopping: StopFlag,
    /// Forwards the requests that are allowed; without one, the port responds to them.
    pub gateway: Option<Gateway>,
    /// Forwards the requests that go to language models. Only a gateway has them.
    pub models: Option<Models>,
    /// Whether the port decides about every other path. A gateway always does.
    pub any_path: bool,
    /// Which callers may use the front ends.
    pub access: CallerAccess,
}

#[derive(Debug)]
struct Inner {
    services: Services,
    front_ends: Vec<(&'static str, Box<dyn Respond>)>,
    admin: AdminRoutes,
    stopping: StopFlag,
    gateway: Option<Gateway>,
    models: Option<Models>,
    any_path: bool,
    access: CallerAccess,
    traffic: Arc<Traffic>,
}

/// Who sends a request.
#[derive(Clone, Copy, Debug)]
struct Sender {
    peer: IpAddr,
    /// Whether it came over a connection. A request that a program made itself needs no `Host`.
    is_connected: bool,
}

/// A response, by its origin.
enum Reply {
    /// From Sluice.
    Own(Response),
    /// From an upstream.
    Upstream(Box<http::Response<UpstreamBody>>),
    /// From a language model.
    Model(Box<http::Response<MeteredBody>>),
}

/// A request to the API that has no response yet. Dropped before [`got_one`](Self::got_one), it was
/// abandoned: only then its endpoint is looked up without a response.
struct Unanswered<'a> {
    endpoints: &'a EndpointLabels,
    path: &'a NormalPath<'a>,
    pending: &'a PendingResponse,
    is_answered: bool,
}

impl Unanswered<'_> {
    fn got_one(mut self) {
        self.is_answered = true;
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.pending.is_at(self.endpoints.find_unanswered(self.path).into());
        }
    }
}

/// Where an allowed request is forwarded.
struct Way<'g> {
    gateway: &'g Gateway,
    destination: Destination,
}

impl<'g> Way<'g> {
    fn of(gateway: &'g Gateway, head: &Parts) -> Result<Self, Problem> {
        Destination::of(head).map(|destination| Self { gateway, destination })
    }
}

impl Reply {
    fn status(&self) -> u16 {
        match self {
            Self::Own(response) => response.status().as_u16(),
            Self::Upstream(response) => response.status().as_u16(),
            Self::Model(response) => response.status().as_u16(),
        }
    }
}

impl HttpFrontEnds {
    /// Opens the front ends. A gateway leaves them closed, unless `gateway.doors` is on.
    #[must_use]
    pub fn new(port: HttpPort) -> Self {
        let HttpPort { services, admin, stopping, gateway, models, any_path, access } = port;
        let are_open = gateway.as_ref().is_none_or(Gateway::leaves_front_ends_open);
        let front_ends = FRONT_ENDS
            .iter()
            .filter(|_| are_open)
            .map(|front_end| (front_end.path(), front_end.open(&services)))
            .collect();
        let events = &services.events;
        let traffic = Arc::new(Traffic::new(events.recorders(), events.counters()));
        let inner = Inner {
            services,
            front_ends,
            admin,
            stopping,
            gateway,
            models,
            any_path,
            access,
            traffic,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Returns what counts the requests of the port.
    pub(crate) fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.inner.traffic)
    }

    /// Responds to a request that a program made itself, as if it came from `peer`.
    pub async fn respond(&self, peer: IpAddr, request: Request<Body>) -> Response {
        self.respond_to(Sender { peer, is_connected: false }, request).await
    }

    /// The future holds the request once, as that of an `async fn` would not, and what only some
    /// requests need is in boxes: the listener moves the future, and a small one takes less time.
    fn respond_to(
        &self,
        sender: Sender,
        request: Request<Body>,
    ) -> impl Future<Output = Response> + Send {
        let started = StartedRequest::new(&request);
        let pending = PendingResponse::new(started, Arc::clone(&self.inner.traffic));
        let (mut head, mut body) = request.into_parts();
        async move {
            let Inner { admin, traffic, .. } = &*self.inner;
            let version = head.version;

            // The path is read once. Own routes, the policy and the gateway all go by this reading.
            let target = head.uri.path_and_query().cloned();
            let path = NormalPath::parse(target.as_ref().map_or("", PathAndQuery::path));
            let of_admin = path.as_ref().ok().and_then(|path| Some((admin.covering(path)?, path)));
            let (label, reply) = if let Some((label, path)) = of_admin {
                let request = Request::from_parts(take(&mut head), std::mem::take(&mut body));
                let response = Box::pin(admin.respond(path, request)).await;
                (EndpointLabel::Own(label), Reply::Own(response))
            } else {
                let started = pending.request();
                let span = RequestSpan::http(started.method());
                join_trace(span.span(), &head.headers);
                let (label, reply) = self
                    .decide(sender, path, &mut head, &mut body, &pending)
                    .instrument(span.span().clone())
                    .await;
                span.responded(started.method(), label.route(), reply.status());
                body::discard(&head.headers, body, started.started());
                (label, reply)
            };
            let started = pending.has_response();
            match reply {
                Reply::Own(response) => {
                    started.record(traffic, &label, &response);
                    self.close_when_stopping(version, response)
                }
                Reply::Upstream(mut response) => {
                    let status = response.status().as_u16();
                    let unfinished = started.until_body_ends(Arc::clone(traffic), label, status);
                    response.body_mut().record_when_finished(unfinished);
                    self.close_when_stopping(version, response.map(Body::new))
                }
                Reply::Model(mut response) => {
                    let status = response.status().as_u16();
                    let unfinished = started.until_body_ends(Arc::clone(traffic), label, status);
                    response.body_mut().record_when_finished(unfinished);
                    self.close_when_stopping(version, response.map(Body::new))
                }
            }
        }
    }

    /// Tells an HTTP/1 client to close its connection when the process is about to stop: a later
    /// request could be lost with the connection. The same after a body that did not arrive in
    /// time, since no later request can be found on that connection.
    fn close_when_stopping(&self, version: Version, mut response: Response) -> Response {
        let is_kept =
            version > Version::HTTP_11 || response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let is_cut_off = response.status() == StatusCode::REQUEST_TIMEOUT;
        if !is_kept && (is_cut_off || self.inner.stopping.is_set()) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    fn decide<'a>(
        &'a self,
        Sender { peer, is_connected }: Sender,
        path: Result<NormalPath<'a>, RequestError>,
        head: &'a mut Parts,
        body: &'a mut Body,
        pending: &'a PendingResponse,
    ) -> impl Future<Output = (EndpointLabel, Reply)> + Send + 'a {
        let path = require_sound(head, is_connected).and_then(|()| Ok(path?));
        async move {
            let path = match &path {
                Ok(path) => path,
                Err(problem) => {
                    let response = problem.clone().into_response();
                    let origin = self.origin(head);
                    return (self.unknown(), self.readable(origin.as_ref(), response));
                }
            };
            let Some((own, front_end)) = self.front_end(path) else {
                return Box::pin(self.decide_path(peer, path, head, body, pending)).await;
            };
            let response = if head.uri.path() != own {
                // A caller of the API that does not know its path gets an error that names it.
                misspelt::no_such_path(own).into_response()
            } else if let Err(rejected) = self.admit(head, front_end.token_fields()) {
                rejected.into_response()
            } else {
                let response = front_end.respond(peer, head, body).await;
                response.unwrap_or_else(Problem::into_response)
            };
            (EndpointLabel::Own(own), Reply::Own(response))
        }
    }

    /// Decides about the request that was sent, since no front end has its path.
    async fn decide_path(
        &self,
        peer: IpAddr,
        path: &NormalPath<'_>,
        head: &mut Parts,
        body: &mut Body,
        pending: &PendingResponse,
    ) -> (EndpointLabel, Reply) {
        if self.inner.gateway.is_none() {
            if let Some(page) = start_page::respond(head, path) {
                return (EndpointLabel::Own(start_page::PATH), Reply::Own(page));
            }
            if let Some(problem) = self.not_found(&head.method, path) {
                return (EndpointLabel::OTHER, Reply::Own(problem.into_response()));
            }
            if let Err(rejected) = self.admit(head, TokenFields::Both) {
                return (EndpointLabel::UnknownApi, Reply::Own(rejected.into_response()));
            }
        } else {
            // Clients of a gateway need no token, and must not be told apart by one.
            self.inner.access.forget(&mut head.headers);
        }
        let origin = self.origin(head);
        // What cannot be forwarded takes no tokens.
        let way = match self.inner.gateway.as_ref().map(|gateway| Way::of(gateway, head)) {
            None => None,
            Some(Ok(way)) => Some(way),
            Some(Err(problem)) => {
                let response = problem.into_response();
                return (EndpointLabel::UnknownApi, self.readable(origin.as_ref(), response));
            }
        };
        let endpoints = self.inner.services.events.endpoints();
        let unanswered = Unanswered { endpoints, path, pending, is_answered: false };
        let models = self.inner.models.as_ref();
        let to_model =
            models.and_then(|models| Some((models, models.routes().find(&head.method, path)?)));
        let way = match (way, to_model) {
            (Some(Way { gateway, destination }), Some((models, route))) => {
                let outgoing = Outgoing { route, gateway, destination, peer, path, head, body };
                let reply = match Box::pin(models.respond(outgoing)).await {
                    Ok(response) => Reply::Model(Box::new(response)),
                    Err(response) => Reply::Own(*response),
                };
                unanswered.got_one();
                let label = self.unmatched(path, &reply);
                return match reply {
                    Reply::Own(response) => (label, self.readable(origin.as_ref(), response)),
                    reply => (label, reply),
                };
            }
            (way, _) => way,
        };
        let decided =
            any_path::decide(&self.inner.services.engine, peer, head, path, way.is_some()).await;
        let (label, reply) = match decided {
            Ok(checked) => {
                let pattern = pattern_of(&checked);
                let slots = OccupiedSlots::new(checked.slots().clone());
                let decision = checked.decision;
                let reply = match way {
                    Some(way) if decision.is_allowed() => {
                        Box::pin(self.forward(way, peer, head, body, &decision, slots)).await
                    }
                    _ => Reply::Own(decision::respond(&decision)),
                };
                (pattern.unwrap_or_else(|| self.unmatched(path, &reply)), reply)
            }
            Err(problem) => {
                let label = endpoints.find_unanswered(path).into();
                (label, Reply::Own(problem.into_response()))
            }
        };
        unanswered.got_one();
        match reply {
            Reply::Own(response) => (label, self.readable(origin.as_ref(), response)),
            reply @ (Reply::Upstream(_) | Reply::Model(_)) => (label, reply),
        }
    }

    /// Returns the label of a request whose path is not known.
    fn unknown(&self) -> EndpointLabel {
        let decides = self.inner.any_path || self.inner.gateway.is_some();
        if decides { EndpointLabel::UnknownApi } else { EndpointLabel::OTHER }
    }

    /// Returns the endpoint of a request to the API that no pattern of the policy covers.
    fn unmatched(&self, path: &NormalPath<'_>, reply: &Reply) -> EndpointLabel {
        let endpoints = self.inner.services.events.endpoints();
        match reply {
            // The API has not said whether it has the path.
            Reply::Own(_) if self.inner.gateway.is_some() => endpoints.find_unanswered(path).into(),
            reply => endpoints.find(path, reply.status()).into(),
        }
    }

    /// Returns the origin of the page that sends a request through the gateway.
    fn origin(&self, head: &Parts) -> Option<HeaderValue> {
        self.inner.gateway.as_ref()?.origin(&head.headers).cloned()
    }

    /// Lets a page of `origin` read a response in place of the upstream's.
    fn readable(&self, origin: Option<&HeaderValue>, mut response: Response) -> Reply {
        if let (Some(gateway), Some(origin)) = (&self.inner.gateway, origin) {
            gateway.write_cors(origin, response.headers_mut());
        }
        Reply::Own(response)
    }

    /// Returns the front end that serves `path`.
    fn front_end(&self, path: &NormalPath<'_>) -> Option<(&'static str, &dyn Respond)> {
        let (path, front_end) =
            self.inner.front_ends.iter().find(|(own, _)| *own == path.as_str())?;
        // Without a gateway, no upstream could have the path of a disabled front end, which then
        // responds with the reason.
        let is_served = front_end.is_enabled() || self.inner.gateway.is_none();
        is_served.then_some((*path, &**front_end))
    }

    /// Checks the token of a caller, and removes it from `head`.
    fn admit(&self, head: &mut Parts, fields: TokenFields) -> Result<(), Rejected> {
        let Inner { access, services, .. } = &*self.inner;
        access.admit(&mut head.headers, fields).inspect_err(|_| {
            services.events.recorders().replica.caller_rejected(ConnectionKind::Http);
        })
    }

    /// Returns why the port does not decide about `path`, if it does not.
    fn not_found(&self, method: &Method, path: &NormalPath<'_>) -> Option<Problem> {
        misspelt::problem(method, path).or_else(|| {
            (!self.inner.any_path).then(|| {
                let detail = "no front end has this path, and `listen.any_path` is off: /openapi \
                              describes the paths that exist";
                Problem::new(ProblemKind::NotFound, detail)
            })
        })
    }

    /// Forwards an allowed request, and leaves an empty one behind.
    async fn forward(
        &self,
        Way { gateway, destination }: Way<'_>,
        peer: IpAddr,
        head: &mut Parts,
        body: &mut Body,
        decision: &Decision,
        slots: OccupiedSlots,
    ) -> Reply {
        let engine = &self.inner.services.engine;
        let client = ClientConnection { peer, trusted: engine.trusts(peer) };
        let fields = DecidingFields::new(engine.fields_read(), engine.field_of_trusted_proxies());
        let (head, body) = (take(head), std::mem::take(body));
        match gateway.forward(client, destination, &fields, head, body, slots).await {
            Ok(mut response) => {
                gateway.write_limits(decision, response.status(), response.headers_mut());
                Reply::Upstream(Box::new(response))
            }
            Err(problem) => {
                let mut response = problem.into_response();
                gateway.write_limits(decision, response.status(), response.headers_mut());
                Reply::Own(response)
            }
        }
    }
}

/// Returns the pattern of the policy that covers the path of a request.
fn pattern_of(checked: &Checked) -> Option<EndpointLabel> {
    checked.has_pattern().then(|| {
        let pattern = Arc::clone(checked.endpoint());
        if checked.is_exempt() {
            EndpointLabel::ExemptApi(pattern)
        } else {
            EndpointLabel::Api(pattern)
        }
    })
}

impl Handler for HttpFrontEnds {
    type Body = Body;

    const CONNECTION: ConnectionKind = ConnectionKind::Http;
    const MAX_STREAMS: u32 = protocol::MAX_STREAMS;
    const ONLY_HTTP2: bool = false;
    const KEEPS_IDLE: bool = false;
    const AGE_GRACE: Option<Duration> = None;

    fn is_probe(request: &Request<Incoming>) -> bool {
        protocol::is_probe(request)
    }

    fn overloaded() -> Response {
        protocol::overloaded()
    }

    fn certificate_required() -> Response {
        protocol::certificate_required()
    }

    fn handle(
        &self,
        peer: IpAddr,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Response> + Send {
        let mut request = request.map(Body::new);
        join_cookies(&mut request);
        self.respond_to(Sender { peer, is_connected: true }, request)
    }
}

/// Joins the lines of `Cookie` that HTTP/2 may split (RFC 9113, section 8.2.3), so that all that
/// read the field see one value.
fn join_cookies(request: &mut Request<Body>) {
    if request.version() < Version::HTTP_2 {
        return;
    }
    let lines: Vec<&[u8]> =
        request.headers().get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if lines.len() < 2 {
        return;
    }
    if let Ok(joined) = HeaderValue::from_bytes(&lines.join(&b"; "[..])) {
        request.headers_mut().insert(COOKIE, joined);
    }
}

/// Rejects a head that is too long, and over HTTP/1.1 one that does not name exactly one host (RFC
/// 9112, section 3.2). A gateway checks more by itself.
fn require_sound(head: &Parts, is_connected: bool) -> Result<(), Problem> {
    let (mut length, mut hosts) = (0, 0);
    for (name, value) in &head.headers {
        length += name.as_str().len() + value.len();
        hosts += usize::from(*name == HOST);
    }
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target + length > protocol::MAX_HEAD_BYTES {
        let detail = format!(
            "the path and the header fields together are longer than the allowed {} bytes",
            protocol::MAX_HEAD_BYTES
        );
        return Err(Problem::new(ProblemKind::HeadersTooLarge, detail));
    }
    let is_required =
        is_connected && head.version == Version::HTTP_11 && head.uri.authority().is_none();
    if hosts > 1 || (is_required && hosts == 0) {
        let detail = "a request over HTTP/1.1 has the header `host` exactly once";
        return Err(Problem::new(ProblemKind::InvalidRequest, detail));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_that_http2_splits_are_one_value() {
        let cookies = |version, lines: &[&str]| {
            let mut request = Request::new(Body::empty());
            *request.version_mut() = version;
            for line in lines {
                request.headers_mut().append(COOKIE, line.parse().unwrap());
            }
            join_cookies(&mut request);
            let lines = request.headers().get_all(COOKIE).iter();
            lines.map(|line| line.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(cookies(Version::HTTP_2, &["a=1", "b=2; c=3", "d=4"]), ["a=1; b=2; c=3; d=4"]);
        assert_eq!(cookies(Version::HTTP_2, &["a=1"]), ["a=1"]);
        assert_eq!(cookies(Version::HTTP_2, &[]), [""; 0]);
        assert_eq!(cookies(Version::HTTP_11, &["a=1", "b=2"]), ["a=1", "b=2"]);
    }
}
