//! A listener: accepts connections, serves HTTP over them, and ends them in order.

mod pending;
#[cfg(test)]
mod tests;

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::body::HttpBody;
use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use sluice_telemetry::{ConnectionKind, SystemRecorder};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, sleep},
};

use self::pending::PendingRequest;

/// The pause after a failure to accept, such as when the process has no file descriptors left and
/// other connections have to close first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Handles the requests that arrive at a port.
pub trait Handler: Clone + Send + Sync + 'static {
    /// The body of a response.
    type Body: HttpBody<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + Unpin
        + 'static;

    /// The kind of connection, for metrics.
    const CONNECTION: ConnectionKind;
    /// How long a connection may stay without a complete request before it is closed; `None` is
    /// forever.
    const IDLE_TIMEOUT: Option<Duration>;

    /// Returns the settings of the HTTP protocol.
    fn protocol() -> auto::Builder<TokioExecutor>;

    /// Handles a request that came over a connection from `peer`.
    fn handle(
        &self,
        peer: IpAddr,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;
}

/// Accepts connections and serves each in a task of its own. Dropping the listener closes them.
#[derive(Debug)]
pub struct Listener<H> {
    listener: TcpListener,
    handler: H,
    recorder: SystemRecorder,
    protocol: Arc<auto::Builder<TokioExecutor>>,
    connections: JoinSet<()>,
    /// Becomes true when connections have to finish their requests and close.
    closing: watch::Sender<bool>,
}

impl<H: Handler> Listener<H> {
    /// Creates a listener that serves the connections of `listener` with `handler`.
    pub fn new(listener: TcpListener, handler: H, recorder: SystemRecorder) -> Self {
        let protocol = Arc::new(H::protocol());
        Self {
            listener,
            handler,
            recorder,
            protocol,
            connections: JoinSet::new(),
            closing: watch::Sender::new(false),
        }
    }

    /// Accepts connections until `until` resolves.
    pub async fn accept_until(&mut self, until: impl Future<Output = ()>) {
        let mut until = pin!(until);
        loop {
            tokio::select! {
                () = &mut until => return,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => self.serve(stream, peer),
                    Err(error) if concerns_only_one_connection(&error) => {}
                    Err(error) => {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "cannot accept connections"
                        );
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = self.connections.join_next() => {}
            }
        }
    }

    /// Stops accepting, and waits for at most `grace` until every request in flight has its
    /// response. Then closes the remaining connections and returns how many they were.
    pub async fn finish(self, grace: Duration) -> usize {
        let Self { listener, mut connections, closing, .. } = self;
        drop(listener);
        closing.send_replace(true);
        let all_closed = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(grace, all_closed).await;
        connections.len()
    }

    fn serve(&mut self, stream: TcpStream, peer: SocketAddr) {
        let (protocol, handler, closing) =
            (Arc::clone(&self.protocol), self.handler.clone(), self.closing.subscribe());
        let open = self.recorder.connection_opened(H::CONNECTION);
        self.connections.spawn(async move {
            serve_connection(&protocol, stream, peer.ip(), handler, closing).await;
            drop(open);
        });
    }
}

/// Returns whether the failure concerns only the connection that was about to be accepted.
fn concerns_only_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// What the requests of one connection share. Each connection has counters of its own, so that
/// cores do not contend for them.
#[derive(Debug)]
struct SharedByRequests<H> {
    handler: H,
    peer: IpAddr,
    received: AtomicU64,
    finished: AtomicU64,
}

impl<H> AsRef<AtomicU64> for SharedByRequests<H> {
    /// Returns the counter of finished requests.
    fn as_ref(&self) -> &AtomicU64 {
        &self.finished
    }
}

impl<H> SharedByRequests<H> {
    /// Returns the number of requests received, or `None` while one of them is not finished.
    fn received_when_idle(&self) -> Option<u64> {
        let received = self.received.load(Ordering::Relaxed);
        (self.finished.load(Ordering::Relaxed) == received).then_some(received)
    }
}

async fn serve_connection<H: Handler>(
    protocol: &auto::Builder<TokioExecutor>,
    stream: TcpStream,
    peer: IpAddr,
    handler: H,
    mut closing: watch::Receiver<bool>,
) {
    // A response is one small write. It must not wait for the acknowledgement of the previous one.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "a connection closed as soon as it was accepted"
        );
        return;
    }
    let shared = Arc::new(SharedByRequests {
        handler,
        peer,
        received: AtomicU64::new(0),
        finished: AtomicU64::new(0),
    });
    let service = service_fn(|request: Request<Incoming>| {
        let shared = Arc::clone(&shared);
        async move {
            shared.received.fetch_add(1, Ordering::Relaxed);
            let pending = PendingRequest::new(shared);
            let SharedByRequests { handler, peer, .. } = pending.connection();
            let response = handler.handle(*peer, request).await;
            Ok::<_, Infallible>(response.map(|body| pending.finish_with(body)))
        }
    });
    let mut connection =
        pin!(protocol.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let mut closing = pin!(async move {
        // An error means that the listener was dropped, and this task is about to be.
        let _ = closing.wait_for(|closing| *closing).await;
    });
    let mut is_closing = false;
    let mut idle_check = tokio::time::interval(H::IDLE_TIMEOUT.unwrap_or(Duration::MAX));
    idle_check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    idle_check.reset();
    let mut received_at_last_check = Some(0);
    loop {
        tokio::select! {
            biased;
            // An error is not logged: clients may close connections at any time.
            _ = connection.as_mut() => return,
            () = &mut closing, if !is_closing => {
                connection.as_mut().graceful_shutdown();
                is_closing = true;
            }
            _ = idle_check.tick(), if H::IDLE_TIMEOUT.is_some() => {
                let received = shared.received_when_idle();
                if received.is_some() && received == received_at_last_check {
                    return;
                }
                received_at_last_check = received;
            }
        }
    }
}
