//! Remembers which clients were reported, so that a client with a thousand requests is reported
//! once.

use std::{
    hash::{Hash, Hasher},
    sync::atomic::{AtomicU64, Ordering},
};

use sluice_core::Tag;

/// The number of places, a power of two: they take half a megabyte. Clients that share a place
/// displace each other, and are then reported more often than necessary.
const PLACES: usize = 1 << 16;

/// A fixed-size set of recently reported clients. It may forget a client, and never mistakes one
/// client for another.
#[derive(Debug)]
pub(crate) struct ReportedClients {
    places: Box<[AtomicU64]>,
}

/// One client at one endpoint in one time slice: a place, and the fingerprint that is stored there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientMark {
    place: usize,
    fingerprint: u64,
}

impl ReportedClients {
    pub(crate) fn new() -> Self {
        Self { places: (0..PLACES).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Whether `mark` was [inserted](Self::insert), and not displaced since.
    pub(crate) fn contains(&self, mark: ClientMark) -> bool {
        self.places[mark.place].load(Ordering::Relaxed) == mark.fingerprint
    }

    pub(crate) fn insert(&self, mark: ClientMark) {
        self.places[mark.place].store(mark.fingerprint, Ordering::Relaxed);
    }
}

impl ClientMark {
    /// The mark of `client` at the endpoint with this number, in the time slice with that number.
    pub(crate) fn new(client: Tag, endpoint: u64, slice: u64) -> Self {
        let mut hasher = TagHasher(endpoint ^ slice.rotate_left(32));
        client.hash(&mut hasher);
        let place = usize::try_from(hasher.0 & (PLACES as u64 - 1)).unwrap_or(0);
        // The highest bit is set, since an empty place holds zero.
        Self { place, fingerprint: hasher.0 | 1 << 63 }
    }
}

/// Mixes values that are random already: tags are keyed hashes.
struct TagHasher(u64);

impl Hasher for TagHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        // The finalizer of SplitMix64: every input bit changes half of the output bits on average.
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
    fn a_mark_stands_for_one_client_one_endpoint_and_one_slice() {
        let client = |name: &str| Tagger::new(b"").tag(Subject::Client(name.as_bytes()));
        let reported = ReportedClients::new();
        let mark = ClientMark::new(client("alice"), 1, 1);
        assert!(!reported.contains(mark));
        reported.insert(mark);
        assert!(reported.contains(ClientMark::new(client("alice"), 1, 1)));
        for other in [
            ClientMark::new(client("alice"), 2, 1),
            ClientMark::new(client("alice"), 1, 2),
            ClientMark::new(client("bob"), 1, 1),
        ] {
            assert!(!reported.contains(other), "{other:?}");
        }
    }

    #[test]
    fn no_client_is_mistaken_for_another() {
        let tagger = Tagger::new(b"");
        let reported = ReportedClients::new();
        let marks = (0..200_000_u32).map(|number| {
            ClientMark::new(tagger.tag(Subject::Client(&number.to_le_bytes())), 1, 1)
        });
        let new = marks.filter(|&mark| {
            let is_new = !reported.contains(mark);
            reported.insert(mark);
            is_new
        });
        assert_eq!(new.count(), 200_000);
    }
}
