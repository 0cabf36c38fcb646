//! Since when a store remembers its buckets.

use crate::{
    algorithm::Algorithm,
    bucket::{Bucket, Settled},
    time::{Moment, Timestamp},
    token_bucket::TokenBucket,
};

/// Says what a bucket holds that a store does not know, since a store may have lost its memory.
///
/// Most stores take such a bucket for full ([`Epoch::NONE`]): it is unused, or was used so long ago
/// that it is full again. After a loss, that would give every client its burst once more. With an
/// epoch, a bucket that is not known was empty when the memory began, and has refilled since. Once
/// the memory is as old as a bucket needs to fill, both are the same.
///
/// Until then, a store must not forget a full bucket ([`Epoch::forgets`]).
///
/// All this is about token buckets. Of the other algorithms, a bucket that is not known is unused:
/// if it were not, a client could be denied for as long as a month.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epoch(Option<Timestamp>);

impl Epoch {
    /// A bucket that is not known is full.
    pub const NONE: Self = Self(None);

    /// A bucket that is not known was empty at `start`, when the memory began.
    #[must_use]
    pub const fn at(start: Timestamp) -> Self {
        Self(Some(start))
    }

    /// Returns when the memory began; `None` if that does not matter.
    #[must_use]
    pub const fn start(self) -> Option<Timestamp> {
        self.0
    }

    /// Returns a bucket that the store does not know, as a limit with `algorithm` sees it at `now`.
    #[must_use]
    pub fn unseen(self, algorithm: &Algorithm, now: Timestamp) -> Bucket {
        match (self.0, algorithm) {
            (Some(start), Algorithm::TokenBucket(rate)) => {
                Bucket::Tokens(TokenBucket::cold(rate, start, now))
            }
            _ => Bucket::full(algorithm, now),
        }
    }

    /// Returns whether the store need not keep `bucket`, since it would be the same if it were not
    /// known: it is full, and so is an unseen one.
    #[must_use]
    pub fn forgets(self, bucket: &Bucket, algorithm: &Algorithm, now: Timestamp) -> bool {
        bucket.is_full(algorithm, now) && !self.is_cold(algorithm, now)
    }

    /// Returns the first microsecond from which on the store need not keep `bucket`.
    #[must_use]
    pub fn kept_until(self, bucket: &Settled<'_>) -> Timestamp {
        match (self.0, bucket) {
            (Some(start), Settled::Tokens(tokens)) => {
                let rate = tokens.rate();
                let warm = Moment::at(start).plus(rate.fill(), rate.refill().tokens()).rounded_up();
                warm.max(tokens.full_at())
            }
            _ => bucket.kept_until(),
        }
    }

    /// Returns whether an unseen bucket is not full yet.
    fn is_cold(self, algorithm: &Algorithm, now: Timestamp) -> bool {
        match (self.0, algorithm) {
            (Some(start), Algorithm::TokenBucket(rate)) => {
                Moment::at(start) > TokenBucket::full(rate, now).empty_at()
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_unix_micros(1_800_000_000_000_000);

    fn later(micros: i64) -> Timestamp {
        Timestamp::from_unix_micros(START.unix_micros() + micros)
    }

    #[test]
    fn an_unseen_bucket_was_empty_at_the_epoch_and_refills_until_it_is_full() {
        // Seven tokens fill within 6,666,666 2/3 us: the first is there after 952,380 20/21.
        let rate = Algorithm::TokenBucket("63/minute, burst 7".parse().unwrap());
        let epoch = Epoch::at(START);
        let remaining = |now| epoch.unseen(&rate, now).settled(&rate, now).remaining();
        for (micros, tokens) in
            [(0, 0), (952_380, 0), (952_381, 1), (6_666_666, 6), (6_666_667, 7), (1 << 50, 7)]
        {
            assert_eq!(remaining(later(micros)), tokens, "after {micros} us");
        }
        assert_eq!(epoch.unseen(&rate, later(6_666_667)), Bucket::full(&rate, later(6_666_667)));
        assert_eq!(Epoch::NONE.unseen(&rate, START), Bucket::full(&rate, START));
    }

    #[test]
    fn a_full_bucket_is_kept_while_an_unseen_one_is_not_full() {
        let rate = Algorithm::TokenBucket("63/minute, burst 7".parse().unwrap());
        let epoch = Epoch::at(START);
        let full = |now| Bucket::full(&rate, now);
        for (micros, forgotten) in [(0, false), (6_666_666, false), (6_666_667, true)] {
            let now = later(micros);
            assert_eq!(epoch.forgets(&full(now), &rate, now), forgotten, "after {micros} us");
            assert!(Epoch::NONE.forgets(&full(now), &rate, now));
        }
        let mut settled = full(later(1)).settled(&rate, later(1));
        assert_eq!(epoch.kept_until(&settled), later(6_666_667));
        assert_eq!(Epoch::NONE.kept_until(&settled), later(1));
        settled.take(7);
        assert_eq!(epoch.kept_until(&settled), later(6_666_668));
        assert!(!epoch.forgets(&settled.bucket(), &rate, later(6_666_667)));
    }

    #[test]
    fn an_epoch_ahead_of_a_clock_that_stepped_back_delays_nobody_by_more_than_a_second() {
        let rate = Algorithm::TokenBucket("60/minute, burst 5".parse().unwrap());
        let unseen = Epoch::at(later(3_600_000_000)).unseen(&rate, START);
        let settled = unseen.settled(&rate, START);
        assert!(settled.is_repaired(), "the state is written, so that it refills from here on");
        assert_eq!(settled.covers_at(1), Some(later(2_000_000)));
    }
}
