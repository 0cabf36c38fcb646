//! Which limits apply to a request.
//!
//! A [`Policy`] is written down as a [`PolicyBuilder`] and compiled once; matching a request then
//! computes nothing that could have been known before, and allocates nothing for a path in normal
//! form.
//!
//! Three kinds of limits take part:
//!
//! - The **endpoint** whose path covers the request's most specifically. `/a/b` covers `/a/b` and
//!   everything below it, but not `/a/bc`.
//! - All **general limits** ([`Rule`]) whose `when` fits.
//! - The **default**, when neither of these denies; it has one bucket per client for all such
//!   requests.
//!
//! A limit in shadow mode is asked too, and changes nothing: what is enforced without it is
//! enforced with it.
//!
//! Paths are compared in a normal form, so that `/health/../api/x`, `//api//x` and `/api/%78` are
//! all `/api/x`. What servers read differently from each other, such as encoded slashes, is
//! refused.
//!
//! ```
//! use sluice_core::{Action, Client, Policy, Request};
//!
//! let policy = Policy::default();
//! let request = Request::new(Client::Key(b"alice"), "POST", "/api/v1/tools/execute");
//! let matched = policy.check(Action::Take, &request)?;
//! assert_eq!(matched.check.parts()[0].limit.to_string(), "/api/v1/tools/execute (40/minute, burst 10)");
//! # Ok::<_, sluice_core::RequestError>(())
//! ```

mod builder;
mod compile;
mod endpoints;
mod error;
mod path;
mod pattern;
mod plan;
mod rule;
mod tier;

use std::{collections::HashMap, net::IpAddr, sync::Arc};

pub use builder::{Endpoint, LimitSpec, PolicyBuilder};
pub use error::{LimitField, Location, PolicyError, PolicyErrorKind, TierField};
pub use pattern::PatternError;
pub use rule::{HeaderMatch, Per, Rule, RuleCost, Terms, When};
pub use tier::Tier;

use crate::{
    bucket_id::{Subject, Tag, Tagger},
    check::{Action, Check, Part},
    cost::Cost,
    limit::Limit,
    request::{Client, MAX_CLIENT_BYTES, Request, RequestError},
};
use endpoints::Endpoints;
use plan::{Applied, Plan, PlannedPer};

/// Which limits apply to a request. Immutable; made by [`PolicyBuilder::build`].
#[derive(Debug)]
pub struct Policy {
    tagger: Tagger,
    ipv6_prefix: u8,
    /// Labels by the paths that are not limited.
    exempt: Endpoints<usize>,
    /// The plan of clients without a tier, then one for each tier.
    plans: Box<[Plan]>,
    assigned: HashMap<Tag, usize>,
    limits: Box<[Arc<Limit>]>,
    endpoints: Box<[Arc<str>]>,
}

/// What a policy says to a request.
#[derive(Clone, Debug)]
pub struct Matched {
    /// The limits that apply; none for an exempt path, and where nothing is limited.
    pub check: Check,
    /// The place in [`Policy::endpoints`] of the pattern that covers the path.
    pub endpoint: usize,
    /// Whose request it is; `None` for an exempt path, where nobody looks.
    pub client: Option<Tag>,
    /// Whether the path is never limited.
    pub exempt: bool,
}

