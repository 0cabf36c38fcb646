//! Where a value was written: in which layer of the configuration, and in which file and line,
//! variable or flag.

use std::{fmt, path::Path};

/// Where a value was written. Later variants win over earlier ones: this is the order of the
/// layers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// The built-in defaults.
    BuiltIn,
    /// A configuration file.
    File {
        /// The file's name, as it was given.
        name: String,
        /// The line, from 1; `None` for the whole file.
        line: Option<usize>,
    },
    /// An environment variable, by its name.
    Variable(String),
    /// A flag of the command line, with its dashes.
    Flag(String),
}

impl Origin {
    /// The whole file called `name`.
    pub(crate) fn file(name: impl Into<String>) -> Self {
        Self::File { name: name.into(), line: None }
    }

    /// The same origin at this line. Only files have lines.
    pub(crate) fn at_line(&self, line: usize) -> Self {
        match self {
            Self::File { name, .. } => Self::File { name: name.clone(), line: Some(line) },
            Self::BuiltIn | Self::Variable(_) | Self::Flag(_) => self.clone(),
        }
    }

    /// The layer alone, to find out which of two values wins.
    pub(crate) const fn layer(&self) -> u8 {
        match self {
            Self::BuiltIn => 0,
            Self::File { .. } => 1,
            Self::Variable(_) => 2,
            Self::Flag(_) => 3,
        }
    }

    /// Whether both are in the same file, or the same variable or flag.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File { name, .. }, Self::File { name: other, .. }) => name == other,
            _ => self == other,
        }
    }

    /// The folder that relative paths start from: a file's own, else the working directory.
    pub(crate) fn folder(&self) -> &Path {
        match self {
            Self::File { name, .. } => Path::new(name).parent().unwrap_or(Path::new("")),
            Self::BuiltIn | Self::Variable(_) | Self::Flag(_) => Path::new(""),
        }
    }

    /// The origin as the one string that the `config` crate keeps with each value.
    pub(crate) fn to_tag(&self) -> String {
        match self {
            Self::BuiltIn => "built-in:".to_owned(),
            Self::File { name, line } => format!("file:{}:{name}", line.unwrap_or(0)),
            Self::Variable(name) => format!("variable:{name}"),
            Self::Flag(name) => format!("flag:{name}"),
        }
    }

    /// Reads what [`Origin::to_tag`] wrote.
    pub(crate) fn from_tag(tag: &str) -> Option<Self> {
        let (layer, name) = tag.split_once(':')?;
        match layer {
            "built-in" => Some(Self::BuiltIn),
            "file" => {
                let (line, name) = name.split_once(':')?;
                let line = line.parse().ok().filter(|&line| line > 0);
                Some(Self::File { name: name.to_owned(), line })
            }
            "variable" => Some(Self::Variable(name.to_owned())),
            "flag" => Some(Self::Flag(name.to_owned())),
            _ => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built-in defaults"),
            Self::File { name, line: Some(line) } => write!(f, "{name}:{line}"),
            Self::File { name, line: None } | Self::Variable(name) | Self::Flag(name) => {
                f.write_str(name)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_crate_keeps_an_origin_as_it_is() {
        for origin in [
            Origin::BuiltIn,
            Origin::file("flag:odd:name.yaml"),
            Origin::file("flag:odd:name.yaml").at_line(7),
            Origin::Variable("SLUICE__STORE__URL".to_owned()),
            Origin::Flag("--store-url".to_owned()),
        ] {
            assert_eq!(Origin::from_tag(&origin.to_tag()), Some(origin));
        }
    }

    #[test]
    fn origins_are_ordered_as_the_layers_are_and_within_a_file_by_line() {
        let origins = [
            Origin::BuiltIn,
            Origin::file("z").at_line(2),
            Origin::file("z").at_line(10),
            Origin::Variable("y".to_owned()),
            Origin::Flag("x".to_owned()),
        ];
        assert!(origins.is_sorted());
        assert!(origins.is_sorted_by_key(Origin::layer));
        assert!(origins[1].is_beside(&origins[2]) && !origins[2].is_beside(&origins[3]));
    }
}
