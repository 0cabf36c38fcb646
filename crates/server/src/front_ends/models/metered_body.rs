//! The answer of a model on its way to the client.

use std::{
    borrow::Cow,
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::HttpBody;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use sluice_gateway::UpstreamBody;
use sluice_http::traffic::UnfinishedResponse;
use sluice_llm::Meter;

use super::account::{Account, End};

/// The body of an answer, which is read as it passes. A piece is passed on as soon as it comes, and
/// is not copied, unless a chunk is taken out of it.
#[derive(Debug)]
pub(crate) struct MeteredBody {
    body: UpstreamBody,
    /// `None` once the answer has ended, or if it uses nothing.
    metering: Option<Metering>,
    /// Whether the client gets fewer bytes than the vendor sends.
    is_shortened: bool,
    /// What comes next, at the end: what was held back, or the trailers after it.
    last: Option<Frame<Bytes>>,
}

#[derive(Debug)]
struct Metering {
    /// `None` for an answer that cannot be read.
    meter: Option<Meter>,
    account: Account,
}

/// What a body has next: a frame, or its end.
type Next = Option<Result<Frame<Bytes>, <UpstreamBody as HttpBody>::Error>>;

// === impl MeteredBody ===

impl MeteredBody {
    /// Meters `body`, which is what `account` pays for.
    pub(super) fn new(
        body: UpstreamBody,
        meter: Option<Meter>,
        account: Account,
        is_shortened: bool,
    ) -> Self {
        let metering = Some(Metering { meter, account });
        let mut metered = Self { body, metering, is_shortened, last: None };
        if metered.body.is_end_stream() {
            metered.complete();
        }
        metered
    }

    /// Passes on `body`, which nothing is paid for.
    pub(super) fn unmetered(body: UpstreamBody) -> Self {
        Self { body, metering: None, is_shortened: false, last: None }
    }

    /// Records `unfinished` when the body ends or either side aborts it.
    pub(crate) fn record_when_finished(&mut self, unfinished: UnfinishedResponse) {
        self.body.record_when_finished(unfinished);
    }

    /// Reads what comes next, and leaves there what to pass on. Returns whether that is anything.
    ///
    /// It is changed where it is, since to move a frame costs more than to look at it.
    fn read(&mut self, next: &mut Next) -> bool {
        match next {
            Some(Ok(frame)) => match frame.data_mut() {
                Some(data) => {
                    self.meter(data);
                    if self.body.is_end_stream() {
                        self.complete();
                    }
                    return !data.is_empty();
                }
                None => {
                    self.complete();
                    // What was held back comes before the trailers.
                    if let Some(rest) = &mut self.last {
                        std::mem::swap(rest, frame);
                    }
                }
            },
            Some(Err(_)) => {
                if let Some(Metering { meter, mut account }) = self.metering.take() {
                    account.close(End::Cut(meter.map(Meter::abort)));
                }
            }
            None => {
                self.complete();
                *next = self.last.take().map(Ok);
            }
        }
        true
    }

    /// Reads what passes, and leaves what to pass on.
    fn meter(&mut self, data: &mut Bytes) {
        let Some(Metering { meter: Some(meter), .. }) = &mut self.metering else { return };
        *data = match meter.feed(data) {
            Cow::Borrowed(part) if part.len() == data.len() => return,
            Cow::Borrowed(part) => data.slice_ref(part),
            Cow::Owned(part) => part.into(),
        };
    }

    /// The answer came to its end.
    fn complete(&mut self) {
        let Some(Metering { meter, mut account }) = self.metering.take() else { return };
        account.close(match meter.map(Meter::finish) {
            Some((rest, report)) => {
                self.last = (!rest.is_empty()).then(|| Frame::data(rest.into()));
                End::Complete(report)
            }
            None => End::Unreadable,
        });
    }
}

impl HttpBody for MeteredBody {
    type Data = Bytes;
    type Error = <UpstreamBody as HttpBody>::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Next> {
        let this = &mut *self;
        loop {
            if this.last.is_some() {
                return Poll::Ready(this.last.take().map(Ok));
            }
            let mut polled = Pin::new(&mut this.body).poll_frame(context);
            let passes = match &mut polled {
                Poll::Ready(next) => this.read(next),
                Poll::Pending => true,
            };
            if passes {
                return polled;
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.last.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_shortened { SizeHint::new() } else { self.body.size_hint() }
    }
}

impl Drop for MeteredBody {
    fn drop(&mut self) {
        if let Some(Metering { meter, mut account }) = self.metering.take() {
            account.close(End::Left(meter.map(Meter::abort)));
        }
    }
}
