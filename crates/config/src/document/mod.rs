//! Files of the three formats, read into the one tree of values that layers are merged from.
//!
//! The `config` crate can read files by itself, but it drops what we need: of two equal keys, its
//! JSON keeps the last one silently and its YAML stops at the first. Here each is a mistake with
//! its place, and reading goes on.

mod json;
mod toml;
mod yaml;

use config::{Map, Value, ValueKind};

use super::{error::ConfigError, origin::Origin, path::Path};

pub(crate) use yaml::parse as parse_yaml;

/// A tree of values as one document says it, and what is wrong with how it was written.
#[derive(Debug)]
pub(crate) struct Document {
    /// The root's values; without those that could not be read.
    pub(crate) values: Map<String, Value>,
    /// What could not be read.
    pub(crate) mistakes: Vec<ConfigError>,
}

/// How a file is written.
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
    /// The format of files with a name like `name`'s.
    pub(crate) fn of(name: &std::path::Path) -> Option<Self> {
        match name.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "yaml" | "yml" => Some(Self::Yaml),
            "toml" => Some(Self::Toml),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

impl Document {
    /// Reads `text`, which `origin` holds.
    pub(crate) fn parse(format: Format, origin: &Origin, text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let (root, mut mistakes) = match format {
            Format::Yaml => yaml::parse(origin, text),
            Format::Toml => toml::parse(origin, text),
            Format::Json => json::parse(origin, text),
        };
        let values = match root.map(|root| root.kind) {
            Some(ValueKind::Table(values)) => values,
            // A file in which everything is commented out says nothing, which is fine; so does one
            // that could not be read.
            Some(ValueKind::Nil) | None => Map::new(),
            Some(_) => {
                let message =
                    "a configuration is a table of settings, as in `store: { url: \"memory://\" }`"
                        .to_owned();
                mistakes.push(ConfigError { origin: origin.clone(), path: Path::root(), message });
                Map::new()
            }
        };
        Self { values, mistakes }
    }
}

/// Collects the mistakes of one document.
#[derive(Debug)]
struct Mistakes<'a> {
    origin: &'a Origin,
    found: Vec<ConfigError>,
}

impl<'a> Mistakes<'a> {
    const fn of(origin: &'a Origin) -> Self {
        Self { origin, found: Vec::new() }
    }

    fn add(&mut self, path: Path, message: String) {
        self.found.push(ConfigError { origin: self.origin.clone(), path, message });
    }
}
