//! `POST /json`: the same service for clients that do not speak gRPC, in Protobuf's JSON mapping.
//!
//! ```json
//! {
//!   "domain": "edge",
//!   "descriptors": [{ "entries": [{ "key": "api_key", "value": "alice" }] }],
//!   "hitsAddend": 1
//! }
//! ```
//!
//! Members may also be named as in the messages (`hits_addend`), and whole numbers may be strings.
//! The response has status 200 or 429, the rate limit fields, and this body:
//!
//! ```json
//! {
//!   "overallCode": "OK",
//!   "statuses": [
//!     {
//!       "code": "OK",
//!       "currentLimit": { "requestsPerUnit": 60, "unit": "MINUTE" },
//!       "limitRemaining": 59,
//!       "durationUntilReset": "1s"
//!     }
//!   ]
//! }
//! ```
//!
//! Errors are problems: 400 for a body that cannot be read, 503 when the store cannot decide.

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header::CONTENT_TYPE, request::Parts};
use prost_types::value::Kind as ValueKind;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value, json};
use utoipa::{
    ToSchema,
    openapi::schema::{Object, ObjectBuilder, Type},
};

use sluice_http::{Problem, body};

use crate::{
    EnvoyRls,
    call::Call,
    deadline::CallDeadline,
    error::RlsError,
    messages::{
        CODES, Code, CurrentLimit, Descriptor, DescriptorStatus, Entry, LimitOverride,
        RateLimitRequest, RateLimitResponse, UInt64Value, UNITS, Unit,
    },
};

/// The path of the service.
pub const PATH: &str = "/json";

/// The longest body that is accepted.
const MAX_BYTES: usize = 256 << 10;

impl EnvoyRls {
    /// Responds to a request to [`PATH`].
    ///
    /// # Errors
    /// Returns a problem when the request cannot be read or decided.
    pub async fn respond_json(&self, head: &Parts, body: &mut Body) -> Result<Response, Problem> {
        let mut call = self.begin_call();
        match self.decide_json(head, body, &mut call).await {
            Ok(response) => {
                call.responded(&response);
                Ok(respond(&response, self.repeats_fields()))
            }
            Err(problem) => {
                call.failed(problem.kind().grpc_code(), problem.detail());
                Err(problem)
            }
        }
    }

    async fn decide_json(
        &self,
        head: &Parts,
        body: &mut Body,
        call: &mut Call<'_>,
    ) -> Result<RateLimitResponse, Problem> {
        if head.method != Method::POST {
            return Err(Problem::method_not_allowed(PATH, "POST"));
        }
        if !self.has_rules() {
            // Whatever the body is.
            return Err(RlsError::NoRules.into());
        }
        let bytes = body::read_all(body, MAX_BYTES).await?;
        let request: RequestBody = body::parse(&bytes)?;
        Ok(self.decide_call(&request.into(), CallDeadline::NONE, call, true).await?)
    }
}

/// Returns the response, whose header has the rate limit fields. Its body repeats them if `repeats`
/// is set.
fn respond(answer: &RateLimitResponse, repeats: bool) -> Response {
    let mut body = ResponseBody::of(answer);
    if !repeats {
        body.response_headers_to_add.clear();
    }
    let text = serde_json::to_vec(&body).expect("a response is numbers and strings");
    let mut response = Response::new(Body::from(text));
    if answer.overall_code() == Code::OverLimit {
        *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    }
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for field in &answer.response_headers_to_add {
        let name = HeaderName::from_bytes(&field.key).expect("our own fields have names");
        let value = HeaderValue::from_maybe_shared(field.value.clone())
            .expect("our own fields are printable ASCII");
        response.headers_mut().insert(name, value);
    }
    response
}

/// The body of a request.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = RateLimitRequest, description = "`envoy.service.ratelimit.v3.RateLimitRequest`")]
pub struct RequestBody {
    /// The `domain` of a rules file.
    #[serde(default)]
    #[schema(required, min_length = 1)]
    domain: String,
    /// The descriptors of the request. All are decided together.
    #[serde(default)]
    #[schema(required, min_items = 1)]
    descriptors: Vec<DescriptorBody>,
    /// Tokens that each descriptor takes; 0 means 1.
    #[serde(default, alias = "hits_addend", deserialize_with = "number")]
    #[schema(value_type = u64, maximum = 4_294_967_295_u64)]
    hits_addend: u32,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(
    as = RateLimitDescriptor,
    description = "`envoy.extensions.common.ratelimit.v3.RateLimitDescriptor`"
)]
struct DescriptorBody {
    /// Keys and values, from the outermost rule to the innermost.
    #[serde(default)]
    entries: Vec<EntryBody>,
    /// A limit that replaces every rule, with buckets of its own.
    limit: Option<LimitBody>,
    /// Tokens that this descriptor takes, in place of the request's; 0 only reads the state, and
    /// usage that does not fit may be charged past zero (`rls.overrun`).
    #[serde(default, alias = "hits_addend", deserialize_with = "number_if_any")]
    hits_addend: Option<u64>,
    /// Whether tokens are given back, if the request is allowed.
    #[serde(default, alias = "is_negative_hits")]
    is_negative_hits: bool,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RateLimitDescriptorEntry)]
