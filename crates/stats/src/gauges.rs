//! Gauges that have one value for the whole fleet, whichever replica received the report.

use std::{collections::BTreeMap, fmt, time::Duration};

use sluice_telemetry::ConnectionKind;

use crate::{bounds::REPORT_LIFETIME, convert::nearest};

/// Metrics whose values the fleet shares. Custom gauges have further names.
pub(crate) const CONNECTIONS: &str = "active_connections";
pub(crate) const DATABASE_CONNECTIONS: &str = "database_connections";
pub(crate) const CACHE_HIT_RATE: &str = "cache_hit_rate";
pub(crate) const BLUEPRINT_RESOURCES: &str = "blueprint_resources_count";

/// The gauges of a fleet, as a store knows them.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Gauges {
    /// Deployments that have started and not finished.
    pub active_deployments: u64,
    /// The last reported value of each gauge.
    pub reported: BTreeMap<GaugeKey, f64>,
}

/// Identifies a gauge: the metric, the instance of an application that reported it, and the label
/// values.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GaugeKey {
    /// The metric, the instance and the label values, joined by [`SEPARATOR`](Self::SEPARATOR).
    joined: Box<str>,
}

impl Gauges {
    /// Returns how many connections of this kind applications have open, according to their
    /// reports.
    #[must_use]
    pub fn connections(&self, kind: ConnectionKind) -> u64 {
        let of_kind = |key: &GaugeKey| key.labels().next() == Some(kind.as_str());
        let reports = self.reports(CONNECTIONS).filter(|(key, _)| of_kind(key));
        reports.map(|(_, count)| nearest(count)).sum()
    }

    /// Returns how many connections to their databases applications have open, according to their
    /// reports.
    #[must_use]
    pub fn database_connections(&self) -> u64 {
        self.reports(DATABASE_CONNECTIONS).map(|(_, count)| nearest(count)).sum()
    }

    /// Returns the mean of all reported cache hit rates; `None` if none was reported.
    #[must_use]
    pub fn mean_cache_hit_rate(&self) -> Option<f64> {
        self.mean(CACHE_HIT_RATE)
    }

    /// Returns the mean number of resources of the reported blueprints; `None` if none was
    /// reported.
    #[must_use]
    pub fn mean_blueprint_resources(&self) -> Option<f64> {
        self.mean(BLUEPRINT_RESOURCES)
    }

    fn mean(&self, metric: &str) -> Option<f64> {
        let add = |(sum, count), (_, value)| (sum + value, count + 1.0);
        let (sum, count) = self.reports(metric).fold((0.0, 0.0), add);
        (count > 0.0).then(|| sum / count)
    }

    fn reports(&self, metric: &str) -> impl Iterator<Item = (&GaugeKey, f64)> {
        let reports = self.reported.iter().map(|(key, value)| (key, *value));
        reports.filter(move |(key, _)| key.metric() == metric)
    }
}

impl GaugeKey {
    /// Separates the parts of a key in stores. No part can contain it.
    pub const SEPARATOR: char = '\u{1f}';

    /// Makes the key of `metric` with these label values, as reported by `instance`.
    ///
    /// A report of a named instance expires five minutes after its last repetition. An empty
    /// `instance` means that the report covers all instances; it stays valid until the next report.
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

    /// Returns the key in the form that stores keep.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.joined
    }

    /// Reads a key from the form that stores keep.
    #[must_use]
    pub fn from_stored(joined: &str) -> Self {
        Self { joined: joined.into() }
    }

    /// Returns the metric's name.
    #[must_use]
    pub fn metric(&self) -> &str {
        self.parts().next().unwrap_or_default()
    }

    /// Returns the instance that reported the value; empty when the report covers all instances.
    #[must_use]
    pub fn instance(&self) -> &str {
        self.parts().nth(1).unwrap_or_default()
    }

    /// Returns the label values.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.parts().skip(2)
    }

    fn parts(&self) -> impl Iterator<Item = &str> {
        self.joined.split(Self::SEPARATOR)
    }

    /// Whether a report of this age is still valid.
    pub(crate) fn is_valid_after(&self, age: Duration) -> bool {
        self.instance().is_empty() || age < REPORT_LIFETIME
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
    fn connections_are_summed_and_rates_averaged() {
        let mut gauges = Gauges::default();
        assert_eq!((gauges.database_connections(), gauges.mean_cache_hit_rate()), (0, None));
        for (key, value) in [
            (GaugeKey::new(CONNECTIONS, "api-1", &["websocket"]), 3.0),
            (GaugeKey::new(CONNECTIONS, "api-2", &["websocket"]), 4.0),
            (GaugeKey::new(CONNECTIONS, "api-1", &["grpc"]), 5.0),
            (GaugeKey::new(DATABASE_CONNECTIONS, "", &[]), 6.0),
            (GaugeKey::new(CACHE_HIT_RATE, "api-1", &["plans"]), 0.5),
            (GaugeKey::new(CACHE_HIT_RATE, "", &["tools"]), 1.0),
        ] {
            gauges.reported.insert(key, value);
        }
        assert_eq!(gauges.connections(ConnectionKind::WebSocket), 7);
        assert_eq!(gauges.connections(ConnectionKind::Http), 0);
        assert_eq!(gauges.database_connections(), 6);
        assert_eq!(gauges.mean_cache_hit_rate(), Some(0.75));
        assert_eq!(gauges.mean_blueprint_resources(), None);
    }

    #[test]
    fn a_key_is_read_as_it_was_made() {
        let key = GaugeKey::new("cache_hit_rate", "", &["blue\u{1f}prints", ""]);
        assert_eq!((key.metric(), key.instance()), ("cache_hit_rate", ""));
        assert_eq!(key.labels().collect::<Vec<_>>(), ["blueprints", ""]);
        assert_eq!(GaugeKey::from_stored(key.as_str()), key);
        assert_ne!(key, GaugeKey::new("cache_hit_rate", "blueprints", &[""]));
    }
}
