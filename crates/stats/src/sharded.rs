//! Counters that many threads add to at once.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

/// At least the number of busy threads on most machines. A power of two, so that a mask finds a
/// thread's shard.
const SHARDS: usize = 8;

/// `N` sums, each split into shards so that threads rarely contend for a cache line.
#[derive(Debug)]
pub(crate) struct Sharded<const N: usize> {
    shards: Box<[Shard<N>]>,
}

/// Aligned to two cache lines, because processors fetch them in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Shard<const N: usize>([AtomicU64; N]);

impl<const N: usize> Sharded<N> {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..SHARDS)
                .map(|_| Shard(std::array::from_fn(|_| AtomicU64::new(0))))
                .collect(),
        }
    }

    /// Adds `amount` to the sum at `index`.
    pub(crate) fn add(&self, index: usize, amount: u64) {
        self.shards[own_shard()].0[index].fetch_add(amount, Ordering::Relaxed);
    }

    /// Returns the sums and resets them to zero. Every amount is returned exactly once.
    pub(crate) fn take(&self) -> [u64; N] {
        let mut sums = [0_u64; N];
        for shard in &self.shards {
            for (sum, part) in sums.iter_mut().zip(&shard.0) {
                // Read first: most parts are zero, and a write would take the cache line away from
                // the thread that uses it.
                if part.load(Ordering::Relaxed) != 0 {
                    *sum = sum.saturating_add(part.swap(0, Ordering::Relaxed));
                }
            }
        }
        sums
    }
}

/// The shard of the current thread.
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
    fn sums_are_exact_when_they_are_taken_while_threads_add() {
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
