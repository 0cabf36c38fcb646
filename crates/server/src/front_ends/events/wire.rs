//! The JSON of events.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use serde::{Deserialize, de::IgnoredAny};
use sluice::stats::events::{
    BlueprintOperation, BlueprintValidation, Cache, ConnectionKind, Connections, Counter,
    DatabaseConnections, Deployment, DeploymentEnd, DeploymentStage, EventError, Events, Gauge,
    Histogram, HttpRequest, LlmRequest, ToolExecution,
};
use sluice_http::json;
use utoipa::{
    ToSchema,
    openapi::{
        RefOr,
        schema::{ObjectBuilder, Schema, Type},
    },
};

/// Records the event in `text`.
///
/// # Errors
/// Returns a message that says what is wrong with the event.
pub(super) fn record(events: &Events, text: &[u8]) -> Result<(), String> {
    if !text.trim_ascii_start().starts_with(b"{") {
        return Err("an event must be a JSON object: `{ \"type\": .. }`".to_owned());
    }
    let Typed { kind } = read(text)?;
    let Some(kind) = kind else {
        return Err(format!("type: missing: send one of {}", known_types()));
    };
    let Some(Kind { record, .. }) = KINDS.iter().find(|known| known.name == kind) else {
        let shown: String = kind.chars().take(64).collect();
        return Err(format!(
            "type: `{shown}` is not a type of event: send one of {}",
            known_types()
        ));
    };
    record(events, text)
}

/// A type of event.
struct Kind {
    name: &'static str,
    /// Parses and records an event.
    record: fn(&Events, &[u8]) -> Result<(), String>,
    /// Returns the schema, except for `type`, which is parsed as any string.
    schema: fn() -> RefOr<Schema>,
    /// Adds the schemas that the schema refers to.
    parts: fn(&mut Vec<(String, RefOr<Schema>)>),
}

const KINDS: [Kind; 12] = [
    Kind::new::<HttpRequestBody<'_>>("http_request", http_request),
    Kind::new::<LlmRequestBody<'_>>("llm_request", llm_request),
    Kind::new::<BlueprintOperationBody<'_>>("blueprint_operation", blueprint_operation),
    Kind::new::<BlueprintValidationBody>("blueprint_validation", blueprint_validation),
    Kind::new::<DeploymentBody<'_>>("deployment", deployment),
    Kind::new::<ToolExecutionBody<'_>>("tool_execution", tool_execution),
    Kind::new::<ConnectionsBody<'_>>("connections", connections),
    Kind::new::<DatabaseConnectionsBody<'_>>("database_connections", database_connections),
    Kind::new::<CacheBody<'_>>("cache", cache),
    Kind::new::<CounterBody<'_>>("counter", counter),
    Kind::new::<ValueBody<'_>>("gauge", gauge),
    Kind::new::<ValueBody<'_>>("histogram", histogram),
];

impl Kind {
    const fn new<T: ToSchema>(
        name: &'static str,
        record: fn(&Events, &[u8]) -> Result<(), String>,
    ) -> Self {
        Self { name, record, schema: T::schema, parts: T::schemas }
    }
}

fn known_types() -> String {
    KINDS.map(|Kind { name, .. }| format!("`{name}`")).join(", ")
}

/// Adds the schemas that events refer to.
pub(super) fn add_parts(schemas: &mut Vec<(String, RefOr<Schema>)>) {
    KINDS.iter().for_each(|kind| (kind.parts)(schemas));
}

/// Returns the type and the schema of each event.
pub(super) fn schemas() -> impl Iterator<Item = (&'static str, Schema)> {
    KINDS.into_iter().map(|Kind { name, schema, .. }| {
        let RefOr::T(Schema::Object(mut schema)) = schema() else {
            unreachable!("an event is an object")
        };
        let kind = ObjectBuilder::new().schema_type(Type::String).enum_values(Some([name]));
        schema.properties.insert("type".to_owned(), kind.into());
        (name, Schema::Object(schema))
    })
}

// Each event is parsed as a struct of its own, once its `type` is known, so that an error can name
// the wrong field.

/// The type of an event. Other members are ignored.
#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
}

/// Parses `text`; the error names the member. Its line and column would refer to the single event.
fn read<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, String> {
    json::read(text).map_err(|error| error.without_place().to_string())
}

