//! One upstream: its connections and its health.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use hyper::client::conn::http2;
use parking_lot::Mutex;
use sluice_telemetry::{BoundUpstream, UpstreamRecorder};

use crate::{
    connect::{Connected, Connector, Http1},
    error::ConnectError,
    request_body::RequestBody,
};
use sluice_config::gateway::UpstreamUrl;

/// The most idle connections that are kept. More would hardly be used at once, and each costs the
/// upstream memory.
const MAX_IDLE: usize = 512;

/// The most requests on one HTTP/2 connection: as many as every server should allow (RFC 9113,
/// section 6.5.2). More would wait for each other without a sign.
const MAX_STREAMS: usize = 100;

/// One upstream.
#[derive(Debug)]
pub(crate) struct Upstream {
    url: UpstreamUrl,
    connector: Connector,
    /// How long an idle HTTP/1.1 connection is kept.
    keep_alive: Duration,
    /// Idle HTTP/1.1 connections; the one that was used last is at the back.
    idle: Mutex<VecDeque<Idle>>,
    /// HTTP/2 connections.
    shared: Mutex<Vec<Shared>>,
    /// Held while connecting if one connection may serve many requests, so that a burst does not
    /// open one connection for each.
    connecting: tokio::sync::Mutex<()>,
    /// Whether TLS negotiated HTTP/1.1. Then each request opens a connection of its own without
    /// waiting.
    speaks_http1: AtomicBool,
    in_flight: AtomicUsize,
    started: Instant,
    /// Until when the upstream is used only if there is no other, in milliseconds since the start.
    away_until_ms: AtomicU64,
    condition: AtomicU8,
    recorder: BoundUpstream,
}

#[derive(Debug)]
struct Idle {
    connection: Http1,
    since: Instant,
}

#[derive(Debug)]
struct Shared {
    sender: http2::SendRequest<RequestBody>,
    in_use: Arc<AtomicUsize>,
}

/// A connection for one request.
#[derive(Debug)]
pub(crate) enum Sender {
    Http1(Http1),
    Http2(http2::SendRequest<RequestBody>, InUse),
}

/// Counts one request until it is dropped.
#[derive(Debug)]
pub(crate) struct InUse(Arc<AtomicUsize>);

/// A request that the upstream is processing.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Upstream>);

/// The result of the active health checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Healthy = 0,
    Unhealthy = 1,
}

// === impl Upstream ===

impl Upstream {
    pub(crate) fn new(
        url: UpstreamUrl,
        connector: Connector,
        keep_alive: Duration,
        recorder: &UpstreamRecorder,
    ) -> Self {
        Self {
            recorder: recorder.bind(&url.to_string()),
            speaks_http1: AtomicBool::new(connector.is_surely_http1(&url)),
            url,
            connector,
            keep_alive,
            idle: Mutex::default(),
            shared: Mutex::default(),
            connecting: tokio::sync::Mutex::new(()),
            in_flight: AtomicUsize::new(0),
            started: Instant::now(),
            away_until_ms: AtomicU64::new(0),
            condition: AtomicU8::new(Health::Healthy as u8),
        }
    }

    /// Returns the upstream's address.
    pub(crate) const fn url(&self) -> &UpstreamUrl {
        &self.url
    }

    /// Returns the recorder of the upstream's metrics.
    pub(crate) const fn recorder(&self) -> &BoundUpstream {
        &self.recorder
    }

