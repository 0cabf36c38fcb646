//! Sets of partitions.

use sluice_core::Partition;

/// A set of partitions: one bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PartitionSet(u64);

const _: () = assert!(Partition::COUNT as u32 == u64::BITS, "each partition has a bit");

impl PartitionSet {
    pub(super) const ALL: Self = Self(u64::MAX);

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) const fn contains(self, partition: Partition) -> bool {
        self.0 & 1 << partition.index() != 0
    }

    /// Returns its partitions, in the order of their indices.
    pub(super) fn iter(self) -> impl Iterator<Item = Partition> {
        Partition::all().filter(move |partition| self.contains(*partition))
    }
}

impl FromIterator<Partition> for PartitionSet {
    fn from_iter<I: IntoIterator<Item = Partition>>(partitions: I) -> Self {
        Self(partitions.into_iter().fold(0, |bits, partition| bits | 1 << partition.index()))
    }
}
