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

/// Whom a body waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitsFor {
    /// The client, which has not sent on.
    Client,
    /// The upstream, which has not read on, or has read everything.
    Upstream,
    /// Nobody: the client broke off.
    Aborted,
}

/// How far a body has come. Seen by whoever waits for the answer, and by whoever measures.
#[derive(Debug)]
pub(crate) struct BodyProgress {
    started: Instant,
    /// When something moved last, in microseconds since the start.
    moved_us: AtomicU64,
    bytes: AtomicU64,
    waits: AtomicU8,
    over: AtomicBool,
}

/// A request's body: read from the client only as fast as the upstream takes it, frame by frame,
/// trailers too.
#[derive(Debug)]
pub(crate) struct RequestBody {
    body: Option<(Body, Arc<BodyProgress>)>,
    /// Whether the client sends nothing before somebody reads.
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

    /// How many bytes were handed on.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether nothing more will be handed on.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Whom the body waits for, and since when.
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
    /// Nothing.
    pub(crate) const EMPTY: Self = Self { body: None, client_waits: false };

    /// `body`, and how far it comes; nothing to watch when there is none. Of a client that `waits`
    /// to be told to go on nothing is read before the upstream asks for it.
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
    /// Reads on, if the upstream did not want all of it: many a client looks at no answer before
    /// all is sent.
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
