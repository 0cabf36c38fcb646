//! What the gateway's upstreams do.

use std::{sync::Arc, time::Duration};

use opentelemetry::metrics::{
    BoundCounter, BoundGauge, BoundHistogram, Counter, Gauge, Histogram, Meter,
};

use crate::{
    catalogue::{Metric, MetricKind},
    labels::{Label, LabelSet, label_values},
};

label_values! {
    /// The result of a forwarded request, as the `result` label holds it.
    enum UpstreamResult {
        /// A status from 200 to 299, or an upgrade.
        Success => "2xx",
        /// A status from 300 to 399.
        Redirection => "3xx",
        /// A status from 400 to 499.
        ClientError => "4xx",
        /// A status from 500 to 599, or one that is none.
        ServerError => "5xx",
        /// No connection could be made, and nothing was sent.
        NotConnected => "unconnected",
        /// The connection broke, or sent invalid data, before the response's head.
        Broken => "broke",
        /// The response did not come in time.
        TimedOut => "late",
    }
}

/// Why a forwarded request got no response from an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UpstreamFailure {
    /// No connection could be made, and nothing was sent.
    NotConnected,
    /// The connection broke, or sent invalid data, before the response's head.
    Broken,
    /// The response did not come in time.
    TimedOut,
}

const UPSTREAM: Label = Label::capped("upstream", 50);
const RESULT: Label = Label::fixed("result", UpstreamResult::WORDS);

const REQUESTS: Metric = Metric {
    name: "sluice_upstream_requests_total",
    kind: MetricKind::Counter,
    unit: "{request}",
    labels: &[RESULT, UPSTREAM],
    help: "Requests the gateway handed on, by upstream and result: the class of the answer's status, or why there was none.",
    query: r#"sum by (upstream) (rate(sluice_upstream_requests_total{result=~"5xx|unconnected|broke|late"}[5m]))"#,
};

const DURATION: Metric = Metric {
    name: "sluice_upstream_response_duration_seconds",
    kind: MetricKind::Histogram(&[
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    ]),
    unit: "s",
    labels: &[UPSTREAM],
    help: "Time from a request's handing on to the head of the upstream's answer.",
    query: "histogram_quantile(0.99, sum by (le, upstream) (rate(sluice_upstream_response_duration_seconds_bucket[5m])))",
};

const HEALTHY: Metric = Metric {
    name: "sluice_upstream_healthy",
    kind: MetricKind::Gauge,
    unit: "1",
    labels: &[UPSTREAM],
    help: "1 while an upstream passes its health checks or has none, 0 while it fails them and gets no requests.",
    query: "min by (upstream) (sluice_upstream_healthy) == 0",
};

pub(crate) const METRICS: &[Metric] = &[REQUESTS, DURATION, HEALTHY];

/// Records what upstreams do.
#[derive(Clone, Debug)]
pub struct UpstreamRecorder {
    requests: Counter<u64>,
    duration: Histogram<f64>,
    healthy: Gauge<u64>,
    upstreams: LabelSet,
}

/// One upstream, ready to be recorded. Cheap to clone.
#[derive(Clone, Debug)]
pub struct BoundUpstream {
    inner: Arc<Bound>,
}

#[derive(Debug)]
struct Bound {
    requests: [BoundCounter<u64>; UpstreamResult::ALL.len()],
    duration: BoundHistogram<f64>,
    healthy: BoundGauge<u64>,
}

// === impl UpstreamResult ===

impl UpstreamResult {
    const fn of_status(status: u16) -> Self {
        match status {
            100..=299 => Self::Success,
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
        }
    }
}

// === impl UpstreamRecorder ===

impl UpstreamRecorder {
    /// A recorder on `meter`.
    #[must_use]
    pub fn new(meter: &Meter) -> Self {
        Self {
            requests: REQUESTS.counter(meter),
            duration: DURATION.durations(meter),
            healthy: HEALTHY.gauge(meter),
            upstreams: LabelSet::new(meter, UPSTREAM),
        }
    }

    /// The upstream of this name, which is well.
    #[must_use]
    pub fn bind(&self, upstream: &str) -> BoundUpstream {
        let name = UPSTREAM.with(self.upstreams.value(upstream));
        let bound = Bound {
            requests: std::array::from_fn(|place| {
                self.requests
                    .bind(&[RESULT.with(UpstreamResult::ALL[place].as_str()), name.clone()])
            }),
            duration: self.duration.bind(std::slice::from_ref(&name)),
            healthy: self.healthy.bind(&[name]),
        };
        bound.healthy.record(1);
        BoundUpstream { inner: Arc::new(bound) }
    }
}

// === impl BoundUpstream ===

impl BoundUpstream {
    /// It answered with this status, whose head was there after `took`.
    pub fn responded(&self, status: u16, took: Duration) {
        self.inner.requests[UpstreamResult::of_status(status).place()].add(1);
        self.inner.duration.record(took.as_secs_f64());
    }

    /// A request was handed on to it, and came to this.
    pub fn failed(&self, failure: UpstreamFailure) {
        self.inner.requests[UpstreamResult::of_failure(failure).place()].add(1);
    }

    /// Whether it passes its health checks.
    pub fn set_healthy(&self, healthy: bool) {
        self.inner.healthy.record(u64::from(healthy));
    }
}
