//! The compiled policy, and how it matches a request with its limits.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use crate::{
    bucket_id::{Subject, Tag, Tagger},
    check::{Action, Check},
    limit::Limit,
    part::Part,
    policy::{
        endpoints::Endpoints,
        path,
        plan::{Applied, Plan, PlannedPer},
    },
    request::{Client, MAX_CLIENT_BYTES, Request, RequestError},
};

/// Decides which limits apply to a request.
///
/// A policy is written as a [`PolicyBuilder`](crate::PolicyBuilder) and compiled once. Matching a
/// request then computes nothing that could be known before, and allocates nothing for a path in
/// normal form.
///
/// There are three kinds of limits:
///
/// - The **endpoint** whose path covers the request's path most specifically. `/a/b` covers `/a/b`
///   and everything below it, but not `/a/bc`.
/// - Every **general limit** ([`Rule`](crate::Rule)) whose conditions the request meets.
/// - The **default limit**, when no endpoint covers the path and no enforced general limit that
///   counts requests applies. Each client has one bucket for all such requests.
///
/// A limit in shadow mode is checked too, and changes nothing: the same limits are enforced as
/// without it.
///
/// Paths are compared in a normal form: `/health/../api/x`, `//api//x` and `/api/%78` are all
/// `/api/x`. A path that servers understand differently, for instance one with encoded slashes, is
/// refused.
///
/// ```
/// use sluice_core::{Action, Client, Policy, Rate, Request};
///
/// let policy = Policy::builder()
///     .default_limit(Rate::per_minute(60)?)
///     .endpoint("/reports", Rate::per_minute(5)?.with_burst(2)?)
///     .exempt("/health")
///     .build()?;
/// let request = Request::new(Client::Key(b"alice"), "GET", "/reports/2026?page=2");
/// let matched = policy.check(Action::Take, &request)?;
/// let limit = &matched.check.parts()[0].limit;
/// assert_eq!(limit.to_string(), "/reports (5/minute, burst 2)");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Policy {
    pub(super) tagger: Tagger,
    pub(super) ipv6_prefix: u8,
    /// The paths that are never limited, each with the index of its label.
    pub(super) exempt: Endpoints<usize>,
    /// The plan of clients without a tier, then one for each tier.
    pub(super) plans: Box<[Plan]>,
    /// The index of the plan of each client that is listed with a tier.
    pub(super) assigned: HashMap<Tag, usize>,
    pub(super) limits: Box<[Arc<Limit>]>,
    pub(super) endpoints: Box<[Arc<str>]>,
    /// The headers that limits read, sorted.
    pub(super) fields: Box<[Box<str>]>,
}

/// The limits that apply to a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Matched {
    /// The limits that apply, with their buckets and costs. It has no parts when the path is exempt
    /// or nothing limits the request.
    pub check: Check,
    /// The index in [`Policy::endpoints`] of the pattern that covers the path.
    pub endpoint: usize,
    /// Whose request it is; `None` for an exempt path, where no client is needed.
    pub client: Option<Tag>,
    /// Whether the request names a tier that the policy does not have, so that it is limited as one
    /// without a tier. Never for a client that a tier lists.
    pub has_unknown_tier: bool,
}

impl Policy {
    /// Makes the check, which does `action`, of all limits that apply to `request`.
    ///
    /// # Errors
    /// When the request cannot be checked, for instance because its path is not a path.
    pub fn check(&self, action: Action, request: &Request<'_>) -> Result<Matched, RequestError> {
        let path = path::normal(request.path)?;
        if let Some(&label) = self.exempt.find(&path, |_| true) {
            return Ok(Matched::new(action, label, None));
        }
        let client = self.client_tag(request.client)?;
        let plan = self.plan(client, request.tier);
        let endpoint = plan.endpoints.find(&path, |_| true);
        let mut matched =
            Matched::new(action, endpoint.map_or(0, |endpoint| endpoint.label), Some(client));
        matched.has_unknown_tier =
            plan.tier.is_none() && request.tier.is_some_and(|tier| !tier.is_empty());
        let mut enforced = endpoint;
        if let Some(shadow) = endpoint.filter(|endpoint| endpoint.is_shadow()) {
            matched.apply(shadow.applied.as_ref(), client, request);
            enforced = plan.endpoints.find(&path, |endpoint| !endpoint.is_shadow());
        }
        matched.apply(enforced.and_then(|endpoint| endpoint.applied.as_ref()), client, request);
        let mut needs_default = enforced.is_none();
        for rule in &plan.rules {
            let tag = |per: &PlannedPer| self.tag(per, client, request);
            if let Some(part) = rule.applied_to(request, &path, tag)? {
                matched.check.push(part);
                needs_default &= !rule.applied.replaces_default();
            }
        }
        if needs_default {
            matched.apply(plan.default.as_ref(), client, request);
        }
        Ok(matched)
    }

