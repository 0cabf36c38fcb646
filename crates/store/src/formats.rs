//! What a build reads and writes in a shared store.

use std::fmt;

use sluice_core::Partition;

/// The newest layout of a bucket's state or a hold's record. A build that adds a layout raises this
/// number, teaches `lua/check.lua` to read it, and to write it only if its argument `newest` allows
/// it.
const NEWEST_LAYOUT: u8 = 12;
/// The first layout with which the records of holds can be kept.
#[cfg(feature = "redis")]
pub(crate) const RECORD_LAYOUT: u8 = 7;
/// The first layout with which all states of limits can be kept that are no token buckets.
#[cfg(feature = "redis")]
pub(crate) const OTHERS_LAYOUT: u8 = 11;
/// The layout of a quota of which tokens are held that it may release.
#[cfg(feature = "redis")]
pub(crate) const HELD_LAYOUT: u8 = 12;
/// How keys are built, apart from the number of partitions.
const KEY_FORMAT: u16 = 2;

/// The formats in a shared store that a build reads and writes. Each replica announces those of its
/// build.
///
/// A state is written in a new layout only once every live replica has announced that it reads it.
/// Otherwise an older replica could not read the buckets of its clients, and would decide about
/// them alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Formats {
    /// The number of the format of the keys. Replicas with another number share no bucket.
    pub keys: u16,
    /// The number of partitions. Replicas with another number share few buckets.
    pub partitions: u8,
    /// The first and the last layout of a bucket's state that the build reads.
    pub reads: (u8, u8),
    /// The first and the last layout that it may write.
    pub writes: (u8, u8),
}

impl Formats {
    /// The formats of this build.
    pub const CURRENT: Self = Self {
        keys: KEY_FORMAT,
        partitions: Partition::COUNT,
        reads: (1, NEWEST_LAYOUT),
        writes: (1, NEWEST_LAYOUT),
    };

    /// The formats of builds that announce none: the layouts that all of them read.
    pub const BASELINE: Self = Self { reads: (1, 4), writes: (1, 4), ..Self::CURRENT };

    /// Returns the newest layout that a build with these formats may write while replicas with
    /// `others` are live.
    #[cfg(any(feature = "redis", test))]
    pub(crate) fn newest_written(self, others: impl IntoIterator<Item = Self>) -> u8 {
        others.into_iter().map(|other| other.reads.1).fold(self.writes.1, u8::min)
    }

    /// Returns whether this build reads every state that a build with `other` formats may write
    /// while this one is live, under the same keys.
    #[must_use]
    pub const fn understands(self, other: Self) -> bool {
        self.shares_keys(other) && self.reads.0 <= other.writes.0 && self.reads.1 >= other.writes.0
    }

    /// Returns whether this build and one with `other` formats find a bucket under the same key.
    #[must_use]
    pub const fn shares_keys(self, other: Self) -> bool {
        self.keys == other.keys && self.partitions == other.partitions
    }

    /// Splits what a replica announced into its version and its formats.
    #[cfg(any(feature = "redis", test))]
    pub(crate) fn split(announced: &str) -> (&str, Self) {
        Self::parse_suffix(announced).unwrap_or((announced, Self::BASELINE))
    }

    #[cfg(any(feature = "redis", test))]
    fn parse_suffix(announced: &str) -> Option<(&str, Self)> {
        let range = |text: &str| {
            let (first, last) = text.split_once('-')?;
            Some((first.parse().ok()?, last.parse().ok()?))
        };
        let (rest, writes) = announced.rsplit_once(" writes=")?;
        let (rest, reads) = rest.rsplit_once(" reads=")?;
        let (rest, partitions) = rest.rsplit_once(" partitions=")?;
        let (version, keys) = rest.rsplit_once(" keys=")?;
        let formats = Self {
            keys: keys.parse().ok()?,
            partitions: partitions.parse().ok()?,
            reads: range(reads)?,
            writes: range(writes)?,
        };
        Some((version, formats))
    }
}

impl Default for Formats {
    fn default() -> Self {
        Self::CURRENT
    }
}

/// Writes what stands behind the version in an announcement.
impl fmt::Display for Formats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { keys, partitions, reads, writes } = self;
        write!(f, "keys={keys} partitions={partitions} ")?;
        write!(f, "reads={}-{} writes={}-{}", reads.0, reads.1, writes.0, writes.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announced_formats_are_read_again_and_builds_without_them_have_the_baseline() {
        let announced = format!("1.0 beta {}", Formats::CURRENT);
        assert_eq!(announced, "1.0 beta keys=2 partitions=64 reads=1-12 writes=1-12");
        assert_eq!(Formats::split(&announced), ("1.0 beta", Formats::CURRENT));
        for version in [
            "0.1.0",
            "",
            "1.0 keys=1 reads=1-5 writes=1-5",
            "1 keys=x partitions=64 reads=1-5 writes=1-5",
        ] {
            assert_eq!(Formats::split(version), (version, Formats::BASELINE));
        }
    }

    #[test]
    fn a_layout_is_written_once_every_replica_reads_it() {
        let current = Formats::CURRENT;
        let newer = Formats { reads: (1, 13), writes: (1, 13), ..current };
        assert_eq!(current.newest_written([]), 12);
        assert_eq!(current.newest_written([newer, current]), 12);
        assert_eq!(newer.newest_written([newer, current]), 12);
        assert_eq!(newer.newest_written([newer, newer]), 13);
        assert_eq!(newer.newest_written([newer, Formats::BASELINE]), 4);
    }

    #[test]
    fn replicas_with_other_keys_or_without_common_layouts_do_not_share_buckets() {
        let current = Formats::CURRENT;
        assert!(current.understands(current));
        assert!(current.understands(Formats { reads: (1, 13), writes: (1, 13), ..current }));
        assert!(current.understands(Formats::BASELINE));
        assert!(!current.understands(Formats { keys: 3, ..current }));
        assert!(!current.understands(Formats { partitions: 16, ..current }));
        assert!(!current.understands(Formats { writes: (13, 14), ..current }));
        let later = Formats { reads: (3, 13), writes: (3, 13), ..current };
        assert!(!later.understands(current), "it does not read layout 1 any more");
    }
}
