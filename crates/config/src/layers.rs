//! The layers, merged by the `config` crate: built-in defaults < file < environment < flags.
//!
//! Tables merge key by key; everything else, lists too, replaces what an earlier layer said. Three
//! habits of the crate would lose something, so we do not lean on them (tests hold each):
//! - It reads a layer's outermost keys as paths, so that `store.url: x` would mean `store: { url: x
//!   }`. Ours stand one level down, under [`ROOT`].
//! - Its environment source lower-cases every name, endpoints' paths too, and forgets which
//!   variable a value came from. Ours is [`environment`].
//! - Its readers of files drop keys that stand twice. Ours are in [`document`].
//!
//! [`environment`]: super::environment
//! [`document`]: super::document

use config::{Config, ConfigBuilder, Map, Source, Value, ValueKind, builder::DefaultState};

use super::{error::ConfigError, origin::Origin, path::Path};

/// Under which key layers are merged.
const ROOT: &str = "sluice";

/// One layer's values, each with its origin.
#[derive(Clone, Debug)]
struct Layer(Map<String, Value>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(Map::from([(ROOT.to_owned(), Value::new(None, self.0.clone()))]))
    }
}

/// What can be spelled in two ways. Where two layers say both, the later one's counts, as if they
/// had said the same key.
const SPELLINGS: [[&str; 2]; 2] = [["requests_per_minute", "rate"], ["burst_size", "burst"]];

/// One tree of values out of `layers`, of which later ones win.
pub(crate) fn merge(layers: impl IntoIterator<Item = Map<String, Value>>) -> Map<String, Value> {
    let builder = layers
        .into_iter()
        .map(Layer)
        .fold(Config::builder(), ConfigBuilder::<DefaultState>::add_source);
    let merged = builder.build().and_then(|merged| merged.get_table(ROOT));
    let mut merged = merged.expect("values in memory can be merged, and every layer has the root");
    settle_spellings(&mut merged);
    merged
}

/// Removes, of what is spelled in both ways, what an earlier layer said. (Tiers, which are tables,
/// may be called what they like.)
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

/// A layer made of single values with a path each: variables and flags.
#[derive(Debug, Default)]
pub(crate) struct SparseLayer {
    values: Map<String, Value>,
    mistakes: Vec<ConfigError>,
}

impl SparseLayer {
    /// Notes what is wrong with `origin`.
    pub(crate) fn refuse(&mut self, origin: Origin, path: Path, message: String) {
        self.mistakes.push(ConfigError { origin, path, message });
    }

    /// Notes all of `mistakes`.
    pub(crate) fn refuse_all(&mut self, mistakes: Vec<ConfigError>) {
        self.mistakes.extend(mistakes);
    }

    /// Puts `value` at the place that `segments` lead to, unless another value of this layer stands
    /// in the way.
    pub(crate) fn put(&mut self, segments: &[String], origin: &Origin, value: Value) {
        let Some((last, tables)) = segments.split_last() else { return };
        let (mut values, mut path) = (&mut self.values, Path::root());
        for segment in tables {
            path = path.key(segment);
            let next = values
                .entry(segment.clone())
                .or_insert_with(|| Value::new(None, Map::<String, Value>::new()));
            let other = next.origin().and_then(Origin::from_tag);
            match &mut next.kind {
                ValueKind::Table(table) => values = table,
                _ => return self.refuse(origin.clone(), path, already_said(other)),
            }
        }
        match values.get(last) {
            None => {
                values.insert(last.clone(), value);
            }
            Some(other) => {
                let other = first_origin(other);
                self.refuse(origin.clone(), path.key(last), already_said(other));
            }
        }
    }

    /// The layer's values and what is wrong with it.
    pub(crate) fn finish(self) -> (Map<String, Value>, Vec<ConfigError>) {
        (self.values, self.mistakes)
    }
}

fn already_said(other: Option<Origin>) -> String {
    match other {
        Some(other) => format!("already said by {other}: keep one of them"),
        None => "said twice: keep one".to_owned(),
    }
}

/// Who said `value`, or something in it; of several, the latest layer, and in it the first by name.
pub(crate) fn first_origin(value: &Value) -> Option<Origin> {
    let own = value.origin().and_then(Origin::from_tag);
    own.or_else(|| match &value.kind {
        ValueKind::Table(values) => latest(values.values()),
        ValueKind::Array(values) => latest(values),
        _ => None,
    })
}

fn latest<'a>(values: impl IntoIterator<Item = &'a Value>) -> Option<Origin> {
    let earlier_name_wins =
        |a: &Origin, b: &Origin| a.layer().cmp(&b.layer()).then_with(|| b.cmp(a));
    values.into_iter().filter_map(first_origin).max_by(earlier_name_wins)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Document, Format};

    fn layer(origin: &Origin, yaml: &str) -> Map<String, Value> {
        let document = Document::parse(Format::Yaml, origin, yaml);
        assert_eq!(document.mistakes, []);
        document.values
    }

    fn merged(lower: &str, upper: &str) -> Map<String, Value> {
        merge([layer(&Origin::BuiltIn, lower), layer(&Origin::File("f".to_owned()), upper)])
    }

    #[test]
    fn tables_merge_and_everything_else_is_replaced() {
        let tree = merged("{a: {x: 1, y: 2}, l: [1, 2], s: {t: 1}}", "{a: {y: 3}, l: [9], s: off}");
        assert_eq!(
            tree["l"].kind,
            ValueKind::Array(vec![Value::new(Some(&"file:f".to_owned()), 9)])
        );
        assert_eq!(tree["s"].kind, ValueKind::String("off".to_owned()));
        let ValueKind::Table(a) = &tree["a"].kind else { panic!("a table") };
        assert_eq!((a["x"].origin(), a["y"].origin()), (Some("built-in:"), Some("file:f")));
        assert_eq!(
            (a["x"].kind.clone(), a["y"].kind.clone()),
            (ValueKind::I64(1), ValueKind::I64(3))
        );
    }

    #[test]
    fn of_two_spellings_the_later_layers_counts_and_one_layers_both_stay() {
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
    fn two_values_for_one_place_in_a_layer_are_refused() {
        let mut layer = SparseLayer::default();
        let said = [
            ("SLUICE__A", vec!["a"]),
            ("SLUICE__A__B", vec!["a", "b"]),
            ("SLUICE__C__D", vec!["c", "d"]),
            ("SLUICE__C", vec!["c"]),
        ];
        for (name, segments) in said {
            let (origin, segments) = (
                Origin::Variable(name.to_owned()),
                segments.into_iter().map(str::to_owned).collect::<Vec<_>>(),
            );
            layer.put(&segments, &origin, Value::new(Some(&origin.to_tag()), "x"));
        }
        let mistakes: Vec<String> = layer.finish().1.iter().map(ToString::to_string).collect();
        let expected = [
            "SLUICE__A__B: a: already said by SLUICE__A: keep one of them",
            "SLUICE__C: c: already said by SLUICE__C__D: keep one of them",
        ];
        assert_eq!(mistakes, expected);
    }
}
