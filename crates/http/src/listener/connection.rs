//! One connection: serves HTTP over it, and closes it when it is idle, stuck or old.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    net::IpAddr,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::HttpBody;
use http::{HeaderValue, Request, Version, header::CONNECTION};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use sluice_telemetry::ConnectionEnd;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Notify, watch},
    time::Instant,
};

use super::{
    handler::Handler,
    io::{Activity, Observed, linger},
    limits::{Limits, protocol},
    pending::{Observer, PendingRequest, ResponseBody},
    port::{Port, Slot},
    stream_set::StreamSet,
    streams::StreamExecutor,
    tls::{Encrypted, Security},
};

/// How long a connection beyond the limit may take for its only request.
pub(super) const SPARE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a client may take to end an idle connection that it was told to end.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(10);

/// What the requests of one connection share. Each connection has counters of its own, so that
/// cores do not contend for them.
struct Connection<H: Handler, S> {
    port: Arc<Port<H>>,
    peer: IpAddr,
    /// What is known of the client's TLS; `None` over plain text.
    security: Option<Security>,
    activity: Arc<Activity<S>>,
    received: AtomicU64,
    finished: AtomicU64,
    /// How many bytes had been read when the last request ended.
    read_at_last_end: AtomicU64,
    /// Whether the body of a request was not read to its end.
    has_unread_body: AtomicBool,
    /// Whether HTTP/1 clients are told to close the connection after the next response.
    closes_next: AtomicBool,
    /// The parts of responses that wait in HTTP/2.
    waiting_parts: AtomicUsize,
    /// When a part last left, or began to wait while there was no other.
    progressed_at: Mutex<Instant>,
    /// Told at each request of a connection beyond the limit.
    spare_request: Option<Notify>,
}

impl<H: Handler, S: Send + 'static> Observer for Connection<H, S> {
    fn responded(&self, was_counted: bool, room: u64) {
        self.port.give_room_back(room);
        if was_counted {
            self.port.request_ended();
        }
    }

    fn finished(&self) {
        self.read_at_last_end.store(self.activity.bytes_read(), Ordering::Relaxed);
        self.finished.fetch_add(1, Ordering::Relaxed);
    }

    fn left_unread(&self) {
        self.has_unread_body.store(true, Ordering::Relaxed);
    }

    fn part_handed_over(&self) {
        if self.waiting_parts.fetch_add(1, Ordering::Relaxed) == 0 {
            self.progressed();
        }
    }

    fn part_left(&self) {
        self.waiting_parts.fetch_sub(1, Ordering::Relaxed);
        self.progressed();
    }
}

impl<H: Handler, S> Connection<H, S> {
    fn progressed(&self) {
        *self.progressed_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Returns the number of requests received, or `None` while one of them is not finished.
    fn received_when_idle(&self) -> Option<u64> {
        let received = self.received.load(Ordering::Relaxed);
        (self.finished.load(Ordering::Relaxed) == received).then_some(received)
    }

    /// Returns whether the client has begun an HTTP/1 request whose head is not complete.
    fn waits_for_head(&self) -> bool {
        !self.activity.speaks_http2()
            && self.activity.bytes_read() > self.read_at_last_end.load(Ordering::Relaxed)
    }

    /// Returns whether the client has taken nothing of what is ready for it, for too long. Parts
    /// that HTTP/2 holds get twice the time, because their streams end first.
    fn is_stuck(&self, write_timeout: Duration) -> bool {
        let is_blocked =
            self.activity.blocked_since().is_some_and(|since| since.elapsed() > write_timeout);
        let progressed_at = *self.progressed_at.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = self.waiting_parts.load(Ordering::Relaxed) > 0;
        is_blocked || (waits && progressed_at.elapsed() > write_timeout * 2)
    }

    /// Returns whether the client may still be sending what nobody reads.
    fn may_be_sending(&self) -> bool {
        let has_unread = self.has_unread_body.load(Ordering::Relaxed) || self.waits_for_head();
        has_unread && !self.activity.speaks_http2() && !self.activity.has_ended()
    }

    /// Makes HTTP/1 clients close the connection, where no request can meet a closed one.
    fn wants_close(&self) -> bool {
        self.closes_next.load(Ordering::Relaxed)
    }
}

/// Since when a connection has been in its present state, as seen at each look.
#[derive(Debug)]
struct Watch {
    opened: Instant,
    oldest: Option<Duration>,
    /// The number of requests, and since when there has been no other.
    idle: Option<(u64, Instant)>,
    head_since: Option<Instant>,
    closing: Option<Closing>,
}

/// A connection whose client has been told to end it.
#[derive(Debug)]
struct Closing {
    since: Instant,
    /// How long the client may take; `None` is as long as its requests do.
    most: Option<Duration>,
    reason: ConnectionEnd,
}

/// What a look at a connection found.
enum Found {
    Fine,
    /// The client is to end the connection.
    Outlived,
    /// The connection is closed, for this reason.
    Over(ConnectionEnd),
}

impl Watch {
    fn new(limits: &Limits) -> Self {
        let opened = Instant::now();
        let oldest = limits.max_connection_age.map(spread);
        Self { opened, oldest, idle: None, head_since: None, closing: None }
    }

