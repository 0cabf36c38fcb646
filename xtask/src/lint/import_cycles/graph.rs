//! Which file imports what from which other file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The imports among the files of one crate.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Imports {
    /// The imported names by the importing and the imported file.
    names: BTreeMap<PathBuf, BTreeMap<PathBuf, BTreeSet<String>>>,
}

impl Imports {
    /// Records that `from` imports `name`, which `to` defines; a file does not import itself.
    pub(super) fn add(&mut self, from: &Path, to: &Path, name: &str) {
        if from != to {
            let imported = self.names.entry(from.to_owned()).or_default();
            imported.entry(to.to_owned()).or_default().insert(name.to_owned());
        }
    }

    /// Returns the groups of files of which each imports every other, directly or through others.
    pub(super) fn cycles(&self) -> Vec<Vec<PathBuf>> {
        let reached: BTreeMap<_, _> =
            self.names.keys().map(|file| (file, self.reachable(file))).collect();
        let mut groups = BTreeSet::new();
        for (file, files) in &reached {
            let group: Vec<_> = files
                .iter()
                .filter(|other| reached.get(*other).is_some_and(|back| back.contains(*file)))
                .map(|&other| other.clone())
                .collect();
            if group.len() > 1 {
                groups.insert(group);
            }
        }
        groups.into_iter().collect()
    }

    /// Returns the imports among these files: from, to, names.
    pub(super) fn between(&self, files: &[PathBuf]) -> Vec<(&Path, &Path, &BTreeSet<String>)> {
        let mut found = Vec::new();
        for (from, imported) in self.names.iter().filter(|(from, _)| files.contains(from)) {
            let inside = imported.iter().filter(|(to, _)| files.contains(to));
            found.extend(inside.map(|(to, names)| (from.as_path(), to.as_path(), names)));
        }
        found
    }

    /// The files that `file` imports, directly or through others.
    fn reachable(&self, file: &Path) -> BTreeSet<&PathBuf> {
        let (mut reached, mut open) = (BTreeSet::new(), vec![file]);
        while let Some(file) = open.pop() {
            for imported in self.names.get(file).into_iter().flat_map(BTreeMap::keys) {
                if reached.insert(imported) {
                    open.push(imported);
                }
            }
        }
        reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imports(pairs: &[(&str, &str)]) -> Imports {
        let mut imports = Imports::default();
        for (from, to) in pairs {
            imports.add(Path::new(from), Path::new(to), "Name");
        }
        imports
    }

    #[test]
    fn imports_in_one_direction_are_no_cycle() {
        assert!(imports(&[("a", "b"), ("a", "c"), ("b", "c"), ("c", "c")]).cycles().is_empty());
    }

    #[test]
    fn a_cycle_may_lead_through_others() {
        let cycles = imports(&[("a", "b"), ("b", "c"), ("c", "a"), ("a", "d")]).cycles();
        assert_eq!(cycles, [["a", "b", "c"].map(PathBuf::from)]);
    }

    #[test]
    fn groups_that_do_not_import_each_other_are_separate() {
        let cycles =
            imports(&[("a", "b"), ("b", "a"), ("b", "c"), ("c", "d"), ("d", "c")]).cycles();
        assert_eq!(cycles, [["a", "b"], ["c", "d"]].map(|group| group.map(PathBuf::from).to_vec()));
    }
}
