//! `POST /v1/check` and `POST /v1/check/batch`: the limiter as a JSON API.
//!
//! ```json
//! {
//!   "client": "alice", "ip": "192.0.2.1", "tier": "pro",
//!   "method": "POST", "path": "/api/v1/blueprints",
//!   "attributes": { "x-org": "acme" }, "cost": 1
//! }
//! ```
//!
//! | member | |
//! |---|---|
//! | `client` | the client: an API key, a user name, or any other name; `ip` by default |
//! | `ip` | the client's address, for limits per address |
//! | `method`, `path` | the request's; `GET` and `/` by default; a query is ignored |
//! | `tier` | the client's tier; the caller is trusted to know it |
//! | `attributes` | stand for request headers, for limits and costs that depend on them |
//! | `cost` | tokens to take, 1 by default; 0 takes nothing and only reads the state |
//!
//! The response has status 200 or 429 and the decision that [`sluice_http::decision`] describes. A
//! batch is `{"checks": [..]}` with up to 1,000 checks, decided one after another in one round trip
//! to the store. Its response has status 200 and `{"results": [..]}` in the same order; each result
//! is a decision or a problem with a `status` of its own.

pub(crate) mod description;

use std::{borrow::Cow, fmt, net::IpAddr};

use axum::{body::Body, response::Response};
use http::{HeaderValue, Method, header::CONTENT_TYPE, request::Parts};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use sluice::{
    Attributes, Client, Cost, Limiter, RepeatedField, Request,
    response::{
        DecisionBody, ProblemBody,
        schema::{Allowed, Denied},
    },
};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        HttpMethod, RefOr,
        schema::{AnyOfBuilder, Object, ObjectBuilder, Ref, Schema, SchemaType, Type},
    },
};

use sluice_http::{Problem, ProblemKind, body, decision};

use super::{FrontEnd, Services};

/// The most checks in one batch.
const MAX_CHECKS: usize = 1_000;
/// The most attributes of one check: far more than limits can use.
const MAX_ATTRIBUTES: usize = 64;
/// The longest body of one check.
const MAX_CHECK_BYTES: usize = 64 << 10;
/// The longest body of a batch.
const MAX_BATCH_BYTES: usize = 1 << 20;

/// `POST /v1/check`: decides one check.
#[derive(Debug)]
pub(crate) struct Check {
    limiter: Limiter,
}

/// `POST /v1/check/batch`: decides many checks. An error in one check is that check's result.
#[derive(Debug)]
pub(crate) struct Batch {
    limiter: Limiter,
}

impl FrontEnd for Check {
    const PATH: &'static str = "/v1/check";
    const METHODS: &'static [HttpMethod] = &[HttpMethod::Post];

    fn new(services: &Services) -> Self {
        Self { limiter: services.engine.limiter().clone() }
    }

    async fn respond(&self, _: IpAddr, head: &Parts, body: &mut Body) -> Result<Response, Problem> {
        require_post(Self::PATH, &head.method)?;
        let bytes = body::read(head, body, MAX_CHECK_BYTES).await?;
        let check: CheckBody<'_> = body::parse(&bytes)?;
        let checked = self.limiter.check(&check.request()?).await?;
        Ok(decision::respond(&checked.decision))
    }
}

impl FrontEnd for Batch {
    const PATH: &'static str = "/v1/check/batch";
    const METHODS: &'static [HttpMethod] = &[HttpMethod::Post];

    fn new(services: &Services) -> Self {
        Self { limiter: services.engine.limiter().clone() }
    }

    async fn respond(&self, _: IpAddr, head: &Parts, body: &mut Body) -> Result<Response, Problem> {
        require_post(Self::PATH, &head.method)?;
        let bytes = body::read(head, body, MAX_BATCH_BYTES).await?;
        let BatchBody { checks: Items(items) } = body::parse(&bytes)?;
        if items.len() > MAX_CHECKS {
            return Err(Problem::new(
                ProblemKind::TooManyChecks,
                format!("checks: a batch holds up to {MAX_CHECKS} checks"),
            )
            .at("checks"));
        }
        let checks: Vec<Result<CheckBody<'_>, Problem>> =
            items.iter().map(|item| body::parse(item.get().as_bytes())).collect();
        let mut requests = Vec::with_capacity(checks.len());
        let asked: Vec<Result<(), Problem>> = checks
            .iter()
            .map(|check| {
                let request = check.as_ref().map_err(Clone::clone)?.request()?;
                requests.push(request);
                Ok(())
            })
            .collect();
        let mut decided = self.limiter.check_all(&requests).await.into_iter();
        let results: Vec<Result<_, Problem>> = asked
            .into_iter()
            .map(|asked| {
                asked?;
                Ok(decided.next().expect("check_all returns a decision for each request")?.decision)
            })
            .collect();
        let results = results.iter().map(|result| {
            result.as_ref().map_or_else(
                |problem| ItemBody::Problem(problem.body()),
                |decision| ItemBody::Decision(DecisionBody::of(decision)),
            )
        });
        let text = serde_json::to_vec(&BatchAnswer { results: results.collect() })
            .expect("numbers and strings are always valid JSON");
        let mut response = Response::new(Body::from(text));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(response)
    }
}

