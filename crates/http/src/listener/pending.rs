//! Counts a request as finished when its response body ends, since a stream may take hours.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use axum::body::HttpBody;
use hyper::body::{Frame, SizeHint};

/// A request that counts as finished when this value is dropped.
#[derive(Debug)]
pub(super) struct PendingRequest<S: AsRef<AtomicU64>>(Arc<S>);

/// A response body that holds the request which it finishes.
#[derive(Debug)]
pub(super) struct TrackedBody<B, S: AsRef<AtomicU64>> {
    body: B,
    _request: PendingRequest<S>,
}

impl<S: AsRef<AtomicU64>> PendingRequest<S> {
    /// Creates a request; `connection` holds the counter of finished requests.
    pub(super) const fn new(connection: Arc<S>) -> Self {
        Self(connection)
    }

    /// Returns what the requests of the connection share.
    pub(super) fn connection(&self) -> &S {
        &self.0
    }

    /// Wraps the response body whose end finishes the request.
    pub(super) const fn finish_with<B>(self, body: B) -> TrackedBody<B, S> {
        TrackedBody { body, _request: self }
    }
}

impl<S: AsRef<AtomicU64>> Drop for PendingRequest<S> {
    fn drop(&mut self) {
        (*self.0).as_ref().fetch_add(1, Ordering::Relaxed);
    }
}

impl<B: HttpBody + Unpin, S: AsRef<AtomicU64>> HttpBody for TrackedBody<B, S> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
