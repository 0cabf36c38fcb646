//! Replaces `sluice-telemetry` when the feature `telemetry` is off. The types have the same names
//! and record nothing, so that the rest of the crate needs no `cfg`.

use std::time::Duration;

#[derive(Clone, Debug)]
pub(crate) struct Recorders {
    pub(crate) decisions: DecisionRecorder,
    pub(crate) rate_limit: RateLimitRecorder,
    pub(crate) replica: ReplicaRecorder,
    pub(crate) exempt: ExemptRecorder,
    pub(crate) clients: ClientRecorder,
    pub(crate) holds: HoldRecorder,
    pub(crate) slots: SlotRecorder,
}

#[derive(Clone, Debug)]
pub(crate) struct ClientRecorder;

#[derive(Clone, Debug)]
pub(crate) struct HoldRecorder;

#[derive(Clone, Debug)]
pub(crate) struct SlotRecorder;

#[derive(Clone, Debug)]
pub(crate) struct DecisionRecorder;

#[derive(Clone, Debug)]
pub(crate) struct RateLimitRecorder;

#[derive(Clone, Debug)]
pub(crate) struct ReplicaRecorder;

#[derive(Clone, Debug)]
pub(crate) struct ExemptRecorder;

#[derive(Debug)]
pub(crate) struct BoundDecisions;

#[derive(Debug)]
pub(crate) struct BoundHits;

#[derive(Debug)]
pub(crate) struct DecisionSpan;

#[derive(Clone, Copy)]
pub(crate) enum OutcomeLabel {
    Allowed,
    Denied,
    ShadowDenied,
}

#[derive(Clone, Copy)]
pub(crate) enum SourceLabel {
    Store,
    Lease,
    Cache,
    Local,
}

#[derive(Clone, Copy)]
pub(crate) enum HoldStepLabel {
    Reserve,
    Extend,
}

#[derive(Clone, Copy)]
pub(crate) enum HoldOutcome {
    Held,
    Denied,
    Repeated,
    Conflict,
    Failed,
}

#[derive(Clone, Copy)]
pub(crate) enum SettlementOutcome {
    Settled,
    Repeated,
    Late,
    Conflict,
    Failed,
}

#[derive(Clone, Copy)]
pub(crate) enum OnLostLabel {
    Finish,
    Cut,
}

impl Recorders {
    pub(crate) const fn disabled() -> Self {
        Self {
            decisions: DecisionRecorder,
            rate_limit: RateLimitRecorder,
            replica: ReplicaRecorder,
            exempt: ExemptRecorder,
            clients: ClientRecorder,
            holds: HoldRecorder,
            slots: SlotRecorder,
        }
    }
}

impl ClientRecorder {
    #[cfg(feature = "tower")]
    pub(crate) const fn untrusted_forwarding(&self) {}

    pub(crate) const fn unknown_tier(&self) {}
}

impl HoldRecorder {
    pub(crate) const fn step(&self, _step: HoldStepLabel, _outcome: HoldOutcome) {}

    pub(crate) const fn held(&self, _limit: &str, _tokens: u64) {}

    pub(crate) const fn settlement(&self, _outcome: SettlementOutcome) {}

    pub(crate) const fn charged(&self, _limit: &str, _held: u64, _charged: u64) {}
}

impl SlotRecorder {
    pub(crate) const fn held(&self, _limit: &str, _slots: u64) {}

    pub(crate) const fn lost(&self, _limit: &str, _on_lost: OnLostLabel, _slots: u64) {}
}

impl DecisionRecorder {
    pub(crate) const fn bind(&self, _limit: &str) -> BoundDecisions {
        BoundDecisions
    }

    pub(crate) const fn check_duration(&self, _source: SourceLabel, _duration: Duration) {}
}

impl RateLimitRecorder {
    pub(crate) const fn bind(&self, _endpoint: &str) -> BoundHits {
        BoundHits
    }
}

impl ReplicaRecorder {
    pub(crate) const fn set_live_replicas(&self, _count: u64) {}

    pub(crate) const fn set_other_secrets(&self, _count: u64) {}
}

impl ExemptRecorder {
    pub(crate) fn set<'e>(&self, _endpoints: impl IntoIterator<Item = &'e str>) {}
}

impl BoundDecisions {
    pub(crate) const fn record(&self, _outcome: OutcomeLabel, _source: SourceLabel) {}

    pub(crate) const fn error(&self, _source: SourceLabel) {}
}

impl BoundHits {
    pub(crate) const fn hit(&self) {}
}

impl DecisionSpan {
    pub(crate) const fn single() -> Self {
        Self
    }

    pub(crate) const fn batch(_checks: usize) -> Self {
        Self
    }

    pub(crate) const fn is_disabled(&self) -> bool {
        true
    }

    pub(crate) fn in_scope<T>(&self, work: impl FnOnce() -> T) -> T {
        work()
    }

    pub(crate) const fn set_action(&self, _action: &'static str) {}

    pub(crate) const fn set_endpoint(&self, _pattern: &str) {}

    pub(crate) const fn set_decision(
        &self,
        _outcome: OutcomeLabel,
        _source: SourceLabel,
        _limit: Option<&str>,
    ) {
    }

    pub(crate) const fn set_undecided(&self) {}

    pub(crate) const fn set_batch_counts(
        &self,
        _allowed: usize,
        _denied: usize,
        _undecided: usize,
    ) {
    }

    pub(crate) const fn mark_failed(&self) {}
}
