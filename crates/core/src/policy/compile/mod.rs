//! Turns a policy as it is written down into plans, and finds everything that is wrong with it.

mod names;
mod rules;
mod tiers;

use std::{collections::BTreeMap, sync::Arc};

use self::{names::Names, rules::SharedRule};
use crate::{
    limit::{Limit, Mode},
    policy::{
        Policy,
        builder::{Endpoint, LimitSpec, PolicyBuilder},
        endpoints::Endpoints,
        error::{Location, PolicyError, PolicyErrorKind},
        path, pattern,
        plan::Applied,
        rule::Terms,
        tier::Tier,
    },
};

/// The name of the default limit.
const DEFAULT: &str = "default";

/// Compiles `input`, or lists everything that is wrong with it.
pub(super) fn compile(input: &PolicyBuilder) -> Result<Policy, Vec<PolicyError>> {
    let mut compiler = Compiler { input, errors: Vec::new(), names: Names::new() };
    let policy = compiler.policy();
    if compiler.errors.is_empty() { Ok(policy) } else { Err(compiler.errors) }
}

struct Compiler<'i> {
    input: &'i PolicyBuilder,
    errors: Vec<PolicyError>,
    names: Names,
}

/// What everyone has, before tiers change it.
struct Shared {
    default: Option<Applied>,
    endpoints: BTreeMap<String, SharedEndpoint>,
    rules: Vec<SharedRule>,
}

/// An endpoint as it is written, for everyone or for a tier.
struct SharedEndpoint {
    written: String,
    label: usize,
    applied: Option<Applied>,
}

impl Compiler<'_> {
    fn policy(&mut self) -> Policy {
        let input = self.input;
        if !(1..=128).contains(&input.ipv6_prefix) {
            self.error(
                Location::Ipv6Prefix,
                PolicyErrorKind::Ipv6Prefix { bits: input.ipv6_prefix },
            );
        }
        let shared = Shared {
            default: self.default(&input.defaults, &Location::Defaults),
            endpoints: self.endpoints(&input.endpoints, |path| Location::Endpoint { path }),
            rules: input
                .limits
                .iter()
                .enumerate()
                .filter_map(|(index, rule)| self.rule(index, rule))
                .collect(),
        };
        let exempt = self.exempt();
        let mut plans = vec![self.plan(&Tier::new(""), &shared)];
        for (index, tier) in input.tiers.iter().enumerate() {
            self.look_over(tier, &input.tiers[..index]);
            plans.push(self.plan(tier, &shared));
        }
        let assigned = self.assigned();
        let Names { limits, labels, .. } = std::mem::take(&mut self.names);
        Policy {
            tagger: input.tagger.clone(),
            ipv6_prefix: input.ipv6_prefix,
            exempt,
            plans: plans.into(),
            assigned,
            limits: limits.into(),
            endpoints: labels.into(),
        }
    }

    fn error(&mut self, at: Location, kind: impl Into<PolicyErrorKind>) {
        self.errors.push(PolicyError { at, kind: kind.into() });
    }

    fn default(&mut self, spec: &LimitSpec, at: &Location) -> Option<Applied> {
        let terms = on(spec)?;
        self.name(DEFAULT, at);
        self.limit(DEFAULT, terms, at)
    }

    /// Endpoints by their path in normal form.
    fn endpoints(
        &mut self,
        list: &[Endpoint],
        at: impl Fn(String) -> Location,
    ) -> BTreeMap<String, SharedEndpoint> {
        let mut endpoints: BTreeMap<String, SharedEndpoint> = BTreeMap::new();
        for Endpoint { path: written, limit: spec } in list {
            let at = at(written.clone());
            let path = match pattern::endpoint(written) {
                Ok(path) => path,
                Err(error) => {
                    self.error(at, error);
                    continue;
                }
            };
            if let Some(first) = endpoints.get(&path) {
                let first = first.written.clone();
                self.error(at, PolicyErrorKind::DuplicatePath { first });
                continue;
            }
            let name = path::printable(&path);
            self.name(&name, &at);
            let applied = on(spec).and_then(|terms| self.limit(&name, terms, &at));
            endpoints.insert(
                path,
                SharedEndpoint {
                    written: written.clone(),
                    label: self.names.label(&name),
                    applied,
                },
            );
        }
        endpoints
    }

    fn exempt(&mut self) -> Endpoints<usize> {
        let mut exempt = Endpoints::new();
        for (index, pattern) in self.input.exempt.iter().enumerate() {
            match pattern::endpoint(pattern) {
                Ok(path) => drop(exempt.insert(&path, self.names.label(&path::printable(&path)))),
                Err(error) => self.error(Location::Exempt { index }, error),
            }
        }
        exempt
    }

    fn name(&mut self, name: &str, at: &Location) {
        if let Err(kind) = self.names.take(name, at) {
            self.error(at.clone(), kind);
        }
    }

    /// The limit of these terms under a name that was taken for it.
    fn limit(&mut self, name: &str, terms: &Terms, at: &Location) -> Option<Applied> {
        match Limit::new(name, terms.algorithm) {
            Ok(limit) => {
                let limit = limit
                    .with_mode(terms.mode)
                    .with_precision(terms.precision)
                    .with_on_store_failure(terms.on_store_failure);
                let limit = Arc::new(limit);
                Some(Applied { index: self.names.place(&limit), limit })
            }
            Err(error) => {
                self.error(at.clone(), error);
                None
            }
        }
    }
}

fn on(spec: &LimitSpec) -> Option<&Terms> {
    match spec {
        LimitSpec::Limit(terms) if terms.mode != Mode::Off => Some(terms),
        LimitSpec::Limit(_) | LimitSpec::Off => None,
    }
}
