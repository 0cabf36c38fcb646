//! The Protobuf files that describe the rate limit service, as far as it is used.

use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto,
    FileDescriptorProto, MessageOptions, MethodDescriptorProto, OneofDescriptorProto,
    ServiceDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

use crate::messages::{CODES, UNITS};

const RLS: &str = "envoy/service/ratelimit/v3/rls.proto";
const DESCRIPTOR: &str = "envoy/extensions/common/ratelimit/v3/ratelimit.proto";
const UNIT: &str = "envoy/type/v3/ratelimit_unit.proto";
const BASE: &str = "envoy/config/core/v3/base.proto";
const DURATION: &str = "google/protobuf/duration.proto";
const STRUCT: &str = "google/protobuf/struct.proto";
const WRAPPERS: &str = "google/protobuf/wrappers.proto";

/// Returns every file, after those that it imports.
pub(crate) fn all() -> Vec<FileDescriptorProto> {
    vec![duration(), wrappers(), structs(), base(), unit(), descriptor(), rls()]
}

fn rls() -> FileDescriptorProto {
    let response = ".envoy.service.ratelimit.v3.RateLimitResponse";
    let limit = DescriptorProto {
        enum_type: vec![enumeration("Unit", &UNITS)],
        ..message(
            "RateLimit",
            [
                field(1, "requests_per_unit", Type::Uint32),
                enumerated(2, "unit", &format!("{response}.RateLimit.Unit")),
                field(3, "name", Type::String),
            ],
        )
    };
    let status = message(
        "DescriptorStatus",
        [
            enumerated(1, "code", &format!("{response}.Code")),
            nested(2, "current_limit", &format!("{response}.RateLimit")),
            field(3, "limit_remaining", Type::Uint32),
            nested(4, "duration_until_reset", ".google.protobuf.Duration"),
        ],
    );
    let response = DescriptorProto {
        nested_type: vec![limit, status],
        enum_type: vec![enumeration("Code", &CODES)],
        ..message(
            "RateLimitResponse",
            [
                enumerated(1, "overall_code", &format!("{response}.Code")),
                repeated(nested(2, "statuses", &format!("{response}.DescriptorStatus"))),
                repeated(nested(3, "response_headers_to_add", ".envoy.config.core.v3.HeaderValue")),
                nested(6, "dynamic_metadata", ".google.protobuf.Struct"),
            ],
        )
    };
    let request = message(
        "RateLimitRequest",
        [
            field(1, "domain", Type::String),
            repeated(nested(
                2,
                "descriptors",
                ".envoy.extensions.common.ratelimit.v3.RateLimitDescriptor",
            )),
            field(3, "hits_addend", Type::Uint32),
        ],
    );
    let method = MethodDescriptorProto {
        name: Some("ShouldRateLimit".to_owned()),
        input_type: Some(".envoy.service.ratelimit.v3.RateLimitRequest".to_owned()),
        output_type: Some(".envoy.service.ratelimit.v3.RateLimitResponse".to_owned()),
        ..MethodDescriptorProto::default()
    };
    let service = ServiceDescriptorProto {
        name: Some("RateLimitService".to_owned()),
        method: vec![method],
        options: None,
    };
    let needs = [BASE, DESCRIPTOR, DURATION, STRUCT];
    FileDescriptorProto {
        service: vec![service],
        ..file(RLS, "envoy.service.ratelimit.v3", &needs, [request, response])
    }
}

fn descriptor() -> FileDescriptorProto {
    let parent = ".envoy.extensions.common.ratelimit.v3.RateLimitDescriptor";
    let entry = message("Entry", [field(1, "key", Type::String), field(2, "value", Type::String)]);
    let brought = message(
        "RateLimitOverride",
        [
            field(1, "requests_per_unit", Type::Uint32),
            enumerated(2, "unit", ".envoy.type.v3.RateLimitUnit"),
        ],
    );
    let descriptor = DescriptorProto {
        nested_type: vec![entry, brought],
        ..message(
            "RateLimitDescriptor",
            [
                repeated(nested(1, "entries", &format!("{parent}.Entry"))),
                nested(2, "limit", &format!("{parent}.RateLimitOverride")),
                nested(3, "hits_addend", ".google.protobuf.UInt64Value"),
                field(4, "is_negative_hits", Type::Bool),
            ],
        )
    };
    file(DESCRIPTOR, "envoy.extensions.common.ratelimit.v3", &[UNIT, WRAPPERS], [descriptor])
}

