//! Calls of Envoy's rate limit service.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use opentelemetry::{
    StringValue,
    metrics::{BoundCounter, BoundHistogram, Counter, Meter},
};

use crate::{
    labels::{CappedValues, OTHER, label_values},
    metric::{Label, Metric, MetricKind},
};

label_values! {
    /// How a call ended: with a response, or with the status of an error.
    pub enum RlsCode {
        /// The request is allowed.
        Ok => "OK",
        /// The request is over a limit.
        OverLimit => "OVER_LIMIT",
        /// The call is not valid.
        InvalidArgument => "INVALID_ARGUMENT",
        /// No rules are configured.
        FailedPrecondition => "FAILED_PRECONDITION",
        /// The store cannot decide, and the caller shall.
        Unavailable => "UNAVAILABLE",
        /// The caller's deadline has passed, or the message did not arrive in time.
        DeadlineExceeded => "DEADLINE_EXCEEDED",
        /// The caller ended the call before it was decided.
        Cancelled => "CANCELLED",
        /// The message is longer than the service reads.
        OutOfRange => "OUT_OF_RANGE",
        /// The message is longer once it is decompressed, or too many calls are in flight.
        ResourceExhausted => "RESOURCE_EXHAUSTED",
        /// The message has an encoding that the service does not know.
        Unimplemented => "UNIMPLEMENTED",
        /// The call lacks valid credentials.
        Unauthenticated => "UNAUTHENTICATED",
        /// The message is not framed as gRPC demands, or the service failed.
        Internal => "INTERNAL",
        /// Another status.
        Unknown => "UNKNOWN",
    }
}

label_values! {
    /// Whether a descriptor leads to a rule.
    enum RlsMatch {
        Matched => "matched",
        Unmatched => "unmatched",
    }
}

const DOMAIN: Label = Label::capped("domain", 50);
const CODE: Label = Label::fixed("code", RlsCode::TEXTS);
const RESULT: Label = Label::fixed("result", RlsMatch::TEXTS);

const REQUESTS: Metric = Metric {
    name: "sluice_rls_requests_total",
    kind: MetricKind::Counter,
    unit: "{request}",
    labels: &[CODE, DOMAIN],
    help: "Counts calls of Envoy's rate limit service, over gRPC and `/json`, by domain and code: \
           that of the response, or that of an error. The domain is `other` if no rules file has \
           it.",
    query: "sum by (domain, code) (rate(sluice_rls_requests_total[5m]))",
};

const DURATION: Metric = Metric {
    name: "sluice_rls_request_duration_seconds",
    kind: MetricKind::Histogram(&[
        1e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1, 2.5e-1, 1.0,
    ]),
    unit: "s",
    labels: &[],
    help: "Measures the time from the head of a call of Envoy's rate limit service to its \
           response; Envoy waits 20 ms by default.",
    query: "histogram_quantile(0.99, \
            sum by (le) (rate(sluice_rls_request_duration_seconds_bucket[5m])))",
};

const DESCRIPTORS: Metric = Metric {
    name: "sluice_rls_descriptors_total",
    kind: MetricKind::Counter,
    unit: "{descriptor}",
    labels: &[DOMAIN, RESULT],
    help: "Counts descriptors of calls in configured domains, by domain and whether they match a \
           rule; those that match none are not limited.",
    query: "sum by (domain) (rate(sluice_rls_descriptors_total{result=\"unmatched\"}[5m]))",
};

const UNKNOWN_DOMAINS: Metric = Metric {
    name: "sluice_rls_unknown_domains_total",
    kind: MetricKind::Counter,
    unit: "{request}",
    labels: &[],
    help: "Counts calls whose domain no rules file has, so that nothing limits them.",
    query: "sum(increase(sluice_rls_unknown_domains_total[15m])) > 0",
};

pub(crate) const METRICS: &[Metric] = &[REQUESTS, DURATION, DESCRIPTORS, UNKNOWN_DOMAINS];

/// Records calls of Envoy's rate limit service.
#[derive(Clone, Debug)]
pub struct RlsRecorder {
    requests: Counter<u64>,
    duration: BoundHistogram<f64>,
    descriptors: Counter<u64>,
    unknown_domains: BoundCounter<u64>,
    domains: CappedValues,
}