struct EntryBody {
    /// The key.
    #[serde(default)]
    key: String,
    /// The value. Each value has a bucket of its own.
    #[serde(default)]
    value: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = RateLimitOverride)]
struct LimitBody {
    /// The tokens per unit, which is also the burst; 0 denies everything.
    #[serde(default, alias = "requests_per_unit", deserialize_with = "number")]
    #[schema(value_type = u64, maximum = 4_294_967_295_u64)]
    requests_per_unit: u32,
    /// The unit of time.
    #[serde(default)]
    #[schema(required, schema_with = known_unit)]
    unit: UnitBody,
}

/// A unit, by name or by number.
#[derive(Debug, Default, Deserialize)]
#[serde(untagged, expecting = "must be a unit of time, as in \"MINUTE\"")]
enum UnitBody {
    #[serde(deserialize_with = "unit_by_name")]
    Named(Unit),
    Number(i32),
    #[default]
    #[serde(skip)]
    None,
}

fn unit_by_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Unit, D::Error> {
    let name = String::deserialize(deserializer)?;
    Unit::from_name(&name)
        .ok_or_else(|| de::Error::custom(format_args!("`{name}` is not a unit of time")))
}

/// A whole number, as a number or as a string: Protobuf's JSON mapping writes 64-bit numbers as
/// strings. It also accepts `2.0` and `2e0` as whole numbers.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "must be a whole number of at least 0")]
enum NumberBody {
    Number(u64),
    #[serde(deserialize_with = "whole")]
    Float(u64),
    Text(String),
}

fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = f64::deserialize(deserializer)?;
    as_whole(number)
        .ok_or_else(|| de::Error::custom(format_args!("{number} is not a whole number")))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is whole, and within the range that a float represents exactly"
)]
fn as_whole(number: f64) -> Option<u64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && (0.0..=EXACT).contains(&number)).then_some(number as u64)
}

fn number<'de, T: TryFrom<u64>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    number_if_any(deserializer).and_then(|number| {
        number.unwrap_or(0).try_into().map_err(|_| de::Error::custom("the number is too large"))
    })
}

fn number_if_any<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Option::deserialize(deserializer)?
        .map(|number| match number {
            NumberBody::Number(number) | NumberBody::Float(number) => Ok(number),
            NumberBody::Text(text) => {
                let number = text.parse().ok().or_else(|| as_whole(text.parse().ok()?));
                number.ok_or_else(|| {
                    de::Error::custom(format_args!("`{text}` is not a whole number"))
                })
            }
        })
        .transpose()
}

impl From<RequestBody> for RateLimitRequest {
    fn from(RequestBody { domain, descriptors, hits_addend }: RequestBody) -> Self {
        Self {
            domain: domain.into(),
            descriptors: descriptors.into_iter().map(Descriptor::from).collect(),
            hits_addend,
        }
    }
}

impl From<DescriptorBody> for Descriptor {
    fn from(
        DescriptorBody { entries, limit, hits_addend, is_negative_hits }: DescriptorBody,
    ) -> Self {
        Self {
            entries: entries
                .into_iter()
                .map(|EntryBody { key, value }| Entry { key: key.into(), value: value.into() })
                .collect(),
            limit: limit.map(|LimitBody { requests_per_unit, unit }| LimitOverride {
                requests_per_unit,
                unit: unit.into(),
            }),
            hits_addend: hits_addend.map(|value| UInt64Value { value }),
            is_negative_hits,
        }
    }
}

impl From<UnitBody> for i32 {
    fn from(unit: UnitBody) -> Self {
        match unit {
            UnitBody::Named(unit) => unit.into(),
            UnitBody::Number(number) => number,
            UnitBody::None => Unit::Unknown.into(),
        }
    }
}

/// The body of a response. Members that are zero are left out, as in Protobuf's JSON mapping.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RateLimitResponse, description = "`envoy.service.ratelimit.v3.RateLimitResponse`. \
                                                What is zero or empty is left out.")]
