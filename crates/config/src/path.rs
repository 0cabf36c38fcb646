//! The path of a value in the configuration.

use std::fmt;

/// How much of a key a path shows, in characters: a file may hold keys of a megabyte, and every
/// value below them has a path.
const MAX_KEY: usize = 100;

/// The path of a value in the configuration: `limits[3].burst`, `endpoints["/api/v1.2/Chat"]`. The
/// root's is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(String);

impl Path {
    /// The path of the whole configuration.
    #[must_use]
    pub const fn root() -> Self {
        Self(String::new())
    }

    /// The path of `key` in the table at this path. A very long key is cut.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        let cut = key.char_indices().nth(MAX_KEY).map(|(end, _)| format!("{}…", &key[..end]));
        let key = cut.as_deref().unwrap_or(key);
        let plain = !key.is_empty()
            && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        let Self(path) = self;
        Self(match (plain, path.is_empty()) {
            (true, true) => key.to_owned(),
            (true, false) => format!("{path}.{key}"),
            (false, _) => format!("{path}[{key:?}]"),
        })
    }

    /// The path of the item `index`, from 0, in the list at this path.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{self}[{index}]"))
    }

    /// Whether this is the path of the whole configuration.
    #[must_use]
    pub const fn is_root(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_displayed_as_people_write_it() {
        assert_eq!(Path::root().key("limits").index(3).key("burst").to_string(), "limits[3].burst");
        assert_eq!(
            Path::root().key("endpoints").key("/api/v1.2/Chat").key("rate").to_string(),
            "endpoints[\"/api/v1.2/Chat\"].rate"
        );
        assert_eq!(Path::root().key("a.b").to_string(), "[\"a.b\"]");
        assert!(Path::root().key(&"ä".repeat(1_000_000)).to_string().len() < 300);
    }
}
