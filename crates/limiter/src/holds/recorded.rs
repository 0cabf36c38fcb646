//! Records the steps of holds.

use sluice_core::{Decision, Guarded};
use sluice_store::StoreError;

use super::{
    error::HoldError,
    reservation::{Reservation, ReservedPart},
    settlement::{Settlement, SettlementState},
};
use crate::telemetry::{HoldOutcome, HoldRecorder, HoldStepLabel, SettlementOutcome};

/// Records a step that takes `taken` of each limit, in the order of the check.
pub(super) fn step<'p>(
    recorder: &HoldRecorder,
    step: HoldStepLabel,
    decided: &Result<Decision, StoreError>,
    taken: impl Iterator<Item = (&'p ReservedPart, u64)>,
) {
    let outcome = match decided {
        Err(_) => HoldOutcome::Failed,
        Ok(decision) => match decision.guarded() {
            Some(Guarded::Conflict) => HoldOutcome::Conflict,
            Some(Guarded::Repeated) => HoldOutcome::Repeated,
            _ if decision.is_denied() => HoldOutcome::Denied,
            _ => HoldOutcome::Held,
        },
    };
    recorder.step(step, outcome);
    if let (HoldOutcome::Held, Ok(decision)) = (outcome, decided) {
        for ((part, tokens), verdict) in taken.zip(decision.verdicts()) {
            if part.limit.metering().is_some() && verdict.admitted {
                recorder.held(part.limit.name(), tokens);
            }
        }
    }
}

/// Returns what a reservation takes of each limit.
pub(super) fn whole(reservation: &Reservation) -> impl Iterator<Item = (&ReservedPart, u64)> {
    reservation.parts.iter().map(|part| (part, part.held.tokens()))
}

/// Records a settlement.
pub(super) fn settlement(recorder: &HoldRecorder, settled: &Result<Settlement, HoldError>) {
    let outcome = match settled {
        Ok(settlement) => match settlement.state {
            SettlementState::Settled => SettlementOutcome::Settled,
            SettlementState::Repeated => SettlementOutcome::Repeated,
            SettlementState::Late => SettlementOutcome::Late,
        },
        Err(HoldError::Conflict) => SettlementOutcome::Conflict,
        Err(_) => SettlementOutcome::Failed,
    };
    recorder.settlement(outcome);
    if let (SettlementOutcome::Settled | SettlementOutcome::Late, Ok(settlement)) =
        (outcome, settled)
    {
        for part in &settlement.limits {
            recorder.charged(part.limit.name(), part.held, part.charged);
        }
    }
}
