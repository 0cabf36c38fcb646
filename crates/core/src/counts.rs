//! What a limit counts of a request whose usage is known only when it is over: the tokens of a
//! language model, or money.

use std::{fmt, time::Duration};

use crate::{cost::Cost, hold::Hold, money::MicroUnits, prices::TokenUsage};

/// What a request uses that is known only when it is over: estimated before, reported afterwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The tokens of a language model.
    pub tokens: TokenUsage,
    /// What they cost, if that is known.
    pub money: Option<MicroUnits>,
}

/// What a limit counts in place of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Counts {
    /// Tokens of a language model, each kind with a weight.
    Tokens(TokenWeights),
    /// Money: one token of the bucket is one micro-unit.
    Money,
}

/// How much a token of each kind counts, in thousandths of a token of the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenWeights {
    /// Of input that the model reads anew.
    pub input: u32,
    /// Of input that it has in its cache.
    pub cached_input: u32,
    /// Of input that it reads anew and writes to its cache.
    pub cache_write: u32,
    /// Of output.
    pub output: u32,
}

/// How a limit meters requests whose usage is known only when they are over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Metering {
    /// What the limit counts.
    pub counts: Counts,
    /// How long a hold lasts at most. What is not settled within twice that time stays charged.
    pub hold_for: Duration,
}

// === impl Usage ===

impl Usage {
    /// Makes the usage of a request whose tokens have no price.
    #[must_use]
    pub const fn of_tokens(tokens: TokenUsage) -> Self {
        Self { tokens, money: None }
    }

    /// Says what the tokens cost, if that is known.
    #[must_use]
    pub const fn with_money(self, money: Option<MicroUnits>) -> Self {
        Self { money, ..self }
    }
}

// === impl Counts ===

impl Counts {
    /// All input tokens, each as one.
    pub const INPUT_TOKENS: Self = Self::Tokens(TokenWeights { output: 0, ..TokenWeights::ALL });
    /// All output tokens, each as one.
    pub const OUTPUT_TOKENS: Self = Self::Tokens(TokenWeights {
        input: 0,
        cached_input: 0,
        cache_write: 0,
        output: TokenWeights::ONE,
    });
    /// All tokens, each as one.
    pub const TOTAL_TOKENS: Self = Self::Tokens(TokenWeights::ALL);

    /// Returns what `usage` takes from the limit, rounded up to whole tokens of the bucket and at
    /// most [`Cost::MAX`]; `None` if it does not say what the limit counts.
    #[must_use]
    pub fn of(&self, usage: &Usage) -> Option<Cost> {
        let tokens = match self {
            Self::Tokens(weights) => weights.of(&usage.tokens),
            Self::Money => usage.money?.get(),
        };
        Some(Cost::new(tokens).unwrap_or(Cost::MAX))
    }
}

impl fmt::Display for Counts {
    /// Writes the word of the configuration; with other weights than 1, also these.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weights = match self {
            Self::Money => return f.write_str("cost"),
            Self::Tokens(weights) => weights,
        };
        let TokenWeights { input, cached_input, cache_write, output } = *weights;
        let counts_input = input > 0 || cached_input > 0 || cache_write > 0;
        let (word, plain) = match (counts_input, output > 0) {
            (true, false) => ("input_tokens", Self::INPUT_TOKENS),
            (false, true) => ("output_tokens", Self::OUTPUT_TOKENS),
            _ => ("total_tokens", Self::TOTAL_TOKENS),
        };
        f.write_str(word)?;
        if *self == plain {
            return Ok(());
        }
        f.write_str(" (")?;
        let kinds = [
            ("input", input),
            ("cached_input", cached_input),
            ("cache_write", cache_write),
            ("output", output),
        ];
        for (place, (kind, weight)) in kinds.into_iter().enumerate() {
            let separator = if place == 0 { "" } else { ", " };
            write!(f, "{separator}{kind} {}", f64::from(weight) / f64::from(TokenWeights::ONE))?;
        }
        f.write_str(")")
    }
}

// === impl TokenWeights ===

impl TokenWeights {
    /// The weight of a token that counts as one.
    pub const ONE: u32 = 1_000;
    /// The largest weight: a thousand.
    pub const MAX: u32 = 1_000 * Self::ONE;
    /// Every token counts as one.
    pub const ALL: Self = Self {
        input: Self::ONE,
        cached_input: Self::ONE,
        cache_write: Self::ONE,
        output: Self::ONE,
    };

