//! A request as a check: what each of its descriptors asks of which bucket.

use std::borrow::Cow;

use prost_types::Struct;
use sluice_core::{Action, Check, Cost, Part};
use sluice_telemetry::BoundDecisions;
use smallvec::SmallVec;

use crate::{
    error::RlsError,
    messages::{CurrentLimit, Descriptor, RateLimitRequest, Unit},
    rules::{Domain, Found, Passes, Rule, Rules, Tokens},
};

/// What a request asks, a slot for each of its descriptors.
#[derive(Debug)]
pub(crate) struct Question<'r> {
    pub(crate) slots: SmallVec<[Slot<'r>; 2]>,
    /// What is to be taken, all or nothing; or only looked at, if the request asks for no more or
    /// nothing can pass.
    pub(crate) take: Check,
    /// For each part of [`take`](Self::take), what counts its decisions.
    pub(crate) counters: SmallVec<[Cow<'r, BoundDecisions>; 2]>,
    /// What is to be given back, if the request passes.
    pub(crate) give_back: Check,
    /// Whether a rule lets nothing pass, whatever the others say.
    pub(crate) is_barred: bool,
}

/// What one descriptor asks.
#[derive(Debug)]
pub(crate) enum Slot<'r> {
    /// Nothing that is limited.
    Free {
        /// Whether a rule says so.
        by_rule: bool,
    },
    /// Something that nothing passes.
    Barred {
        limit: Limited<'r>,
        /// Whether anything is asked for, so that this denies.
        denies: bool,
    },
    /// Tokens.
    Tokens {
        limit: Limited<'r>,
        /// The part of the check: of what is given back if `gives_back`, else of what is taken.
        part: usize,
        gives_back: bool,
    },
}

/// What is remembered of a limit while the check is decided.
#[derive(Debug)]
pub(crate) struct Limited<'r> {
    pub(crate) current: Cow<'r, CurrentLimit>,
    pub(crate) counter: Cow<'r, BoundDecisions>,
    /// Whether it never denies.
    pub(crate) is_shadow: bool,
    /// Whether it denies only if every other such limit does.
    pub(crate) is_quota: bool,
    pub(crate) metadata: Option<&'r Struct>,
}

/// What a descriptor leads to.
enum Led<'r> {
    Nowhere,
    Rule(Found<'r>),
    /// A limit that the request brings.
    Brought {
        passes: Passes,
        current: CurrentLimit,
    },
}

