//! The last known values of the fleet's gauges, and their record in this replica's metrics.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
};

use parking_lot::Mutex;
use sluice_telemetry::{ConnectionKind, Recorders};

use crate::{
    bounds::MAX_GAUGES,
    convert::nearest,
    flush::DeploymentPhase,
    gauges::{
        BLUEPRINT_RESOURCES, CACHE_HIT_RATE, CONNECTIONS, DATABASE_CONNECTIONS, GaugeKey, Gauges,
    },
};

/// Records the gauges of the fleet in this replica's metrics, so that all replicas show the same.
///
/// A local report is recorded at once. Every flush then replaces all values with those of the
/// store, which by then contain that report.
#[derive(Debug)]
pub(crate) struct LastValues {
    recorders: Recorders,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    active_deployments: u64,
    series: HashMap<Box<str>, Series>,
    /// The number of values in all series.
    reports: usize,
}

/// The reports for one series of one metric.
#[derive(Debug)]
struct Series {
    /// The key of one of its reports. The others differ in the instance only.
    key: GaugeKey,
    /// The reported values by instance.
    values: BTreeMap<Box<str>, f64>,
    /// The value in the metrics. An unchanged value is not recorded again, because a value whose
    /// label was folded into `other` is counted at each record.
    recorded: Option<f64>,
}

impl LastValues {
    pub(crate) fn new(recorders: &Recorders) -> Self {
        Self { recorders: recorders.clone(), known: Mutex::default() }
    }

    /// Replaces all values with those that the store returned, and records what has changed.
    pub(crate) fn replace(&self, gauges: Gauges) {
        let mut known = self.known.lock();
        let mut before = mem::take(&mut known.series);
        known.active_deployments = gauges.active_deployments;
        self.recorders.deployment.set_active(gauges.active_deployments);
        known.reports = gauges.reported.len();
        for (key, value) in gauges.reported {
            known
                .series
                .entry(series_name(&key))
                .or_insert_with(|| Series::new(key.clone()))
                .values
                .insert(key.instance().into(), value);
        }
        for (name, series) in &mut known.series {
            series.recorded = before.remove(name).and_then(|before| before.recorded);
            self.record(series);
        }
        // Series without any report left.
        before.into_values().for_each(|series| self.record(&mut Series::new(series.key)));
    }

    /// Records a report that this replica received; `None` removes it.
    pub(crate) fn set(&self, key: &GaugeKey, value: Option<f64>) {
        let known = &mut *self.known.lock();
        let name = series_name(key);
        let Some(value) = value else {
            if let Some(series) = known.series.get_mut(&name) {
                known.reports -= usize::from(series.values.remove(key.instance()).is_some());
            }
            return;
        };
        let is_known = known
            .series
            .get(&name)
            .is_some_and(|series| series.values.contains_key(key.instance()));
        if known.reports >= MAX_GAUGES && !is_known {
            return;
        }
        let series = known.series.entry(name).or_insert_with(|| Series::new(key.clone()));
        series.values.insert(key.instance().into(), value);
        known.reports += usize::from(!is_known);
        self.record(series);
    }

    /// Records a deployment that started or finished at this replica. The number is corrected by
    /// the next flush, since the same change may have been reported to another replica.
    pub(crate) fn change_deployment(&self, phase: DeploymentPhase) {
        let mut known = self.known.lock();
        let active = &mut known.active_deployments;
        *active = match phase {
            DeploymentPhase::Started => active.saturating_add(1),
            DeploymentPhase::Finished => active.saturating_sub(1),
        };
        self.recorders.deployment.set_active(*active);
    }

    fn record(&self, series: &mut Series) {
        let Some(value) = series.value().filter(|value| {
            series.recorded.is_none_or(|recorded| recorded.total_cmp(value).is_ne())
        }) else {
            return;
        };
        series.recorded = Some(value);
        let label = series.key.labels().next().unwrap_or_default();
        let system = &self.recorders.system;
        match series.key.metric() {
            CONNECTIONS => {
                if let Some(kind) = ConnectionKind::ALL.iter().find(|kind| kind.as_str() == label) {
                    system.set_reported_connections(*kind, nearest(value));
                }
            }
            DATABASE_CONNECTIONS => system.set_reported_database_connections(nearest(value)),
            CACHE_HIT_RATE => system.set_cache_hit_rate(label, value),
            BLUEPRINT_RESOURCES => self.recorders.blueprint.set_resources(label, nearest(value)),
            custom => {
                let Some(metric) = self.recorders.custom.metric(custom) else { return };
                let labels: Vec<(&str, &str)> =
                    metric.labels().iter().map(String::as_str).zip(series.key.labels()).collect();
                // It fails when another replica's configuration declares the metric differently.
                // Such a value cannot be recorded here.
                let _ = self.recorders.custom.set(custom, &labels, value);
            }
        }
    }
}

impl Series {
    const fn new(key: GaugeKey) -> Self {
        Self { key, values: BTreeMap::new(), recorded: None }
    }

    /// The series' value: the sum of the reports of connections, the mean of hit rates, and the
    /// only report of anything else.
    ///
    /// Without any report there are no connections; of hit rates and sizes the last recorded value
    /// stays.
    fn value(&self) -> Option<f64> {
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

/// The parts of a key that all reports for one series have in common.
fn series_name(key: &GaugeKey) -> Box<str> {
    let mut name = key.metric().to_owned();
    for label in key.labels() {
        name.push(GaugeKey::SEPARATOR);
        name.push_str(label);
    }
    name.into()
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
    fn connections_without_a_report_count_as_none() {
        let telemetry = Telemetry::builder().build().unwrap();
        let last_values = LastValues::new(telemetry.recorders());
        let key = |instance| GaugeKey::new(CONNECTIONS, instance, &["websocket"]);
        let series = r#"active_connections{kind="websocket",scope="fleet"}"#;
        last_values.set(&key("api-1"), Some(3.0));
        assert_eq!(metric(&telemetry, series).as_deref(), Some("3"));
        let reported = [(key("api-1"), 3.0), (key("api-2"), 4.0)].into();
        last_values.replace(Gauges { active_deployments: 2, reported });
        assert_eq!(metric(&telemetry, series).as_deref(), Some("7"));
        last_values.set(&key("api-2"), Some(5.0));
        assert_eq!(metric(&telemetry, series).as_deref(), Some("8"));
        last_values.replace(Gauges::default());
        assert_eq!(metric(&telemetry, series).as_deref(), Some("0"));
        assert_eq!(metric(&telemetry, "active_deployments").as_deref(), Some("0"));
    }

    #[test]
    fn a_flood_of_reports_is_bounded_and_each_is_folded_once() {
        let telemetry = Telemetry::builder().build().unwrap();
        let last_values = LastValues::new(telemetry.recorders());
        let key = |number| GaugeKey::new(BLUEPRINT_RESOURCES, "", &[&format!("web-{number}")]);
        for number in 0..10_000 {
            last_values.set(&key(number), Some(1.0));
        }
        let folded = || metric(&telemetry, r#"sluice_labels_folded_total{label="blueprint"}"#);
        assert_eq!(folded().as_deref(), Some("1800"));
        let reported: BTreeMap<_, _> = (0..2_000).map(|number| (key(number), 1.0)).collect();
        for _ in 0..3 {
            last_values.replace(Gauges { active_deployments: 0, reported: reported.clone() });
        }
        assert_eq!(folded().as_deref(), Some("1800"), "unchanged values are not recorded again");
    }
}
