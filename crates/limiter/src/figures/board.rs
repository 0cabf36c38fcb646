//! The gauges that all replicas tell alike, on this replica's `/metrics`.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
};

use parking_lot::Mutex;
use sluice_store::{GaugeKey, Gauges};
use sluice_telemetry::{ConnectionKind, Recorders};

/// Names of gauges in the store: those of their metrics.
pub(crate) const CONNECTIONS: &str = "active_connections";
pub(crate) const DATABASE_CONNECTIONS: &str = "database_connections";
pub(crate) const CACHE_HIT_RATE: &str = "cache_hit_rate";
pub(crate) const BLUEPRINT_RESOURCES: &str = "blueprint_resources_count";

/// Reports that are kept here, as many as in the store.
const MAX_REPORTS: usize = 2_000;

/// What this replica last knew, and the recorders that tell it.
#[derive(Debug)]
pub(super) struct Board {
    recorders: Recorders,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    active_deployments: u64,
    series: HashMap<Box<str>, Series>,
    reports: usize,
}

/// What was reported for one series of one metric.
#[derive(Debug)]
struct Series {
    /// Any of its keys: they differ in who reported.
    key: GaugeKey,
    /// By who reported.
    values: BTreeMap<Box<str>, f64>,
    /// What was told last. Only what differs is told: a value without room in its label is counted
    /// each time.
    told: Option<f64>,
}

impl Board {
    pub(super) fn new(recorders: &Recorders) -> Self {
        Self { recorders: recorders.clone(), known: Mutex::default() }
    }

    /// Tells what the store says.
    pub(super) fn show(&self, gauges: Gauges) {
        let mut known = self.known.lock();
        let mut before = mem::take(&mut known.series);
        known.active_deployments = gauges.active_deployments;
        self.recorders.deployment.set_active(gauges.active_deployments);
        known.reports = gauges.reported.len();
        for (key, value) in gauges.reported {
            known
                .series
                .entry(name(&key))
                .or_insert_with(|| Series::new(key.clone()))
                .values
                .insert(key.instance().into(), value);
        }
        for (name, series) in &mut known.series {
            series.told = before.remove(name).and_then(|before| before.told);
            self.tell(series);
        }
        // What nobody reports any more.
        before.into_values().for_each(|series| self.tell(&mut Series::new(series.key)));
    }

    /// Tells at once what was said here; the store will say the same.
    pub(super) fn say(&self, key: &GaugeKey, value: Option<f64>) {
        let known = &mut *self.known.lock();
        let name = name(key);
        let Some(value) = value else {
            if let Some(series) = known.series.get_mut(&name) {
                known.reports -= usize::from(series.values.remove(key.instance()).is_some());
            }
            return;
        };
        if known.reports >= MAX_REPORTS
            && !known
                .series
                .get(&name)
                .is_some_and(|series| series.values.contains_key(key.instance()))
        {
            return;
        }
        let series = known.series.entry(name).or_insert_with(|| Series::new(key.clone()));
        known.reports += usize::from(series.values.insert(key.instance().into(), value).is_none());
        self.tell(series);
    }

    /// Tells at once that a deployment started or finished here, as far as that is known without
    /// the store.
    pub(super) fn deployment(&self, started: bool) {
        let mut known = self.known.lock();
        let active = &mut known.active_deployments;
        *active = if started { active.saturating_add(1) } else { active.saturating_sub(1) };
        self.recorders.deployment.set_active(*active);
    }

