//! The layers, merged by the `config` crate: built-in defaults < file < environment < flags.
//!
//! Tables are merged key by key; any other value, also a list, replaces that of an earlier layer.
//! Three properties of the crate would lose something, so it only merges (tests check each):
//! - It reads the outermost keys of a layer as paths, so that `store.url: x` would mean `store: {
//!   url: x }`. Here all keys are one level lower, under [`ROOT`].
//! - Its environment source lower-cases every name, also the paths of endpoints, and forgets the
//!   variable. Here variables are read by [`environment`].
//! - Its readers of files drop keys that are written twice, and forget lines. Here files are read
//!   by [`document`].
//!
//! [`environment`]: crate::environment
//! [`document`]: crate::document

use std::{collections::HashMap, sync::Arc};

use config::{Config, ConfigBuilder, Map, Source, Value, ValueKind, builder::DefaultState};

use crate::{
    document::{Entry, Kind, Located, Scalar},
    error::ErrorLog,
    origin::Origin,
    path::Path,
};

/// The key under which layers are merged.
const ROOT: &str = "sluice";

/// The values of one layer, each with its origin. Shared, since a layer may be large.
#[derive(Clone, Debug)]
struct Layer(Arc<Map<String, Value>>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(Map::from([(ROOT.to_owned(), Value::new(None, Map::clone(&self.0)))]))
    }
}

/// Settings with two spellings. Where two layers use both, the later layer's value counts, as if
/// they had used the same key.
const SPELLINGS: [[&str; 2]; 2] = [["requests_per_minute", "rate"], ["burst_size", "burst"]];

/// Returns the values of a document, each with its origin. Records an error for each key that is
/// written twice in a table, or is not text; the other values are returned all the same, so that
/// their errors are found in the same run.
pub(crate) fn values(root: &Located, origin: &Origin, errors: &ErrorLog) -> Value {
    Conversion { origin, errors }.value(root, Parent::Root)
}

/// Turns the values of a document into those of the `config` crate.
struct Conversion<'d> {
    origin: &'d Origin,
    errors: &'d ErrorLog,
}

/// The way from the root to a value; its path is only made for an error.
#[derive(Clone, Copy)]
enum Parent<'p> {
    Root,
    Key(&'p Parent<'p>, &'p str),
    Item(&'p Parent<'p>, usize),
}

impl Parent<'_> {
    fn path(&self) -> Path {
        match self {
            Self::Root => Path::root(),
            Self::Key(parent, key) => parent.path().key(key),
            Self::Item(parent, index) => parent.path().index(*index),
        }
    }
}

impl Conversion<'_> {
    fn value(&self, value: &Located, at: Parent<'_>) -> Value {
        let kind = match value.node.kind() {
            Kind::Scalar(text, Scalar::Text) => ValueKind::String(text.clone()),
            Kind::Scalar(_, Scalar::Null) => ValueKind::Nil,
            Kind::Scalar(_, Scalar::Bool(value)) => ValueKind::Boolean(*value),
            Kind::Scalar(_, Scalar::Integer(number)) => integer(*number),
            Kind::Scalar(_, Scalar::Float(number)) => ValueKind::Float(*number),
            Kind::List(items) => {
                let item = |(i, item)| self.value(item, Parent::Item(&at, i));
                ValueKind::Array(items.iter().enumerate().map(item).collect())
            }
            Kind::Table(entries) => ValueKind::Table(self.table(entries, at)),
        };
        Value::new(Some(&self.origin.at_line(value.line).to_tag()), kind)
    }

    fn table(&self, entries: &[Entry], at: Parent<'_>) -> Map<String, Value> {
        let mut values = Map::new();
        let mut lines: HashMap<&str, usize> = HashMap::new();
        for Entry { key, meaning, value, .. } in entries {
            let at = Parent::Key(&at, key);
            let first = lines.get(key.as_str()).copied();
            let message = || match (first, self.origin) {
                (None, _) => "a key must be text: put it in quotes".to_owned(),
                (Some(first), Origin::File { .. }) => {
                    format!("already written in line {first}: keep one")
                }
                (Some(_), _) => "written twice: keep one".to_owned(),
            };
            if *meaning == Scalar::Null || first.is_some() {
                self.errors.refuse(|| self.origin.at_line(value.line), || at.path(), message);
            }
            lines.entry(key).or_insert(value.line);
            values.insert(key.clone(), self.value(value, at));
        }
        values
    }
}

fn integer(number: i128) -> ValueKind {
    i64::try_from(number).map_or(ValueKind::I128(number), ValueKind::I64)
}

