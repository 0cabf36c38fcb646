//! The bytes of a connection, observed.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    time::Instant,
};

/// What every HTTP/2 connection begins with.
const HTTP2_START: &[u8] = b"PRI";

/// How long the rest of what a client sends is read after the last response, and how much of it. A
/// connection that is closed with unread bytes takes the response away from its client.
const LINGER: Duration = Duration::from_secs(2);
const MAX_LINGER_BYTES: usize = 8 << 20;

/// What is known of a connection's bytes.
#[derive(Debug)]
pub(super) struct Activity<S> {
    read: AtomicU64,
    speaks_http2: AtomicBool,
    has_ended: AtomicBool,
    /// Since when nothing could be written.
    blocked_since: Mutex<Option<Instant>>,
    /// The stream, once HTTP is done with it.
    left: Mutex<Option<S>>,
}

/// A stream that tells its activity. `H` is held as long as the stream is open, also after an
/// upgrade.
#[derive(Debug)]
pub(super) struct Observed<S, H> {
    stream: Option<S>,
    activity: Arc<Activity<S>>,
    _held: H,
    /// Whether several buffers may be written at once. HTTP/2 then copies only the shortest parts
    /// of responses, and writes each of the others by itself.
    writes_vectored: bool,
}

// === impl Activity ===

impl<S> Activity<S> {
    /// Returns how many bytes the client has sent.
    pub(super) fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Returns whether the client began with HTTP/2.
    pub(super) fn speaks_http2(&self) -> bool {
        self.speaks_http2.load(Ordering::Relaxed)
    }

    /// Returns whether the client has ended the connection.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }

    /// Returns since when the client takes nothing.
    pub(super) fn blocked_since(&self) -> Option<Instant> {
        *self.blocked_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the stream, once HTTP is done with it.
    pub(super) fn take_stream(&self) -> Option<S> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note_write<T>(&self, written: &Poll<T>) {
        let mut since = self.blocked_since.lock().unwrap_or_else(PoisonError::into_inner);
        match written {
            Poll::Ready(_) => *since = None,
            Poll::Pending if since.is_none() => *since = Some(Instant::now()),
            Poll::Pending => {}
        }
    }
}

impl<S> Default for Activity<S> {
    fn default() -> Self {
        Self {
            read: AtomicU64::new(0),
            speaks_http2: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
            blocked_since: Mutex::new(None),
            left: Mutex::new(None),
        }
    }
}

// === impl Observed ===

impl<S, H> Observed<S, H> {
    pub(super) fn new(
        stream: S,
        activity: Arc<Activity<S>>,
        held: H,
        writes_vectored: bool,
    ) -> Self {
        Self { stream: Some(stream), activity, _held: held, writes_vectored }
    }
}

impl<S: Unpin, H: Unpin> Observed<S, H> {
    fn stream(&mut self) -> Pin<&mut S> {
        Pin::new(self.stream.as_mut().expect("only dropping takes the stream"))
    }
}

impl<S: AsyncRead + Unpin, H: Unpin> AsyncRead for Observed<S, H> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = self.stream().poll_read(context, buffer);
        if let Poll::Ready(result) = &read {
            let new = &buffer.filled()[before..];
            let Activity { read, speaks_http2, has_ended, .. } = &*self.activity;
            if result.is_err() || new.is_empty() {
                has_ended.store(true, Ordering::Relaxed);
            } else if read.fetch_add(new.len() as u64, Ordering::Relaxed) == 0 {
                speaks_http2.store(new.starts_with(HTTP2_START), Ordering::Relaxed);
            }
        }
        read
    }
}

impl<S: AsyncWrite + Unpin, H: Unpin> AsyncWrite for Observed<S, H> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream().poll_write(context, bytes);
        self.activity.note_write(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream().poll_write_vectored(context, parts);
        self.activity.note_write(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.writes_vectored && self.stream.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.stream().poll_flush(context);
        // Plain streams flush at once, which says nothing about what was written.
        if flushed.is_pending() {
            self.activity.note_write(&flushed);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut_down = self.stream().poll_shutdown(context);
        if shut_down.is_pending() {
            self.activity.note_write(&shut_down);
        }
        shut_down
    }
}

impl<S, H> Drop for Observed<S, H> {
    fn drop(&mut self) {
        let mut left = self.activity.left.lock().unwrap_or_else(PoisonError::into_inner);
        *left = self.stream.take();
    }
}

/// Reads what a client still sends, until it ends the connection or has sent too much for too long.
pub(super) async fn linger(mut stream: impl AsyncRead + Unpin) {
    let read_all = async {
        let (mut buffer, mut left) = (vec![0; 16 << 10], MAX_LINGER_BYTES);
        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, read_all).await;
}
