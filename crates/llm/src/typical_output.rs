//! How long the answers of a model are.

/// An answer of at most this many tokens is not told from a shorter one.
const LEAST: u64 = 256;
/// An answer of more tokens is not told from one of this many.
const MOST: u64 = 1 << 24;
/// How many lengths are told apart within a factor of two.
const PARTS: u64 = 1 << PARTS_BITS;
const PARTS_BITS: u32 = 3;
/// One for [`LEAST`], and the parts of each doubling up to [`MOST`].
const LENGTHS: usize = 1 + ((MOST.ilog2() - LEAST.ilog2()) << PARTS_BITS) as usize;
/// Fewer answers say little about the longest of twenty.
const ENOUGH: u16 = 20;
/// So many answers count half of what they did, which makes room for what comes.
const MANY: u16 = 256;
const PERCENT: u64 = 95;

/// Learns how many tokens the answers of a model have where no request limits them.
///
/// It is a histogram of 129 lengths in 260 bytes, each an eighth of a power of two wide, so that an
/// estimate is at most an eighth too high. When it has 256 answers, all counts are halved: a model
/// whose answers become longer is noticed after some 20 of them, and one whose answers become
/// shorter after some 600. Being too high for a while costs a client less than being too low costs
/// everyone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypicalOutput {
    answers: [u16; LENGTHS],
    total: u16,
}

impl TypicalOutput {
    /// Learns that an answer had so many tokens.
    pub fn learn(&mut self, tokens: u64) {
        if self.total >= MANY {
            for answers in &mut self.answers {
                *answers /= 2;
            }
            self.total = self.answers.iter().sum();
        }
        if let Some(answers) = self.answers.get_mut(length_of(tokens)) {
            *answers += 1;
            self.total += 1;
        }
    }

    /// Returns a number of tokens, at least 256, that 95 of 100 answers do not exceed; `None` until
    /// there are 20 answers.
    #[must_use]
    pub fn estimate(&self) -> Option<u64> {
        if self.total < ENOUGH {
            return None;
        }
        let enough = (u64::from(self.total) * PERCENT).div_ceil(100);
        let mut answers = 0;
        let length = self.answers.iter().position(|of_length| {
            answers += u64::from(*of_length);
            answers >= enough
        });
        length.map(longest)
    }
}

impl Default for TypicalOutput {
    fn default() -> Self {
        Self { answers: [0; LENGTHS], total: 0 }
    }
}

/// Returns which of the lengths that are told apart this is.
fn length_of(tokens: u64) -> usize {
    if tokens <= LEAST {
        return 0;
    }
    // From here on, each length ends with a number and begins after the one before.
    let below = tokens.min(MOST) - 1;
    let doubling = below.ilog2();
    let part = (below >> (doubling - PARTS_BITS)) % PARTS;
    let before = u64::from(doubling - LEAST.ilog2()) * PARTS;
    usize::try_from(1 + before + part).unwrap_or(LENGTHS)
}

/// Returns the most tokens of a length.
fn longest(length: usize) -> u64 {
    let Some(above) = (length as u64).checked_sub(1) else { return LEAST };
    let (doubling, part) = (above / PARTS, above % PARTS);
    (LEAST << doubling) / PARTS * (PARTS + part + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after(answers: impl IntoIterator<Item = u64>) -> Option<u64> {
        let mut typical = TypicalOutput::default();
        answers.into_iter().for_each(|tokens| typical.learn(tokens));
        typical.estimate()
    }

    #[test]
    fn few_answers_say_nothing() {
        assert_eq!(after([]), None);
        assert_eq!(after([5_000; 19]), None);
        assert_eq!(after([5_000; 20]), Some(5_120));
    }

    #[test]
    fn short_answers_are_256_tokens() {
        assert_eq!(after((0..100).map(|tokens| tokens % 257)), Some(256));
        assert_eq!(after([257; 20]), Some(288));
    }

    #[test]
    fn it_is_what_95_of_100_answers_do_not_exceed() {
        let mostly = |short: usize| [vec![1_000; short], vec![100_000; 100 - short]].concat();
        assert_eq!(after(mostly(95)), Some(1_024));
        assert_eq!(after(mostly(94)), Some(106_496));
    }

    #[test]
    fn longer_answers_are_noticed_soon_and_shorter_ones_later() {
        let mut typical = TypicalOutput::default();
        let mut until = |tokens: u64, expected: u64| {
            (0..2_000).position(|_| {
                typical.learn(tokens);
                typical.estimate() == Some(expected)
            })
        };
        assert_eq!(until(300, 320), Some(19));
        for _ in 0..1_000 {
            until(300, 320);
        }
        let longer = until(30_000, 30_720).unwrap();
        assert!(longer < 20, "{longer}");
        for _ in 0..1_000 {
            until(30_000, 30_720);
        }
        let shorter = until(300, 320).unwrap();
        assert!((300..700).contains(&shorter), "{shorter}");
    }

    proptest! {
        #[test]
        fn a_length_is_at_most_an_eighth_too_long(tokens in 0..=MOST) {
            let read = longest(length_of(tokens));
            prop_assert!(read >= tokens && (read <= LEAST || read <= tokens + tokens / 8 + 1));
        }

        #[test]
        fn nothing_is_too_long_or_too_often(tokens in prop::collection::vec(any::<u64>(), 0..900)) {
            let estimate = after(tokens.iter().copied());
            prop_assert_eq!(estimate.is_some(), tokens.len() >= usize::from(ENOUGH));
            prop_assert!(estimate.is_none_or(|tokens| (LEAST..=MOST).contains(&tokens)));
        }
    }
}
