//! The reply of `lua/check.lua` or `lua/check_one.lua`, turned into decisions.

use std::mem;

use redis::Value;
use sluice_core::{
    Action, Bucket, Check, Decision, Epoch, Guarded, RecordWrite, Source, Timestamp, Verdict,
};
use smallvec::SmallVec;

use super::{bucket_state::Stored, call_plan::CallPlan};
use crate::{Formats, StoreError};

const OTHER_ONE: &str = "check_one.lua returned neither the time nor the time and a state";

/// The fields of a reply of `lua/check.lua`. One of `lua/check_one.lua` says the same in fewer
/// bytes.
#[derive(Debug)]
pub(super) struct CheckReply {
    /// The time at which the server decided.
    now: Timestamp,
    /// One byte for each check.
    verdicts: Vec<u8>,
    /// Each bucket and record before the call, and then as the checks leave it one after the other.
    states: Vec<Stored>,
    /// What each check lent that lent anything, in microseconds of refill.
    lent: Vec<Value>,
}

impl CheckReply {
    /// Reads the reply to the call of `plan`, which has `checks` checks. Returns `None` if the plan
    /// has to be [checked in full](CallPlan::check_in_full): nothing was written.
    pub(super) fn parse(
        value: Value,
        plan: &CallPlan,
        checks: usize,
        formats: Formats,
    ) -> Result<Option<Self>, StoreError> {
        if plan.is_one() {
            Self::parse_one(value, formats)
        } else {
            Self::parse_batch(value, plan, checks, formats).map(Some)
        }
    }

    fn parse_one(value: Value, formats: Formats) -> Result<Option<Self>, StoreError> {
        let (now, before) = match value {
            Value::Int(0) => return Ok(None),
            Value::Int(now) => (now, Stored::Nothing),
            Value::Array(fields) => match <[Value; 2]>::try_from(fields) {
                Ok([Value::Int(now), Value::BulkString(state)]) => {
                    (now, Stored::parse(&state, formats))
                }
                _ => return Err(StoreError::unreadable(OTHER_ONE)),
            },
            _ => return Err(StoreError::unreadable(OTHER_ONE)),
        };
        Ok(Some(Self {
            now: Timestamp::from_unix_micros(now.saturating_abs()),
            verdicts: vec![if now > 0 { b'1' } else { b'0' }],
            states: vec![before],
            lent: Vec::new(),
        }))
    }

    fn parse_batch(
        value: Value,
        plan: &CallPlan,
        checks: usize,
        formats: Formats,
    ) -> Result<Self, StoreError> {
        let Value::Array(mut fields) = value else {
            return Err(StoreError::unreadable("check.lua returned no array"));
        };
        let lent = match fields.len() {
            4 => fields.pop(),
            _ => None,
        };
        let lent = match lent {
            Some(Value::Array(lent)) => lent,
            _ => Vec::new(),
        };
        let Ok([Value::Int(now), Value::BulkString(verdicts), Value::BulkString(before)]) =
            <[Value; 3]>::try_from(fields)
        else {
            return Err(StoreError::unreadable(
                "check.lua returned other fields than the time, the verdicts and the buckets",
            ));
        };
        let states = Stored::parse_all(&before, plan.keys(), formats);
        let (Some(states), true) = (states, verdicts.len() == checks) else {
            return Err(StoreError::unreadable(
                "check.lua returned another number of checks or buckets than it was sent",
            ));
        };
        Ok(Self { now: Timestamp::from_unix_micros(now), verdicts, states, lent })
    }

    /// Returns what the server's clock showed.
    pub(super) const fn now(&self) -> Timestamp {
        self.now
    }

