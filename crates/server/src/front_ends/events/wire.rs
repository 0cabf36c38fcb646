//! Events as JSON.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use serde::{Deserialize, de::IgnoredAny};
use sluice::events::{
    BlueprintOperation, BlueprintValidation, Cache, ConnectionKind, Connections, Counter,
    DatabaseConnections, Deployment, DeploymentEnd, DeploymentStage, EventError, Events, Gauge,
    Histogram, LlmRequest, ToolExecution,
};
use utoipa::{
    ToSchema,
    openapi::{
        RefOr,
        schema::{ObjectBuilder, Schema, Type},
    },
};

/// Records the event that `text` describes.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn record(events: &Events, text: &[u8]) -> Result<(), String> {
    if !text.trim_ascii_start().starts_with(b"{") {
        return Err("an event is a JSON object: `{ \"type\": .. }`".to_owned());
    }
    let Typed { kind } = read(text)?;
    let Some(kind) = kind else {
        return Err(format!("type: is missing: write one of {}", words()));
    };
    let Some(Kind { record, .. }) = KINDS.iter().find(|known| known.name == kind) else {
        let shown: String = kind.chars().take(64).collect();
        return Err(format!("type: `{shown}` is no event: write one of {}", words()));
    };
    record(events, text)
}

/// A type of event.
struct Kind {
    name: &'static str,
    /// What reads it.
    record: fn(&Events, &[u8]) -> Result<(), String>,
    /// What it looks like, but for its `type`, which reads as any text.
    schema: fn() -> RefOr<Schema>,
    /// What that refers to.
    parts: fn(&mut Vec<(String, RefOr<Schema>)>),
}

const KINDS: [Kind; 11] = [
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

fn words() -> String {
    KINDS.map(|Kind { name, .. }| format!("`{name}`")).join(", ")
}

/// Adds what events refer to.
pub(super) fn add_parts(schemas: &mut Vec<(String, RefOr<Schema>)>) {
    KINDS.iter().for_each(|kind| (kind.parts)(schemas));
}

/// What an event of each type looks like, by the type.
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

// Each event is read as a struct of its own, in which `type` is known by then: so a message can
// name the field that is wrong.

/// The type, whatever else is there.
#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
}

/// Reads `text`; the error names the field.
fn read<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let what = without_place(&error.into_inner().to_string());
        if path.chars().any(char::is_alphanumeric) { format!("{path}: {what}") } else { what }
    })?;
    deserializer.end().map_err(|error| without_place(&error.to_string()))?;
    Ok(value)
}

/// The message without its line and column, which are those in the event alone.
fn without_place(message: &str) -> String {
    let end = message.rfind(" at line ").unwrap_or(message.len());
    message[..end].to_owned()
}

fn told(event: Result<(), EventError>) -> Result<(), String> {
    event.map_err(|error| error.to_string())
}

fn span(seconds: Option<f64>) -> Result<Option<Duration>, String> {
    let Some(seconds) = seconds else { return Ok(None) };
    let span = Duration::try_from_secs_f64(seconds);
    span.map(Some).map_err(|_| {
        format!("duration_seconds: {seconds} is no duration: write seconds, not below 0")
    })
}

/// A language model was asked.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LlmRequestBody<'a> {
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    _kind: IgnoredAny,
    /// Which model.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 128)]
    model: Cow<'a, str>,
    /// What for: `chat`, `embed`.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 128)]
    operation: Cow<'a, str>,
    /// How it ended: `success`, `error`.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 128)]
    status: Cow<'a, str>,
    /// How long it took.
    #[schema(minimum = 0, maximum = 2_678_400)]
    duration_seconds: Option<f64>,
    /// Tokens that came out.
    #[serde(default)]
    #[schema(maximum = 1_000_000_000_000_u64)]
    tokens_generated: u64,
    /// Tokens that went in.
    #[serde(default)]
    #[schema(maximum = 1_000_000_000_000_u64)]
    tokens_consumed: u64,
}

fn llm_request(events: &Events, text: &[u8]) -> Result<(), String> {
    let body: LlmRequestBody<'_> = read(text)?;
    let request = LlmRequest::new(&body.model, &body.operation, &body.status)
        .with_duration(span(body.duration_seconds)?)
        .with_tokens_generated(body.tokens_generated)
        .with_tokens_consumed(body.tokens_consumed);
    told(events.llm_request(&request))
}

/// A blueprint was created, read, changed or removed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BlueprintOperationBody<'a> {
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    _kind: IgnoredAny,
    /// What was done: `create`, `update`, `validate`.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 128)]
    operation: Cow<'a, str>,
    /// How it ended.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 128)]
    status: Cow<'a, str>,
    /// Which blueprint; needed where `resources` are told.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
    blueprint: Option<Cow<'a, str>>,
    /// How many resources it has now.
    #[schema(maximum = 1_000_000_000_000_u64)]
    resources: Option<u64>,
}

fn blueprint_operation(events: &Events, text: &[u8]) -> Result<(), String> {
    let body: BlueprintOperationBody<'_> = read(text)?;
    let event = BlueprintOperation::new(&body.operation, &body.status)
        .with_blueprint(body.blueprint.as_deref())
        .with_resources(body.resources);
    told(events.blueprint_operation(&event))
}

/// A blueprint was looked through for mistakes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BlueprintValidationBody {
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    _kind: IgnoredAny,
    /// How many were found.
    #[schema(maximum = 1_000_000_000_000_u64)]
    errors: u64,
}

