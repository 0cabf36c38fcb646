//! The connections to one upstream.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use hyper::client::conn::http2;
use parking_lot::Mutex;
use sluice_config::gateway::{GatewaySettings, UpstreamUrl};
use smallvec::SmallVec;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{sleep_until, timeout, timeout_at},
};

use crate::{
    connect::{Connected, Connector, Http1, MaxStreams},
    error::ConnectError,
    request_body::RequestBody,
};

/// The most idle connections that are kept. More would hardly be used at once, and each costs the
/// upstream memory.
const MAX_IDLE: usize = 512;

/// The most requests on one HTTP/2 connection, where the upstream allows that many: as many as
/// every server should (RFC 9113, section 6.5.2).
const MAX_STREAMS: usize = 100;

/// The most requests that may wait for a connection or open one.
const MAX_WAITING: usize = 1_024;

/// One of the connections that an upstream may have. It is occupied by a request over HTTP/1.1, by
/// a tunnel, or by an HTTP/2 connection. Idle connections occupy none, since a request takes one of
/// them before it opens another.
pub(crate) type Place = OwnedSemaphorePermit;

/// The connections to one upstream.
#[derive(Debug)]
pub(crate) struct Pool {
    url: UpstreamUrl,
    connector: Connector,
    /// How long an idle HTTP/1.1 connection is kept.
    keep_alive: Duration,
    /// How long a request waits for a place.
    max_wait: Duration,
    places: Arc<Semaphore>,
    /// How many requests may wait for a place.
    waiting_places: Semaphore,
    /// Idle HTTP/1.1 connections; the one that was used last is at the back.
    idle: Mutex<VecDeque<Idle>>,
    /// HTTP/2 connections.
    shared: Mutex<Vec<Shared>>,
    next_id: AtomicU64,
    /// Notified when a request over HTTP/2 has ended.
    freed: Arc<Notify>,
    /// Held while connecting if one connection may serve many requests, so that a burst does not
    /// open one connection for each.
    connecting: tokio::sync::Mutex<()>,
    /// Whether TLS negotiated HTTP/1.1. Then each request opens a connection of its own without
    /// waiting.
    speaks_http1: AtomicBool,
}

#[derive(Debug)]
struct Idle {
    connection: Http1,
    since: Instant,
}

#[derive(Debug)]
struct Shared {
    sender: http2::SendRequest<RequestBody>,
    state: Arc<SharedState>,
}

/// What the requests of one HTTP/2 connection share.
#[derive(Debug)]
struct SharedState {
    id: u64,
    in_use: AtomicUsize,
    max_streams: MaxStreams,
    /// Whether the upstream takes no more requests on the connection.
    is_leaving: AtomicBool,
    freed: Arc<Notify>,
    /// Occupied until the last request has ended.
    _place: Option<Place>,
}

/// A connection for one request.
#[derive(Debug)]
pub(crate) enum Sender {
    Http1(Http1, Option<Place>),
    Http2(http2::SendRequest<RequestBody>, Stream),
}

/// One request on an HTTP/2 connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct Stream(Arc<SharedState>);

/// A connection, and whether it was used before.
#[derive(Debug)]
pub(crate) struct Acquired {
    pub(crate) sender: Sender,
    pub(crate) is_reused: bool,
}

/// Which connections a request cannot use.
#[derive(Debug, Default)]
pub(crate) struct Unwanted {
    /// Those that were used before, because they may be closed already.
    pub(crate) used: bool,
    /// The HTTP/2 connections with these numbers.
    pub(crate) shared: SmallVec<[u64; 2]>,
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum NoConnection {
    /// All are in use, and none became free in time, or too many requests wait already.
    AllInUse,
    Failed(ConnectError),
}

// === impl Pool ===

impl Pool {
    pub(crate) fn new(url: UpstreamUrl, connector: Connector, settings: &GatewaySettings) -> Self {
        Self {
            speaks_http1: AtomicBool::new(connector.is_surely_http1(&url)),
            url,
            connector,
            keep_alive: settings.keep_alive,
            max_wait: settings.connect_timeout,
            places: Arc::new(Semaphore::new(settings.max_connections)),
            waiting_places: Semaphore::new(MAX_WAITING),
            idle: Mutex::default(),
            shared: Mutex::default(),
            next_id: AtomicU64::new(0),
            freed: Arc::default(),
            connecting: tokio::sync::Mutex::new(()),
        }
    }

    /// Returns whether connections can be upgraded.
    pub(crate) fn can_upgrade(&self) -> bool {
        self.connector.can_upgrade()
    }

    /// Returns a connection: a free one, a new one, or one that becomes free while this waits.
    pub(crate) async fn connection(&self, unwanted: &Unwanted) -> Result<Acquired, NoConnection> {
        match self.free_connection(unwanted) {
            Some(sender) => Ok(Acquired { sender, is_reused: true }),
            // Boxed, since it is rare and would enlarge the future of every request.
            None => Box::pin(self.next_connection(unwanted)).await,
        }
    }

    /// Opens a connection for a request with an upgrade. It is rarely used again.
    pub(crate) async fn upgradable_connection(&self) -> Result<Acquired, NoConnection> {
        let waiting = self.waiting_places.try_acquire().map_err(|_| NoConnection::AllInUse)?;
        let wait = timeout(self.max_wait, Arc::clone(&self.places).acquire_owned());
        let Ok(Ok(place)) = wait.await else { return Err(NoConnection::AllInUse) };
        drop(waiting);
        let connected = self.connector.connect_http1(&self.url).await;
        let sender = self.keep(connected.map_err(NoConnection::Failed)?, Some(place));
        Ok(Acquired { sender, is_reused: false })
    }