/// Turns the error into its message.
fn error_to_string(event: Result<(), EventError>) -> Result<(), String> {
    event.map_err(|error| error.to_string())
}

fn span(seconds: Option<f64>) -> Result<Option<Duration>, String> {
    seconds.map(duration).transpose()
}

fn duration(seconds: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(seconds).map_err(|_| {
        format!(
            "duration_seconds: {seconds} is not a duration: send a number of seconds, at least 0"
        )
    })
}

/// A request to the application, which has responded to it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct HttpRequestBody<'a> {
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    _kind: IgnoredAny,
    /// The method, in capitals.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 128)]
    method: Cow<'a, str>,
    /// The pattern of the route that matched the path, such as `/orders/{id}`, else the path.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 8192, pattern = "^/")]
    endpoint: Cow<'a, str>,
    /// The status of the response.
    #[schema(minimum = 100, maximum = 599)]
    status: u64,
    /// The duration in seconds.
    #[schema(minimum = 0, maximum = 2_678_400)]
    duration_seconds: f64,
    /// The size of the request's body.
    #[schema(maximum = 1_000_000_000_000_u64)]
    request_bytes: Option<u64>,
    /// The size of the response's body.
    #[schema(maximum = 1_000_000_000_000_u64)]
    response_bytes: Option<u64>,
}

fn http_request(events: &Events, text: &[u8]) -> Result<(), String> {
    let body: HttpRequestBody<'_> = read(text)?;
    let status = u16::try_from(body.status)
        .map_err(|_| EventError::Status { status: body.status }.to_string())?;
    let duration = duration(body.duration_seconds)?;
    let event = HttpRequest::new(&body.method, &body.endpoint, status, duration)
        .with_request_bytes(body.request_bytes)
        .with_response_bytes(body.response_bytes);
    error_to_string(events.http_request(&event))
}

/// A request to a language model.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LlmRequestBody<'a> {
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    _kind: IgnoredAny,
    /// The model.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 128)]
    model: Cow<'a, str>,
    /// The operation: `chat`, `embed`.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 128)]
    operation: Cow<'a, str>,
    /// The result: `success`, `error`.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 128)]
    status: Cow<'a, str>,
    /// The duration in seconds.
    #[schema(minimum = 0, maximum = 2_678_400)]
    duration_seconds: Option<f64>,
    /// The generated tokens.
    #[serde(default)]
    #[schema(maximum = 1_000_000_000_000_u64)]
    tokens_generated: u64,
    /// The consumed tokens (input).
    #[serde(default)]
    #[schema(maximum = 1_000_000_000_000_u64)]
    tokens_consumed: u64,
    /// The consumed tokens that the model had in its cache.
    #[serde(default)]
    #[schema(maximum = 1_000_000_000_000_u64)]
    tokens_cached: u64,
    /// The consumed tokens that the model wrote to its cache.
    #[serde(default)]
    #[schema(maximum = 1_000_000_000_000_u64)]
    tokens_cache_written: u64,
    /// What the request cost, in units of the currency; used instead of `costs.llm`.
    #[schema(minimum = 0, maximum = 1_000_000)]
    cost: Option<f64>,
    /// The currency of the cost; `costs.currency` by default.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, pattern = "^[A-Z]{3}$")]
    currency: Option<Cow<'a, str>>,
}

fn llm_request(events: &Events, text: &[u8]) -> Result<(), String> {
    let body: LlmRequestBody<'_> = read(text)?;
    let request = LlmRequest::new(&body.model, &body.operation, &body.status)
        .with_duration(span(body.duration_seconds)?)
        .with_tokens_generated(body.tokens_generated)
        .with_tokens_consumed(body.tokens_consumed)
        .with_cache(body.tokens_cached, body.tokens_cache_written)
        .with_cost(body.cost)
        .with_currency(body.currency.as_deref());
    error_to_string(events.llm_request(&request))
}

/// A blueprint was created, read, changed or removed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BlueprintOperationBody<'a> {
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    _kind: IgnoredAny,
    /// The operation: `create`, `update`, `validate`.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 128)]
    operation: Cow<'a, str>,
    /// The result.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 128)]
    status: Cow<'a, str>,
    /// The blueprint; required with `resources`.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
    blueprint: Option<Cow<'a, str>>,
    /// The number of resources that it has now.
    #[schema(maximum = 1_000_000_000_000_u64)]
    resources: Option<u64>,
}

