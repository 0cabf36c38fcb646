//! The steps of holds, as the limiter makes them.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

use sluice_core::{
    Action, Algorithm, Check, Cost, Decision, Guarded, Hold as HoldOf, HoldId, Metering, Part,
    Request, Source, Timestamp, Usage,
};
use sluice_store::StoreError;

use super::{
    error::HoldError,
    hold::{Extended, Hold, Reserved},
    recorded,
    reservation::{Reservation, ReservedPart},
    settlement::Settlement,
};
#[cfg(feature = "tower")]
use crate::identify::Identity;
use crate::{
    decision_span::{self, UndecidedBy},
    limiter::Limiter,
    slots::{HeldSlots, Uncancelled},
    telemetry::{DecisionSpan, HoldStepLabel},
    timed::Timed,
    unverified::Allowance,
};

/// How often a settlement is sent to a store that does not answer.
const TRIES: u32 = 3;
/// The pause before the second try; the next one is four times as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// How tokens are held.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct HoldTerms<'a> {
    /// The caller's name for the hold: the same name for the same client is the same hold, so that
    /// a reservation that is sent again takes nothing. Without one, every reservation is a new one.
    pub name: Option<&'a [u8]>,
    /// How long the tokens are held; without it as long as the limits allow.
    pub hold_for: Option<Duration>,
    /// Whether this process renews the slots of limits on requests in flight until the hold is
    /// settled or dropped. Without this, tokens are held for at most a
    /// [term](sluice_core::Concurrent::term) of these limits, and extending the hold renews them.
    pub renews_slots: bool,
}

impl<'a> HoldTerms<'a> {
    /// Names the hold.
    #[must_use]
    pub const fn named(mut self, name: &'a [u8]) -> Self {
        self.name = Some(name);
        self
    }

    /// Has this process renew the slots of limits on requests in flight, until the
    /// [`Hold`] is settled or dropped. Once they were renewed, the hold cannot be extended.
    #[must_use]
    pub const fn renewing_slots(mut self) -> Self {
        self.renews_slots = true;
        self
    }

    /// Holds the tokens for this time.
    #[must_use]
    pub const fn hold_for(mut self, hold_for: Duration) -> Self {
        self.hold_for = Some(hold_for);
        self
    }
}

impl Limiter {
    /// Takes what `request` [will use](Request::with_usage) from every limit that applies to it,
    /// or from none if one of them has too few tokens, until it is settled.
    ///
    /// Limits that count requests take the request's cost, which is final. An estimate above the
    /// burst of a limit holds the burst. While the store is away, the hold is made in this process,
    /// as `on_store_failure` of the limits says.
    ///
    /// # Errors
    /// - [`HoldError::Request`]: the request cannot be checked.
    /// - [`HoldError::TooLong`]: a limit does not hold tokens for that long.
    /// - [`HoldError::NotEstimated`]: an enforced limit counts money, and the estimate says none.
    /// - [`HoldError::Conflict`]: a hold of this name has other costs, or is settled.
    /// - [`HoldError::Store`]: the store failed, and a limit leaves the decision to the caller.
    pub async fn reserve(
        &self,
        request: &Request<'_>,
        terms: HoldTerms<'_>,
    ) -> Result<Reserved, HoldError> {
        self.hold(request, terms, None).await
    }

    /// Reserves as [`Limiter::reserve`] does, for a request whose client was identified by its
    /// head.
    ///
    /// A client with a key that nothing vouches for also needs a token of what its
    /// [address may ask](crate::identify#keys-that-nothing-vouches-for), as for
    /// [`Limiter::check_identified`].
    ///
    /// # Errors
    /// As [`Limiter::reserve`].
    #[cfg(feature = "tower")]
    pub async fn reserve_identified(
        &self,
        identity: &Identity<'_>,
        request: &Request<'_>,
        terms: HoldTerms<'_>,
    ) -> Result<Reserved, HoldError> {
        self.note_untrusted_proxy(identity);
        self.hold(request, terms, identity.allowance()).await
    }

