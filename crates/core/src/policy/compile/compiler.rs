//! The state of a compilation, and what every step of it needs.

use std::sync::Arc;

use super::names::Names;
use crate::{
    limit::Limit,
    policy::{
        builder::PolicyBuilder,
        error::{Location, PolicyError, PolicyErrorKind},
        limit_spec::Terms,
        plan::Applied,
    },
};

pub(super) struct Compiler<'i> {
    pub(super) input: &'i PolicyBuilder,
    pub(super) names: Names,
    pub(super) errors: Vec<PolicyError>,
}

impl<'i> Compiler<'i> {
    pub(super) fn new(input: &'i PolicyBuilder) -> Self {
        Self { input, names: Names::new(), errors: Vec::new() }
    }

    pub(super) fn error(&mut self, at: Location, kind: impl Into<PolicyErrorKind>) {
        self.errors.push(PolicyError { at, kind: kind.into() });
    }

    /// Reserves a limit's name, and notes an error when another limit has it.
    pub(super) fn reserve(&mut self, name: &str, at: &Location) {
        if let Err(kind) = self.names.reserve(name, at) {
            self.error(at.clone(), kind);
        }
    }

    /// Makes the limit with a reserved name.
    pub(super) fn limit(&mut self, name: &str, terms: &Terms, at: &Location) -> Option<Applied> {
        match Limit::new(name, terms.algorithm.clone()) {
            Ok(limit) => {
                let limit = limit
                    .with_mode(terms.mode)
                    .with_precision(terms.precision)
                    .with_on_store_failure(terms.on_store_failure)
                    .with_metering(terms.metering);
                let limit = Arc::new(limit);
                Some(Applied { index: self.names.limit_index(&limit), limit })
            }
            Err(error) => {
                self.error(at.clone(), error);
                None
            }
        }
    }
}
