//! The path of a value in the configuration.

use std::{borrow::Cow, fmt};

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
        let key = shortened(key);
        let Self(path) = self;
        Self(match (is_plain(&key), path.is_empty()) {
            (true, true) => key.into_owned(),
            (true, false) => format!("{path}.{key}"),
            (false, _) => format!("{path}[{key:?}]"),
        })
    }

    /// The path of the item `index`, from 0, in the list at this path.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{self}[{index}]"))
    }

    /// The path of the item called `name` in the list at this path: `slos[api]`. A very long name
    /// is cut.
    #[must_use]
    pub fn item(&self, name: &str) -> Self {
        let name = shortened(name);
        let Self(path) = self;
        Self(if is_plain(&name) { format!("{path}[{name}]") } else { format!("{path}[{name:?}]") })
    }

    /// Whether this is the path of the whole configuration.
    #[must_use]
    pub const fn is_root(&self) -> bool {
        self.0.is_empty()
    }
}

fn shortened(key: &str) -> Cow<'_, str> {
    match key.char_indices().nth(MAX_KEY) {
        Some((end, _)) => Cow::Owned(format!("{}…", &key[..end])),
        None => Cow::Borrowed(key),
    }
}

/// Returns whether a path has `key` without quotes.
fn is_plain(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
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
        let slos = Path::root().key("slos");
        assert_eq!(slos.item("api").key("window").to_string(), "slos[api].window");
        assert_eq!(slos.item("a b").to_string(), "slos[\"a b\"]");
        assert!(Path::root().key(&"ä".repeat(1_000_000)).to_string().len() < 300);
    }
}