    /// Returns the plan of a client. The tier that the configuration lists it with takes precedence
    /// over the tier that came with the request.
    pub(super) fn plan(&self, client: Tag, tier: Option<&str>) -> &Plan {
        let assigned =
            if self.assigned.is_empty() { None } else { self.assigned.get(&client).copied() };
        let named = || {
            tier.and_then(|tier| {
                self.plans.iter().position(|plan| plan.tier.as_deref() == Some(tier))
            })
        };
        &self.plans[assigned.or_else(named).unwrap_or(0)]
    }

    pub(super) fn client_tag(&self, client: Client<'_>) -> Result<Tag, RequestError> {
        match client {
            Client::Key([]) => Err(RequestError::ClientEmpty),
            Client::Key(key) if key.len() > MAX_CLIENT_BYTES => {
                Err(RequestError::ClientTooLong { bytes: key.len(), most: MAX_CLIENT_BYTES })
            }
            Client::Key(key) => Ok(self.tagger.tag(Subject::Client(key))),
            Client::Address(address) => Ok(self.address_tag(address)),
        }
    }

    /// Returns the tag of the client at `address`. IPv6 addresses are grouped by the policy's
    /// prefix.
    #[must_use]
    pub fn address_tag(&self, address: IpAddr) -> Tag {
        self.tagger.address(address, self.ipv6_prefix)
    }

    /// Returns whether a tier lists this client.
    #[must_use]
    pub fn lists(&self, client: Tag) -> bool {
        self.assigned.contains_key(&client)
    }

    /// Returns the tag of the bucket that a request takes from; `None` when the request lacks what
    /// the limit is per.
    pub(super) fn tag(
        &self,
        per: &PlannedPer,
        client: Tag,
        request: &Request<'_>,
    ) -> Result<Option<Tag>, RequestError> {
        Ok(match per {
            PlannedPer::Client => Some(client),
            PlannedPer::Address => {
                let address = match (request.address, request.client) {
                    (Some(address), _) | (None, Client::Address(address)) => address,
                    (None, Client::Key(_)) => return Ok(None),
                };
                Some(self.address_tag(address))
            }
            PlannedPer::Header(name) => {
                let value = per.header(request)?;
                value.map(|value| self.tagger.tag(Subject::Header { name, value }))
            }
            PlannedPer::Everyone(tag) => Some(*tag),
        })
    }

    /// Returns every limit that may apply, once. A limit has the rate of clients without a tier,
    /// unless only tiers have the limit.
    #[must_use]
    pub fn limits(&self) -> &[Arc<Limit>] {
        &self.limits
    }

    /// Returns the path patterns of the policy, for metric labels. The first is `other`, for paths
    /// that no pattern covers.
    #[must_use]
    pub fn endpoints(&self) -> &[Arc<str>] {
        &self.endpoints
    }

    /// Returns the names of all headers that a limit reads: in its condition, in what it is per, or
    /// in its cost. They are in lower case and sorted.
    #[must_use]
    pub fn fields(&self) -> &[Box<str>] {
        &self.fields
    }

    /// Returns the patterns among [`endpoints`](Self::endpoints) whose requests are never limited.
    pub fn exempt_endpoints(&self) -> impl Iterator<Item = &str> {
        self.exempt.values().map(|&label| &*self.endpoints[label])
    }

    /// Returns what hashes clients.
    #[must_use]
    pub const fn tagger(&self) -> &Tagger {
        &self.tagger
    }
}

impl Matched {
    /// Returns whether the path is never limited.
    #[must_use]
    pub const fn is_exempt(&self) -> bool {
        self.client.is_none()
    }

    /// Returns the index in [`Policy::limits`] of each part's limit, in the order of the parts.
    pub fn limits(&self) -> impl Iterator<Item = usize> {
        self.check.parts().iter().map(Part::policy_index)
    }

    fn new(action: Action, endpoint: usize, client: Option<Tag>) -> Self {
        Self { check: Check::new(action), endpoint, client, has_unknown_tier: false }
    }

    fn apply(&mut self, applied: Option<&Applied>, tag: Tag, request: &Request<'_>) {
        if let Some(applied) = applied.filter(|applied| applied.applies_to(request)) {
            self.check.push(applied.part_of(tag, request));
        }
    }
}
