//! Bounds how often something is done in a second.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// How many bits of the state count.
const COUNT_BITS: u32 = 24;
const COUNT: u64 = (1 << COUNT_BITS) - 1;

/// Admits a number of things in each second.
#[derive(Debug)]
pub(super) struct PerSecond {
    most: AtomicU32,
    /// The second, and in the lowest bits how many were admitted in it.
    state: AtomicU64,
}

impl PerSecond {
    /// Creates a bound of `most` in a second.
    pub(super) const fn new(most: u32) -> Self {
        Self { most: AtomicU32::new(most), state: AtomicU64::new(0) }
    }

    /// Admits `most` in a second from now on, and at most 16 million.
    pub(super) fn set_most(&self, most: u32) {
        self.most.store(most, Relaxed);
    }

    /// Returns whether there were not yet enough in this second.
    pub(super) fn admit(&self, second: u64) -> bool {
        let most = u64::from(self.most.load(Relaxed)).min(COUNT);
        let next = |state: u64| {
            let (at, admitted) = (state >> COUNT_BITS, state & COUNT);
            let admitted = if at == second { admitted } else { 0 };
            (admitted < most).then_some(second << COUNT_BITS | (admitted + 1))
        };
        self.state.fetch_update(Relaxed, Relaxed, next).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_has_its_own_number() {
        let lines = PerSecond::new(2);
        assert_eq!([0; 4].map(|second| lines.admit(second)), [true, true, false, false]);
        assert_eq!([7; 3].map(|second| lines.admit(second)), [true, true, false]);
        lines.set_most(3);
        assert_eq!([7, 7, 8].map(|second| lines.admit(second)), [true, false, true]);
        assert!(!PerSecond::new(0).admit(1));
    }
}
