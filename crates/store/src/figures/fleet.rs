//! What is known of a fleet.

use std::{collections::BTreeMap, fmt, ops::AddAssign, time::Duration};

use sluice_core::Timestamp;

use super::deltas::Held;

/// A report that names its instance and is not repeated for this long is forgotten: the instance is
/// gone.
pub(crate) const REPORT_KEPT: Duration = Duration::from_secs(300);
/// A deployment that has not finished after this long is taken for forgotten.
pub(crate) const MAX_DEPLOYMENT_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// A start that is said to be this much later than the end of the same deployment may still be its
/// own: replicas know the store's time to some milliseconds, and a machine may be busy.
pub(crate) const LATE_START: Duration = Duration::from_secs(2);
/// Gauges that are kept; further ones are left out.
pub(crate) const MAX_GAUGES: usize = 2_000;
/// Endpoints that are kept, those included that no configuration names any more.
pub(crate) const MAX_ENDPOINTS: usize = 2_000;
/// Limited clients whose counts are kept in each slice.
pub(crate) const MAX_TOP: usize = 1_000;
/// The most limited clients that are told.
pub(crate) const TOP_TOLD: usize = 10;

/// Declares the totals: each with its name in stores.
macro_rules! totals {
    ($($(#[$meta:meta])* $total:ident => $name:literal,)+) => {
        /// A sum over all that any replica has ever told.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Total { $($(#[$meta])* $total,)+ }

        impl Total {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$total),+];

            /// The name in stores.
            #[must_use]
            pub const fn name(self) -> &'static str {
                [$($name),+][self as usize]
            }
        }
    };
}

totals! {
    /// HTTP requests answered.
    HttpRequests => "http.requests",
    /// The time they took, in microseconds.
    HttpMicros => "http.us",
    /// Those answered with a 4xx status.
    HttpClientErrors => "http.4xx",
    /// Those answered with a 5xx status.
    HttpServerErrors => "http.5xx",
    /// Requests to language models.
    LlmRequests => "llm.requests",
    /// Those of them whose time is known.
    LlmTimed => "llm.timed",
    /// The time these took, in microseconds.
    LlmMicros => "llm.us",
    /// Tokens generated.
    LlmTokensGenerated => "llm.generated",
    /// Tokens consumed.
    LlmTokensConsumed => "llm.consumed",
    /// Operations on blueprints.
    BlueprintOperations => "blueprint.operations",
    /// Blueprints created with success.
    BlueprintsCreated => "blueprint.created",
    /// Errors found in blueprints.
    BlueprintValidationErrors => "blueprint.errors",
    /// Deployments created, updated and deleted.
    DeploymentOperations => "deployment.operations",
    /// Those of them whose time is known.
    DeploymentsTimed => "deployment.timed",
    /// The time these took, in microseconds.
    DeploymentMicros => "deployment.us",
    /// Tools executed.
    ToolExecutions => "tool.executions",
    /// Those executions whose time is known.
    ToolsTimed => "tool.timed",
    /// The time these took, in microseconds.
    ToolMicros => "tool.us",
    /// Events taken.
    EventsAccepted => "events.accepted",
    /// Events refused.
    EventsRefused => "events.refused",
}

/// A number for each [`Total`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Totals([u64; Total::ALL.len()]);

/// Everything that is known of a fleet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FleetFigures {
    /// When the first replica told something, by the store's clock; `None` if none did yet.
    pub since: Option<Timestamp>,
    /// Sums over all that any replica has ever told.
    pub totals: Totals,
    /// By endpoint.
    pub endpoints: BTreeMap<Box<str>, EndpointFigures>,
    /// Distinct clients of the last hour, estimated to about 1 %.
    pub clients: u64,
    /// Those of them that were limited.
    pub limited_clients: u64,
    /// Those limited most often in the last hour by their tags, the first most.
    pub top_limited: Vec<(Box<str>, u64)>,
    /// What all replicas tell alike.
    pub gauges: Gauges,
    /// What living replicas hold, by their ids.
    pub replicas: BTreeMap<Box<str>, ReplicaFigures>,
}

/// What is known of one endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointFigures {
    /// Requests decided.
    pub requests: u64,
    /// Those of them that were denied.
    pub rejected: u64,
    /// Distinct clients of the last hour, estimated to about 1 %.
    pub active_clients: u64,
}

