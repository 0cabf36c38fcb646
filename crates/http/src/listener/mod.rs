//! A listener: accepts connections, serves HTTP over them, and ends them in order.

mod connection;
mod handler;
mod io;
mod limits;
mod pending;
mod port;
mod stream_set;
mod streams;
#[cfg(test)]
mod tests;
mod tls;
#[cfg(test)]
mod tls_tests;

use std::{future::Future, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use sluice_telemetry::{ConnectionEnd, SystemRecorder};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{Instant, Interval, MissedTickBehavior, interval, sleep},
};

use self::port::Port;
pub use self::{
    handler::Handler,
    limits::Limits,
    pending::RequestBody,
    tls::{Encrypted, Tls, TlsError, TlsFile, TlsFiles},
};

/// The pause after a failure to accept, such as when the process has no file descriptors left and
/// other connections have to close first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often a lasting failure to accept is logged.
const LOG_PAUSE: Duration = Duration::from_secs(10);

/// Accepts connections and serves each in a task of its own. Dropping the listener closes them.
#[derive(Debug)]
pub struct Listener<H> {
    listener: TcpListener,
    port: Arc<Port<H>>,
    connections: JoinSet<()>,
    /// Tells all connections that it is time to look whether they are idle, stuck or old, so that
    /// none needs a timer. It is true when they have to finish their requests and close.
    signals: watch::Sender<bool>,
    logged_at: Option<Instant>,
    tls: Option<Tls>,
}

impl<H: Handler> Listener<H> {
    /// Creates a listener that serves the connections of `listener` with `handler`, within
    /// `limits`.
    pub fn new(
        listener: TcpListener,
        handler: H,
        recorder: SystemRecorder,
        limits: Limits,
    ) -> Self {
        Self {
            listener,
            port: Arc::new(Port::new(handler, recorder, limits)),
            connections: JoinSet::new(),
            signals: watch::Sender::new(false),
            logged_at: None,
            tls: None,
        }
    }

    /// Speaks TLS, if there is `tls`.
    #[must_use]
    pub fn with_tls(self, tls: Option<Tls>) -> Self {
        Self { tls, ..self }
    }

    /// Accepts connections until `until` resolves.
    pub async fn accept_until(&mut self, until: impl Future<Output = ()>) {
        let mut until = pin!(until);
        let mut looks = self.looks();
        loop {
            tokio::select! {
                () = &mut until => return,
                _ = looks.tick() => self.signals.send_modify(|_| {}),
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => self.serve(stream, peer),
                    Err(error) if concerns_only_one_connection(&error) => {}
                    Err(error) => {
                        self.log(&error);
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
        let mut looks = self.looks();
        let Self { listener, mut connections, signals, .. } = self;
        drop(listener);
        signals.send_replace(true);
        let all_closed = async {
            while !connections.is_empty() {
                tokio::select! {
                    _ = connections.join_next() => {}
                    _ = looks.tick() => signals.send_modify(|_| {}),
                }
            }
        };
        let _ = tokio::time::timeout(grace, all_closed).await;
        connections.len()
    }

    fn looks(&self) -> Interval {
        let mut looks = interval(self.port.limits.tick());
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        looks
    }

    fn serve(&mut self, stream: TcpStream, peer: SocketAddr) {
        let Some(slot) = self.port.slot() else {
            self.port.recorder.connection_ended(H::CONNECTION, ConnectionEnd::Limit);
            return;
        };
        // A response is one small write. It must not wait for the acknowledgement of the previous
        // one. An error means that the client has closed the connection already.
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let (port, signals) = (Arc::clone(&self.port), self.signals.subscribe());
        let (peer, tls) = (peer.ip(), self.tls.clone());
        self.connections.spawn(async move {
            let Some(tls) = tls else {
                connection::serve(port, stream, peer, None, slot, signals).await;
                return;
            };
            let mut closing = signals.clone();
            let timeout = match slot.is_spare() {
                true => connection::SPARE_TIMEOUT,
                false => port.limits.head_timeout,
            };
            let accepting = tls.accept(stream, H::ONLY_HTTP2, timeout);
            let accepted = tokio::select! {
                accepted = accepting => accepted,
                // No request is lost with a handshake.
                _ = closing.wait_for(|closing| *closing) => return,
            };
            match accepted {
                Some((stream, security)) => {
                    connection::serve(port, stream, peer, Some(security), slot, signals).await;
                }
                None => port.recorder.connection_ended(H::CONNECTION, ConnectionEnd::Handshake),
            }
        });
    }

    fn log(&mut self, error: &std::io::Error) {
        if self.logged_at.is_none_or(|logged_at| logged_at.elapsed() >= LOG_PAUSE) {
            self.logged_at = Some(Instant::now());
            tracing::warn!(error = error as &dyn std::error::Error, "cannot accept connections");
        }
    }
}

/// Returns whether the failure concerns only the connection that was about to be accepted.
fn concerns_only_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
