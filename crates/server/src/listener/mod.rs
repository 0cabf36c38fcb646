//! The HTTP port: accepts connections, speaks HTTP/1.1 and HTTP/2 over them, and lets them end in order.

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

use axum::body::Body;
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use sluice_telemetry::{Connection, SystemRecorder};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, sleep},
};

use self::refusal::Explaining;
use crate::front_ends::HttpDoors;

/// A connection over which nothing was asked for so long is closed, and so is one that is still at its first head. Longer than proxies keep
/// idle connections (nginx: a minute, Go: a minute and a half), so that it is nearly always they who close, and no request meets a closing
/// connection.
const IDLE: Duration = Duration::from_secs(120);

/// How long to wait when a connection cannot be accepted: file descriptors ran out, and others have to be closed first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The longest list of header fields that HTTP/2 lets through; our own refusal, which says what is wrong, begins below it.
const MAX_HEADER_LIST_BYTES: u32 = 256 << 10;

/// Accepts connections, and serves each in a task of its own. Dropping it cuts them off.
#[derive(Debug)]
pub(crate) struct Listener {
    listener: TcpListener,
    doors: HttpDoors,
    recorder: SystemRecorder,
    protocol: Arc<auto::Builder<TokioExecutor>>,
    connections: JoinSet<()>,
    /// Told when connections shall end.
    ending: watch::Sender<bool>,
}

impl Listener {
    pub(crate) fn new(listener: TcpListener, doors: HttpDoors, recorder: SystemRecorder) -> Self {
        let mut protocol = auto::Builder::new(TokioExecutor::new());
        protocol.http2().max_header_list_size(MAX_HEADER_LIST_BYTES);
        Self { listener, doors, recorder, protocol: Arc::new(protocol), connections: JoinSet::new(), ending: watch::Sender::new(false) }
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

    /// Accepts no more, and waits until every request in flight is answered, at most for `grace`; then cuts off what is left, and says how
    /// many connections that were.
    pub(crate) async fn finish(self, grace: Duration) -> usize {
        let Self { listener, mut connections, ending, .. } = self;
        drop(listener);
        ending.send_replace(true);
        let all_ended = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(grace, all_ended).await;
        connections.len()
    }

    fn serve(&mut self, stream: TcpStream, peer: SocketAddr) {
        let (protocol, doors, ending) = (Arc::clone(&self.protocol), self.doors.clone(), self.ending.subscribe());
        let open = self.recorder.connection_opened(Connection::Http);
        self.connections.spawn(async move {
            serve_connection(&protocol, stream, peer.ip(), doors, ending).await;
            drop(open);
        });
    }
}

/// Whether the connection that was about to be accepted is all that is lost.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// What a connection's requests share. One for each connection, so that cores do not wait for each other to count its users.
#[derive(Debug)]
struct Shared {
    doors: HttpDoors,
    peer: IpAddr,
    asked: AtomicU64,
    answered: AtomicU64,
}

impl Shared {
    /// How much was asked, if everything is answered.
    fn at_rest(&self) -> Option<u64> {
        let asked = self.asked.load(Ordering::Relaxed);
        (self.answered.load(Ordering::Relaxed) == asked).then_some(asked)
    }
}

async fn serve_connection(
    protocol: &auto::Builder<TokioExecutor>,
    stream: TcpStream,
    peer: IpAddr,
    doors: HttpDoors,
    mut ending: watch::Receiver<bool>,
) {
    // An answer is one small write, which must not wait for the acknowledgement of the one before it.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(error = &error as &dyn std::error::Error, "a connection was lost at once");
        return;
    }
    let shared = Arc::new(Shared { doors, peer, asked: AtomicU64::new(0), answered: AtomicU64::new(0) });
    let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
        let shared = Arc::clone(&shared);
        async move {
            shared.asked.fetch_add(1, Ordering::Relaxed);
            let response = shared.doors.answer(shared.peer, request.map(Body::new)).await;
            shared.answered.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(response)
        }
    });
    let mut connection = pin!(protocol.serve_connection_with_upgrades(TokioIo::new(Explaining::new(stream)), service));
    let mut ending = pin!(async move {
        // An error means that the listener is gone, and this task with it.
        let _ = ending.wait_for(|ending| *ending).await;
    });
    let mut ended = false;
    let mut quiet = tokio::time::interval(IDLE);
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
            _ = quiet.tick() => {
                let now = shared.at_rest();
                if now.is_some() && now == at_last_look {
                    return;
                }
                at_last_look = now;
            }
        }
    }
}
