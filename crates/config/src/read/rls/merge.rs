//! Tables as these files mean them: `<<` merges other tables, and of a key that is written twice
//! the last one counts.

use std::collections::HashMap;

use crate::document::{Entry, Kind, Located};

/// A table's entries, each key once, in order.
pub(super) struct Merged<'a> {
    pub(super) entries: Vec<&'a Entry>,
    /// The keys that were written twice: the last of each, and the line of the one before.
    pub(super) twice: Vec<(&'a Entry, usize)>,
    /// The values of `<<` that cannot be merged.
    pub(super) unmergeable: Vec<&'a Located>,
}

/// Merges the entries of a table.
pub(super) fn merge(all: &[Entry]) -> Merged<'_> {
    let mut merged = Merged { entries: Vec::new(), twice: Vec::new(), unmergeable: Vec::new() };
    let mut places: HashMap<&str, usize> = HashMap::new();
    for entry in all.iter().filter(|entry| !entry.is_merge) {
        match places.get(entry.key.as_str()) {
            Some(&place) => {
                merged.twice.push((entry, merged.entries[place].value.line));
                merged.entries[place] = entry;
            }
            None => {
                places.insert(&entry.key, merged.entries.len());
                merged.entries.push(entry);
            }
        }
    }
    // A table's own entries win, and of the merged ones the first.
    for Entry { value, .. } in all.iter().filter(|entry| entry.is_merge) {
        match merged_tables(value) {
            Some(tables) => {
                for entry in tables.into_iter().flat_map(|table| merge(table).entries) {
                    places.entry(&entry.key).or_insert_with(|| {
                        merged.entries.push(entry);
                        merged.entries.len() - 1
                    });
                }
            }
            None => merged.unmergeable.push(value),
        }
    }
    merged
}

/// The tables that `<<: value` merges: one, or the items of a list.
fn merged_tables(value: &Located) -> Option<Vec<&[Entry]>> {
    match value.node.kind() {
        Kind::Table(entries) => Some(vec![entries]),
        Kind::List(items) => items
            .iter()
            .map(|item| match item.node.kind() {
                Kind::Table(entries) => Some(entries.as_slice()),
                Kind::Scalar(..) | Kind::List(_) => None,
            })
            .collect(),
        Kind::Scalar(..) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::{document::parse_yaml, read::rls::scalar};

    /// The keys of the table `t` in `text`, each with its value's line, and how many are refused.
    fn merged(text: &str) -> (String, usize, usize) {
        let root = parse_yaml(text, scalar::meaning).unwrap().root;
        let Kind::Table(entries) = root.node.kind() else { panic!("a table") };
        let table = entries.iter().find(|entry| entry.key == "t").unwrap();
        let node = Rc::clone(&table.value.node);
        let Kind::Table(entries) = node.kind() else { panic!("a table") };
        let Merged { entries, twice, unmergeable } = merge(entries);
        let shown = |entry: &&Entry| match entry.value.node.kind() {
            Kind::Scalar(text, _) => format!("{}={text}", entry.key),
            Kind::List(_) | Kind::Table(_) => entry.key.clone(),
        };
        let shown: Vec<String> = entries.iter().map(shown).collect();
        (shown.join(" "), twice.len(), unmergeable.len())
    }

    #[test]
    fn a_tables_own_keys_win_over_merged_ones_and_the_first_of_those() {
        let base = "a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\n";
        let merged = |table: &str| merged(&format!("{base}t: {table}\n"));
        assert_eq!(merged("{<<: *a, y: 5}"), ("y=5 x=1".to_owned(), 0, 0));
        assert_eq!(merged("{<<: [*a, *b]}"), ("x=1 y=2 z=4".to_owned(), 0, 0));
        assert_eq!(merged("{<<: {<<: *b, y: 7}}"), ("y=7 z=4".to_owned(), 0, 0));
        assert_eq!(merged("{'<<': 1}"), ("<<=1".to_owned(), 0, 0));
        assert_eq!(merged("{<<: 1, z: 1}"), ("z=1".to_owned(), 0, 1));
        assert_eq!(merged("{<<: [*a, [*b]]}"), (String::new(), 0, 1));
    }

    #[test]
    fn of_a_key_that_is_written_twice_the_last_counts() {
        assert_eq!(merged("t: {b: 1, c: 2, b: 3}"), ("b=3 c=2".to_owned(), 1, 0));
    }
}