    async fn hold(
        &self,
        request: &Request<'_>,
        terms: HoldTerms<'_>,
        allowance: Option<&Allowance>,
    ) -> Result<Reserved, HoldError> {
        let span = DecisionSpan::single();
        let active_policy = self.active_policy();
        // The end of a hold is that of its request.
        let request = &request.followed();
        let matched = match active_policy.policy.check(Action::Take, request) {
            Ok(matched) => matched,
            Err(error) => {
                decision_span::describe(&span, Action::Reserve, Err(UndecidedBy::Request));
                return Err(error.into());
            }
        };
        let parts: Vec<_> = matched.check.parts().iter().map(ReservedPart::of).collect();
        require_estimate(&parts, request.usage)?;
        let hold_for = hold_for(&parts, terms)?;
        let id = terms.name.map_or_else(random_id, |name| HoldId::named(matched.client, name));
        let mut reservation = Reservation::new(id, hold_for, Timestamp::from_unix_micros(0), parts);
        let mut slots = HeldSlots::none();
        let decided = if reservation.parts.is_empty() {
            Ok(self.unlimited())
        } else {
            let allowance = allowance.filter(|_| request.cost != Cost::NONE);
            let taken = match self.take_allowance(&active_policy, &matched, allowance) {
                Ok(taken) => taken,
                Err(denial) => {
                    self.observe(&active_policy, &matched, request, &denial);
                    let endpoint = &active_policy.policy.endpoints()[matched.endpoint];
                    let outcome = Ok((&*denial, Some(&**endpoint)));
                    decision_span::describe(&span, Action::Reserve, outcome);
                    return Ok(Reserved::Denied(*denial));
                }
            };
            let check = reservation.reserving();
            let (decided, since) =
                if terms.renews_slots && check.parts().iter().any(Part::has_slots) {
                    let (decided, since, held) = self.hold_slots(check, hold_for).await;
                    slots = held;
                    (decided, since)
                } else {
                    Timed::from(span.in_scope(|| self.store().decide(&check))).await
                };
            self.give_allowance_back(taken, &decided);
            let held = recorded::whole(&reservation);
            recorded::step(&self.recorders().holds, HoldStepLabel::Reserve, &decided, held);
            let is_new = !matches!(
                decided.as_ref().map(Decision::guarded),
                Ok(Some(Guarded::Repeated | Guarded::Conflict))
            );
            if is_new {
                active_policy.record(Action::Reserve, &matched, &decided, since);
                if let Ok(decision) = &decided {
                    self.observe(&active_policy, &matched, request, decision);
                }
            }
            decided
        };
        let endpoint = &active_policy.policy.endpoints()[matched.endpoint];
        let outcome = decided.as_ref().map(|decision| (decision, Some(&**endpoint)));
        decision_span::describe(&span, Action::Reserve, outcome.map_err(|_| UndecidedBy::Store));
        let decision = decided?;
        if decision.guarded() == Some(Guarded::Conflict) {
            return Err(HoldError::Conflict);
        }
        if decision.is_denied() {
            return Ok(Reserved::Denied(decision));
        }
        let began_at = began_at(&decision, hold_for).unwrap_or_else(|| decision.at());
        reservation.note_taken(began_at, false);
        reservation.note_apart(&decision, None);
        reservation.limiter = self.alone(&decision);
        Ok(Reserved::Held(Hold::new(self.clone(), reservation, decision, slots)))
    }

    /// Decides a reservation, and renews its slots from then on. When the caller does not wait any
    /// more, this goes on, and gives them back.
    async fn hold_slots(
        &self,
        check: Check,
        hold_for: Duration,
    ) -> (Result<Decision, StoreError>, Option<std::time::Instant>, HeldSlots) {
        let limiter = self.clone();
        let taking = Uncancelled::new(async move {
            let sent = tokio::time::Instant::now();
            let (decided, since) = Timed::from(limiter.store().decide(&check)).await;
            let slots = decided.as_ref().map_or_else(
                |_| HeldSlots::none(),
                |decision| {
                    let taken_at = began_at(decision, hold_for).unwrap_or_else(|| decision.at());
                    HeldSlots::taken_by(limiter.slots(), &check, decision, taken_at, sent)
                },
            );
            (decided, since, slots)
        });
        taking.await
    }

    /// Takes `more` for a hold, from all limits or from none, and holds all of it for as long as
    /// the reservation said, from now on. Returns also what is held then, if it was not denied.
    /// With nothing more, the hold only lasts longer.
    ///
    /// # Errors
    /// - [`HoldError::Conflict`]: the hold has other costs, or is settled.
    /// - [`HoldError::Store`]: the store failed.
    pub async fn extend(
        &self,
        reservation: &Reservation,
        more: &Usage,
    ) -> Result<(Extended, Option<Reservation>), HoldError> {
        let parts = reservation.parts.iter().map(|part| part.extended(more)).collect();
        let extended = Reservation { parts, ..reservation.clone() };
        if extended.parts.is_empty() {
            return Ok((Extended::Held(self.unlimited()), Some(extended)));
        }
        let decided = self.step(&reservation.extending(&extended)).await;
        let before = reservation.parts.iter();
        let taken = extended.parts.iter().zip(before);
        let taken = taken.map(|(part, before)| (part, part.held.minus(before.held).tokens()));
        recorded::step(&self.recorders().holds, HoldStepLabel::Extend, &decided, taken);
        let decision = decided?;
        if decision.guarded() == Some(Guarded::Conflict) {
            Err(HoldError::Conflict)
        } else if decision.is_denied() {
            Ok((Extended::Denied(decision), None))
        } else {
            let limiter = self.alone(&decision).or(reservation.limiter);
            let mut extended = extended;
            if let Some(began_at) = began_at(&decision, reservation.hold_for) {
                extended.note_taken(began_at, true);
            }
            extended.note_apart(&decision, Some(reservation));
            Ok((Extended::Held(decision), Some(extended.of_limiter(limiter))))
        }
    }

