//! Our messages, compared with Envoy's own, which are generated from its files.

use envoy_types::pb::{
    envoy::{
        config::core::v3::HeaderValue,
        extensions::common::ratelimit::v3::{
            RateLimitDescriptor,
            rate_limit_descriptor::{Entry as TheirEntry, RateLimitOverride},
        },
        service::ratelimit::v3::{self as theirs, rate_limit_response as their},
    },
    google::protobuf,
};
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::messages::{self as ours, CODES, UNITS};

prop_compose! {
    /// Any request that Envoy might send.
    pub(super) fn any_request()(
        domain in prop_oneof![Just("edge".to_owned()), ".{0,4}"],
        descriptors in prop::collection::vec(any_descriptor(), 0..5),
        hits_addend in prop_oneof![0..20u32, any::<u32>()],
    ) -> theirs::RateLimitRequest {
        theirs::RateLimitRequest { domain, descriptors, hits_addend }
    }
}

prop_compose! {
    fn any_descriptor()(
        entries in prop::collection::vec(any_entry(), 0..4),
        limit in prop::option::weighted(0.2, any_override()),
        hits in prop::option::weighted(0.5, prop_oneof![0..20u64, any::<u64>()]),
        is_negative_hits in prop::bool::weighted(0.2),
    ) -> RateLimitDescriptor {
        let hits_addend = hits.map(|value| protobuf::UInt64Value { value });
        RateLimitDescriptor { entries, limit, hits_addend, is_negative_hits }
    }
}

prop_compose! {
    fn any_entry()(
        key in prop_oneof!["[a-h]", ".{0,3}"],
        value in prop_oneof!["[a-c]{0,2}", ".{0,3}"],
    ) -> TheirEntry {
        TheirEntry { key, value }
    }
}

prop_compose! {
    fn any_override()(
        requests_per_unit in prop_oneof![0..10u32, any::<u32>()],
        unit in prop_oneof![0..8i32, any::<i32>()],
    ) -> RateLimitOverride {
        RateLimitOverride { requests_per_unit, unit }
    }
}

prop_compose! {
    fn any_status()(
        code in 0..3i32,
        requests_per_unit in any::<u32>(),
        unit in 0..8i32,
        name in ".{0,5}",
        limit_remaining in any::<u32>(),
        seconds in 0..=i64::MAX,
        nanos in 0..1_000_000_000i32,
    ) -> ours::DescriptorStatus {
        let current_limit = Some(ours::CurrentLimit { requests_per_unit, unit, name: name.into() });
        ours::DescriptorStatus {
            code,
            current_limit,
            limit_remaining,
            duration_until_reset: Some(prost_types::Duration { seconds, nanos }),
        }
    }
}

proptest! {
    #[test]
    fn a_request_decodes_to_what_was_encoded(request in any_request()) {
        let read = RateLimitRequest::decode(&*request.encode_to_vec()).unwrap();
        prop_assert_eq!(&read.domain, request.domain.as_bytes());
        prop_assert_eq!(read.hits_addend, request.hits_addend);
        prop_assert_eq!(read.descriptors.len(), request.descriptors.len());
        for (read, sent) in read.descriptors.iter().zip(&request.descriptors) {
            prop_assert_eq!(
                read.hits_addend.map(|hits| hits.value),
                sent.hits_addend.map(|hits| hits.value)
            );
            prop_assert_eq!(read.is_negative_hits, sent.is_negative_hits);
            prop_assert_eq!(
                read.limit.map(|limit| (limit.requests_per_unit, limit.unit)),
                sent.limit.map(|limit| (limit.requests_per_unit, limit.unit))
            );
            let entries: Vec<_> =
                read.entries.iter().map(|entry| (&*entry.key, &*entry.value)).collect();
            let expected: Vec<_> = sent
                .entries
                .iter()
                .map(|entry| (entry.key.as_bytes(), entry.value.as_bytes()))
                .collect();
            prop_assert_eq!(entries, expected);
        }
    }

    #[test]
    fn a_response_decodes_to_what_was_encoded(
        statuses in prop::collection::vec(any_status(), 0..4),
        overall_code in 0..3i32,
        key in "[a-z-]{1,8}",
        value in ".{0,8}",
    ) {
        let header = ours::HeaderValue { key: key.clone().into(), value: value.clone().into() };
        let response = RateLimitResponse {
            overall_code,
            statuses: statuses.clone(),
            response_headers_to_add: vec![header],
            dynamic_metadata: None,
        };
        let read = theirs::RateLimitResponse::decode(&*response.encode_to_vec()).unwrap();
        prop_assert_eq!(read.overall_code, overall_code);
        prop_assert_eq!(
            read.response_headers_to_add,
            vec![HeaderValue { key, value, raw_value: Vec::new() }]
        );
        let expected: Vec<_> = statuses.into_iter().map(|status| {
            let current = status.current_limit.unwrap();
            let reset = status.duration_until_reset.unwrap();
            their::DescriptorStatus {
                code: status.code,
                current_limit: Some(their::RateLimit {
                    name: String::from_utf8(current.name.to_vec()).unwrap(),
                    requests_per_unit: current.requests_per_unit,
                    unit: current.unit,
                }),
                limit_remaining: status.limit_remaining,
                duration_until_reset: Some(protobuf::Duration {
                    seconds: reset.seconds,
                    nanos: reset.nanos,
                }),
                quota: None,
            }
        }).collect();
        prop_assert_eq!(read.statuses, expected);
    }
}

#[test]
fn metadata_decodes_to_what_was_encoded() {
    let metadata = crate::dynamic_metadata::of_rule(
        serde_json::json!({ "a": [1.5, true, null, "x"] }).as_object().unwrap(),
    );
    let response = RateLimitResponse { dynamic_metadata: metadata, ..RateLimitResponse::default() };
    let read = theirs::RateLimitResponse::decode(&*response.encode_to_vec()).unwrap();
    let kinds = read.dynamic_metadata.unwrap().fields.remove("a").unwrap().kind.unwrap();
    use protobuf::value::Kind;
    let Kind::ListValue(list) = kinds else { panic!("{kinds:?}") };
    let kinds: Vec<_> = list.values.into_iter().map(|value| value.kind.unwrap()).collect();
    assert_eq!(
        kinds,
        [
            Kind::NumberValue(1.5),
            Kind::BoolValue(true),
            Kind::NullValue(0),
            Kind::StringValue("x".to_owned())
        ]
    );
}

#[test]
fn codes_and_units_have_the_same_names_and_numbers() {
    for (number, name) in CODES {
        assert_eq!(their::Code::try_from(number).unwrap().as_str_name(), name);
        assert_eq!(Code::try_from(number).unwrap().name(), name);
    }
    for (number, name) in UNITS {
        assert_eq!(their::rate_limit::Unit::try_from(number).unwrap().as_str_name(), name);
        assert_eq!(Unit::try_from(number).unwrap().name(), name);
        assert_eq!(Unit::from_name(name), Unit::try_from(number).ok());
    }
    assert_eq!(Unit::from_name("FORTNIGHT"), None);
}
