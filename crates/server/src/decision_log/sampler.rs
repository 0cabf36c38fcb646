//! Chooses a share of the decisions.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use sluice_config::Share;

/// Chooses a share of the denials, and another one of the other decisions.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    /// In millionths.
    denied: AtomicU32,
    allowed: AtomicU32,
    number: AtomicU64,
}

impl Sampler {
    /// Chooses these shares from now on.
    pub(super) fn set(&self, denied: Share, allowed: Share) {
        self.denied.store(denied.millionths(), Relaxed);
        self.allowed.store(allowed.millionths(), Relaxed);
    }

    /// Returns whether the next denial, or the next other decision, is chosen.
    pub(super) fn takes(&self, is_denied: bool) -> bool {
        let share = if is_denied { &self.denied } else { &self.allowed };
        let share = share.load(Relaxed);
        if share == 0 || share >= Share::ALL.millionths() {
            return share > 0;
        }
        let number = mixed(self.number.fetch_add(1, Relaxed));
        number % u64::from(Share::ALL.millionths()) < u64::from(share)
    }
}

/// Returns a number that looks random (the last step of SplitMix64): every n-th decision could be
/// always the same client's.
const fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_the_share_is_chosen() {
        let sampler = Sampler::default();
        let chosen = |is_denied| (0..100_000).filter(|_| sampler.takes(is_denied)).count();
        assert_eq!((chosen(true), chosen(false)), (0, 0));
        sampler.set(Share::ALL, Share::new(0.01).unwrap());
        assert_eq!(chosen(true), 100_000);
        let some = chosen(false);
        assert!((900..=1_100).contains(&some), "{some}");
    }
}