pub(super) fn require_post(path: &str, method: &Method) -> Result<(), Problem> {
    if method == Method::POST { Ok(()) } else { Err(Problem::method_not_allowed(path, "POST")) }
}

/// The body of a batch.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Batch, description = "Checks, decided one after another in one round trip to the \
                                    store.")]
pub(crate) struct BatchBody<'a> {
    /// The checks.
    #[serde(borrow)]
    #[schema(value_type = Vec<CheckBody<'static>>, max_items = 1_000)]
    checks: Items<'a>,
}

/// The unparsed checks of a batch, so that an invalid check does not affect the others. At most one
/// more than [`MAX_CHECKS`].
struct Items<'a>(Vec<&'a RawValue>);

#[derive(Serialize, ToSchema)]
#[schema(as = BatchResults)]
pub(crate) struct BatchAnswer<'a> {
    /// The result of each check, in the same order.
    results: Vec<ItemBody<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ItemBody<'a> {
    Decision(DecisionBody<'a>),
    Problem(ProblemBody<'a>),
}

/// The body of one check.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Check, description = "A check of one request. `client` or `ip` identifies the \
                                    client.")]
pub(crate) struct CheckBody<'a> {
    /// The client: an API key, a user name, or any other name. Without it, `ip` is the client.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, min_length = 1)]
    pub(super) client: Option<Text<'a>>,
    /// The method of the request to decide about; `GET` by default.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, pattern = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]
    pub(super) method: Option<Text<'a>>,
    /// The path of the request to decide about; `/` by default. A query is ignored.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, pattern = "^/")]
    pub(super) path: Option<Text<'a>>,
    /// The client's address, for limits per address.
    #[schema(value_type = Option<String>)]
    pub(super) ip: Option<IpAddr>,
    /// The client's tier; the caller is trusted to know it.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    pub(super) tier: Option<Text<'a>>,
    #[serde(borrow)]
    #[schema(schema_with = attributes)]
    pub(super) attributes: Option<AttributesBody<'a>>,
    /// Tokens to take; 1 by default. 0 takes nothing and only reads the state.
    #[schema(value_type = Option<u64>, maximum = 1_000_000_000_000_u64)]
    pub(super) cost: Option<CostBody>,
}

// === schemas of types with hand-written serialisation ===

impl PartialSchema for ItemBody<'_> {
    fn schema() -> RefOr<Schema> {
        let shapes = [Allowed::name(), Denied::name(), ProblemBody::name()];
        let any = shapes
            .into_iter()
            .fold(AnyOfBuilder::new(), |any, name| any.item(Ref::from_schema_name(name)));
        any.description(Some("A decision or a problem, by `status`.")).into()
    }
}

impl ToSchema for ItemBody<'_> {
    fn name() -> Cow<'static, str> {
        "BatchResult".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((Allowed::name().into_owned(), Allowed::schema()));
        schemas.push((Denied::name().into_owned(), Denied::schema()));
        schemas.push((ProblemBody::name().into_owned(), ProblemBody::schema()));
        Denied::schemas(schemas);
    }
}

pub(super) fn attributes() -> Object {
    const ABOUT: &str = "Stand for request headers where limits are per header or take their \
         cost from one. Names are case-insensitive and unique.";
    ObjectBuilder::new()
        .description(Some(ABOUT))
        .schema_type(SchemaType::from_iter([Type::Object, Type::Null]))
        .additional_properties(Some(ObjectBuilder::new().schema_type(Type::String)))
        .max_properties(Some(MAX_ATTRIBUTES))
        .build()
}

/// A string, borrowed from the body unless it contains escapes.
#[derive(Debug)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

/// Names in lower case, with their values.
#[derive(Debug, Default)]
pub(super) struct AttributesBody<'a>(Vec<(Cow<'a, str>, Text<'a>)>);

#[derive(Clone, Copy, Debug)]
pub(super) struct CostBody(pub(super) Cost);

// === impl CheckBody ===

