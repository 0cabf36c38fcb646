//! Events as JSON.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use serde::{Deserialize, de::IgnoredAny};
use sluice::events::{
    BlueprintOperation, BlueprintValidation, Cache, Connection, Connections, Counter, DatabaseConnections, Deployment, Ended, EventError,
    Events, Gauge, Histogram, LlmRequest, Stage, ToolExecution,
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
    let Some(kind) = kind else { return Err(format!("type: is missing: write one of {}", words())) };
    let Some((_, record)) = KINDS.iter().find(|(name, _)| *name == kind) else {
        let shown: String = kind.chars().take(64).collect();
        return Err(format!("type: `{shown}` is no event: write one of {}", words()));
    };
    record(events, text)
}

type Record = fn(&Events, &[u8]) -> Result<(), String>;

/// The types of events, each with what reads it.
const KINDS: [(&str, Record); 11] = [
    ("llm_request", llm_request),
    ("blueprint_operation", blueprint_operation),
    ("blueprint_validation", blueprint_validation),
    ("deployment", deployment),
    ("tool_execution", tool_execution),
    ("connections", connections),
    ("database_connections", database_connections),
    ("cache", cache),
    ("counter", counter),
    ("gauge", gauge),
    ("histogram", histogram),
];

fn words() -> String {
    KINDS.map(|(name, _)| format!("`{name}`")).join(", ")
}

