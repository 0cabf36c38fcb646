//! HTTP requests: their number, duration and sizes, of the API and of Sluice's own endpoints.

use std::{borrow::Cow, collections::HashMap, fmt, sync::Arc};

use arc_swap::ArcSwap;
use opentelemetry::{StringValue, metrics::Meter};

use super::http_endpoint::{
    BoundEndpoint, CompletedResponse, ENDPOINT, Instruments, METHOD, STATUS,
};
use crate::{
    labels::{CappedValues, OTHER},
    metric::{Label, Metric, MetricKind},
};

/// Endpoints of the API that are patterns: of the configuration, or of a program's router.
const MAX_PATTERNS: usize = 200;
/// Endpoints of the API that are paths, folded, which no pattern covers.
const MAX_PATHS: usize = 100;
/// Endpoints of Sluice's own.
const MAX_OWN: usize = 40;
/// The most endpoints that are kept bound, more than there are labels: a program that passes paths
/// for patterns must not fill the memory.
const MAX_BOUND: usize = 2 * (MAX_PATTERNS + MAX_PATHS);

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

/// The metrics of one family, which differ from those of another in their prefix and in whose
/// requests they are about.
struct Family {
    requests: Metric,
    duration: Metric,
    request_size: Metric,
    response_size: Metric,
}

macro_rules! family {
    ($prefix:literal, $whose:literal, $endpoints:expr) => {
        Family {
            requests: Metric {
                name: concat!($prefix, "http_requests_total"),
                kind: MetricKind::Counter,
                unit: "{request}",
                labels: &[Label::capped(ENDPOINT, $endpoints), METHOD, STATUS],
                help: concat!(
                    "Counts HTTP requests to ",
                    $whose,
                    " by method, endpoint and the status of the response. The status 499 is a \
                     request that its client abandoned before the response."
                ),
                query: concat!(
                    "sum(rate(",
                    $prefix,
                    "http_requests_total{status=~\"5..\"}[5m])) / sum(rate(",
                    $prefix,
                    "http_requests_total[5m]))"
                ),
            },
            duration: Metric {
                name: concat!($prefix, "http_request_duration_seconds"),
                kind: MetricKind::Histogram(HTTP_DURATION_BOUNDARIES),
                unit: "s",
                labels: &[Label::capped(ENDPOINT, $endpoints), METHOD],
                help: concat!(
                    "Measures the time from the head of a request to ",
                    $whose,
                    " to the end of its response, by method and endpoint."
                ),
                query: concat!(
                    "histogram_quantile(0.99, sum by (le, endpoint) (rate(",
                    $prefix,
                    "http_request_duration_seconds_bucket[5m])))"
                ),
            },
            request_size: Metric {
                name: concat!($prefix, "http_request_size_bytes"),
                kind: MetricKind::Histogram(SIZES),
                unit: "By",
                labels: &[Label::capped(ENDPOINT, $endpoints), METHOD],
                help: concat!(
                    "Measures the size of the bodies of requests to ",
                    $whose,
                    ", by method and endpoint."
                ),
                query: concat!(
                    "histogram_quantile(0.9, sum by (le) (rate(",
                    $prefix,
                    "http_request_size_bytes_bucket[5m])))"
                ),
            },
            response_size: Metric {
                name: concat!($prefix, "http_response_size_bytes"),
                kind: MetricKind::Histogram(SIZES),
                unit: "By",
                labels: &[Label::capped(ENDPOINT, $endpoints), METHOD],
                help: concat!(
                    "Measures the size of the bodies of responses of ",
                    $whose,
                    ", by method and endpoint."
                ),
                query: concat!(
                    "histogram_quantile(0.9, sum by (le) (rate(",
                    $prefix,
                    "http_response_size_bytes_bucket[5m])))"
                ),
            },
        }
    };
}

const API: Family = family!("", "the API", MAX_PATTERNS + MAX_PATHS);
const OWN: Family = family!("sluice_", "Sluice's own endpoints", MAX_OWN);

pub(crate) const METRICS: &[Metric] = &[
    API.requests,
    API.duration,
    API.request_size,
    API.response_size,
    OWN.requests,
    OWN.duration,
    OWN.request_size,
    OWN.response_size,
];

/// Counts and measures HTTP requests. Cheap to clone; clones share the endpoints.
#[derive(Clone)]
pub struct HttpRecorder {
    inner: Arc<Inner>,
}

