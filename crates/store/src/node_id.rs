//! The servers of a store.

use sluice_core::Partition;

/// One of the servers of a store, which fails independently of the others.
///
/// A store of one server has one. In a cluster, a server that takes the place of another one has
/// its id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u8);

impl NodeId {
    /// The most servers that a store uses: each has at least one partition.
    pub const COUNT: u8 = Partition::COUNT;

    /// The only server of a store that has one.
    pub const ONLY: Self = Self(0);

    /// Returns all ids, in the order of their indices.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }

    /// Returns the index, which is less than [`COUNT`](Self::COUNT).
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}
