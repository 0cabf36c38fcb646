//! A response's body on its way to the client.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::HttpBody;
use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use crate::{occupied::OccupiedSlots, pool::Sender, request_body::Upload, upstream::InFlight};
use sluice_http::traffic::UnfinishedResponse;

/// The body of an upstream's response. It is read only as fast as the client reads it, frame by
/// frame, with trailers. Dropping it before its end tells the upstream to stop.
#[derive(Debug)]
pub struct UpstreamBody {
    /// `None` for a response without a body.
    body: Option<Incoming>,
    /// Given back at the end of the body.
    connection_in_use: Option<ConnectionInUse>,
    idle: Idle,
    upload: Option<Arc<Upload>>,
    sent_bytes: u64,
    unfinished: Option<UnfinishedResponse>,
    slots: OccupiedSlots,
}

/// What a request occupies of an upstream until its response ends.
#[derive(Debug)]
pub(crate) struct ConnectionInUse {
    pub(crate) in_flight: InFlight,
    pub(crate) sender: Sender,
}

/// Why a body ends early.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamBodyError {
    /// The upstream aborted the body.
    #[error("the upstream aborted its response")]
    Aborted(#[from] hyper::Error),
    /// The upstream sent nothing for too long.
    #[error("the upstream sent nothing for {0:?} in the middle of its response")]
    TimedOut(Duration),
    /// The request lost its slot.
    #[error("the request has lost its slot under a limit on requests in flight")]
    SlotLost,
}

/// Detects that nothing arrived for a while.
#[derive(Debug)]
struct Idle {
    timeout: Duration,
    /// Created at the first wait, since most bodies are complete at once.
    sleep: Option<Pin<Box<Sleep>>>,
    moved: bool,
}

// === impl UpstreamBody ===

impl UpstreamBody {
    /// Creates the body of a response that has none.
    pub(crate) const fn none() -> Self {
        Self {
            body: None,
            connection_in_use: None,
            idle: Idle::after(Duration::MAX),
            upload: None,
            sent_bytes: 0,
            unfinished: None,
            slots: OccupiedSlots::NONE,
        }
    }

    /// Creates the body of a response, until whose end the request holds `slots`. `upload` is the
    /// progress of the request's own body.
    pub(crate) fn new(
        body: Incoming,
        connection_in_use: ConnectionInUse,
        upload: Option<Arc<Upload>>,
        idle_timeout: Duration,
        slots: OccupiedSlots,
    ) -> Self {
        let idle = Idle::after(idle_timeout);
        let mut created = Self {
            body: Some(body),
            connection_in_use: Some(connection_in_use),
            idle,
            upload,
            sent_bytes: 0,
            unfinished: None,
            slots,
        };
        if created.is_end_stream() {
            created.end();
        }
        created
    }

    /// Records `unfinished` when the body ends or either side aborts it.
    pub fn record_when_finished(&mut self, unfinished: UnfinishedResponse) {
        self.unfinished = Some(unfinished);
    }

    fn end(&mut self) {
        self.slots.release();
        let Some(ConnectionInUse { in_flight, sender: Sender::Http1(connection, place) }) =
            self.connection_in_use.take()
        else {
            return;
        };
        if self.upload.as_ref().is_none_or(|upload| upload.is_over()) {
            in_flight.upstream().pool().release(connection, place);
        } else {
            // The upstream has sent its whole response and does not read the rest of the request.
            connection.cut.abort();
        }
    }
}

impl HttpBody for UpstreamBody {
    type Data = Bytes;
    type Error = UpstreamBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamBodyError>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        if this.slots.poll_cut(context).is_ready() {
            this.slots.release();
            this.connection_in_use = None;
            this.body = None;
            return Poll::Ready(Some(Err(UpstreamBodyError::SlotLost)));
        }
        match Pin::new(&mut *body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                this.idle.moved = true;
                this.sent_bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                if body.is_end_stream() {
                    this.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.connection_in_use = None;
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                this.end();
                Poll::Ready(None)
            }
            Poll::Pending => this.idle.poll_too_long(context).map(|()| {
                // The response is given up, so the connection is closed.
                this.connection_in_use = None;
                Some(Err(UpstreamBodyError::TimedOut(this.idle.timeout)))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for UpstreamBody {
    fn drop(&mut self) {
        if let Some(unfinished) = self.unfinished.take() {
            unfinished
                .finish(self.upload.as_ref().map_or(0, |upload| upload.bytes()), self.sent_bytes);
        }
    }
}

// === impl Idle ===

impl Idle {
    const fn after(timeout: Duration) -> Self {
        Self { timeout, sleep: None, moved: false }
    }

    fn poll_too_long(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(self.timeout)));
        if std::mem::take(&mut self.moved) {
            sleep.as_mut().reset(Instant::now() + self.timeout);
        }
        sleep.as_mut().poll(context)
    }
}
