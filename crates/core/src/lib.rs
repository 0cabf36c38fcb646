//! The rules of rate limiting: rates, limits, policies, and the arithmetic of token buckets.
//!
//! This crate does no I/O, is not async and has no clock: every instant is an argument. A value
//! that exists is valid: a [`Rate`] is never zero, and its bucket can be counted exactly. The
//! scripts in `lua/` are checked against the arithmetic of [`Bucket`]; both give the same results,
//! to the digit.
//!
//! A [`Policy`] matches a [`Request`] with its limits and makes a [`Check`]. A store decides the
//! check on its buckets, with [`Check::decide`], and returns a [`Decision`].
//!
//! ```
//! use sluice_core::{Rate, SettledTokens, Timestamp};
//!
//! let rate = Rate::new("60/minute".parse()?, 10)?;
//! let now = Timestamp::from_unix_micros(1_800_000_000_000_000);
//! let mut bucket = SettledTokens::full(&rate, now);
//! assert!(bucket.covers(10));
//! bucket.take(10);
//! assert_eq!(bucket.remaining(), 0);
//! assert_eq!(bucket.covers_at(1).unwrap().since(now).as_millis(), 1_000);
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod algorithm;
mod at_most;
mod bucket;
mod bucket_id;
mod calendar;
mod check;
mod concurrent;
mod cost;
mod counts;
mod decision;
mod epoch;
mod hold;
mod hold_decision;
mod leases;
mod ledger;
mod limit;
mod money;
mod part;
mod partition;
mod policy;
mod prices;
mod quota;
mod rate;
mod refill_rate;
mod request;
mod slices;
mod slots;
mod time;
mod token_bucket;
mod window;

pub use algorithm::{Algorithm, AlgorithmError};
pub use at_most::{AtMost, AtMostError};
pub use bucket::{Bucket, Settled};
pub use bucket_id::{BucketId, LimitKey, Subject, Tag, Tagger, Value};
pub use calendar::{Calendar, CalendarError, CalendarUnit, Period};
pub use check::{Action, Check};
pub use concurrent::{Concurrent, ConcurrentError, OnLost};
pub use cost::{Cost, CostError};
pub use counts::{Counts, Metering, TokenWeights, Usage};
pub use decision::{Decision, Retry, Source, Verdict, whole_seconds};
pub use epoch::Epoch;
pub use hold::{CostsDigest, Guarded, Hold, HoldId, HoldStep, Record, RecordKey, RecordWrite};
pub use leases::{Leases, TERM_US, Term};
pub use limit::{Limit, LimitNameError, Mode, OnStoreFailure, Precision};
pub use money::{Currency, CurrencyError, MicroUnits, MoneyError};
pub use part::Part;
pub use partition::Partition;
pub use policy::{
    Endpoint, EndpointPatterns, ExplainedLimit, Explanation, HeaderMatch, LimitField, LimitKind,
    LimitSpec, Location, Matched, NormalPath, Obstacle, PathPattern, PatternError, Per, Policy,
    PolicyBuilder, PolicyError, PolicyErrorKind, PolicyErrors, PolicyWarning, PolicyWarningKind,
    Rule, RuleCost, Terms, Tier, TierField, TierLimits, When, fold_ids,
};
pub use prices::{Prices, TokenPrices, TokenUsage, TokenUsageError};
pub use quota::{Quota, QuotaError};
pub use rate::{MAX_FILL_US, Rate, RateError};
pub use refill_rate::{MAX_PERIOD, MAX_TOKENS, Refill, RefillRate, RefillRateError};
pub use request::{
    Attributes, Client, MAX_CLIENT_BYTES, RepeatedField, Request, RequestError, one_value,
};
pub use slices::{SettledSlices, Slices};
pub use slots::{SettledSlots, Slots};
pub use time::{MAX_CLOCK_STEP_US, Moment, Span, Timestamp};
pub use token_bucket::{SettledTokens, TokenBucket};
pub use window::{HeldTokens, SettledWindow, Window};
