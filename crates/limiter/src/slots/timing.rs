//! When slots have to be renewed, by the clock of this process.

use std::time::Duration;

use sluice_core::{Concurrent, Timestamp};
use tokio::time::Instant;

/// A decision of the store: its time, and between which instants of this process it was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) at: Timestamp,
    /// Before the check was sent.
    pub(super) sent: Instant,
    /// After the decision had arrived.
    pub(super) received: Instant,
}

/// When slots are renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timing {
    /// From then on they are renewed.
    pub(super) due: Instant,
    /// From then on they may not count any more.
    pub(super) deadline: Instant,
}

impl Timing {
    /// Returns the timing of slots that were taken, or last renewed, at `taken_at`, as of `moment`.
    ///
    /// A slot counts until the end of the term after the one in which it was taken. To renew it in
    /// its own term does nothing. The store's clock and ours may differ by one per cent. `jitter`,
    /// from 0 to 1, spreads the renewals of many buckets over a quarter of a term.
    pub(super) fn new(
        concurrent: &Concurrent,
        taken_at: Timestamp,
        moment: Moment,
        jitter: f64,
    ) -> Self {
        let Moment { at, sent, received } = moment;
        let term = concurrent.term_at(taken_at);
        let until = |terms: u32| concurrent.beginning_of(term.saturating_add(terms)).since(at);
        let length = concurrent.term();
        let deadline = sent + until(2).mul_f64(0.99);
        let due = received + until(1).mul_f64(1.01) + length.mul_f64(0.05 + 0.25 * jitter);
        // After a long wait, the term is nearly over.
        let latest = deadline.checked_sub(length / 4).unwrap_or(received);
        Self { due: due.min(latest.max(received)), deadline }
    }

    /// Returns the pause after a renewal that failed.
    pub(super) fn retry_after(concurrent: &Concurrent) -> Duration {
        (concurrent.term() / 16).min(Duration::from_secs(5))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A term of ten seconds begins.
    const START: Timestamp = Timestamp::from_unix_micros(1_767_225_600_000_000);

    fn timing(taken_after_ms: u64, jitter: f64) -> (u128, u128) {
        let concurrent = Concurrent::new(1).unwrap();
        let at = START.after(Duration::from_millis(taken_after_ms));
        let now = Instant::now();
        let moment = Moment { at, sent: now, received: now };
        let Timing { due, deadline } = Timing::new(&concurrent, at, moment, jitter);
        (due.duration_since(now).as_millis(), deadline.duration_since(now).as_millis())
    }

    #[test]
    fn slots_are_renewed_early_in_the_next_term_and_lost_at_its_end() {
        assert_eq!(timing(0, 0.0), (10_600, 19_800));
        assert_eq!(timing(0, 1.0), (13_100, 19_800));
        assert_eq!(timing(9_000, 0.0), (1_510, 10_890));
    }

    #[test]
    fn the_time_that_a_decision_took_counts_against_the_deadline_alone() {
        let concurrent = Concurrent::new(1).unwrap();
        let sent = Instant::now();
        let moment = |wait| Moment { at: START, sent, received: sent + wait };
        let timing = |wait| Timing::new(&concurrent, START, moment(wait), 0.0);
        let after = |at: Instant| at.duration_since(sent).as_millis();
        let slow = timing(Duration::from_secs(1));
        assert_eq!((after(slow.due), after(slow.deadline)), (11_600, 19_800));
        let slower = timing(Duration::from_secs(8));
        assert_eq!((after(slower.due), after(slower.deadline)), (17_300, 19_800));
    }
}
