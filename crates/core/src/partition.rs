//! The parts into which a store is divided.

/// One of the parts into which all tags are divided evenly, so that a store can be spread over
/// several servers. All buckets of a client are in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(u8);

impl Partition {
    /// The number of partitions.
    pub const COUNT: u8 = 64;

    /// The first partition.
    pub const FIRST: Self = Self(0);

    /// Returns the partition that `number` falls into, modulo their [number](Self::COUNT).
    #[must_use]
    pub const fn of(number: u8) -> Self {
        Self(number % Self::COUNT)
    }

    /// Returns all partitions, in the order of their indices.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }

    /// Returns the index, which is less than [`COUNT`](Self::COUNT).
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}
