//! Tells the span of a decision what was decided.

use sluice_core::{Action, Decision};
use sluice_store::StoreError;
use sluice_telemetry::{DecisionSpan, OutcomeLabel};

use crate::{active_policy::source, checked::Checked, error::LimiterError};

/// What a check of a request came to.
pub(crate) fn checked(
    span: &DecisionSpan,
    action: Action,
    checked: &Result<Checked, LimiterError>,
) {
    if span.is_disabled() {
        return;
    }
    span.set_action(name(action));
    match checked {
        Ok(Checked { decision, endpoint }) => {
            span.set_endpoint(endpoint);
            tell(span, decision);
        }
        Err(error) => {
            span.set_undecided();
            // What the client did wrong is no failure of ours.
            if is_ours(error) {
                span.mark_failed();
            }
        }
    }
}

/// What a check of other rules than the policy's came to.
pub(crate) fn decided(span: &DecisionSpan, action: Action, decided: &Result<Decision, StoreError>) {
    if span.is_disabled() {
        return;
    }
    span.set_action(name(action));
    match decided {
        Ok(decision) => tell(span, decision),
        Err(_) => {
            span.set_undecided();
            span.mark_failed();
        }
    }
}

/// What the checks of a batch came to.
pub(crate) fn all_checked(span: &DecisionSpan, checked: &[Result<Checked, LimiterError>]) {
    if span.is_disabled() {
        return;
    }
    let (mut allowed, mut denied, mut undecided) = (0, 0, 0);
    for checked in checked {
        match checked {
            Ok(checked) if checked.decision.is_allowed() => allowed += 1,
            Ok(_) => denied += 1,
            Err(_) => undecided += 1,
        }
    }
    span.set_batch_counts(allowed, denied, undecided);
    if checked.iter().any(|checked| checked.as_ref().is_err_and(is_ours)) {
        span.mark_failed();
    }
}

const fn is_ours(error: &LimiterError) -> bool {
    matches!(error, LimiterError::Store(_))
}

fn tell(span: &DecisionSpan, decision: &Decision) {
    let outcome = if decision.is_allowed() { OutcomeLabel::Allowed } else { OutcomeLabel::Denied };
    span.set_decision(
        outcome,
        source(decision.source()),
        decision.binding().map(|verdict| verdict.limit.name()),
    );
}

const fn name(action: Action) -> &'static str {
    match action {
        Action::Take => "take",
        Action::Peek => "peek",
        Action::Charge => "charge",
        Action::GiveBack => "give_back",
        Action::Reset => "reset",
    }
}
