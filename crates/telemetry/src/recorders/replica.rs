//! The replica itself: its build, its configuration reloads, and the size of its fleet.

use opentelemetry::metrics::{BoundCounter, BoundGauge, Gauge, Meter};

use super::system::ConnectionKind;
use crate::{
    labels::label_values,
    metric::{Label, Metric, MetricKind},
};

label_values! {
    /// The result of reading a changed configuration.
    pub enum ReloadResult {
        /// The new configuration is active.
        Applied => "applied",
        /// The new configuration was invalid, and the previous one stays active.
        Refused => "refused",
    }
}

const KIND: Label = Label::fixed("kind", ConnectionKind::TEXTS);
const RESULT: Label = Label::fixed("result", ReloadResult::TEXTS);
const REVISION: Label = Label::capped("revision", 1);
const VERSION: Label = Label::capped("version", 1);

const CONFIG_RELOADS: Metric = Metric {
    name: "sluice_config_reloads_total",
    kind: MetricKind::Counter,
    unit: "{reload}",
    labels: &[RESULT],
    help: "Counts reloads of a changed configuration, by result.",
    query: "sum by (result) (increase(sluice_config_reloads_total[1h]))",
};

const CONFIG_REFUSED: Metric = Metric {
    name: "sluice_config_refused",
    kind: MetricKind::Gauge,
    unit: "1",
    labels: &[],
    help: "Is 1 while the configuration that was read last is invalid, so that the previous one \
           stays active, and 0 otherwise.",
    query: "max by (instance) (sluice_config_refused) == 1",
};

const REPLICAS_EXPECTED: Metric = Metric {
    name: "sluice_replicas_expected",
    kind: MetricKind::Gauge,
    unit: "{replica}",
    labels: &[],
    help: "Shows the number of replicas that the fleet should have at least, as \
           `store.expected_replicas` says, or 0 if it says nothing.",
    query: "max(sluice_replicas_expected) - count(sluice_build_info) > 0",
};

const CALLERS_REJECTED: Metric = Metric {
    name: "sluice_callers_rejected_total",
    kind: MetricKind::Counter,
    unit: "{request}",
    labels: &[KIND],
    help: "Counts requests to front ends without a valid token of `access.tokens`, by the kind of \
           connection.",
    query: "sum by (kind) (rate(sluice_callers_rejected_total[5m]))",
};

const REPLICAS_LIVE: Metric = Metric {
    name: "sluice_replicas_live",
    kind: MetricKind::Gauge,
    unit: "{replica}",
    labels: &[],
    help: "Shows the number of live replicas in the fleet, as this replica last read it from the \
           store.",
    query: "max(sluice_replicas_live)",
};

const OTHER_SECRETS: Metric = Metric {
    name: "sluice_replicas_with_another_secret",
    kind: MetricKind::Gauge,
    unit: "{replica}",
    labels: &[],
    help: "Shows the number of live replicas that hash clients with another `clients.secret` than \
           this one, so that clients have a bucket in each group.",
    query: "max(sluice_replicas_with_another_secret) > 0",
};

const BUILD_INFO: Metric = Metric {
    name: "sluice_build_info",
    kind: MetricKind::Gauge,
    unit: "1",
    labels: &[REVISION, VERSION],
    help: "Is always 1; the labels show the version and revision that this replica was built from.",
    query: "count by (version) (sluice_build_info)",
};

pub(crate) const METRICS: &[Metric] = &[
    REPLICAS_LIVE,
    REPLICAS_EXPECTED,
    OTHER_SECRETS,
    CONFIG_RELOADS,
    CONFIG_REFUSED,
    CALLERS_REJECTED,
    BUILD_INFO,
];

/// The version and revision that a replica was built from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BuildInfo {
    /// The released version.
    pub version: String,
    /// The commit, or `unknown`.
    pub revision: String,
}

/// Records facts about this replica and its fleet.
#[derive(Clone, Debug)]
pub struct ReplicaRecorder {
    reloads: [BoundCounter<u64>; ReloadResult::ALL.len()],
    refused: BoundGauge<u64>,
    callers_rejected: [BoundCounter<u64>; ConnectionKind::ALL.len()],
    replicas_live: Gauge<u64>,
    replicas_expected: BoundGauge<u64>,
    other_secrets: BoundGauge<u64>,
}

// === impl BuildInfo ===

impl BuildInfo {
    /// Creates the information from a released version and a commit.
    #[must_use]
    pub fn new(version: impl Into<String>, revision: impl Into<String>) -> Self {
        Self { version: version.into(), revision: revision.into() }
    }
}

impl Default for BuildInfo {
    /// Returns this crate's version, which the whole workspace shares, and an unknown revision.
    fn default() -> Self {
        Self::new(env!("CARGO_PKG_VERSION"), "unknown")
    }
}

// === impl ReplicaRecorder ===

impl ReplicaRecorder {
    pub(super) fn new(meter: &Meter, build: &BuildInfo) -> Self {
        let reloads = CONFIG_RELOADS.counter(meter);
        let callers_rejected = CALLERS_REJECTED.counter(meter);
        BUILD_INFO.gauge(meter).record(
            1,
            &[REVISION.with(build.revision.clone()), VERSION.with(build.version.clone())],
        );
        let refused = CONFIG_REFUSED.gauge(meter).bind(&[]);
        refused.record(0);
        Self {
            reloads: std::array::from_fn(|index| {
                reloads.bind(&[RESULT.with(ReloadResult::TEXTS[index])])
            }),
            refused,
            callers_rejected: std::array::from_fn(|index| {
                callers_rejected.bind(&[KIND.with(ConnectionKind::TEXTS[index])])
            }),
            replicas_live: REPLICAS_LIVE.gauge(meter),
            replicas_expected: REPLICAS_EXPECTED.gauge(meter).bind(&[]),
            other_secrets: OTHER_SECRETS.gauge(meter).bind(&[]),
        }
    }

    /// Counts one reload of a changed configuration, and keeps its result until the next.
    pub fn reload(&self, result: ReloadResult) {
        self.reloads[result.index()].add(1);
        self.refused.record(u64::from(result == ReloadResult::Refused));
    }

    /// Counts a request over such a connection that showed no valid token.
    pub fn caller_rejected(&self, kind: ConnectionKind) {
        self.callers_rejected[kind.index()].add(1);
    }

    /// Sets the number of live replicas in the fleet.
    pub fn set_live_replicas(&self, count: u64) {
        self.replicas_live.record(count, &[]);
    }

    /// Sets the number of live replicas that hash clients with another secret.
    pub fn set_other_secrets(&self, count: u64) {
        self.other_secrets.record(count);
    }

    /// Sets the number of replicas that the fleet should have at least.
    pub fn set_expected_replicas(&self, count: u64) {
        self.replicas_expected.record(count);
    }
}
