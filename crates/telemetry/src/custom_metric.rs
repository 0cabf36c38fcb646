//! Checks that a custom metric can exist beside the metrics of the catalogue.

use crate::{
    catalogue::catalogue,
    metric::MetricKind,
    recorders::custom::{CustomKind, CustomMetric},
};

/// The most labels that a custom metric can have.
pub const MAX_CUSTOM_LABELS: usize = 5;
const MAX_NAME_BYTES: usize = 100;
const MAX_BOUNDARIES: usize = 50;

/// Why a custom metric cannot be declared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CustomMetricError {
    /// The name is not valid for a metric.
    #[error(
        "`{name}` is not a valid metric name: use at most {MAX_NAME_BYTES} letters, digits and \
         `_`, and do not start with a digit"
    )]
    Name {
        /// The metric's name.
        name: String,
    },
    /// The name belongs to another metric, or would be read as another metric's.
    #[error(
        "`{name}` is the name of one of Sluice's metrics, or starts with a reserved prefix: \
         choose another name"
    )]
    Taken {
        /// The metric's name.
        name: String,
    },
    /// The name of a counter has to end in `_total`, and no other name may.
    #[error("`{name}`: the name of a counter must end in `_total`, and no other name may")]
    Suffix {
        /// The metric's name.
        name: String,
    },
    /// The name is not valid for a label.
    #[error(
        "`{label}` is not a valid label name: use letters, digits and `_`, do not start with a \
         digit or `__`, and do not use `le` or `quantile`"
    )]
    Label {
        /// The label's name.
        label: String,
    },
    /// The same label is given twice.
    #[error("the label `{label}` is given twice: keep one")]
    LabelTwice {
        /// The label's name.
        label: String,
    },
    /// There are too many labels.
    #[error(
        "{count} labels are too many: each one multiplies the number of series, so use at most \
         {MAX_CUSTOM_LABELS}"
    )]
    TooManyLabels {
        /// The number of labels.
        count: usize,
    },
    /// The boundaries are too many, or not in ascending order.
    #[error(
        "the boundaries must be at most {MAX_BOUNDARIES} numbers, each greater than the one before"
    )]
    Boundaries,
}

impl CustomMetric {
    /// Creates a metric with this name, kind and labels.
    ///
    /// # Errors
    ///
    /// [`CustomMetricError`] if the metric cannot exist beside Sluice's own.
    pub fn new(name: &str, kind: CustomKind, labels: &[&str]) -> Result<Self, CustomMetricError> {
        check_name(name, &kind)?;
        check_labels(labels)?;
        if let CustomKind::Histogram(boundaries) = &kind {
            check_boundaries(boundaries)?;
        }
        Ok(Self::from_checked(name, kind, labels.iter().map(|&label| label.to_owned()).collect()))
    }
}

fn check_name(name: &str, kind: &CustomKind) -> Result<(), CustomMetricError> {
    let name_owned = || name.to_owned();
    if !is_identifier(name) || name.len() > MAX_NAME_BYTES {
        return Err(CustomMetricError::Name { name: name_owned() });
    }
    if is_taken(name) {
        return Err(CustomMetricError::Taken { name: name_owned() });
    }
    if name.ends_with("_total") != (*kind == CustomKind::Counter) {
        return Err(CustomMetricError::Suffix { name: name_owned() });
    }
    Ok(())
}

fn check_labels(labels: &[&str]) -> Result<(), CustomMetricError> {
    const RESERVED: [&str; 3] = ["le", "quantile", "otel_metric_overflow"];
    if labels.len() > MAX_CUSTOM_LABELS {
        return Err(CustomMetricError::TooManyLabels { count: labels.len() });
    }
    for (i, &label) in labels.iter().enumerate() {
        if !is_identifier(label) || label.starts_with("__") || RESERVED.contains(&label) {
            return Err(CustomMetricError::Label { label: label.to_owned() });
        }
        if labels[..i].contains(&label) {
            return Err(CustomMetricError::LabelTwice { label: label.to_owned() });
        }
    }
    Ok(())
}

fn check_boundaries(boundaries: &[f64]) -> Result<(), CustomMetricError> {
    let ascending = boundaries.is_sorted_by(|left, right| left < right);
    let finite = boundaries.iter().all(|boundary| boundary.is_finite());
    if boundaries.len() > MAX_BOUNDARIES || !ascending || !finite {
        return Err(CustomMetricError::Boundaries);
    }
    Ok(())
}

/// Whether `name` has only letters, digits and `_`, and does not start with a digit. This is valid
/// both for metrics and for labels.
fn is_identifier(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Whether `name`, or a series of a metric with this name, would be confused with another metric or
/// its series.
fn is_taken(name: &str) -> bool {
    const RESERVED_PREFIXES: [&str; 5] = ["sluice_", "otel_", "process_", "scrape_", "__"];
    const RESERVED_NAMES: [&str; 2] = ["up", "target_info"];
    // A histogram's series on `/metrics` have these suffixes.
    const SUFFIXES: [&str; 3] = ["_bucket", "_sum", "_count"];

    let stem = SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix));
    let collides = |known: &str, kind: MetricKind| {
        known == name
            || (matches!(kind, MetricKind::Histogram(_)) && stem == Some(known))
            || SUFFIXES.iter().any(|suffix| known.strip_suffix(suffix) == Some(name))
    };
    RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || RESERVED_NAMES.contains(&name)
        || catalogue().any(|metric| collides(metric.name, metric.kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(name: &str, kind: CustomKind, labels: &[&str]) -> CustomMetricError {
        CustomMetric::new(name, kind, labels).expect_err(name)
    }

    #[test]
    fn an_invalid_name_is_rejected() {
        for name in ["", "9lives", "a-b", "a:b", "ä", &"x".repeat(101)] {
            let error = error(name, CustomKind::Gauge, &[]);
            assert_eq!(error, CustomMetricError::Name { name: name.to_owned() });
        }
    }

    #[test]
    fn a_name_that_could_be_confused_with_another_metric_is_rejected() {
        for name in [
            "sluice_mine",
            "up",
            "http_request_duration_seconds_sum",
            "active_deployments",
            "process_mine",
            "__name",
        ] {
            let error = error(name, CustomKind::Gauge, &[]);
            assert_eq!(error, CustomMetricError::Taken { name: name.to_owned() });
        }
    }

    #[test]
    fn only_the_name_of_a_counter_ends_in_total() {
        for (name, kind) in [("mine", CustomKind::Counter), ("mine_total", CustomKind::Gauge)] {
            let error = error(name, kind, &[]);
            assert_eq!(error, CustomMetricError::Suffix { name: name.to_owned() });
        }
    }

    #[test]
    fn invalid_labels_are_rejected() {
        let error = |labels: &[&str]| error("mine", CustomKind::Gauge, labels);
        for label in ["le", "a b", "__a"] {
            assert_eq!(error(&[label]), CustomMetricError::Label { label: label.to_owned() });
        }
        assert_eq!(error(&["a", "a"]), CustomMetricError::LabelTwice { label: "a".to_owned() });
        let too_many = CustomMetricError::TooManyLabels { count: 6 };
        assert_eq!(error(&["a", "b", "c", "d", "e", "f"]), too_many);
    }

    #[test]
    fn boundaries_must_be_finite_and_ascending() {
        for boundaries in [vec![2.0, 1.0], vec![1.0, 1.0], vec![f64::NAN], vec![1.0, f64::INFINITY]]
        {
            let error = error("mine", CustomKind::Histogram(boundaries), &[]);
            assert_eq!(error, CustomMetricError::Boundaries);
        }
    }
}
