//! The plan of a call: which bucket each descriptor takes from or gives back to.

use std::borrow::Cow;

use prost_types::Struct;
use sluice_core::{Action, Check, Cost, Part};
use sluice_telemetry::BoundDecisions;
use smallvec::SmallVec;

use crate::{
    error::RlsError,
    messages::{CurrentLimit, Descriptor, RateLimitRequest, Unit},
    rules::{Domain, Effect, Overrun, Rule, RuleMatch, Rules, Tokens},
};

/// The plan of a call, with a slot for each of its descriptors.
#[derive(Debug)]
pub(crate) struct CheckPlan<'r> {
    pub(crate) slots: SmallVec<[Slot<'r>; 2]>,
    /// The tokens to take, all or nothing. It only reads the state if the call takes no tokens or
    /// is blocked.
    pub(crate) take: Counted<'r>,
    /// The usage to charge, past zero if necessary, whatever the other descriptors decide.
    pub(crate) charge: Counted<'r>,
    /// The tokens to give back if the request is allowed.
    pub(crate) give_back: Check,
    /// Whether a rule blocks the request, whatever the other rules decide.
    pub(crate) is_blocked: bool,
    /// How many descriptors match no rule, although the domain has rules.
    pub(crate) unmatched: usize,
}

/// A check with a counter of decisions for each of its parts.
#[derive(Debug)]
pub(crate) struct Counted<'r> {
    pub(crate) check: Check,
    pub(crate) counters: SmallVec<[Cow<'r, BoundDecisions>; 2]>,
}

/// What a descriptor does to its bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It takes tokens, or looks at them, together with the others.
    Takes,
    /// It reports usage, which is charged.
    Charges,
    /// It gives tokens back.
    GivesBack,
}

/// The plan for one descriptor.
#[derive(Debug)]
pub(crate) enum Slot<'r> {
    /// The descriptor is not limited.
    Unlimited {
        /// Whether a rule says so.
        by_rule: bool,
    },
    /// The rule blocks every request.
    Blocked {
        limit: LimitInfo<'r>,
        /// Whether the descriptor takes tokens, so that the rule denies.
        denies: bool,
    },
    /// The descriptor takes or charges tokens, or gives them back.
    Tokens {
        limit: LimitInfo<'r>,
        /// The index of the part in the check of this role.
        part: usize,
        role: Role,
    },
}

/// What the response needs to know about a limit.
#[derive(Debug)]
pub(crate) struct LimitInfo<'r> {
    pub(crate) current: Cow<'r, CurrentLimit>,
    pub(crate) counter: Cow<'r, BoundDecisions>,
    /// Whether the rule is in shadow mode and never denies.
    pub(crate) is_shadow: bool,
    /// Whether the rule is in quota mode and denies only together with all other quota rules.
    pub(crate) is_quota: bool,
    pub(crate) metadata: Option<&'r Struct>,
}

/// What a descriptor matches.
enum Match<'r> {
    Nothing,
    Rule(RuleMatch<'r>),
    /// A limit in the request itself.
    Override {
        effect: Effect,
        current: CurrentLimit,
    },
}

