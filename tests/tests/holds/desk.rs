//! What a caller of the three routes does.

use serde_json::{Value, json};
use sluice_tests::{
    http::{Client, Response},
    metrics::Metrics,
};

/// Three thousand tokens a day, so that none comes back while a test runs.
pub(crate) const BUDGET: &str = "\
defaults: off
endpoints: {}
limits: [{ name: tokens, counts: total_tokens, rate: 1/day, burst: 3000, hold_for: 1h }]
";

/// The same for a fleet whose replicas have a secret.
pub(crate) fn with_secret(secret: &str, limits: &str) -> String {
    format!("clients: {{ secret: \"{secret}\", identify: [header:x-api-key] }}\n{limits}")
}

/// A client of one replica that holds tokens for `alice`.
pub(crate) struct Desk(pub(crate) Client);

impl Desk {
    pub(crate) fn of(address: std::net::SocketAddr) -> Self {
        Self(Client::of(address))
    }

    /// Asks for a hold of this many tokens.
    pub(crate) async fn ask(&mut self, tokens: u64) -> Response {
        self.0.post("/v1/reserve", &estimate(tokens)).await
    }

    /// Holds this many tokens, and returns the reservation.
    pub(crate) async fn reserve(&mut self, tokens: u64) -> String {
        reservation(&self.ask(tokens).await)
    }

    /// Settles a reservation with this many tokens.
    pub(crate) async fn settle(&mut self, reservation: &str, tokens: u64) -> Response {
        self.0.post("/v1/settle", &settlement(reservation, tokens)).await
    }

    /// Settles a reservation, and returns the state of that.
    pub(crate) async fn settled(&mut self, reservation: &str, tokens: u64) -> String {
        let settled = self.settle(reservation, tokens).await;
        assert_eq!(settled.status, 200, "{settled}");
        settled.json()["state"].as_str().unwrap().to_owned()
    }

    /// Returns how many requests were refused before any limit was asked.
    pub(crate) async fn refused(&mut self, reason: &str, request: &str) -> u64 {
        let labels = [("reason", reason), ("request", request)];
        Metrics::of(&mut self.0).await.count("sluice_hold_requests_refused_total", &labels)
    }

    /// Returns the tokens that `alice` has left.
    pub(crate) async fn left(&mut self) -> u64 {
        let looked = self.0.post("/v1/check", &json!({ "client": "alice", "cost": 0 })).await;
        looked.number("x-ratelimit-remaining")
    }
}

/// The body that asks for a hold of this many tokens.
pub(crate) fn estimate(tokens: u64) -> Value {
    json!({ "client": "alice", "costs": { "input_tokens": tokens } })
}

/// The body that settles a reservation with this many tokens.
pub(crate) fn settlement(reservation: &str, tokens: u64) -> Value {
    json!({ "reservation": reservation, "costs": { "input_tokens": tokens } })
}

/// Returns the reservation in a response.
#[track_caller]
pub(crate) fn reservation(held: &Response) -> String {
    assert_eq!(held.status, 200, "{held}");
    held.json()["reservation"].as_str().unwrap_or_else(|| panic!("{held}")).to_owned()
}
