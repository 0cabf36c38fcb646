//! The settings in which two configurations differ, for a review before a change. Secrets are
//! masked.

use std::collections::{BTreeMap, HashMap};

use config::{Value, ValueKind};

use crate::{
    loader::{Loaded, Loader},
    path::Path,
    reader::Hidden,
    settings::{MASK, mask_password},
    show::scalar,
};

/// A setting that differs between two configurations.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChangedSetting {
    /// The setting's path, such as `store.timeout`.
    pub path: String,
    /// The old value as it is written, or the mask of a secret; `None` without one.
    pub old: Option<String>,
    /// The new value as it is written, or the mask of a secret; `None` without one.
    pub new: Option<String>,
    /// Whether a running replica ignores the change.
    pub needs_restart: bool,
}

/// A value, and how it is shown.
#[derive(PartialEq, Eq)]
struct Shown {
    /// The whole value, which may be a secret.
    value: String,
    text: String,
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
            if new.as_ref() != Some(&old) {
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
    ChangedSetting {
        needs_restart: fixed.iter().any(|parent| is_below(&parent)),
        old: old.map(|shown| shown.text),
        new: new.map(|shown| shown.text),
        path,
    }
}

/// Returns all values that are no tables, by their paths.
fn values(loaded: &Loaded) -> BTreeMap<Path, Shown> {
    let mut values = BTreeMap::new();
    collect(&loaded.tree, &Path::root(), &loaded.hidden, &mut values);
    values
}

fn collect(
    value: &Value,
    path: &Path,
    hidden: &HashMap<Path, Hidden>,
    into: &mut BTreeMap<Path, Shown>,
) {
    let text = match (&value.kind, hidden.get(path)) {
        (ValueKind::Array(items), Some(Hidden::Items)) => format!("{} items", items.len()),
        (_, Some(Hidden::Value | Hidden::Items)) => MASK.to_owned(),
        (ValueKind::String(url), Some(Hidden::UrlPassword)) => mask_password(url).into_owned(),
        (ValueKind::Table(entries), _) if !entries.is_empty() => {
            for (key, value) in entries {
                collect(value, &path.key(key), hidden, into);
            }
            return;
        }
        (ValueKind::Array(items), _) if items.iter().any(is_collection) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, &path.index(index), hidden, into);
            }
            return;
        }
        (kind, _) => written(kind),
    };
    into.insert(path.clone(), Shown { value: written(&value.kind), text });
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

    fn changed(old: &str, new: &str) -> Vec<(String, Option<String>, Option<String>, bool)> {
        let folder = tempfile::tempdir().unwrap();
        let loader = |name: &str, text: &str| {
            let file = folder.path().join(name);
            std::fs::write(&file, text).unwrap();
            let loader = Loader::new().file(file).without_secrets();
            loader.load().unwrap_or_else(|errors| panic!("{errors}"));
            loader
        };
        let changed = loader("old.yaml", old).changed_settings(&loader("new.yaml", new));
        changed
            .into_iter()
            .map(|ChangedSetting { path, old, new, needs_restart }| (path, old, new, needs_restart))
            .collect()
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