fn unit() -> FileDescriptorProto {
    let unit = enumeration("RateLimitUnit", &UNITS);
    FileDescriptorProto { enum_type: vec![unit], ..file(UNIT, "envoy.type.v3", &[], []) }
}

fn base() -> FileDescriptorProto {
    let header =
        message("HeaderValue", [field(1, "key", Type::String), field(2, "value", Type::String)]);
    file(BASE, "envoy.config.core.v3", &[], [header])
}

fn duration() -> FileDescriptorProto {
    let duration =
        message("Duration", [field(1, "seconds", Type::Int64), field(2, "nanos", Type::Int32)]);
    file(DURATION, "google.protobuf", &[], [duration])
}

fn wrappers() -> FileDescriptorProto {
    file(
        WRAPPERS,
        "google.protobuf",
        &[],
        [message("UInt64Value", [field(1, "value", Type::Uint64)])],
    )
}

fn structs() -> FileDescriptorProto {
    let entry = DescriptorProto {
        options: Some(MessageOptions { map_entry: Some(true), ..MessageOptions::default() }),
        ..message(
            "FieldsEntry",
            [field(1, "key", Type::String), nested(2, "value", ".google.protobuf.Value")],
        )
    };
    let fields = repeated(nested(1, "fields", ".google.protobuf.Struct.FieldsEntry"));
    let object = DescriptorProto { nested_type: vec![entry], ..message("Struct", [fields]) };
    let kinds = [
        enumerated(1, "null_value", ".google.protobuf.NullValue"),
        field(2, "number_value", Type::Double),
        field(3, "string_value", Type::String),
        field(4, "bool_value", Type::Bool),
        nested(5, "struct_value", ".google.protobuf.Struct"),
        nested(6, "list_value", ".google.protobuf.ListValue"),
    ];
    let one_of = OneofDescriptorProto { name: Some("kind".to_owned()), options: None };
    let value = DescriptorProto {
        oneof_decl: vec![one_of],
        ..message(
            "Value",
            kinds.map(|field| FieldDescriptorProto { oneof_index: Some(0), ..field }),
        )
    };
    let list = message("ListValue", [repeated(nested(1, "values", ".google.protobuf.Value"))]);
    let null = enumeration("NullValue", &[(0, "NULL_VALUE")]);
    FileDescriptorProto {
        enum_type: vec![null],
        ..file(STRUCT, "google.protobuf", &[], [object, value, list])
    }
}

fn file(
    name: &str,
    package: &str,
    needs: &[&str],
    messages: impl Into<Vec<DescriptorProto>>,
) -> FileDescriptorProto {
    FileDescriptorProto {
        name: Some(name.to_owned()),
        package: Some(package.to_owned()),
        dependency: needs.iter().map(|&name| name.to_owned()).collect(),
        message_type: messages.into(),
        syntax: Some("proto3".to_owned()),
        ..FileDescriptorProto::default()
    }
}

fn message(name: &str, fields: impl Into<Vec<FieldDescriptorProto>>) -> DescriptorProto {
    DescriptorProto {
        name: Some(name.to_owned()),
        field: fields.into(),
        ..DescriptorProto::default()
    }
}

fn field(number: i32, name: &str, kind: Type) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        r#type: Some(kind.into()),
        label: Some(Label::Optional.into()),
        ..FieldDescriptorProto::default()
    }
}

fn nested(place: i32, name: &str, kind: &str) -> FieldDescriptorProto {
    FieldDescriptorProto { type_name: Some(kind.to_owned()), ..field(place, name, Type::Message) }
}

fn enumerated(place: i32, name: &str, kind: &str) -> FieldDescriptorProto {
    FieldDescriptorProto { type_name: Some(kind.to_owned()), ..field(place, name, Type::Enum) }
}

fn repeated(field: FieldDescriptorProto) -> FieldDescriptorProto {
    FieldDescriptorProto { label: Some(Label::Repeated.into()), ..field }
}

fn enumeration(name: &str, values: &[(i32, &str)]) -> EnumDescriptorProto {
    let value = |&(number, name): &(i32, &str)| EnumValueDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        ..EnumValueDescriptorProto::default()
    };
    EnumDescriptorProto {
        name: Some(name.to_owned()),
        value: values.iter().map(value).collect(),
        ..EnumDescriptorProto::default()
    }
}
