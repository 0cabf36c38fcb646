//! The checks of one round trip, and the calls of the script that carry them.

use std::{mem, time::Instant};

use sluice_core::{Action, Check, Partition, Timestamp};

use super::{
    call_plan::CallPlan,
    check_reply::CheckReply,
    job::{Answer, Job, JobReply, MAX_BUCKETS, MAX_CHECKS, Manner, Miss, keys_of},
    queue::Gathered,
};
use crate::StoreError;

/// The checks of one round trip.
pub(super) struct Batch {
    pub(super) checks: Vec<Check>,
    /// What has come of each check; `None` until it is known.
    pub(super) answers: Vec<Option<Answer>>,
    /// The jobs that the checks belong to, in the same order.
    jobs: Vec<Job>,
    /// What is still to be sent.
    pub(super) calls: Vec<Call>,
}

/// One call of the script.
pub(super) struct Call {
    pub(super) plan: CallPlan,
    /// The checks that it carries.
    pub(super) checks: Vec<usize>,
    /// Whether it goes to the server that a slot is being moved to.
    pub(super) asking: bool,
    /// Whether the server does not know the script.
    pub(super) with_text: bool,
    partition: Option<Partition>,
    takes_more: bool,
    /// How often its checks were about another window of the calendar than that of the server.
    missed_windows: usize,
}

/// How often a check is planned anew because the server is in another window of the calendar. The
/// first reply tells what its clock shows, and the next window may begin just then.
const MOST_MISSED_WINDOWS: usize = 2;

impl Batch {
    /// Lays out the checks in as few calls as can hold them: one, unless they name thousands of
    /// buckets; with `one_partition_a_call`, at least one for each partition. The server's clock
    /// shows `now`, as far as is known.
    pub(super) fn of(gathered: Gathered, one_partition_a_call: bool, now: Timestamp) -> Self {
        let Gathered { checks, jobs } = gathered;
        let answers = checks.iter().map(|_| None).collect();
        let mut batch = Self { checks, answers, jobs, calls: Vec::new() };
        let mut index = 0;
        for job in &batch.jobs {
            for _ in 0..job.checks {
                let (calls, checks) = (&mut batch.calls, &batch.checks);
                lay_out(calls, checks, index, job.manner, one_partition_a_call, now);
                index += 1;
            }
        }
        batch
    }

    /// Records what a reply to a call decides, check by check. Those that were about another window
    /// of the calendar than that of the server are left to be sent again.
    pub(super) fn decided(&mut self, call: &Call, reply: CheckReply) {
        let Self { checks, answers, .. } = self;
        let now = reply.now();
        let mut indices = call.checks.iter();
        let mut again = Vec::new();
        reply.replay(
            &call.plan,
            call.checks.iter().map(|&index| &checks[index]),
            |decision| match (indices.next(), decision) {
                (Some(&index), Some(decision)) => {
                    answers[index] = Some(decision.map_err(Miss::Failed));
                }
                (Some(&index), None) => again.push(index),
                (None, _) => {}
            },
        );
        if again.is_empty() {
            return;
        }
        if call.missed_windows == MOST_MISSED_WINDOWS {
            let error = StoreError::unreadable(format!(
                "the server's clock jumps between windows of the calendar: it shows {} us",
                now.unix_micros()
            ));
            for index in again {
                answers[index] = Some(Err(Miss::Failed(error.clone())));
            }
            return;
        }
        let mut plan = CallPlan::with_capacity(again.len(), now);
        again.iter().for_each(|&index| plan.push(&checks[index]));
        self.calls.push(Call {
            plan,
            checks: again,
            with_text: false,
            takes_more: false,
            missed_windows: call.missed_windows + 1,
            ..*call
        });
    }

    /// Records why the checks of a call are not decided.
    pub(super) fn missed(&mut self, call: &Call, miss: &Miss) {
        for &check in &call.checks {
            self.answers[check] = Some(Err(miss.clone()));
        }
    }

    /// Records an error of every check that has no answer yet.
    pub(super) fn fail(&mut self, error: &StoreError) {
        for answer in self.answers.iter_mut().filter(|answer| answer.is_none()) {
            *answer = Some(Err(Miss::Failed(error.clone())));
        }
        self.calls.clear();
    }

    /// Records an error of every check that has no answer yet and must not be decided twice, and
    /// takes it out of its call. Returns whether any is left.
    pub(super) fn keep_only_repeatable(&mut self, error: &StoreError) -> bool {
        for mut call in mem::take(&mut self.calls) {
            let (once, again): (Vec<_>, Vec<_>) =
                call.checks.iter().partition(|&&check| returns_tokens(&self.checks[check]));
            for check in once {
                self.answers[check] = Some(Err(Miss::Failed(error.clone())));
            }
            if again.len() < call.checks.len() {
                call.plan = call.plan.emptied();
                again.iter().for_each(|&check| call.plan.push(&self.checks[check]));
                call.checks = again;
            }
            if !call.checks.is_empty() {
                self.calls.push(call);
            }
        }
        !self.calls.is_empty()
    }

    /// Returns whether a check would make tokens if it were decided twice.
    pub(super) fn must_not_be_repeated(&self) -> bool {
        self.checks.iter().any(returns_tokens)
    }

