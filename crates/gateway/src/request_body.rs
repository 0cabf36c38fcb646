//! A request's body on its way to the upstream.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use sluice_http::body;

/// Which side a body is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitsFor {
    /// The client has not sent more.
    Client,
    /// The upstream has not read more, or it has read everything.
    Upstream,
    /// Neither: the client aborted the body.
    Aborted,
}

/// The progress of a body. It is read by the task that waits for the response, and by metrics.
#[derive(Debug)]
pub(crate) struct BodyProgress {
    started: Instant,
    /// When data moved last, in microseconds since the start.
    moved_us: AtomicU64,
    bytes: AtomicU64,
    waits: AtomicU8,
    over: AtomicBool,
}

/// A request's body. It is read from the client only as fast as the upstream reads it, frame by
/// frame, with trailers.
#[derive(Debug)]
pub(crate) struct RequestBody {
    body: Option<(Body, Arc<BodyProgress>)>,
    /// Whether the client waits for `100 Continue` before it sends the body.
    client_waits: bool,
}

// === impl BodyProgress ===

impl BodyProgress {
    fn new(started: Instant) -> Self {
        Self {
            started,
            moved_us: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            waits: AtomicU8::new(1),
            over: AtomicBool::new(false),
        }
    }

    /// Returns how many bytes were forwarded.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Returns whether nothing more will be forwarded.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Returns which side the body is waiting for, and since when.
    pub(crate) fn standing(&self) -> (WaitsFor, Instant) {
        let waits = match self.waits.load(Ordering::Relaxed) {
            0 => WaitsFor::Client,
            1 => WaitsFor::Upstream,
            _ => WaitsFor::Aborted,
        };
        (waits, self.started + Duration::from_micros(self.moved_us.load(Ordering::Relaxed)))
    }

    fn now_waits(&self, waits: WaitsFor) {
        let waits = match waits {
            WaitsFor::Client => 0,
            WaitsFor::Upstream => 1,
            WaitsFor::Aborted => 2,
        };
        self.waits.store(waits, Ordering::Relaxed);
    }

    fn moved(&self, bytes: u64) {
        let since_start = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.moved_us.store(since_start, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.now_waits(WaitsFor::Upstream);
    }
}

// === impl RequestBody ===

impl RequestBody {
    /// The empty body.
    pub(crate) const EMPTY: Self = Self { body: None, client_waits: false };

    /// Wraps `body`. Returns its progress too, unless the body is empty. When the client `waits`
    /// for `100 Continue`, nothing is read before the upstream asks for the body.
    pub(crate) fn new(
        body: Body,
        waits: bool,
        started: Instant,
    ) -> (Self, Option<Arc<BodyProgress>>) {
        if body.is_end_stream() {
            return (Self::EMPTY, None);
        }
        let progress = Arc::new(BodyProgress::new(started));
        (Self { body: Some((body, Arc::clone(&progress))), client_waits: waits }, Some(progress))
    }
}

impl Drop for RequestBody {
    /// Discards what the upstream did not read: many clients read no response before they have sent
    /// everything.
    fn drop(&mut self) {
        let Some((body, progress)) = self.body.take() else { return };
        progress.over.store(true, Ordering::Relaxed);
        if progress.standing().0 != WaitsFor::Aborted && !self.client_waits {
            body::discard_later(body);
        }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.client_waits = false;
        let Some((body, progress)) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(context);
        if polled.is_pending() {
            progress.now_waits(WaitsFor::Client);
        }
        let frame = ready!(polled);
        match &frame {
            Some(Ok(frame)) => progress.moved(frame.data_ref().map_or(0, |data| data.len() as u64)),
            Some(Err(_)) => progress.now_waits(WaitsFor::Aborted),
            None => progress.moved(0),
        }
        if frame.is_none() {
            progress.over.store(true, Ordering::Relaxed);
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(|(body, _)| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), |(body, _)| body.size_hint())
    }
}
