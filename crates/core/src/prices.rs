//! What language models and deployments cost.

use std::collections::HashMap;

use crate::money::{Currency, MicroUnits};

/// The price of each model's tokens and of each kind of deployment, in one currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prices {
    currency: Currency,
    models: HashMap<Box<str>, TokenPrices>,
    deployments: HashMap<Box<str>, MicroUnits>,
}

/// The prices of a model: micro-units for a million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenPrices {
    /// Of input that the model reads anew.
    pub input: MicroUnits,
    /// Of input that it has in its cache.
    pub cached_input: MicroUnits,
    /// Of input that it reads anew and writes to its cache.
    pub cache_write: MicroUnits,
    /// Of output.
    pub output: MicroUnits,
}

/// The tokens of a request to a model. No token is counted twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenUsage {
    /// Input that the model read anew, and did not write to its cache.
    input: u64,
    cached_input: u64,
    cache_write: u64,
    output: u64,
}

/// More tokens were read from a cache and written to it than were consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{cached} tokens from the cache and {written} to it are more than the {consumed} tokens that \
     were consumed, whose parts they are"
)]
pub struct TokenUsageError {
    /// Tokens read from the cache.
    pub cached: u64,
    /// Tokens written to the cache.
    pub written: u64,
    /// All tokens consumed.
    pub consumed: u64,
}

/// Prices are for this many tokens.
const TOKENS_PER_PRICE: u128 = 1_000_000;

impl Prices {
    /// Makes a list without any price.
    #[must_use]
    pub fn new(currency: Currency) -> Self {
        Self { currency, models: HashMap::new(), deployments: HashMap::new() }
    }

    /// Sets the prices of a model.
    #[must_use]
    pub fn with_model(mut self, model: &str, prices: TokenPrices) -> Self {
        self.models.insert(model.into(), prices);
        self
    }

    /// Sets the price of an hour of a deployment of this kind.
    #[must_use]
    pub fn with_deployment(mut self, kind: &str, per_hour: MicroUnits) -> Self {
        self.deployments.insert(kind.into(), per_hour);
        self
    }

    /// Returns the currency of all prices.
    #[must_use]
    pub const fn currency(&self) -> Currency {
        self.currency
    }

    /// Whether any model has prices.
    #[must_use]
    pub fn has_models(&self) -> bool {
        !self.models.is_empty()
    }

    /// Returns what these tokens of a model cost, rounded up to whole micro-units; `None` if the
    /// model has no prices. A cost above [`u64::MAX`] is that.
    #[must_use]
    pub fn of_tokens(&self, model: &str, usage: &TokenUsage) -> Option<MicroUnits> {
        self.models.get(model).map(|prices| prices.of(usage))
    }

    /// Returns the price of an hour of a deployment of this kind, if it has one.
    #[must_use]
    pub fn per_hour(&self, kind: &str) -> Option<MicroUnits> {
        self.deployments.get(kind).copied()
    }
}

impl Default for Prices {
    /// No price, in US dollars.
    fn default() -> Self {
        Self::new(Currency::USD)
    }
}

impl TokenPrices {
    /// Makes prices for input and output. Input from the cache and to it costs what other input
    /// does.
    #[must_use]
    pub const fn new(input: MicroUnits, output: MicroUnits) -> Self {
        Self { input, cached_input: input, cache_write: input, output }
    }

    fn of(&self, usage: &TokenUsage) -> MicroUnits {
        let prices = [self.input, self.cached_input, self.cache_write, self.output];
        let parts = usage.kinds().into_iter().zip(prices);
        // Each product is below 2^128, and so is their sum unless it is beyond any u64.
        let part =
            |(tokens, price): (u64, MicroUnits)| u128::from(tokens) * u128::from(price.get());
        let sum = parts.map(part).fold(0, u128::saturating_add);
        let rounded_up = sum.div_ceil(TOKENS_PER_PRICE);
        MicroUnits::new(u64::try_from(rounded_up).unwrap_or(u64::MAX))
    }
}

impl TokenUsage {
    /// Returns the tokens of each kind: input, cached input, input written to the cache, output.
    pub(crate) const fn kinds(&self) -> [u64; 4] {
        [self.input, self.cached_input, self.cache_write, self.output]
    }

    /// Makes the usage of a request that consumed and generated these tokens.
    #[must_use]
    pub const fn new(consumed: u64, generated: u64) -> Self {
        Self { input: consumed, cached_input: 0, cache_write: 0, output: generated }
    }

