//! The names of variables for the keys of the grammar.

use std::collections::{BTreeMap, BTreeSet};

/// Every key, to find those that a variable means but does not name.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// The paths, as in `store.on_failure`.
    paths: BTreeSet<String>,
    /// The same paths, by their names with single underscores: `store_on_failure`.
    by_single: BTreeMap<String, String>,
}

impl Keys {
    /// Creates the set of these paths.
    pub(crate) fn new(paths: impl IntoIterator<Item = String>) -> Self {
        let paths: BTreeSet<String> = paths.into_iter().collect();
        let by_single = paths.iter().map(|path| (path.replace('.', "_"), path.clone())).collect();
        Self { paths, by_single }
    }

    /// Returns the name of the variable for what `segments`, the keys in a variable's name, mean;
    /// `None` if they are right, or mean nothing that is known.
    pub(crate) fn meant_by(&self, segments: &[String]) -> Option<String> {
        if self.paths.contains(&segments.join(".")) {
            return None;
        }
        self.of_single(&segments.join("_"))
    }

    /// Returns the name of the variable for the key with this name, in which single underscores
    /// stand between keys.
    pub(crate) fn of_single(&self, name: &str) -> Option<String> {
        self.by_single.get(name).map(|path| variable(path))
    }

    /// Returns every name with single underscores.
    pub(crate) fn singles(&self) -> impl Iterator<Item = &str> {
        self.by_single.keys().map(String::as_str)
    }
}

/// Returns the name of the variable for the key at `path`.
fn variable(path: &str) -> String {
    format!("SLUICE__{}", path.replace('.', "__").to_uppercase())
}
