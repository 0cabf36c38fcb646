//! A decision as a response.

use std::time::Duration;

use bytes::Bytes;
use sluice::response::headers;
use sluice_core::{Decision, Source, Verdict};
use smallvec::SmallVec;

use crate::{
    dynamic_metadata,
    messages::{Code, DescriptorStatus, HeaderValue, RateLimitRequest, RateLimitResponse},
    plan::{Limited, Question, Slot},
};

/// What the store said to a [`Question`].
#[derive(Debug)]
pub(crate) struct Answer {
    /// To what is taken.
    pub(crate) taken: Decision,
    /// To what is given back.
    pub(crate) given_back: Option<Decision>,
    /// Whether every limit that only denies together with the others does.
    pub(crate) is_quota_exhausted: bool,
}

impl Answer {
    /// The response to `request`, which asked `question`.
    pub(crate) fn respond(
        &self,
        request: &RateLimitRequest,
        question: &Question<'_>,
        with_headers: bool,
    ) -> RateLimitResponse {
        let denied = self.taken.is_denied() || question.is_barred || self.is_quota_exhausted;
        let statuses: Vec<_> = question.slots.iter().map(|slot| self.status(slot)).collect();
        let passed = question
            .slots
            .iter()
            .zip(&statuses)
            .filter(|(_, status)| status.code == i32::from(Code::Ok));
        let metadata = passed.filter_map(|(slot, _)| slot.limit()?.metadata);
        RateLimitResponse {
            overall_code: code(!denied),
            dynamic_metadata: dynamic_metadata::of_answer(request, metadata),
            statuses,
            response_headers_to_add: if with_headers { self.headers(question) } else { Vec::new() },
        }
    }

    fn status(&self, slot: &Slot<'_>) -> DescriptorStatus {
        match slot {
            Slot::Free { by_rule } => {
                let limit_remaining = if *by_rule { u32::MAX } else { 0 };
                DescriptorStatus {
                    code: code(true),
                    current_limit: None,
                    limit_remaining,
                    duration_until_reset: None,
                }
            }
            Slot::Barred { limit, denies } => DescriptorStatus {
                code: code(!denies || limit.is_shadow),
                current_limit: Some(limit.current.clone().into_owned()),
                limit_remaining: 0,
                duration_until_reset: None,
            },
            Slot::Tokens { limit, part, gives_back } => {
                let decision = if *gives_back {
                    self.given_back.as_ref().unwrap_or(&self.taken)
                } else {
                    &self.taken
                };
                let verdict = &decision.verdicts()[*part];
                let returned = if self.is_quota_exhausted && verdict.admitted && !gives_back {
                    verdict.cost.tokens()
                } else {
                    0
                };
                let remaining = (verdict.remaining + returned).min(verdict.limit.rate().burst());
                DescriptorStatus {
                    code: code(verdict.admitted || limit.is_shadow),
                    current_limit: Some(limit.current.clone().into_owned()),
                    limit_remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
                    duration_until_reset: Some(duration(verdict.reset_in)),
                }
            }
        }
    }

    /// The fields of [`headers::fields`]. A rule that nothing passes has nothing to say there.
    fn headers(&self, question: &Question<'_>) -> Vec<HeaderValue> {
        if question.is_barred {
            return Vec::new();
        }
        if self.is_quota_exhausted {
            return self.exhausted_quota(question).as_ref().map(fields).unwrap_or_default();
        }
        // Who only gives back wants to know what there is then.
        let told = self.given_back.as_ref().filter(|_| self.taken.verdicts().is_empty());
        fields(told.unwrap_or(&self.taken))
    }

    /// Of the limits that only deny together, the one that gives way first, as one that denies by
    /// itself.
    fn exhausted_quota(&self, question: &Question<'_>) -> Option<Decision> {
        let quotas = question.slots.iter().filter_map(|slot| match slot {
            Slot::Tokens { limit: Limited { is_quota: true, .. }, part, gives_back: false } => {
                self.taken.verdicts().get(*part)
            }
            _ => None,
        });
        let first = quotas.min_by_key(|verdict| verdict.retry)?;
        let limit = (*first.limit).clone().with_mode(sluice_core::Mode::Enforce).into();
        let verdicts: SmallVec<[Verdict; 2]> =
            SmallVec::from_iter([Verdict { limit, ..first.clone() }]);
        Some(Decision::new(false, verdicts, self.taken.at(), Source::Store))
    }
}

impl<'r> Slot<'r> {
    /// The limit that was asked.
    pub(crate) const fn limit(&self) -> Option<&Limited<'r>> {
        match self {
            Self::Free { .. } => None,
            Self::Barred { limit, .. } | Self::Tokens { limit, .. } => Some(limit),
        }
    }
}

fn fields(decision: &Decision) -> Vec<HeaderValue> {
    let mut fields = Vec::with_capacity(headers::MOST_FIELDS);
    headers::fields(decision, |name, value| {
        fields.push(HeaderValue { key: Bytes::from_static(name.as_str().as_bytes()), value })
    });
    fields
}

fn code(passes: bool) -> i32 {
    if passes { Code::Ok } else { Code::OverLimit }.into()
}

fn duration(span: Duration) -> prost_types::Duration {
    // A bucket fills within 50 years.
    let seconds = i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    prost_types::Duration { seconds, nanos: i32::try_from(span.subsec_nanos()).unwrap_or_default() }
}
