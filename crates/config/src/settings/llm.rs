//! The settings of the gateway for language models.

use std::fmt;

use sluice_core::{NormalPath, PathPattern};
use sluice_llm::{Call, Hold, Vendor};

/// Which requests of the gateway go to language models, and how their usage is estimated.
#[derive(Clone, Debug, PartialEq)]
pub struct LlmSettings {
    /// The routes; at least one. The first one that covers a request counts.
    pub routes: Vec<LlmRoute>,
    /// The longest body that is read for an estimate, in bytes.
    pub body: usize,
    /// The tokens of an answer whose request states no limit.
    pub default_output: u64,
    /// How much of the input is held.
    pub hold: Hold,
}

/// Paths that speak a vendor's wire formats.
#[derive(Clone)]
pub struct LlmRoute {
    /// The paths.
    pub path: PathPattern,
    /// Whose wire formats they speak.
    pub speaks: Vendor,
}

impl LlmSettings {
    /// Returns what a `POST` to this path calls, and in whose wire formats, or `None` if it uses no
    /// tokens.
    #[must_use]
    pub fn call(&self, path: &NormalPath<'_>) -> Option<(Vendor, Call)> {
        let covering = self.routes.iter().filter(|route| route.path.matches(path.as_str()));
        let mut calls = covering.map(|route| (route.speaks, route.speaks.call(path.as_str())));
        calls.find_map(|(vendor, call)| Some((vendor, call?)))
    }
}

impl fmt::Debug for LlmRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.path, self.speaks)
    }
}

impl PartialEq for LlmRoute {
    fn eq(&self, other: &Self) -> bool {
        self.speaks == other.speaks && self.path.to_string() == other.path.to_string()
    }
}