impl<'r> CheckPlan<'r> {
    /// Creates the plan of `request` by `rules`, of which `domain` is the one that it names.
    ///
    /// # Errors
    /// Returns an error when the request has no domain or no descriptors, or when its limit has an
    /// unknown unit.
    pub(crate) fn new(
        request: &RateLimitRequest,
        rules: &'r Rules,
        domain: Option<&'r Domain>,
    ) -> Result<Self, RlsError> {
        let RateLimitRequest { domain: name, descriptors, hits_addend } = request;
        if name.is_empty() {
            return Err(RlsError::Invalid(
                "domain is empty: send the domain of a rules file".to_owned(),
            ));
        }
        if descriptors.is_empty() {
            return Err(RlsError::Invalid("descriptors is empty: send at least one".to_owned()));
        }
        let Some(domain) = domain else {
            return Ok(Self::of_nothing(descriptors.len()));
        };
        let mut matches = descriptors
            .iter()
            .enumerate()
            .map(|(place, descriptor)| match_descriptor(rules, domain, place, descriptor))
            .collect::<Result<SmallVec<[Match<'r>; 2]>, RlsError>>()?;
        let unmatched = matches.iter().filter(|matches| matches!(matches, Match::Nothing)).count();
        drop_replaced_rules(&mut matches);
        let plan = Self::of(rules, domain, descriptors, (*hits_addend).max(1), matches);
        Ok(Self { unmatched, ..plan })
    }

    fn of_nothing(descriptors: usize) -> Self {
        let slots = (0..descriptors).map(|_| Slot::Unlimited { by_rule: false }).collect();
        Self {
            slots,
            take: Counted::new(Action::Peek),
            charge: Counted::new(Action::Charge),
            give_back: Check::new(Action::GiveBack),
            is_blocked: false,
            unmatched: 0,
        }
    }

    fn of(
        rules: &'r Rules,
        domain: &'r Domain,
        descriptors: &[Descriptor],
        default_hits: u32,
        matches: SmallVec<[Match<'r>; 2]>,
    ) -> Self {
        let asked = |descriptor: &Descriptor| {
            let hits =
                descriptor.hits_addend.map_or_else(|| u64::from(default_hits), |hits| hits.value);
            Cost::new(hits).unwrap_or(Cost::MAX)
        };
        let takes = |descriptor: &Descriptor| {
            !descriptor.is_negative_hits && asked(descriptor) > Cost::NONE
        };
        for (matches, descriptor) in matches.iter().zip(descriptors) {
            if let Some(overrun) = matches.overrun(domain)
                && descriptor.looks()
            {
                overrun.look();
            }
        }
        let roles: SmallVec<[Role; 2]> = matches
            .iter()
            .zip(descriptors)
            .map(|(matches, descriptor)| matches.role(domain, descriptor))
            .collect();
        // A single rule in quota mode denies like any other rule.
        let quotas = matches
            .iter()
            .filter(|matches| matches!(matches, Match::Rule(matched) if matched.is_quota()))
            .count();
        let is_blocked = matches
            .iter()
            .zip(descriptors)
            .any(|(matches, descriptor)| matches.blocks(quotas) && takes(descriptor));
        let takes_any = descriptors
            .iter()
            .zip(&roles)
            .any(|(descriptor, role)| *role == Role::Takes && takes(descriptor));
        let action = if !is_blocked && takes_any { Action::Take } else { Action::Peek };

        let mut plan = Self {
            slots: SmallVec::with_capacity(descriptors.len()),
            take: Counted::new(action),
            charge: Counted::new(Action::Charge),
            give_back: Check::new(Action::GiveBack),
            is_blocked,
            unmatched: 0,
        };
        for ((matches, descriptor), role) in matches.into_iter().zip(descriptors).zip(roles) {
            let (effect, limit, matched) = match &matches {
                Match::Nothing => {
                    plan.slots.push(Slot::Unlimited { by_rule: false });
                    continue;
                }
                Match::Rule(matched) => (
                    &matched.rule.effect,
                    LimitInfo::of_rule(rules, domain, descriptor, matched, quotas),
                    Some(matched),
                ),
                Match::Override { effect, current } => {
                    (effect, LimitInfo::override_limit(domain, current), None)
                }
            };
            let slot = match effect {
                Effect::AllowAll => Slot::Unlimited { by_rule: true },
                Effect::DenyAll => Slot::Blocked { limit, denies: takes(descriptor) },
                Effect::Limit(Tokens { limit: enforced, shadow }) => {
                    let tokens = if limit.is_quota { shadow } else { enforced };
                    let tag = rules.tag(domain, &descriptor.entries, matched);
                    let part = Part::new(tokens.clone(), tag, asked(descriptor));
                    plan.add(part, limit, role)
                }
            };
            plan.slots.push(slot);
        }
        plan
    }

    /// Adds a part to the check of this role. Costs in the same bucket add up.
    fn add(&mut self, part: Part, limit: LimitInfo<'r>, role: Role) -> Slot<'r> {
        let (check, counters) = match role {
            Role::Takes => (&mut self.take.check, Some(&mut self.take.counters)),
            Role::Charges => (&mut self.charge.check, Some(&mut self.charge.counters)),
            Role::GivesBack => (&mut self.give_back, None),
        };
        let bucket = part.bucket();
        let known = check.parts().iter().position(|known| known.bucket() == bucket);
        let place = known.unwrap_or(check.parts().len());
        check.push(part);
        if let (None, Some(counters)) = (known, counters) {
            counters.push(limit.counter.clone());
        }
        Slot::Tokens { limit, part: place, role }
    }
}

impl Counted<'_> {
    fn new(action: Action) -> Self {
        Self { check: Check::new(action), counters: SmallVec::new() }
    }
}

impl Descriptor {
    /// Returns whether the descriptor asks for nothing, and so only looks.
    const fn looks(&self) -> bool {
        !self.is_negative_hits && matches!(self.hits_addend, Some(hits) if hits.value == 0)
    }
}

impl Match<'_> {
    /// Returns what `descriptor` does to its bucket.
    fn role(&self, domain: &Domain, descriptor: &Descriptor) -> Role {
        if descriptor.is_negative_hits {
            return Role::GivesBack;
        }
        match (self.overrun(domain), descriptor.hits_addend) {
            (Some(overrun), Some(hits)) if overrun.charges(hits.value) => Role::Charges,
            _ => Role::Takes,
        }
    }

    /// Returns how usage that does not fit is treated; `None` if nothing is counted.
    fn overrun<'o>(&'o self, domain: &'o Domain) -> Option<&'o Overrun> {
        match self {
            Self::Rule(RuleMatch { rule, .. }) if matches!(rule.effect, Effect::Limit(_)) => {
                Some(&rule.overrun)
            }
            Self::Override { effect: Effect::Limit(_), .. } => Some(&domain.overrides_overrun),
            Self::Nothing | Self::Rule(_) | Self::Override { .. } => None,
        }
    }

    /// Returns whether this match alone blocks the request.
    fn blocks(&self, quotas: usize) -> bool {
        match self {
            Self::Nothing => false,
            Self::Rule(RuleMatch { rule, .. }) => {
                matches!(rule.effect, Effect::DenyAll)
                    && !rule.is_shadow
                    && !(rule.is_quota && quotas > 1)
            }
            Self::Override { effect, .. } => matches!(effect, Effect::DenyAll),
        }
    }
}

impl RuleMatch<'_> {
    /// Returns whether the rule counts among those in quota mode.
    fn is_quota(&self) -> bool {
        self.rule.is_quota && !matches!(self.rule.effect, Effect::AllowAll)
    }
}

