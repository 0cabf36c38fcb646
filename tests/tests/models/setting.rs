//! A replica in front of a vendor, and what the tests ask both.

use serde_json::{Value, json};
use sluice_testkit::{Sluice, eventually_async};
use sluice_tests::{
    fleet::memory_replica,
    http::{Client, Request, Response},
    metrics::Metrics,
    model::{Answer, FakeModel},
};

/// The burst of the limit `tokens`. Of it one token comes back in 14 minutes: far longer than a
/// test, and often enough that the bucket is full within a year.
pub(crate) const BURST: u64 = 30_000;

pub(crate) const CHAT: &str = "/v1/chat/completions";
pub(crate) const RESPONSES: &str = "/v1/responses";
pub(crate) const MESSAGES: &str = "/v1/messages";
pub(crate) const GENERATE: &str = "/v1beta/models/small:generateContent";
pub(crate) const GENERATE_STREAM: &str = "/v1beta/models/small:streamGenerateContent?alt=sse";

/// Every wire format below its own path.
pub(crate) const ROUTES: &str = "\
routes: [{ path: /v1/messages, speaks: anthropic }, { path: '/v1/**', speaks: openai }, \
{ path: '/v1beta/**', speaks: gemini }]";

/// A limit of tokens and no other.
pub(crate) fn one_limit(burst: u64) -> String {
    format!(
        "defaults: off\nendpoints: {{}}\nlimits:\n  \
         - {{ name: tokens, counts: total_tokens, rate: 100/day, burst: {burst} }}\n"
    )
}

pub(crate) fn in_front_of(model: &FakeModel, llm: &str, more: &str) -> String {
    format!(
        "gateway: {{ upstream: \"http://{}\", doors: on }}\nllm: {{ {ROUTES}{llm} }}\n{more}",
        model.address()
    )
}

/// A replica with the limit `tokens` in front of a model.
pub(crate) struct Setting {
    pub(crate) sluice: Sluice,
    pub(crate) model: FakeModel,
    pub(crate) client: Client,
}

impl Setting {
    pub(crate) async fn new(answer: Answer) -> Self {
        Self::with(answer, "", &one_limit(BURST)).await
    }

    pub(crate) async fn with(answer: Answer, llm: &str, more: &str) -> Self {
        let model = FakeModel::start(answer).await;
        let sluice = memory_replica(&in_front_of(&model, llm, more));
        let client = Client::of(sluice.http_addr());
        Self { sluice, model, client }
    }

    /// Sends a request of `alice`.
    pub(crate) async fn ask(&mut self, path: &str, body: &Value) -> Response {
        self.client.send(&post(path, body)).await
    }

    /// Waits until a settlement has left `taken` tokens taken of the limit `tokens`.
    pub(crate) async fn settles_to(&mut self, taken: u64) {
        let address = self.sluice.http_addr();
        settles_to(&mut Client::of(address), "alice", taken).await;
    }

    pub(crate) async fn taken(&mut self) -> u64 {
        taken(&mut self.client, "alice").await
    }

    pub(crate) async fn count(&mut self, name: &str, labels: &[(&str, &str)]) -> u64 {
        Metrics::of(&mut self.client).await.count(name, labels)
    }

    /// The whole page of metrics.
    pub(crate) async fn metrics(&mut self) -> String {
        Metrics::of(&mut self.client).await.text().to_owned()
    }
}

/// A request of `alice`.
pub(crate) fn post(path: &str, body: &Value) -> Request {
    post_as("alice", path, body)
}

pub(crate) fn post_as(key: &str, path: &str, body: &Value) -> Request {
    Request::post(path, body).header("x-api-key", key).header("accept-encoding", "gzip, br")
}

/// A request of chat whose estimate is 9 tokens of input and as many of output as it says.
pub(crate) fn chat(max_tokens: u64) -> Value {
    json!({ "model": "small", "max_tokens": max_tokens,
            "messages": [{ "role": "user", "content": "Hi" }] })
}

pub(crate) fn streamed(mut body: Value) -> Value {
    body["stream"] = json!(true);
    body
}

pub(crate) async fn settles_to(client: &mut Client, key: &str, expected: u64) {
    eventually_async("what was used is settled", async || {
        let taken = taken(client, key).await;
        if taken == expected { Ok(()) } else { Err(format!("{taken} of {expected} are taken")) }
    })
    .await;
}

/// Looks how much of the limit `tokens` is taken.
pub(crate) async fn taken(client: &mut Client, key: &str) -> u64 {
    let look = json!({ "client": key, "method": "POST", "path": CHAT, "cost": 0 });
    let checked = client.post("/v1/check", &look).await.json();
    let limits = checked["limits"].as_array();
    let tokens = limits.and_then(|limits| limits.iter().find(|limit| limit["name"] == "tokens"));
    let tokens = tokens.expect("the check has the limit `tokens`");
    tokens["burst"].as_u64().unwrap() - tokens["remaining"].as_u64().unwrap()
}
