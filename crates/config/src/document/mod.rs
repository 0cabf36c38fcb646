//! Reads YAML, JSON and TOML into one tree, in which every value knows its line.
//!
//! The tree is bounded, whatever a document holds: in its depth, and in the number of its values
//! with every alias written out. Files are bounded by [`MAX_BYTES`].
//! It keeps keys that are written twice, since only its reader knows what they mean.

mod json;
mod node;
mod toml;
mod yaml;

use std::path::Path;

pub(crate) use node::{Document, Entry, Kind, Located, MAX_BYTES, Scalar, SyntaxError};
pub(crate) use yaml::{is_core, parse as parse_yaml, version_1_2};

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// `.yaml`, `.yml`.
    Yaml,
    /// `.toml`.
    Toml,
    /// `.json`.
    Json,
}

impl Format {
    /// Returns the format of the file called `name`, by its extension.
    pub(crate) fn of(name: &Path) -> Option<Self> {
        match name.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "yaml" | "yml" => Some(Self::Yaml),
            "toml" => Some(Self::Toml),
            "json" => Some(Self::Json),
            _ => None,
        }
    }

    /// Reads `text`.
    ///
    /// # Errors
    /// When `text` is not in this format, or exceeds a bound.
    pub(crate) fn parse(self, text: &str) -> Result<Document, SyntaxError> {
        match self {
            Self::Yaml => yaml::parse(text, version_1_2),
            Self::Toml => toml::parse(text),
            Self::Json => json::parse(text),
        }
    }
}
