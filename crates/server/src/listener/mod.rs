//! A port: accepts connections, speaks HTTP over them, and lets them end in order.

mod counted;
mod refusal;
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

use self::{counted::Asked, refusal::Explaining};

/// How long to wait when a connection cannot be accepted: file descriptors ran out, and others have
/// to be closed first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is behind a port.
pub(crate) trait Door: Clone + Send + Sync + 'static {
    /// The body of an answer.
    type Body: HttpBody<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + Unpin
        + 'static;

    /// What a connection carries.
    const CONNECTION: ConnectionKind;
    /// After how long a connection is closed over which nothing was asked, or which is still at its
    /// first head; `None` for never.
    const IDLE: Option<Duration>;

    /// What is spoken over a connection.
    fn protocol() -> auto::Builder<TokioExecutor>;

    /// Answers a request that came over a connection from `peer`.
    fn serve(
        &self,
        peer: IpAddr,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;
}

/// Accepts connections, and serves each in a task of its own. Dropping it cuts them off.
#[derive(Debug)]
pub(crate) struct Listener<D> {
    listener: TcpListener,
    door: D,
    recorder: SystemRecorder,
    protocol: Arc<auto::Builder<TokioExecutor>>,
    connections: JoinSet<()>,
    /// Told when connections shall end.
    ending: watch::Sender<bool>,
}

impl<D: Door> Listener<D> {
    pub(crate) fn new(listener: TcpListener, door: D, recorder: SystemRecorder) -> Self {
        let protocol = Arc::new(D::protocol());
        Self {
            listener,
            door,
            recorder,
            protocol,
            connections: JoinSet::new(),
            ending: watch::Sender::new(false),
        }
    }

    /// Accepts connections until `until` resolves.
    pub(crate) async fn accept_until(&mut self, until: impl Future<Output = ()>) {
        let mut until = pin!(until);
        loop {
            tokio::select! {
                () = &mut until => return,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => self.serve(stream, peer),
                    Err(error) if concerns_one_connection(&error) => {}
                    Err(error) => {
                        tracing::warn!(error = &error as &dyn std::error::Error, "no connection can be accepted");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = self.connections.join_next() => {}
            }
        }
    }

    /// Accepts no more, and waits until every request in flight is answered, at most for `grace`;
    /// then cuts off what is left, and says how many connections that were.
    pub(crate) async fn finish(self, grace: Duration) -> usize {
        let Self { listener, mut connections, ending, .. } = self;
        drop(listener);
        ending.send_replace(true);
        let all_ended = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(grace, all_ended).await;
        connections.len()
    }

    fn serve(&mut self, stream: TcpStream, peer: SocketAddr) {
        let (protocol, door, ending) =
            (Arc::clone(&self.protocol), self.door.clone(), self.ending.subscribe());
        let open = self.recorder.connection_opened(D::CONNECTION);
        self.connections.spawn(async move {
            serve_connection(&protocol, stream, peer.ip(), door, ending).await;
            drop(open);
        });
    }
}

/// Whether the connection that was about to be accepted is all that is lost.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// What a connection's requests share. One for each connection, so that cores do not wait for each
/// other to count its users.
#[derive(Debug)]
struct Shared<D> {
    door: D,
    peer: IpAddr,
    asked: AtomicU64,
    answered: AtomicU64,
}

impl<D> AsRef<AtomicU64> for Shared<D> {
    /// How many requests are answered.
    fn as_ref(&self) -> &AtomicU64 {
        &self.answered
    }
}

impl<D> Shared<D> {
    /// How much was asked, if everything is answered.
    fn at_rest(&self) -> Option<u64> {
        let asked = self.asked.load(Ordering::Relaxed);
        (self.answered.load(Ordering::Relaxed) == asked).then_some(asked)
    }
}

async fn serve_connection<D: Door>(
    protocol: &auto::Builder<TokioExecutor>,
    stream: TcpStream,
    peer: IpAddr,
    door: D,
    mut ending: watch::Receiver<bool>,
) {
    // An answer is one small write, which must not wait for the acknowledgement of the one before
    // it.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(error = &error as &dyn std::error::Error, "a connection was lost at once");
        return;
    }
    let shared =
        Arc::new(Shared { door, peer, asked: AtomicU64::new(0), answered: AtomicU64::new(0) });
    let service = service_fn(|request: Request<Incoming>| {
        let shared = Arc::clone(&shared);
        async move {
            shared.asked.fetch_add(1, Ordering::Relaxed);
            let asked = Asked::new(shared);
            let response = asked.shared().door.serve(asked.shared().peer, request).await;
            Ok::<_, Infallible>(response.map(|body| asked.answered_by(body)))
        }
    });
    let mut connection = pin!(
        protocol.serve_connection_with_upgrades(TokioIo::new(Explaining::new(stream)), service)
    );
    let mut ending = pin!(async move {
        // An error means that the listener is gone, and this task with it.
        let _ = ending.wait_for(|ending| *ending).await;
    });
    let mut ended = false;
    let mut quiet = tokio::time::interval(D::IDLE.unwrap_or(Duration::MAX));
    quiet.set_missed_tick_behavior(MissedTickBehavior::Delay);
    quiet.reset();
    let mut at_last_look = Some(0);
    loop {
        tokio::select! {
            biased;
            // Whether it ended well or was lost is the client's affair.
            _ = connection.as_mut() => return,
            () = &mut ending, if !ended => {
                connection.as_mut().graceful_shutdown();
                ended = true;
            }
            _ = quiet.tick(), if D::IDLE.is_some() => {
                let now = shared.at_rest();
                if now.is_some() && now == at_last_look {
                    return;
                }
                at_last_look = now;
            }
        }
    }
}
