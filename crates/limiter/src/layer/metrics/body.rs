use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::exchange::{Exchange, MeasuredResponse};

pin_project! {
    /// A request's body that counts the bytes read from it.
    ///
    /// See the [module docs](super) for an example.
    #[derive(Debug)]
    pub struct RequestBody<B> {
        #[pin]
        body: B,
        exchange: Arc<Exchange>,
    }
}

pin_project! {
    /// A response's body that counts the bytes read from it. The response is recorded at its end.
    ///
    /// See the [module docs](super) for an example.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        body: B,
        // Dropped, and so recorded, at the body's end.
        response: Option<MeasuredResponse>,
    }
}

impl<B> RequestBody<B> {
    pub(super) const fn new(body: B, exchange: Arc<Exchange>) -> Self {
        Self { body, exchange }
    }
}

impl<B> ResponseBody<B> {
    pub(super) const fn new(body: B, response: MeasuredResponse) -> Self {
        Self { body, response: Some(response) }
    }
}

impl<B: Body> Body for RequestBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let polled = ready!(this.body.poll_frame(context));
        if let Some(Ok(frame)) = &polled {
            this.exchange.read(data_bytes(frame));
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B: Body> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let polled = ready!(this.body.poll_frame(context));
        match (&polled, this.response.as_mut()) {
            (Some(Ok(frame)), Some(response)) => response.sent(data_bytes(frame)),
            _ => *this.response = None,
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn data_bytes<D: Buf>(frame: &Frame<D>) -> u64 {
    frame.data_ref().map_or(0, |data| data.remaining() as u64)
}
