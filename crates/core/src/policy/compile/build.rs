//! Compiles a whole policy.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    compiler::Compiler,
    names::Names,
    shared::{Shared, SharedEndpoint, SharedRule},
};
use crate::{
    limit::Mode,
    policy::{
        builder::PolicyBuilder,
        endpoints::Endpoints,
        error::{Location, PolicyErrorKind, PolicyErrors},
        limit_spec::{Endpoint, LimitSpec, Terms},
        matching::Policy,
        path,
        pattern::{self, EndpointPattern},
        plan::Applied,
        tier::Tier,
    },
    rate::Rate,
};

/// The name of the default limit.
const DEFAULT: &str = "default";

impl Policy {
    /// Starts a policy that limits nothing yet.
    #[must_use]
    pub fn builder() -> PolicyBuilder {
        PolicyBuilder::unlimited()
    }

    /// Creates a policy with one limit, called `default`: `rate` for each client.
    #[must_use]
    pub fn per_client(rate: Rate) -> Self {
        Self::builder().default_limit(rate).build().expect("a policy of one default limit is valid")
    }
}

impl PolicyBuilder {
    /// Compiles the policy.
    ///
    /// # Errors
    /// Everything that is wrong with the policy.
    pub fn build(self) -> Result<Policy, PolicyErrors> {
        let mut compiler = Compiler::new(&self);
        let policy = compiler.policy();
        PolicyErrors::none_or(compiler.errors).map(|()| policy)
    }
}

impl Compiler<'_> {
    fn policy(&mut self) -> Policy {
        let input = self.input;
        if !(1..=128).contains(&input.ipv6_prefix) {
            let kind = PolicyErrorKind::Ipv6Prefix { bits: input.ipv6_prefix };
            self.error(Location::Ipv6Prefix, kind);
        }
        let shared = Shared {
            default: self.default_limit(&input.defaults, &Location::Defaults),
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
            self.check_tier(tier, &input.tiers[..index]);
            plans.push(self.plan(tier, &shared));
        }
        let assigned = self.assigned();
        let Names { limits, labels, .. } = std::mem::take(&mut self.names);
        let fields: BTreeSet<&str> = shared.rules.iter().flat_map(SharedRule::fields).collect();
        let fields = fields.into_iter().map(Box::from).collect();
        Policy {
            tagger: input.tagger.clone(),
            ipv6_prefix: input.ipv6_prefix,
            exempt,
            plans: plans.into(),
            assigned,
            limits: limits.into(),
            endpoints: labels.into(),
            fields,
        }
    }

    pub(super) fn default_limit(&mut self, spec: &LimitSpec, at: &Location) -> Option<Applied> {
        let terms = terms_unless_off(spec)?;
        self.reserve(DEFAULT, at);
        self.limit(DEFAULT, terms, at)
    }

    /// Compiles endpoints, and returns them by their path in normal form.
    pub(super) fn endpoints(
        &mut self,
        list: &[Endpoint],
        at: impl Fn(String) -> Location,
    ) -> BTreeMap<String, SharedEndpoint> {
        let mut endpoints: BTreeMap<String, SharedEndpoint> = BTreeMap::new();
        for Endpoint { path: written, limit: spec } in list {
            let at = at(written.clone());
            let EndpointPattern { path, named } = match pattern::endpoint(written) {
                Ok(pattern) => pattern,
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
            let name = path::printable(&named);
            self.reserve(&name, &at);
            let applied = terms_unless_off(spec).and_then(|terms| self.limit(&name, terms, &at));
            let label = self.names.label(&name);
            endpoints.insert(path, SharedEndpoint { written: written.clone(), label, applied });
        }
        endpoints
    }

    /// Compiles the exempt paths, each with the index of its label.
    fn exempt(&mut self) -> Endpoints<usize> {
        let mut exempt = Endpoints::new();
        for (index, pattern) in self.input.exempt.iter().enumerate() {
            match pattern::endpoint(pattern) {
                Ok(EndpointPattern { path, named }) => {
                    let label = self.names.label(&path::printable(&named));
                    exempt.insert(&path, label);
                }
                Err(error) => self.error(Location::Exempt { index }, error),
            }
        }
        exempt
    }
}

fn terms_unless_off(spec: &LimitSpec) -> Option<&Terms> {
    match spec {
        LimitSpec::Limit(terms) if terms.mode != Mode::Off => Some(terms),
        LimitSpec::Limit(_) | LimitSpec::Off => None,
    }
}