    /// Returns how many requests the upstream is processing.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts a new request.
    pub(crate) fn start_request(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    /// Returns whether the upstream passes its active health checks.
    pub(crate) fn is_healthy(&self) -> bool {
        self.condition.load(Ordering::Relaxed) == Health::Healthy as u8
    }

    /// Sets the result of the active health checks. Returns whether it changed.
    pub(crate) fn set_health(&self, condition: Health) -> bool {
        self.recorder.set_healthy(condition == Health::Healthy);
        self.condition.swap(condition as u8, Ordering::Relaxed) != condition as u8
    }

    /// Returns for how long the upstream is still avoided because it could not be reached.
    pub(crate) fn avoided_for(&self) -> Duration {
        let until = Duration::from_millis(self.away_until_ms.load(Ordering::Relaxed));
        until.saturating_sub(self.started.elapsed())
    }

    /// Avoids the upstream for `time` if there are others.
    pub(crate) fn avoid_for(&self, time: Duration) {
        let until = u64::try_from((self.started.elapsed() + time).as_millis()).unwrap_or(u64::MAX);
        self.away_until_ms.store(until, Ordering::Relaxed);
    }

    /// Stops avoiding the upstream, since it can be reached again.
    pub(crate) fn stop_avoiding(&self) {
        self.away_until_ms.store(0, Ordering::Relaxed);
    }

    /// Returns a connection that was used before, if one is free.
    pub(crate) fn free_connection(&self) -> Option<Sender> {
        if let Some(connection) = self.idle_connection() {
            return Some(Sender::Http1(connection));
        }
        if self.speaks_http1.load(Ordering::Relaxed) { None } else { self.shared_connection() }
    }

    /// Opens a connection, or returns one that another request has just opened.
    pub(crate) async fn new_connection(&self) -> Result<Sender, ConnectError> {
        if self.speaks_http1.load(Ordering::Relaxed) {
            return self.connector.connect(&self.url).await.map(|connected| self.keep(connected));
        }
        let alone = self.connecting.lock().await;
        if let Some(sender) = self.shared_connection() {
            return Ok(sender);
        }
        if self.speaks_http1.load(Ordering::Relaxed) {
            drop(alone);
        }
        self.connector.connect(&self.url).await.map(|connected| self.keep(connected))
    }

    /// Returns whether connections can be upgraded.
    pub(crate) fn can_upgrade(&self) -> bool {
        self.connector.can_upgrade()
    }

    /// Opens a connection for a request with an upgrade. It is rarely used again.
    pub(crate) async fn upgradable_connection(&self) -> Result<Sender, ConnectError> {
        match self.connector.connect_http1(&self.url).await? {
            Connected::Http1(connection) => Ok(Sender::Http1(connection)),
            other @ Connected::Http2(_) => Ok(self.keep(other)),
        }
    }

    /// Takes back a connection whose request is finished.
    pub(crate) fn release(self: &Arc<Self>, mut connection: Http1) {
        if connection.sender.is_ready() {
            return self.push_idle(connection);
        }
        if !connection.sender.is_closed() {
            // The connection has read the end of the response, but does not know yet that it is the
            // end.
            let upstream = Arc::clone(self);
            tokio::spawn(async move {
                if connection.sender.ready().await.is_ok() {
                    upstream.push_idle(connection);
                }
            });
        }
    }

    fn push_idle(&self, connection: Http1) {
        let now = Instant::now();
        let mut idle = self.idle.lock();
        while idle
            .front()
            .is_some_and(|oldest| idle.len() >= MAX_IDLE || oldest.is_useless(now, self.keep_alive))
        {
            idle.pop_front();
        }
        idle.push_back(Idle { connection, since: now });
    }

    fn idle_connection(&self) -> Option<Http1> {
        let now = Instant::now();
        let mut idle = self.idle.lock();
        while let Some(candidate) = idle.pop_back() {
            if !candidate.is_useless(now, self.keep_alive) && candidate.connection.sender.is_ready()
            {
                return Some(candidate.connection);
            }
        }
        None
    }

    fn shared_connection(&self) -> Option<Sender> {
        let mut shared = self.shared.lock();
        shared.retain(|connection| !connection.sender.is_closed());
        let free = shared
            .iter()
            .find(|connection| connection.in_use.load(Ordering::Relaxed) < MAX_STREAMS);
        free.map(Shared::sender)
    }

    fn keep(&self, connected: Connected) -> Sender {
        match connected {
            Connected::Http1(connection) => {
                self.speaks_http1.store(true, Ordering::Relaxed);
                Sender::Http1(connection)
            }
            Connected::Http2(sender) => {
                self.speaks_http1.store(false, Ordering::Relaxed);
                let connection = Shared { sender, in_use: Arc::default() };
                let sender = connection.sender();
                self.shared.lock().push(connection);
                sender
            }
        }
    }
}

impl Idle {
    fn is_useless(&self, now: Instant, keep_alive: Duration) -> bool {
        self.connection.sender.is_closed() || now.duration_since(self.since) >= keep_alive
    }
}

impl Shared {
    fn sender(&self) -> Sender {
        self.in_use.fetch_add(1, Ordering::Relaxed);
        Sender::Http2(self.sender.clone(), InUse(Arc::clone(&self.in_use)))
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl InFlight {
    /// Returns the upstream that processes the request.
    pub(crate) const fn upstream(&self) -> &Arc<Upstream> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
