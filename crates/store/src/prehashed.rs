//! A hasher for keys that are hashes already.

use std::hash::{BuildHasher, Hasher};

/// Passes on the 64 bits to which a [`BucketId`](sluice_core::BucketId) hashes. They are part of a
/// keyed hash, so hashing them once more would gain nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Prehashed(u64);

impl BuildHasher for Prehashed {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        Self(0)
    }
}

impl Hasher for Prehashed {
    fn finish(&self) -> u64 {
        self.0
    }

    /// Bucket ids do not call this. If they ever do, the result is a slow map and not a wrong one.
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
