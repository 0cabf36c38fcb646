//! Requests that the gateway forwards to its upstreams.

use std::{sync::Arc, time::Duration};

use opentelemetry::metrics::{
    BoundCounter, BoundGauge, BoundHistogram, Counter, Gauge, Histogram, Meter,
};

use crate::{
    labels::{CappedValues, label_values},
    metric::{Label, Metric, MetricKind},
};

label_values! {
    /// The result of a forwarded request, as the label `result` holds it.
    enum UpstreamResult {
        /// An upgrade to another protocol.
        Upgrade => "1xx",
        /// A status from 200 to 299.
        Success => "2xx",
        /// A status from 300 to 399.
        Redirection => "3xx",
        /// A status from 400 to 499.
        ClientError => "4xx",
        /// A status from 500 to 599, or an invalid one.
        ServerError => "5xx",
        /// [`UpstreamFailure::NotConnected`].
        NotConnected => "unconnected",
        /// [`UpstreamFailure::Broken`].
        Broken => "broke",
        /// [`UpstreamFailure::TimedOut`].
        TimedOut => "late",
        /// [`UpstreamFailure::Busy`].
        Busy => "busy",
        /// [`UpstreamFailure::Resent`].
        Resent => "resent",
    }
}

/// Why a forwarded request got no response from its upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UpstreamFailure {
    /// No connection could be made, and nothing was sent.
    NotConnected,
    /// The connection broke, or carried invalid data, before the head of the response was complete.
    Broken,
    /// The head of the response did not arrive in time.
    TimedOut,
    /// All connections that the upstream may have were in use, and nothing was sent.
    Busy,
    /// The upstream did not process the request, or its connection broke. The request was sent
    /// again, and is counted again.
    Resent,
}

const UPSTREAM: Label = Label::capped("upstream", 50);
const RESULT: Label = Label::fixed("result", UpstreamResult::TEXTS);

const REQUESTS: Metric = Metric {
    name: "sluice_upstream_requests_total",
    kind: MetricKind::Counter,
    unit: "{request}",
    labels: &[RESULT, UPSTREAM],
    help: "Counts requests that the gateway forwarded, by upstream and result: the class of the \
           response's status, or why there was no response. A request that is sent again is \
           counted again.",
    query: "sum by (upstream) (rate(sluice_upstream_requests_total\
            {result=~\"5xx|unconnected|broke|late|busy\"}[5m]))",
};

const DURATION: Metric = Metric {
    name: "sluice_upstream_response_duration_seconds",
    kind: MetricKind::Histogram(&[
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    ]),
    unit: "s",
    labels: &[UPSTREAM],
    help: "Measures the time from forwarding a request to the head of the upstream's response, by \
           upstream.",
    query: "histogram_quantile(0.99, \
            sum by (le, upstream) (rate(sluice_upstream_response_duration_seconds_bucket[5m])))",
};

const HEALTHY: Metric = Metric {
    name: "sluice_upstream_healthy",
    kind: MetricKind::Gauge,
    unit: "1",
    labels: &[UPSTREAM],
    help: "Is 1 while an upstream passes its health checks or has none, and 0 while it fails them \
           and gets no requests.",
    query: "min by (upstream) (sluice_upstream_healthy) == 0",
};

pub(crate) const METRICS: &[Metric] = &[REQUESTS, DURATION, HEALTHY];

/// Records requests to upstreams, and the upstreams' health.
#[derive(Clone, Debug)]
pub struct UpstreamRecorder {
    requests: Counter<u64>,
    duration: Histogram<f64>,
    healthy: Gauge<u64>,
    upstreams: CappedValues,
}

/// Records the requests to one upstream, and its health. Cheap to clone.
#[derive(Clone, Debug)]
pub struct BoundUpstream {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    requests: [BoundCounter<u64>; UpstreamResult::ALL.len()],
    duration: BoundHistogram<f64>,
    healthy: BoundGauge<u64>,
}

// === impl UpstreamResult ===

impl UpstreamResult {
    const fn of_status(status: u16) -> Self {
        match status {
            100..=199 => Self::Upgrade,
            200..=299 => Self::Success,
            300..=399 => Self::Redirection,
            400..=499 => Self::ClientError,
            _ => Self::ServerError,
        }
    }

    const fn of_failure(failure: UpstreamFailure) -> Self {
        match failure {
            UpstreamFailure::NotConnected => Self::NotConnected,
            UpstreamFailure::Broken => Self::Broken,
            UpstreamFailure::TimedOut => Self::TimedOut,
            UpstreamFailure::Busy => Self::Busy,
            UpstreamFailure::Resent => Self::Resent,
        }
    }
}

// === impl UpstreamRecorder ===

impl UpstreamRecorder {
    pub(super) fn new(meter: &Meter) -> Self {
        Self {
            requests: REQUESTS.counter(meter),
            duration: DURATION.durations(meter),
            healthy: HEALTHY.gauge(meter),
            upstreams: CappedValues::new(meter, UPSTREAM),
        }
    }

    /// Returns the recorder of the upstream with this name, which counts as healthy from now on.
    #[must_use]
    pub fn bind(&self, upstream: &str) -> BoundUpstream {
        let name = UPSTREAM.with(self.upstreams.value(upstream));
        let inner = Inner {
            requests: std::array::from_fn(|index| {
                let result = UpstreamResult::ALL[index];
                self.requests.bind(&[RESULT.with(result.as_str()), name.clone()])
            }),
            duration: self.duration.bind(std::slice::from_ref(&name)),
            healthy: self.healthy.bind(&[name]),
        };
        inner.healthy.record(1);
        BoundUpstream { inner: Arc::new(inner) }
    }
}

// === impl BoundUpstream ===

impl BoundUpstream {
    /// Records a response with `status`, whose head arrived `duration` after the request was
    /// forwarded.
    pub fn responded(&self, status: u16, duration: Duration) {
        self.inner.requests[UpstreamResult::of_status(status).index()].add(1);
        self.inner.duration.record(duration.as_secs_f64());
    }

    /// Records a forwarded request that got no response.
    pub fn failed(&self, failure: UpstreamFailure) {
        self.inner.requests[UpstreamResult::of_failure(failure).index()].add(1);
    }

    /// Sets whether the upstream passes its health checks.
    pub fn set_healthy(&self, healthy: bool) {
        self.inner.healthy.record(u64::from(healthy));
    }
}
