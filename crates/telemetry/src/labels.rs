//! Labels and what may stand in them: fixed words, or names of which only so many are kept.

use std::{borrow::Cow, collections::HashSet, fmt, sync::Arc};

use opentelemetry::{
    KeyValue, StringValue,
    metrics::{BoundCounter, Meter},
};
use parking_lot::RwLock;

use crate::catalogue::{Metric, MetricKind};

/// The value that stands for every value a label has no room for.
pub const OTHER: &str = "other";

/// The longest name a label keeps, in bytes; a longer one becomes [`OTHER`].
pub const MAX_VALUE_BYTES: usize = 128;

/// A label: its name, and the values it can take.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Label {
    /// The name on `/metrics`.
    pub name: &'static str,
    /// The values it can take.
    pub values: LabelValues,
}

/// The values a label can take.
#[derive(Clone, Copy, Debug)]
pub enum LabelValues {
    /// These and no others.
    Fixed(&'static [&'static str]),
    /// Names given by a configuration or an application: the first so many that are met, and
    /// [`OTHER`].
    Capped(usize),
}

/// The values a free-form label has taken so far, of which it never keeps more than its cap.
///
/// Cheap to clone; clones share their values. A value is kept for the life of the process, since
/// its series is.
#[derive(Clone)]
pub struct LabelSet {
    inner: Arc<Inner>,
}

struct Inner {
    name: Cow<'static, str>,
    cap: usize,
    kept: RwLock<HashSet<Arc<str>>>,
    other: Arc<str>,
    folded: BoundCounter<u64>,
}

/// The label of [`FOLDED`]: which label had no room.
const LABEL: Label = Label::capped("label", 32);

const FOLDED: Metric = Metric {
    name: "sluice_labels_folded_total",
    kind: MetricKind::Counter,
    unit: "{value}",
    labels: &[LABEL],
    help: "LabelValues that became `other` because their label had no room for them, by label.",
    query: "sum by (label) (increase(sluice_labels_folded_total[1h])) > 0",
};

pub(crate) const METRICS: &[Metric] = &[FOLDED];

// === impl Label ===

impl Label {
    pub(crate) const fn fixed(name: &'static str, values: &'static [&'static str]) -> Self {
        Self { name, values: LabelValues::Fixed(values) }
    }

    pub(crate) const fn capped(name: &'static str, cap: usize) -> Self {
        Self { name, values: LabelValues::Capped(cap) }
    }

    /// The most distinct values this label can have, [`OTHER`] included.
    #[must_use]
    pub const fn max_values(&self) -> usize {
        match self.values {
            LabelValues::Fixed(values) => values.len(),
            LabelValues::Capped(cap) => cap + 1,
        }
    }

    pub(crate) fn with(&self, value: impl Into<StringValue>) -> KeyValue {
        KeyValue::new(self.name, value.into())
    }
}

// === impl LabelSet ===

impl LabelSet {
    /// An empty set for `label`, which counts on `meter` what it had no room for.
    ///
    /// A label of fixed values has room for as many names as it has values.
    #[must_use]
    pub fn new(meter: &Meter, label: Label) -> Self {
        let cap = match label.values {
            LabelValues::Fixed(values) => values.len(),
            LabelValues::Capped(cap) => cap,
        };
        Self::named(meter, Cow::Borrowed(label.name), cap)
    }

    /// As [`LabelSet::new`], under a name that need not be a label's: what has no room is counted
    /// under it.
    pub(crate) fn named(meter: &Meter, name: Cow<'static, str>, cap: usize) -> Self {
        let folded = FOLDED.counter(meter).bind(&[LABEL.with(name.clone())]);
        Self {
            inner: Arc::new(Inner {
                name,
                cap,
                kept: RwLock::default(),
                other: OTHER.into(),
                folded,
            }),
        }
    }

    /// `raw` if the set has room for it, else [`OTHER`], which is then counted.
    ///
    /// An empty name and one longer than [`MAX_VALUE_BYTES`] never find room.
    #[must_use]
    pub fn value(&self, raw: &str) -> StringValue {
        let inner = &*self.inner;
        if raw == OTHER {
            return Arc::clone(&inner.other).into();
        }
        let value = inner.keep(raw).unwrap_or_else(|| {
            inner.folded.add(1);
            Arc::clone(&inner.other)
        });
        value.into()
    }
}

impl fmt::Debug for LabelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LabelSet")
            .field("label", &self.inner.name)
            .field("kept", &self.inner.kept.read().len())
            .field("cap", &self.inner.cap)
            .finish()
    }
}

