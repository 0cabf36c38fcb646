//! Holds: tokens that are taken for a cost which is only estimated, and corrected once it is known.
//!
//! A hold is a take, and settling it is the difference. So a bucket's state knows nothing of holds:
//! whoever crashes has paid the estimate, and refill pays it back. All that a store keeps of a hold
//! is a small [`Record`], which makes each step of it happen once, however often it is sent.
//!
//! Nothing refills a quota before its window ends. One that [releases](crate::Quota::releasing)
//! what is not settled counts what is held apart, in two sums, and settling it charges all that was
//! used.
//!
//! A record is kept for the hold's lifetime, twice the time for which tokens may be held, counted
//! from the reservation. A reservation without a record can be settled too, since a store may have
//! lost it. But after its lifetime nothing is given back any more. Until then every settlement
//! leaves a record, so a reservation that is used again never makes tokens.

use std::{fmt, hash::Hasher, time::Duration};

use siphasher::sip128::{Hasher128, SipHasher24};

use crate::{
    bucket_id::{BucketId, Tag, base64},
    cost::Cost,
    time::Timestamp,
};

/// The number of a hold's parts of which a record knows whether they were taken.
const MOST_MISSED: usize = 32;

/// The bit of an id's first byte that tells those with a name.
const NAMED: u8 = 0x80;

/// The identity of a hold: 16 bytes that its caller makes up, different for each one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HoldId([u8; 16]);

/// A hash (SipHash-2-4, 48 bits) of costs and the buckets that they are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CostsDigest(u64);

/// A step of a hold, as a check carries it.
///
/// # Examples
/// ```
/// use std::{sync::Arc, time::Duration};
///
/// use sluice_core::{
///     Algorithm, Bucket, Check, Cost, CostsDigest, Guarded, Hold, HoldId, HoldStep, Limit, Part,
///     Rate, Source, Subject, Tagger, Timestamp,
/// };
///
/// let rate = Rate::new("100000/minute".parse()?, 10_000)?;
/// let limit = Arc::new(Limit::new("tokens", Algorithm::TokenBucket(rate))?);
/// let alice = Tagger::new(b"").tag(Subject::Client(b"alice"));
/// let bucket = Part::new(Arc::clone(&limit), alice, Cost::NONE).bucket();
/// let [estimate, actual] = [Cost::new(4_000)?, Cost::new(1_200)?];
/// let (id, hold_for) = (HoldId::from_bytes([7; 16]), Duration::from_secs(120));
///
/// let costs = CostsDigest::of([(bucket, estimate)]);
/// let reserve = Check::of_hold(Hold::new(id, hold_for, HoldStep::Reserve { costs }))
///     .with(&limit, alice, estimate);
/// let now = Timestamp::from_unix_micros(1_800_000_000_000_000);
/// let mut buckets = [Bucket::full(limit.algorithm(), now)];
/// let (held, write) = reserve.decide_hold(&mut buckets, None, now, Source::Store);
/// assert_eq!(held.verdicts()[0].remaining, 6_000);
///
/// // A store keeps the record until then.
/// let record = write.expect("it is a new hold").record;
/// let step = HoldStep::Settle {
///     actual: CostsDigest::of([(bucket, actual)]),
///     reserved_at: held.at(),
/// };
/// let mut settle = Check::of_hold(Hold::new(id, hold_for, step));
/// settle.push(Part::settling(limit, alice, estimate, actual));
/// let (settled, _) = settle.decide_hold(&mut buckets, record, now, Source::Store);
/// assert_eq!(settled.guarded(), Some(Guarded::First));
/// assert_eq!(settled.verdicts()[0].remaining, 8_800);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    id: HoldId,
    lifetime: Duration,
    step: HoldStep,
}

/// What a check does with a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldStep {
    /// Takes the costs of the check.
    Reserve {
        /// The costs.
        costs: CostsDigest,
    },
    /// Takes the costs of the check in addition to those that are held.
    Extend {
        /// The costs that are held.
        from: CostsDigest,
        /// The costs that are held then.
        to: CostsDigest,
        /// When the reservation was decided ([`Decision::at`](crate::Decision::at)).
        reserved_at: Timestamp,
    },
    /// Corrects what is held by the costs of the check, which are differences.
    Settle {
        /// What it came to.
        actual: CostsDigest,
        /// When the reservation was decided ([`Decision::at`](crate::Decision::at)).
        reserved_at: Timestamp,
    },
    /// Takes another step back, so that it may be made anew. Does nothing if that step is not the
    /// last one.
    Undo {
        /// The costs that are held.
        costs: CostsDigest,
        /// The costs that were held before; `None` if there was no hold.
        before: Option<CostsDigest>,
        /// When the reservation was decided ([`Decision::at`](crate::Decision::at)).
        reserved_at: Timestamp,
    },
}

