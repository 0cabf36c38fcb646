//! How each server is asked for a decision.

use std::net::SocketAddr;

use crate::{
    envoy::Caller,
    grpc::{Connection, Response},
    http_caller::{Dialect, HttpCaller, allowed_by_status},
    messages::{
        gubernator::{GetRateLimitsReq, GetRateLimitsResp, RateLimitReq},
        throttlecrab::{ThrottleRequest, ThrottleResponse},
    },
    protocol::{Ask, Protocol},
    support::Answer,
    traffic::Outcome,
};

/// A question for a decision.
#[derive(Clone, Copy)]
pub(crate) enum Question {
    /// Envoy's rate limit service.
    Envoy,
    /// Gubernator's own gRPC service, whose calls contain the limit.
    Gubernator(Limit),
    /// Throttlecrab's own gRPC service, whose calls contain the limit.
    Throttlecrab(Limit),
    /// JSON over HTTP/1.1.
    Http(Dialect),
}

/// So many requests in so many seconds.
#[derive(Clone, Copy)]
pub(crate) struct Limit {
    pub(crate) requests: u32,
    pub(crate) seconds: u32,
}

/// A caller with a question.
pub(crate) enum Asker {
    Envoy(Caller),
    Gubernator(Connection, Limit),
    Throttlecrab(Connection, Limit),
    Http(HttpCaller),
}

/// Limitador's HTTP API.
pub(crate) const LIMITADOR: Dialect = Dialect {
    path: "/check_and_report",
    body: |client| {
        format!(r#"{{"namespace":"edge","values":{{"api_key":"client-{client:06}"}},"delta":1}}"#)
    },
    is_allowed: allowed_by_status,
};

/// How many tokens of throttlecrab a request takes. With one, a limit of one request would be a
/// burst of 1, which throttlecrab never denies: the state of such a bucket expires at once.
const THROTTLECRAB_TOKENS: u32 = 2;

/// Returns the dialect of throttlecrab's HTTP API, whose requests contain the limit.
pub(crate) const fn throttlecrab(outcome: Outcome) -> Dialect {
    let body: fn(usize) -> String = match outcome {
        Outcome::Admitted => |client| throttlecrab_body(client, Outcome::Admitted),
        Outcome::Denied => |client| throttlecrab_body(client, Outcome::Denied),
    };
    Dialect { path: "/throttle", body, is_allowed: throttlecrab_allows }
}

fn throttlecrab_body(client: usize, outcome: Outcome) -> String {
    let Limit { requests, seconds } = Limit::of(outcome);
    let requests = THROTTLECRAB_TOKENS * requests;
    format!(r#"{{"key":"client-{client:06}","max_burst":{requests},"count_per_period":{requests},"#)
        + &format!(r#""period":{seconds},"quantity":{THROTTLECRAB_TOKENS}}}"#)
}

/// The status is 200 for denials too.
fn throttlecrab_allows(response: &[u8]) -> Option<bool> {
    let response = std::str::from_utf8(response).ok()?;
    let (_, rest) = response.strip_prefix("HTTP/1.1 200")?.split_once(r#""allowed":"#)?;
    Some(rest.starts_with("true"))
}

// === impl Limit ===

impl Limit {
    /// Returns a limit that no client reaches, or one that admits one request a day.
    pub(crate) const fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Admitted => Self { requests: 1_000_000, seconds: 1 },
            Outcome::Denied => Self { requests: 1, seconds: 86_400 },
        }
    }
}

// === impl Question ===

impl Protocol for Question {
    type Asker = Asker;

    async fn connect(self, server: SocketAddr, askers: usize) -> Vec<Asker> {
        let of_connections = async |asker: fn(Connection, Limit) -> Asker, limit| {
            let connections = Connection::connect_many(server, askers).await;
            connections.into_iter().map(|connection| asker(connection, limit)).collect()
        };
        match self {
            Self::Envoy => {
                let callers = Caller::connect_many(server, askers).await;
                callers.into_iter().map(Asker::Envoy).collect()
            }
            Self::Gubernator(limit) => of_connections(Asker::Gubernator, limit).await,
            Self::Throttlecrab(limit) => of_connections(Asker::Throttlecrab, limit).await,
            Self::Http(dialect) => {
                let callers = HttpCaller::connect_many(server, dialect, askers).await;
                callers.into_iter().map(Asker::Http).collect()
            }
        }
    }
}

// === impl Asker ===

impl Ask for Asker {
    async fn ask(&mut self, client: usize) -> Answer {
        match self {
            Self::Envoy(caller) => caller.ask(client).await,
            Self::Gubernator(connection, limit) => ask_gubernator(connection, *limit, client).await,
            Self::Throttlecrab(connection, limit) => {
                ask_throttlecrab(connection, *limit, client).await
            }
            Self::Http(caller) => caller.ask(client).await,
        }
    }
}

async fn ask_gubernator(connection: &mut Connection, limit: Limit, client: usize) -> Answer {
    let request = RateLimitReq {
        name: "edge".to_owned(),
        unique_key: format!("client-{client:06}"),
        hits: 1,
        limit: limit.requests.into(),
        duration: i64::from(limit.seconds) * 1_000,
    };
    let url = "http://gubernator/pb.gubernator.V1/GetRateLimits";
    let request = GetRateLimitsReq { requests: vec![request] };
    let Response::<GetRateLimitsResp> { message, took_us } = connection.call(url, &request).await;
    assert_eq!(message.responses.len(), 1, "{message:?}");
    let decision = &message.responses[0];
    assert_eq!(decision.error, "");
    Answer { is_allowed: decision.status == 0, took_us }
}

async fn ask_throttlecrab(connection: &mut Connection, limit: Limit, client: usize) -> Answer {
    let field = |value: u32| i32::try_from(value).unwrap();
    let request = ThrottleRequest {
        key: format!("client-{client:06}"),
        max_burst: field(THROTTLECRAB_TOKENS * limit.requests),
        count_per_period: field(THROTTLECRAB_TOKENS * limit.requests),
        period: field(limit.seconds),
        quantity: field(THROTTLECRAB_TOKENS),
    };
    let url = "http://throttlecrab/throttlecrab.RateLimiter/Throttle";
    let Response::<ThrottleResponse> { message, took_us } = connection.call(url, &request).await;
    Answer { is_allowed: message.allowed, took_us }
}
