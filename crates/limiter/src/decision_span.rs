//! Describes decisions in their spans.

use sluice_core::{Action, Decision};

use crate::{
    active_policy::source_label,
    telemetry::{DecisionSpan, OutcomeLabel},
};

/// Why there is no decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UndecidedBy {
    /// The request cannot be checked, which is no failure of the span.
    Request,
    /// The store failed.
    Store,
}

/// A decision and the endpoint of its request, or why there is none.
pub(crate) type Outcome<'a> = Result<(&'a Decision, Option<&'a str>), UndecidedBy>;

/// Records on the span of one decision what came of it.
pub(crate) fn describe(span: &DecisionSpan, action: Action, outcome: Outcome<'_>) {
    if span.is_disabled() {
        return;
    }
    span.set_action(action_name(action));
    match outcome {
        Ok((decision, endpoint)) => {
            if let Some(endpoint) = endpoint {
                span.set_endpoint(endpoint);
            }
            let outcome =
                if decision.is_allowed() { OutcomeLabel::Allowed } else { OutcomeLabel::Denied };
            span.set_decision(
                outcome,
                source_label(decision.source()),
                decision.binding().map(|verdict| verdict.limit.name()),
            );
        }
        Err(by) => {
            span.set_undecided();
            if by == UndecidedBy::Store {
                span.mark_failed();
            }
        }
    }
}

/// Records on the span of a batch how many decisions there are of each kind.
pub(crate) fn describe_batch<'a>(span: &DecisionSpan, outcomes: impl Iterator<Item = Outcome<'a>>) {
    if span.is_disabled() {
        return;
    }
    let (mut allowed, mut denied, mut undecided, mut failed) = (0, 0, 0, false);
    for outcome in outcomes {
        match outcome {
            Ok((decision, _)) if decision.is_allowed() => allowed += 1,
            Ok(_) => denied += 1,
            Err(by) => {
                undecided += 1;
                failed |= by == UndecidedBy::Store;
            }
        }
    }
    span.set_batch_counts(allowed, denied, undecided);
    if failed {
        span.mark_failed();
    }
}

const fn action_name(action: Action) -> &'static str {
    match action {
        Action::Take => "take",
        Action::Peek => "peek",
        Action::Charge => "charge",
        Action::GiveBack => "give_back",
        Action::Renew => "renew",
        Action::Reset => "reset",
        Action::Lend { .. } => "lend",
        Action::EndLease { .. } => "end_lease",
        Action::Reserve => "reserve",
        Action::Extend => "extend",
        Action::Settle => "settle",
        Action::Undo => "undo",
    }
}
