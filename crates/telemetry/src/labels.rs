//! Label values: enums of fixed values, and sets of names that are capped.
//!
//! An enum of fixed values is declared by [`label_values!`]. Its name ends in `Label` where it
//! mirrors an enum or a type of another crate, such as [`MethodLabel`](crate::MethodLabel).

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
};

use opentelemetry::{
    StringValue,
    metrics::{BoundCounter, Meter},
};
use parking_lot::RwLock;

use crate::metric::{Label, LabelValues, Metric, MetricKind};

/// The label value that replaces every name beyond a label's cap.
pub const OTHER: &str = "other";

/// The longest name that a label keeps, in bytes. A longer one is replaced by [`OTHER`].
pub const MAX_VALUE_BYTES: usize = 128;

/// The values that a capped label has had so far, up to its cap.
///
/// Cheap to clone; clones share their values. A value is kept until the process ends, because its
/// series is.
#[derive(Clone)]
pub(crate) struct CappedValues {
    inner: Arc<Inner>,
}

struct Inner {
    name: Cow<'static, str>,
    cap: usize,
    kept: RwLock<HashSet<Arc<str>>>,
    other: Arc<str>,
    folded: BoundCounter<u64>,
}

/// What is bound to each value of a capped label, such as its instruments, so that a record does
/// not have to look for them by all its labels.
#[derive(Debug)]
pub(crate) struct BoundValues<T> {
    values: CappedValues,
    bound: RwLock<HashMap<Box<str>, Arc<T>>>,
}

/// The label of [`FOLDED`]: the name of the label whose value was replaced.
const LABEL: Label = Label::capped("label", 32);

const FOLDED: Metric = Metric {
    name: "sluice_labels_folded_total",
    kind: MetricKind::Counter,
    unit: "{value}",
    labels: &[LABEL],
    help: "Counts label values that were replaced by `other` because their label had reached its \
           cap, by label.",
    query: "sum by (label) (increase(sluice_labels_folded_total[1h])) > 0",
};

pub(crate) const METRICS: &[Metric] = &[FOLDED];

// === impl CappedValues ===

impl CappedValues {
    /// Creates an empty set for `label`, which counts replaced values on `meter`.
    pub(crate) fn new(meter: &Meter, label: Label) -> Self {
        let cap = match label.values {
            LabelValues::Fixed(values) => values.len(),
            LabelValues::Capped(cap) => cap,
        };
        Self::named(meter, Cow::Borrowed(label.name), cap)
    }

    /// Creates an empty set that counts replaced values under `name`, which need not be the
    /// label's.
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

    /// Returns `raw` if the set has it or is below its cap, else [`OTHER`], and counts the latter.
    ///
    /// An empty name, and one longer than [`MAX_VALUE_BYTES`], is always replaced.
    pub(crate) fn value(&self, raw: &str) -> StringValue {
        let inner = &*self.inner;
        if raw == OTHER {
            return Arc::clone(&inner.other).into();
        }
        self.keep(raw).unwrap_or_else(|| Arc::clone(&inner.other)).into()
    }

    /// Returns what [`value`](Self::value) does, and counts nothing: for a value that is shown
    /// again and again, and was counted when it came.
    pub(crate) fn shown(&self, raw: &str) -> StringValue {
        self.inner.keep(raw).unwrap_or_else(|| Arc::clone(&self.inner.other)).into()
    }

    /// Returns `raw` if the set has it or is below its cap; otherwise counts it as replaced.
    pub(crate) fn keep(&self, raw: &str) -> Option<Arc<str>> {
        let kept = self.inner.keep(raw);
        if kept.is_none() {
            self.inner.folded.add(1);
        }
        kept
    }

    /// Returns `raw` if the set has it.
    pub(crate) fn get(&self, raw: &str) -> Option<Arc<str>> {
        self.inner.kept.read().get(raw).cloned()
    }
}

impl fmt::Debug for CappedValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CappedValues")
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
            // Checked under the read lock first, so that a flood of new names does not wait for the
            // write lock once the set is full.
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

// === impl BoundValues ===

impl<T> BoundValues<T> {
    /// Binds nothing yet to any of `values`.
    pub(crate) fn new(values: CappedValues) -> Self {
        Self { values, bound: RwLock::default() }
    }

    /// Returns what is bound to the value that [`CappedValues::value`] returns for `raw`. It is
    /// made by `bind` when there is none.
    pub(crate) fn get(&self, raw: &str, bind: impl FnOnce(StringValue) -> T) -> Arc<T> {
        let known = |value: &str| self.bound.read().get(value).cloned();
        if let Some(known) = known(raw) {
            return known;
        }
        let value = self.values.value(raw);
        // Looked for under the read lock, for a flood of names beyond the cap.
        if let Some(known) = known(value.as_str()) {
            return known;
        }
        let mut bound = self.bound.write();
        let place = bound.entry(value.as_str().into());
        Arc::clone(place.or_insert_with(|| Arc::new(bind(value))))
    }
}