impl<'r> LimitInfo<'r> {
    fn of_rule(
        rules: &'r Rules,
        domain: &'r Domain,
        descriptor: &Descriptor,
        matched: &RuleMatch<'r>,
        quotas: usize,
    ) -> Self {
        let rule: &'r Rule = matched.rule;
        Self {
            current: Cow::Borrowed(&rule.current),
            counter: rules.counter(domain, &descriptor.entries, matched),
            is_shadow: rule.is_shadow,
            is_quota: matched.is_quota() && quotas > 1,
            metadata: rule.metadata.as_ref(),
        }
    }

    fn override_limit(domain: &'r Domain, current: &CurrentLimit) -> Self {
        Self {
            current: Cow::Owned(current.clone()),
            counter: Cow::Borrowed(domain.overrides_counter()),
            is_shadow: false,
            is_quota: false,
            metadata: None,
        }
    }
}

/// Matches the descriptor at index `place`.
fn match_descriptor<'r>(
    rules: &'r Rules,
    domain: &'r Domain,
    place: usize,
    descriptor: &Descriptor,
) -> Result<Match<'r>, RlsError> {
    let Some(limit) = descriptor.limit else {
        return Ok(domain.find(&descriptor.entries).map_or(Match::Nothing, Match::Rule));
    };
    let Some(unit) = Unit::try_from(limit.unit).ok().and_then(Unit::known) else {
        let unit = limit.unit;
        return Err(RlsError::Invalid(format!(
            "descriptors[{place}].limit.unit: {unit} is not a unit of time: send one from 1 \
             (second) to 7 (week)"
        )));
    };
    let (effect, current) = rules.override_limit(domain, limit.requests_per_unit, unit);
    Ok(Match::Override { effect, current })
}

/// Drops the rules that another matched rule replaces. Rules without a limit are kept.
fn drop_replaced_rules(matches: &mut [Match<'_>]) {
    let rules = matches.iter().filter_map(|matches| {
        if let Match::Rule(matched) = matches { Some(matched.rule) } else { None }
    });
    let replaced: SmallVec<[&str; 2]> =
        rules.flat_map(|rule| rule.replaces.iter().map(|name| &**name)).collect();
    if replaced.is_empty() {
        return;
    }
    for matches in matches {
        if let Match::Rule(RuleMatch { rule, .. }) = matches
            && !matches!(rule.effect, Effect::AllowAll)
            && replaced.contains(&&*rule.name)
        {
            *matches = Match::Nothing;
        }
    }
}
