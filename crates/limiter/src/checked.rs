//! The result of a check.

use std::{fmt, sync::Arc};

use sluice_core::{Action, Check, Cost, Decision, Matched};

use crate::{
    active_policy::ActivePolicy,
    decision_span::{self, UndecidedBy},
    error::LimiterError,
    slots::HeldSlots,
    telemetry::DecisionSpan,
};

/// A request that was decided, with the means to correct its cost afterwards.
///
/// It owns what it needs, so that it can be kept for as long as the request takes, or moved to
/// another task. Cheap to clone.
#[derive(Clone)]
#[non_exhaustive]
pub struct Checked {
    /// The decision.
    pub decision: Decision,
    check: Check,
    /// The index of the endpoint in the policy.
    endpoint: usize,
    is_exempt: bool,
    active_policy: Arc<ActivePolicy>,
    slots: HeldSlots,
}

impl Checked {
    pub(crate) fn new(
        decision: Decision,
        matched: Matched,
        active_policy: Arc<ActivePolicy>,
        slots: HeldSlots,
    ) -> Self {
        let (endpoint, is_exempt) = (matched.endpoint, matched.is_exempt());
        Self { decision, check: matched.check, endpoint, is_exempt, active_policy, slots }
    }

    /// Returns the policy's pattern that covers the request's path, or `other`. There are few of
    /// them, so that a metric's label may hold it.
    #[must_use]
    pub fn endpoint(&self) -> &Arc<str> {
        &self.active_policy.policy.endpoints()[self.endpoint]
    }

    /// Returns whether a pattern of the policy covers the request's path.
    #[must_use]
    pub const fn has_pattern(&self) -> bool {
        // The first label of a policy is `other`.
        self.endpoint > 0
    }

    /// Returns whether the request's path is exempt from limits.
    #[must_use]
    pub const fn is_exempt(&self) -> bool {
        self.is_exempt
    }

    /// Returns whether the request may pass.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        self.decision.is_allowed()
    }

    /// Returns whether a limit denies the request.
    #[must_use]
    pub const fn is_denied(&self) -> bool {
        self.decision.is_denied()
    }

    /// Returns the slots that the request holds of limits on requests in flight. They are given
    /// back when this and all clones of it are dropped: keep one until the request is over.
    ///
    /// See [`slots`](crate::slots) for an example.
    pub const fn slots(&self) -> &HeldSlots {
        &self.slots
    }

    /// Takes `tokens` more from the buckets of the request, even if they go below zero, and returns
    /// the state afterwards.
    ///
    /// For a cost that is known only once the work is done, such as the tokens of a language model.
    /// Later checks are denied until the refill has paid the debt.
    ///
    /// A limit whose rule fixes what a request costs ([`RuleCost::Fixed`](crate::RuleCost::Fixed))
    /// counts requests, and is left alone.
    ///
    /// ```
    /// use sluice::Limiter;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::in_memory("1000/minute, burst 500".parse()?);
    /// let checked = limiter.check_key(b"alice").await?;
    /// // ... the work takes 499 tokens, of which one was taken already ...
    /// checked.charge(498).await?;
    /// assert!(limiter.check_key_with_cost(b"alice", 100).await?.is_denied());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When `tokens` is above [`Cost::MAX`], or the store cannot be reached.
    pub async fn charge(&self, tokens: u64) -> Result<Decision, LimiterError> {
        self.adjust(Action::Charge, tokens).await
    }

    /// Puts `tokens` back into the buckets of the request, up to the burst, and returns the state
    /// afterwards.
    ///
    /// For a request that took less than it was checked for. As with [`Checked::charge`], limits
    /// with a fixed cost are left alone.
    ///
    /// # Errors
    /// When `tokens` is above [`Cost::MAX`], or the store cannot be reached.
    pub async fn give_back(&self, tokens: u64) -> Result<Decision, LimiterError> {
        self.adjust(Action::GiveBack, tokens).await
    }

    async fn adjust(&self, action: Action, tokens: u64) -> Result<Decision, LimiterError> {
        let check = self.check.adjustment(action, Cost::new(tokens)?);
        if check.parts().is_empty() {
            return Ok(self.decision.clone());
        }
        let span = DecisionSpan::single();
        let decided = span.in_scope(|| self.active_policy.store.decide(&check)).await;
        let outcome = decided.as_ref().map(|decision| (decision, Some(&**self.endpoint())));
        decision_span::describe(&span, action, outcome.map_err(|_| UndecidedBy::Store));
        Ok(decided?)
    }
}

impl fmt::Debug for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checked")
            .field("decision", &self.decision)
            .field("endpoint", self.endpoint())
            .finish_non_exhaustive()
    }
}
