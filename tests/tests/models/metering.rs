//! Each answer is metered and settled to the token, and passes unchanged.

use std::{fs, path::Path};

use serde_json::{Value, json};
use sluice_tests::model::Answer;

use crate::setting::{
    BURST, CHAT, GENERATE, GENERATE_STREAM, MESSAGES, RESPONSES, Setting, chat, one_limit, streamed,
};

struct Transcript {
    name: String,
    is_stream: bool,
    body: Vec<u8>,
    /// What the client gets.
    passed: Vec<u8>,
    expected: Value,
}

/// The transcripts of a wire format whose usage is reported.
fn transcripts(folder: &str) -> Vec<Transcript> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/llm/tests/transcripts");
    let mut paths: Vec<_> =
        fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: &Path| {
        let file = path.file_name()?.to_str()?;
        let (case, kind) = file.split_once('.')?;
        let is_stream = match kind {
            "sse" => true,
            "json" => false,
            _ => return None,
        };
        let beside = |kind: &str| path.with_file_name(format!("{case}.{kind}"));
        let expected = fs::read(beside("expected.json")).unwrap();
        let expected: Value = serde_json::from_slice(&expected).unwrap();
        let body = fs::read(path).unwrap();
        let passed = fs::read(beside("passed.sse")).unwrap_or_else(|_| body.clone());
        let name = format!("{folder}/{file}");
        (expected["outcome"] == "reported").then_some(Transcript {
            name,
            is_stream,
            body,
            passed,
            expected,
        })
    };
    let found: Vec<_> = paths.iter().filter_map(|path| read(path)).collect();
    assert!(!found.is_empty(), "{folder}");
    found
}

/// Sends the request for each transcript of a wire format, and compares the bucket.
async fn is_settled_to_the_token(folder: &str, path: impl Fn(bool) -> &'static str, body: &Value) {
    let mut setting = Setting::new(Answer::json("")).await;
    let mut taken = 0;
    for Transcript { name, is_stream, body: answer, passed, expected } in transcripts(folder) {
        setting.model.answers(if is_stream {
            Answer::events(answer)
        } else {
            Answer::json(answer)
        });
        let mut body = if is_stream { streamed(body.clone()) } else { body.clone() };
        if expected["removes"] == false {
            body["stream_options"] = json!({ "include_usage": true });
        }
        let response = setting.ask(path(is_stream), &body).await;
        assert_eq!(response.status, 200, "{name}: {response}");
        assert_eq!(response.text(), String::from_utf8_lossy(&passed), "{name}");
        taken += expected["consumed"].as_u64().unwrap() + expected["generated"].as_u64().unwrap();
        setting.settles_to(taken).await;
    }
    assert!(taken < BURST);
}

#[tokio::test]
async fn openai_chat_is_settled_to_the_token() {
    is_settled_to_the_token("openai_chat", |_| CHAT, &chat(50)).await;
}

#[tokio::test]
async fn openai_responses_are_settled_to_the_token() {
    let body = json!({ "model": "small", "input": "Hi", "max_output_tokens": 50 });
    is_settled_to_the_token("openai_responses", |_| RESPONSES, &body).await;
}

#[tokio::test]
async fn anthropic_messages_are_settled_to_the_token() {
    is_settled_to_the_token("anthropic_messages", |_| MESSAGES, &chat(50)).await;
}

#[tokio::test]
async fn gemini_is_settled_to_the_token() {
    let body = json!({ "contents": [{ "parts": [{ "text": "Hi" }] }],
                       "generationConfig": { "maxOutputTokens": 50 } });
    let path = |is_stream| if is_stream { GENERATE_STREAM } else { GENERATE };
    is_settled_to_the_token("gemini", path, &body).await;
}

#[tokio::test]
async fn embeddings_and_images_count_what_is_reported() {
    let body = json!({ "model": "small", "input": "Hi" });
    is_settled_to_the_token("openai_embeddings", |_| "/v1/embeddings", &body).await;
    let body = json!({ "model": "small", "prompt": "A cat" });
    is_settled_to_the_token("openai_images", |_| "/v1/images/generations", &body).await;
}

#[tokio::test]
async fn the_documents_metrics_and_costs_are_filled() {
    let answer = json!({ "usage": { "prompt_tokens": 1_200, "completion_tokens": 300,
                                    "prompt_tokens_details": { "cached_tokens": 200 } } });
    let costs = format!(
        "{}  - {{ name: money, counts: cost, rate: 0.001/day, burst: 0.02 }}\n\
         costs: {{ currency: USD, llm: {{ small: {{ input_per_1m: 2, cached_input_per_1m: 0.5, \
         output_per_1m: 8 }} }} }}\n",
        one_limit(BURST)
    );
    let mut setting = Setting::with(Answer::json(answer.to_string()), "", &costs).await;
    let answered = setting.ask(CHAT, &chat(400)).await;
    assert_eq!(answered.status, 200, "{answered}");
    setting.settles_to(1_500).await;
    let metrics = setting.metrics().await;
    for line in [
        r#"llm_requests_total{model="small",operation="chat",status="success"} 1"#,
        r#"llm_tokens_consumed_total{model="small",operation="chat"} 1200"#,
        r#"llm_tokens_generated_total{model="small",operation="chat"} 300"#,
        r#"llm_generation_duration_seconds_count{model="small",operation="chat"} 1"#,
        // 1,000 * 2 + 200 * 0.5 + 300 * 8 = 4,500 millionths.
        r#"llm_cost_total{currency="USD",model="small"} 0.0045"#,
    ] {
        assert!(metrics.contains(&format!("\n{line}\n")), "{line} is not in {metrics}");
    }

    let mut unpriced = chat(10);
    unpriced["model"] = json!("unknown");
    let refused = setting.ask(CHAT, &unpriced).await;
    assert_eq!(refused.status, 400, "{refused}");
    assert_eq!(refused.json()["error"]["param"], "model", "{refused}");
    assert!(refused.text().contains("this model has no price"), "{refused}");
    unpriced.as_object_mut().unwrap().remove("model");
    let refused = setting.ask(CHAT, &unpriced).await;
    assert!(refused.text().contains("names no model"), "{refused}");
    let refusals = [("reason", "no_price"), ("vendor", "openai")];
    assert_eq!(setting.count("sluice_llm_requests_refused_total", &refusals).await, 2);
    assert_eq!(setting.model.requests().len(), 1, "the vendor does not see it");
    // 20,000 millionths hold three requests of 4,500, and 500 and 18 more.
    let mut passed = 0;
    for _ in 0..6 {
        passed += usize::from(setting.ask(CHAT, &chat(400)).await.status == 200);
        setting.settles_to(1_500 * (passed as u64 + 1)).await;
    }
    assert_eq!(passed, 3, "limit `money` holds four");
    let denied = setting.ask(CHAT, &chat(400)).await;
    assert!(denied.text().contains(" units of the currency, and 0.0"), "{denied}");
}
