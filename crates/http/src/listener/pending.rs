//! Counts a request as finished when both of its bodies have ended, since a stream may take hours.

use std::{
    fmt::{self, Debug},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::body::HttpBody;
use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};

use super::streams::Stream;

/// The longest part of a response that is handed to HTTP/2 at once: what it has taken cannot be
/// taken back from a client that reads nothing.
const MAX_PART: usize = 16 << 10;

/// Learns what happens to a request.
pub(super) trait Observer: Send + Sync + 'static {
    /// The response has left, or was discarded. `room` is what it took.
    fn responded(&self, was_counted: bool, room: u64);
    /// The request, its response and both bodies have ended.
    fn finished(&self);
    /// The request's body was not read to its end.
    fn left_unread(&self);
    /// A part of the response was handed to the connection.
    fn part_handed_over(&self);
    /// A part of the response has left, or was discarded with its stream.
    fn part_left(&self);
}

/// A request that counts as finished when this value is dropped.
pub(super) struct PendingRequest {
    observer: Arc<dyn Observer>,
}

/// The response to a request, which counts as sent when this value is dropped. The request's body
/// may end later.
#[derive(Debug)]
pub(super) struct PendingResponse {
    request: Arc<PendingRequest>,
    /// Whether the request counts as one of those in progress.
    is_counted: bool,
    /// The room that the response takes, in bytes.
    room: u64,
}

/// The body of a request.
pub struct RequestBody {
    incoming: Incoming,
    request: Arc<PendingRequest>,
}

/// A response body that holds the request which it finishes.
#[derive(Debug)]
pub(super) struct ResponseBody<B> {
    body: B,
    /// What is left of a long part.
    rest: Bytes,
    ends: Ends,
}

/// What ends with the body of a response.
#[derive(Debug)]
enum Ends {
    /// Over HTTP/1, which has no streams: its connection is observed instead.
    Response { _response: PendingResponse },
    /// Over HTTP/2. Parts that it has not sent yet hold the response too.
    Stream { response: Arc<PendingResponse>, stream: Arc<Stream> },
}

/// A part of a response that HTTP/2 has not sent yet.
struct HandedOver {
    part: Bytes,
    response: Arc<PendingResponse>,
}

// === impl PendingRequest ===

impl PendingRequest {
    pub(super) fn new(observer: Arc<dyn Observer>) -> Arc<Self> {
        Arc::new(Self { observer })
    }

    /// Wraps the request's body.
    pub(super) fn body(self: &Arc<Self>, incoming: Incoming) -> RequestBody {
        RequestBody { incoming, request: Arc::clone(self) }
    }

    /// Returns the response, which does not exist yet.
    pub(super) fn response(self: &Arc<Self>, is_counted: bool) -> PendingResponse {
        PendingResponse { request: Arc::clone(self), is_counted, room: 0 }
    }
}

impl Drop for PendingRequest {
    fn drop(&mut self) {
        self.observer.finished();
    }
}

impl Debug for PendingRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PendingRequest")
    }
}

// === impl PendingResponse ===

impl PendingResponse {
    /// Sets the room that the response takes, in bytes.
    pub(super) const fn takes(&mut self, room: u64) {
        self.room = room;
    }

    /// Wraps the body whose end finishes the response.
    pub(super) fn finish_with<B>(self, body: B) -> ResponseBody<B> {
        let ends = match Stream::current() {
            Some(stream) => Ends::Stream { response: Arc::new(self), stream },
            None => Ends::Response { _response: self },
        };
        ResponseBody { body, rest: Bytes::new(), ends }
    }
}

impl Drop for PendingResponse {
    fn drop(&mut self) {
        self.request.observer.responded(self.is_counted, self.room);
    }
}

// === impl RequestBody ===

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.incoming).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if !self.incoming.is_end_stream() {
            self.request.observer.left_unread();
        }
    }
}

impl Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.incoming.fmt(f)
    }
}

// === impl ResponseBody ===

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Self { body, rest, ends } = &mut *self;
        let Ends::Stream { response, stream } = ends else {
            return Pin::new(body).poll_frame(context);
        };
        let mut part = std::mem::take(rest);
        if part.is_empty() {
            let Poll::Ready(frame) = Pin::new(body).poll_frame(context) else {
                stream.waits_for_nothing();
                return Poll::Pending;
            };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => part = data,
                other => {
                    stream.waits_for_nothing();
                    let whole =
                        |frame: Result<_, Frame<Bytes>>| frame.map_or_else(|f| f, Frame::data);
                    return Poll::Ready(other.map(|frame| frame.map(whole)));
                }
            }
        }
        if part.len() > MAX_PART {
            *rest = part.split_off(MAX_PART);
        }
        stream.waits_for_client();
        response.request.observer.part_handed_over();
        let part = Bytes::from_owner(HandedOver { part, response: Arc::clone(response) });
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, mut hint) = (self.rest.len() as u64, self.body.size_hint());
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

// === impl HandedOver ===

impl AsRef<[u8]> for HandedOver {
    fn as_ref(&self) -> &[u8] {
        &self.part
    }
}

impl Drop for HandedOver {
    fn drop(&mut self) {
        self.response.request.observer.part_left();
    }
}