/// What a store keeps of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// Tokens are held.
    Held {
        /// For these costs.
        costs: CostsDigest,
        /// Which parts of the last step were not taken, since a limit in shadow mode lacked the
        /// tokens: one bit for each of the first 32 parts, the first one lowest.
        missed: u32,
        /// When the record may be forgotten, by the store's clock.
        until: Timestamp,
    },
    /// The hold is settled.
    Settled {
        /// What it came to.
        actual: CostsDigest,
        /// When the record may be forgotten, by the store's clock.
        until: Timestamp,
    },
}

/// Which record a check is about: each tag that comes first in a check has records of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey {
    /// The tag of the first part.
    pub tag: Tag,
    /// The hold.
    pub id: HoldId,
}

/// What a store does to the record of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordWrite {
    /// The record to keep; `None` if there is none any more.
    pub record: Option<Record>,
    /// When the record may be forgotten, by the store's clock.
    pub until: Timestamp,
}

/// What a store knew of a step of a hold before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Guarded {
    /// The step is made for the first time.
    First,
    /// The same step was made before, and changes nothing now.
    Repeated,
    /// Another step was made in its place, and this one changes nothing: the hold has other costs,
    /// or is settled.
    Conflict,
    /// The store did not know the hold, and made the step all the same.
    Late,
}

// === impl HoldId ===

impl HoldId {
    /// Creates an id.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Returns the id of the hold that a client, or its caller, has given this name. Others have
    /// other ids for the same name.
    #[must_use]
    pub fn named(client: Option<Tag>, name: &[u8]) -> Self {
        let mut hasher = SipHasher24::new();
        hasher.write(&client.map_or([0; Tag::BYTES], Tag::to_bytes));
        hasher.write(name);
        let mut id = hasher.finish128().as_bytes();
        id[0] |= NAMED;
        Self(id)
    }

    /// Makes an id of random bytes, so that only those know it who are told of the hold.
    #[must_use]
    pub const fn unnamed(mut random: [u8; 16]) -> Self {
        random[0] &= !NAMED;
        Self(random)
    }

    /// Returns whether the id has a [name](Self::named), so that somebody who was told nothing of
    /// the hold may know it.
    #[must_use]
    pub const fn is_named(self) -> bool {
        self.0[0] & NAMED != 0
    }

    /// Returns the 22 characters of URL-safe base64 with which stores write the id.
    #[must_use]
    pub fn to_text(self) -> [u8; 22] {
        let mut padded = [0; 18];
        padded[..16].copy_from_slice(&self.0);
        let [text @ .., _, _] = base64::<24>(&padded);
        text
    }

    /// Returns the id's bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for HoldId {
    /// Writes 32 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

// === impl CostsDigest ===

impl CostsDigest {
    /// Returns the digest of costs in buckets, in their order.
    #[must_use]
    pub fn of(costs: impl IntoIterator<Item = (BucketId, Cost)>) -> Self {
        let mut hasher = SipHasher24::new();
        for (bucket, cost) in costs {
            hasher.write(&bucket.tag.to_bytes());
            // A length first, so that two lists never have the same bytes.
            let limit = bucket.limit.as_bytes();
            hasher.write(&limit.len().to_le_bytes());
            hasher.write(limit);
            hasher.write_u64(cost.tokens());
        }
        Self::from_number(hasher.finish128().h1 >> 16)
    }

    /// Returns the digest of this [number](Self::number), of which 48 bits count.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        let number = number & 0xffff_ffff_ffff;
        // Stores say with 0 that there is none.
        Self(if number == 0 { 1 } else { number })
    }

    /// Returns the digest as a number from 1 to 2^48 - 1.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

// === impl Hold ===

impl Hold {
    /// The longest time for which tokens can be held: a day.
    pub const MAX_HOLD_FOR: Duration = Duration::from_secs(24 * 60 * 60);

    /// The shortest time for which tokens can be held: a millisecond.
    pub const MIN_HOLD_FOR: Duration = Duration::from_millis(1);

    /// Creates a step of the hold `id`, which is settled within `hold_for`. A time out of bounds
    /// counts as [`MIN_HOLD_FOR`](Self::MIN_HOLD_FOR) or [`MAX_HOLD_FOR`](Self::MAX_HOLD_FOR). All
    /// steps of a hold need the same time.
    #[must_use]
    pub fn new(id: HoldId, hold_for: Duration, step: HoldStep) -> Self {
        Self { id, lifetime: hold_for.clamp(Self::MIN_HOLD_FOR, Self::MAX_HOLD_FOR) * 2, step }
    }

    /// Returns which hold it is.
    #[must_use]
    pub const fn id(&self) -> HoldId {
        self.id
    }

    /// Returns what is done with it.
    #[must_use]
    pub const fn step(&self) -> HoldStep {
        self.step
    }