impl Policy {
    /// Which limits `request` has to pass, with their buckets and costs, as a check that does
    /// `action`.
    ///
    /// # Errors
    /// When the request is not one that could be limited; the caller is to blame.
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
        let mut enforced = endpoint;
        if let Some(tried) = endpoint.filter(|endpoint| endpoint.is_shadow()) {
            matched.apply(tried.applied.as_ref(), client, request.cost);
            enforced = plan.endpoints.find(&path, |endpoint| !endpoint.is_shadow());
        }
        matched.apply(
            enforced.and_then(|endpoint| endpoint.applied.as_ref()),
            client,
            request.cost,
        );
        // Whether the default is kept away.
        let mut spoken_for = enforced.is_some();
        for rule in plan.rules.iter().filter(|rule| rule.when.holds(request, &path)) {
            let Some(tag) = self.tag(&rule.per, client, request) else { continue };
            matched.check.push(rule.part(tag, request)?);
            spoken_for |= rule.applied.limit.denies();
        }
        if !spoken_for {
            matched.apply(plan.default.as_ref(), client, request.cost);
        }
        Ok(matched)
    }

    /// What configuration says about the client's tier goes before what came with the request.
    fn plan(&self, client: Tag, tier: Option<&str>) -> &Plan {
        let assigned =
            if self.assigned.is_empty() { None } else { self.assigned.get(&client).copied() };
        let named = || {
            tier.and_then(|tier| {
                self.plans.iter().position(|plan| plan.tier.as_deref() == Some(tier))
            })
        };
        &self.plans[assigned.or_else(named).unwrap_or(0)]
    }

    fn client_tag(&self, client: Client<'_>) -> Result<Tag, RequestError> {
        match client {
            Client::Key([]) => Err(RequestError::ClientEmpty),
            Client::Key(key) if key.len() > MAX_CLIENT_BYTES => {
                Err(RequestError::ClientTooLong { bytes: key.len(), most: MAX_CLIENT_BYTES })
            }
            Client::Key(key) => Ok(self.tagger.tag(Subject::Client(key))),
            Client::Address(address) => Ok(self.address_tag(address)),
        }
    }

    fn address_tag(&self, address: IpAddr) -> Tag {
        // An IPv4 address written as IPv6 is the same client.
        match address.to_canonical() {
            IpAddr::V4(address) => self.tagger.tag(Subject::Address(&address.octets())),
            IpAddr::V6(address) => {
                let rest = 128 - u32::from(self.ipv6_prefix);
                let group = address.to_bits() >> rest << rest;
                self.tagger.tag(Subject::Address(&group.to_be_bytes()))
            }
        }
    }

    /// Whose bucket a request takes from; `None` when the limit is per something that the request
    /// has not.
    fn tag(&self, per: &PlannedPer, client: Tag, request: &Request<'_>) -> Option<Tag> {
        match per {
            PlannedPer::Client => Some(client),
            PlannedPer::Address => {
                let address = match (request.address, request.client) {
                    (Some(address), _) | (None, Client::Address(address)) => address,
                    (None, Client::Key(_)) => return None,
                };
                Some(self.address_tag(address))
            }
            PlannedPer::Header(name) => {
                let value = request.attributes.get(name)?;
                Some(self.tagger.tag(Subject::Header { name, value }))
            }
            PlannedPer::Everyone(tag) => Some(*tag),
        }
    }

    /// Every limit that may apply, once, with the numbers of clients without a tier where there are
    /// such.
    #[must_use]
    pub fn limits(&self) -> &[Arc<Limit>] {
        &self.limits
    }

    /// What a metric's label may say of a path: the patterns that may cover it, behind `other` for
    /// none of them.
    #[must_use]
    pub fn endpoints(&self) -> &[Arc<str>] {
        &self.endpoints
    }

    /// What makes clients unreadable.
    #[must_use]
    pub fn tagger(&self) -> &Tagger {
        &self.tagger
    }
}

impl Matched {
    /// Returns the index in [`Policy::limits`] of each part's limit, in the order of the parts.
    pub fn limits(&self) -> impl Iterator<Item = usize> {
        self.check.parts().iter().map(Part::policy_index)
    }

    fn new(action: Action, endpoint: usize, client: Option<Tag>) -> Self {
        Self { check: Check::new(action), endpoint, client, exempt: client.is_none() }
    }

    fn apply(&mut self, applied: Option<&Applied>, tag: Tag, cost: Cost) {
        if let Some(applied) = applied {
            self.check.push(applied.part(tag, cost));
        }
    }
}

impl Default for Policy {
    /// [`PolicyBuilder::default`], compiled.
    fn default() -> Self {
        PolicyBuilder::default().build().expect("the built-in policy is a valid one")
    }
}
