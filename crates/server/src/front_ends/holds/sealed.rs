//! A reservation as a text that its caller keeps.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use sluice::{
    Algorithm, AtMost, Concurrent, Cost, Counts, Limit, Metering, Mode, Quota, Rate, RefillRate,
    TokenWeights,
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
    #[serde(rename = "r")]
    numbers: Numbers,
    /// Head and rest.
    #[serde(rename = "t")]
    tag: (u64, u8),
    #[serde(rename = "h")]
    held: u64,
    /// In us before the reservation's own time; absent if it is the same.
    #[serde(rename = "b", default, skip_serializing_if = "is_zero")]
    taken_before: i64,
    /// What of it the store counts apart.
    #[serde(rename = "a", default, skip_serializing_if = "is_none")]
    apart: u64,
    #[serde(rename = "c", default, skip_serializing_if = "std::ops::Not::not")]
    clamped: bool,
    #[serde(rename = "s", default, skip_serializing_if = "std::ops::Not::not")]
    is_shadow: bool,
    /// Weights of tokens, or none for money; absent for a limit that counts requests.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    weights: Option<Vec<u32>>,
}

/// The numbers of a limit.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Numbers {
    /// Tokens, us in which they come back, and the burst.
    Tokens(u64, u64, u64),
    /// The quota and its window, the time zone, the day on which months begin, and the ms after
    /// which it releases what is not settled; absent if it does not.
    Quota {
        q: String,
        z: String,
        a: u8,
        #[serde(default, skip_serializing_if = "is_none")]
        ms: u64,
    },
    /// Tokens, and us.
    AtMost { n: u64, us: u64 },
    /// Slots, and the us of a term.
    Concurrent { c: u32, us: u64 },
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde passes a reference.
const fn is_zero(number: &i64) -> bool {
    *number == 0
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde passes a reference.
const fn is_none(number: &u64) -> bool {
    *number == 0
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
            parts: parts.iter().map(|part| PartContent::of(part, *reserved_at)).collect(),
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
        let reserved_at = Timestamp::from_unix_micros(content.reserved_at);
        let parts: Option<Vec<_>> =
            content.parts.iter().map(|part| part.reserved(reserved_at)).collect();
        let reservation = Reservation::new(
            HoldId::from_bytes(id.to_be_bytes()),
            Duration::from_millis(content.hold_for),
            reserved_at,
            parts?,
        );
        let reservation = reservation.of_limiter(content.limiter);
        Some(Self { reservation, model: content.model })
    }
}

