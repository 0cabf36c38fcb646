//! Decides the steps of holds. `lua/check.lua` is checked against this file.

use smallvec::SmallVec;

use crate::{
    bucket::{Bucket, Settled},
    check::{Action, Check, verdict},
    cost::Cost,
    decision::{Decision, Retry, Source, Verdict},
    hold::{Guarded, Hold, Record, RecordWrite},
    part::Part,
    time::Timestamp,
};

impl Check {
    /// Decides a step of a hold on `buckets`, as [`decide`](Self::decide) does, and on the `record`
    /// that the store has under [`record_key`](Self::record_key). Returns also what to do to the
    /// record, together with the buckets; `None` if it stays as it is.
    ///
    /// [`Decision::guarded`] says what the record prevented. A step that is [`Guarded::Conflict`]
    /// is not allowed, and its verdicts say "not admitted". A repeated one is decided as it was
    /// before.
    ///
    /// The verdicts of a settlement say "admitted" where the difference was charged or given back.
    /// What cannot be given back any more, since the hold's lifetime is over, is not admitted.
    ///
    /// A check that is none of a hold is decided as by [`decide`](Self::decide).
    ///
    /// # Panics
    /// When there are fewer buckets than parts.
    #[must_use]
    pub fn decide_hold(
        &self,
        buckets: &mut [Bucket],
        record: Option<Record>,
        now: Timestamp,
        source: Source,
    ) -> (Decision, Option<RecordWrite>) {
        let Some(hold) = self.hold() else { return (self.decide(buckets, now, source), None) };
        assert!(
            buckets.len() >= self.parts().len(),
            "a check needs one bucket for each of its parts"
        );
        let guarded = hold.guard(record);
        let (decision, write) = match (guarded, self.action()) {
            (Guarded::Repeated | Guarded::Conflict, _) => {
                (self.look(buckets, guarded, record, now, source), None)
            }
            (Guarded::First | Guarded::Late, Action::Reserve | Action::Extend) => {
                self.take_for(hold, buckets, record, now, source)
            }
            (Guarded::First | Guarded::Late, _) => {
                let may_return = now < hold.ends_at(now);
                let since = hold.since(record);
                let decision = self.correct(buckets, since, may_return, now, source);
                (decision, hold.record([], record, now))
            }
        };
        // A repeated step ends with the first one: if it seemed to last longer, its tokens could be
        // given back once more when the record is gone.
        let ends_at = match record {
            Some(record) if guarded == Guarded::Repeated => record.until(),
            _ => hold.ends_at(now),
        };
        (decision.with_guarded(Some((guarded, ends_at))), write)
    }

    /// Decides a step of a hold where no record is kept.
    pub(crate) fn decide_unguarded(
        &self,
        buckets: &mut [Bucket],
        now: Timestamp,
        source: Source,
    ) -> Decision {
        let since = self.hold().and_then(|hold| hold.since(None));
        match self.action() {
            Action::Reserve | Action::Extend => self.decide_together(buckets, since, now, source),
            _ => self.correct(buckets, since, false, now, source),
        }
    }

    fn take_for(
        &self,
        hold: &Hold,
        buckets: &mut [Bucket],
        record: Option<Record>,
        now: Timestamp,
        source: Source,
    ) -> (Decision, Option<RecordWrite>) {
        let decision = self.decide_together(buckets, hold.since(record), now, source);
        if decision.is_denied() {
            return (decision, None);
        }
        let verdicts = decision.verdicts().iter().enumerate();
        let missed = verdicts.filter(|(_, verdict)| !verdict.admitted).map(|(part, _)| part);
        let write = hold.record(missed, record, now);
        (decision, write)
    }

    /// Ends what is held apart `since` then, charges, and gives back: the latter only if it
    /// `may_return`. Nor does a hold end else, as a settlement that can be repeated would end
    /// others in its place.
    fn correct(
        &self,
        buckets: &mut [Bucket],
        since: Option<Timestamp>,
        may_return: bool,
        now: Timestamp,
        source: Source,
    ) -> Decision {
        let parts = self.parts().iter().zip(buckets);
        let verdicts: SmallVec<[Verdict; 1]> = parts
            .map(|(part, stored)| {
                let is_nothing = part.cost == Cost::NONE;
                let applies = may_return || !part.gives_back() || is_nothing;
                self.settle_part(part, stored, now, |bucket| {
                    let held = part.held().tokens();
                    let ended =
                        may_return && since.is_some_and(|since| bucket.end_hold(held, since));
                    let changed = applies && self.apply(part, bucket, true, since);
                    // What does not count any more is not given back.
                    (ended || changed, applies && (changed || is_nothing))
                })
            })
            .collect();
        Decision::new(true, verdicts, now, source)
    }

    /// Changes nothing but what has to be repaired.
    fn look(
        &self,
        buckets: &mut [Bucket],
        guarded: Guarded,
        record: Option<Record>,
        now: Timestamp,
        source: Source,
    ) -> Decision {
        let allowed = guarded == Guarded::Repeated;
        let parts = self.parts().iter().zip(buckets).enumerate();
        let verdicts: SmallVec<[Verdict; 1]> = parts
            .map(|(index, (part, stored))| {
                let is_missed =
                    !part.limit.denies() && record.is_some_and(|record| record.missed(index));
                self.settle_part(part, stored, now, |_| (false, allowed && !is_missed))
            })
            .collect();
        Decision::new(allowed, verdicts, now, source)
    }

    /// Brings the bucket of one part up to date, and lets `correct` change it, which says whether
    /// it did, and whether the part is admitted.
    fn settle_part(
        &self,
        part: &Part,
        stored: &mut Bucket,
        now: Timestamp,
        correct: impl FnOnce(&mut Settled<'_>) -> (bool, bool),
    ) -> Verdict {
        let mut bucket = stored.settled(part.limit.algorithm(), now);
        let (changed, admitted) = correct(&mut bucket);
        if changed || bucket.is_repaired() {
            *stored = bucket.bucket();
        }
        // Waiting helps with none of them.
        let retry = if admitted { Retry::Now } else { Retry::Never };
        Verdict { admitted, retry, ..verdict(part, &bucket, true, now) }
    }
}
