//! What became of a hold.

use std::sync::Arc;

use sluice_core::{Decision, Guarded, Limit, Usage};

use super::{error::HoldError, reservation::Reservation};

/// What became of a hold that was settled.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settlement {
    /// What the store knew of the hold.
    pub state: SettlementState,
    /// What each limit that counts usage was charged, in the order of the reservation.
    pub limits: Vec<SettledPart>,
    /// The state of all limits of the reservation afterwards.
    pub decision: Decision,
}

/// What the store knew of a hold that was settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SettlementState {
    /// It was held.
    Settled,
    /// It was settled before, with the same usage: nothing was changed now.
    Repeated,
    /// The store does not know the hold: it has lost it, it is too old, or it was made without the
    /// store. The difference was made up for all the same, except that nothing is given back to a
    /// hold that is too old, or that another limiter has made without the store.
    Late,
}

/// What one limit was charged in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SettledPart {
    /// The limit.
    pub limit: Arc<Limit>,
    /// The tokens that were held.
    pub held: u64,
    /// The tokens that were charged in all.
    pub charged: u64,
}

// === impl Settlement ===

impl Settlement {
    pub(super) fn new(
        reservation: &Reservation,
        usage: &Usage,
        limiter: u64,
        decision: Decision,
    ) -> Result<Self, HoldError> {
        let state = match decision.guarded() {
            Some(Guarded::Conflict) => return Err(HoldError::Conflict),
            Some(Guarded::Repeated) => SettlementState::Repeated,
            Some(Guarded::Late) => SettlementState::Late,
            Some(Guarded::First) | None => SettlementState::Settled,
        };
        let parts = reservation.parts.iter().zip(decision.verdicts());
        let metered = parts.filter(|(part, _)| part.limit.metering().is_some());
        let limits = metered.map(|(part, verdict)| {
            let charged = reservation.charged(part, usage, limiter);
            let charged = if verdict.admitted { charged } else { part.held };
            SettledPart {
                limit: Arc::clone(&part.limit),
                held: part.held.tokens(),
                charged: charged.tokens(),
            }
        });
        Ok(Self { state, limits: limits.collect(), decision })
    }
}

// === impl SettledPart ===

impl SettledPart {
    /// Returns the tokens that were held and not used.
    #[must_use]
    pub const fn given_back(&self) -> u64 {
        self.held.saturating_sub(self.charged)
    }

    /// Returns the tokens that were used beyond what was held.
    #[must_use]
    pub const fn overrun(&self) -> u64 {
        self.charged.saturating_sub(self.held)
    }
}

// === impl SettlementState ===

impl SettlementState {
    /// Returns the state as a word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Repeated => "repeated",
            Self::Late => "late",
        }
    }
}
