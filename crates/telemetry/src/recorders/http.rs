//! HTTP requests: their number, duration and sizes.

use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
    time::Duration,
};

use opentelemetry::{
    KeyValue, StringValue,
    metrics::{BoundCounter, BoundHistogram, Counter, Gauge, Histogram, Meter},
};
use parking_lot::Mutex;

use super::{http_status, shared_labels::ENDPOINT};
use crate::{
    labels::{CappedValues, OTHER, label_values},
    metric::{Label, Metric, MetricKind},
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
        /// Any other method, so that clients cannot create label values.
        Other => "other",
    }
}

const METHOD: Label = Label::fixed("method", MethodLabel::TEXTS);
const STATUS: Label = Label::fixed("status", http_status::TEXTS);

/// Boundaries from an empty body to a large upload, each four times the previous one.
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

/// The boundaries of the histogram of durations, in seconds. The lowest are for responses from
/// memory, the highest for streamed ones.
pub const HTTP_DURATION_BOUNDARIES: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

const REQUESTS: Metric = Metric {
    name: "http_requests_total",
    kind: MetricKind::Counter,
    unit: "{request}",
    labels: &[ENDPOINT, METHOD, STATUS],
    help: "Counts HTTP requests by method, endpoint and the status of the response. The status \
           499 is a request that its client abandoned before the response.",
    query: "sum(rate(http_requests_total{status=~\"5..\"}[5m])) \
            / sum(rate(http_requests_total[5m]))",
};

const DURATION: Metric = Metric {
    name: "http_request_duration_seconds",
    kind: MetricKind::Histogram(HTTP_DURATION_BOUNDARIES),
    unit: "s",
    labels: &[ENDPOINT, METHOD],
    help: "Measures the time from a request's head to the end of its response, by method and \
           endpoint.",
    query: "histogram_quantile(0.99, \
            sum by (le, endpoint) (rate(http_request_duration_seconds_bucket[5m])))",
};

const REQUEST_SIZE: Metric = Metric {
    name: "http_request_size_bytes",
    kind: MetricKind::Histogram(SIZES),
    unit: "By",
    labels: &[ENDPOINT, METHOD],
    help: "Measures the size of request bodies, by method and endpoint.",
    query: "histogram_quantile(0.9, sum by (le) (rate(http_request_size_bytes_bucket[5m])))",
};

const RESPONSE_SIZE: Metric = Metric {
    name: "http_response_size_bytes",
    kind: MetricKind::Histogram(SIZES),
    unit: "By",
    labels: &[ENDPOINT, METHOD],
    help: "Measures the size of response bodies, by method and endpoint.",
    query: "histogram_quantile(0.9, sum by (le) (rate(http_response_size_bytes_bucket[5m])))",
};

const EXEMPT: Metric = Metric {
    name: "sluice_http_exempt_endpoints",
    kind: MetricKind::Gauge,
    unit: "1",
    labels: &[ENDPOINT],
    help: "Is 1 for an endpoint that the configuration exempts from limits, such as the health \
           check of an API, so that rates and alerts about the API can leave it out, and 0 for one \
           that was exempt before.",
    query: "sum(rate(http_requests_total[5m]) \
            unless on (instance, endpoint) sluice_http_exempt_endpoints == 1)",
};

pub(crate) const METRICS: &[Metric] = &[REQUESTS, DURATION, REQUEST_SIZE, RESPONSE_SIZE, EXEMPT];

/// Counts and measures HTTP requests.
#[derive(Clone, Debug)]
pub struct HttpRecorder {
    instruments: Instruments,
    endpoints: CappedValues,
    exempt: Gauge<u64>,
    /// The endpoints that have been exempt since the start.
    once_exempt: Arc<Mutex<BTreeSet<String>>>,
}

/// Records the requests of one endpoint. Cheap to clone; keep it with the endpoint.
#[derive(Clone, Debug)]
pub struct BoundEndpoint {
    inner: Arc<Inner>,
}

#[derive(Clone, Debug)]
struct Instruments {
    requests: Counter<u64>,
    duration: Histogram<f64>,
    request_size: Histogram<u64>,
    response_size: Histogram<u64>,
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

// === impl MethodLabel ===

impl MethodLabel {
    /// Returns the label of the method with this name, compared with case, or
    /// [`Other`](Self::Other).
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        let known = Self::ALL.iter().find(|method| method.as_str() == name);
        known.copied().unwrap_or(Self::Other)
    }
}

// === impl HttpRecorder ===

impl HttpRecorder {
    pub(super) fn new(meter: &Meter) -> Self {
        Self {
            instruments: Instruments {
                requests: REQUESTS.counter(meter),
                duration: DURATION.durations(meter),
                request_size: REQUEST_SIZE.sizes(meter),
                response_size: RESPONSE_SIZE.sizes(meter),
            },
            endpoints: CappedValues::new(meter, ENDPOINT),
            exempt: EXEMPT.gauge(meter),
            once_exempt: Arc::default(),
        }
    }

    /// Sets which endpoints are exempt from limits. Those of an earlier call that are not among
    /// `endpoints` no longer are.
    pub fn set_exempt<'e>(&self, endpoints: impl IntoIterator<Item = &'e str>) {
        let mut once_exempt = self.once_exempt.lock();
        let exempt: BTreeSet<&str> = endpoints.into_iter().collect();
        once_exempt.extend(exempt.iter().map(|endpoint| (*endpoint).to_owned()));
        for endpoint in &*once_exempt {
            let value = self.endpoints.value(endpoint);
            // Many endpoints share the value `other`, most of which are limited.
            if value.as_str() != OTHER {
                let is_exempt = exempt.contains(endpoint.as_str());
                self.exempt.record(u64::from(is_exempt), &[ENDPOINT.with(value)]);
            }
        }
    }

    /// Returns the recorder of `endpoint`, which is a configured pattern or `other`, never a raw
    /// path.
    #[must_use]
    pub fn bind(&self, endpoint: &str) -> BoundEndpoint {
        BoundEndpoint {
            inner: Arc::new(Inner {
                instruments: self.instruments.clone(),
                endpoint: self.endpoints.value(endpoint),
                methods: std::array::from_fn(|_| OnceLock::new()),
            }),
        }
    }
}

// === impl BoundEndpoint ===

impl BoundEndpoint {
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
        [ENDPOINT.with(self.endpoint.clone()), METHOD.with(method.as_str())]
    }
}
