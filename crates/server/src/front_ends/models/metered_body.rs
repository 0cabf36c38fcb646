//! The answer of a model on its way to the client.

use std::{
    borrow::Cow,
    pin::Pin,
    task::{Context, Poll, ready},
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
    /// What was held back, to be passed on at the end.
    rest: Bytes,
    /// The trailers, which come after that.
    trailers: Option<Frame<Bytes>>,
}

#[derive(Debug)]
struct Metering {
    /// `None` for an answer that cannot be read.
    meter: Option<Meter>,
    account: Account,
}

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
        let trailers = None;
        let mut metered = Self { body, metering, is_shortened, rest: Bytes::new(), trailers };
        if metered.body.is_end_stream() {
            metered.complete();
        }
        metered
    }

    /// Passes on `body`, which nothing is paid for.
    pub(super) fn unmetered(body: UpstreamBody) -> Self {
        let (metering, rest) = (None, Bytes::new());
        Self { body, metering, is_shortened: false, rest, trailers: None }
    }

    /// Records `unfinished` when the body ends or either side aborts it.
    pub(crate) fn record_when_finished(&mut self, unfinished: UnfinishedResponse) {
        self.body.record_when_finished(unfinished);
    }

    /// Reads what passes, and returns what to pass on.
    fn read(&mut self, data: Bytes) -> Bytes {
        let Some(Metering { meter: Some(meter), .. }) = &mut self.metering else { return data };
        match meter.feed(&data) {
            Cow::Borrowed(part) => data.slice_ref(part),
            Cow::Owned(part) => part.into(),
        }
    }

    /// The answer came to its end.
    fn complete(&mut self) {
        let Some(Metering { meter, mut account }) = self.metering.take() else { return };
        account.close(match meter.map(Meter::finish) {
            Some((rest, report)) => {
                self.rest = rest.into();
                End::Complete(report)
            }
            None => End::Unreadable,
        });
    }
}

impl HttpBody for MeteredBody {
    type Data = Bytes;
    type Error = <UpstreamBody as HttpBody>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        loop {
            if !this.rest.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut this.rest)))));
            }
            if let Some(trailers) = this.trailers.take() {
                return Poll::Ready(Some(Ok(trailers)));
            }
            let Some(frame) = ready!(Pin::new(&mut this.body).poll_frame(context)) else {
                this.complete();
                if this.rest.is_empty() {
                    return Poll::Ready(None);
                }
                continue;
            };
            let frame = frame.inspect_err(|_| {
                if let Some(Metering { meter, mut account }) = this.metering.take() {
                    account.close(End::Cut(meter.map(Meter::abort)));
                }
            })?;
            match frame.into_data() {
                Ok(data) => {
                    let passed = this.read(data);
                    if this.body.is_end_stream() {
                        this.complete();
                    }
                    if !passed.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(passed))));
                    }
                }
                Err(trailers) => {
                    this.complete();
                    this.trailers = Some(trailers);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.trailers.is_none() && self.body.is_end_stream()
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