/// Returns one tree of the values of `layers`, of which later ones win.
pub(crate) fn merge(layers: Vec<Map<String, Value>>) -> Map<String, Value> {
    let layers: Vec<Layer> = layers.into_iter().map(|values| Layer(Arc::new(values))).collect();
    let builder =
        layers.iter().cloned().fold(Config::builder(), ConfigBuilder::<DefaultState>::add_source);
    // Taken out of the result, not copied.
    let merged = builder.build().and_then(|merged| merged.cache.into_table());
    let root = merged.ok().and_then(|mut tree| tree.remove(ROOT)?.into_table().ok());
    let mut merged = root.expect("values in memory can be merged, and every layer has the root");
    for Layer(layer) in &layers {
        restore_origins(&mut merged, layer);
    }
    settle_spellings(&mut merged);
    merged
}

/// Gives tables their origins back, which the `config` crate forgets when it merges.
fn restore_origins(merged: &mut Map<String, Value>, layer: &Map<String, Value>) {
    for (key, value) in layer {
        let (ValueKind::Table(values), Some(table)) = (&value.kind, merged.get_mut(key)) else {
            continue;
        };
        if let ValueKind::Table(merged) = &mut table.kind {
            restore_origins(merged, values);
            if let Some(origin) = value.origin().map(str::to_owned) {
                *table = Value::new(Some(&origin), std::mem::take(&mut table.kind));
            }
        }
    }
}

/// Removes, of what is spelled in both ways, the earlier layer's value. (Tiers, which are tables,
/// may have any name.)
fn settle_spellings(values: &mut Map<String, Value>) {
    for [one, other] in SPELLINGS {
        let layer = |name: &str| {
            values
                .get(name)
                .filter(|value| !is_table(value))
                .and_then(first_origin)
                .map(|origin| origin.layer())
        };
        match (layer(one), layer(other)) {
            (Some(first), Some(second)) if first < second => drop(values.remove(one)),
            (Some(first), Some(second)) if first > second => drop(values.remove(other)),
            _ => {}
        }
    }
    for value in values.values_mut() {
        if let ValueKind::Table(values) = &mut value.kind {
            settle_spellings(values);
        }
    }
}

const fn is_table(value: &Value) -> bool {
    matches!(value.kind, ValueKind::Table(_))
}

/// A layer of single values, each with its path: variables and flags.
#[derive(Debug, Default)]
pub(crate) struct SparseLayer(Map<String, Value>);

impl SparseLayer {
    /// Sets the value at `segments`. Refuses it if this layer has another value there.
    pub(crate) fn put(
        &mut self,
        segments: &[String],
        origin: &Origin,
        value: Value,
        errors: &ErrorLog,
    ) {
        let refuse = |path: &Path, other: Option<Origin>| {
            errors.refuse(|| origin.clone(), || path.clone(), || already_set(other));
        };
        let Some((last, tables)) = segments.split_last() else { return };
        let (mut values, mut path) = (&mut self.0, Path::root());
        for segment in tables {
            path = path.key(segment);
            let next = values
                .entry(segment.clone())
                .or_insert_with(|| Value::new(None, Map::<String, Value>::new()));
            let other = next.origin().and_then(Origin::from_tag);
            match &mut next.kind {
                ValueKind::Table(table) => values = table,
                _ => return refuse(&path, other),
            }
        }
        match values.get(last) {
            None => {
                values.insert(last.clone(), value);
            }
            Some(other) => {
                refuse(&path.key(last), first_origin(other));
            }
        }
    }

    /// Returns the layer's values.
    pub(crate) fn finish(self) -> Map<String, Value> {
        self.0
    }
}

fn already_set(other: Option<Origin>) -> String {
    match other {
        Some(other) => format!("already set by {other}: keep one of them"),
        None => "set twice: keep one".to_owned(),
    }
}

/// Returns the origin of `value`, or of something in it that a later layer set: of several, one of
/// the latest layer, and there the first.
pub(crate) fn first_origin(value: &Value) -> Option<Origin> {
    let own = value.origin().and_then(Origin::from_tag);
    match &value.kind {
        // A table may hold values of later layers than its own.
        // Else its own origin counts: an alias in it has values in earlier lines.
        ValueKind::Table(values) => match (own, latest(values.values().filter_map(first_origin))) {
            (Some(own), Some(inner)) if own.layer() < inner.layer() => Some(inner),
            (own, inner) => own.or(inner),
        },
        ValueKind::Array(values) => own.or_else(|| latest(values.iter().filter_map(first_origin))),
        _ => own,
    }
}

