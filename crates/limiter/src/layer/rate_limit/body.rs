use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The body of an answer: that of the service within, or of a refusal.
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
        Within { #[pin] body: B },
        // `None` once it was read.
        Refusal { body: Option<Bytes> },
    }
}

impl<B> RateLimitBody<B> {
    pub(super) const fn within(body: B) -> Self {
        Self { source: Source::Within { body } }
    }

    pub(super) fn refusal(body: Bytes) -> Self {
        Self { source: Source::Refusal { body: Some(body).filter(Buf::has_remaining) } }
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
            SourceProjection::Within { body } => body.poll_frame(context),
            SourceProjection::Refusal { body } => {
                Poll::Ready(body.take().map(|bytes| Ok(Frame::data(bytes.into()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Within { body } => body.is_end_stream(),
            Source::Refusal { body } => body.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Within { body } => body.size_hint(),
            Source::Refusal { body } => {
                SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64))
            }
        }
    }
}