    /// Hands each job what has come of its checks.
    pub(super) fn reply(self, sent: Instant) {
        let checks_in_trip = self.checks.len();
        let unanswered = || Err(Miss::Failed(StoreError::unreadable("a call has no reply")));
        let mut answers = self.answers.into_iter().map(|answer| answer.unwrap_or_else(unanswered));
        for Job { checks, reply, .. } in self.jobs {
            let answers = answers.by_ref().take(checks).collect();
            // A caller that no longer waits has dropped its receiver, so sending to it fails.
            let _ = reply.send(JobReply { answers, sent, checks_in_trip });
        }
    }
}

/// Adds one of `checks` to a call that takes it, or to a new one.
fn lay_out(
    calls: &mut Vec<Call>,
    checks: &[Check],
    index: usize,
    manner: Manner,
    one_partition_a_call: bool,
    now: Timestamp,
) {
    let check = &checks[index];
    let parts = check.parts();
    let partition = parts.first().filter(|_| one_partition_a_call).map(|part| part.tag.partition());
    let fits = |call: &&mut Call| {
        call.takes_more
            && call.partition == partition
            && call.checks.len() < MAX_CHECKS
            && call.plan.keys() + keys_of(check) <= MAX_BUCKETS
    };
    let gathered = manner == Manner::Gathered;
    match calls.iter_mut().rev().find(fits) {
        Some(call) if gathered => call.push(index, check),
        _ => {
            // On one server, the first call carries nearly always all.
            let room = match partition {
                None if gathered => (checks.len() - index).min(MAX_CHECKS),
                _ => 1,
            };
            let mut call = Call {
                plan: CallPlan::with_capacity(room, now),
                checks: Vec::with_capacity(room),
                asking: manner == Manner::Asking,
                with_text: false,
                partition,
                takes_more: gathered,
                missed_windows: 0,
            };
            call.push(index, check);
            calls.push(call);
        }
    }
}

impl Call {
    fn push(&mut self, index: usize, check: &Check) {
        self.plan.push(check);
        self.checks.push(index);
    }
}

fn returns_tokens(check: &Check) -> bool {
    match check.action() {
        Action::GiveBack | Action::Reset | Action::EndLease { .. } => true,
        // Lent twice, only the second lease is spent, and the first one ends by itself.
        Action::Take | Action::Peek | Action::Charge | Action::Lend { .. } => false,
        // Renewed twice, other slots count for longer, and none is forgotten.
        Action::Renew => false,
        // The record of a hold shows that a step was made before.
        Action::Reserve | Action::Extend | Action::Settle | Action::Undo => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use redis::Value;
    use sluice_core::{Algorithm, Cost, Limit, Subject, Tagger};
    use tokio::sync::oneshot;

    use super::*;
    use crate::Formats;

    /// 2026-01-31T23:59:59Z
    const JANUARY: Timestamp = Timestamp::from_unix_micros(1_769_903_999_000_000);
    const FEBRUARY: Timestamp = Timestamp::from_unix_micros(1_769_904_000_000_000);

    /// Returns a batch of a check of a quota of each month, and one of a token bucket.
    fn batch() -> Batch {
        let client = Tagger::new(b"").tag(Subject::Client(b"alice"));
        let check = |name, algorithm| {
            let limit = Arc::new(Limit::new(name, algorithm).unwrap());
            Check::new(Action::Take).with(&limit, client, Cost::ONE)
        };
        let (reply, _) = oneshot::channel();
        let gathered = Gathered {
            checks: vec![
                check("monthly", Algorithm::Quota("10/month".parse().unwrap())),
                check("fast", Algorithm::TokenBucket("1/day, burst 1".parse().unwrap())),
            ],
            jobs: vec![Job { checks: 2, manner: Manner::Gathered, reply }],
        };
        Batch::of(gathered, false, JANUARY)
    }

    /// Answers the only call of the batch at `now`, with a verdict for each of its checks.
    fn answer(batch: &mut Batch, now: Timestamp, verdicts: &str) {
        let call = batch.calls.pop().unwrap();
        assert!(batch.calls.is_empty() && call.checks.len() == verdicts.len());
        let reply = Value::Array(vec![
            Value::Int(now.unix_micros()),
            Value::BulkString(verdicts.into()),
            Value::BulkString(vec![0; verdicts.len()]),
        ]);
        let reply = CheckReply::parse(reply, &call.plan, verdicts.len(), Formats::CURRENT).unwrap();
        batch.decided(&call, reply.unwrap());
    }

    fn is_allowed(answer: Option<&Answer>) -> bool {
        answer.unwrap().as_ref().unwrap().is_allowed()
    }

    #[test]
    fn a_check_about_another_window_is_planned_anew_and_the_others_keep_their_decisions() {
        let mut batch = batch();
        answer(&mut batch, FEBRUARY, "w1");
        assert!(batch.answers[0].is_none() && is_allowed(batch.answers[1].as_ref()));
        answer(&mut batch, FEBRUARY, "1");
        assert!(batch.calls.is_empty() && is_allowed(batch.answers[0].as_ref()));
    }

    #[test]
    fn a_clock_that_jumps_between_windows_is_an_error() {
        let mut batch = batch();
        answer(&mut batch, FEBRUARY, "w1");
        answer(&mut batch, JANUARY, "w");
        answer(&mut batch, FEBRUARY, "w");
        assert!(batch.calls.is_empty());
        let Some(Err(Miss::Failed(error))) = &batch.answers[0] else { panic!("it is decided") };
        assert!(error.to_string().contains("jumps between windows"), "{error}");
    }
}