impl PartContent {
    fn of(part: &ReservedPart, reserved_at: Timestamp) -> Self {
        let limit = &part.limit;
        Self {
            limit: limit.name().to_owned(),
            numbers: Numbers::of(limit.algorithm()),
            tag: (part.tag.head(), part.tag.part()),
            held: part.held.tokens(),
            taken_before: reserved_at.unix_micros() - part.taken_at.unix_micros(),
            apart: part.apart.tokens(),
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

    fn reserved(&self, reserved_at: Timestamp) -> Option<ReservedPart> {
        let counts = match self.weights.as_deref() {
            None => None,
            Some([]) => Some(Counts::Money),
            Some(&[input, cached_input, cache_write, output]) => {
                Some(Counts::Tokens(TokenWeights { input, cached_input, cache_write, output }))
            }
            Some(_) => return None,
        };
        let limit = Limit::new(&self.limit, self.numbers.algorithm()?).ok()?;
        let limit = limit
            .with_mode(if self.is_shadow { Mode::Shadow } else { Mode::Enforce })
            .with_metering(counts.map(Metering::new));
        let (head, rest) = self.tag;
        Some(ReservedPart {
            limit: Arc::new(limit),
            tag: Tag::of_head(head, rest),
            held: Cost::new(self.held).ok()?,
            taken_at: Timestamp::from_unix_micros(
                reserved_at.unix_micros().checked_sub(self.taken_before)?,
            ),
            apart: Cost::new(self.apart).ok()?,
            clamped: self.clamped,
        })
    }
}

impl Numbers {
    fn of(algorithm: &Algorithm) -> Self {
        let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        match algorithm {
            Algorithm::TokenBucket(rate) => {
                let refill = rate.refill_rate();
                Self::Tokens(refill.tokens(), micros(refill.period()), rate.burst())
            }
            Algorithm::Quota(quota) => {
                let calendar = quota.calendar();
                Self::Quota {
                    q: format!("{}/{}", quota.tokens(), calendar.unit()),
                    z: calendar.zone_name().to_owned(),
                    a: calendar.anchor(),
                    ms: quota.releases_after().map_or(0, |after| micros(after) / 1_000),
                }
            }
            Algorithm::AtMost(at_most) => {
                Self::AtMost { n: at_most.tokens(), us: micros(at_most.period()) }
            }
            Algorithm::Concurrent(concurrent) => {
                Self::Concurrent { c: concurrent.slots(), us: micros(concurrent.term()) }
            }
        }
    }

    fn algorithm(&self) -> Option<Algorithm> {
        match self {
            Self::Tokens(tokens, period, burst) => {
                let rate = RefillRate::new(*tokens, Duration::from_micros(*period)).ok()?;
                Some(Algorithm::TokenBucket(Rate::new(rate, *burst).ok()?))
            }
            Self::Quota { q, z, a, ms } => {
                let quota: Quota = q.parse().ok()?;
                let mut calendar = quota.calendar().clone();
                if *z != *calendar.zone_name() {
                    calendar = calendar.in_zone(z).ok()?;
                }
                if *a != calendar.anchor() {
                    calendar = calendar.anchored_at(*a).ok()?;
                }
                let quota = quota.with_calendar(calendar);
                Some(Algorithm::Quota(match ms {
                    0 => quota,
                    ms => quota.releasing(Duration::from_millis(*ms)).ok()?,
                }))
            }
            Self::AtMost { n, us } => {
                Some(Algorithm::AtMost(AtMost::new(*n, Duration::from_micros(*us)).ok()?))
            }
            Self::Concurrent { c, us } => {
                let concurrent = Concurrent::new((*c).into()).ok()?;
                let concurrent = concurrent.with_term(Duration::from_micros(*us)).ok()?;
                Some(Algorithm::Concurrent(concurrent))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLEET: &str = "sluice";

    fn sealed(quota: Quota, apart: u64) -> Sealed {
        let limit = Limit::new("monthly", Algorithm::Quota(quota)).unwrap();
        let limit = limit.with_metering(Some(Metering::new(Counts::TOTAL_TOKENS)));
        let part = ReservedPart {
            limit: Arc::new(limit),
            tag: Tag::of_head(7, 3),
            held: Cost::new(600).unwrap(),
            taken_at: Timestamp::from_unix_micros(1_800_000_000_000_000),
            apart: Cost::new(apart).unwrap(),
            clamped: false,
        };
        let reservation = Reservation::new(
            HoldId::from_bytes([1; 16]),
            Duration::from_secs(60),
            part.taken_at,
            vec![part],
        );
        Sealed { reservation, model: None }
    }

    /// Writes the reservation, reads it, and returns it with the members of its only part.
    fn round_trip(sealed: &Sealed) -> (Sealed, serde_json::Value) {
        let bytes = sealed.to_bytes(FLEET);
        let content: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        (Sealed::from_bytes(&bytes, FLEET).unwrap(), content["p"][0].clone())
    }

    #[test]
    fn what_a_quota_counts_apart_is_in_the_text() {
        let quota: Quota = "1000/month".parse().unwrap();
        let releasing = quota.clone().releasing(Duration::from_millis(1_500)).unwrap();
        // Of an estimate that was extended while the store was away, a part is used.
        for apart in [600, 400, 0] {
            let sealed = sealed(releasing.clone(), apart);
            let (read, part) = round_trip(&sealed);
            assert_eq!(read, sealed, "{part}");
            assert_eq!(part["r"]["ms"], 1_500);
            assert_eq!(part.get("a").and_then(serde_json::Value::as_u64).unwrap_or(0), apart);
        }
        let sealed = sealed(quota, 0);
        let (read, part) = round_trip(&sealed);
        assert_eq!(read, sealed);
        assert_eq!((part.get("a"), part["r"].get("ms")), (None, None), "earlier replicas read it");
    }

    #[test]
    fn a_text_of_an_earlier_replica_is_read_as_before() {
        let text = r#"{
            "v": 1, "f": "sluice", "id": "01010101010101010101010101010101", "h": 60000,
            "t": 1800000000000000,
            "p": [{
                "n": "monthly", "r": { "q": "1000/month", "z": "UTC", "a": 1 }, "t": [7, 3],
                "h": 600, "w": [1000, 1000, 1000, 1000]
            }]
        }"#;
        let sealed = sealed("1000/month".parse().unwrap(), 0);
        assert_eq!(Sealed::from_bytes(text.as_bytes(), FLEET), Some(sealed));
        let releasing = text.replace("\"a\": 1 }", "\"a\": 1, \"ms\": 0 }");
        assert!(Sealed::from_bytes(releasing.as_bytes(), FLEET).is_some());
        let too_short = text.replace("\"a\": 1 }", "\"a\": 1, \"ms\": 10 }");
        assert_eq!(Sealed::from_bytes(too_short.as_bytes(), FLEET), None);
    }
}
