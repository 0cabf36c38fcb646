//! The settings in which two configurations differ, for a review before a change. Secrets are
//! masked.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use config::{Value, ValueKind};

use crate::{
    loader::{Loaded, Loader},
    path::Path,
    reader::Hidden,
    settings::{MASK, mask_password},
    show::scalar,
};

/// The lists whose order means nothing, and of which one item may be written without brackets.
const UNORDERED: [&str; 6] = [
    "access.tokens",
    "clients.trusted_proxies",
    "gateway.cors",
    "gateway.upgrades",
    "gateway.upstream",
    "metrics.endpoints",
];

/// A setting that differs between two configurations.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChangedSetting {
    /// The setting's path, such as `store.timeout`. Items of a list are called by their names, as
    /// in `slos[api].objective`.
    pub path: String,
    /// The old value as it is written, or the mask of a secret; `None` without one.
    pub old: Option<String>,
    /// The new value as it is written, or the mask of a secret; `None` without one.
    pub new: Option<String>,
    /// Whether a running replica ignores the change.
    pub needs_restart: bool,
    /// Whether it is a list with the same items in another order, which may mean something else.
    pub is_reordered: bool,
}

/// A value, and how it is shown.
struct Shown {
    /// The whole value, which may be a secret. Where order means nothing, sorted items.
    value: Written,
    text: String,
}

/// A value as it is written, or the items of a list.
#[derive(PartialEq, Eq)]
enum Written {
    Value(String),
    Items(Vec<String>),
}

impl Loader {
    /// Returns the settings that differ in `new`, sorted by their paths. Values are compared as
    /// they are written, each with the built-in defaults beneath.
    #[must_use]
    pub fn changed_settings(&self, new: &Self) -> Vec<ChangedSetting> {
        let (old, new) = (self.load_all(), new.load_all());
        let fixed = old.fixed.changed(&new.fixed);
        let (old_values, mut new_values) = (values(&old), values(&new));
        let mut changed = Vec::new();
        for (path, old) in old_values {
            let new = new_values.remove(&path);
            if new.as_ref().map(|new| &new.value) != Some(&old.value) {
                changed.push(changed_setting(&path, Some(old), new, &fixed));
            }
        }
        let added = new_values.into_iter();
        changed.extend(added.map(|(path, new)| changed_setting(&path, None, Some(new), &fixed)));
        changed.sort_by(|a, b| a.path.cmp(&b.path));
        changed
    }
}

