//! The plan of a call: which bucket each descriptor takes from or gives back to.

use std::borrow::Cow;

use prost_types::Struct;
use sluice_core::{Action, Check, Cost, Part};
use sluice_telemetry::BoundDecisions;
use smallvec::SmallVec;

use crate::{
    error::RlsError,
    messages::{CurrentLimit, Descriptor, RateLimitRequest, Unit},
    rules::{Domain, Effect, Rule, RuleMatch, Rules, Tokens},
};

/// The plan of a call, with a slot for each of its descriptors.
#[derive(Debug)]
pub(crate) struct CheckPlan<'r> {
    pub(crate) slots: SmallVec<[Slot<'r>; 2]>,
    /// The tokens to take, all or nothing. It only reads the state if the call takes no tokens or
    /// is blocked.
    pub(crate) take: Check,
    /// For each part of [`take`](Self::take), the counter of its decisions.
    pub(crate) counters: SmallVec<[Cow<'r, BoundDecisions>; 2]>,
    /// The tokens to give back if the request is allowed.
    pub(crate) give_back: Check,
    /// Whether a rule blocks the request, whatever the other rules decide.
    pub(crate) is_blocked: bool,
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
    /// The descriptor takes tokens or gives them back.
    Tokens {
        limit: LimitInfo<'r>,
        /// The index of the part: in `give_back` if `gives_back`, else in `take`.
        part: usize,
        gives_back: bool,
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
    /// Creates the plan of `request` by `rules`.
    ///
    /// # Errors
    /// Returns an error when the request has no domain or no descriptors, or when its limit has an
    /// unknown unit.
    pub(crate) fn new(request: &RateLimitRequest, rules: &'r Rules) -> Result<Self, RlsError> {
        let RateLimitRequest { domain, descriptors, hits_addend } = request;
        if domain.is_empty() {
            return Err(RlsError::Invalid(
                "domain is empty: send the domain of a rules file".to_owned(),
            ));
        }
        if descriptors.is_empty() {
            return Err(RlsError::Invalid("descriptors is empty: send at least one".to_owned()));
        }
        let Some(domain) = rules.domain(domain) else {
            return Ok(Self::of_nothing(descriptors.len()));
        };
        let mut matches = descriptors
            .iter()
            .enumerate()
            .map(|(place, descriptor)| match_descriptor(rules, domain, place, descriptor))
            .collect::<Result<SmallVec<[Match<'r>; 2]>, RlsError>>()?;
        drop_replaced_rules(&mut matches);
        Ok(Self::of(rules, domain, descriptors, (*hits_addend).max(1), matches))
    }

    fn of_nothing(descriptors: usize) -> Self {
        let slots = (0..descriptors).map(|_| Slot::Unlimited { by_rule: false }).collect();
        let nothing = || Check::new(Action::Peek);
        Self {
            slots,
            take: nothing(),
            counters: SmallVec::new(),
            give_back: nothing(),
            is_blocked: false,
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
        // A single rule in quota mode denies like any other rule.
        let quotas = matches
            .iter()
            .filter(|matches| matches!(matches, Match::Rule(matched) if matched.is_quota()))
            .count();
        let is_blocked = matches
            .iter()
            .zip(descriptors)
            .any(|(matches, descriptor)| matches.blocks(quotas) && takes(descriptor));
        let action =
            if !is_blocked && descriptors.iter().any(takes) { Action::Take } else { Action::Peek };

        let mut plan = Self {
            slots: SmallVec::with_capacity(descriptors.len()),
            take: Check::new(action),
            counters: SmallVec::new(),
            give_back: Check::new(Action::GiveBack),
            is_blocked,
        };
        for (matches, descriptor) in matches.into_iter().zip(descriptors) {
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
                    plan.add(part, limit, descriptor.is_negative_hits)
                }
            };
            plan.slots.push(slot);
        }
        plan
    }

    /// Adds a part to the check. Costs in the same bucket add up.
    fn add(&mut self, part: Part, limit: LimitInfo<'r>, gives_back: bool) -> Slot<'r> {
        let check = if gives_back { &mut self.give_back } else { &mut self.take };
        let bucket = part.bucket();
        let known = check.parts().iter().position(|known| known.bucket() == bucket);
        let place = known.unwrap_or(check.parts().len());
        check.push(part);
        if known.is_none() && !gives_back {
            self.counters.push(limit.counter.clone());
        }
        Slot::Tokens { limit, part: place, gives_back }
    }
}

impl Match<'_> {
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
