//! Counts a request as answered when its answer is over, and not when it begins: a stream may take
//! for ever.

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

/// A request that counts as answered once this is gone.
#[derive(Debug)]
pub(super) struct Asked<S: AsRef<AtomicU64>>(Arc<S>);

/// The body of an answer, and the request that it ends.
#[derive(Debug)]
pub(super) struct Counted<B, S: AsRef<AtomicU64>> {
    body: B,
    _asked: Asked<S>,
}

impl<S: AsRef<AtomicU64>> Asked<S> {
    /// A request; the counter of those answered is `shared`'s.
    pub(super) const fn new(shared: Arc<S>) -> Self {
        Self(shared)
    }

    /// What requests share.
    pub(super) fn shared(&self) -> &S {
        &self.0
    }

    /// `body`, with whose end the request is answered.
    pub(super) const fn answered_by<B>(self, body: B) -> Counted<B, S> {
        Counted { body, _asked: self }
    }
}

impl<S: AsRef<AtomicU64>> Drop for Asked<S> {
    fn drop(&mut self) {
        (*self.0).as_ref().fetch_add(1, Ordering::Relaxed);
    }
}

impl<B: HttpBody + Unpin, S: AsRef<AtomicU64>> HttpBody for Counted<B, S> {
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
