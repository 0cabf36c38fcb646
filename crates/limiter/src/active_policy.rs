//! A policy with everything that recording its decisions needs, bound once.

use std::{sync::Arc, time::Instant};

use sluice_core::{Action, Decision, Matched, Mode, Policy, Source, Verdict};
use sluice_store::StoreError;
use sluice_telemetry::{BoundDecisions, BoundHits, DecisionRecorder, OutcomeLabel, Recorders};

use crate::stats::{EndpointCounters, StatsCounters};

/// The policy in force, with the counters of its limits and endpoints.
#[derive(Debug)]
pub(crate) struct ActivePolicy {
    pub(crate) policy: Arc<Policy>,
    /// In the order of [`Policy::limits`].
    decisions: Box<[BoundDecisions]>,
    /// In the order of [`Policy::endpoints`].
    hits: Box<[BoundHits]>,
    /// Likewise; none where no fleet is told.
    endpoint_counters: Box<[Arc<EndpointCounters>]>,
    durations: DecisionRecorder,
}

impl ActivePolicy {
    pub(crate) fn new(
        policy: Policy,
        recorders: &Recorders,
        stats: Option<&StatsCounters>,
    ) -> Self {
        let decisions =
            policy.limits().iter().map(|limit| recorders.decisions.bind(limit.name())).collect();
        let hits =
            policy.endpoints().iter().map(|endpoint| recorders.rate_limit.bind(endpoint)).collect();
        let endpoint_counters = stats.map(|stats| {
            policy.endpoints().iter().map(|endpoint| stats.endpoint(endpoint)).collect()
        });
        let endpoint_counters = endpoint_counters.unwrap_or_default();
        Self {
            policy: Arc::new(policy),
            decisions,
            hits,
            endpoint_counters,
            durations: recorders.decisions.clone(),
        }
    }

    /// What a metric's label may say of the request's path.
    pub(crate) fn endpoint(&self, matched: &Matched) -> Arc<str> {
        Arc::clone(&self.policy.endpoints()[matched.endpoint])
    }

    /// Records what the limits said; `since` when it was waited for, if it was.
    pub(crate) fn record(
        &self,
        action: Action,
        matched: &Matched,
        decided: &Result<Decision, StoreError>,
        since: Option<Instant>,
    ) {
        let counters = matched.limits().map(|limit| &self.decisions[limit]);
        record(action, decided, counters, &self.hits[matched.endpoint], &self.durations, since);
        if let (Action::Take, Ok(decision), Some(client)) = (action, decided, matched.client)
            && let Some(stats) = self.endpoint_counters.get(matched.endpoint)
        {
            stats.count_decision(client, decision.is_denied());
        }
    }
}

/// Records what the limits said, each of which has a counter in the order of the check. Only a
/// check that takes counts: looking, settling and giving back admit nobody and deny nobody.
pub(crate) fn record<'c>(
    action: Action,
    decided: &Result<Decision, StoreError>,
    counters: impl Iterator<Item = &'c BoundDecisions>,
    hits: &BoundHits,
    durations: &DecisionRecorder,
    since: Option<Instant>,
) {
    if action != Action::Take {
        return;
    }
    match decided {
        Ok(decision) => {
            let source = source(decision.source());
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
        Err(_) => counters.for_each(|counter| counter.error(sluice_telemetry::SourceLabel::Store)),
    }
}

fn outcome(verdict: &Verdict) -> OutcomeLabel {
    match (verdict.admitted, verdict.limit.mode()) {
        (true, _) => OutcomeLabel::Allowed,
        (false, Mode::Shadow) => OutcomeLabel::ShadowDenied,
        (false, Mode::Enforce | Mode::Off) => OutcomeLabel::Denied,
    }
}

/// The source as the catalogue knows it.
pub(crate) fn source(source: Source) -> sluice_telemetry::SourceLabel {
    match source {
        Source::Store => sluice_telemetry::SourceLabel::Store,
        Source::Local => sluice_telemetry::SourceLabel::Local,
    }
}
