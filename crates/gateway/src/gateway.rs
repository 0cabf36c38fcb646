//! The gateway: chooses an upstream for each request and sends it there.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::body::{Body, HttpBody};
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, EXPECT, UPGRADE},
    request::Parts,
};
use hyper::{body::Incoming, client::conn::TrySendError, upgrade};
use sluice::{Recorders, response::headers};
use sluice_config::gateway::{GatewaySettings, RateLimitHeaders, UpstreamUrl};
use sluice_core::Decision;
use sluice_http::Problem;
use smallvec::SmallVec;
use tokio::time::timeout_at;

use crate::{
    OpenGatewayError,
    connect::Connector,
    cors,
    error::ForwardError,
    health::{self, Watch},
    hop_by_hop,
    request_body::{BodyProgress, RequestBody, WaitsFor},
    tunnel::Tunnels,
    upstream::{Sender, Upstream},
    upstream_body::{ConnectionInUse, UpstreamBody},
    upstream_request::{self, ClientConnection, RequestRemainder, UpstreamRequest},
    upstreams::Upstreams,
};

/// Forwards requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gateway {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: GatewaySettings,
    upstreams: Upstreams,
    tunnels: Tunnels,
}

impl Gateway {
    /// Starts the health checks of the upstreams, if they are configured.
    #[must_use]
    pub fn watch(&self) -> Watch {
        health::watch(self.inner.upstreams.iter(), self.inner.settings.health.as_ref())
    }

    /// Creates a gateway to the upstreams in `settings`. It connects only when there are requests.
    ///
    /// # Errors
    /// Returns an error when TLS cannot be set up, such as when certificates cannot be read.
    pub fn open(
        settings: GatewaySettings,
        recorders: &Recorders,
    ) -> Result<Self, OpenGatewayError> {
        let connector = Connector::new(&settings)?;
        let upstream = |url: &UpstreamUrl| {
            Upstream::new(url.clone(), connector.clone(), settings.keep_alive, &recorders.upstream)
        };
        let upstreams = settings.upstreams.iter().map(upstream).collect();
        Ok(Self {
            inner: Arc::new(Inner {
                upstreams: Upstreams::new(upstreams),
                tunnels: Tunnels::new(&recorders.system),
                settings,
            }),
        })
    }

    /// Returns whether the front ends of the HTTP port are open beside the gateway.
    #[must_use]
    pub fn leaves_front_ends_open(&self) -> bool {
        self.inner.settings.doors
    }

    /// Waits until all upgraded connections have ended, for at most `grace`. Then closes the
    /// remaining ones and returns how many they were.
    pub async fn finish(&self, grace: Duration) -> usize {
        self.inner.tunnels.finish(grace).await
    }

    /// Forwards an allowed request and returns the head of the response.
    ///
    /// # Errors
    /// Returns a problem when the request cannot be forwarded, or when no upstream responds.
    pub async fn forward(
        &self,
        client: ClientConnection,
        head: Parts,
        body: Body,
    ) -> Result<Response<UpstreamBody>, Problem> {
        let settings = &self.inner.settings;
        upstream_request::require_forwardable(&head.method)?;
        let (upload, progress) =
            RequestBody::new(body, head.headers.contains_key(EXPECT), Instant::now());
        let outgoing =
            UpstreamRequest::new(head, upload, client, settings.host, settings.via.as_ref())?;
        self.try_upstreams(outgoing, progress).await.map_err(|failure| {
            tracing::debug!(
                error = &failure as &dyn std::error::Error,
                "a request could not be forwarded"
            );
            failure.into()
        })
    }

    /// Writes the rate limit fields of `decision` into `fields`. `gateway.rate_limit_headers` says
    /// what happens to those of the upstream.
    pub fn write_limits(&self, decision: &Decision, fields: &mut HeaderMap) {
        let mode = self.inner.settings.rate_limit_headers;
        let theirs: SmallVec<[HeaderName; 6]> =
            fields.keys().filter(|name| is_rate_limit_field(name)).cloned().collect();
        let replaced = match mode {
            RateLimitHeaders::Replace => decision.binding().is_some(),
            RateLimitHeaders::Keep => false,
            RateLimitHeaders::Remove => true,
        };
        if replaced {
            theirs.iter().for_each(|name| drop(fields.remove(name)));
        }
        if mode == RateLimitHeaders::Replace
            || (mode == RateLimitHeaders::Keep && theirs.is_empty())
        {
            headers::write(decision, fields);
        }
    }

