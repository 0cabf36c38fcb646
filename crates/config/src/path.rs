//! Where in the configuration a value stands.

use std::fmt;

/// A place in the configuration, as people write it: `limits[3].burst`,
/// `endpoints["/api/v1.2/Chat"]`. The root is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(String);

impl Path {
    /// The whole configuration.
    #[must_use]
    pub const fn root() -> Self {
        Self(String::new())
    }

    /// The place called `key` in the table at this place.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        let plain = !key.is_empty()
            && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        let Self(path) = self;
        Self(match (plain, path.is_empty()) {
            (true, true) => key.to_owned(),
            (true, false) => format!("{path}.{key}"),
            (false, _) => format!("{path}[{key:?}]"),
        })
    }

    /// The place of the item number `index`, from 0, of the list at this place.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{self}[{index}]"))
    }

    /// Whether this is the whole configuration.
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
    fn a_path_reads_as_people_write_it() {
        assert_eq!(Path::root().key("limits").index(3).key("burst").to_string(), "limits[3].burst");
        assert_eq!(
            Path::root().key("endpoints").key("/api/v1.2/Chat").key("rate").to_string(),
            "endpoints[\"/api/v1.2/Chat\"].rate"
        );
        assert_eq!(Path::root().key("a.b").to_string(), "[\"a.b\"]");
    }
}