/// Declares an enum of label values: the text of each, and its index in a table of bound
/// instruments.
macro_rules! label_values {
    ($(#[$meta:meta])* $vis:vis enum $name:ident {
        $($(#[$value_meta:meta])* $value:ident => $text:literal,)+
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        $vis enum $name { $($(#[$value_meta])* $value,)+ }

        impl $name {
            /// Every value, in the order of declaration.
            $vis const ALL: &'static [Self] = &[$(Self::$value),+];
            pub(crate) const TEXTS: &'static [&'static str] = &[$($text),+];

            /// Returns the label value as text.
            #[must_use]
            $vis const fn as_str(self) -> &'static str {
                Self::TEXTS[self.index()]
            }

            pub(crate) const fn index(self) -> usize {
                self as usize
            }
        }
    };
}
pub(crate) use label_values;

#[cfg(test)]
mod tests {
    use opentelemetry::metrics::{MeterProvider, NoopMeterProvider};
    use opentelemetry_sdk::metrics::SdkMeterProvider;

    use super::*;
    use crate::prometheus::Prometheus;

    /// A set for the label `model`, and what it counts.
    struct Fixture {
        values: CappedValues,
        prometheus: Prometheus,
        _provider: SdkMeterProvider,
    }

    fn capped_at(cap: usize) -> Fixture {
        let (prometheus, exporter) = Prometheus::with_exporter().expect("the exporter is valid");
        let provider = SdkMeterProvider::builder().with_reader(exporter).build();
        let values = CappedValues::new(&provider.meter("test"), Label::capped("model", cap));
        Fixture { values, prometheus, _provider: provider }
    }

    impl Fixture {
        fn value(&self, raw: &str) -> String {
            self.values.value(raw).as_str().to_owned()
        }

        fn folded(&self) -> String {
            let text = self.prometheus.render().expect("the metrics render");
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("sluice_labels_folded_total{label=\"model\"} "));
            line.expect("the counter exists from the start").to_owned()
        }
    }

    #[test]
    fn values_below_the_cap_are_kept() {
        let model = capped_at(2);
        assert_eq!(model.value("qwen"), "qwen");
        assert_eq!(model.value("llama"), "llama");
        assert_eq!(model.value("qwen"), "qwen");
        assert_eq!(model.folded(), "0");
    }

    #[test]
    fn a_value_beyond_the_cap_becomes_other_and_is_counted() {
        let model = capped_at(1);
        assert_eq!(model.value("qwen"), "qwen");
        assert_eq!(model.value("llama"), OTHER);
        assert_eq!(model.value("llama"), OTHER);
        assert_eq!(model.folded(), "2");
    }

    #[test]
    fn the_value_other_does_not_count_towards_the_cap() {
        let model = capped_at(1);
        assert_eq!(model.value(OTHER), OTHER);
        assert_eq!(model.value("qwen"), "qwen");
        assert_eq!(model.folded(), "0");
    }

    #[test]
    fn an_empty_or_overlong_value_becomes_other() {
        let model = capped_at(1);
        assert_eq!(model.value(""), OTHER);
        assert_eq!(model.value(&"m".repeat(MAX_VALUE_BYTES + 1)), OTHER);
        let longest = "m".repeat(MAX_VALUE_BYTES);
        assert_eq!(model.value(&longest), longest);
        assert_eq!(model.folded(), "2");
    }

    #[test]
    fn concurrent_threads_never_exceed_the_cap() {
        let model = capped_at(10);
        let kept: HashSet<String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        (0..1_000).map(|n| model.value(&format!("m{n}"))).collect::<Vec<_>>()
                    })
                })
                .collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().expect("no thread panics"))
                .collect()
        });
        assert_eq!(kept.len(), 10 + 1);
        assert_eq!(model.folded(), (4 * 990).to_string());
    }

    #[test]
    fn what_is_bound_to_a_value_is_made_once_and_beyond_the_cap_shared() {
        let Fixture { prometheus, _provider: provider, .. } = capped_at(0);
        let limit = Label::capped("limit", 1);
        let bound = BoundValues::new(CappedValues::new(&provider.meter("test"), limit));
        let get = |raw: &str, made: u32| bound.get(raw, |value| (value.to_string(), made));
        assert_eq!(*get("a", 1), ("a".to_owned(), 1));
        assert_eq!(*get("b", 2), (OTHER.to_owned(), 2));
        for raw in ["b", "c", OTHER] {
            assert_eq!(*get(raw, 3), (OTHER.to_owned(), 2));
        }
        assert_eq!(*get("a", 4), ("a".to_owned(), 1));
        let text = prometheus.render().expect("the metrics render");
        // Each use of a name beyond the cap counts, as without instruments that are bound.
        assert!(text.contains("sluice_labels_folded_total{label=\"limit\"} 3"), "{text}");
    }

    #[test]
    fn the_cap_holds_without_an_exporter() {
        let meter = NoopMeterProvider::new().meter("off");
        let values = CappedValues::new(&meter, Label::capped("model", 1));
        assert_eq!(values.value("qwen").as_str(), "qwen");
        assert_eq!(values.value("llama").as_str(), OTHER);
    }
}