    fn look<H: Handler, S>(&mut self, connection: &Connection<H, S>, limits: &Limits) -> Found {
        if connection.is_stuck(limits.write_timeout) {
            return Found::Over(ConnectionEnd::NotRead);
        }
        if let Some(Closing { since, most: Some(most), reason }) = self.closing
            && since.elapsed() > most
        {
            return Found::Over(reason);
        }
        let is_old = self.oldest.is_some_and(|oldest| self.opened.elapsed() > oldest);
        if is_old && self.closing.is_none() {
            return self.close(H::AGE_GRACE, ConnectionEnd::Age);
        }
        let Some(received) = connection.received_when_idle() else {
            (self.idle, self.head_since) = (None, None);
            return Found::Fine;
        };
        if connection.waits_for_head() {
            let since = *self.head_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= limits.head_timeout {
                return Found::Over(ConnectionEnd::SlowHead);
            }
        } else {
            self.head_since = None;
        }
        let since = match self.idle {
            Some((then, since)) if then == received => since,
            _ => {
                self.idle = Some((received, Instant::now()));
                return Found::Fine;
            }
        };
        let may_be_idle = H::KEEPS_IDLE && received > 0;
        if may_be_idle || since.elapsed() < limits.idle_timeout {
            return Found::Fine;
        }
        // Over HTTP/2, a request may be on its way; the client learns which ones were lost.
        if connection.activity.speaks_http2() && self.closing.is_none() {
            return self.close(Some(CLOSING_TIMEOUT), ConnectionEnd::Idle);
        }
        Found::Over(ConnectionEnd::Idle)
    }

    fn close(&mut self, most: Option<Duration>, reason: ConnectionEnd) -> Found {
        self.closing = Some(Closing { since: Instant::now(), most, reason });
        Found::Outlived
    }
}

/// Returns a time near `age`, different for each connection, so that those which were opened
/// together do not end together.
fn spread(age: Duration) -> Duration {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(0) % 1_000;
    let thousandths = 900 + u32::try_from(random / 5).unwrap_or_default();
    age.mul_f64(f64::from(thousandths) / 1_000.0)
}

/// Serves HTTP over `stream` until it ends, or until `signals` is true. At each change of `signals`
/// it is time for a look at the connection.
pub(super) async fn serve<H, S>(
    port: Arc<Port<H>>,
    stream: S,
    peer: IpAddr,
    security: Option<Security>,
    slot: Slot<H>,
    mut signals: watch::Receiver<bool>,
) where
    H: Handler,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let is_spare = slot.is_spare();
    let activity = Arc::new(Activity::default());
    let connection = Arc::new(Connection {
        port: Arc::clone(&port),
        peer,
        security,
        activity: Arc::clone(&activity),
        received: AtomicU64::new(0),
        finished: AtomicU64::new(0),
        read_at_last_end: AtomicU64::new(0),
        has_unread_body: AtomicBool::new(false),
        closes_next: AtomicBool::new(is_spare),
        waiting_parts: AtomicUsize::new(0),
        progressed_at: Mutex::new(Instant::now()),
        spare_request: is_spare.then(Notify::new),
    });
    let io = TokioIo::new(Observed::new(stream, Arc::clone(&activity), slot, !H::SHARES_TASK));
    let ended = serve_requests(&port, &connection, io, &mut signals).await;
    if let Some(stream) = activity.take_stream()
        && ended == Ended::ByItself
        && connection.may_be_sending()
    {
        linger(stream).await;
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// After its last response.
    ByItself,
    /// Beyond a limit, so that nothing is worth waiting for.
    CutOff,
}

async fn serve_requests<H, S>(
    port: &Port<H>,
    connection: &Arc<Connection<H, S>>,
    io: TokioIo<Observed<S, Slot<H>>>,
    signals: &mut watch::Receiver<bool>,
) -> Ended
where
    H: Handler,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| respond(Arc::clone(connection), request));
    let limits = &port.limits;
    let mut streams = StreamSet::default();
    let shared = H::SHARES_TASK.then(|| streams.new_streams());
    let protocol = protocol(StreamExecutor::new(limits.write_timeout, shared), H::MAX_STREAMS);
    let mut serving = pin!(protocol.serve_connection_with_upgrades(io, service));
    let mut watch = Watch::new(limits);
    signals.mark_changed();
    let spare = connection.spare_request.as_ref();
    let mut spare_over = pin!(tokio::time::sleep(SPARE_TIMEOUT));
    let mut is_closing = false;
    loop {
        let served = poll_fn(|context| {
            streams.poll_around(context, |context| serving.as_mut().poll(context))
        });
        tokio::select! {
            biased;
            // An error is not logged: clients may close connections at any time.
            _ = served => return Ended::ByItself,
            () = notified(spare) => {
                serving.as_mut().graceful_shutdown();
            }
            () = &mut spare_over, if spare.is_some() => {
                port.recorder.connection_ended(H::CONNECTION, ConnectionEnd::Limit);
                return Ended::CutOff;
            }
            is_to_close = next(signals) => {
                if is_to_close && !is_closing {
                    serving.as_mut().graceful_shutdown();
                    is_closing = true;
                }
                match watch.look(connection, limits) {
                    Found::Fine => {}
                    Found::Outlived if connection.activity.speaks_http2() => {
                        serving.as_mut().graceful_shutdown();
                    }
                    Found::Outlived => connection.closes_next.store(true, Ordering::Relaxed),
                    Found::Over(reason) => {
                        port.recorder.connection_ended(H::CONNECTION, reason);
                        return Ended::CutOff;
                    }
                }
            }
        }
    }
}

