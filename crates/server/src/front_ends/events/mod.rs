//! `POST /v1/events`: applications in any language report what they did.
//!
//! A body is one event (a JSON object), several (an array), or one per line (`Content-Type:
//! application/x-ndjson`). A body may have up to 10,000 events or 1 MiB.
//!
//! ```json
//! {"type":"llm_request","model":"qwen","operation":"chat","status":"success"}
//! {"type":"blueprint_operation","operation":"create","status":"success"}
//! {"type":"blueprint_validation","errors":3}
//! {"type":"deployment","operation":"create","phase":"start","id":"d-1"}
//! {"type":"deployment","operation":"create","phase":"finish","id":"d-1","status":"success"}
//! {"type":"tool_execution","tool_name":"scale","status":"success","duration_seconds":0.2}
//! {"type":"connections","kind":"websocket","count":12,"instance":"api-1"}
//! {"type":"database_connections","count":7,"instance":"api-1"}
//! {"type":"cache","cache":"blueprints","hit_rate":0.93}
//! {"type":"counter","name":"my_feature_total","labels":{"operation":"export"},"value":1}
//! {"type":"gauge","name":"queue_depth","value":17}
//! {"type":"histogram","name":"job_seconds","labels":{"job":"sync"},"value":3.5}
//! ```
//!
//! Optional members are `duration_seconds`, the numbers of tokens, `cost`, `currency`, `blueprint`,
//! `resources`, `id`, `kind` and `instance`. A deployment without a `phase` has finished, and its
//! start was not reported. Counts with an `instance` are summed, each for five minutes after its
//! last report; a count without one stands for all instances. The last three types are for metrics
//! that the configuration declares under `metrics.custom`.
//!
//! The response has status 202 and `{"accepted": 2, "refused": [{"index": 1, "error": "status:
//! missing field `status`"}]}`: an invalid event does not affect the others.

pub(crate) mod description;
mod schema;
#[cfg(test)]
mod tests;
mod wire;

use std::{net::IpAddr, sync::Arc};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{
    HeaderValue, Method, StatusCode,
    header::{CONTENT_TYPE, HeaderMap},
    request::Parts,
};
use serde::Serialize;
use serde_json::value::RawValue;
use sluice::stats::{Total, events::Events};
use tokio::{sync::Mutex, task::spawn_blocking};
use utoipa::ToSchema;

use sluice_http::{Problem, ProblemKind, body};
use utoipa::openapi::HttpMethod;

use super::{FrontEnd, Services};

/// `POST /v1/events`: records what applications report.
#[derive(Debug)]
pub(crate) struct EventReports {
    events: Events,
    /// Locked while a long body is read.
    reading: Arc<Mutex<()>>,
}

/// The longest body that is read at once, which takes less time than a change of threads costs.
const SHORT_BYTES: usize = 8 << 10;
/// The most events in one body.
const MAX_EVENTS: usize = 10_000;
/// The longest body.
const MAX_BYTES: usize = 1 << 20;
/// The media types of a body with one event per line.
const LINES: [&str; 4] =
    ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"];

/// The result of a report.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventsTaken)]
struct Taken {
    /// How many events were recorded.
    accepted: usize,
    /// The events that were rejected.
    refused: Vec<Refused>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RefusedEvent)]
struct Refused {
    /// The event's index in the body, from 0; empty lines are not counted.
    index: usize,
    /// Why the event was rejected.
    error: String,
}

impl FrontEnd for EventReports {
    const PATH: &'static str = "/v1/events";
    const METHODS: &'static [HttpMethod] = &[HttpMethod::Post];

    fn new(services: &Services) -> Self {
        Self { events: services.events.clone(), reading: Arc::default() }
    }

    async fn respond(&self, _: IpAddr, head: &Parts, body: &mut Body) -> Result<Response, Problem> {
        if head.method != Method::POST {
            return Err(Problem::method_not_allowed(Self::PATH, "POST"));
        }
        let bytes = match is_lines(&head.headers) {
            true => body::read_all(body, MAX_BYTES).await?,
            false => body::read(head, body, MAX_BYTES).await?,
        };
        let taken = self.record(bytes, is_lines(&head.headers)).await?;
        self.events.counters().add(Total::EventsAccepted, taken.accepted as u64);
        self.events.counters().add(Total::EventsRefused, taken.refused.len() as u64);
        let text = serde_json::to_vec(&taken).expect("numbers and strings are always valid JSON");
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = StatusCode::ACCEPTED;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(response)
    }
}

impl EventReports {
    /// Records the events of a body. A long one is read on a thread that does not decide.
    async fn record(&self, bytes: Bytes, is_lines: bool) -> Result<Taken, Problem> {
        if bytes.len() <= SHORT_BYTES {
            return Ok(record(&self.events, &split(&bytes, is_lines)?));
        }
        let one_at_a_time = Arc::clone(&self.reading).lock_owned().await;
        let events = self.events.clone();
        let reading = spawn_blocking(move || {
            let _one_at_a_time = one_at_a_time;
            Ok(record(&events, &split(&bytes, is_lines)?))
        });
        reading.await.unwrap_or_else(|_| {
            Err(Problem::new(ProblemKind::Internal, "the events could not be read: see the log"))
        })
    }
}

fn record(events: &Events, texts: &[&[u8]]) -> Taken {
    let mut taken = Taken { accepted: 0, refused: Vec::new() };
    for (index, text) in texts.iter().enumerate() {
        match wire::record(events, text) {
            Ok(()) => taken.accepted += 1,
            Err(error) => taken.refused.push(Refused { index, error }),
        }
    }
    taken
}

/// Returns the text of each event.
fn split(bytes: &Bytes, is_lines: bool) -> Result<Vec<&[u8]>, Problem> {
    let lines = || {
        bytes.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty())
    };
    let texts: Vec<&[u8]> = if is_lines {
        lines().take(MAX_EVENTS + 1).collect()
    } else if bytes.trim_ascii_start().starts_with(b"[") {
        let items: Vec<&RawValue> = serde_json::from_slice(bytes).map_err(malformed)?;
        items.into_iter().map(|item| item.get().as_bytes()).collect()
    } else {
        match serde_json::from_slice::<&RawValue>(bytes) {
            Ok(_) => vec![bytes],
            // Accepts lines that are declared as JSON, if the first of several lines is valid JSON.
            Err(error) => {
                let first =
                    lines().next().filter(|line| serde_json::from_slice::<&RawValue>(line).is_ok());
                if first.is_none() || lines().nth(1).is_none() {
                    return Err(malformed(error));
                }
                lines().take(MAX_EVENTS + 1).collect()
            }
        }
    };
    if texts.len() > MAX_EVENTS {
        return Err(Problem::new(
            ProblemKind::TooManyEvents,
            format!("a body may have up to {MAX_EVENTS} events: send the rest separately"),
        ));
    }
    Ok(texts)
}

#[expect(clippy::needless_pass_by_value, reason = "used as the function of map_err")]
fn malformed(error: serde_json::Error) -> Problem {
    Problem::new(
        ProblemKind::MalformedBody,
        format!("send a JSON object, an array of objects, or one object per line: {error}"),
    )
}

fn is_lines(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let essence = content_type.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    LINES.iter().any(|name| essence.eq_ignore_ascii_case(name.as_bytes()))
}
