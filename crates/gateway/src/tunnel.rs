//! Upgraded connections: bytes in both directions, which the gateway does not interpret.

use std::{
    io::{self, IoSlice},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use sluice_telemetry::{ConnectionKind, SystemRecorder};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional},
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{occupied::OccupiedSlots, upstream_body::ConnectionInUse};

/// All open tunnels.
#[derive(Debug)]
pub(crate) struct Tunnels {
    /// Becomes true when the tunnels have to end. Each open tunnel has a receiver.
    ending: watch::Sender<bool>,
    recorder: SystemRecorder,
}

impl Tunnels {
    pub(crate) fn new(recorder: &SystemRecorder) -> Self {
        Self { ending: watch::Sender::new(false), recorder: recorder.clone() }
    }

    /// Copies bytes between `client` and `upstream` until both are finished, one of them
    /// disconnects, nothing moves for `idle_timeout`, or the tunnel loses its `slots`.
    pub(crate) fn open(
        &self,
        client: OnUpgrade,
        upstream: OnUpgrade,
        connection_in_use: ConnectionInUse,
        idle_timeout: Duration,
        mut slots: OccupiedSlots,
    ) {
        let mut ending = self.ending.subscribe();
        let counted = self.recorder.connection_opened(ConnectionKind::WebSocket);
        tokio::spawn(async move {
            tokio::select! {
                copied = copy_until_idle(client, upstream, idle_timeout) => {
                    if let Err(error) = copied {
                        tracing::debug!(error = &*error, "an upgraded connection ended early");
                    }
                }
                _ = ending.wait_for(|ending| *ending) => {}
                () = slots.cut() => {
                    tracing::debug!("an upgraded connection was cut off: it has lost its slot");
                }
            }
            drop((connection_in_use, counted, slots));
        });
    }

    /// Waits until all tunnels have ended, for at most `grace`. Then ends the remaining ones and
    /// returns how many they were.
    pub(crate) async fn finish(&self, grace: Duration) -> usize {
        let _ = tokio::time::timeout(grace, self.ending.closed()).await;
        let left = self.ending.receiver_count();
        self.ending.send_replace(true);
        left
    }
}

async fn copy_until_idle(
    client: OnUpgrade,
    upstream: OnUpgrade,
    idle_timeout: Duration,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (client, upstream) = tokio::try_join!(client, upstream)?;
    let moved = Arc::new(LastActivity { started: Instant::now(), last_ms: AtomicU64::new(0) });
    let mut client = ObservedStream { stream: TokioIo::new(client), moved: Arc::clone(&moved) };
    let mut upstream = ObservedStream { stream: TokioIo::new(upstream), moved: Arc::clone(&moved) };
    let mut idle = pin!(async {
        loop {
            let until = moved.last() + idle_timeout;
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    });
    tokio::select! {
        copied = copy_bidirectional(&mut client, &mut upstream) => {
            copied.map(|_| ()).map_err(Into::into)
        }
        () = &mut idle => Err(format!("nothing moved for {idle_timeout:?}").into()),
    }
}

/// When data moved last.
#[derive(Debug)]
struct LastActivity {
    started: Instant,
    last_ms: AtomicU64,
}

impl LastActivity {
    fn last(&self) -> Instant {
        self.started + Duration::from_millis(self.last_ms.load(Ordering::Relaxed))
    }

    fn now(&self) {
        let since_start = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(since_start, Ordering::Relaxed);
    }
}

/// A stream that notes when data moves.
#[derive(Debug)]
struct ObservedStream<S> {
    stream: S,
    moved: Arc<LastActivity>,
}

impl<S: AsyncRead + Unpin> AsyncRead for ObservedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if polled.is_ready() {
            self.moved.now();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ObservedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        if polled.is_ready() {
            self.moved.now();
        }
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
