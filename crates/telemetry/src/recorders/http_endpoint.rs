//! The instruments of HTTP requests, bound to one endpoint.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use opentelemetry::{
    KeyValue, StringValue,
    metrics::{BoundCounter, BoundHistogram, Counter, Histogram},
};

use super::{http_method::MethodLabel, http_status};
use crate::metric::Label;

/// The name of the label that holds the endpoint. How many values it has depends on the metric.
pub(super) const ENDPOINT: &str = "endpoint";
pub(super) const METHOD: Label = Label::fixed("method", MethodLabel::TEXTS);
pub(super) const STATUS: Label = Label::fixed("status", http_status::TEXTS);

/// A response that has been sent, with its request.
#[derive(Clone, Copy, Debug)]
pub struct CompletedResponse {
    /// The request's method.
    pub method: MethodLabel,
    /// The status code.
    pub status: u16,
    /// The time from the request's head to the end of the response.
    pub duration: Duration,
    /// The size of the request's body, if it is known.
    pub request_bytes: Option<u64>,
    /// The size of the response's body, if it is known.
    pub response_bytes: Option<u64>,
}

/// Records the requests of one endpoint. Cheap to clone; keep it with the endpoint.
#[derive(Clone, Debug)]
pub struct BoundEndpoint {
    inner: Arc<Inner>,
}

#[derive(Clone, Debug)]
pub(super) struct Instruments {
    pub(super) requests: Counter<u64>,
    pub(super) duration: Histogram<f64>,
    pub(super) request_size: Histogram<u64>,
    pub(super) response_size: Histogram<u64>,
}

#[derive(Debug)]
struct Inner {
    instruments: Instruments,
    endpoint: StringValue,
    /// Boxed, because most endpoints get requests of only one or two methods.
    methods: [OnceLock<Box<BoundMethod>>; MethodLabel::ALL.len()],
}

/// The instruments bound to one endpoint and method, each made at its first use.
#[derive(Debug)]
struct BoundMethod {
    statuses: [OnceLock<BoundCounter<u64>>; http_status::TEXTS.len()],
    duration: OnceLock<BoundHistogram<f64>>,
    request_size: OnceLock<BoundHistogram<u64>>,
    response_size: OnceLock<BoundHistogram<u64>>,
}

// === impl BoundEndpoint ===

impl BoundEndpoint {
    pub(super) fn new(instruments: &Instruments, endpoint: StringValue) -> Self {
        let instruments = instruments.clone();
        let methods = std::array::from_fn(|_| OnceLock::new());
        Self { inner: Arc::new(Inner { instruments, endpoint, methods }) }
    }

    /// Returns the value of the label.
    #[must_use]
    pub fn label(&self) -> &str {
        self.inner.endpoint.as_str()
    }

    /// Records a response with all that is known of it.
    pub fn record(&self, response: &CompletedResponse) {
        let &CompletedResponse { method, status, duration, request_bytes, response_bytes } =
            response;
        self.responded(method, status, duration);
        if let Some(bytes) = request_bytes {
            self.request_size(method, bytes);
        }
        if let Some(bytes) = response_bytes {
            self.response_size(method, bytes);
        }
    }

    /// Records a request that got a response with `status`, `duration` after its head.
    ///
    /// An unregistered status is counted under its class, such as `5xx`, so that an upstream cannot
    /// create label values.
    pub fn responded(&self, method: MethodLabel, status: u16, duration: Duration) {
        let bound = self.inner.bound(method);
        bound.statuses[http_status::index(status)]
            .get_or_init(|| self.inner.requests(method, status))
            .add(1);
        bound
            .duration
            .get_or_init(|| self.inner.instruments.duration.bind(&self.inner.labels(method)))
            .record(duration.as_secs_f64());
    }

    /// Records the size of a request's body.
    pub fn request_size(&self, method: MethodLabel, bytes: u64) {
        let size = &self.inner.bound(method).request_size;
        size.get_or_init(|| self.inner.instruments.request_size.bind(&self.inner.labels(method)))
            .record(bytes);
    }

    /// Records the size of a response's body.
    pub fn response_size(&self, method: MethodLabel, bytes: u64) {
        let size = &self.inner.bound(method).response_size;
        size.get_or_init(|| self.inner.instruments.response_size.bind(&self.inner.labels(method)))
            .record(bytes);
    }
}

// === impl Inner ===

impl Inner {
    fn bound(&self, method: MethodLabel) -> &BoundMethod {
        self.methods[method.index()].get_or_init(|| {
            Box::new(BoundMethod {
                statuses: std::array::from_fn(|_| OnceLock::new()),
                duration: OnceLock::new(),
                request_size: OnceLock::new(),
                response_size: OnceLock::new(),
            })
        })
    }

    fn requests(&self, method: MethodLabel, status: u16) -> BoundCounter<u64> {
        let [endpoint, method] = self.labels(method);
        let status = STATUS.with(http_status::TEXTS[http_status::index(status)]);
        self.instruments.requests.bind(&[endpoint, method, status])
    }

    fn labels(&self, method: MethodLabel) -> [KeyValue; 2] {
        [KeyValue::new(ENDPOINT, self.endpoint.clone()), METHOD.with(method.as_str())]
    }
}