impl Inner {
    fn keep(&self, raw: &str) -> Option<Arc<str>> {
        {
            let kept = self.kept.read();
            if let Some(value) = kept.get(raw) {
                return Some(Arc::clone(value));
            }
            // A full set stays full: a flood of new names must not queue for the write lock.
            if kept.len() >= self.cap || raw.is_empty() || raw.len() > MAX_VALUE_BYTES {
                return None;
            }
        }
        let mut kept = self.kept.write();
        if let Some(value) = kept.get(raw) {
            return Some(Arc::clone(value));
        }
        if kept.len() >= self.cap {
            return None;
        }
        let value: Arc<str> = raw.into();
        kept.insert(Arc::clone(&value));
        Some(value)
    }
}

/// Declares an enum of label values: its words, and a place for each in a table of bound
/// instruments.
macro_rules! label_values {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$value_meta:meta])* $value:ident => $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $vis enum $name { $($(#[$value_meta])* $value,)+ }

        impl $name {
            /// Every value, in the order of their places.
            $vis const ALL: &'static [Self] = &[$(Self::$value),+];
            pub(crate) const WORDS: &'static [&'static str] = &[$($word),+];

            /// The value as it stands in the label.
            #[must_use]
            $vis const fn as_str(self) -> &'static str {
                Self::WORDS[self.place()]
            }

            pub(crate) const fn place(self) -> usize {
                self as usize
            }
        }
    };
}
pub(crate) use label_values;

#[cfg(test)]
mod tests {
    use opentelemetry::metrics::MeterProvider;

    use super::*;
    use crate::Telemetry;

    fn set_of(cap: usize) -> (Telemetry, LabelSet) {
        let telemetry = Telemetry::builder().build().expect("the parts are sound");
        let set = LabelSet::new(telemetry.meter(), Label::capped("model", cap));
        (telemetry, set)
    }

    fn folded(telemetry: &Telemetry) -> String {
        let text = telemetry.prometheus().render().expect("it renders");
        let line = text
            .lines()
            .find(|line| line.starts_with("sluice_labels_folded_total{label=\"model\"}"));
        line.expect("folding is counted from the start")
            .rsplit(' ')
            .next()
            .expect("a value")
            .to_owned()
    }

    #[test]
    fn a_value_that_has_room_stays_itself() {
        let (telemetry, set) = set_of(2);
        assert_eq!(set.value("qwen").as_str(), "qwen");
        assert_eq!(set.value("llama").as_str(), "llama");
        assert_eq!(set.value("qwen").as_str(), "qwen");
        assert_eq!(folded(&telemetry), "0");
    }

    #[test]
    fn a_value_without_room_becomes_other_and_is_counted() {
        let (telemetry, set) = set_of(1);
        assert_eq!(set.value("qwen").as_str(), "qwen");
        assert_eq!(set.value("llama").as_str(), OTHER);
        assert_eq!(set.value("llama").as_str(), OTHER);
        assert_eq!(folded(&telemetry), "2");
    }

    #[test]
    fn other_takes_no_room_and_counts_as_nothing_folded() {
        let (telemetry, set) = set_of(1);
        assert_eq!(set.value(OTHER).as_str(), OTHER);
        assert_eq!(set.value("qwen").as_str(), "qwen");
        assert_eq!(folded(&telemetry), "0");
    }

    #[test]
    fn an_empty_or_overlong_value_takes_no_room() {
        let (telemetry, set) = set_of(1);
        assert_eq!(set.value("").as_str(), OTHER);
        assert_eq!(set.value(&"m".repeat(MAX_VALUE_BYTES + 1)).as_str(), OTHER);
        let longest = "m".repeat(MAX_VALUE_BYTES);
        assert_eq!(set.value(&longest).as_str(), longest);
        assert_eq!(folded(&telemetry), "2");
    }

    #[test]
    fn racing_threads_never_keep_more_than_the_cap() {
        let (telemetry, set) = set_of(10);
        let kept: HashSet<String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        (0..1_000)
                            .map(|n| set.value(&format!("m{n}")).as_str().to_owned())
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().expect("no thread panics"))
                .collect()
        });
        assert_eq!(kept.len(), 10 + 1);
        assert_eq!(folded(&telemetry), (4 * 990).to_string());
    }

    #[test]
    fn a_meter_without_readers_folds_all_the_same() {
        let meter = opentelemetry::metrics::NoopMeterProvider::new().meter("off");
        let set = LabelSet::new(&meter, Label::capped("model", 1));
        assert_eq!(set.value("qwen").as_str(), "qwen");
        assert_eq!(set.value("llama").as_str(), OTHER);
    }
}
