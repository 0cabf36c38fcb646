//! An upstream's answer on its way to the client.

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

use crate::{
    request_body::BodyProgress,
    upstream::{InFlight, Sender},
};
use sluice_http::traffic::UnfinishedResponse;

/// The body of an answer: read from the upstream only as fast as the client takes it, frame by
/// frame, trailers too. Dropping it before its end tells the upstream to stop.
#[derive(Debug)]
pub struct UpstreamBody {
    /// `None` for an answer that has no body by its nature.
    body: Option<Incoming>,
    /// What is given back at the end.
    lease: Option<ConnectionInUse>,
    idle: Idle,
    upload: Option<Arc<BodyProgress>>,
    sent_bytes: u64,
    exchange: Option<UnfinishedResponse>,
}

/// What a request holds of an upstream while it is answered.
#[derive(Debug)]
pub(crate) struct ConnectionInUse {
    pub(crate) in_flight: InFlight,
    pub(crate) sender: Sender,
}

/// Why a body ends before its end.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamBodyError {
    /// The upstream broke off.
    #[error("the upstream broke off its answer")]
    Aborted(#[from] hyper::Error),
    /// The upstream is silent.
    #[error("the upstream sent nothing for {0:?} in the middle of its answer")]
    Silent(Duration),
}

/// Notices that nothing has come for long.
#[derive(Debug)]
struct Idle {
    timeout: Duration,
    /// Made when something is waited for at first: most answers are there at once.
    sleep: Option<Pin<Box<Sleep>>>,
    moved: bool,
}

// === impl UpstreamBody ===

impl UpstreamBody {
    /// The body of an answer that has none by its nature.
    pub(crate) const fn none() -> Self {
        Self {
            body: None,
            lease: None,
            idle: Idle::after(Duration::MAX),
            upload: None,
            sent_bytes: 0,
            exchange: None,
        }
    }

    /// The body of an answer to a request whose own body has come as far as `upload` says.
    pub(crate) fn new(
        body: Incoming,
        lease: ConnectionInUse,
        upload: Option<Arc<BodyProgress>>,
        idle_timeout: Duration,
    ) -> Self {
        let idle = Idle::after(idle_timeout);
        let mut answer = Self {
            body: Some(body),
            lease: Some(lease),
            idle,
            upload,
            sent_bytes: 0,
            exchange: None,
        };
        if answer.is_end_stream() {
            answer.end();
        }
        answer
    }

    /// Records `exchange` when all is over: at the body's end, or when either side breaks off.
    pub fn record_when_finished(&mut self, exchange: UnfinishedResponse) {
        self.exchange = Some(exchange);
    }

    fn end(&mut self) {
        let Some(ConnectionInUse { in_flight, sender: Sender::Http1(connection) }) =
            self.lease.take()
        else {
            return;
        };
        if self.upload.as_ref().is_none_or(|upload| upload.is_over()) {
            in_flight.upstream().release(connection);
        } else {
            // It has said all, and does not want the rest of the request.
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
                this.lease = None;
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                this.end();
                Poll::Ready(None)
            }
            Poll::Pending => this.idle.poll_too_long(context).map(|()| {
                // Nothing that would still come is waited for.
                this.lease = None;
                Some(Err(UpstreamBodyError::Silent(this.idle.timeout)))
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
        if let Some(exchange) = self.exchange.take() {
            exchange
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
