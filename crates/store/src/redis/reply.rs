//! The script's answer, made into decisions by replaying the batch on the core's arithmetic at the
//! script's own time.

use redis::Value;
use sluice_core::{Bucket, Check, Decision, Source, Timestamp};
use smallvec::SmallVec;

use super::{plan::Plan, state};
use crate::StoreError;

/// What `lua/check.lua` said: the time, a verdict for each check, and each bucket as it was before.
#[derive(Debug)]
pub(super) struct Reply {
    now: Timestamp,
    verdicts: Vec<u8>,
    before: Vec<Value>,
}

impl Reply {
    pub(super) fn parse(value: Value, plan: &Plan, checks: usize) -> Result<Self, StoreError> {
        let unreadable = |what: &str| StoreError::Unreadable { what: what.to_owned() };
        let Value::Array(fields) = value else {
            return Err(unreadable("check.lua answered no array"));
        };
        let Ok([Value::Int(now), Value::BulkString(verdicts), Value::Array(before)]) =
            <[Value; 3]>::try_from(fields)
        else {
            return Err(unreadable(
                "check.lua answered other fields than the time, the verdicts and the buckets",
            ));
        };
        if verdicts.len() != checks || before.len() != plan.buckets() {
            return Err(unreadable(
                "check.lua answered another number of checks or buckets than it was asked",
            ));
        }
        Ok(Self { now: Timestamp::from_unix_micros(now), verdicts, before })
    }

    /// The decisions, in the order of `checks`, which are those of `plan`.
    ///
    /// The script sends the buckets as they were and not what became of them: a replay of the same
    /// whole-number arithmetic gives what remains, and spares the server from turning numbers to
    /// text. The script's verdict is compared with the replay's.
    pub(super) fn decisions<'a>(
        &self,
        plan: &Plan,
        checks: impl IntoIterator<Item = &'a Check>,
    ) -> Vec<Result<Decision, StoreError>> {
        let mut in_hand: Vec<Option<Bucket>> = self
            .before
            .iter()
            .map(|state| match state {
                Value::BulkString(state) => state::read(state),
                _ => None,
            })
            .collect();
        let mut places = plan.places();
        let decide = |(check, &verdict): (&Check, &u8)| {
            let (own, rest) = places.split_at(check.parts().len());
            places = rest;
            self.replay(check, verdict, own, &mut in_hand)
        };
        checks.into_iter().zip(&self.verdicts).map(decide).collect()
    }

    fn replay(
        &self,
        check: &Check,
        verdict: u8,
        places: &[usize],
        in_hand: &mut [Option<Bucket>],
    ) -> Result<Decision, StoreError> {
        if verdict == b'u' {
            let what = "a bucket's state has a layout that this version does not know".to_owned();
            return Err(StoreError::Unreadable { what });
        }
        let full = |limit: &sluice_core::Limit| Bucket::full(limit.rate(), self.now);
        let mut buckets: SmallVec<[Bucket; 4]> = check
            .parts()
            .iter()
            .zip(places)
            .map(|(part, &place)| in_hand[place].unwrap_or_else(|| full(&part.limit)))
            .collect();
        let before = buckets.clone();
        let decision = check.decide(&mut buckets, self.now, Source::Store);
        if decision.is_allowed() != (verdict == b'1') {
            let what = format!(
                "check.lua and the core disagree at {} us: a fault of Sluice",
                self.now.unix_micros()
            );
            return Err(StoreError::Unreadable { what });
        }
        for ((part, &place), (before, after)) in
            check.parts().iter().zip(places).zip(before.iter().zip(&buckets))
        {
            if before != after {
                in_hand[place] = (!after.is_full(part.limit.rate(), self.now)).then_some(*after);
            }
        }
        Ok(decision)
    }
}
