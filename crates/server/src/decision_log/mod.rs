//! The log of decisions: who was denied by which limit, and when the client may come back.
//!
//! `log.decisions` says which share of the decisions is logged, and how many lines a second at
//! most. Each line has the target `sluice::decisions` and the level `info`, and names a client by
//! its hash. The last denials are kept in memory too, whether they are logged or not.
//!
//! `sampler` chooses the decisions, `per_second` bounds their number, `left_out` reports how many
//! lines that cost, `recent` keeps denials.

mod left_out;
mod per_second;
mod recent;
mod sampler;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use sluice::{Decided, ObserveDecisions, Retry};
use sluice_config::DecisionLogSettings;
use sluice_core::{Decision, Source, Verdict};
use tokio::time::Instant;

use self::{left_out::LeftOut, per_second::PerSecond, recent::Recent, sampler::Sampler};

pub use self::recent::Denial;

/// How many denials a second are kept at most. A flood of denials must not make each of them wait
/// for the others.
const KEPT_PER_SECOND: u32 = 10;

/// Logs decisions, and keeps the last denials. Until settings are applied, it logs none.
#[derive(Debug)]
pub struct DecisionLog {
    /// Whether decisions are logged.
    switch: Arc<AtomicBool>,
    sampler: Sampler,
    lines: PerSecond,
    left_out: LeftOut,
    recent: Recent,
    kept: PerSecond,
    started: Instant,
}

/// What came of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Allowed,
    Denied,
    /// Allowed, but a limit in shadow mode would have denied it.
    ShadowDenied,
}

impl DecisionLog {
    /// Creates a log that is off.
    #[must_use]
    pub fn new() -> Self {
        Self {
            switch: Arc::default(),
            sampler: Sampler::default(),
            lines: PerSecond::new(0),
            left_out: LeftOut::default(),
            recent: Recent::default(),
            kept: PerSecond::new(KEPT_PER_SECOND),
            started: Instant::now(),
        }
    }

    /// Logs as `settings` say from now on; nothing without them.
    pub fn apply(&self, settings: Option<&DecisionLogSettings>) {
        if let Some(DecisionLogSettings { denied, allowed, per_second }) = settings {
            self.sampler.set(*denied, *allowed);
            self.lines.set_most(*per_second);
        }
        self.switch.store(settings.is_some(), Relaxed);
    }

    /// Returns the last denials of this replica, the newest first: up to 100, and of each second up
    /// to 10.
    #[must_use]
    pub fn recent_denials(&self) -> Vec<Denial> {
        self.recent.newest_first()
    }

    fn log(&self, decided: &Decided<'_>) {
        let outcome = Outcome::of(decided.decision);
        if !self.sampler.takes(outcome != Outcome::Allowed) {
            return;
        }
        if self.lines.admit(self.started.elapsed().as_secs()) {
            line(decided, outcome);
        } else {
            self.left_out.count();
        }
    }
}

impl Default for DecisionLog {
    fn default() -> Self {
        Self::new()
    }
}

impl ObserveDecisions for DecisionLog {
    fn switch(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.switch)
    }

    fn observe(&self, decided: &Decided<'_>) {
        // The time of the decision costs nothing. It need not be exact here: that of the store and
        // that of a local decision may differ.
        let second = u64::try_from(decided.decision.at().unix_micros() / 1_000_000).unwrap_or(0);
        if decided.decision.is_denied() && self.kept.admit(second) {
            self.recent.push(Denial::of(decided));
        }
        if self.switch.load(Relaxed) {
            self.log(decided);
        }
    }
}

impl Outcome {
    fn of(decision: &Decision) -> Self {
        if decision.is_denied() {
            Self::Denied
        } else if decision.verdicts().iter().any(|verdict| !verdict.admitted) {
            Self::ShadowDenied
        } else {
            Self::Allowed
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::ShadowDenied => "shadow_denied",
        }
    }
}

/// Writes one line.
fn line(decided: &Decided<'_>, outcome: Outcome) {
    let Decided { decision, client, tier, method, endpoint, .. } = *decided;
    let verdict = shown_verdict(decision, outcome);
    tracing::info!(
        target: "sluice::decisions",
        client = client.map(tracing::field::display),
        tier,
        method,
        endpoint = endpoint.map(|endpoint| &**endpoint),
        limit = verdict.map(|verdict| verdict.limit.name()),
        outcome = outcome.word(),
        source = source_word(decision.source()),
        remaining = verdict.map(|verdict| verdict.remaining),
        retry_after = verdict.and_then(|verdict| verdict.retry.after_seconds()),
        never = verdict.is_some_and(|verdict| verdict.retry == Retry::Never).then_some(true),
        cost = verdict.map(|verdict| verdict.cost.tokens()),
        shadow = verdict.map(|verdict| !verdict.limit.denies()),
        "decision"
    );
}

/// Returns the verdict that a line is about: of the limit that binds, or of one in shadow mode that
/// would have denied.
fn shown_verdict(decision: &Decision, outcome: Outcome) -> Option<&Verdict> {
    match outcome {
        Outcome::ShadowDenied => decision.verdicts().iter().find(|verdict| !verdict.admitted),
        Outcome::Allowed | Outcome::Denied => {
            decision.binding().or_else(|| decision.verdicts().first())
        }
    }
}

pub(crate) const fn source_word(source: Source) -> &'static str {
    match source {
        Source::Store => "store",
        Source::Lease => "lease",
        Source::Cache => "cache",
        Source::Local => "local",
    }
}

#[cfg(test)]
mod tests {
    use sluice::{Limiter, Policy, Rate};
    use sluice_config::Share;

    use super::*;

    fn limiter(log: &Arc<DecisionLog>) -> Limiter {
        let rate: Rate = "1/day, burst 1".parse().unwrap();
        Limiter::builder(Policy::per_client(rate)).observer(log.clone()).build()
    }

    #[tokio::test]
    async fn denials_are_kept_also_while_nothing_is_logged() {
        let log = Arc::new(DecisionLog::new());
        let limiter = limiter(&log);
        for client in ["alice", "alice", "bob", "bob"] {
            let _ = limiter.check_key(client).await.unwrap();
        }
        let kept = log.recent_denials();
        let policy = limiter.policy();
        let tag = |key: &str| policy.tagger().tag(sluice_core::Subject::Client(key.as_bytes()));
        let clients: Vec<_> = kept.iter().map(|denial| denial.client).collect();
        assert_eq!(clients, [Some(tag("bob")), Some(tag("alice"))]);
        assert_eq!((&*kept[0].limit, &*kept[0].endpoint), ("default", "other"));
        assert_eq!((kept[0].method.as_deref(), kept[0].cost, kept[0].remaining), (None, 1, 0));
        assert!(!format!("{kept:?}").contains("alice"));
    }

    #[tokio::test]
    async fn the_denials_kept_are_bounded() {
        let log = Arc::new(DecisionLog::new());
        let limiter = limiter(&log);
        for _ in 0..1_000 {
            let _ = limiter.check_key("alice").await.unwrap();
        }
        assert!((1..=100).contains(&log.recent_denials().len()));
    }

    #[test]
    fn settings_switch_the_log_on_and_off() {
        let log = DecisionLog::new();
        let is_on = || log.switch().load(Relaxed);
        assert!(!is_on());
        let settings =
            DecisionLogSettings { denied: Share::ALL, allowed: Share::NONE, per_second: 5 };
        log.apply(Some(&settings));
        assert!(is_on() && log.sampler.takes(true) && !log.sampler.takes(false));
        log.apply(None);
        assert!(!is_on());
    }
}
