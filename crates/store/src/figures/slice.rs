//! Slices of time, in which distinct clients are counted.

use std::time::Duration;

use sluice_core::Timestamp;

/// How long a slice is.
pub const SLICE: Duration = Duration::from_secs(300);

/// How many slices are looked at: the one that runs now, and those before it.
pub const SLICES: u64 = 12;

/// A slice, by its number since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slice(u64);

impl Slice {
    /// The slice that runs at `now`.
    pub(crate) fn at(now: Timestamp) -> Self {
        Self(u64::try_from(now.unix_micros()).unwrap_or(0) / 1_000_000 / SLICE.as_secs())
    }

    /// The number in keys.
    pub(crate) const fn number(self) -> u64 {
        self.0
    }

    /// This slice and those before it that are still looked at, newest first.
    pub(crate) fn looked_at(self) -> impl Iterator<Item = Self> {
        (0..SLICES).filter_map(move |back| self.0.checked_sub(back)).map(Self)
    }

    /// Whether this slice is still looked at while `current` runs.
    pub(crate) const fn is_looked_at(self, current: Self) -> bool {
        self.0 + SLICES > current.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_an_hour_old_is_in_no_slice_that_is_looked_at() {
        for second in [0, 1, 150, 299] {
            let now = Timestamp::from_unix_micros((1_800_000_000 + second) * 1_000_000);
            let hour_ago = Timestamp::from_unix_micros(now.unix_micros() - 3_600_000_000);
            let recently = Timestamp::from_unix_micros(now.unix_micros() - 3_300_000_000);
            assert!(!Slice::at(hour_ago).is_looked_at(Slice::at(now)), "{second}");
            assert!(Slice::at(recently).is_looked_at(Slice::at(now)), "{second}");
            assert_eq!(Slice::at(now).looked_at().count(), 12);
            assert!(Slice::at(now).looked_at().all(|slice| slice.is_looked_at(Slice::at(now))));
        }
    }
}
