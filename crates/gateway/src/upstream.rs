//! One upstream: its connections, and whether it is well.

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

/// How many idle connections are kept. More were hardly in use at once, and each costs the upstream
/// memory too.
const MAX_IDLE: usize = 512;

/// How many requests share a connection in HTTP/2: as many as every server should let (RFC 9113,
/// section 6.5.2). More would wait for each other in silence.
const MAX_STREAMS: usize = 100;

/// One upstream.
#[derive(Debug)]
pub(crate) struct Upstream {
    url: UpstreamUrl,
    connector: Connector,
    /// How long a connection in HTTP/1.1 waits for a request before it is forgotten.
    keep_alive: Duration,
    /// Connections in HTTP/1.1 that wait for a request; the one used last is at the back.
    idle: Mutex<VecDeque<Idle>>,
    /// Connections in HTTP/2.
    shared: Mutex<Vec<Shared>>,
    /// Held while connecting where one connection may do for many requests, so that a burst does
    /// not make one for each.
    connecting: tokio::sync::Mutex<()>,
    /// Whether TLS has agreed on HTTP/1.1: then nobody has to wait for another's connection.
    speaks_http1: AtomicBool,
    in_flight: AtomicUsize,
    started: Instant,
    /// Until when it is only asked if no other is left, in milliseconds since the start.
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

/// A connection, for one request.
#[derive(Debug)]
pub(crate) enum Sender {
    Http1(Http1),
    Http2(http2::SendRequest<RequestBody>, InUse),
}

/// Counts a request for as long as it lives.
#[derive(Debug)]
pub(crate) struct InUse(Arc<AtomicUsize>);

/// A request that an upstream is busy with.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Upstream>);

/// What active checks say.
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

    /// Where it is.
    pub(crate) const fn url(&self) -> &UpstreamUrl {
        &self.url
    }

    /// Records what it does.
    pub(crate) const fn recorder(&self) -> &BoundUpstream {
        &self.recorder
    }

    /// How many requests it is busy with.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts a request that it is now busy with.
    pub(crate) fn start_request(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    /// Whether active checks say that it is well.
    pub(crate) fn is_healthy(&self) -> bool {
        self.condition.load(Ordering::Relaxed) == Health::Healthy as u8
    }

    /// Notes what active checks say; whether that is news.
    pub(crate) fn set_health(&self, condition: Health) -> bool {
        self.recorder.set_healthy(condition == Health::Healthy);
        self.condition.swap(condition as u8, Ordering::Relaxed) != condition as u8
    }

    /// For how long it is still to be left alone, since it could not be connected to.
    pub(crate) fn avoided_for(&self) -> Duration {
        let until = Duration::from_millis(self.away_until_ms.load(Ordering::Relaxed));
        until.saturating_sub(self.started.elapsed())
    }

    /// Leaves it alone for as long as there are others.
    pub(crate) fn avoid_for(&self, time: Duration) {
        let until = u64::try_from((self.started.elapsed() + time).as_millis()).unwrap_or(u64::MAX);
        self.away_until_ms.store(until, Ordering::Relaxed);
    }

    /// It can be connected to again.
    pub(crate) fn stop_avoiding(&self) {
        self.away_until_ms.store(0, Ordering::Relaxed);
    }

    /// A connection that was used before, if any is free.
    pub(crate) fn free_connection(&self) -> Option<Sender> {
        if let Some(connection) = self.idle_connection() {
            return Some(Sender::Http1(connection));
        }
        if self.speaks_http1.load(Ordering::Relaxed) { None } else { self.shared_connection() }
    }

    /// A new connection, or one that somebody else has just made.
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

    /// Whether it can be asked for an upgrade.
    pub(crate) fn can_upgrade(&self) -> bool {
        self.connector.can_upgrade()
    }

    /// A connection for a request that asks for an upgrade, and will hardly be given back.
    pub(crate) async fn upgradable_connection(&self) -> Result<Sender, ConnectError> {
        match self.connector.connect_http1(&self.url).await? {
            Connected::Http1(connection) => Ok(Sender::Http1(connection)),
            other @ Connected::Http2(_) => Ok(self.keep(other)),
        }
    }

    /// Takes back a connection whose request is done with.
    pub(crate) fn release(self: &Arc<Self>, mut connection: Http1) {
        if connection.sender.is_ready() {
            return self.push_idle(connection);
        }
        if !connection.sender.is_closed() {
            // It has read the last of the answer, and not yet noticed that this was all.
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
    /// Who is busy with it.
    pub(crate) const fn upstream(&self) -> &Arc<Upstream> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
