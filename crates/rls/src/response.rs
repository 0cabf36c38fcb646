//! The response to a call.

use std::time::Duration;

use bytes::Bytes;
use sluice::response::headers;
use sluice_core::{Decision, Source, Verdict};
use smallvec::SmallVec;

use crate::{
    charged::Charged,
    dynamic_metadata,
    messages::{Code, DescriptorStatus, HeaderValue, RateLimitRequest, RateLimitResponse},
    plan::{CheckPlan, LimitInfo, Role, Slot},
};

/// What the store decided about a plan.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The decision about the tokens to take.
    pub(crate) taken: Decision,
    /// The decision about the usage that was charged.
    pub(crate) charged: Option<Charged>,
    /// The decision about the tokens to give back.
    pub(crate) given_back: Option<Decision>,
    /// Whether all quota limits deny.
    pub(crate) is_quota_exhausted: bool,
}

impl Outcome {
    /// Returns whether the call is denied.
    pub(crate) fn is_denied(&self, plan: &CheckPlan<'_>) -> bool {
        self.taken.is_denied()
            || self.charged.as_ref().is_some_and(Charged::is_denied)
            || plan.is_blocked
            || self.is_quota_exhausted
    }

    /// Returns the response to `request`, whose plan is `plan`.
    pub(crate) fn respond(
        &self,
        request: &RateLimitRequest,
        plan: &CheckPlan<'_>,
        with_headers: bool,
    ) -> RateLimitResponse {
        let statuses: Vec<_> = plan.slots.iter().map(|slot| self.status(slot)).collect();
        let passed = plan
            .slots
            .iter()
            .zip(&statuses)
            .filter(|(_, status)| status.code == i32::from(Code::Ok));
        let metadata = passed.filter_map(|(slot, _)| slot.limit()?.metadata);
        RateLimitResponse {
            overall_code: code(!self.is_denied(plan)),
            dynamic_metadata: dynamic_metadata::of_response(request, metadata),
            statuses,
            response_headers_to_add: if with_headers { self.headers(plan) } else { Vec::new() },
        }
    }

    fn status(&self, slot: &Slot<'_>) -> DescriptorStatus {
        match slot {
            Slot::Unlimited { by_rule } => {
                let limit_remaining = if *by_rule { u32::MAX } else { 0 };
                DescriptorStatus {
                    code: code(true),
                    current_limit: None,
                    limit_remaining,
                    duration_until_reset: None,
                }
            }
            Slot::Blocked { limit, denies } => DescriptorStatus {
                code: code(!denies || limit.is_shadow),
                current_limit: Some(limit.current.clone().into_owned()),
                limit_remaining: 0,
                duration_until_reset: None,
            },
            Slot::Tokens { limit, part, role } => {
                let verdict = &self.verdicts(*role)[*part];
                let undone = self.is_quota_exhausted && *role == Role::Takes;
                let returned = if undone && verdict.admitted { verdict.cost.tokens() } else { 0 };
                let remaining =
                    (verdict.remaining + returned).min(verdict.limit.algorithm().capacity());
                DescriptorStatus {
                    code: code(verdict.admitted || limit.is_shadow),
                    current_limit: Some(limit.current.clone().into_owned()),
                    limit_remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
                    duration_until_reset: verdict.reset_in.map(duration),
                }
            }
        }
    }

    /// Returns the verdicts about the descriptors of this role.
    fn verdicts(&self, role: Role) -> &[Verdict] {
        match role {
            Role::Takes => self.taken.verdicts(),
            Role::Charges => self.charged.as_ref().map_or(&[], Charged::verdicts),
            Role::GivesBack => self.given_back.as_ref().map_or(&[], Decision::verdicts),
        }
    }

    /// Returns the fields of [`headers::fields`]. A blocking rule has none.
    fn headers(&self, plan: &CheckPlan<'_>) -> Vec<HeaderValue> {
        if plan.is_blocked {
            return Vec::new();
        }
        if self.is_quota_exhausted {
            return self.exhausted_quota(plan).as_ref().map(fields).unwrap_or_default();
        }
        if let Some(charged) = &self.charged {
            return fields(&charged.joined_with(&self.taken));
        }
        // A request that only refunds gets the state after the refund.
        let given_back = self.given_back.as_ref().filter(|_| self.taken.verdicts().is_empty());
        fields(given_back.unwrap_or(&self.taken))
    }

    /// Returns a denial by the quota limit that allows a retry first.
    fn exhausted_quota(&self, plan: &CheckPlan<'_>) -> Option<Decision> {
        let quotas = plan.slots.iter().filter_map(|slot| match slot {
            Slot::Tokens { limit: LimitInfo { is_quota: true, .. }, part, role } => {
                self.verdicts(*role).get(*part)
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
    /// Returns the limit of the descriptor.
    pub(crate) const fn limit(&self) -> Option<&LimitInfo<'r>> {
        match self {
            Self::Unlimited { .. } => None,
            Self::Blocked { limit, .. } | Self::Tokens { limit, .. } => Some(limit),
        }
    }
}

fn fields(decision: &Decision) -> Vec<HeaderValue> {
    let mut fields = Vec::with_capacity(headers::MOST_FIELDS);
    headers::fields(decision, |name, value| {
        fields.push(HeaderValue { key: Bytes::from_static(name.as_str().as_bytes()), value });
    });
    fields
}

fn code(passes: bool) -> i32 {
    if passes { Code::Ok } else { Code::OverLimit }.into()
}

fn duration(span: Duration) -> prost_types::Duration {
    // A bucket is full within 50 years.
    let seconds = i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    prost_types::Duration { seconds, nanos: i32::try_from(span.subsec_nanos()).unwrap_or_default() }
}
