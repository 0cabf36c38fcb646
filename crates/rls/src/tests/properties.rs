//! Properties of every call.

use std::sync::LazyLock;

use envoy_types::pb::envoy::service::ratelimit::v3 as theirs;
use proptest::prelude::*;
use prost::Message;
use tokio::runtime::Builder;

use super::{wire::any_request, *};
use crate::messages::DescriptorStatus;

/// Rules of every kind, for the keys that the generated requests have.
const RULES: &str = "
domain: edge
descriptors:
- { key: a, rate_limit: { unit: second, requests_per_unit: 5 } }
- key: a
  value: b
  rate_limit: { unit: day, requests_per_unit: 2, name: ab, replaces: [{ name: g }] }
- { key: b, value: 'a*', share_threshold: true, rate_limit: { unit: minute, requests_per_unit: 9 } }
- { key: c, shadow_mode: true, rate_limit: { unit: hour, requests_per_unit: 1 } }
- { key: d, rate_limit: { unlimited: true }, metadata: { d: 1 } }
- { key: e, rate_limit: { unit: month, requests_per_unit: 0 } }
- key: f
  quota_mode: true
  rate_limit: { unit: year, requests_per_unit: 3 }
  metadata: { f: [x] }
- key: g
  quota_mode: true
  rate_limit: { unit: week, requests_per_unit: 4, name: g }
  descriptors:
  - key: a
    detailed_metric: true
    rate_limit: { unit: second, requests_per_unit: 4294967295 }
- { key: '*', value: c, value_to_metric: true, rate_limit: { unit: day, requests_per_unit: 1 } }
";

/// Creates a service with these rules and full buckets.
fn fixture() -> Fixture {
    static READ: LazyLock<RlsSettings> = LazyLock::new(|| rules(RULES));
    Fixture::of(&READ)
}

/// Creates the same service, which charges nothing past zero.
fn fixture_without_debt() -> Fixture {
    static READ: LazyLock<RlsSettings> = LazyLock::new(|| rules_with(RULES, "overrun: none"));
    Fixture::of(&READ)
}

fn decide(fixture: &Fixture, request: &RateLimitRequest) -> Result<RateLimitResponse, RlsError> {
    Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(fixture.rls.decide(request, CallDeadline::NONE))
}

fn decoded(request: &theirs::RateLimitRequest) -> RateLimitRequest {
    RateLimitRequest::decode(&*request.encode_to_vec()).unwrap()
}

/// Returns a request that reads the buckets of `request` and takes nothing.
fn without_hits(request: &RateLimitRequest) -> RateLimitRequest {
    let without_hits = |descriptor: &Descriptor| Descriptor {
        is_negative_hits: false,
        ..descriptor.clone().hits(0)
    };
    RateLimitRequest {
        descriptors: request.descriptors.iter().map(without_hits).collect(),
        ..request.clone()
    }
}

proptest! {
    #[test]
    fn every_call_is_decided_or_rejected_with_its_error(
        requests in prop::collection::vec(any_request(), 1..8),
    ) {
        let fixture = fixture();
        for request in requests {
            let request = decoded(&request);
            match decide(&fixture, &request) {
                Ok(response) => {
                    let codes: Vec<_> =
                        response.statuses.iter().map(DescriptorStatus::code).collect();
                    prop_assert_eq!(codes.len(), request.descriptors.len());
                    prop_assert!(!codes.contains(&Code::Unknown));
                    let over = codes.iter().filter(|code| **code == Code::OverLimit).count();
                    match response.overall_code() {
                        Code::OverLimit => prop_assert!(over > 0),
                        Code::Ok => prop_assert!(over < request.descriptors.len()),
                        Code::Unknown => prop_assert!(false, "a code that says nothing"),
                    }
                }
                Err(RlsError::Invalid(message)) => {
                    let wrong_unit = request
                        .descriptors
                        .iter()
                        .filter_map(|descriptor| descriptor.limit)
                        .any(|limit| !(1..8).contains(&limit.unit));
                    prop_assert!(
                        request.domain.is_empty() || request.descriptors.is_empty() || wrong_unit,
                        "{}", message
                    );
                }
                Err(error) => prop_assert!(false, "{error}"),
            }
        }
    }

    #[test]
    fn a_denied_call_changes_no_bucket(before in any_request(), denied in any_request()) {
        let fixture = fixture_without_debt();
        let (before, denied) = (decoded(&before), decoded(&denied));
        let _ = decide(&fixture, &before);
        let read = without_hits(&denied);
        let remaining = || {
            let response = decide(&fixture, &read).ok()?;
            let remaining = response.statuses.iter().map(|status| status.limit_remaining);
            Some(remaining.collect::<Vec<_>>())
        };
        let left = remaining();
        let response = decide(&fixture, &denied);
        if response.is_ok_and(|response| response.overall_code() == Code::OverLimit) {
            prop_assert_eq!(remaining(), left);
        }
    }

    #[test]
    fn invalid_bytes_are_rejected(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(request) = RateLimitRequest::decode(&*bytes) {
            let decided = decide(&fixture(), &request);
            prop_assert!(matches!(decided, Ok(_) | Err(RlsError::Invalid(_))), "{:?}", decided);
        }
    }
}