    /// Returns a connection for a health check. It may exceed the number of connections, since a
    /// busy upstream is not unhealthy.
    pub(crate) async fn connection_for_check(&self) -> Result<Sender, ConnectError> {
        // A new connection would not show whether the connections in use still work.
        if let Some(sender) = self.free_connection(&Unwanted::default()) {
            return Ok(sender);
        }
        Ok(self.keep(Box::pin(self.connector.connect(&self.url)).await?, None))
    }

    /// Takes back a connection whose request is finished.
    pub(crate) fn release(self: &Arc<Self>, mut connection: Http1, place: Option<Place>) {
        if connection.sender.is_ready() {
            self.push_idle(connection);
        } else if !connection.sender.is_closed() {
            // The connection has read the end of the response, but does not know yet that it is the
            // end.
            let pool = Arc::clone(self);
            tokio::spawn(async move {
                if connection.sender.ready().await.is_ok() {
                    pool.push_idle(connection);
                }
                drop(place);
            });
        }
    }

    async fn next_connection(&self, unwanted: &Unwanted) -> Result<Acquired, NoConnection> {
        let deadline = Instant::now() + self.max_wait;
        let _waiting = self.waiting_places.try_acquire().map_err(|_| NoConnection::AllInUse)?;
        loop {
            let place = tokio::select! {
                biased;
                place = Arc::clone(&self.places).acquire_owned() => place,
                () = self.freed.notified() => match self.free_connection(unwanted) {
                    Some(sender) => return Ok(Acquired { sender, is_reused: true }),
                    None => continue,
                },
                () = sleep_until(deadline.into()) => {
                    return Err(NoConnection::AllInUse);
                }
            };
            let place = place.ok();
            let alone = if self.speaks_http1() {
                None
            } else {
                let alone = timeout_at(deadline.into(), self.connecting.lock()).await;
                Some(alone.map_err(|_| NoConnection::AllInUse)?)
            };
            if let Some(sender) = self.shared_stream(unwanted) {
                return Ok(Acquired { sender, is_reused: true });
            }
            if !unwanted.used
                && let Some(connection) = self.idle_connection()
            {
                let sender = Sender::Http1(connection, place);
                return Ok(Acquired { sender, is_reused: true });
            }
            let alone = alone.filter(|_| !self.speaks_http1());
            let connected = self.connector.connect(&self.url).await;
            drop(alone);
            let sender = self.keep(connected.map_err(NoConnection::Failed)?, place);
            return Ok(Acquired { sender, is_reused: false });
        }
    }

    /// Returns a connection that was used before, if one is free.
    fn free_connection(&self, unwanted: &Unwanted) -> Option<Sender> {
        if let Some(sender) = self.shared_stream(unwanted) {
            return Some(sender);
        }
        if unwanted.used {
            return None;
        }
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        self.idle_connection().map(|connection| Sender::Http1(connection, Some(place)))
    }

    fn speaks_http1(&self) -> bool {
        self.speaks_http1.load(Ordering::Relaxed)
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

    fn shared_stream(&self, unwanted: &Unwanted) -> Option<Sender> {
        if self.speaks_http1() {
            return None;
        }
        let mut shared = self.shared.lock();
        shared.retain(|connection| {
            !connection.sender.is_closed() && !connection.state.is_leaving.load(Ordering::Relaxed)
        });
        let has_room = |connection: &&Shared| {
            let SharedState { id, in_use, max_streams, .. } = &*connection.state;
            in_use.load(Ordering::Relaxed) < max_streams.get().min(MAX_STREAMS)
                && !unwanted.shared.contains(id)
        };
        shared.iter().find(has_room).map(Shared::sender)
    }

    fn keep(&self, connected: Connected, place: Option<Place>) -> Sender {
        match connected {
            Connected::Http1(connection) => {
                self.speaks_http1.store(true, Ordering::Relaxed);
                Sender::Http1(connection, place)
            }
            Connected::Http2(sender, max_streams) => {
                self.speaks_http1.store(false, Ordering::Relaxed);
                let state = Arc::new(SharedState {
                    id: self.next_id.fetch_add(1, Ordering::Relaxed),
                    in_use: AtomicUsize::new(0),
                    max_streams,
                    is_leaving: AtomicBool::new(false),
                    freed: Arc::clone(&self.freed),
                    _place: place,
                });
                let connection = Shared { sender, state };
                let sender = connection.sender();
                self.shared.lock().push(connection);
                // Others may have waited for this connection.
                self.freed.notify_waiters();
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
        self.state.in_use.fetch_add(1, Ordering::Relaxed);
        Sender::Http2(self.sender.clone(), Stream(Arc::clone(&self.state)))
    }
}

// === impl Stream ===

impl Stream {
    /// Returns the number of the connection.
    pub(crate) fn connection(&self) -> u64 {
        self.0.id
    }

    /// Notes that the upstream takes no more requests on the connection.
    pub(crate) fn retire_connection(&self) {
        self.0.is_leaving.store(true, Ordering::Relaxed);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.in_use.fetch_sub(1, Ordering::Relaxed);
        self.0.freed.notify_one();
    }
}