/// Waits for the next signal, and returns whether connections are to close.
async fn next(signals: &mut watch::Receiver<bool>) -> bool {
    match signals.changed().await {
        Ok(()) => *signals.borrow(),
        // The listener was dropped, and this task is about to be.
        Err(_) => std::future::pending().await,
    }
}

/// Waits until `told` is told; for ever without one.
async fn notified(told: Option<&Notify>) {
    match told {
        Some(told) => told.notified().await,
        None => std::future::pending().await,
    }
}

/// What hyper gets for a request.
type Responded<B> = Result<http::Response<ResponseBody<B>>, Infallible>;

/// Responds to a request. hyper moves what it serves several times before it is polled, so it
/// receives a pointer. All that needs no wait is done before, so that the pointer is to little.
fn respond<H, S>(
    connection: Arc<Connection<H, S>>,
    request: Request<Incoming>,
) -> Pin<Box<impl Future<Output = Responded<H::Body>>>>
where
    H: Handler,
    S: Send + 'static,
{
    connection.received.fetch_add(1, Ordering::Relaxed);
    if let Some(spare) = &connection.spare_request {
        spare.notify_one();
    }
    let version = request.version();
    let is_probe = H::is_probe(&request);
    let is_counted = connection.port.request_begins(is_probe);
    let observer: Arc<dyn Observer> = Arc::<Connection<H, S>>::clone(&connection);
    let pending = PendingRequest::new(observer);
    let mut unsent = pending.response(is_counted);
    let lacks_certificate = connection.security.is_some_and(|security| security.lacks_certificate)
        && !H::needs_no_certificate(&request);
    let mut request = request.map(|body| pending.body(body));
    if connection.security.is_some() {
        request.extensions_mut().insert(Encrypted);
    }
    let is_served = is_counted && (is_probe || connection.spare_request.is_none());
    Box::pin(async move {
        let Connection { port, peer, .. } = &*connection;
        let response = match is_served {
            true if lacks_certificate => Some(H::certificate_required()),
            true => Some(port.handler.handle(*peer, request).await),
            false => None,
        };
        let fitting = response.and_then(|response| {
            unsent.takes(port.room_for(response.body().size_hint().exact().unwrap_or(0))?);
            Some(response)
        });
        let mut response = fitting.unwrap_or_else(|| {
            port.recorder.request_refused(H::CONNECTION);
            H::overloaded()
        });
        if version <= Version::HTTP_11 && connection.wants_close() {
            response.headers_mut().entry(CONNECTION).or_insert(HeaderValue::from_static("close"));
        }
        Ok(response.map(|body| unsent.finish_with(body)))
    })
}
