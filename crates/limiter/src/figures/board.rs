//! The gauges that all replicas tell alike, on this replica's `/metrics`.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use sluice_store::{GaugeKey, Gauges};
use sluice_telemetry::{Connection, Recorders, Scope};

/// Names of gauges in the store: those of their metrics.
pub(crate) const CONNECTIONS: &str = "active_connections";
pub(crate) const DATABASE_CONNECTIONS: &str = "database_connections";
pub(crate) const CACHE_HIT_RATE: &str = "cache_hit_rate";
pub(crate) const BLUEPRINT_RESOURCES: &str = "blueprint_resources_count";

/// What this replica last knew, and the recorders that tell it.
#[derive(Debug)]
pub(super) struct Board {
    recorders: Recorders,
    known: Mutex<Gauges>,
}

impl Board {
    pub(super) fn new(recorders: &Recorders) -> Self {
        Self { recorders: recorders.clone(), known: Mutex::default() }
    }

    /// Tells what the store says.
    pub(super) fn show(&self, gauges: Gauges) {
        let mut known = self.known.lock();
        // What somebody reported and nobody does any more is at nothing; of shares and sizes the last is the best that is known.
        let gone: Vec<GaugeKey> = known.reported.keys().filter(|key| !gauges.reported.contains_key(*key)).cloned().collect();
        *known = gauges;
        self.recorders.deployment.active(known.active_deployments);
        let mut told: Vec<&GaugeKey> = Vec::new();
        for key in gone.iter().chain(known.reported.keys()) {
            // Reports of several instances are one series.
            if !told.iter().any(|other| is_one_series(other, key)) {
                self.tell(key, &known.reported);
                told.push(key);
            }
        }
    }

    /// Tells at once what was said here; the store will say the same.
    pub(super) fn say(&self, key: &GaugeKey, value: Option<f64>) {
        let mut known = self.known.lock();
        match value {
            Some(value) => drop(known.reported.insert(key.clone(), value)),
            None => drop(known.reported.remove(key)),
        }
        self.tell(key, &known.reported);
    }

    /// Tells at once that a deployment started or finished here, as far as that is known without the store.
    pub(super) fn deployment(&self, started: bool) {
        let mut known = self.known.lock();
        let active = &mut known.active_deployments;
        *active = if started { active.saturating_add(1) } else { active.saturating_sub(1) };
        self.recorders.deployment.active(*active);
    }

    /// Tells the series that `key` belongs to.
    fn tell(&self, key: &GaugeKey, reported: &BTreeMap<GaugeKey, f64>) {
        let label = key.labels().next().unwrap_or_default();
        let values = || reported.iter().filter(|(other, _)| is_one_series(key, other)).map(|(_, value)| *value);
        let system = &self.recorders.system;
        match key.metric() {
            CONNECTIONS => {
                if let Some(kind) = Connection::ALL.iter().find(|kind| kind.as_str() == label) {
                    system.connections_reported(*kind, whole(values().sum()));
                }
            }
            DATABASE_CONNECTIONS => system.database_connections(Scope::Fleet, whole(values().sum())),
            CACHE_HIT_RATE => {
                let (sum, count) = values().fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
                if count > 0.0 {
                    system.cache_hit_rate(label, sum / count);
                }
            }
            BLUEPRINT_RESOURCES => self.recorders.blueprint.resources(label, whole(values().sum())),
            custom => {
                let Some(metric) = self.recorders.custom.metric(custom) else { return };
                let labels: Vec<(&str, &str)> = metric.labels().iter().map(String::as_str).zip(key.labels()).collect();
                if let Some(value) = values().next() {
                    // Another version of the configuration may have declared it differently: then it is not for this replica to tell.
                    let _ = self.recorders.custom.set(custom, &labels, value);
                }
            }
        }
    }
}

/// Whether two keys differ in nothing but who reported.
fn is_one_series(a: &GaugeKey, b: &GaugeKey) -> bool {
    a.metric() == b.metric() && a.labels().eq(b.labels())
}

/// The nearest whole number that is not below zero.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float becomes the nearest number that there is")]
fn whole(value: f64) -> u64 {
    value.round() as u64
}