pub struct ResponseBody {
    /// Whether the request is allowed.
    #[schema(schema_with = code)]
    overall_code: &'static str,
    /// The status of each descriptor, in the order of the request.
    statuses: Vec<StatusBody>,
    /// The rate limit fields of this response, repeated if `rls.response_headers` is on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    response_headers_to_add: Vec<HeaderBody>,
    /// The `metadata` of the rules that allowed the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Object)]
    dynamic_metadata: Option<Value>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RateLimitDescriptorStatus)]
struct StatusBody {
    /// Whether this descriptor allows the request.
    #[schema(schema_with = code)]
    code: &'static str,
    /// The limit that applied; left out if none did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    current_limit: Option<CurrentLimitBody>,
    /// Remaining tokens.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(value_type = u64, maximum = 4_294_967_295_u64)]
    limit_remaining: u32,
    /// The time until the bucket is full again: `1.500s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = String, pattern = r"^[0-9]+(\.[0-9]{3,9})?s$")]
    duration_until_reset: Option<DurationBody>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RateLimitCurrentLimit)]
struct CurrentLimitBody {
    /// The tokens per unit, which is also the burst.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(value_type = u64, maximum = 4_294_967_295_u64)]
    requests_per_unit: u32,
    /// The unit of time.
    #[schema(schema_with = unit)]
    unit: &'static str,
    /// The name of the rule, if it has one.
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RateLimitHeader)]
struct HeaderBody {
    key: String,
    value: String,
}

fn one_of<'n>(names: impl Iterator<Item = &'n str>) -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names)).build()
}

fn code() -> Object {
    one_of(CODES.into_iter().map(|(_, name)| name))
}

fn unit() -> Object {
    one_of(UNITS.into_iter().map(|(_, name)| name))
}

/// The schema of a limit's unit. `UNKNOWN` is not accepted.
fn known_unit() -> Object {
    one_of(
        UNITS
            .into_iter()
            .filter(|(number, _)| *number != i32::from(Unit::Unknown))
            .map(|(_, name)| name),
    )
}

/// A duration: seconds with a decimal fraction and an `s`.
#[derive(Debug)]
struct DurationBody(prost_types::Duration);

impl Serialize for DurationBody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let prost_types::Duration { seconds, nanos } = self.0;
        // As many digits as necessary, in groups of three.
        match nanos {
            0 => serializer.collect_str(&format_args!("{seconds}s")),
            nanos if nanos % 1_000_000 == 0 => {
                serializer.collect_str(&format_args!("{seconds}.{:03}s", nanos / 1_000_000))
            }
            nanos if nanos % 1_000 == 0 => {
                serializer.collect_str(&format_args!("{seconds}.{:06}s", nanos / 1_000))
            }
            nanos => serializer.collect_str(&format_args!("{seconds}.{nanos:09}s")),
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands in references")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl ResponseBody {
    fn of(response: &RateLimitResponse) -> Self {
        let header = |field: &crate::messages::HeaderValue| HeaderBody {
            key: text(&field.key),
            value: text(&field.value),
        };
        Self {
            overall_code: response.overall_code().name(),
            statuses: response.statuses.iter().map(StatusBody::of).collect(),
            response_headers_to_add: response.response_headers_to_add.iter().map(header).collect(),
            dynamic_metadata: response.dynamic_metadata.as_ref().map(object),
        }
    }
}

impl StatusBody {
    fn of(status: &DescriptorStatus) -> Self {
        let current = |current: &CurrentLimit| CurrentLimitBody {
            requests_per_unit: current.requests_per_unit,
            unit: current.unit().name(),
            name: text(&current.name),
        };
        Self {
            code: status.code().name(),
            current_limit: status.current_limit.as_ref().map(current),
            limit_remaining: status.limit_remaining,
            duration_until_reset: status.duration_until_reset.map(DurationBody),
        }
    }
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(super) fn object(fields: &prost_types::Struct) -> Value {
    Value::Object(
        fields
            .fields
            .iter()
            .map(|(key, value)| (key.clone(), of_value(value)))
            .collect::<Map<_, _>>(),
    )
}

fn of_value(value: &prost_types::Value) -> Value {
    match &value.kind {
        None | Some(ValueKind::NullValue(_)) => Value::Null,
        Some(ValueKind::BoolValue(truth)) => json!(truth),
        Some(ValueKind::NumberValue(number)) => json!(number),
        Some(ValueKind::StringValue(text)) => json!(text),
        Some(ValueKind::ListValue(list)) => list.values.iter().map(of_value).collect(),
        Some(ValueKind::StructValue(fields)) => object(fields),
    }
}