impl<'r> Question<'r> {
    /// What `request` asks by `rules`.
    ///
    /// # Errors
    /// When it asks for nothing, or brings a limit that is none.
    pub(crate) fn new(request: &RateLimitRequest, rules: &'r Rules) -> Result<Self, RlsError> {
        let RateLimitRequest { domain, descriptors, hits_addend } = request;
        if domain.is_empty() {
            return Err(RlsError::Invalid(
                "domain is empty: name a domain, as a file of rules does".to_owned(),
            ));
        }
        if descriptors.is_empty() {
            return Err(RlsError::Invalid("descriptors is empty: send at least one".to_owned()));
        }
        let Some(domain) = rules.domain(domain) else {
            return Ok(Self::of_nothing(descriptors.len()));
        };
        let mut led = descriptors
            .iter()
            .enumerate()
            .map(|(place, descriptor)| lead(rules, domain, place, descriptor))
            .collect::<Result<SmallVec<[Led<'r>; 2]>, RlsError>>()?;
        drop_replaced(&mut led);
        Ok(Self::of(rules, domain, descriptors, (*hits_addend).max(1), led))
    }

    fn of_nothing(descriptors: usize) -> Self {
        let slots = (0..descriptors).map(|_| Slot::Free { by_rule: false }).collect();
        let nothing = || Check::new(Action::Peek);
        Self {
            slots,
            take: nothing(),
            counters: SmallVec::new(),
            give_back: nothing(),
            is_barred: false,
        }
    }

    fn of(
        rules: &'r Rules,
        domain: &'r Domain,
        descriptors: &[Descriptor],
        usual_hits: u32,
        led: SmallVec<[Led<'r>; 2]>,
    ) -> Self {
        let asked = |descriptor: &Descriptor| {
            let hits =
                descriptor.hits_addend.map_or_else(|| u64::from(usual_hits), |hits| hits.value);
            Cost::new(hits).unwrap_or(Cost::MAX)
        };
        let takes = |descriptor: &Descriptor| {
            !descriptor.is_negative_hits && asked(descriptor) > Cost::NONE
        };
        // Of rules that only deny together, one alone is like any other.
        let quotas =
            led.iter().filter(|led| matches!(led, Led::Rule(found) if found.is_quota())).count();
        let is_barred = led
            .iter()
            .zip(descriptors)
            .any(|(led, descriptor)| led.bars(quotas) && takes(descriptor));
        let action =
            if !is_barred && descriptors.iter().any(takes) { Action::Take } else { Action::Peek };

        let mut question = Self {
            slots: SmallVec::with_capacity(descriptors.len()),
            take: Check::new(action),
            counters: SmallVec::new(),
            give_back: Check::new(Action::GiveBack),
            is_barred,
        };
        for (led, descriptor) in led.into_iter().zip(descriptors) {
            let (passes, limit, found) = match &led {
                Led::Nowhere => {
                    question.slots.push(Slot::Free { by_rule: false });
                    continue;
                }
                Led::Rule(found) => (
                    &found.rule.passes,
                    Limited::of_rule(rules, domain, descriptor, found, quotas),
                    Some(found),
                ),
                Led::Brought { passes, current } => {
                    (passes, Limited::brought(domain, current), None)
                }
            };
            let slot = match passes {
                Passes::Everything => Slot::Free { by_rule: true },
                Passes::Nothing => Slot::Barred { limit, denies: takes(descriptor) },
                Passes::Tokens(Tokens { limit: enforced, advice }) => {
                    let tokens = if limit.is_quota { advice } else { enforced };
                    let tag = rules.tag(domain, &descriptor.entries, found);
                    let part = Part::new(tokens.clone(), tag, asked(descriptor));
                    question.ask(part, limit, descriptor.is_negative_hits)
                }
            };
            question.slots.push(slot);
        }
        question
    }

    /// Adds a part to the check, where costs in one bucket add up.
    fn ask(&mut self, part: Part, limit: Limited<'r>, gives_back: bool) -> Slot<'r> {
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

impl Led<'_> {
    /// Whether nothing passes here, and that alone denies.
    fn bars(&self, quotas: usize) -> bool {
        match self {
            Self::Nowhere => false,
            Self::Rule(Found { rule, .. }) => {
                matches!(rule.passes, Passes::Nothing)
                    && !rule.is_shadow
                    && !(rule.is_quota && quotas > 1)
            }
            Self::Brought { passes, .. } => matches!(passes, Passes::Nothing),
        }
    }
}

impl Found<'_> {
    /// Whether this counts among the rules that only deny together.
    fn is_quota(&self) -> bool {
        self.rule.is_quota && !matches!(self.rule.passes, Passes::Everything)
    }
}

impl<'r> Limited<'r> {
    fn of_rule(
        rules: &'r Rules,
        domain: &'r Domain,
        descriptor: &Descriptor,
        found: &Found<'r>,
        quotas: usize,
    ) -> Self {
        let rule: &'r Rule = found.rule;
        Self {
            current: Cow::Borrowed(&rule.current),
            counter: rules.counter(domain, &descriptor.entries, found),
            is_shadow: rule.is_shadow,
            is_quota: found.is_quota() && quotas > 1,
            metadata: rule.metadata.as_ref(),
        }
    }

    fn brought(domain: &'r Domain, current: &CurrentLimit) -> Self {
        Self {
            current: Cow::Owned(current.clone()),
            counter: Cow::Borrowed(domain.overrides_counter()),
            is_shadow: false,
            is_quota: false,
            metadata: None,
        }
    }
}

/// Where the descriptor in this `place` leads.
fn lead<'r>(
    rules: &'r Rules,
    domain: &'r Domain,
    place: usize,
    descriptor: &Descriptor,
) -> Result<Led<'r>, RlsError> {
    let Some(limit) = descriptor.limit else {
        return Ok(domain.find(&descriptor.entries).map_or(Led::Nowhere, Led::Rule));
    };
    let Some(unit) = Unit::try_from(limit.unit).ok().and_then(Unit::known) else {
        let unit = limit.unit;
        return Err(RlsError::Invalid(format!(
            "descriptors[{place}].limit.unit: {unit} is no unit of time: send one from 1 (second) to 7 (week)"
        )));
    };
    let (passes, current) = rules.brought(domain, limit.requests_per_unit, unit);
    Ok(Led::Brought { passes, current })
}

/// Rules that another rule of the request replaces do not count; those without limits stay what
/// they are.
fn drop_replaced(led: &mut [Led<'_>]) {
    let rules = led
        .iter()
        .filter_map(|led| if let Led::Rule(found) = led { Some(found.rule) } else { None });
    let replaced: SmallVec<[&str; 2]> =
        rules.flat_map(|rule| rule.replaces.iter().map(|name| &**name)).collect();
    if replaced.is_empty() {
        return;
    }
    for led in led {
        if let Led::Rule(Found { rule, .. }) = led
            && !matches!(rule.passes, Passes::Everything)
            && replaced.contains(&&*rule.name)
        {
            *led = Led::Nowhere;
        }
    }
}
