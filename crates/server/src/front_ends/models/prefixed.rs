//! A body whose beginning was read.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

/// A body whose beginning was read: these bytes, and then the rest.
#[derive(Debug)]
pub(super) struct Prefixed {
    beginning: Bytes,
    rest: Body,
}

impl Prefixed {
    /// Puts the bytes that were read in front of the rest.
    pub(super) fn join(beginning: Bytes, rest: Body) -> Body {
        if beginning.is_empty() { rest } else { Body::new(Self { beginning, rest }) }
    }
}

impl HttpBody for Prefixed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.beginning.is_empty() {
            return Pin::new(&mut self.rest).poll_frame(context);
        }
        Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.beginning)))))
    }

    fn is_end_stream(&self) -> bool {
        self.beginning.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, first) = (self.rest.size_hint(), self.beginning.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + first);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + first);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn the_beginning_comes_first_and_the_length_is_that_of_both() {
        let body = Prefixed::join(Bytes::from_static(b"one"), Body::from("two"));
        assert_eq!(body.size_hint().exact(), Some(6));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "onetwo");
    }
}
