//! How many tokens the requests at this replica ask a bucket for.

use std::time::Duration;

use sluice_core::Timestamp;

/// How long a request counts: its weight falls to a third in this time.
const MEMORY: Duration = Duration::from_millis(100);

/// An exponentially weighted sum of the costs of recent requests, admitted or not. At a steady
/// rate it is what they ask for within [`MEMORY`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand {
    recent: f64,
    at: Timestamp,
}

impl Demand {
    /// Nothing was asked for until `now`.
    pub(super) const fn none(now: Timestamp) -> Self {
        Self { recent: 0.0, at: now }
    }

    /// Adds a request for `cost` tokens.
    pub(super) fn add(&mut self, cost: u32, now: Timestamp) {
        self.recent = self.recent_at(now) + f64::from(cost);
        self.at = self.at.max(now);
    }

    /// Returns the tokens that are asked for within `span`.
    pub(super) fn within(&self, span: Duration) -> u64 {
        let tokens = self.recent * (span.as_secs_f64() / MEMORY.as_secs_f64());
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a sum of costs is not negative, and a conversion saturates"
        )]
        let whole = tokens as u64;
        whole
    }

    /// Returns whether so little was asked for lately that the sum need not be kept.
    pub(super) fn is_forgotten(&self, now: Timestamp) -> bool {
        self.recent_at(now) < 1.0
    }

    fn recent_at(&self, now: Timestamp) -> f64 {
        match now.since(self.at) {
            Duration::ZERO => self.recent,
            age => self.recent * (-age.as_secs_f64() / MEMORY.as_secs_f64()).exp(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: Duration = Duration::from_millis(50);

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_unix_micros(1_800_000_000_000_000 + micros)
    }

    #[test]
    fn a_steady_demand_is_known_after_a_few_tenths_of_a_second_and_then_forgotten() {
        let mut demand = Demand::none(at(0));
        for request in 0..2_000 {
            demand.add(1, at(request * 250));
        }
        // 4,000 a second are 200 in 50 ms.
        assert!((196..=204).contains(&demand.within(BLOCK)), "{}", demand.within(BLOCK));
        assert!(!demand.is_forgotten(at(600_000)));
        assert!(demand.is_forgotten(at(1_200_000)));
    }
}
