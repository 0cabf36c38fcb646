//! The description, compared with Envoy's own messages: it can decode whatever they encode.

use std::collections::HashMap;

use envoy_types::pb::{
    envoy::{
        config::core::v3::HeaderValue,
        extensions::common::ratelimit::v3::{
            RateLimitDescriptor,
            rate_limit_descriptor::{Entry, RateLimitOverride},
        },
        service::ratelimit::v3::{
            RateLimitRequest, RateLimitResponse,
            rate_limit_response::{DescriptorStatus, RateLimit},
        },
    },
    google::protobuf::{self, value::Kind},
};
use prost::{
    Message,
    bytes::Buf,
    encoding::{WireType, decode_key, decode_varint},
};
use prost_types::{DescriptorProto, field_descriptor_proto::Type};

use super::files;

/// Returns every message by its full name.
fn messages() -> HashMap<String, DescriptorProto> {
    fn add(parent: &str, message: DescriptorProto, all: &mut HashMap<String, DescriptorProto>) {
        let name = format!("{parent}.{}", message.name());
        message.nested_type.iter().for_each(|nested| add(&name, nested.clone(), all));
        all.insert(name, message);
    }
    let mut all = HashMap::new();
    for file in files::all() {
        let package = format!(".{}", file.package());
        file.message_type.into_iter().for_each(|message| add(&package, message, &mut all));
    }
    all
}

/// Returns the names of the fields in `bytes`, in order, decoded with the description of `name`.
fn read(all: &HashMap<String, DescriptorProto>, name: &str, mut bytes: &[u8]) -> String {
    let mut names = Vec::new();
    while bytes.has_remaining() {
        let (number, wire_type) = decode_key(&mut bytes).unwrap();
        let fields = &all[name].field;
        let field = fields
            .iter()
            .find(|field| u32::try_from(field.number()).unwrap() == number)
            .unwrap_or_else(|| panic!("{name}: {number}"));
        let expected = match field.r#type() {
            Type::Message | Type::String => WireType::LengthDelimited,
            Type::Double => WireType::SixtyFourBit,
            _ => WireType::Varint,
        };
        assert_eq!(wire_type, expected, "{name}.{}", field.name());
        let inside = match expected {
            WireType::Varint => {
                decode_varint(&mut bytes).unwrap();
                String::new()
            }
            WireType::SixtyFourBit => {
                bytes.advance(8);
                String::new()
            }
            _ => {
                let length = usize::try_from(decode_varint(&mut bytes).unwrap()).unwrap();
                let (inside, rest) = bytes.split_at(length);
                bytes = rest;
                if field.r#type() == Type::Message {
                    format!("{{{}}}", read(all, field.type_name(), inside))
                } else {
                    String::new()
                }
            }
        };
        names.push(format!("{}{inside}", field.name()));
    }
    names.join(" ")
}

#[test]
fn requests_match_their_description() {
    let request = RateLimitRequest {
        domain: "edge".to_owned(),
        descriptors: vec![RateLimitDescriptor {
            entries: vec![Entry { key: "ip".to_owned(), value: "a".to_owned() }],
            limit: Some(RateLimitOverride { requests_per_unit: 5, unit: 2 }),
            hits_addend: Some(protobuf::UInt64Value { value: 3 }),
            is_negative_hits: true,
        }],
        hits_addend: 2,
    };
    let expected = "domain descriptors{entries{key value} limit{requests_per_unit unit} \
                    hits_addend{value} is_negative_hits} hits_addend";
    assert_eq!(
        read(&messages(), ".envoy.service.ratelimit.v3.RateLimitRequest", &request.encode_to_vec()),
        expected
    );
}

#[test]
fn responses_match_their_description() {
    let value = |kind| protobuf::Value { kind: Some(kind) };
    let list = [
        Kind::NumberValue(1.5),
        Kind::BoolValue(true),
        Kind::NullValue(0),
        Kind::StringValue("x".to_owned()),
    ]
    .map(value)
    .into();
    let metadata = protobuf::Struct {
        fields: [("a".to_owned(), value(Kind::ListValue(protobuf::ListValue { values: list })))]
            .into(),
    };
    let response = RateLimitResponse {
        overall_code: 1,
        statuses: vec![DescriptorStatus {
            code: 1,
            current_limit: Some(RateLimit { name: "x".to_owned(), requests_per_unit: 5, unit: 2 }),
            limit_remaining: 4,
            duration_until_reset: Some(protobuf::Duration { seconds: 1, nanos: 2 }),
            quota: None,
        }],
        response_headers_to_add: vec![HeaderValue {
            key: "k".to_owned(),
            value: "v".to_owned(),
            raw_value: Vec::new(),
        }],
        dynamic_metadata: Some(protobuf::Struct {
            fields: [("b".to_owned(), value(Kind::StructValue(metadata)))].into(),
        }),
        ..RateLimitResponse::default()
    };
    let list = "list_value{values{number_value} values{bool_value} values{null_value} \
                values{string_value}}";
    let expected = format!(
        "overall_code statuses{{code current_limit{{requests_per_unit unit name}} \
         limit_remaining duration_until_reset{{seconds nanos}}}} \
         response_headers_to_add{{key value}} \
         dynamic_metadata{{fields{{key value{{struct_value{{fields{{key value{{{list}}}}}}}}}}}}}"
    );
    assert_eq!(
        read(
            &messages(),
            ".envoy.service.ratelimit.v3.RateLimitResponse",
            &response.encode_to_vec()
        ),
        expected
    );
}