    fn tell(&self, series: &mut Series) {
        let Some(value) = series
            .figure()
            .filter(|value| series.told.is_none_or(|told| told.total_cmp(value).is_ne()))
        else {
            return;
        };
        series.told = Some(value);
        let label = series.key.labels().next().unwrap_or_default();
        let system = &self.recorders.system;
        match series.key.metric() {
            CONNECTIONS => {
                if let Some(kind) = ConnectionKind::ALL.iter().find(|kind| kind.as_str() == label) {
                    system.set_reported_connections(*kind, whole(value));
                }
            }
            DATABASE_CONNECTIONS => system.set_reported_database_connections(whole(value)),
            CACHE_HIT_RATE => system.set_cache_hit_rate(label, value),
            BLUEPRINT_RESOURCES => self.recorders.blueprint.set_resources(label, whole(value)),
            custom => {
                let Some(metric) = self.recorders.custom.metric(custom) else { return };
                let labels: Vec<(&str, &str)> =
                    metric.labels().iter().map(String::as_str).zip(series.key.labels()).collect();
                // Another version of the configuration may have declared it differently: then it is
                // not for this replica to tell.
                let _ = self.recorders.custom.set(custom, &labels, value);
            }
        }
    }
}

impl Series {
    const fn new(key: GaugeKey) -> Self {
        Self { key, values: BTreeMap::new(), told: None }
    }

    /// What all reports come to. Connections that nobody reports any more are none; of shares and
    /// sizes the last is the best that is known.
    fn figure(&self) -> Option<f64> {
        let sum = || self.values.values().sum();
        match self.key.metric() {
            CONNECTIONS | DATABASE_CONNECTIONS => Some(sum()),
            CACHE_HIT_RATE => {
                let count = self.values.values().fold(0.0, |count, _| count + 1.0);
                (count > 0.0).then(|| sum() / count)
            }
            _ => self.values.values().next().copied(),
        }
    }
}

/// What keys of one series have in common.
fn name(key: &GaugeKey) -> Box<str> {
    let mut name = key.metric().to_owned();
    for label in key.labels() {
        name.push(GaugeKey::SEPARATOR);
        name.push_str(label);
    }
    name.into()
}

/// The nearest whole number that is not below zero.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float becomes the nearest number that there is"
)]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

#[cfg(test)]
mod tests {
    use sluice_telemetry::Telemetry;

    use super::*;

    fn metric(telemetry: &Telemetry, series: &str) -> Option<String> {
        let text = telemetry.prometheus().render().unwrap();
        text.lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' ').map(str::to_owned))
    }

    #[test]
    fn connections_that_nobody_reports_any_more_are_none() {
        let telemetry = Telemetry::builder().build().unwrap();
        let board = Board::new(telemetry.recorders());
        let key = |instance| GaugeKey::new(CONNECTIONS, instance, &["websocket"]);
        let series = r#"active_connections{kind="websocket",scope="fleet"}"#;
        board.say(&key("api-1"), Some(3.0));
        assert_eq!(metric(&telemetry, series).as_deref(), Some("3"));
        let reported = [(key("api-1"), 3.0), (key("api-2"), 4.0)].into();
        board.show(Gauges { active_deployments: 2, reported });
        assert_eq!(metric(&telemetry, series).as_deref(), Some("7"));
        board.say(&key("api-2"), Some(5.0));
        assert_eq!(metric(&telemetry, series).as_deref(), Some("8"));
        board.show(Gauges::default());
        assert_eq!(metric(&telemetry, series).as_deref(), Some("0"));
        assert_eq!(metric(&telemetry, "active_deployments").as_deref(), Some("0"));
    }

    #[test]
    fn a_flood_of_reports_is_bounded_and_folded_once() {
        let telemetry = Telemetry::builder().build().unwrap();
        let board = Board::new(telemetry.recorders());
        for number in 0..10_000 {
            board.say(
                &GaugeKey::new(BLUEPRINT_RESOURCES, "", &[&format!("blueprint-{number}")]),
                Some(1.0),
            );
        }
        let folded = || metric(&telemetry, r#"sluice_labels_folded_total{label="blueprint"}"#);
        assert_eq!(folded().as_deref(), Some("1800"));
        let reported: BTreeMap<_, _> = (0..2_000)
            .map(|n| (GaugeKey::new(BLUEPRINT_RESOURCES, "", &[&format!("blueprint-{n}")]), 1.0))
            .collect();
        for _ in 0..3 {
            board.show(Gauges { active_deployments: 0, reported: reported.clone() });
        }
        assert_eq!(folded().as_deref(), Some("1800"), "what did not change is not told again");
    }
}
