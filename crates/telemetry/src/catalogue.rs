//! The list of all metrics, each of which is defined beside its recorder.

#[cfg(target_os = "linux")]
use crate::recorders::process;
use crate::{
    labels,
    metric::Metric,
    recorders::{
        blueprint, certificates, clients, cost, decisions, deployment, exports, history, holds,
        http, http_exempt, llm, models, rate_limit, replica, rls, slo, slots, store, system, tool,
        upstream,
    },
};

/// The metrics of each file, in the order of docs/metrics.md.
const METRICS: &[&[Metric]] = &[
    http::METRICS,
    http_exempt::METRICS,
    llm::METRICS,
    blueprint::METRICS,
    deployment::METRICS,
    cost::METRICS,
    tool::METRICS,
    rate_limit::METRICS,
    system::METRICS,
    #[cfg(target_os = "linux")]
    process::METRICS,
    decisions::METRICS,
    holds::METRICS,
    slots::METRICS,
    clients::METRICS,
    slo::METRICS,
    store::METRICS,
    rls::METRICS,
    upstream::METRICS,
    models::METRICS,
    replica::METRICS,
    certificates::METRICS,
    history::METRICS,
    exports::METRICS,
    labels::METRICS,
];

/// Returns every metric that Sluice has, in the order of its documentation.
///
/// # Examples
///
/// ```
/// let names: Vec<_> = sluice_telemetry::catalogue().map(|metric| metric.name).collect();
/// assert!(names.contains(&"http_requests_total"));
/// ```
pub fn catalogue() -> impl Iterator<Item = &'static Metric> {
    METRICS.iter().copied().flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::metric::{MAX_SERIES, MetricKind};

    #[test]
    fn every_metric_is_listed_once() {
        let mut names = HashSet::new();
        for metric in catalogue() {
            assert!(names.insert(metric.name), "{} is listed twice", metric.name);
        }
    }

    #[test]
    fn labels_are_in_alphabetical_order() {
        // The SDK keeps a second entry for a label combination that it gets in another order.
        for metric in catalogue() {
            assert!(metric.labels.is_sorted_by_key(|label| label.name), "{}", metric.name);
        }
    }

    #[test]
    fn names_end_with_their_unit() {
        for metric in catalogue() {
            assert_eq!(
                metric.name.ends_with("_total"),
                metric.kind == MetricKind::Counter,
                "{}",
                metric.name
            );
            let suffix = match metric.unit {
                "s" => "_seconds",
                "By" => "_bytes",
                _ => continue,
            };
            assert!(metric.name.trim_end_matches("_total").ends_with(suffix), "{}", metric.name);
        }
    }

    #[test]
    fn help_texts_are_sentences() {
        for metric in catalogue() {
            assert!(metric.help.starts_with(|first: char| first.is_uppercase()), "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
    }

    #[test]
    fn histogram_boundaries_increase() {
        for metric in catalogue() {
            if let MetricKind::Histogram(boundaries) = metric.kind {
                assert!(!boundaries.is_empty(), "{}", metric.name);
                assert!(boundaries.is_sorted_by(|left, right| left < right), "{}", metric.name);
            }
        }
    }

    #[test]
    fn no_metric_has_more_series_than_the_maximum() {
        for metric in catalogue() {
            assert!((1..=MAX_SERIES).contains(&metric.max_series()), "{}", metric.name);
        }
    }
}
