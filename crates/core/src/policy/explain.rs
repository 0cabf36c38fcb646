//! Explains a check: which limits apply to a request, and why the others do not.
//!
//! What applies is what [`Policy::check`] returns. Only the reasons are found here, with the same
//! patterns and conditions.

use std::sync::Arc;

use crate::{
    bucket_id::Tag,
    check::Action,
    limit::Limit,
    part::Part,
    policy::{
        matching::{Matched, Policy},
        path::NormalPath,
        plan::{Applied, Plan, PlannedEndpoint, PlannedPer, PlannedRule},
        rule::{HeaderMatch, Rule},
    },
    request::{Request, RequestError},
};

/// What a policy makes of a request, limit by limit.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explanation {
    /// The request's path in normal form.
    pub path: String,
    /// The exempt pattern that covers the path: no limit applies then.
    pub exempt: Option<Arc<str>>,
    /// Whose request it is; `None` where an exempt path needs no valid client.
    pub client: Option<Tag>,
    /// The client's tier, if the policy has it.
    pub tier: Option<String>,
    /// Whether the policy lists the client with its tier, whatever the request says.
    pub is_listed: bool,
    /// The pattern of endpoints that covers the path, also one in shadow mode; `other` without one.
    pub endpoint: Arc<str>,
    /// The endpoint that takes the path out of the default limit, and limits nothing itself.
    pub off: Option<Arc<str>>,
    /// Every limit of the policy, in the order of [`Policy::limits`].
    pub limits: Vec<ExplainedLimit>,
}

/// One limit, and whether it applies.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ExplainedLimit {
    /// The limit with the rate of the client's tier. A limit that the tier does not have has its
    /// rate elsewhere.
    pub limit: Arc<Limit>,
    /// What kind of limit it is.
    pub kind: LimitKind,
    /// The bucket and the cost, or why the limit does not apply.
    pub outcome: Result<Part, Obstacle>,
}

/// What kind of limit a limit is.
#[derive(Clone, Debug)]
pub enum LimitKind {
    /// The default limit.
    Default,
    /// The limit of an endpoint, which is named after its pattern.
    Endpoint,
    /// A general limit, as it is written.
    General(Box<Rule>),
}

/// Why a limit does not apply to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Obstacle {
    /// The path is exempt.
    Exempt,
    /// Clients of these tiers have the limit, and this client is of none of them. `None` stands for
    /// clients without a tier.
    Tier(Vec<Option<String>>),
    /// The path is not at or below the endpoint.
    NotBelow,
    /// This endpoint covers the path more specifically.
    MoreSpecific(Arc<str>),
    /// This endpoint or enforced limit applies in place of the default limit.
    InPlaceOfDefault(Arc<str>),
    /// The method is none of these.
    Method(Vec<String>),
    /// The path matches none of these patterns.
    Path(Vec<String>),
    /// The request does not have this header, or not one of its values.
    Header(HeaderMatch),
    /// The limit is per address, or per header, and the request has none.
    NoSubject,
    /// The limit is on requests in flight, and nothing sees the end of this one
    /// ([`Request::is_followed`]).
    NotFollowed,
    /// The limit is in shadow mode, and cannot read the request.
    Unreadable(RequestError),
}

impl Policy {
    /// Explains what [`Policy::check`] does with `request`: the same limits apply.
    ///
    /// # Errors
    /// When the request cannot be checked, as [`Policy::check`].
    pub fn explain(&self, request: &Request<'_>) -> Result<Explanation, RequestError> {
        let matched = self.check(Action::Peek, request)?;
        let path = NormalPath::parse(request.path)?.as_str().to_owned();
        let client = self.client_tag(request.client).ok();
        let plan = match client {
            Some(client) => self.plan(client, request.tier),
            None => self.plans.first().expect("clients without a tier have a plan"),
        };
        let endpoint = Arc::clone(&self.endpoints[matched.endpoint]);
        let exempt = matched.is_exempt().then(|| Arc::clone(&endpoint));
        let explained = Explained { policy: self, plan, request, path: &path, matched: &matched };
        let limits = (0..self.limits.len()).map(|index| explained.limit(index)).collect();
        let off = explained.enforced_endpoint().filter(|endpoint| endpoint.applied.is_none());
        Ok(Explanation {
            off: off.filter(|_| exempt.is_none()).map(|off| self.label(off)),
            exempt,
            client,
            tier: plan.tier.as_deref().map(str::to_owned),
            is_listed: client.is_some_and(|client| self.lists(client)),
            endpoint,
            limits,
            path,
        })
    }

    /// Returns the tier whose limits apply to a client, for whom a request names `named`.
    #[must_use]
    pub fn tier_of(&self, client: Tag, named: Option<&str>) -> Option<&str> {
        self.plan(client, named).tier.as_deref()
    }

    fn label(&self, endpoint: &PlannedEndpoint) -> Arc<str> {
        Arc::clone(&self.endpoints[endpoint.label])
    }
}

/// A request that was matched.
struct Explained<'e> {
    policy: &'e Policy,
    /// The limits of the client's tier.
    plan: &'e Plan,
    request: &'e Request<'e>,
    /// In normal form.
    path: &'e str,
    matched: &'e Matched,
}