    /// Corrects what is held to what was used, as [`Hold::settle`] does: for a reservation that
    /// another process made.
    ///
    /// # Errors
    /// - [`HoldError::Conflict`]: the hold was settled before, with another usage.
    /// - [`HoldError::Store`]: the store did not answer three times. The hold stays charged, and
    ///   can be settled later.
    pub async fn settle(
        &self,
        reservation: &Reservation,
        actual: &Usage,
    ) -> Result<Settlement, HoldError> {
        if reservation.parts.is_empty() {
            return Settlement::new(reservation, actual, self.number(), self.unlimited());
        }
        let decided = self.settled(&reservation.settling(actual, self.number())).await;
        let settled = decided
            .map_err(HoldError::from)
            .and_then(|decision| Settlement::new(reservation, actual, self.number(), decision));
        recorded::settlement(&self.recorders().holds, &settled);
        settled
    }

    /// Makes a settlement, which the store is sent until it answers, three times at most.
    async fn settled(&self, check: &Check) -> Result<Decision, StoreError> {
        let (mut tries, mut pause) = (1, FIRST_PAUSE);
        loop {
            match self.step(check).await {
                Err(error) if tries == TRIES => return Err(error),
                Err(_) => tokio::time::sleep(pause).await,
                decided => return decided,
            }
            (tries, pause) = (tries + 1, pause * 4);
        }
    }

    /// Returns the number of this limiter if it has decided alone.
    fn alone(&self, decision: &Decision) -> Option<u64> {
        (decision.source() == Source::Local).then_some(self.number())
    }

    /// Makes a step of a hold.
    async fn step(&self, check: &Check) -> Result<Decision, StoreError> {
        let span = DecisionSpan::single();
        let decided = span.in_scope(|| self.store().decide(check)).await;
        let outcome = decided.as_ref().map(|decision| (decision, None));
        decision_span::describe(&span, check.action(), outcome.map_err(|_| UndecidedBy::Store));
        decided
    }
}

/// Returns when the time of a hold began that was decided: of a step that was made before, with
/// that one.
fn began_at(decision: &Decision, hold_for: Duration) -> Option<Timestamp> {
    decision.hold_ends_at().map(|end| end.before(hold_for * 2))
}

/// Returns how long these parts are held: as long as was asked for, or as all limits allow.
fn hold_for(parts: &[ReservedPart], terms: HoldTerms<'_>) -> Result<Duration, HoldError> {
    let asked = terms.hold_for;
    let most = parts.iter().filter_map(|part| match part.limit.algorithm() {
        // A slot that is not renewed in time is lost.
        Algorithm::Concurrent(_) if terms.renews_slots => None,
        Algorithm::Concurrent(concurrent) => Some(concurrent.term()),
        _ => part.limit.metering().map(|metering| metering.hold_for),
    });
    let most = most.min().unwrap_or(Metering::HOLD_FOR);
    // The store holds for no other time, and the end of a hold is computed from it.
    let bounded = |span: Duration| span.clamp(HoldOf::MIN_HOLD_FOR, HoldOf::MAX_HOLD_FOR);
    match asked {
        Some(asked) if asked > most => Err(HoldError::TooLong { asked, most }),
        asked => Ok(bounded(asked.unwrap_or(most))),
    }
}

/// Refuses an estimate that does not say what an enforced limit counts.
fn require_estimate(parts: &[ReservedPart], usage: Option<&Usage>) -> Result<(), HoldError> {
    let usage = usage.copied().unwrap_or_default();
    for limit in parts.iter().map(|part| &part.limit).filter(|limit| limit.denies()) {
        if let Some(&Metering { counts, .. }) = limit.metering()
            && counts.of(&usage).is_none()
        {
            return Err(HoldError::NotEstimated { limit: limit.name().to_owned(), counts });
        }
    }
    Ok(())
}

/// Returns an id that no other hold has.
fn random_id() -> HoldId {
    let [first, second] = [(); 2].map(|()| RandomState::new().build_hasher().finish());
    HoldId::unnamed((u128::from(first) << 64 | u128::from(second)).to_be_bytes())
}