// Each event is read as a struct of its own, in which `type` is known by then: so a message can name the field that is wrong.

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
    span.map(Some).map_err(|_| format!("duration_seconds: {seconds} is no duration: write seconds, not below 0"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LlmRequestBody<'a> {
    #[serde(rename = "type")]
    _kind: IgnoredAny,
    #[serde(borrow)]
    model: Cow<'a, str>,
    #[serde(borrow)]
    operation: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    duration_seconds: Option<f64>,
    #[serde(default)]
    tokens_generated: u64,
    #[serde(default)]
    tokens_consumed: u64,
}

fn llm_request(events: &Events, text: &[u8]) -> Result<(), String> {
    let body: LlmRequestBody<'_> = read(text)?;
    told(events.llm_request(&LlmRequest {
        model: &body.model,
        operation: &body.operation,
        status: &body.status,
        duration: span(body.duration_seconds)?,
        tokens_generated: body.tokens_generated,
        tokens_consumed: body.tokens_consumed,
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BlueprintOperationBody<'a> {
    #[serde(rename = "type")]
    _kind: IgnoredAny,
    #[serde(borrow)]
    operation: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    blueprint: Option<Cow<'a, str>>,
    resources: Option<u64>,
}

fn blueprint_operation(events: &Events, text: &[u8]) -> Result<(), String> {
    let body: BlueprintOperationBody<'_> = read(text)?;
    told(events.blueprint_operation(&BlueprintOperation {
        operation: &body.operation,
        status: &body.status,
        blueprint: body.blueprint.as_deref(),
        resources: body.resources,
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BlueprintValidationBody {
    #[serde(rename = "type")]
    _kind: IgnoredAny,
    errors: u64,
}

fn blueprint_validation(events: &Events, text: &[u8]) -> Result<(), String> {
    let body: BlueprintValidationBody = read(text)?;
    told(events.blueprint_validation(&BlueprintValidation { errors: body.errors }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeploymentBody<'a> {
    #[serde(rename = "type")]
    _kind: IgnoredAny,
    #[serde(borrow)]
    operation: Cow<'a, str>,
    phase: Option<PhaseBody>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    status: Option<Cow<'a, str>>,
    duration_seconds: Option<f64>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PhaseBody {
    Start,
    Finish,
}

fn deployment(events: &Events, text: &[u8]) -> Result<(), String> {
    let body: DeploymentBody<'_> = read(text)?;
    let duration = span(body.duration_seconds)?;
    let ended = || match body.status.as_deref() {
        Some(status) => Ok(Ended { status, duration }),
        None => Err("status: is missing: say how the deployment ended".to_owned()),
    };
    let stage = match body.phase {
        Some(PhaseBody::Start) if body.status.is_some() || duration.is_some() => {
            return Err("phase: a deployment that starts has neither `status` nor `duration_seconds` yet".to_owned());
        }
        Some(PhaseBody::Start) => Stage::Started,
        Some(PhaseBody::Finish) => Stage::Finished(ended()?),
        None => Stage::Over(ended()?),
    };
    told(events.deployment(&Deployment { operation: &body.operation, id: body.id.as_deref(), stage }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolExecutionBody<'a> {
    #[serde(rename = "type")]
    _kind: IgnoredAny,
    #[serde(borrow)]
    tool_name: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    duration_seconds: Option<f64>,
}

fn tool_execution(events: &Events, text: &[u8]) -> Result<(), String> {
    let body: ToolExecutionBody<'_> = read(text)?;
    let duration = span(body.duration_seconds)?;
    told(events.tool_execution(&ToolExecution { tool_name: &body.tool_name, status: &body.status, duration }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConnectionsBody<'a> {
    #[serde(rename = "type")]
    _kind: IgnoredAny,
    kind: ConnectionBody,
    count: u64,
    #[serde(borrow)]
    instance: Option<Cow<'a, str>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ConnectionBody {
    Http,
    WebSocket,
    Grpc,
}

fn connections(events: &Events, text: &[u8]) -> Result<(), String> {
    let body: ConnectionsBody<'_> = read(text)?;
    let kind = match body.kind {
        ConnectionBody::Http => Connection::Http,
        ConnectionBody::WebSocket => Connection::WebSocket,
        ConnectionBody::Grpc => Connection::Grpc,
    };
    told(events.connections(&Connections { kind, count: body.count, instance: body.instance.as_deref() }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DatabaseConnectionsBody<'a> {
    #[serde(rename = "type")]
    _kind: IgnoredAny,
    count: u64,
    #[serde(borrow)]
    instance: Option<Cow<'a, str>>,
}

fn database_connections(events: &Events, text: &[u8]) -> Result<(), String> {
    let body: DatabaseConnectionsBody<'_> = read(text)?;
    told(events.database_connections(&DatabaseConnections { count: body.count, instance: body.instance.as_deref() }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CacheBody<'a> {
    #[serde(rename = "type")]
    _kind: IgnoredAny,
    #[serde(borrow)]
    cache: Cow<'a, str>,
    hit_rate: f64,
    #[serde(borrow)]
    instance: Option<Cow<'a, str>>,
}

fn cache(events: &Events, text: &[u8]) -> Result<(), String> {
    let body: CacheBody<'_> = read(text)?;
    told(events.cache(&Cache { cache: &body.cache, hit_rate: body.hit_rate, instance: body.instance.as_deref() }))
}

type Labels<'a> = BTreeMap<Cow<'a, str>, Cow<'a, str>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CounterBody<'a> {
    #[serde(rename = "type")]
    _kind: IgnoredAny,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    labels: Labels<'a>,
    #[serde(default = "one")]
    value: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ValueBody<'a> {
    #[serde(rename = "type")]
    _kind: IgnoredAny,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    labels: Labels<'a>,
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
    told(events.counter(&Counter { name: &body.name, labels: &pairs(&body.labels), amount: body.value }))
}

fn gauge(events: &Events, text: &[u8]) -> Result<(), String> {
    let body: ValueBody<'_> = read(text)?;
    told(events.gauge(&Gauge { name: &body.name, labels: &pairs(&body.labels), value: body.value }))
}

fn histogram(events: &Events, text: &[u8]) -> Result<(), String> {
    let body: ValueBody<'_> = read(text)?;
    told(events.histogram(&Histogram { name: &body.name, labels: &pairs(&body.labels), value: body.value }))
}
