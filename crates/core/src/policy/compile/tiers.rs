//! Compiles tiers: the limits of all clients, with a tier's rates.

use std::{collections::HashMap, sync::Arc};

use super::{
    compiler::Compiler,
    shared::{Shared, SharedEndpoint},
};
use crate::{
    bucket_id::{Subject, Tag},
    policy::{
        endpoints::Endpoints,
        error::{Location, PolicyErrorKind, TierField},
        plan::{Applied, Plan, PlannedEndpoint, PlannedPer},
        tier::Tier,
    },
    request::MAX_CLIENT_BYTES,
};

impl Compiler<'_> {
    /// Notes what is wrong with a tier by itself, or in conflict with the tiers `before` it.
    pub(super) fn check_tier(&mut self, tier: &Tier, before: &[Tier]) {
        let at = |field| Location::Tier { name: tier.name.clone(), field };
        if tier.name.is_empty() {
            self.error(at(TierField::Name), PolicyErrorKind::EmptyTierName);
        }
        if before.iter().any(|other| other.name == tier.name) {
            self.error(at(TierField::Name), PolicyErrorKind::DuplicateTier);
        }
        if tier.multiply == 0 {
            self.error(at(TierField::Multiply), PolicyErrorKind::MultiplyByZero);
        }
        if tier.unlimited
            && (tier.multiply > 1
                || tier.burst.is_some()
                || tier.defaults.is_some()
                || !tier.endpoints.is_empty())
        {
            self.error(at(TierField::Unlimited), PolicyErrorKind::UnlimitedWithNumbers);
        }
    }

    /// Makes the plan of the clients of `tier`; of clients without a tier, when it has no name.
    pub(super) fn plan(&mut self, tier: &Tier, shared: &Shared) -> Plan {
        let at = |field| Location::Tier { name: tier.name.clone(), field };
        let default = match &tier.defaults {
            Some(spec) => self.default_limit(spec, &at(TierField::Defaults)),
            None => shared.default.as_ref().and_then(|applied| self.of_tier(tier, applied)),
        };
        let own = self.endpoints(&tier.endpoints, |path| at(TierField::Endpoint(path)));
        let mut endpoints = Endpoints::new();
        for (path, SharedEndpoint { label, applied, .. }) in &shared.endpoints {
            if !own.contains_key(path) {
                let applied = applied.as_ref().and_then(|applied| self.of_tier(tier, applied));
                endpoints.insert(path, PlannedEndpoint { label: *label, applied });
            }
        }
        for (path, SharedEndpoint { label, applied, .. }) in own {
            endpoints.insert(&path, PlannedEndpoint { label, applied });
        }
        let mut rules = Vec::new();
        for rule in shared.rules.iter().filter(|rule| rule.is_for(&tier.name)) {
            let applied = match rule.per {
                PlannedPer::Client => self.multiplied(tier, &rule.applied),
                // Clients of several tiers can share these buckets.
                PlannedPer::Address | PlannedPer::Header(_) | PlannedPer::Everyone(_) => {
                    Some(rule.applied.clone())
                }
            };
            rules.extend(applied.map(|applied| rule.planned(applied)));
        }
        let tier = (!tier.name.is_empty()).then(|| tier.name.as_str().into());
        Plan { tier, default, endpoints, rules: rules.into() }
    }

    /// Returns the default limit or an endpoint's, which the tier inherits, with the tier's factor
    /// and burst; `None` when the tier has no such limits.
    fn of_tier(&mut self, tier: &Tier, applied: &Applied) -> Option<Applied> {
        let applied = self.multiplied(tier, applied)?;
        let Some(burst) = tier.burst else { return Some(applied) };
        let Applied { limit, index } = applied;
        // No other algorithm has a burst.
        let Some(rate) = limit.rate() else { return Some(Applied { limit, index }) };
        match rate.with_burst(burst) {
            Ok(rate) => Some(Applied { limit: Arc::new(limit.with_algorithm(rate.into())), index }),
            Err(source) => {
                let at = Location::Tier { name: tier.name.clone(), field: TierField::Burst };
                let limit = limit.name().to_owned();
                self.error(at, PolicyErrorKind::TierBurst { limit, burst, source });
                None
            }
        }
    }

    /// Multiplies the rate of a limit per client as `tier` says; `None` when the tier has no such
    /// limits.
    fn multiplied(&mut self, tier: &Tier, applied: &Applied) -> Option<Applied> {
        if tier.unlimited {
            return None;
        }
        if tier.multiply <= 1 {
            return Some(applied.clone());
        }
        let Applied { limit, index } = applied;
        match limit.algorithm().times(tier.multiply) {
            Ok(algorithm) => {
                Some(Applied { limit: Arc::new(limit.with_algorithm(algorithm)), index: *index })
            }
            Err(source) => {
                let at = Location::Tier { name: tier.name.clone(), field: TierField::Multiply };
                self.error(
                    at,
                    PolicyErrorKind::Multiply {
                        limit: limit.name().to_owned(),
                        factor: tier.multiply,
                        source,
                    },
                );
                None
            }
        }
    }

    /// Returns the index of the plan of each client that is listed with a tier.
    pub(super) fn assigned(&mut self) -> HashMap<Tag, usize> {
        let mut assigned = HashMap::new();
        let mut listed: HashMap<Tag, Location> = HashMap::new();
        for (index, tier) in self.input.tiers.iter().enumerate() {
            for (entry, client) in tier.clients.iter().enumerate() {
                let at =
                    Location::Tier { name: tier.name.clone(), field: TierField::Client(entry) };
                if client.is_empty() || client.len() > MAX_CLIENT_BYTES {
                    self.error(at, PolicyErrorKind::ClientKey);
                    continue;
                }
                // The first plan is of clients without a tier.
                let plan = index + 1;
                let tag = self.input.tagger.tag(Subject::Client(client));
                let network = self.network(client);
                // Several addresses of one network can be listed, but with one tier.
                let first = listed.get(&tag).or_else(|| {
                    network
                        .filter(|at| assigned.get(at) != Some(&plan))
                        .and_then(|at| listed.get(&at))
                });
                if let Some(first) = first {
                    let first = first.clone();
                    self.error(at, PolicyErrorKind::DuplicateClient { first });
                    continue;
                }
                for tag in std::iter::once(tag).chain(network) {
                    assigned.insert(tag, plan);
                    listed.entry(tag).or_insert_with(|| at.clone());
                }
            }
        }
        assigned
    }

    /// Returns the tag of the clients at an address, where a client is listed by one.
    fn network(&self, client: &[u8]) -> Option<Tag> {
        let address = std::str::from_utf8(client).ok()?.parse().ok()?;
        Some(self.input.tagger.address(address, self.input.ipv6_prefix))
    }
}
