//! Who was told of already, so that a client who asks a thousand times is told of once.

use std::{
    hash::{Hash, Hasher},
    sync::atomic::{AtomicU64, Ordering},
};

use sluice_core::Tag;

/// Places, a power of two: half a megabyte. Clients who share one displace each other, and are then
/// told of more often than need be.
const PLACES: usize = 1 << 16;

/// Remembers whom it saw lately, forgets by itself, and never takes one for another.
#[derive(Debug)]
pub(super) struct Seen {
    places: Box<[AtomicU64]>,
}

/// One client at one endpoint in one slice of time, as a place and what stands there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    place: usize,
    print: u64,
}

impl Seen {
    pub(super) fn new() -> Self {
        Self { places: (0..PLACES).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Whether `mark` was [set](Self::set), and not displaced since.
    pub(super) fn has(&self, mark: Mark) -> bool {
        self.places[mark.place].load(Ordering::Relaxed) == mark.print
    }

    pub(super) fn set(&self, mark: Mark) {
        self.places[mark.place].store(mark.print, Ordering::Relaxed);
    }
}

impl Mark {
    /// The mark of `client` at the endpoint with this number, in the slice with that.
    pub(super) fn new(client: Tag, endpoint: u64, slice: u64) -> Self {
        let mut hasher = Folded(endpoint ^ slice.rotate_left(32));
        client.hash(&mut hasher);
        let place = usize::try_from(hasher.0 & (PLACES as u64 - 1)).unwrap_or(0);
        // Zero stands where nobody was yet.
        Self { place, print: hasher.0 | 1 << 63 }
    }
}

/// Mixes what is random already: tags are keyed hashes.
struct Folded(u64);

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        // The finish of SplitMix64: every bit of what goes in changes half of those that come out.
        let mut mixed = (self.0 ^ number).wrapping_add(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        self.0 = mixed ^ (mixed >> 31);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use sluice_core::{Subject, Tagger};

    use super::*;

    #[test]
    fn a_mark_is_of_one_client_one_endpoint_and_one_slice() {
        let client = |name: &str| Tagger::new(b"").tag(Subject::Client(name.as_bytes()));
        let seen = Seen::new();
        let mark = Mark::new(client("alice"), 1, 1);
        assert!(!seen.has(mark));
        seen.set(mark);
        assert!(seen.has(Mark::new(client("alice"), 1, 1)));
        for other in [
            Mark::new(client("alice"), 2, 1),
            Mark::new(client("alice"), 1, 2),
            Mark::new(client("bob"), 1, 1),
        ] {
            assert!(!seen.has(other), "{other:?}");
        }
    }

    #[test]
    fn nobody_is_taken_for_another() {
        let tagger = Tagger::new(b"");
        let seen = Seen::new();
        let marks = (0..200_000_u32)
            .map(|number| Mark::new(tagger.tag(Subject::Client(&number.to_le_bytes())), 1, 1));
        let new = marks.filter(|&mark| {
            let is_new = !seen.has(mark);
            seen.set(mark);
            is_new
        });
        assert_eq!(new.count(), 200_000);
    }
}