fn latest(origins: impl Iterator<Item = Origin>) -> Option<Origin> {
    origins.max_by(|a, b| a.layer().cmp(&b.layer()).then_with(|| b.cmp(a)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Format;

    fn layer(origin: &Origin, yaml: &str) -> Map<String, Value> {
        let errors = ErrorLog::default();
        let document = Format::Yaml.parse(yaml).unwrap();
        match values(&document.root, origin, &errors).kind {
            ValueKind::Table(values) => values,
            other => panic!("{other}"),
        }
    }

    fn merged(lower: &str, upper: &str) -> Map<String, Value> {
        merge(vec![layer(&Origin::BuiltIn, lower), layer(&Origin::file("f"), upper)])
    }

    #[test]
    fn tables_merge_and_everything_else_is_replaced() {
        let tree = merged("{a: {x: 1, y: 2}, l: [1, 2], s: {t: 1}}", "{a: {y: 3}, l: [9], s: off}");
        assert_eq!(
            tree["l"].kind,
            ValueKind::Array(vec![Value::new(Some(&"file:1:f".to_owned()), 9)])
        );
        assert_eq!(tree["s"].kind, ValueKind::String("off".to_owned()));
        let ValueKind::Table(a) = &tree["a"].kind else { panic!("a table") };
        assert_eq!((a["x"].origin(), a["y"].origin()), (Some("built-in:"), Some("file:1:f")));
        assert_eq!(
            (a["x"].kind.clone(), a["y"].kind.clone()),
            (ValueKind::I64(1), ValueKind::I64(3))
        );
    }

    #[test]
    fn of_two_spellings_the_later_layer_wins_and_both_of_one_layer_stay() {
        let keys = |tree: &Map<String, Value>| {
            let ValueKind::Table(a) = &tree["a"].kind else { panic!("a table") };
            let mut keys: Vec<String> = a.keys().cloned().collect();
            keys.sort();
            keys
        };
        assert_eq!(
            keys(&merged("{a: {requests_per_minute: 1, burst: 2}}", "{a: {rate: 1/s}}")),
            ["burst", "rate"]
        );
        assert_eq!(keys(&merged("{a: {burst: 2}}", "{a: {burst_size: 3}}")), ["burst_size"]);
        assert_eq!(
            keys(&merged("{}", "{a: {rate: 1/s, requests_per_minute: 1}}")),
            ["rate", "requests_per_minute"]
        );
        assert_eq!(
            keys(&merged("{a: {rate: {}}}", "{a: {requests_per_minute: {multiply: 2}}}")),
            ["rate", "requests_per_minute"]
        );
    }

    #[test]
    fn a_key_is_never_read_as_a_path_and_keeps_its_case() {
        let tree = merged(
            "{store: {url: a}}",
            "{store.url: b, 'l[0]': c, endpoints: {/api/v1.2/Chat: 20}}",
        );
        assert_eq!(tree["store.url"].kind, ValueKind::String("b".to_owned()));
        assert_eq!(tree["l[0]"].kind, ValueKind::String("c".to_owned()));
        let ValueKind::Table(endpoints) = &tree["endpoints"].kind else { panic!("a table") };
        assert_eq!(endpoints["/api/v1.2/Chat"].kind, ValueKind::I64(20));
        assert_eq!(first_origin(&tree["store"]), Some(Origin::BuiltIn));
    }

    #[test]
    fn a_table_keeps_the_line_of_its_key() {
        let tree = merged("{a: {b: 1}}", "\na:\n  c: 2\nd: {}\n");
        let origin = |key: &str| first_origin(&tree[key]).map(|origin| origin.to_string());
        assert_eq!((origin("a"), origin("d")), (Some("f:2".to_owned()), Some("f:4".to_owned())));
    }

    #[test]
    fn every_key_that_is_written_twice_is_refused() {
        let errors = ErrorLog::default();
        let text =
            "a:\n  /x: 1\n  /y: {b: 1, b: 2}\n  /x: 2\nc: [{d: 1, d: 2}]\n~: 1\n5: a\n'5': b";
        let root = Format::Yaml.parse(text).unwrap().root;
        let read = values(&root, &Origin::file("f"), &errors).to_string();
        assert!(read.contains("d => 2"), "{read}");
        let expected = [
            "f:3: a[\"/y\"].b: already written in line 3: keep one",
            "f:4: a[\"/x\"]: already written in line 2: keep one",
            "f:5: c[0].d: already written in line 5: keep one",
            "f:6: [\"~\"]: a key must be text: put it in quotes",
            "f:8: 5: already written in line 7: keep one",
        ];
        assert_eq!(errors.into_errors().lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn two_values_for_one_path_in_a_layer_are_refused() {
        let (mut layer, errors) = (SparseLayer::default(), ErrorLog::default());
        let set = [
            ("SLUICE__A", vec!["a"]),
            ("SLUICE__A__B", vec!["a", "b"]),
            ("SLUICE__C__D", vec!["c", "d"]),
            ("SLUICE__C", vec!["c"]),
        ];
        for (name, segments) in set {
            let (origin, segments) = (
                Origin::Variable(name.to_owned()),
                segments.into_iter().map(str::to_owned).collect::<Vec<_>>(),
            );
            layer.put(&segments, &origin, Value::new(Some(&origin.to_tag()), "x"), &errors);
        }
        let expected = [
            "SLUICE__A__B: a: already set by SLUICE__A: keep one of them",
            "SLUICE__C: c: already set by SLUICE__C__D: keep one of them",
        ];
        assert_eq!(errors.into_errors().lines().collect::<Vec<_>>(), expected);
    }
}