    /// Returns the origin of the page that sends a request with these `fields`.
    #[must_use]
    pub fn origin<'f>(&self, fields: &'f HeaderMap) -> Option<&'f HeaderValue> {
        cors::origin(fields)
    }

    /// Lets a page of `origin` read a response of Sluice's own, as `gateway.cors` says.
    pub fn write_cors(&self, origin: &HeaderValue, fields: &mut HeaderMap) {
        cors::write(&self.inner.settings.cors, origin, fields);
    }

    async fn try_upstreams(
        &self,
        mut outgoing: UpstreamRequest,
        progress: Option<Arc<BodyProgress>>,
    ) -> Result<Response<UpstreamBody>, ForwardError> {
        let Inner { settings, upstreams, .. } = &*self.inner;
        let mut tried: SmallVec<[Arc<Upstream>; 2]> = SmallVec::new();
        let mut failure = ForwardError::NoHealthyUpstream;
        while let Some(upstream) = upstreams.choose(&tried) {
            match self.send_to(upstream, outgoing, progress.as_ref()).await {
                Ok(response) => return Ok(response),
                Err((cause, unsent)) => {
                    if let Some(result) = cause.counted_as() {
                        upstream.recorder().failed(result);
                    }
                    failure = cause;
                    let Some(unsent) = unsent else { break };
                    outgoing = *unsent;
                }
            }
            upstreams.mark_unreachable(upstream, settings.away_for);
            tried.push(Arc::clone(upstream));
        }
        Err(failure)
    }

    /// Sends the request to one upstream. On failure, returns the request too if none of it was
    /// sent.
    async fn send_to(
        &self,
        upstream: &Arc<Upstream>,
        mut outgoing: UpstreamRequest,
        progress: Option<&Arc<BodyProgress>>,
    ) -> Result<Response<UpstreamBody>, (ForwardError, Option<Box<UpstreamRequest>>)> {
        let in_flight = upstream.start_request();
        let upgrades = outgoing.wants_upgrade() && upstream.can_upgrade();
        if !upgrades {
            // A server may ignore the request for an upgrade, and HTTP/2 cannot express it.
            outgoing = outgoing.without_upgrade();
        }
        let mut free = if upgrades { None } else { upstream.free_connection() };
        loop {
            let was_reused = free.is_some();
            let connected = match free.take() {
                Some(sender) => Ok(sender),
                // Boxed, since connecting is rare and would enlarge the future of every request.
                None if upgrades => Box::pin(upstream.upgradable_connection()).await,
                None => Box::pin(upstream.new_connection()).await,
            };
            let mut sender = match connected {
                Ok(sender) => sender,
                Err(error) => {
                    return Err((ForwardError::NotConnected(error), Some(Box::new(outgoing))));
                }
            };
            if !was_reused {
                upstream.stop_avoiding();
            }
            let url = upstream.url();
            let sent_at = Instant::now();
            let (request, remainder) = match sender {
                Sender::Http1(_) => outgoing.over_http1(url),
                Sender::Http2(..) => outgoing.over_http2(url),
            };
            match self.send(&mut sender, request, progress).await {
                Ok(response) => {
                    upstream.recorder().responded(response.status().as_u16(), sent_at.elapsed());
                    let connection_in_use = ConnectionInUse { in_flight, sender };
                    return self
                        .receive(response, connection_in_use, remainder, progress.cloned())
                        .map_err(|failure| (failure, None));
                }
                Err(NoResponse { failure, unsent: None }) => return Err((failure, None)),
                // The upstream had closed the connection, and the gateway had not noticed yet.
                Err(NoResponse { unsent: Some(request), .. }) if was_reused => {
                    outgoing = remainder.with(request);
                    free = upstream.free_connection();
                }
                Err(NoResponse { failure, unsent: Some(request) }) => {
                    return Err((failure, Some(Box::new(remainder.with(request)))));
                }
            }
        }
    }

    /// Sends a request and waits for the head of the response until the timeouts that apply.
    async fn send(
        &self,
        sender: &mut Sender,
        request: Request<RequestBody>,
        progress: Option<&Arc<BodyProgress>>,
    ) -> Result<Response<Incoming>, NoResponse> {
        match sender {
            Sender::Http1(connection) => {
                self.wait(connection.sender.try_send_request(request), progress).await
            }
            Sender::Http2(sender, _) => self.wait(sender.try_send_request(request), progress).await,
        }
    }

    async fn wait(
        &self,
        response: impl Future<Output = Sent>,
        progress: Option<&Arc<BodyProgress>>,
    ) -> Result<Response<Incoming>, NoResponse> {
        let GatewaySettings { response_timeout, idle_timeout, .. } = self.inner.settings;
        let mut response = std::pin::pin!(response);
        let mut deadline = Instant::now() + response_timeout;
        loop {
            match timeout_at(deadline.into(), &mut response).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(mut error)) => {
                    let unsent = error.take_message();
                    let broke_off =
                        progress.is_some_and(|progress| progress.standing().0 == WaitsFor::Aborted);
                    let failure = if broke_off {
                        ForwardError::ClientAborted
                    } else {
                        ForwardError::ConnectionBroke(error.into_error())
                    };
                    return Err(NoResponse { failure, unsent });
                }
                Err(_elapsed) => {
                    // The upstream's time starts again with each part of the body that it gets, and
                    // is suspended while the gateway waits for the client.
                    let (timed_out, until) = match progress.map(|progress| progress.standing()) {
                        None => return Err(ForwardError::TimedOut(response_timeout).into()),
                        Some((WaitsFor::Client, since)) => {
                            (ForwardError::ClientTimedOut(idle_timeout), since + idle_timeout)
                        }
                        Some((_, since)) => {
                            (ForwardError::TimedOut(response_timeout), since + response_timeout)
                        }
                    };
                    if until <= Instant::now() {
                        return Err(timed_out.into());
                    }
                    deadline = until;
                }
            }
        }
    }

    /// Converts an upstream's response to the response that the client gets.
    fn receive(
        &self,
        mut response: Response<Incoming>,
        connection_in_use: ConnectionInUse,
        remainder: RequestRemainder,
        progress: Option<Arc<BodyProgress>>,
    ) -> Result<Response<UpstreamBody>, ForwardError> {
        let Inner { settings, tunnels, .. } = &*self.inner;
        let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let protocol = if upgraded { response.headers().get(UPGRADE).cloned() } else { None };
        hop_by_hop::remove(response.headers_mut());
        if !upgraded {
            let (mut head, body) = response.into_parts();
            if body.size_hint().exact().is_none() {
                head.headers.remove(CONTENT_LENGTH);
            }
            return Ok(Response::from_parts(
                head,
                UpstreamBody::new(body, connection_in_use, progress, settings.idle_timeout),
            ));
        }
        let (Some((_, client)), Some(protocol)) = (remainder.upgrade, protocol) else {
            return Err(ForwardError::UnrequestedUpgrade);
        };
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        response.headers_mut().insert(UPGRADE, protocol);
        tunnels.open(
            client,
            upgrade::on(&mut response),
            connection_in_use.in_flight,
            settings.idle_timeout,
        );
        Ok(response.map(|_nothing| UpstreamBody::none()))
    }
}

/// The outcome of sending a request: the response, or the error with the request if it is unsent.
type Sent = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>;

/// Why a request has no response, and the request itself if none of it was sent.
struct NoResponse {
    failure: ForwardError,
    unsent: Option<Request<RequestBody>>,
}

impl From<ForwardError> for NoResponse {
    fn from(failure: ForwardError) -> Self {
        Self { failure, unsent: None }
    }
}

/// Returns whether a field describes rate limits: `X-RateLimit-*`, `RateLimit` and its drafts.
fn is_rate_limit_field(name: &HeaderName) -> bool {
    let name = name.as_str();
    name == "ratelimit"
        || ["x-ratelimit-", "x-rate-limit-", "ratelimit-"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
}
