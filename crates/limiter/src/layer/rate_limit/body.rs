use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::slots::HeldSlots;

pin_project! {
    /// The body of a response: the inner service's, or that of a rejection.
    ///
    /// See the [module docs](super) for an example.
    #[derive(Debug)]
    pub struct RateLimitBody<B> {
        #[pin]
        source: Source<B>,
    }
}

pin_project! {
    #[project = SourceProjection]
    #[derive(Debug)]
    enum Source<B> {
        // The slots are given back at the end of the body, or with it.
        Inner { #[pin] body: B, slots: HeldSlots },
        // `None` once it has been read.
        Rejection { body: Option<Bytes> },
    }
}

impl<B> RateLimitBody<B> {
    pub(super) const fn inner(body: B, slots: HeldSlots) -> Self {
        Self { source: Source::Inner { body, slots } }
    }

    pub(super) fn rejection(body: Bytes) -> Self {
        Self { source: Source::Rejection { body: Some(body).filter(Buf::has_remaining) } }
    }
}

impl<B> Body for RateLimitBody<B>
where
    B: Body,
    B::Data: From<Bytes>,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match self.project().source.project() {
            SourceProjection::Inner { mut body, slots } => {
                let frame = ready!(body.as_mut().poll_frame(context));
                if !matches!(frame, Some(Ok(_))) || body.is_end_stream() {
                    *slots = HeldSlots::none();
                }
                Poll::Ready(frame)
            }
            SourceProjection::Rejection { body } => {
                Poll::Ready(body.take().map(|bytes| Ok(Frame::data(bytes.into()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Inner { body, .. } => body.is_end_stream(),
            Source::Rejection { body } => body.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Inner { body, .. } => body.size_hint(),
            Source::Rejection { body } => {
                SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64))
            }
        }
    }
}