    fn of(&self, usage: &TokenUsage) -> u64 {
        let weights = [self.input, self.cached_input, self.cache_write, self.output];
        let weighted = usage.kinds().into_iter().zip(weights);
        // Each product is below 2^96.
        let sum: u128 =
            weighted.map(|(tokens, weight)| u128::from(tokens) * u128::from(weight)).sum();
        u64::try_from(sum.div_ceil(u128::from(Self::ONE))).unwrap_or(u64::MAX)
    }
}

// === impl Metering ===

impl Metering {
    /// How long a hold lasts where the limit does not say it: five minutes.
    pub const HOLD_FOR: Duration = Duration::from_secs(5 * 60);
    /// The longest that a hold may last: a day.
    pub const LONGEST_HOLD: Duration = Hold::MAX_HOLD_FOR;

    /// Meters with holds of [`Metering::HOLD_FOR`].
    #[must_use]
    pub const fn new(counts: Counts) -> Self {
        Self { counts, hold_for: Self::HOLD_FOR }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn usage(consumed: u64, cached: u64, written: u64, generated: u64) -> Usage {
        let tokens = TokenUsage::new(consumed, generated).with_cache(cached, written).unwrap();
        Usage::of_tokens(tokens).with_money(Some(MicroUnits::new(7)))
    }

    #[test]
    fn each_limit_counts_its_own() {
        let usage = usage(100, 30, 20, 8);
        let counted = |counts: Counts| counts.of(&usage).unwrap().tokens();
        assert_eq!(counted(Counts::INPUT_TOKENS), 100);
        assert_eq!(counted(Counts::OUTPUT_TOKENS), 8);
        assert_eq!(counted(Counts::TOTAL_TOKENS), 108);
        assert_eq!(counted(Counts::Money), 7);
        let weights = TokenWeights { cached_input: 100, output: 4_000, ..TokenWeights::ALL };
        // 50 + 30 * 0.1 + 20 + 8 * 4.
        assert_eq!(counted(Counts::Tokens(weights)), 105);
    }

    #[test]
    fn a_part_of_a_token_is_a_token() {
        let weights = TokenWeights { input: 1, ..TokenWeights::ALL };
        assert_eq!(Counts::Tokens(weights).of(&usage(1, 0, 0, 0)), Some(Cost::ONE));
        assert_eq!(Counts::Tokens(weights).of(&usage(0, 0, 0, 0)), Some(Cost::NONE));
        assert_eq!(Counts::Money.of(&Usage::default()), None, "no amount is not nothing");
    }

    #[test]
    fn what_is_counted_reads_as_it_is_written() {
        let shown = |counts: Counts| counts.to_string();
        assert_eq!(shown(Counts::INPUT_TOKENS), "input_tokens");
        assert_eq!(shown(Counts::OUTPUT_TOKENS), "output_tokens");
        assert_eq!(shown(Counts::TOTAL_TOKENS), "total_tokens");
        assert_eq!(shown(Counts::Money), "cost");
        let weights = TokenWeights { cached_input: 100, output: 4_000, ..TokenWeights::ALL };
        assert_eq!(
            shown(Counts::Tokens(weights)),
            "total_tokens (input 1, cached_input 0.1, cache_write 1, output 4)"
        );
    }

    proptest! {
        #[test]
        fn no_usage_is_too_large(
            consumed: u64, generated: u64, money: u64, weight in 0..=TokenWeights::MAX,
        ) {
            let tokens = TokenUsage::new(consumed, generated);
            let usage = Usage::of_tokens(tokens).with_money(Some(MicroUnits::new(money)));
            let weights = TokenWeights { input: weight, output: weight, ..TokenWeights::ALL };
            let exact = (u128::from(consumed) + u128::from(generated)) * u128::from(weight);
            let exact = exact.div_ceil(1_000).min(Cost::MAX.tokens().into());
            let counted = Counts::Tokens(weights).of(&usage).unwrap();
            prop_assert_eq!(u128::from(counted.tokens()), exact);
            let money = money.min(Cost::MAX.tokens());
            prop_assert_eq!(Counts::Money.of(&usage).unwrap().tokens(), money);
        }
    }
}
