//! A hasher for keys that are hashes.

use std::hash::{BuildHasher, Hasher};

/// Hands on the 64 bits that a [`BucketId`] hashes to: its tag is a keyed hash already.
#[derive(Clone, Debug, Default)]
pub(crate) struct HashedAlready(u64);

impl BuildHasher for HashedAlready {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        Self(0)
    }
}

impl Hasher for HashedAlready {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Not used by bucket ids; right all the same, so that a change of theirs is slow and not
        // wrong.
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
