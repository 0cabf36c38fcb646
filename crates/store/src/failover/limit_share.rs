//! This replica's share of a limit.

use std::{collections::HashMap, sync::Arc};

use parking_lot::RwLock;
use sluice_core::{Algorithm, Limit, Rate};

/// The most shares kept at once. Few limits are in use together, but policies change.
const MAX_SHARES: usize = 10_000;

/// Keeps each limit's share, so that it is computed once and not for every check.
#[derive(Debug, Default)]
pub(super) struct LimitShares {
    /// By the address of the limit, which no other limit can have while the entry holds it.
    entries: RwLock<HashMap<usize, Entry>>,
}

/// A replica's share of a limit.
#[derive(Clone, Debug)]
pub(super) struct LimitShare {
    /// The limit with the share of its rate, rounded down: what this replica may admit alone.
    pub(super) limit: Arc<Limit>,
    /// The share, rounded up: its refill pays for what this replica admitted.
    pub(super) refill: Algorithm,
}

#[derive(Debug)]
struct Entry {
    whole: Arc<Limit>,
    replicas: usize,
    share: LimitShare,
}

impl LimitShares {
    /// Returns one of `replicas` equal shares of the limit.
    pub(super) fn of(&self, whole: &Arc<Limit>, replicas: usize) -> LimitShare {
        // What is held is used in the share of a quota, whatever the quota does with it.
        if replicas <= 1 && !matches!(whole.algorithm(), Algorithm::Quota(_)) {
            return LimitShare { limit: Arc::clone(whole), refill: whole.algorithm().clone() };
        }
        let address = Arc::as_ptr(whole).addr();
        let is_current =
            |entry: &&Entry| Arc::ptr_eq(&entry.whole, whole) && entry.replicas == replicas;
        if let Some(entry) = self.entries.read().get(&address).filter(is_current) {
            return entry.share.clone();
        }
        let share = LimitShare::of(whole, u64::try_from(replicas).unwrap_or(u64::MAX));
        let mut entries = self.entries.write();
        if entries.len() >= MAX_SHARES {
            entries.clear();
        }
        entries.insert(address, Entry { whole: Arc::clone(whole), replicas, share: share.clone() });
        share
    }

    /// Removes all shares, and frees their memory.
    pub(super) fn clear(&self) {
        *self.entries.write() = HashMap::new();
    }
}

impl LimitShare {
    fn of(whole: &Limit, replicas: u64) -> Self {
        let share = whole.algorithm().shared_among(replicas);
        let limit = Arc::new(whole.with_algorithm(share.clone()));
        // A bucket of the larger burst may take too long to fill to be a valid rate. The smaller
        // burst serves then as well: during an outage such a bucket gains hardly a token.
        let rounded_up = match (whole.algorithm(), &share) {
            (Algorithm::TokenBucket(whole), Algorithm::TokenBucket(share)) => {
                Rate::new(share.refill_rate(), whole.burst().div_ceil(replicas)).ok()
            }
            _ => None,
        };
        Self { limit, refill: rounded_up.map_or(share, Algorithm::TokenBucket) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(burst: u64) -> Arc<Limit> {
        let rate = Rate::new("60/minute".parse().unwrap(), burst).unwrap();
        Arc::new(Limit::new("default", Algorithm::TokenBucket(rate)).unwrap())
    }

    #[test]
    fn a_share_is_computed_once_for_each_fleet_size() {
        let (shares, limit) = (LimitShares::default(), limit(10));
        let half = shares.of(&limit, 2).limit;
        assert_eq!(
            (half.algorithm().capacity(), half.rate().unwrap().refill_rate().tokens_per_minute()),
            (5, 30)
        );
        assert!(Arc::ptr_eq(&half, &shares.of(&limit, 2).limit));
        assert_eq!(shares.of(&limit, 5).limit.algorithm().capacity(), 2);
        assert!(Arc::ptr_eq(&limit, &shares.of(&limit, 1).limit));
    }

    #[test]
    fn the_admitted_burst_is_rounded_down_and_the_refill_burst_up() {
        let share = LimitShares::default().of(&limit(10), 4);
        assert_eq!((share.limit.algorithm().capacity(), share.refill.capacity()), (2, 3));
        assert_eq!(
            share.limit.rate().unwrap().refill_rate(),
            share.refill.rate().unwrap().refill_rate()
        );
    }

    #[test]
    fn limits_with_the_same_name_have_separate_shares() {
        let shares = LimitShares::default();
        assert_eq!(shares.of(&limit(10), 2).limit.algorithm().capacity(), 5);
        assert_eq!(shares.of(&limit(50), 2).limit.algorithm().capacity(), 25);
    }

    #[test]
    fn the_number_of_shares_is_bounded() {
        let shares = LimitShares::default();
        let limits: Vec<_> = (0..MAX_SHARES + 1).map(|_| limit(10)).collect();
        for limit in &limits {
            shares.of(limit, 2);
        }
        assert_eq!(shares.entries.read().len(), 1);
        shares.clear();
        assert_eq!(Arc::strong_count(&limits[MAX_SHARES]), 1);
    }
}
