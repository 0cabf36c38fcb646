//! Counters that many threads add to at once.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

/// More than a server has busy threads on most machines; a power of two, so that a place is found
/// with a mask.
const SHARDS: usize = 8;

/// `N` sums, each in as many parts as keeps threads from waiting for one another.
#[derive(Debug)]
pub(super) struct Sharded<const N: usize> {
    shards: Box<[Shard<N>]>,
}

/// A pair of cache lines of its own, as they are fetched in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Shard<const N: usize>([AtomicU64; N]);

impl<const N: usize> Sharded<N> {
    pub(super) fn new() -> Self {
        Self {
            shards: (0..SHARDS)
                .map(|_| Shard(std::array::from_fn(|_| AtomicU64::new(0))))
                .collect(),
        }
    }

    /// Adds to the sum at `place`.
    pub(super) fn add(&self, place: usize, amount: u64) {
        self.shards[own_shard()].0[place].fetch_add(amount, Ordering::Relaxed);
    }

    /// The sums, which begin anew: every amount is taken once.
    pub(super) fn take(&self) -> [u64; N] {
        let mut sums = [0_u64; N];
        for shard in &self.shards {
            for (sum, part) in sums.iter_mut().zip(&shard.0) {
                // A read first, as most parts of most sums are zero, and writing takes the line
                // from its thread.
                if part.load(Ordering::Relaxed) != 0 {
                    *sum = sum.saturating_add(part.swap(0, Ordering::Relaxed));
                }
            }
        }
        sums
    }
}

/// This thread's shard.
fn own_shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed) & (SHARDS - 1));
    }
    OWN.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_count_to_the_unit_while_sums_are_taken() {
        let sums = Sharded::<2>::new();
        let mut taken = [0, 0];
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..12)
                .map(|_| {
                    scope.spawn(|| {
                        (0..10_000).for_each(|_| {
                            sums.add(0, 1);
                            sums.add(1, 3);
                        });
                    })
                })
                .collect();
            let mut add = |[a, b]: [u64; 2]| taken = [taken[0] + a, taken[1] + b];
            while threads.iter().any(|thread| !thread.is_finished()) {
                add(sums.take());
            }
            add(sums.take());
        });
        assert_eq!(taken, [120_000, 360_000]);
        assert_eq!(sums.take(), [0, 0]);
    }
}
