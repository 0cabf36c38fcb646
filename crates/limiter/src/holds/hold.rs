//! A hold in the hands of the process that made it.

use std::fmt;

use sluice_core::{Decision, Guarded, Usage};

use super::{error::HoldError, reservation::Reservation, settlement::Settlement};
use crate::{limiter::Limiter, slots::HeldSlots};

/// What came of an estimate.
#[derive(Debug)]
#[must_use = "a hold that is not settled stays charged"]
pub enum Reserved {
    /// The tokens are held.
    Held(Hold),
    /// A limit has too few tokens, and nothing is held.
    Denied(Decision),
}

/// What came of more tokens for a hold.
#[derive(Debug)]
pub enum Extended {
    /// They are held too.
    Held(Decision),
    /// A limit has too few tokens: as many are held as before.
    Denied(Decision),
}

/// Tokens that are held for a request. [`settle`](Self::settle) corrects them, once.
///
/// A hold that is dropped stays charged with its estimate, as if the process had crashed. Refill
/// pays it back. Slots that this process renews are given back.
#[must_use = "a hold that is not settled stays charged"]
pub struct Hold {
    limiter: Limiter,
    reservation: Reservation,
    decision: Decision,
    /// Those that this process renews.
    slots: HeldSlots,
}

impl Hold {
    pub(super) const fn new(
        limiter: Limiter,
        reservation: Reservation,
        decision: Decision,
        slots: HeldSlots,
    ) -> Self {
        Self { limiter, reservation, decision, slots }
    }

    /// Returns the decision that took the tokens.
    #[must_use]
    pub const fn decision(&self) -> &Decision {
        &self.decision
    }

    /// Returns whether the same reservation was made before, and took nothing now.
    #[must_use]
    pub fn is_repeated(&self) -> bool {
        self.decision.guarded() == Some(Guarded::Repeated)
    }

    /// Returns what is held.
    #[must_use]
    pub const fn reservation(&self) -> &Reservation {
        &self.reservation
    }

    /// Returns what is held, for another process to settle. Its slots are not renewed any more: who
    /// settles it extends it in time.
    #[must_use]
    pub fn into_reservation(self) -> Reservation {
        let Self { mut reservation, slots, .. } = self;
        reservation.note_renewed(&slots.detach());
        reservation
    }

    /// Returns a future that is ready once the request should be cut off, as
    /// [`HeldSlots::cut`] does.
    #[must_use]
    pub fn cut(&self) -> Option<impl Future<Output = ()> + Send + Sync + use<>> {
        self.slots.cut()
    }

    /// Takes `more` in addition, from all limits or from none, for a request that uses more than
    /// was estimated or takes longer: the hold lasts as long as at first, from now on.
    ///
    /// # Errors
    /// As [`Limiter::extend`].
    pub async fn extend(&mut self, more: &Usage) -> Result<Extended, HoldError> {
        let (extended, reservation) = self.limiter.extend(&self.reservation, more).await?;
        if let Some(reservation) = reservation {
            self.reservation = reservation;
        }
        Ok(extended)
    }

    /// Corrects what was held to what the request used. What was not used is given back, and what
    /// was used beyond it is charged, below zero if necessary. Nothing used gives all back.
    ///
    /// The store is tried three times. That is safe: a settlement that was made is not made again.
    ///
    /// # Errors
    /// When the store cannot be reached. The hold then stays charged with its estimate; its
    /// [`reservation`](Self::reservation), kept from before, can still be settled later.
    pub async fn settle(self, actual: &Usage) -> Result<Settlement, HoldError> {
        let Self { limiter, mut reservation, slots, .. } = self;
        reservation.note_renewed(&slots.take_out().await);
        limiter.settle(&reservation, actual).await
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold")
            .field("reservation", &self.reservation)
            .field("decision", &self.decision)
            .finish_non_exhaustive()
    }
}