/// Counts the calls in one domain. Cheap to clone; keep it with the domain.
#[derive(Clone, Debug)]
pub struct BoundRlsDomain {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    requests: Counter<u64>,
    domain: StringValue,
    by_code: [OnceLock<BoundCounter<u64>>; RlsCode::ALL.len()],
    by_match: Option<[BoundCounter<u64>; RlsMatch::ALL.len()]>,
}

// === impl RlsRecorder ===

impl RlsRecorder {
    pub(super) fn new(meter: &Meter) -> Self {
        Self {
            requests: REQUESTS.counter(meter),
            duration: DURATION.durations(meter).bind(&[]),
            descriptors: DESCRIPTORS.counter(meter),
            unknown_domains: UNKNOWN_DOMAINS.counter(meter).bind(&[]),
            domains: CappedValues::new(meter, DOMAIN),
        }
    }

    /// Returns the counters of a domain of the rules.
    #[must_use]
    pub fn bind(&self, domain: &str) -> BoundRlsDomain {
        let value = self.domains.value(domain);
        let by_match = std::array::from_fn(|index| {
            let result = RlsMatch::ALL[index];
            self.descriptors.bind(&[DOMAIN.with(value.clone()), RESULT.with(result.as_str())])
        });
        let bound = self.bound(value, Some(by_match));
        // These two series exist before their first call, so that `rate` counts it.
        bound.inner.counter(RlsCode::Ok);
        bound.inner.counter(RlsCode::OverLimit);
        bound
    }

    /// Returns the counters of calls in no domain of the rules.
    #[must_use]
    pub fn other(&self) -> BoundRlsDomain {
        self.bound(OTHER.into(), None)
    }

    fn bound(
        &self,
        domain: StringValue,
        by_match: Option<[BoundCounter<u64>; RlsMatch::ALL.len()]>,
    ) -> BoundRlsDomain {
        let inner = Inner {
            requests: self.requests.clone(),
            domain,
            by_code: std::array::from_fn(|_| OnceLock::new()),
            by_match,
        };
        BoundRlsDomain { inner: Arc::new(inner) }
    }

    /// Records how long a call took.
    pub fn duration(&self, duration: Duration) {
        self.duration.record(duration.as_secs_f64());
    }

    /// Counts a call whose domain no rules file has.
    pub fn unknown_domain(&self) {
        self.unknown_domains.add(1);
    }
}

// === impl BoundRlsDomain ===

impl BoundRlsDomain {
    /// Counts a call that ended with `code`.
    pub fn ended(&self, code: RlsCode) {
        self.inner.counter(code).add(1);
    }

    /// Counts the descriptors of a call. Calls in no domain of the rules have none.
    pub fn descriptors(&self, matched: usize, unmatched: usize) {
        let Some(by_match) = &self.inner.by_match else { return };
        for (result, count) in [(RlsMatch::Matched, matched), (RlsMatch::Unmatched, unmatched)] {
            if count > 0 {
                by_match[result.index()].add(u64::try_from(count).unwrap_or(u64::MAX));
            }
        }
    }
}

// === impl RlsCode ===

impl RlsCode {
    /// Returns the value for an error with this gRPC status code, as
    /// <https://grpc.io/docs/guides/status-codes> numbers them.
    #[must_use]
    pub const fn of_grpc_error(code: i32) -> Self {
        match code {
            1 => Self::Cancelled,
            3 => Self::InvalidArgument,
            4 => Self::DeadlineExceeded,
            8 => Self::ResourceExhausted,
            9 => Self::FailedPrecondition,
            11 => Self::OutOfRange,
            12 => Self::Unimplemented,
            13 => Self::Internal,
            14 => Self::Unavailable,
            16 => Self::Unauthenticated,
            _ => Self::Unknown,
        }
    }
}

// === impl Inner ===

impl Inner {
    fn counter(&self, code: RlsCode) -> &BoundCounter<u64> {
        self.by_code[code.index()].get_or_init(|| {
            self.requests.bind(&[CODE.with(code.as_str()), DOMAIN.with(self.domain.clone())])
        })
    }
}