    /// Returns for how long a store keeps the record: twice the time that tokens are held.
    #[must_use]
    pub const fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// Returns when the record may be forgotten, from which instant on nothing is given back, if
    /// the step is decided at `now`. An extension begins the lifetime anew, unless it is over.
    #[must_use]
    pub fn ends_at(&self, now: Timestamp) -> Timestamp {
        let ends_at = self.reserved_at().unwrap_or(now).after(self.lifetime);
        let begins_anew = matches!(self.step, HoldStep::Extend { .. }) && now < ends_at;
        if begins_anew { now.after(self.lifetime) } else { ends_at }
    }

    /// Returns when the reservation was decided; `None` of a reservation itself.
    pub(crate) const fn reserved_at(&self) -> Option<Timestamp> {
        match self.step {
            HoldStep::Reserve { .. } => None,
            HoldStep::Extend { reserved_at, .. }
            | HoldStep::Settle { reserved_at, .. }
            | HoldStep::Undo { reserved_at, .. } => Some(reserved_at),
        }
    }

    /// Returns since when a step finds held what is held, as far as it or the `record` knows: an
    /// extension may have been made that its caller has not heard of.
    pub(crate) fn since(&self, record: Option<Record>) -> Option<Timestamp> {
        let reserved_at = self.reserved_at()?;
        Some(match record {
            Some(Record::Held { until, .. }) => reserved_at.max(until.before(self.lifetime)),
            _ => reserved_at,
        })
    }

    /// Returns the step that takes back a reservation or an extension, which was decided at
    /// `decided`. Settling cannot be taken back.
    #[must_use]
    pub fn undone(&self, decided: Timestamp) -> Option<Self> {
        let step = match self.step {
            HoldStep::Reserve { costs } => {
                HoldStep::Undo { costs, before: None, reserved_at: decided }
            }
            HoldStep::Extend { from, to, reserved_at } => {
                HoldStep::Undo { costs: to, before: Some(from), reserved_at }
            }
            HoldStep::Settle { .. } | HoldStep::Undo { .. } => return None,
        };
        Some(Self { step, ..self.clone() })
    }

    /// Returns what the step finds.
    pub(crate) fn guard(&self, before: Option<Record>) -> Guarded {
        let held =
            |costs| matches!(before, Some(Record::Held { costs: held, .. }) if held == costs);
        match self.step {
            HoldStep::Reserve { .. } if before.is_none() => Guarded::First,
            HoldStep::Extend { .. } | HoldStep::Settle { .. } if before.is_none() => Guarded::Late,
            HoldStep::Reserve { costs } if held(costs) => Guarded::Repeated,
            // One that takes nothing more only begins the lifetime anew.
            HoldStep::Extend { from, .. } if held(from) => Guarded::First,
            HoldStep::Extend { to, .. } if held(to) => Guarded::Repeated,
            HoldStep::Reserve { .. } | HoldStep::Extend { .. } => Guarded::Conflict,
            HoldStep::Settle { actual, .. } => match before {
                Some(Record::Settled { actual: settled, .. }) if settled == actual => {
                    Guarded::Repeated
                }
                Some(Record::Settled { .. }) => Guarded::Conflict,
                _ => Guarded::First,
            },
            HoldStep::Undo { costs, .. } if held(costs) => Guarded::First,
            HoldStep::Undo { .. } => Guarded::Repeated,
        }
    }

    /// Returns what the store keeps after the step, of which the parts at these indices were not
    /// taken, and until when: no shorter than the record `before`. `None` if it need not write
    /// anything, since the time is over.
    pub(crate) fn record(
        &self,
        missed: impl IntoIterator<Item = usize>,
        before: Option<Record>,
        now: Timestamp,
    ) -> Option<RecordWrite> {
        let ends_at = self.ends_at(now);
        let until = before.map_or(ends_at, |before| ends_at.max(before.until()));
        let record = match self.step {
            HoldStep::Reserve { costs } | HoldStep::Extend { to: costs, .. } => {
                let missed = missed.into_iter().filter(|&part| part < MOST_MISSED);
                let missed = missed.fold(0, |missed, part| missed | 1 << part);
                Some(Record::Held { costs, missed, until })
            }
            HoldStep::Settle { actual, .. } => Some(Record::Settled { actual, until }),
            // What the earlier step had missed is not known any more.
            HoldStep::Undo { before, .. } => {
                before.map(|costs| Record::Held { costs, missed: u32::MAX, until })
            }
        };
        (until > now).then_some(RecordWrite { record, until })
    }
}

// === impl Record ===

impl Record {
    /// Returns when the record may be forgotten, by the store's clock.
    #[must_use]
    pub const fn until(&self) -> Timestamp {
        match self {
            Self::Held { until, .. } | Self::Settled { until, .. } => *until,
        }
    }

    /// Returns whether the part at this index may not have been taken, if its limit is in shadow
    /// mode.
    pub(crate) const fn missed(&self, part: usize) -> bool {
        match self {
            Self::Held { missed, .. } => part >= MOST_MISSED || *missed & 1 << part != 0,
            Self::Settled { .. } => false,
        }
    }
}
