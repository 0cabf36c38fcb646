//! The settings of the gateway for language models.

use std::{collections::HashMap, fmt};

use sluice_core::{NormalPath, PathPattern};
use sluice_llm::{Call, Hold, Vendor};

/// Which requests of the gateway go to language models, and how their usage is estimated.
#[derive(Clone, Debug, PartialEq)]
pub struct LlmSettings {
    /// The routes; at least one. The first one that covers a request counts.
    pub routes: Vec<LlmRoute>,
    /// The longest body that is read for an estimate, in bytes.
    pub body: usize,
    /// What is known of models, by their names.
    pub models: HashMap<Box<str>, LlmModel>,
    /// The tokens of an answer whose request states no limit, of a model of which no more is known.
    pub default_output: u64,
    /// How much of the input is held.
    pub hold: Hold,
}

/// What is known of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LlmModel {
    /// The tokens of an answer whose request states no limit.
    pub default_output: u64,
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
    /// Returns the route of a `POST` to this path, and what it calls, or `None` if it uses no
    /// tokens.
    #[must_use]
    pub fn call(&self, path: &NormalPath<'_>) -> Option<(&LlmRoute, Call)> {
        let covering = self.routes.iter().filter(|route| route.path.matches(path.as_str()));
        let mut calls = covering.map(|route| (route, route.speaks.call(path.as_str())));
        calls.find_map(|(route, call)| Some((route, call?)))
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