fn changed_setting(
    path: &Path,
    old: Option<Shown>,
    new: Option<Shown>,
    fixed: &[&str],
) -> ChangedSetting {
    let path = path.to_string();
    let is_below = |parent: &&&str| {
        let rest = path.strip_prefix(**parent);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let is_reordered = match (&old, &new) {
        (
            Some(Shown { value: Written::Items(old), .. }),
            Some(Shown { value: Written::Items(new), .. }),
        ) => sorted(old.clone()) == sorted(new.clone()),
        _ => false,
    };
    ChangedSetting {
        is_reordered,
        needs_restart: fixed.iter().any(|parent| is_below(&parent)),
        old: old.map(|shown| shown.text),
        new: new.map(|shown| shown.text),
        path,
    }
}

/// Returns all values that are no tables, by their paths.
fn values(loaded: &Loaded) -> BTreeMap<Path, Shown> {
    let mut values = BTreeMap::new();
    let root = Place { path: Path::root(), shown: Path::root() };
    collect(&loaded.tree, &root, &loaded.hidden, &mut values);
    values
}

/// Where a value is.
struct Place {
    path: Path,
    /// The same with names of items in place of their indices.
    shown: Path,
}

fn collect(
    value: &Value,
    place: &Place,
    hidden: &HashMap<Path, Hidden>,
    into: &mut BTreeMap<Path, Shown>,
) {
    let Place { path, shown } = place;
    let text = match (&value.kind, hidden.get(path)) {
        (ValueKind::Array(items), Some(Hidden::Items)) => format!("{} items", items.len()),
        (_, Some(Hidden::Value | Hidden::Items)) => MASK.to_owned(),
        (ValueKind::String(url), Some(Hidden::UrlPassword)) => mask_password(url).into_owned(),
        (ValueKind::Table(entries), _) if !entries.is_empty() => {
            for (key, value) in entries {
                collect(value, &Place { path: path.key(key), shown: shown.key(key) }, hidden, into);
            }
            return;
        }
        (ValueKind::Array(items), _) if items.iter().any(is_collection) => {
            let names = names(items);
            for (index, item) in items.iter().enumerate() {
                let shown = match &names {
                    Some(names) => shown.item(names[index]),
                    None => shown.index(index),
                };
                collect(item, &Place { path: path.index(index), shown }, hidden, into);
            }
            return;
        }
        (kind, _) => written(kind),
    };
    let value = if UNORDERED.contains(&shown.to_string().as_str()) {
        Written::Items(sorted(items(&value.kind)))
    } else if let ValueKind::Array(_) = &value.kind {
        Written::Items(items(&value.kind))
    } else {
        Written::Value(written(&value.kind))
    };
    into.insert(shown.clone(), Shown { value, text });
}

/// Returns the names of all items, if they have different ones.
fn names(items: &[Value]) -> Option<Vec<&str>> {
    let names: Vec<&str> = items.iter().map(name).collect::<Option<_>>()?;
    let different: BTreeSet<&str> = names.iter().copied().collect();
    (different.len() == names.len()).then_some(names)
}

fn name(item: &Value) -> Option<&str> {
    match &item.kind {
        ValueKind::Table(entries) => match &entries.get("name")?.kind {
            ValueKind::String(name) => Some(name),
            _ => None,
        },
        _ => None,
    }
}

/// Returns the items of a list, or a value as the only one.
fn items(kind: &ValueKind) -> Vec<String> {
    match kind {
        ValueKind::Array(items) => items.iter().map(|item| written(&item.kind)).collect(),
        kind => vec![written(kind)],
    }
}

fn sorted(mut items: Vec<String>) -> Vec<String> {
    items.sort();
    items
}

const fn is_collection(value: &Value) -> bool {
    matches!(value.kind, ValueKind::Table(_) | ValueKind::Array(_))
}

/// Returns a value as it is written, without its origin.
fn written(kind: &ValueKind) -> String {
    match kind {
        ValueKind::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| written(&item.kind)).collect();
            format!("[{}]", items.join(", "))
        }
        kind => scalar(kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(old: &str, new: &str) -> Vec<ChangedSetting> {
        let folder = tempfile::tempdir().unwrap();
        let loader = |name: &str, text: &str| {
            let file = folder.path().join(name);
            std::fs::write(&file, text).unwrap();
            let loader = Loader::new().file(file).without_secrets();
            loader.load().unwrap_or_else(|errors| panic!("{errors}"));
            loader
        };
        loader("old.yaml", old).changed_settings(&loader("new.yaml", new))
    }

    fn changed(old: &str, new: &str) -> Vec<(String, Option<String>, Option<String>, bool)> {
        changes(old, new)
            .into_iter()
            .map(|change| (change.path, change.old, change.new, change.needs_restart))
            .collect()
    }

    #[test]
    fn items_of_lists_are_called_by_their_names_wherever_they_are() {
        let api = "{ name: api, endpoint: /a, objective: 99.9, window: 30d }";
        let fast = "{ name: fast, endpoint: /b, objective: 99, window: 7d }";
        let [a_total, b_total] =
            ["a_total", "b_total"].map(|name| format!("{{ name: {name}, kind: counter }}"));
        let file = |slos: &str, metrics: &str| {
            format!("{{ slos: [{slos}], metrics: {{ custom: [{metrics}] }} }}")
        };
        let old = file(&format!("{api}, {fast}"), &format!("{a_total}, {b_total}"));
        let moved = file(&format!("{fast}, {api}"), &format!("{b_total}, {a_total}"));
        assert_eq!(changed(&old, &moved), []);
        let faster = moved.replace("objective: 99,", "objective: 95,");
        let text = |text: &str| Some(text.to_owned());
        let expected = ("slos[fast].objective".to_owned(), text("99"), text("95"), false);
        assert_eq!(changed(&old, &faster), [expected]);
        let without = file(api, &b_total);
        let gone: Vec<String> =
            changed(&moved, &without).into_iter().map(|(path, ..)| path).collect();
        assert_eq!(
            gone,
            [
                "metrics.custom[a_total].kind",
                "metrics.custom[a_total].name",
                "slos[fast].endpoint",
                "slos[fast].name",
                "slos[fast].objective",
                "slos[fast].window",
            ]
        );
    }

    #[test]
    fn another_order_is_a_change_only_where_it_may_mean_something() {
        let of = |identify: &str, proxies: &str, endpoints: &str, upstream: &str| {
            format!(
                "{{ clients: {{ identify: [{identify}, ip], trusted_proxies: [{proxies}] }}, \
                 metrics: {{ endpoints: [{endpoints}] }}, gateway: {{ upstream: {upstream} }}, \
                 access: {{ tokens: [abcdefghijklmnop, abcdefghijklmnoq] }} }}"
            )
        };
        let old = of("bearer, 'header:x-a'", "10.0.0.0/8, 192.0.2.1", "/a, /b", "'http://a'");
        let new = of("'header:x-a', bearer", "192.0.2.1, 10.0.0.0/8", "/b, /a", "['http://a']");
        let new = new.replace("mnop, abcdefghijklmnoq", "mnoq, abcdefghijklmnop");
        let changes = changes(&old, &new);
        let [identify] = &changes[..] else { panic!("{changes:?}") };
        assert_eq!((&*identify.path, identify.is_reordered), ("clients.identify", true));
        let changes = self::changes(&old, &old.replace("bearer, ", ""));
        assert!(!changes[0].is_reordered, "{changes:?}");
    }

    #[test]
    fn what_differs_is_shown_and_secrets_are_masked() {
        let text = |text: &str| Some(text.to_owned());
        let old = "{ store: { url: 'redis://:hunter2@cache', timeout: 25ms }, \
                   clients: { secret: one, identify: [ip] }, \
                   access: { tokens: [abcdefghijklmnop] } }";
        assert_eq!(changed(old, old), []);
        let new = "{ store: { url: 'redis://:hunter3@cache', prefix: b }, \
                   clients: { secret: two, identify: [bearer, ip] }, \
                   access: { tokens: [abcdefghijklmnoq] }, log: { level: debug } }";
        let found = changed(old, new);
        for expected in [
            ("clients.identify".to_owned(), text("[ip]"), text("[bearer, ip]"), false),
            ("clients.secret".to_owned(), text("***"), text("***"), false),
            ("log.level".to_owned(), text("info"), text("debug"), true),
            ("store.prefix".to_owned(), text("sluice"), text("b"), true),
        ] {
            assert!(found.contains(&expected), "{expected:?}: {found:?}");
        }
        assert_eq!(found.len(), 6, "{found:?}");
        let shown = format!("{found:?}");
        for secret in ["hunter", "abcdef", "one", "two"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
