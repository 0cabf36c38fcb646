//! What the SDKs sent, sent again: the gateway answers it as it did then.

use std::collections::HashSet;

use serde_json::Value;
use sluice_tests::{
    http::{Client, Request, Response},
    received_request::ReceivedRequest,
};

use crate::{
    gateway,
    recording::{self, Sent},
};

/// No request comes back while the test runs.
const SOON: &str = "1/day";

const SDKS: [&str; 6] = [
    "anthropic-node",
    "anthropic-python",
    "genai-node",
    "genai-python",
    "openai-node",
    "openai-python",
];

fn request(sent: &Sent) -> Request {
    let request = Request::new("POST", &sent.path).header("accept-encoding", "gzip, deflate");
    let fields = sent.fields.iter();
    fields
        .fold(request, |request, (name, value)| request.header(name, value))
        .body(sent.body.as_str())
}

#[tokio::test]
async fn the_gateway_answers_what_sdks_send() {
    let (sluice, model) = gateway::start(SOON).await;
    let mut client = Client::of(sluice.http_addr());
    for sdk in SDKS {
        let mut statuses = HashSet::new();
        for sent in recording::read(sdk) {
            let call = format!("{sdk} {}", sent.call);
            let before = model.requests().len();
            let response = client.send(&request(&sent)).await;
            assert_eq!(response.status, sent.status, "{call}: {response}");
            let passed = model.requests().split_off(before);
            match sent.status {
                200 => is_forwarded(&call, &sent, &passed, &response),
                status => {
                    assert_eq!(passed.len(), 0, "{call}: the vendor does not see it");
                    has_the_vendors_shape(&call, sdk, status, &response);
                }
            }
            statuses.insert(sent.status);
        }
        assert_eq!(statuses, HashSet::from([200, 400, 429]), "{sdk}");
    }
}

/// Checks that the vendor gets what the SDK sent, but for the usage that it does not ask for.
fn is_forwarded(call: &str, sent: &Sent, passed: &[ReceivedRequest], response: &Response) {
    assert_eq!(passed.len(), 1, "{call}: the vendor gets it once");
    let passed = &passed[0];
    assert_eq!(passed.target, sent.path, "{call}");
    let is_asked = call.starts_with("openai") && call.ends_with(" chat_stream");
    if is_asked {
        let mut body: Value = serde_json::from_str(&sent.body).unwrap();
        body["stream_options"] = serde_json::json!({ "include_usage": true });
        assert_eq!(serde_json::from_slice::<Value>(&passed.body).unwrap(), body, "{call}");
        assert!(!response.text().contains("total_tokens"), "{call}: {response}");
    } else {
        assert_eq!(String::from_utf8_lossy(&passed.body), sent.body, "{call}");
    }
    let fields = passed.fields();
    for (name, value) in &sent.fields {
        assert_eq!(fields.get(name).unwrap(), value, "{call}: {name}");
    }
    assert_eq!(fields.get("accept-encoding").unwrap(), "identity", "{call}");
    assert!(!response.body.is_empty(), "{call}");
}

/// Checks an answer of Sluice's own, as the SDKs read it.
fn has_the_vendors_shape(call: &str, sdk: &str, status: u16, response: &Response) {
    let body = response.json();
    let error = &body["error"];
    assert!(error["message"].is_string(), "{call}: {response}");
    let (field, words) = match sdk.split('-').next().unwrap() {
        "openai" => ("type", ["invalid_request_error", "tokens", "requests"]),
        "anthropic" => ("type", ["invalid_request_error", "rate_limit_error", "rate_limit_error"]),
        _ => ("status", ["INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED"]),
    };
    let is_soon = call.ends_with("_waits");
    let word = if status == 400 { words[0] } else { words[1 + usize::from(is_soon)] };
    assert_eq!(error[field], word, "{call}: {response}");
    if status == 429 {
        assert_eq!(response.header("x-should-retry"), Some("false"), "{call}: {response}");
        let (millis, seconds) = (response.number("retry-after-ms"), response.number("retry-after"));
        assert_eq!(millis.div_ceil(1_000), seconds, "{call}: {response}");
    }
}
