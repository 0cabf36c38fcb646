//! A reservation as a text that its caller keeps.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use sluice::{
    Algorithm, Cost, Counts, Limit, Metering, Mode, Rate, RefillRate, TokenWeights,
    holds::{Reservation, ReservedPart},
};
use sluice_core::{HoldId, Tag, Timestamp};

/// A reservation, and the model whose tokens it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) reservation: Reservation,
    pub(super) model: Option<Box<str>>,
}

/// The only version of the content.
const VERSION: u8 = 1;

/// What is written. Names are short, since callers keep it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    #[serde(rename = "v")]
    version: u8,
    #[serde(rename = "f")]
    fleet: String,
    id: String,
    /// In ms.
    #[serde(rename = "h")]
    hold_for: u64,
    /// In us, by the store's clock.
    #[serde(rename = "t")]
    reserved_at: i64,
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    model: Option<Box<str>>,
    #[serde(rename = "p")]
    parts: Vec<PartContent>,
    /// Absent for what the store has decided.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    limiter: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PartContent {
    #[serde(rename = "n")]
    limit: String,
    /// Tokens, us in which they come back, and the burst.
    #[serde(rename = "r")]
    rate: (u64, u64, u64),
    /// Head and rest.
    #[serde(rename = "t")]
    tag: (u64, u8),
    #[serde(rename = "h")]
    held: u64,
    #[serde(rename = "c", default, skip_serializing_if = "std::ops::Not::not")]
    clamped: bool,
    #[serde(rename = "s", default, skip_serializing_if = "std::ops::Not::not")]
    is_shadow: bool,
    /// Weights of tokens, or none for money; absent for a limit that counts requests.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    weights: Option<Vec<u32>>,
}

impl Sealed {
    /// Writes the reservation of a fleet.
    pub(super) fn to_bytes(&self, fleet: &str) -> Vec<u8> {
        let Reservation { id, hold_for, reserved_at, parts, limiter, .. } = &self.reservation;
        let content = Content {
            version: VERSION,
            fleet: fleet.to_owned(),
            id: id.to_string(),
            hold_for: u64::try_from(hold_for.as_millis()).unwrap_or(u64::MAX),
            reserved_at: reserved_at.unix_micros(),
            model: self.model.clone(),
            parts: parts.iter().map(PartContent::of).collect(),
            limiter: *limiter,
        };
        serde_json::to_vec(&content).expect("numbers and strings are always valid JSON")
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; `None` if it is of another fleet or version.
    pub(super) fn from_bytes(bytes: &[u8], fleet: &str) -> Option<Self> {
        let content: Content = serde_json::from_slice(bytes).ok()?;
        if content.version != VERSION || content.fleet != fleet {
            return None;
        }
        let id = u128::from_str_radix(&content.id, 16).ok()?;
        let parts: Option<Vec<_>> = content.parts.iter().map(PartContent::reserved).collect();
        let reservation = Reservation::new(
            HoldId::from_bytes(id.to_be_bytes()),
            Duration::from_millis(content.hold_for),
            Timestamp::from_unix_micros(content.reserved_at),
            parts?,
        );
        let reservation = reservation.of_limiter(content.limiter);
        Some(Self { reservation, model: content.model })
    }
}

impl PartContent {
    fn of(part: &ReservedPart) -> Self {
        let (limit, rate) = (&part.limit, part.limit.rate());
        let period = u64::try_from(rate.refill_rate().period().as_micros()).unwrap_or(u64::MAX);
        Self {
            limit: limit.name().to_owned(),
            rate: (rate.refill_rate().tokens(), period, rate.burst()),
            tag: (part.tag.head(), part.tag.part()),
            held: part.held.tokens(),
            clamped: part.clamped,
            is_shadow: !limit.denies(),
            weights: limit.metering().map(|metering| match metering.counts {
                Counts::Money => Vec::new(),
                Counts::Tokens(TokenWeights { input, cached_input, cache_write, output }) => {
                    vec![input, cached_input, cache_write, output]
                }
            }),
        }
    }

    fn reserved(&self) -> Option<ReservedPart> {
        let (tokens, period, burst) = self.rate;
        let rate = RefillRate::new(tokens, Duration::from_micros(period)).ok()?;
        let rate = Rate::new(rate, burst).ok()?;
        let counts = match self.weights.as_deref() {
            None => None,
            Some([]) => Some(Counts::Money),
            Some(&[input, cached_input, cache_write, output]) => {
                Some(Counts::Tokens(TokenWeights { input, cached_input, cache_write, output }))
            }
            Some(_) => return None,
        };
        let limit = Limit::new(&self.limit, Algorithm::TokenBucket(rate)).ok()?;
        let limit = limit
            .with_mode(if self.is_shadow { Mode::Shadow } else { Mode::Enforce })
            .with_metering(counts.map(Metering::new));
        let (head, rest) = self.tag;
        Some(ReservedPart {
            limit: Arc::new(limit),
            tag: Tag::of_head(head, rest),
            held: Cost::new(self.held).ok()?,
            clamped: self.clamped,
        })
    }
}
