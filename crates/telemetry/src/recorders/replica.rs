//! This replica: what it was built from, what it read, and how many there are.

use opentelemetry::metrics::{BoundCounter, Gauge, Meter};

use crate::{
    catalogue::{Metric, MetricKind},
    labels::{Label, label_values},
};

label_values! {
    /// What became of a changed configuration.
    pub enum ReloadResult {
        /// It is in force.
        Applied => "applied",
        /// It was broken, and the one before it stays in force.
        Refused => "refused",
    }
}

const RESULT: Label = Label::fixed("result", ReloadResult::WORDS);
const REVISION: Label = Label::capped("revision", 1);
const VERSION: Label = Label::capped("version", 1);

const CONFIG_RELOADS: Metric = Metric {
    name: "sluice_config_reloads_total",
    kind: MetricKind::Counter,
    unit: "{reload}",
    labels: &[RESULT],
    help: "Changes of the configuration while running, by result.",
    query: r#"increase(sluice_config_reloads_total{result="refused"}[15m]) > 0"#,
};

const REPLICAS_LIVE: Metric = Metric {
    name: "sluice_replicas_live",
    kind: MetricKind::Gauge,
    unit: "{replica}",
    labels: &[],
    help: "Replicas of the fleet that are alive, as this one last heard from the store.",
    query: "max(sluice_replicas_live)",
};

const BUILD_INFO: Metric = Metric {
    name: "sluice_build_info",
    kind: MetricKind::Gauge,
    unit: "1",
    labels: &[REVISION, VERSION],
    help: "Always 1; the labels tell what this replica was built from.",
    query: "count by (version) (sluice_build_info)",
};

pub(crate) const METRICS: &[Metric] = &[REPLICAS_LIVE, CONFIG_RELOADS, BUILD_INFO];

/// What a replica was built from.
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
    replicas_live: Gauge<u64>,
}

// === impl BuildInfo ===

impl BuildInfo {
    /// Names the released version and the commit that a replica was built from.
    #[must_use]
    pub fn new(version: impl Into<String>, revision: impl Into<String>) -> Self {
        Self { version: version.into(), revision: revision.into() }
    }
}

impl Default for BuildInfo {
    /// This crate's version, which is the whole workspace's, at an unknown revision.
    fn default() -> Self {
        Self { version: env!("CARGO_PKG_VERSION").to_owned(), revision: "unknown".to_owned() }
    }
}

// === impl ReplicaRecorder ===

impl ReplicaRecorder {
    /// A recorder on `meter`, which tells what `build` says from now on.
    #[must_use]
    pub fn new(meter: &Meter, build: &BuildInfo) -> Self {
        let reloads = CONFIG_RELOADS.counter(meter);
        BUILD_INFO.gauge(meter).record(
            1,
            &[REVISION.with(build.revision.clone()), VERSION.with(build.version.clone())],
        );
        Self {
            reloads: std::array::from_fn(|place| {
                reloads.bind(&[RESULT.with(ReloadResult::WORDS[place])])
            }),
            replicas_live: REPLICAS_LIVE.gauge(meter),
        }
    }

    /// A changed configuration was read.
    pub fn reload(&self, result: ReloadResult) {
        self.reloads[result.place()].add(1);
    }

    /// The fleet has this many live replicas.
    pub fn set_live_replicas(&self, count: u64) {
        self.replicas_live.record(count, &[]);
    }
}