    /// Says how many of the consumed tokens were read from the model's cache, and how many were
    /// written to it.
    ///
    /// # Errors
    /// When they are more than were consumed.
    pub const fn with_cache(self, cached: u64, written: u64) -> Result<Self, TokenUsageError> {
        let consumed = self.input + self.cached_input + self.cache_write;
        let parts = cached.checked_add(written);
        match parts {
            Some(parts) if parts <= consumed => Ok(Self {
                input: consumed - parts,
                cached_input: cached,
                cache_write: written,
                output: self.output,
            }),
            _ => Err(TokenUsageError { cached, written, consumed }),
        }
    }

    /// Returns all tokens that were consumed, those of the cache too.
    #[must_use]
    pub const fn consumed(&self) -> u64 {
        self.input + self.cached_input + self.cache_write
    }

    /// Returns the consumed tokens that were read from the cache.
    #[must_use]
    pub const fn cached(&self) -> u64 {
        self.cached_input
    }

    /// Returns the consumed tokens that were written to the cache.
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.cache_write
    }

    /// Returns the tokens that were generated.
    #[must_use]
    pub const fn generated(&self) -> u64 {
        self.output
    }
}

#[cfg(test)]
mod tests {
    use num_bigint::BigInt;
    use num_rational::Ratio;
    use proptest::prelude::*;

    use super::*;

    fn prices() -> impl Strategy<Value = TokenPrices> {
        let price = || prop_oneof![0..=20_000_000_u64, any::<u64>()].prop_map(MicroUnits::new);
        (price(), price(), price(), price()).prop_map(
            |(input, cached_input, cache_write, output)| TokenPrices {
                input,
                cached_input,
                cache_write,
                output,
            },
        )
    }

    /// Tokens consumed, cached, written and generated.
    fn tokens() -> impl Strategy<Value = (u64, u64, u64, u64)> {
        let number = || prop_oneof![0..100_000_u64, 0..=1_000_000_000_000_u64];
        (number(), number(), number(), number()).prop_map(|(rest, cached, written, out)| {
            (rest + cached + written, cached, written, out)
        })
    }

    fn exact(
        prices: &TokenPrices,
        (consumed, cached, written, out): (u64, u64, u64, u64),
    ) -> BigInt {
        let part = |tokens: u64, price: MicroUnits| {
            Ratio::new(BigInt::from(tokens) * price.get(), BigInt::from(1_000_000))
        };
        let sum = part(consumed - cached - written, prices.input)
            + part(cached, prices.cached_input)
            + part(written, prices.cache_write)
            + part(out, prices.output);
        sum.ceil().to_integer()
    }

    proptest! {
        #[test]
        fn a_cost_is_the_exact_one_rounded_up(prices in prices(), tokens in tokens()) {
            let (consumed, cached, written, out) = tokens;
            let usage = TokenUsage::new(consumed, out).with_cache(cached, written).unwrap();
            let list = Prices::default().with_model("a", prices);
            let cost = list.of_tokens("a", &usage).unwrap();
            prop_assert_eq!(BigInt::from(cost.get()), exact(&prices, tokens).min(u64::MAX.into()));
        }

        #[test]
        fn more_cached_tokens_than_consumed_are_an_error(
            consumed in any::<u64>(), cached in any::<u64>(), written in any::<u64>(),
        ) {
            let usage = TokenUsage::new(consumed, 0).with_cache(cached, written);
            let parts = u128::from(cached) + u128::from(written);
            prop_assert_eq!(usage.is_ok(), parts <= u128::from(consumed));
        }
    }

    #[test]
    fn a_worked_example() {
        // 0.15 and 0.60 dollars for a million tokens; half of that from the cache.
        let units = |units| MicroUnits::exactly(units, MicroUnits::from_units(1_000)).unwrap();
        let mut prices = TokenPrices::new(units(0.15), units(0.60));
        prices.cached_input = units(0.075);
        let list = Prices::default().with_model("small", prices);
        let usage = TokenUsage::new(1_000, 300).with_cache(400, 0).unwrap();
        // 600 * 0.15 + 400 * 0.075 + 300 * 0.6 = 90 + 30 + 180 millionths.
        assert_eq!(list.of_tokens("small", &usage), Some(MicroUnits::new(300)));
        assert_eq!(list.of_tokens("small", &TokenUsage::new(1, 0)), Some(MicroUnits::new(1)));
        assert_eq!(list.of_tokens("small", &TokenUsage::default()), Some(MicroUnits::new(0)));
        assert_eq!(list.of_tokens("large", &usage), None);
    }
}
