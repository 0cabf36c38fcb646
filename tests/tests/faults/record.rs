//! What callers saw, against the promise.

use std::time::Duration;

use sluice_tests::window_limit::{Admitted, Excess, Instant, WindowLimit};

use crate::{scale, stores::STORES};

/// The rate and burst of every limit under load.
pub(crate) const RATE: &str = "30/second, burst 30";
/// The same burst.
pub(crate) const BURST: u64 = 30;
const TOKENS_PER_SECOND: u64 = 30;

/// Where the bucket of a check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the server that fails.
    Here,
    /// On another one.
    Elsewhere,
}

/// One check and its result.
#[derive(Debug)]
pub(crate) struct Checked {
    /// The number of its bucket.
    pub(crate) bucket: usize,
    /// The number of the store.
    pub(crate) store: usize,
    /// Where the bucket is.
    pub(crate) place: Place,
    /// When the caller began to wait.
    pub(crate) sent: Instant,
    /// When the caller had the result.
    pub(crate) received: Instant,
    /// The time in between.
    pub(crate) took: Duration,
    /// The result.
    pub(crate) answer: Answer,
}

/// The result of a check.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A decision.
    Decided {
        /// Whether the token was admitted.
        allowed: bool,
        /// Whether the store decided without Redis.
        local: bool,
    },
    /// An error.
    Failed(String),
}

/// The results of all callers.
#[derive(Debug)]
pub(crate) struct Record {
    checks: Vec<Checked>,
}

/// What a fault did.
#[derive(Debug)]
pub(crate) struct Effect {
    /// The errors.
    pub(crate) errors: Vec<String>,
    /// Decisions without Redis for clients of the server that failed.
    pub(crate) local_here: usize,
    /// And for clients of the others.
    pub(crate) local_elsewhere: usize,
    /// The tokens that Redis admitted in any window beyond burst + rate * T, from the bucket from
    /// which it admitted most.
    pub(crate) beyond_by_redis: u64,
    /// The tokens that a store admitted without Redis in any window beyond its share of that.
    pub(crate) beyond_locally: u64,
    /// The longest time for which a caller waited.
    longest: Duration,
    /// The time from the fault to the last result that was not a decision by Redis; `None` if
    /// Redis did not decide again for clients of the server that failed.
    recovery: Option<Duration>,
}

// === impl Record ===

impl Record {
    pub(crate) fn new(checks: Vec<Checked>) -> Self {
        Self { checks }
    }

    /// Returns what happened since the instant `fault`, and adds it to the table.
    pub(crate) fn effect(&self, name: &str, seed: u64, fault: Instant) -> Effect {
        let local_in = |place| {
            let in_place = self.checks.iter().filter(move |check| check.place == place);
            in_place.filter(|check| check.is_local()).count()
        };
        let errors = self.checks.iter().filter_map(|check| match &check.answer {
            Answer::Failed(error) => Some(error.clone()),
            Answer::Decided { .. } => None,
        });
        let effect = Effect {
            errors: errors.collect(),
            local_here: local_in(Place::Here),
            local_elsewhere: local_in(Place::Elsewhere),
            beyond_by_redis: self.beyond(full_limit(), |check| !check.is_local()),
            beyond_locally: (0..STORES)
                .map(|store| self.beyond(share(), |check| check.is_local() && check.store == store))
                .max()
                .unwrap_or_default(),
            longest: self.checks.iter().map(|check| check.took).max().unwrap_or_default(),
            recovery: self.recovery(fault),
        };
        let recovery = effect.recovery.map(|time| format!("{} ms", time.as_millis()));
        scale::report(&format!(
            "| {name} | {seed} | {} | {} | {} | {} | {} | {} | {} ms | {} |",
            self.checks.len(),
            effect.beyond_by_redis,
            effect.beyond_locally,
            effect.errors.len(),
            effect.local_here,
            effect.local_elsewhere,
            effect.longest.as_millis(),
            recovery.as_deref().unwrap_or("-"),
        ));
        effect
    }

    /// Returns the time from the fault until Redis decided again.
    fn recovery(&self, fault: Instant) -> Option<Duration> {
        let here = || self.checks.iter().filter(|check| check.place == Place::Here);
        if !here().max_by_key(|check| check.received)?.is_by_redis() {
            return None;
        }
        let last = here().filter(|check| !check.is_by_redis()).map(|check| check.received).max();
        let time = last.unwrap_or(fault) - fault;
        Some(Duration::from_micros(u64::try_from(time).unwrap_or_default()))
    }

    /// Returns the tokens beyond `limit` in any window of any bucket.
    fn beyond(&self, limit: WindowLimit, included: impl Fn(&Checked) -> bool) -> u64 {
        let buckets = self.checks.iter().map(|check| check.bucket + 1).max().unwrap_or_default();
        let mut admitted = vec![Vec::new(); buckets];
        for check in self.checks.iter().filter(|check| check.is_admitted() && included(check)) {
            let (sent, received) = (check.sent, check.received);
            admitted[check.bucket].push(Admitted { tokens: 1, sent, received });
        }
        let worst = admitted.iter().filter_map(|admitted| limit.worst_excess(admitted));
        worst.map(Excess::tokens).max().unwrap_or_default()
    }
}

// === impl Effect ===

impl Effect {
    /// No check failed, Redis decided all of them, and it admitted nothing beyond the limits.
    #[track_caller]
    pub(crate) fn assert_nobody_noticed(&self) {
        self.assert_no_errors();
        assert_eq!((self.local_here, self.local_elsewhere), (0, 0), "{self:?}");
        assert_eq!(self.beyond_by_redis, 0, "{self:?}");
    }

    /// No check failed, no store admitted more than its share, and Redis not more than what it
    /// forgot: at most one burst each time.
    #[track_caller]
    pub(crate) fn assert_promises(&self, memories_lost: u64) {
        self.assert_no_errors();
        assert_eq!(self.beyond_locally, 0, "{self:?}");
        assert!(self.beyond_by_redis <= memories_lost * BURST, "{self:?}");
    }

    #[track_caller]
    fn assert_no_errors(&self) {
        assert!(self.errors.is_empty(), "{} errors: {}", self.errors.len(), self.errors[0]);
    }
}

// === impl Checked ===

impl Checked {
    fn is_local(&self) -> bool {
        matches!(self.answer, Answer::Decided { local: true, .. })
    }

    fn is_by_redis(&self) -> bool {
        matches!(self.answer, Answer::Decided { local: false, .. })
    }

    fn is_admitted(&self) -> bool {
        matches!(self.answer, Answer::Decided { allowed: true, .. })
    }
}

fn full_limit() -> WindowLimit {
    WindowLimit::new(TOKENS_PER_SECOND, Duration::from_secs(1), BURST)
}

/// What a store may admit while it cannot reach Redis.
fn share() -> WindowLimit {
    let replicas = STORES as u64;
    WindowLimit::new(TOKENS_PER_SECOND / replicas, Duration::from_secs(1), BURST / replicas)
}
