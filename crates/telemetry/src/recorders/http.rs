//! Requests answered over HTTP: how many, how long they took, how large they were.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use opentelemetry::{
    KeyValue, StringValue,
    metrics::{BoundCounter, BoundHistogram, Counter, Histogram, Meter},
};

use super::status;
use crate::{
    catalogue::{Metric, MetricKind},
    labels::{Label, LabelSet, label_values},
};

label_values! {
    /// A request's method.
    pub enum MethodLabel {
        /// GET
        Get => "GET",
        /// HEAD
        Head => "HEAD",
        /// POST
        Post => "POST",
        /// PUT
        Put => "PUT",
        /// PATCH
        Patch => "PATCH",
        /// DELETE
        Delete => "DELETE",
        /// OPTIONS
        Options => "OPTIONS",
        /// CONNECT
        Connect => "CONNECT",
        /// TRACE
        Trace => "TRACE",
        /// Any other: clients may invent methods, labels may not.
        Other => "other",
    }
}

const METHOD: Label = Label::fixed("method", MethodLabel::WORDS);
const STATUS: Label = Label::fixed("status", status::WORDS);
pub(super) const ENDPOINT: Label = Label::capped("endpoint", 200);

/// From an empty body to a large upload, by factors of four.
const SIZES: &[f64] = &[
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
];

const REQUESTS: Metric = Metric {
    name: "http_requests_total",
    kind: MetricKind::Counter,
    unit: "{request}",
    labels: &[ENDPOINT, METHOD, STATUS],
    help: "HTTP requests answered, by method, endpoint and status.",
    query: r#"sum(rate(http_requests_total{status=~"5.."}[5m])) / sum(rate(http_requests_total[5m]))"#,
};

const DURATION: Metric = Metric {
    name: "http_request_duration_seconds",
    // The low end is for answers from memory, the high end for streamed ones.
    kind: MetricKind::Histogram(&[
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    ]),
    unit: "s",
    labels: &[ENDPOINT, METHOD],
    help: "Time from a request's head to the end of its answer, by method and endpoint.",
    query: "histogram_quantile(0.99, sum by (le, endpoint) (rate(http_request_duration_seconds_bucket[5m])))",
};

const REQUEST_SIZE: Metric = Metric {
    name: "http_request_size_bytes",
    kind: MetricKind::Histogram(SIZES),
    unit: "By",
    labels: &[ENDPOINT, METHOD],
    help: "Size of request bodies, by method and endpoint.",
    query: "histogram_quantile(0.9, sum by (le) (rate(http_request_size_bytes_bucket[5m])))",
};

const RESPONSE_SIZE: Metric = Metric {
    name: "http_response_size_bytes",
    kind: MetricKind::Histogram(SIZES),
    unit: "By",
    labels: &[ENDPOINT, METHOD],
    help: "Size of response bodies, by method and endpoint.",
    query: "histogram_quantile(0.9, sum by (le) (rate(http_response_size_bytes_bucket[5m])))",
};

pub(crate) const METRICS: &[Metric] = &[REQUESTS, DURATION, REQUEST_SIZE, RESPONSE_SIZE];

/// Counts and measures HTTP requests.
#[derive(Clone, Debug)]
pub struct HttpRecorder {
    instruments: Instruments,
    endpoints: LabelSet,
}

/// The requests of one endpoint, ready to be recorded. Cheap to clone; keep it with the endpoint.
#[derive(Clone, Debug)]
pub struct BoundEndpoint {
    inner: Arc<Endpoint>,
}

#[derive(Clone, Debug)]
struct Instruments {
    requests: Counter<u64>,
    duration: Histogram<f64>,
    request_size: Histogram<u64>,
    response_size: Histogram<u64>,
}

#[derive(Debug)]
struct Endpoint {
    instruments: Instruments,
    name: StringValue,
    /// Boxed, since most endpoints see one or two methods.
    methods: [OnceLock<Box<Bound>>; MethodLabel::ALL.len()],
}

#[derive(Debug)]
struct Bound {
    statuses: [OnceLock<BoundCounter<u64>>; status::WORDS.len()],
    duration: OnceLock<BoundHistogram<f64>>,
    request_size: OnceLock<BoundHistogram<u64>>,
    response_size: OnceLock<BoundHistogram<u64>>,
}

// === impl MethodLabel ===

impl MethodLabel {
    /// The method with this name, letter case and all, or [`Other`](Self::Other).
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        let known = Self::ALL.iter().find(|method| method.as_str() == name);
        known.copied().unwrap_or(Self::Other)
    }
}

// === impl HttpRecorder ===

impl HttpRecorder {
    /// A recorder on `meter`.
    #[must_use]
    pub fn new(meter: &Meter) -> Self {
        Self {
            instruments: Instruments {
                requests: REQUESTS.counter(meter),
                duration: DURATION.durations(meter),
                request_size: REQUEST_SIZE.sizes(meter),
                response_size: RESPONSE_SIZE.sizes(meter),
            },
            endpoints: LabelSet::new(meter, ENDPOINT),
        }
    }

    /// The requests of `endpoint`: a configured pattern or `other`, never a raw path.
    #[must_use]
    pub fn bind(&self, endpoint: &str) -> BoundEndpoint {
        BoundEndpoint {
            inner: Arc::new(Endpoint {
                instruments: self.instruments.clone(),
                name: self.endpoints.value(endpoint),
                methods: std::array::from_fn(|_| OnceLock::new()),
            }),
        }
    }
}

// === impl BoundEndpoint ===

impl BoundEndpoint {
    /// A request was answered with `status` after `took`.
    ///
    /// A status that is not registered is counted as its class (`5xx`), so that a strange upstream
    /// cannot fill the label.
    pub fn responded(&self, method: MethodLabel, status: u16, took: Duration) {
        let bound = self.inner.bound(method);
        bound.statuses[status::place(status)]
            .get_or_init(|| self.inner.requests(method, status))
            .add(1);
        bound
            .duration
            .get_or_init(|| self.inner.instruments.duration.bind(&self.inner.labels(method)))
            .record(took.as_secs_f64());
    }

    /// A request's body had this many bytes.
    pub fn request_size(&self, method: MethodLabel, bytes: u64) {
        let size = &self.inner.bound(method).request_size;
        size.get_or_init(|| self.inner.instruments.request_size.bind(&self.inner.labels(method)))
            .record(bytes);
    }

    /// A response's body had this many bytes.
    pub fn response_size(&self, method: MethodLabel, bytes: u64) {
        let size = &self.inner.bound(method).response_size;
        size.get_or_init(|| self.inner.instruments.response_size.bind(&self.inner.labels(method)))
            .record(bytes);
    }
}

impl Endpoint {
    fn bound(&self, method: MethodLabel) -> &Bound {
        self.methods[method.place()].get_or_init(|| {
            Box::new(Bound {
                statuses: std::array::from_fn(|_| OnceLock::new()),
                duration: OnceLock::new(),
                request_size: OnceLock::new(),
                response_size: OnceLock::new(),
            })
        })
    }

    fn requests(&self, method: MethodLabel, status: u16) -> BoundCounter<u64> {
        let [endpoint, method] = self.labels(method);
        let status = STATUS.with(status::WORDS[status::place(status)]);
        self.instruments.requests.bind(&[endpoint, method, status])
    }

    fn labels(&self, method: MethodLabel) -> [KeyValue; 2] {
        [ENDPOINT.with(self.name.clone()), METHOD.with(method.as_str())]
    }
}
