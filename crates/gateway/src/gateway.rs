//! The gateway: chooses an upstream for each request and sends it there.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header::EXPECT, request::Parts,
};
use hyper::body::Incoming;
use sluice::{Recorders, response::headers};
use sluice_config::gateway::{GatewaySettings, RateLimitHeaders, UpstreamUrl};
use sluice_core::Decision;
use sluice_http::Problem;
use smallvec::SmallVec;

use crate::{
    OpenGatewayError,
    connect::Connector,
    cors,
    deciding_fields::DecidingFields,
    destination::Destination,
    error::ForwardError,
    exchange::{self, Failed},
    health::{self, Watch},
    occupied::OccupiedSlots,
    rate_limit_fields::is_rate_limit_field,
    request_body::Upload,
    response,
    tunnel::Tunnels,
    upstream::Upstream,
    upstream_body::{ConnectionInUse, UpstreamBody},
    upstream_request::{ClientConnection, UpstreamRequest},
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
            Upstream::new(url.clone(), connector.clone(), &settings, &recorders.upstream)
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

    /// Forwards an allowed request to its `destination`, and returns the head of the response. The
    /// decision was made by these `fields`. The request holds `slots` until its response has ended.
    ///
    /// # Errors
    /// Returns a problem when no upstream responds.
    pub async fn forward(
        &self,
        client: ClientConnection,
        destination: Destination,
        fields: &DecidingFields,
        head: Parts,
        body: Body,
        mut slots: OccupiedSlots,
    ) -> Result<Response<UpstreamBody>, Problem> {
        let waits = head.headers.contains_key(EXPECT);
        let upload = Upload::new(body, waits, fields.clone());
        let settings = &self.inner.settings;
        let outgoing = UpstreamRequest::new(head, upload, client, destination, fields, settings);
        let forwarded = tokio::select! {
            received = self.try_upstreams(outgoing) => received,
            () = slots.cut() => Err(ForwardError::SlotLost),
        };
        let (received, connection_in_use, outgoing) = forwarded?;
        let upstream = Arc::clone(connection_in_use.in_flight.upstream());
        let tunnels = &self.inner.tunnels;
        response::forward(received, connection_in_use, outgoing, tunnels, settings, slots)
            .inspect_err(|cause| upstream.failed(cause))
            .map_err(Problem::from)
    }

    /// Writes the rate limit fields of `decision` into the `fields` of a response with `status`.
    /// `gateway.rate_limit_headers` says what happens to those of the upstream. When the upstream
    /// itself denied the request, its own fields, if it sends any, say when to ask again, and ours
    /// are left out. Returns whether ours were written.
    pub fn write_limits(
        &self,
        decision: &Decision,
        status: StatusCode,
        fields: &mut HeaderMap,
    ) -> bool {
        let mode = self.inner.settings.rate_limit_headers;
        let is_denied_there = status == StatusCode::TOO_MANY_REQUESTS;
        let theirs: SmallVec<[HeaderName; 6]> =
            fields.keys().filter(|name| is_rate_limit_field(name)).cloned().collect();
        let (removes_theirs, writes_ours) = match mode {
            RateLimitHeaders::Remove => (true, false),
            _ if is_denied_there && !theirs.is_empty() => (false, false),
            RateLimitHeaders::Replace => (decision.binding().is_some(), true),
            RateLimitHeaders::Keep => (false, theirs.is_empty()),
        };
        if removes_theirs {
            theirs.iter().for_each(|name| drop(fields.remove(name)));
        }
        if writes_ours {
            headers::write(decision, fields);
        }
        writes_ours
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
    ) -> Result<(Response<Incoming>, ConnectionInUse, UpstreamRequest), ForwardError> {
        let Inner { settings, upstreams, .. } = &*self.inner;
        let mut tried: SmallVec<[Arc<Upstream>; 2]> = SmallVec::new();
        let mut failure = ForwardError::NoHealthyUpstream;
        while let Some(upstream) = upstreams.choose(&tried) {
            match exchange::send(settings, upstream, &mut outgoing).await {
                Ok((received, connection_in_use)) => {
                    return Ok((received, connection_in_use, outgoing));
                }
                Err(Failed { cause, try_elsewhere }) => {
                    upstream.failed(&cause);
                    if try_elsewhere && !cause.is_busy() {
                        upstreams.mark_unreachable(upstream, settings.away_for);
                    }
                    failure = cause;
                    if !try_elsewhere {
                        break;
                    }
                }
            }
            tried.push(Arc::clone(upstream));
        }
        Err(failure)
    }
}