/// What a living replica holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaFigures {
    /// What it holds.
    pub held: Held,
    /// How long ago it said so, by the store's clock.
    pub told_ago: Duration,
}

/// What all replicas of a fleet tell alike.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gauges {
    /// Deployments that have started and not finished.
    pub active_deployments: u64,
    /// What gauges show, as last reported.
    pub reported: BTreeMap<GaugeKey, f64>,
}

/// A gauge: of which metric, with which label values, as seen by which instance of an application.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GaugeKey {
    /// Joined by [`SEPARATOR`](Self::SEPARATOR): the metric, the instance, the label values.
    joined: Box<str>,
}

// === impl Totals ===

impl Totals {
    /// The number for `total`.
    #[must_use]
    pub const fn get(&self, total: Total) -> u64 {
        self.0[total as usize]
    }

    /// Adds `amount` to the number for `total`.
    pub const fn add(&mut self, total: Total, amount: u64) {
        self.0[total as usize] = self.0[total as usize].saturating_add(amount);
    }

    /// Every total with its number.
    pub fn iter(&self) -> impl Iterator<Item = (Total, u64)> + '_ {
        Total::ALL.iter().map(|&total| (total, self.get(total)))
    }
}

impl Default for Totals {
    fn default() -> Self {
        Self([0; Total::ALL.len()])
    }
}

impl AddAssign<&Self> for Totals {
    fn add_assign(&mut self, other: &Self) {
        other.iter().for_each(|(total, amount)| self.add(total, amount));
    }
}

impl fmt::Debug for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(
                self.iter()
                    .filter(|(_, amount)| *amount > 0)
                    .map(|(total, amount)| (total.name(), amount)),
            )
            .finish()
    }
}

// === impl GaugeKey ===

impl GaugeKey {
    /// What stands between the parts of a key in stores. No part can hold it.
    pub const SEPARATOR: char = '\u{1f}';

    /// The gauge of `metric` with these label values. A report by an `instance` is forgotten five
    /// minutes after its last; an empty one speaks for the whole, and what it says holds until
    /// something else is said.
    #[must_use]
    pub fn new(metric: &str, instance: &str, labels: &[&str]) -> Self {
        let mut joined = String::new();
        for part in [metric, instance].iter().chain(labels) {
            if !joined.is_empty() {
                joined.push(Self::SEPARATOR);
            }
            joined.extend(part.chars().filter(|&c| c != Self::SEPARATOR));
        }
        Self { joined: joined.into() }
    }

    /// The key as stores have it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.joined
    }

    /// The key that a store has as `joined`.
    pub(crate) fn from_stored(joined: &str) -> Self {
        Self { joined: joined.into() }
    }

    /// The metric.
    #[must_use]
    pub fn metric(&self) -> &str {
        self.parts().next().unwrap_or_default()
    }

    /// Who reported it; empty for the whole.
    #[must_use]
    pub fn instance(&self) -> &str {
        self.parts().nth(1).unwrap_or_default()
    }

    /// The label values.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.parts().skip(2)
    }

    fn parts(&self) -> impl Iterator<Item = &str> {
        self.joined.split(Self::SEPARATOR)
    }

    /// Whether a report of this age still holds.
    pub(crate) fn holds_after(&self, age: Duration) -> bool {
        self.instance().is_empty() || age < REPORT_KEPT
    }
}

impl fmt::Debug for GaugeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.parts()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_made() {
        let key = GaugeKey::new("cache_hit_rate", "", &["blue\u{1f}prints", ""]);
        assert_eq!((key.metric(), key.instance()), ("cache_hit_rate", ""));
        assert_eq!(key.labels().collect::<Vec<_>>(), ["blueprints", ""]);
        assert_eq!(GaugeKey::from_stored(key.as_str()), key);
        assert_ne!(key, GaugeKey::new("cache_hit_rate", "blueprints", &[""]));
    }

    #[test]
    fn totals_have_names_of_their_own_and_never_overflow() {
        let mut names: Vec<_> = Total::ALL.iter().map(|total| total.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Total::ALL.len());
        let mut totals = Totals::default();
        totals.add(Total::LlmTokensGenerated, u64::MAX);
        totals.add(Total::LlmTokensGenerated, 1);
        assert_eq!(totals.get(Total::LlmTokensGenerated), u64::MAX);
    }
}