fn blueprint_operation(events: &Events, text: &[u8]) -> Result<(), String> {
    let body: BlueprintOperationBody<'_> = read(text)?;
    let event = BlueprintOperation::new(&body.operation, &body.status)
        .with_blueprint(body.blueprint.as_deref())
        .with_resources(body.resources);
    error_to_string(events.blueprint_operation(&event))
}

/// A blueprint was validated.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BlueprintValidationBody {
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    _kind: IgnoredAny,
    /// The number of validation errors.
    #[schema(maximum = 1_000_000_000_000_u64)]
    errors: u64,
}

fn blueprint_validation(events: &Events, text: &[u8]) -> Result<(), String> {
    let body: BlueprintValidationBody = read(text)?;
    error_to_string(events.blueprint_validation(&BlueprintValidation::new(body.errors)))
}

/// A deployment started, or finished with a `status`. Without a `phase` it has finished, and its
/// start was not reported.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DeploymentBody<'a> {
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    _kind: IgnoredAny,
    /// The operation: `create`, `update`, `delete`.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 128)]
    operation: Cow<'a, str>,
    /// Whether the deployment starts or finishes.
    phase: Option<PhaseBody>,
    /// The deployment, to match its start with its end.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
    id: Option<Cow<'a, str>>,
    /// The result; not allowed for a start.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
    status: Option<Cow<'a, str>>,
    /// The duration in seconds; not allowed for a start.
    #[schema(minimum = 0, maximum = 2_678_400)]
    duration_seconds: Option<f64>,
    /// What is deployed.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
    kind: Option<Cow<'a, str>>,
    /// What the deployment cost, in units of the currency; not allowed for a start.
    #[schema(minimum = 0, maximum = 1_000_000)]
    cost: Option<f64>,
    /// The currency of the cost; `costs.currency` by default.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, pattern = "^[A-Z]{3}$")]
    currency: Option<Cow<'a, str>>,
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = DeploymentPhase)]
enum PhaseBody {
    Start,
    Finish,
}

fn deployment(events: &Events, text: &[u8]) -> Result<(), String> {
    let body: DeploymentBody<'_> = read(text)?;
    let duration = span(body.duration_seconds)?;
    let ended = || match body.status.as_deref() {
        Some(status) => Ok(DeploymentEnd::new(status)
            .with_duration(duration)
            .with_cost(body.cost)
            .with_currency(body.currency.as_deref())),
        None => Err("status: missing: send the result of the deployment".to_owned()),
    };
    let stage = match body.phase {
        Some(PhaseBody::Start) if body.status.is_some() || duration.is_some() => {
            return Err(
                "phase: a deployment that starts has neither `status` nor `duration_seconds` yet"
                    .to_owned(),
            );
        }
        Some(PhaseBody::Start) if body.cost.is_some() || body.currency.is_some() => {
            return Err("cost: a deployment that starts has no cost yet: send it with the finish"
                .to_owned());
        }
        Some(PhaseBody::Start) => DeploymentStage::Started,
        Some(PhaseBody::Finish) => DeploymentStage::Finished(ended()?),
        None => DeploymentStage::FinishedWithoutStart(ended()?),
    };
    let event = Deployment::new(&body.operation, stage)
        .with_id(body.id.as_deref())
        .with_kind(body.kind.as_deref());
    error_to_string(events.deployment(&event))
}

/// A tool was executed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ToolExecutionBody<'a> {
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    _kind: IgnoredAny,
    /// The tool.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 128)]
    tool_name: Cow<'a, str>,
    /// The result.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 128)]
    status: Cow<'a, str>,
    /// The duration in seconds.
    #[schema(minimum = 0, maximum = 2_678_400)]
    duration_seconds: Option<f64>,
}

fn tool_execution(events: &Events, text: &[u8]) -> Result<(), String> {
    let body: ToolExecutionBody<'_> = read(text)?;
    let duration = span(body.duration_seconds)?;
    let event = ToolExecution::new(&body.tool_name, &body.status).with_duration(duration);
    error_to_string(events.tool_execution(&event))
}

