//! A policy with the counters that record its decisions, bound once.

use std::{collections::HashSet, sync::Arc, time::Instant};

use sluice_core::{
    Action, Decision, Matched, Mode, Policy, Request, RequestError, Source, Verdict,
};
use sluice_store::{Store, StoreError};

use crate::{
    stats::{EndpointCounters, StatsCounters},
    telemetry::{
        BoundDecisions, BoundHits, DecisionRecorder, OutcomeLabel, Recorders, SourceLabel,
    },
    unknown_tiers::UnknownTiers,
};

/// The policy that new checks are decided by, with the counters of its limits and endpoints.
///
/// It has all that a check needs afterwards, so that a check keeps one reference and not one to
/// each: every core writes to a reference's counter.
#[derive(Debug)]
pub(crate) struct ActivePolicy {
    pub(crate) policy: Arc<Policy>,
    pub(crate) store: Arc<dyn Store>,
    /// In the order of [`Policy::limits`].
    decisions: Box<[BoundDecisions]>,
    /// In the order of [`Policy::endpoints`].
    hits: Box<[BoundHits]>,
    /// In the order of [`Policy::endpoints`]; empty where no statistics are kept.
    endpoint_counters: Box<[Arc<EndpointCounters>]>,
    durations: DecisionRecorder,
    unknown_tiers: UnknownTiers,
}

impl ActivePolicy {
    pub(crate) fn new(
        policy: Policy,
        store: &Arc<dyn Store>,
        recorders: &Recorders,
        stats: Option<&StatsCounters>,
    ) -> Self {
        let decisions =
            policy.limits().iter().map(|limit| recorders.decisions.bind(limit.name())).collect();
        // An exempt path is never denied, so that it has no series, not even one of 0.
        let uncounted = Recorders::disabled();
        let exempt: HashSet<&str> = policy.exempt_endpoints().collect();
        let hits = policy.endpoints().iter().map(|endpoint| {
            let recorders = if exempt.contains(&**endpoint) { &uncounted } else { recorders };
            recorders.rate_limit.bind(endpoint)
        });
        let hits = hits.collect();
        recorders.exempt.set(policy.exempt_endpoints());
        let endpoint_counters = stats.map(|stats| {
            policy.endpoints().iter().map(|endpoint| stats.endpoint(endpoint)).collect()
        });
        let endpoint_counters = endpoint_counters.unwrap_or_default();
        Self {
            policy: Arc::new(policy),
            store: Arc::clone(store),
            decisions,
            hits,
            endpoint_counters,
            durations: recorders.decisions.clone(),
            unknown_tiers: UnknownTiers::new(recorders.clients.clone()),
        }
    }

    /// Makes the check of all limits that apply to `request`, as [`Policy::check`] does. A request
    /// that takes tokens in a tier that the policy does not have is counted.
    pub(crate) fn check(
        &self,
        action: Action,
        request: &Request<'_>,
    ) -> Result<Matched, RequestError> {
        let matched = self.policy.check(action, request)?;
        if let (true, Action::Take, Some(tier)) = (matched.has_unknown_tier, action, request.tier) {
            self.unknown_tiers.note(tier);
        }
        Ok(matched)
    }

    /// Records a decision. `since` is when the wait for the store began, if there was one.
    pub(crate) fn record(
        &self,
        action: Action,
        matched: &Matched,
        decided: &Result<Decision, StoreError>,
        since: Option<Instant>,
    ) {
        let counters = matched.limits().map(|limit| &self.decisions[limit]);
        record(action, decided, counters, &self.hits[matched.endpoint], &self.durations, since);
        if let (Action::Take | Action::Reserve, Ok(decision), Some(client)) =
            (action, decided, matched.client)
            && let Some(stats) = self.endpoint_counters.get(matched.endpoint)
        {
            stats.count_decision(client, decision.is_denied());
        }
    }

    /// Records what became of a request by the allowance of an unverified key: only a denial is a
    /// decision about the request.
    pub(crate) fn record_allowance(
        &self,
        matched: &Matched,
        denied: bool,
        counter: &BoundDecisions,
    ) {
        let outcome = if denied { OutcomeLabel::Denied } else { OutcomeLabel::Allowed };
        counter.record(outcome, SourceLabel::Store);
        if !denied {
            return;
        }
        self.hits[matched.endpoint].hit();
        if let (Some(client), Some(stats)) =
            (matched.client, self.endpoint_counters.get(matched.endpoint))
        {
            stats.count_decision(client, true);
        }
    }
}

/// Records a decision with one counter for each part of the check, in the same order.
///
/// Only checks that take tokens are recorded: the other actions neither admit nor deny a request.
pub(crate) fn record<'c>(
    action: Action,
    decided: &Result<Decision, StoreError>,
    counters: impl Iterator<Item = &'c BoundDecisions>,
    hits: &BoundHits,
    durations: &DecisionRecorder,
    since: Option<Instant>,
) {
    if !matches!(action, Action::Take | Action::Reserve) {
        return;
    }
    match decided {
        Ok(decision) => {
            let source = source_label(decision.source());
            for (verdict, counter) in decision.verdicts().iter().zip(counters) {
                counter.record(outcome(verdict), source);
            }
            if decision.is_denied() {
                hits.hit();
            }
            if let Some(since) = since {
                durations.check_duration(source, since.elapsed());
            }
        }
        Err(_) => counters.for_each(|counter| counter.error(SourceLabel::Store)),
    }
}

fn outcome(verdict: &Verdict) -> OutcomeLabel {
    match (verdict.admitted, verdict.limit.mode()) {
        (true, _) => OutcomeLabel::Allowed,
        (false, Mode::Shadow) => OutcomeLabel::ShadowDenied,
        (false, Mode::Enforce | Mode::Off) => OutcomeLabel::Denied,
    }
}

pub(crate) fn source_label(source: Source) -> SourceLabel {
    match source {
        Source::Store => SourceLabel::Store,
        Source::Lease => SourceLabel::Lease,
        Source::Cache => SourceLabel::Cache,
        Source::Local => SourceLabel::Local,
    }
}