struct Inner {
    instruments: Instruments,
    patterns: CappedValues,
    /// The folded paths; `None` where all endpoints are patterns.
    paths: Option<CappedValues>,
    other: BoundEndpoint,
    /// The endpoints that were recorded so far.
    bound: ArcSwap<HashMap<Box<str>, BoundEndpoint>>,
}

// === impl HttpRecorder ===

impl HttpRecorder {
    /// Makes the recorder of the requests to the API.
    pub(super) fn of_api(meter: &Meter) -> Self {
        let paths = CappedValues::named(meter, Cow::Borrowed("endpoint_path"), MAX_PATHS);
        Self::new(meter, &API, MAX_PATTERNS, Some(paths))
    }

    /// Makes the recorder of the requests to Sluice's own endpoints.
    pub(super) fn of_own(meter: &Meter) -> Self {
        Self::new(meter, &OWN, MAX_OWN, None)
    }

    fn new(meter: &Meter, family: &Family, patterns: usize, paths: Option<CappedValues>) -> Self {
        let instruments = Instruments {
            requests: family.requests.counter(meter),
            duration: family.duration.durations(meter),
            request_size: family.request_size.sizes(meter),
            response_size: family.response_size.sizes(meter),
        };
        let other = BoundEndpoint::new(&instruments, StringValue::from(OTHER));
        Self {
            inner: Arc::new(Inner {
                instruments,
                patterns: CappedValues::new(meter, Label::capped(ENDPOINT, patterns)),
                paths,
                other,
                bound: ArcSwap::default(),
            }),
        }
    }

    /// Returns the label of a path that no pattern covers, folded, so that it has no identifiers.
    ///
    /// The first hundred such paths have a label of their own; a path that has none yet gets one
    /// only if it `takes` a place. `None` stands for [`OTHER`].
    #[must_use]
    pub fn label_of_path(&self, folded: &str, takes: bool) -> Option<Arc<str>> {
        let paths = self.inner.paths.as_ref()?;
        if takes { paths.keep(folded) } else { paths.get(folded) }
    }

    /// Returns whether a response with this status says that its path exists, so that the path may
    /// take a place.
    ///
    /// 404 and 405 say that it does not; 429 and 499 are responses before anything was found out.
    /// So a client that tries many paths does not fill the places.
    #[must_use]
    pub const fn confirms_path(status: u16) -> bool {
        !matches!(status, 404 | 405 | 429 | 499)
    }

    /// Returns the recorder of `endpoint`: a pattern, a [path](Self::label_of_path) with a label,
    /// or `other`. It is never a raw path.
    #[must_use]
    pub fn bind(&self, endpoint: &str) -> BoundEndpoint {
        let known = self.inner.bound.load().get(endpoint).cloned();
        known.unwrap_or_else(|| self.bind_new(endpoint))
    }

    /// Returns the recorder of the endpoint `other`.
    #[must_use]
    pub fn other(&self) -> &BoundEndpoint {
        &self.inner.other
    }

    /// Records a response of `endpoint`, as [`bind`](Self::bind) describes it.
    pub fn record(&self, endpoint: &str, response: &CompletedResponse) {
        match self.inner.bound.load().get(endpoint) {
            Some(known) => known.record(response),
            None if endpoint == OTHER => self.inner.other.record(response),
            None => self.bind_new(endpoint).record(response),
        }
    }

    fn bind_new(&self, endpoint: &str) -> BoundEndpoint {
        let Inner { instruments, patterns, paths, other, bound } = &*self.inner;
        if endpoint == OTHER || bound.load().len() >= MAX_BOUND {
            return other.clone();
        }
        let path = paths.as_ref().and_then(|paths| paths.get(endpoint));
        let label = path.map_or_else(|| patterns.value(endpoint), StringValue::from);
        let new = if label.as_str() == OTHER {
            other.clone()
        } else {
            BoundEndpoint::new(instruments, label)
        };
        bound.rcu(|bound| {
            let mut more = HashMap::clone(bound);
            more.insert(endpoint.into(), new.clone());
            more
        });
        new
    }
}

impl fmt::Debug for HttpRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRecorder")
            .field("patterns", &self.inner.patterns)
            .field("paths", &self.inner.paths)
            .finish_non_exhaustive()
    }
}
