//! The time slices in which distinct clients are counted.

use std::time::Duration;

use sluice_core::Timestamp;

/// The length of a time slice.
pub const SLICE: Duration = Duration::from_secs(300);

/// How many slices make up the last hour: the current one, and those before it.
pub const SLICES: u64 = 12;

/// A time slice, by its number since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slice(u64);

impl Slice {
    /// The slice that contains `now`.
    pub(crate) fn at(now: Timestamp) -> Self {
        Self(u64::try_from(now.unix_micros()).unwrap_or(0) / 1_000_000 / SLICE.as_secs())
    }

    /// The slice's number, as it stands in keys.
    pub(crate) const fn number(self) -> u64 {
        self.0
    }

    /// The slices of the last hour when this one is the current, newest first.
    pub(crate) fn last_hour(self) -> impl Iterator<Item = Self> {
        (0..SLICES).filter_map(move |back| self.0.checked_sub(back)).map(Self)
    }

    /// Whether this slice belongs to the last hour when `current` is the current one.
    pub(crate) const fn is_in_last_hour(self, current: Self) -> bool {
        self.0 + SLICES > current.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_hour_contains_no_slice_of_an_hour_ago() {
        for second in [0, 1, 150, 299] {
            let now = Timestamp::from_unix_micros((1_800_000_000 + second) * 1_000_000);
            let hour_ago = Timestamp::from_unix_micros(now.unix_micros() - 3_600_000_000);
            let recently = Timestamp::from_unix_micros(now.unix_micros() - 3_300_000_000);
            assert!(!Slice::at(hour_ago).is_in_last_hour(Slice::at(now)), "{second}");
            assert!(Slice::at(recently).is_in_last_hour(Slice::at(now)), "{second}");
            assert_eq!(Slice::at(now).last_hour().count(), 12);
            assert!(Slice::at(now).last_hour().all(|slice| slice.is_in_last_hour(Slice::at(now))));
        }
    }
}
