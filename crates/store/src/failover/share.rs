//! This replica's share of a limit.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};
use sluice_core::{Algorithm, Limit, Rate, Timestamp};

use crate::fleet::FORGOTTEN_AFTER;

/// Shares kept at once. More limits than that are hardly alive together, but policies come and go.
const MOST_SHARES: usize = 10_000;

/// How many replicas share the limits.
///
/// More count at once. Fewer count only when more have not been seen for as long as it takes to
/// forget a replica: a store that was restarted has forgotten its replicas, and the first to
/// announce itself would believe that it is alone.
#[derive(Debug)]
pub(super) struct LiveReplicas {
    count: AtomicUsize,
    last_as_many: Mutex<Timestamp>,
}

impl LiveReplicas {
    pub(super) fn one(now: Timestamp) -> Self {
        Self { count: AtomicUsize::new(1), last_as_many: Mutex::new(now) }
    }

    pub(super) fn get(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// There are `replicas`, for certain.
    pub(super) fn set(&self, replicas: usize, now: Timestamp) {
        let mut last_as_many = self.last_as_many.lock();
        *last_as_many = now;
        self.count.store(replicas.max(1), Ordering::Relaxed);
    }

    /// The store counted `replicas`.
    pub(super) fn counted(&self, replicas: usize, now: Timestamp) {
        let mut last_as_many = self.last_as_many.lock();
        if replicas >= self.get() || now.since(*last_as_many) >= FORGOTTEN_AFTER {
            *last_as_many = now;
            self.count.store(replicas.max(1), Ordering::Relaxed);
        }
    }
}

/// Remembers each limit's share, so that no check computes one.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// By the limit's address, which is nobody else's while the limit is kept beside it.
    known: RwLock<HashMap<usize, Known>>,
}

/// A replica's share of a limit.
#[derive(Clone, Debug)]
pub(super) struct Share {
    /// The limit with its part of the numbers, rounded down: what this replica may admit alone.
    pub(super) limit: Arc<Limit>,
    /// The part of the numbers rounded up: what the refill of this replica's part pays for.
    pub(super) refill: Rate,
}

#[derive(Debug)]
struct Known {
    whole: Arc<Limit>,
    replicas: usize,
    share: Share,
}

impl Shares {
    /// One of `replicas` equal parts of the limit.
    pub(super) fn of(&self, whole: &Arc<Limit>, replicas: usize) -> Share {
        if replicas <= 1 {
            return Share { limit: Arc::clone(whole), refill: *whole.rate() };
        }
        let address = Arc::as_ptr(whole).addr();
        let is_the_one =
            |known: &&Known| Arc::ptr_eq(&known.whole, whole) && known.replicas == replicas;
        if let Some(known) = self.known.read().get(&address).filter(is_the_one) {
            return known.share.clone();
        }
        let share = Share::of(whole, u64::try_from(replicas).unwrap_or(u64::MAX));
        let mut known = self.known.write();
        if known.len() >= MOST_SHARES {
            known.clear();
        }
        known.insert(address, Known { whole: Arc::clone(whole), replicas, share: share.clone() });
        share
    }

    /// Lets go of every limit.
    pub(super) fn forget(&self) {
        *self.known.write() = HashMap::new();
    }
}

impl Share {
    fn of(whole: &Limit, replicas: u64) -> Self {
        let numbers = whole.rate().shared_among(replicas);
        let rounded_up = Rate::new(numbers.refill_rate(), whole.rate().burst().div_ceil(replicas));
        let limit = Arc::new(whole.with_algorithm(Algorithm::TokenBucket(numbers)));
        // When that would never fill, the smaller burst does: such a bucket sees no refill worth a
        // token during an outage.
        Self { limit, refill: rounded_up.unwrap_or(numbers) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_micros(1_800_000_000_000_000);

    fn limit(burst: u64) -> Arc<Limit> {
        let numbers = Rate::new("60/minute".parse().unwrap(), burst).unwrap();
        Arc::new(Limit::new("default", Algorithm::TokenBucket(numbers)).unwrap())
    }

    #[test]
    fn a_share_is_made_once_and_follows_the_fleet() {
        let (shares, limit) = (Shares::default(), limit(10));
        let half = shares.of(&limit, 2).limit;
        assert_eq!((half.rate().burst(), half.rate().refill_rate().tokens_per_minute()), (5, 30));
        assert!(Arc::ptr_eq(&half, &shares.of(&limit, 2).limit));
        assert_eq!(shares.of(&limit, 5).limit.rate().burst(), 2);
        assert!(Arc::ptr_eq(&limit, &shares.of(&limit, 1).limit));
    }

    #[test]
    fn what_is_admitted_is_rounded_down_and_what_is_paid_for_up() {
        let share = Shares::default().of(&limit(10), 4);
        assert_eq!((share.limit.rate().burst(), share.refill.burst()), (2, 3));
        assert_eq!(share.limit.rate().refill_rate(), share.refill.refill_rate());
    }

    #[test]
    fn limits_of_one_name_have_shares_of_their_own() {
        let shares = Shares::default();
        assert_eq!(shares.of(&limit(10), 2).limit.rate().burst(), 5);
        assert_eq!(shares.of(&limit(50), 2).limit.rate().burst(), 25);
    }

    #[test]
    fn no_more_shares_are_kept_than_there_is_room_for() {
        let shares = Shares::default();
        let limits: Vec<_> = (0..MOST_SHARES + 1).map(|_| limit(10)).collect();
        for limit in &limits {
            shares.of(limit, 2);
        }
        assert_eq!(shares.known.read().len(), 1);
        shares.forget();
        assert_eq!(Arc::strong_count(&limits[MOST_SHARES]), 1);
    }

    #[test]
    fn a_fleet_grows_at_once_and_shrinks_late() {
        let replicas = LiveReplicas::one(NOW);
        replicas.counted(4, NOW);
        assert_eq!(replicas.get(), 4);
        replicas.counted(1, NOW.after(Duration::from_secs(14)));
        assert_eq!(replicas.get(), 4, "a restarted store has forgotten the others");
        replicas.counted(3, NOW.after(FORGOTTEN_AFTER));
        assert_eq!(replicas.get(), 3);
        replicas.set(0, NOW);
        assert_eq!(replicas.get(), 1, "somebody asks");
    }
}
