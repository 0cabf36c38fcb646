//! A parser of the Prometheus text format, so that tests read the metrics as Prometheus does.

use std::collections::BTreeMap;

pub(crate) type Labels = BTreeMap<String, String>;

/// The result of a scrape: metrics by name.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    pub(crate) metrics: BTreeMap<String, Metric>,
}

/// One metric with its samples. The samples of a histogram have the suffix `_bucket`, `_sum` or
/// `_count`.
#[derive(Debug, Default)]
pub(crate) struct Metric {
    pub(crate) kind: String,
    pub(crate) help: String,
    pub(crate) samples: Vec<Sample>,
}

#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) suffix: String,
    pub(crate) labels: Labels,
    pub(crate) value: f64,
}

impl Exposition {
    /// Parses the text of a scrape.
    ///
    /// # Panics
    ///
    /// If the text violates the format: a sample precedes its `# TYPE`, a metric is in two places,
    /// or a label has no quotes.
    pub(crate) fn parse(text: &str) -> Self {
        let mut metrics = BTreeMap::<String, Metric>::new();
        let mut current = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a help has a name and a text");
                assert!(!metrics.contains_key(name), "{name} is there twice");
                metrics.entry(name.to_owned()).or_default().help = help.to_owned();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type has a name and a kind");
                let metric = metrics.entry(name.to_owned()).or_default();
                assert!(metric.kind.is_empty(), "{name} is there twice");
                kind.clone_into(&mut metric.kind);
                name.clone_into(&mut current);
            } else {
                let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
                let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
                let suffix =
                    name.strip_prefix(current.as_str()).expect("a sample follows its type");
                metrics.get_mut(&current).expect("the type was seen").samples.push(Sample {
                    suffix: suffix.to_owned(),
                    labels: parse_labels(labels),
                    value: value.parse().expect("a value is a number"),
                });
            }
        }
        Self { metrics }
    }

    /// Returns the value of the series with exactly these labels. `name` may have a histogram's
    /// suffix.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels: Labels =
            labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        self.metrics.iter().find_map(|(metric_name, metric)| {
            let suffix = name.strip_prefix(metric_name.as_str())?;
            metric
                .samples
                .iter()
                .find(|sample| sample.suffix == suffix && sample.labels == labels)
                .map(|sample| sample.value)
        })
    }

    /// Returns the sum over all series of a metric that is not a histogram.
    pub(crate) fn sum(&self, name: &str) -> Option<f64> {
        let metric = self.metrics.get(name)?;
        Some(metric.samples.iter().map(|sample| sample.value).sum())
    }

    /// Returns the number of series of a metric. A histogram's buckets count as one series.
    pub(crate) fn series(&self, name: &str) -> usize {
        let counted = |sample: &&Sample| matches!(sample.suffix.as_str(), "" | "_count");
        self.metrics[name].samples.iter().filter(counted).count()
    }
}

/// Parses `name="value",...}` with the format's three escapes.
fn parse_labels(text: &str) -> Labels {
    let mut labels = Labels::new();
    let mut rest = text;
    while rest != "}" {
        let (name, after) = rest.split_once("=\"").expect("a label has a quoted value");
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().expect("a label's value ends") {
                (at, '"') => break at + 1,
                (_, '\\') => {
                    let (_, escaped) = chars.next().expect("a character follows the backslash");
                    value.push(if escaped == 'n' { '\n' } else { escaped });
                }
                (_, other) => value.push(other),
            }
        };
        assert!(labels.insert(name.to_owned(), value).is_none(), "{name} is there twice");
        rest = after[end..].trim_start_matches(',');
    }
    labels
}