/// A limit in a plan.
enum Planned<'p> {
    Default(&'p Applied),
    Endpoint(&'p PlannedEndpoint, &'p Applied),
    General(&'p PlannedRule),
}

impl Explained<'_> {
    /// Explains the limit with this index in the policy.
    fn limit(&self, index: usize) -> ExplainedLimit {
        let (found, is_in_plan) = match self.plan.limit(index) {
            Some(found) => (Some(found), true),
            None => (self.policy.plans.iter().find_map(|plan| plan.limit(index)), false),
        };
        let applied = found.as_ref().map(Planned::applied);
        let limit = applied.map_or(&self.policy.limits[index], |applied| &applied.limit);
        let part = self.matched.check.parts().iter().find(|part| part.policy_index() == index);
        let outcome = match (part, found.as_ref().filter(|_| is_in_plan)) {
            (Some(part), _) => Ok(part.clone()),
            (None, _) if self.matched.is_exempt() => Err(Obstacle::Exempt),
            (None, Some(Planned::Default(_))) => Err(self.obstacle_of_default()),
            (None, Some(Planned::Endpoint(endpoint, _))) => Err(self.obstacle_of(endpoint)),
            (None, Some(Planned::General(rule))) => Err(self.obstacle_of_general(rule)),
            (None, None) => Err(Obstacle::Tier(self.policy.tiers_with(index))),
        };
        let kind = found.as_ref().map_or(LimitKind::Default, Planned::kind);
        ExplainedLimit { limit: Arc::clone(limit), kind, outcome }
    }

    fn enforced_endpoint(&self) -> Option<&PlannedEndpoint> {
        self.plan.endpoints.find(self.path, |endpoint| !endpoint.is_shadow())
    }

    fn obstacle_of_default(&self) -> Obstacle {
        let general = || {
            let mut rules = self.plan.rules.iter().filter(|rule| rule.applied.replaces_default());
            let is_in_check = |rule: &&PlannedRule| {
                let index = rule.applied.index as usize;
                self.matched.check.parts().iter().any(|part| part.policy_index() == index)
            };
            let replacing = rules.find(is_in_check);
            replacing.map_or_else(|| "other".into(), |rule| rule.applied.limit.name().into())
        };
        let endpoint = self.enforced_endpoint();
        Obstacle::InPlaceOfDefault(endpoint.map_or_else(general, |found| self.policy.label(found)))
    }

    fn obstacle_of(&self, endpoint: &PlannedEndpoint) -> Obstacle {
        let covers = self.plan.endpoints.find(self.path, |other| std::ptr::eq(other, endpoint));
        // Shadow endpoints do not replace others.
        let first = if endpoint.is_shadow() {
            self.plan.endpoints.find(self.path, |_| true)
        } else {
            self.enforced_endpoint()
        };
        match first.filter(|_| covers.is_some()) {
            Some(first) => Obstacle::MoreSpecific(self.policy.label(first)),
            None => Obstacle::NotBelow,
        }
    }

    /// Finds the first condition that the request does not meet, in the order in which they are
    /// tested.
    fn obstacle_of_general(&self, rule: &PlannedRule) -> Obstacle {
        let (when, request) = (&rule.when, self.request);
        if !rule.applied.applies_to(request) {
            return Obstacle::NotFollowed;
        }
        let written = || rule.written().when;
        let has_method = |method: &str| method.eq_ignore_ascii_case(request.method);
        if !when.methods.is_empty() && !when.methods.iter().any(|method| has_method(method)) {
            return Obstacle::Method(written().methods);
        }
        if !when.paths.is_empty() && !when.paths.iter().any(|path| path.matches(self.path)) {
            return Obstacle::Path(written().paths);
        }
        for (header, written) in when.headers.iter().zip(written().headers) {
            match header.holds(request.attributes) {
                Ok(true) => {}
                Ok(false) => return Obstacle::Header(written),
                Err(error) => return Obstacle::Unreadable(error),
            }
        }
        let tag = |per: &PlannedPer| match self.matched.client {
            Some(client) => self.policy.tag(per, client, request),
            None => Ok(None),
        };
        match tag(&rule.per) {
            Ok(_) => Obstacle::NoSubject,
            Err(error) => Obstacle::Unreadable(error),
        }
    }
}

impl Policy {
    /// Returns the tiers that have the limit with this index; `None` for clients without one.
    fn tiers_with(&self, index: usize) -> Vec<Option<String>> {
        let having = self.plans.iter().filter(|plan| plan.limit(index).is_some());
        having.map(|plan| plan.tier.as_deref().map(str::to_owned)).collect()
    }
}

impl Plan {
    /// Returns the limit with this index in the policy, if the plan has it.
    fn limit(&self, index: usize) -> Option<Planned<'_>> {
        let is_it = |applied: &&Applied| applied.index as usize == index;
        let default = self.default.as_ref().filter(is_it).map(Planned::Default);
        let endpoint = || {
            self.endpoints.values().find_map(|endpoint| {
                let applied = endpoint.applied.as_ref().filter(is_it)?;
                Some(Planned::Endpoint(endpoint, applied))
            })
        };
        let general = || self.rules.iter().find(|rule| rule.applied.index as usize == index);
        default.or_else(endpoint).or_else(|| general().map(Planned::General))
    }
}

impl Planned<'_> {
    const fn applied(&self) -> &Applied {
        match self {
            Self::Default(applied) | Self::Endpoint(_, applied) => applied,
            Self::General(rule) => &rule.applied,
        }
    }

    fn kind(&self) -> LimitKind {
        match self {
            Self::Default(_) => LimitKind::Default,
            Self::Endpoint(..) => LimitKind::Endpoint,
            Self::General(rule) => LimitKind::General(Box::new(rule.written())),
        }
    }
}