    /// Calls `decided` with the decision on each of `checks`, which are those of `plan`, in their
    /// order. It is `None` for a check about another window of the calendar than that of
    /// [`now`](Self::now): nothing was done, so it has to be planned anew.
    ///
    /// The script returns the buckets as they were before. Replaying the batch on the core's
    /// arithmetic at the script's time gives what remains, and saves the server from formatting
    /// numbers. The replay must agree with the script's verdicts.
    pub(super) fn replay<'a>(
        mut self,
        plan: &CallPlan,
        checks: impl IntoIterator<Item = &'a Check>,
        mut decided: impl FnMut(Option<Result<Decision, StoreError>>),
    ) {
        let mut indices = plan.bucket_indices();
        let mut records = plan.record_indices();
        let (verdicts, lent) = (mem::take(&mut self.verdicts), mem::take(&mut self.lent));
        let mut lent = lent.iter();
        for (check, verdict) in checks.into_iter().zip(verdicts) {
            let (own, rest) = indices.split_at(check.parts().len());
            indices = rest;
            let record = if check.hold().is_some() { records.next() } else { None };
            if verdict == b'w' {
                decided(None);
                continue;
            }
            let decision = self.replay_one(check, verdict, own, record, plan.epoch());
            decided(Some(match decision {
                Ok(decision)
                    if lends(check)
                        && decision.is_allowed()
                        && lent.next() != Some(&span_lent(&decision)) =>
                {
                    Err(self.disagreement())
                }
                decision => decision,
            }));
        }
    }

    /// Decides `check`, whose parts' buckets stand at `indices` and the record of whose hold at
    /// `record`, and updates them.
    fn replay_one(
        &mut self,
        check: &Check,
        verdict: u8,
        indices: &[usize],
        record: Option<usize>,
        epoch: Epoch,
    ) -> Result<Decision, StoreError> {
        let is_bucket =
            |&index: &usize| matches!(self.states[index], Stored::Bucket(_) | Stored::Nothing);
        let is_record =
            |index: usize| matches!(self.states[index], Stored::Record(_) | Stored::Nothing);
        if verdict == b'u' || !indices.iter().all(is_bucket) || !record.is_none_or(is_record) {
            return Err(StoreError::unreadable(
                "a bucket's state, or the record of a hold, has a layout that this version does \
                 not know",
            ));
        }
        let before: SmallVec<[Bucket; 4]> = check
            .parts()
            .iter()
            .zip(indices)
            .map(|(part, &index)| match self.states[index] {
                Stored::Bucket(bucket) => bucket,
                Stored::Nothing | Stored::Record(_) | Stored::Unknown => {
                    epoch.unseen(part.limit.algorithm(), self.now)
                }
            })
            .collect();
        let mut after: SmallVec<[Bucket; 4]> = SmallVec::from_slice(&before);
        let lends_nothing;
        let check = match check.action() {
            // The script lends nothing while a replica is live that could not read the state.
            Action::Lend { .. } if verdict == b'0' => {
                let mut nothing = Check::new(Action::Lend { least: u32::MAX });
                check.parts().iter().cloned().for_each(|part| nothing.push(part));
                lends_nothing = nothing;
                &lends_nothing
            }
            _ => check,
        };
        let known = match record.map(|index| self.states[index]) {
            Some(Stored::Record(record)) => Some(record),
            _ => None,
        };
        let (decision, write) = check.decide_hold(&mut after, known, self.now, Source::Store);
        if verdict_of(&decision) != verdict {
            return Err(self.disagreement());
        }
        if let (Some(index), Some(RecordWrite { record, .. })) = (record, write) {
            self.states[index] = record.map_or(Stored::Nothing, Stored::Record);
        }
        for ((part, &index), (before, after)) in
            check.parts().iter().zip(indices).zip(before.iter().zip(&after))
        {
            if before != after {
                let forgotten = epoch.forgets(after, part.limit.algorithm(), self.now);
                self.states[index] =
                    if forgotten { Stored::Nothing } else { Stored::Bucket(*after) };
            }
        }
        Ok(decision)
    }

    fn disagreement(&self) -> StoreError {
        StoreError::unreadable(format!(
            "the script and the core disagree at {} us; this is a bug in Sluice",
            self.now.unix_micros()
        ))
    }
}

/// Returns the character with which the script says what was decided.
const fn verdict_of(decision: &Decision) -> u8 {
    match decision.guarded() {
        Some(Guarded::Repeated) => b'r',
        Some(Guarded::Conflict) => b'c',
        Some(Guarded::Late) if decision.is_allowed() => b'l',
        _ if decision.is_allowed() => b'1',
        _ => b'0',
    }
}

fn lends(check: &Check) -> bool {
    matches!(check.action(), Action::Lend { .. })
}

/// Returns what a decision lent, as the script says it.
fn span_lent(decision: &Decision) -> Value {
    let span = |verdict: &Verdict| {
        let rate = verdict.limit.rate()?;
        Some(rate.span_of(verdict.cost.tokens()).micros)
    };
    Value::Int(decision.verdicts().first().and_then(span).unwrap_or(0))
}