/// The number of open connections.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ConnectionsBody<'a> {
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    _kind: IgnoredAny,
    /// The kind of connection.
    kind: ConnectionBody,
    /// The number of connections.
    #[schema(maximum = 1_000_000_000_000_u64)]
    count: u64,
    /// The instance that reports. Counts of instances are summed, each for five minutes after its
    /// last report; a count without an instance stands for all.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
    instance: Option<Cow<'a, str>>,
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ConnectionKind)]
enum ConnectionBody {
    Http,
    WebSocket,
    Grpc,
}

fn connections(events: &Events, text: &[u8]) -> Result<(), String> {
    let body: ConnectionsBody<'_> = read(text)?;
    let kind = match body.kind {
        ConnectionBody::Http => ConnectionKind::Http,
        ConnectionBody::WebSocket => ConnectionKind::WebSocket,
        ConnectionBody::Grpc => ConnectionKind::Grpc,
    };
    let event = Connections::new(kind, body.count).with_instance(body.instance.as_deref());
    error_to_string(events.connections(&event))
}

/// The number of open database connections.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DatabaseConnectionsBody<'a> {
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    _kind: IgnoredAny,
    /// The number of connections.
    #[schema(maximum = 1_000_000_000_000_u64)]
    count: u64,
    /// The instance that reports. Counts of instances are summed, each for five minutes after its
    /// last report; a count without an instance stands for all.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
    instance: Option<Cow<'a, str>>,
}

fn database_connections(events: &Events, text: &[u8]) -> Result<(), String> {
    let body: DatabaseConnectionsBody<'_> = read(text)?;
    let event = DatabaseConnections::new(body.count).with_instance(body.instance.as_deref());
    error_to_string(events.database_connections(&event))
}

/// The hit rate of a cache.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CacheBody<'a> {
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    _kind: IgnoredAny,
    /// The cache.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 128)]
    cache: Cow<'a, str>,
    /// The share of look-ups that hit, from 0 to 1.
    #[schema(minimum = 0, maximum = 1)]
    hit_rate: f64,
    /// The instance that reports. Its value stands for five minutes after its last report.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
    instance: Option<Cow<'a, str>>,
}

fn cache(events: &Events, text: &[u8]) -> Result<(), String> {
    let body: CacheBody<'_> = read(text)?;
    let event = Cache::new(&body.cache, body.hit_rate).with_instance(body.instance.as_deref());
    error_to_string(events.cache(&event))
}

type Labels<'a> = BTreeMap<Cow<'a, str>, Cow<'a, str>>;

/// An increment of a counter that the configuration declares.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CounterBody<'a> {
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    _kind: IgnoredAny,
    /// The name of the metric.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 128)]
    name: Cow<'a, str>,
    /// Its labels, exactly those declared.
    #[serde(borrow, default)]
    #[schema(value_type = BTreeMap<String, String>)]
    labels: Labels<'a>,
    /// The increment; 1 by default.
    #[serde(default = "one")]
    #[schema(minimum = 0, maximum = 1e15)]
    value: f64,
}

/// A value of a metric that the configuration declares.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ValueBody<'a> {
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    _kind: IgnoredAny,
    /// The name of the metric.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 128)]
    name: Cow<'a, str>,
    /// Its labels, exactly those declared.
    #[serde(borrow, default)]
    #[schema(value_type = BTreeMap<String, String>)]
    labels: Labels<'a>,
    /// The value.
    value: f64,
}

const fn one() -> f64 {
    1.0
}

fn pairs<'a>(labels: &'a Labels<'_>) -> Vec<(&'a str, &'a str)> {
    labels.iter().map(|(label, value)| (&**label, &**value)).collect()
}

fn counter(events: &Events, text: &[u8]) -> Result<(), String> {
    let body: CounterBody<'_> = read(text)?;
    error_to_string(events.counter(&Counter::new(&body.name, &pairs(&body.labels), body.value)))
}

fn gauge(events: &Events, text: &[u8]) -> Result<(), String> {
    let body: ValueBody<'_> = read(text)?;
    error_to_string(events.gauge(&Gauge::new(&body.name, &pairs(&body.labels), body.value)))
}

fn histogram(events: &Events, text: &[u8]) -> Result<(), String> {
    let body: ValueBody<'_> = read(text)?;
    error_to_string(events.histogram(&Histogram::new(&body.name, &pairs(&body.labels), body.value)))
}
