//! The number of replicas among which limits are divided.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use sluice_core::Timestamp;

use crate::fleet::FORGOTTEN_AFTER;

/// The number of replicas that share the limits.
///
/// A larger number counts at once. A smaller one counts only when no larger one was seen for as
/// long as it takes to forget a replica: a store that restarted has lost its list of replicas, and
/// the first to announce itself would believe that it is alone.
#[derive(Debug)]
pub(super) struct FleetSize {
    replicas: AtomicUsize,
    /// The fewest replicas that count, however many were seen: those that are known to be started.
    expected: AtomicUsize,
    /// When at least `replicas` were last seen.
    confirmed_at: Mutex<Timestamp>,
}

impl FleetSize {
    pub(super) fn one(now: Timestamp) -> Self {
        Self {
            replicas: AtomicUsize::new(1),
            expected: AtomicUsize::new(1),
            confirmed_at: Mutex::new(now),
        }
    }

    /// Returns the number among which limits are divided.
    pub(super) fn get(&self) -> usize {
        self.seen().max(self.expected.load(Ordering::Relaxed))
    }

    /// Sets the fewest replicas that count. Replicas that start while the store is away have seen
    /// no others.
    pub(super) fn expect(&self, replicas: usize) {
        self.expected.store(replicas, Ordering::Relaxed);
    }

    /// Returns the number that was seen last, which may be less than what is expected.
    pub(super) fn seen(&self) -> usize {
        self.replicas.load(Ordering::Relaxed)
    }

    /// Sets a number that is known for certain.
    pub(super) fn set(&self, replicas: usize, now: Timestamp) {
        let mut confirmed_at = self.confirmed_at.lock();
        *confirmed_at = now;
        self.replicas.store(replicas.max(1), Ordering::Relaxed);
    }

    /// Takes over a number that the store counted, unless it is smaller and comes too early.
    pub(super) fn update(&self, replicas: usize, now: Timestamp) {
        let mut confirmed_at = self.confirmed_at.lock();
        if replicas >= self.seen() || now.since(*confirmed_at) >= FORGOTTEN_AFTER {
            *confirmed_at = now;
            self.replicas.store(replicas.max(1), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_micros(1_800_000_000_000_000);

    #[test]
    fn a_fleet_grows_at_once_and_shrinks_late() {
        let size = FleetSize::one(NOW);
        size.update(4, NOW);
        assert_eq!(size.get(), 4);
        size.update(1, NOW.after(Duration::from_secs(14)));
        assert_eq!(size.get(), 4, "a store that restarted has lost its list of replicas");
        size.update(3, NOW.after(FORGOTTEN_AFTER));
        assert_eq!(size.get(), 3);
        size.set(0, NOW);
        assert_eq!(size.get(), 1, "this replica counts");
    }

    #[test]
    fn expected_replicas_count_before_they_are_seen_and_never_instead_of_more() {
        let size = FleetSize::one(NOW);
        size.expect(3);
        assert_eq!(size.get(), 3);
        size.update(1, NOW.after(FORGOTTEN_AFTER));
        assert_eq!(size.get(), 3, "the others may still start");
        size.update(5, NOW);
        assert_eq!(size.get(), 5, "a share is never larger");
        size.set(2, NOW);
        assert_eq!(size.get(), 3);
    }
}