impl<'a> CheckBody<'a> {
    /// Returns the request to decide about.
    ///
    /// # Errors
    /// Returns a problem when the body identifies no client, or when the method is invalid.
    pub(super) fn request(&'a self) -> Result<Request<'a>, Problem> {
        let address = self.ip.map(|ip| ip.to_canonical());
        let client = match (&self.client, address) {
            (Some(Text(client)), _) if client.is_empty() => {
                return Err(invalid("client", "a client's name cannot be empty"));
            }
            (Some(Text(client)), _) => Client::Key(client.as_bytes()),
            (None, Some(address)) => Client::Address(address),
            (None, None) => {
                return Err(invalid(
                    "client",
                    "missing: send `client`, or `ip` if only the address is known",
                ));
            }
        };
        let method = self.method.as_ref().map_or("GET", |Text(method)| method);
        if Method::from_bytes(method.as_bytes()).is_err() {
            return Err(invalid("method", "not a valid HTTP method such as `GET` or `POST`"));
        }
        let path = self.path.as_ref().map_or("/", |Text(path)| path);
        let attributes =
            self.attributes.as_ref().map_or(&() as &dyn Attributes, |attributes| attributes);
        Ok(Request::new(client, method, path)
            .with_address(address)
            .with_attributes(attributes)
            .with_tier(self.tier.as_ref().map(|Text(tier)| &**tier))
            .with_cost(self.cost.map_or(Cost::ONE, |CostBody(cost)| cost)))
    }
}

pub(super) fn invalid(field: &str, what: impl fmt::Display) -> Problem {
    Problem::new(ProblemKind::InvalidRequest, format!("{field}: {what}")).at(field)
}

// === impl Text ===

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

// === impl Items ===

impl<'de: 'a, 'a> Deserialize<'de> for Items<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ItemsVisitor;

        impl<'de> Visitor<'de> for ItemsVisitor {
            type Value = Items<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of checks")
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<Items<'de>, S::Error> {
                let mut items = Vec::new();
                while items.len() <= MAX_CHECKS {
                    match list.next_element()? {
                        Some(item) => items.push(item),
                        None => return Ok(Items(items)),
                    }
                }
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Items(items))
            }
        }

        deserializer.deserialize_seq(ItemsVisitor)
    }
}

// === impl AttributesBody ===

impl Attributes for AttributesBody<'_> {
    /// Equal values were made one when the body was read.
    fn get(&self, name: &str) -> Result<Option<&[u8]>, RepeatedField> {
        Ok(self.find(name).map(str::as_bytes))
    }
}

impl AttributesBody<'_> {
    fn find(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, Text(value))| &**value)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for AttributesBody<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AttributesVisitor;

        impl<'de> Visitor<'de> for AttributesVisitor {
            type Value = AttributesBody<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<M: MapAccess<'de>>(
                self,
                mut map: M,
            ) -> Result<AttributesBody<'de>, M::Error> {
                let mut attributes = AttributesBody::default();
                while let Some(Text(mut name)) = map.next_key::<Text<'de>>()? {
                    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
                        name.to_mut().make_ascii_lowercase();
                    }
                    let value: Text<'de> = map.next_value()?;
                    // With another value, a repeated name would be ambiguous.
                    match attributes.find(&name) {
                        Some(known) if known.trim_ascii() == value.0.trim_ascii() => continue,
                        Some(_) => {
                            return Err(de::Error::custom(format_args!(
                                "`{name}` occurs twice with different values (case is ignored)"
                            )));
                        }
                        None => {}
                    }
                    if attributes.0.len() == MAX_ATTRIBUTES {
                        return Err(de::Error::custom(format_args!(
                            "more than {MAX_ATTRIBUTES} attributes: send only those that limits use"
                        )));
                    }
                    attributes.0.push((name, value));
                }
                Ok(attributes)
            }
        }

        deserializer.deserialize_map(AttributesVisitor)
    }
}

// === impl CostBody ===

