//! A policy with everything that recording its decisions needs, bound once.

use std::{sync::Arc, time::Instant};

use sluice_core::{Action, Check, Decision, Mode, Policy, Request, RequestError, Source, Verdict};
use sluice_store::StoreError;
use sluice_telemetry::{BoundDecisions, BoundHits, DecisionRecorder, Outcome, Recorders};
use smallvec::SmallVec;

/// The policy in force, with the counters of its limits and endpoints.
#[derive(Debug)]
pub(crate) struct InForce {
    pub(crate) policy: Arc<Policy>,
    /// In the order of [`Policy::limits`].
    decisions: Box<[BoundDecisions]>,
    /// In the order of [`Policy::endpoints`].
    hits: Box<[BoundHits]>,
    durations: DecisionRecorder,
}

/// What is to be remembered of a request while its check is decided.
#[derive(Debug)]
pub(crate) struct Asked {
    action: Action,
    /// For each part of the check, its limit's place.
    limits: SmallVec<[usize; 2]>,
    endpoint: usize,
}

impl InForce {
    pub(crate) fn new(policy: Policy, recorders: &Recorders) -> Self {
        let decisions = policy.limits().iter().map(|limit| recorders.decisions.bind(limit.name())).collect();
        let hits = policy.endpoints().iter().map(|endpoint| recorders.rate_limit.bind(endpoint)).collect();
        Self { policy: Arc::new(policy), decisions, hits, durations: recorders.decisions.clone() }
    }

    pub(crate) fn ask(&self, action: Action, request: &Request<'_>) -> Result<(Check, Asked), RequestError> {
        let matched = self.policy.check(action, request)?;
        Ok((matched.check, Asked { action, limits: matched.limits, endpoint: matched.endpoint_index }))
    }

    pub(crate) fn endpoint(&self, asked: &Asked) -> &Arc<str> {
        &self.policy.endpoints()[asked.endpoint]
    }

    /// Records what the limits said. Only a check that takes counts: looking, settling and giving back admit nobody and deny nobody.
    pub(crate) fn record(&self, asked: &Asked, decided: &Result<Decision, StoreError>, since: Option<Instant>) {
        if asked.action != Action::Take {
            return;
        }
        match decided {
            Ok(decision) => {
                let source = source(decision.source());
                for (verdict, &limit) in decision.verdicts().iter().zip(&asked.limits) {
                    self.decisions[limit].record(outcome(verdict), source);
                }
                if decision.is_denied() {
                    self.hits[asked.endpoint].hit();
                }
                if let Some(since) = since {
                    self.durations.checked(source, since.elapsed());
                }
            }
            Err(_) => {
                for &limit in &asked.limits {
                    self.decisions[limit].error(sluice_telemetry::Source::Store);
                }
            }
        }
    }
}

fn outcome(verdict: &Verdict) -> Outcome {
    match (verdict.admitted, verdict.limit.mode()) {
        (true, _) => Outcome::Allowed,
        (false, Mode::Shadow) => Outcome::ShadowDenied,
        (false, Mode::Enforce | Mode::Off) => Outcome::Denied,
    }
}

fn source(source: Source) -> sluice_telemetry::Source {
    match source {
        Source::Local => sluice_telemetry::Source::Local,
        Source::Cache => sluice_telemetry::Source::Cache,
        Source::Lease => sluice_telemetry::Source::Lease,
        _ => sluice_telemetry::Source::Store,
    }
}
