//! A file with rules of Envoy's rate limit service, where a configuration is expected.

use std::path::Path as FilePath;

use crate::{
    document::{Document, Format, Kind},
    error::{ConfigError, ConfigErrors, ErrorLog},
    files::Files,
    origin::Origin,
    read,
    settings::rls::Domain,
};

/// What is said of a rules file that is read as a configuration.
pub(crate) const REMEDY: &str = "these are rules of Envoy's rate limit service: write `rls: { \
                                 files: [...] }` in sluice.yaml, with the name of this file";

/// A rules file that was checked alone.
#[derive(Debug)]
#[non_exhaustive]
pub struct RulesFile {
    /// Its domain.
    pub domain: Domain,
    /// What is possible but probably not meant.
    pub warnings: Vec<ConfigError>,
}

impl RulesFile {
    /// Checks the file at `path`, if it holds rules: a domain or descriptors, and no section of a
    /// configuration.
    ///
    /// # Errors
    /// Every error in the rules.
    pub fn check(path: &FilePath) -> Option<Result<Self, ConfigErrors>> {
        let text = Files::default().read_text(path).ok()?;
        // JSON is YAML as well; TOML is not.
        let format = Format::of(path).filter(|format| *format != Format::Toml)?;
        if !holds_rules(&format.parse(&text).ok()?) {
            return None;
        }
        let (errors, warnings) = (ErrorLog::default(), ErrorLog::default());
        let origin = Origin::file(path.to_string_lossy());
        let domain = read::rls::read_file(&text, &origin, &errors, &warnings);
        let warnings = warnings.into_errors().into_warnings();
        Some(errors.finish(domain).map(|domain| Self { domain, warnings }))
    }
}

/// Returns whether the document holds rules, and nothing of a configuration.
pub(crate) fn holds_rules(document: &Document) -> bool {
    let Kind::Table(entries) = document.root.node.kind() else { return false };
    let has = |key: &str| entries.iter().any(|entry| entry.key == key);
    (has("domain") || has("descriptors")) && !read::keys().iter().any(|key| has(key))
}