impl<'de> Deserialize<'de> for CostBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CostVisitor;

        impl Visitor<'_> for CostVisitor {
            type Value = CostBody;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number of tokens from 0 to {}", Cost::MAX)
            }

            fn visit_u64<E: de::Error>(self, tokens: u64) -> Result<CostBody, E> {
                Cost::new(tokens).map(CostBody).map_err(E::custom)
            }
        }

        deserializer.deserialize_u64(CostVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        let body = body::parse::<CheckBody<'_>>(text.as_bytes());
        let problem = body.and_then(|body| body.request().map(|_| ())).unwrap_err();
        serde_json::to_value(problem.body()).unwrap()["detail"].as_str().unwrap().to_owned()
    }

    #[test]
    fn omitted_members_have_defaults() {
        let body: CheckBody<'_> = serde_json::from_str(r#"{"client": "alice"}"#).unwrap();
        let request = body.request().unwrap();
        assert_eq!(request.client, Client::Key(b"alice"));
        assert_eq!((request.method, request.path, request.cost), ("GET", "/", Cost::ONE));
        assert_eq!(
            (request.address, request.tier, request.attributes.get("x")),
            (None, None, Ok(None))
        );
    }

    #[test]
    fn every_member_reaches_the_request() {
        let text = r#"{
            "client": "al\u0069ce", "ip": "::ffff:192.0.2.1", "tier": "pro",
            "method": "POST", "path": "/a?b",
            "attributes": {"X-Org": "acme", "x-\u0061": "b"}, "cost": 7
        }"#;
        let body: CheckBody<'_> = serde_json::from_str(text).unwrap();
        let request = body.request().unwrap();
        assert_eq!(request.client, Client::Key(b"alice"));
        assert_eq!(
            (request.method, request.path, request.tier, request.cost.tokens()),
            ("POST", "/a?b", Some("pro"), 7)
        );
        assert_eq!(
            request.address,
            Some("192.0.2.1".parse().unwrap()),
            "an IPv4-mapped IPv6 address is the same client"
        );
        assert_eq!(request.attributes.get("x-org"), Ok(Some(&b"acme"[..])));
        assert_eq!(request.attributes.get("x-a"), Ok(Some(&b"b"[..])));
    }

    #[test]
    fn an_address_is_a_client_too() {
        let body: CheckBody<'_> = serde_json::from_str(r#"{"ip": "2001:db8::1"}"#).unwrap();
        assert_eq!(body.request().unwrap().client, Client::Address("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn an_error_names_the_wrong_member() {
        for (text, expected) in [
            (r#"{}"#, "client: missing"),
            (r#"{"client": ""}"#, "client: a client's name cannot be empty"),
            (r#"{"client": 5}"#, "client: must be a string, not the number 5"),
            (r#"{"client": "a", "client": "b"}"#, "duplicate field `client`"),
            (r#"{"klient": "a"}"#, "unknown field `klient`, expected one of `client`, `method`"),
            (r#"{"client": "a", "method": "GE T"}"#, "method: not a valid HTTP method"),
            (r#"{"client": "a", "method": ""}"#, "method: not a valid HTTP method"),
            (r#"{"client": "a", "ip": "192.0.2"}"#, "ip: invalid IP address syntax"),
            (
                r#"{"client": "a", "cost": -1}"#,
                "cost: must be a whole number of tokens from 0 to 1000000000000, not the number -1",
            ),
            (
                r#"{"client": "a", "cost": 1.5}"#,
                "tokens from 0 to 1000000000000, not the number 1.5",
            ),
            (
                r#"{"client": "a", "cost": 1e3}"#,
                "tokens from 0 to 1000000000000, not the number 1000.0",
            ),
            (
                r#"{"client": "a", "cost": "1"}"#,
                "tokens from 0 to 1000000000000, not the string \"1\"",
            ),
            (
                r#"{"client": "a", "cost": 1000000000001}"#,
                "cost: a cost of 1000000000001 tokens is too large: at most 1000000000000",
            ),
            (r#"{"client": "a", "cost": 1e999}"#, "cost: number out of range"),
            (
                r#"{"client": "a", "attributes": {"x": 1}}"#,
                "attributes.x: must be a string, not the number 1",
            ),
            (
                r#"{"client": "a", "attributes": {"x": "1", "X": "2"}}"#,
                "attributes: `x` occurs twice with different values",
            ),
            (
                r#"{"client": "a", "attributes": []}"#,
                "attributes: must be an object of strings, not an array",
            ),
            (r#"["a"]"#, "a JSON object"),
            (r#"null"#, "a JSON object"),
            ("", "a JSON object"),
            (r#"{"client": "a""#, "EOF while parsing an object"),
        ] {
            let detail = wrong(text);
            assert!(detail.contains(expected), "{text}: {detail}");
        }
    }

    #[test]
    fn too_many_attributes_are_rejected() {
        let names: Vec<_> = (0..=MAX_ATTRIBUTES).map(|i| format!(r#""x{i}": """#)).collect();
        let detail = wrong(&format!(r#"{{"client": "a", "attributes": {{{}}}}}"#, names.join(",")));
        assert!(detail.contains("more than 64 attributes"), "{detail}");
    }
}
