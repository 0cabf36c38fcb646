//! A limit of so many requests at the same time.

use std::time::Duration;

use crate::time::Timestamp;

/// A number of slots, each of which one request holds from its start to its end.
///
/// The store's time is cut into terms. Who holds a slot must renew it once in every term. So a slot
/// of a replica that crashed is free again after one to two terms.
///
/// ```
/// use std::time::Duration;
///
/// use sluice_core::Concurrent;
///
/// let concurrent = Concurrent::new(20)?.with_term(Duration::from_secs(30))?;
/// assert_eq!(concurrent.slots(), 20);
/// # Ok::<_, sluice_core::ConcurrentError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Concurrent {
    slots: u32,
    term_us: u64,
    on_lost: OnLost,
}

/// What happens to a request whose slot could not be renewed in time, so that another request may
/// have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnLost {
    /// It goes on, and counts anew as soon as the store answers: more requests than slots may be in
    /// flight.
    #[default]
    Finish,
    /// It is cut off.
    Cut,
}

/// The reason why no [`Concurrent`] is possible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConcurrentError {
    /// There are no slots, or more than [`Concurrent::MAX_SLOTS`].
    #[error("{slots} slots are not possible: use 1 to {}", Concurrent::MAX_SLOTS)]
    Slots {
        /// The slots that were given.
        slots: u64,
    },
    /// The term is too short, too long, or not a whole number of microseconds.
    #[error("a term of {term:?} is not possible: use whole microseconds, from 1 second to 1 day")]
    Term {
        /// The term that was given.
        term: Duration,
    },
}

impl Concurrent {
    /// The most slots.
    pub const MAX_SLOTS: u32 = 1_000_000;
    /// The term if none is given: 10 seconds.
    pub const DEFAULT_TERM: Duration = Duration::from_secs(10);
    /// The shortest term: one second.
    pub const MIN_TERM: Duration = Duration::from_secs(1);
    /// The longest term: one day.
    pub const MAX_TERM: Duration = Duration::from_secs(24 * 60 * 60);

    /// Creates a limit of `slots` slots, with [`Concurrent::DEFAULT_TERM`].
    ///
    /// # Errors
    /// When `slots` is zero or above [`Concurrent::MAX_SLOTS`].
    pub fn new(slots: u64) -> Result<Self, ConcurrentError> {
        match u32::try_from(slots) {
            Ok(slots @ 1..=Self::MAX_SLOTS) => {
                Ok(Self { slots, term_us: 10_000_000, on_lost: OnLost::Finish })
            }
            _ => Err(ConcurrentError::Slots { slots }),
        }
    }

    /// Returns the limit with another term.
    ///
    /// # Errors
    /// When `term` is not a whole number of microseconds from [`Concurrent::MIN_TERM`] to
    /// [`Concurrent::MAX_TERM`].
    pub fn with_term(self, term: Duration) -> Result<Self, ConcurrentError> {
        let whole = term.subsec_nanos().is_multiple_of(1_000);
        if term < Self::MIN_TERM || term > Self::MAX_TERM || !whole {
            return Err(ConcurrentError::Term { term });
        }
        let term_us =
            u64::try_from(term.as_micros()).map_err(|_| ConcurrentError::Term { term })?;
        Ok(Self { term_us, ..self })
    }

    /// Returns the limit with another fate of the requests whose slots are lost.
    #[must_use]
    pub const fn with_on_lost(self, on_lost: OnLost) -> Self {
        Self { on_lost, ..self }
    }

    /// Returns what happens to a request whose slot is lost.
    #[must_use]
    pub const fn on_lost(&self) -> OnLost {
        self.on_lost
    }

    /// Returns how many requests may hold a slot at the same time.
    #[must_use]
    pub const fn slots(&self) -> u32 {
        self.slots
    }

    /// Returns the time in which a slot must be renewed once.
    #[must_use]
    pub const fn term(&self) -> Duration {
        Duration::from_micros(self.term_us)
    }

    /// Returns the term in microseconds.
    #[must_use]
    pub const fn term_us(&self) -> u64 {
        self.term_us
    }

    /// Returns the number of the term that contains `at`, counted from the Unix epoch: 0 before it,
    /// and the last one after the year 2106.
    #[must_use]
    pub fn term_at(&self, at: Timestamp) -> u32 {
        let number = u64::try_from(at.unix_micros()).unwrap_or(0) / self.term_us;
        u32::try_from(number).unwrap_or(u32::MAX)
    }

    /// Returns when the term of this number begins.
    #[must_use]
    pub fn beginning_of(&self, term: u32) -> Timestamp {
        let micros = u64::from(term).saturating_mul(self.term_us);
        Timestamp::from_unix_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }

    /// Multiplies the slots by `factor`.
    ///
    /// # Errors
    /// When the product is not possible.
    pub fn times(&self, factor: u64) -> Result<Self, ConcurrentError> {
        let Self { slots, .. } = Self::new(u64::from(self.slots).saturating_mul(factor))?;
        Ok(Self { slots, ..*self })
    }

    /// Returns one of `shares` equal parts of this limit: what one of that many replicas may admit
    /// alone. It is at least one slot; 0 `shares` count as 1.
    #[must_use]
    pub fn shared_among(&self, shares: u64) -> Self {
        let slots = u64::from(self.slots) / shares.max(1);
        Self { slots: u32::try_from(slots).unwrap_or(self.slots).max(1), ..*self }
    }
}

impl std::fmt::Display for Concurrent {
    /// Writes the number of slots.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at the same time", self.slots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_and_terms_have_bounds() {
        let concurrent = Concurrent::new(20).unwrap();
        assert_eq!(concurrent.term(), Concurrent::DEFAULT_TERM);
        assert_eq!(concurrent.to_string(), "20 at the same time");
        assert_eq!(concurrent.on_lost(), OnLost::Finish);
        let cutting = concurrent.with_on_lost(OnLost::Cut);
        assert_eq!(cutting.times(2).unwrap().shared_among(2), cutting, "a share cuts as well");
        for slots in [0, 1_000_001, u64::MAX] {
            assert_eq!(Concurrent::new(slots), Err(ConcurrentError::Slots { slots }));
        }
        for term in [Concurrent::MIN_TERM, Concurrent::MAX_TERM] {
            assert_eq!(concurrent.with_term(term).unwrap().term(), term);
        }
        let instant = Duration::from_nanos(1);
        for term in [
            Duration::ZERO,
            Concurrent::MIN_TERM - instant,
            Concurrent::MIN_TERM + instant,
            Concurrent::MAX_TERM + instant,
        ] {
            assert_eq!(concurrent.with_term(term), Err(ConcurrentError::Term { term }));
        }
    }

    #[test]
    fn a_share_is_at_least_one_slot() {
        let whole = Concurrent::new(10).unwrap();
        assert_eq!(whole.shared_among(3), Concurrent::new(3).unwrap());
        assert_eq!(whole.shared_among(40).slots(), 1);
        assert_eq!(whole.shared_among(0), whole);
    }
}