fn blueprint_validation(events: &Events, text: &[u8]) -> Result<(), String> {
    let body: BlueprintValidationBody = read(text)?;
    told(events.blueprint_validation(&BlueprintValidation::new(body.errors)))
}

/// A deployment started, or ended with a `status`. Without a `phase` it is over, and its start was
/// not reported.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DeploymentBody<'a> {
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    _kind: IgnoredAny,
    /// What was done: `create`, `update`, `delete`.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 128)]
    operation: Cow<'a, str>,
    /// Whether it starts or ends.
    phase: Option<PhaseBody>,
    /// Which deployment, so that its start and its end are known to belong together.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
    id: Option<Cow<'a, str>>,
    /// How it ended; not said of one that starts.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
    status: Option<Cow<'a, str>>,
    /// How long it took; not said of one that starts.
    #[schema(minimum = 0, maximum = 2_678_400)]
    duration_seconds: Option<f64>,
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
        Some(status) => Ok(DeploymentEnd::new(status).with_duration(duration)),
        None => Err("status: is missing: say how the deployment ended".to_owned()),
    };
    let stage = match body.phase {
        Some(PhaseBody::Start) if body.status.is_some() || duration.is_some() => {
            return Err(
                "phase: a deployment that starts has neither `status` nor `duration_seconds` yet"
                    .to_owned(),
            );
        }
        Some(PhaseBody::Start) => DeploymentStage::Started,
        Some(PhaseBody::Finish) => DeploymentStage::Finished(ended()?),
        None => DeploymentStage::FinishedWithoutStart(ended()?),
    };
    let event = Deployment::new(&body.operation, stage).with_id(body.id.as_deref());
    told(events.deployment(&event))
}

/// A tool was run.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ToolExecutionBody<'a> {
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    _kind: IgnoredAny,
    /// Which tool.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 128)]
    tool_name: Cow<'a, str>,
    /// How it ended.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 128)]
    status: Cow<'a, str>,
    /// How long it took.
    #[schema(minimum = 0, maximum = 2_678_400)]
    duration_seconds: Option<f64>,
}

fn tool_execution(events: &Events, text: &[u8]) -> Result<(), String> {
    let body: ToolExecutionBody<'_> = read(text)?;
    let duration = span(body.duration_seconds)?;
    let event = ToolExecution::new(&body.tool_name, &body.status).with_duration(duration);
    told(events.tool_execution(&event))
}

/// How many connections are open.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ConnectionsBody<'a> {
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    _kind: IgnoredAny,
    /// Of which kind.
    kind: ConnectionBody,
    /// How many.
    #[schema(maximum = 1_000_000_000_000_u64)]
    count: u64,
    /// Whose count it is. Counts by instance are added up, each for five minutes after its last
    /// report; one without speaks for the whole.
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
    told(events.connections(&event))
}

/// How many connections to databases are open.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DatabaseConnectionsBody<'a> {
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    _kind: IgnoredAny,
    /// How many.
    #[schema(maximum = 1_000_000_000_000_u64)]
    count: u64,
    /// Whose count it is. Counts by instance are added up, each for five minutes after its last
    /// report; one without speaks for the whole.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
    instance: Option<Cow<'a, str>>,
}

fn database_connections(events: &Events, text: &[u8]) -> Result<(), String> {
    let body: DatabaseConnectionsBody<'_> = read(text)?;
    let event = DatabaseConnections::new(body.count).with_instance(body.instance.as_deref());
    told(events.database_connections(&event))
}

/// How often a cache had what was looked for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CacheBody<'a> {
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    _kind: IgnoredAny,
    /// Which cache.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 128)]
    cache: Cow<'a, str>,
    /// The share of look-ups, from 0 to 1.
    #[schema(minimum = 0, maximum = 1)]
    hit_rate: f64,
    /// Whose count it is. Counts by instance are added up, each for five minutes after its last
    /// report; one without speaks for the whole.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
    instance: Option<Cow<'a, str>>,
}

fn cache(events: &Events, text: &[u8]) -> Result<(), String> {
    let body: CacheBody<'_> = read(text)?;
    let event = Cache::new(&body.cache, body.hit_rate).with_instance(body.instance.as_deref());
    told(events.cache(&event))
}

type Labels<'a> = BTreeMap<Cow<'a, str>, Cow<'a, str>>;

/// Something that the configuration declares as a counter happened.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CounterBody<'a> {
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    _kind: IgnoredAny,
    /// The metric's name.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 128)]
    name: Cow<'a, str>,
    /// Its labels, exactly those declared.
    #[serde(borrow, default)]
    #[schema(value_type = BTreeMap<String, String>)]
    labels: Labels<'a>,
    /// How often; 1 unless said.
    #[serde(default = "one")]
    #[schema(minimum = 0)]
    value: f64,
}

/// A value of a metric that the configuration declares.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ValueBody<'a> {
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    _kind: IgnoredAny,
    /// The metric's name.
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
    told(events.counter(&Counter::new(&body.name, &pairs(&body.labels), body.value)))
}

fn gauge(events: &Events, text: &[u8]) -> Result<(), String> {
    let body: ValueBody<'_> = read(text)?;
    told(events.gauge(&Gauge::new(&body.name, &pairs(&body.labels), body.value)))
}

fn histogram(events: &Events, text: &[u8]) -> Result<(), String> {
    let body: ValueBody<'_> = read(text)?;
    told(events.histogram(&Histogram::new(&body.name, &pairs(&body.labels), body.value)))
}
