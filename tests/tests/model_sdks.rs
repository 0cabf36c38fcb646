//! The vendors' own SDKs ask models through the gateway: they read its answers as the vendors', and
//! obey its denials.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

use std::{fs, path::Path, process::Command};

use sluice_testkit::{Program, SluiceOptions, built_sluice};
use sluice_tests::{
    model::{Answer, FakeModel},
    received_request::ReceivedRequest,
};

const PYTHON: Program = Program {
    name: "models-python",
    variable: "SLUICE_MODELS_PYTHON",
    remedy: "python3 -m venv somewhere, and pip install there anthropic, google-genai and openai",
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Answers with a transcript of the wire format that the request speaks.
fn answer(request: &ReceivedRequest) -> Answer {
    let path = request.target.split('?').next().unwrap_or_default();
    let says_stream = String::from_utf8_lossy(&request.body).replace(' ', "");
    let streams = says_stream.contains("\"stream\":true") || path.contains("streamGenerate");
    let (document, stream) = match path {
        "/v1/chat/completions" => ("openai_chat/document.json", "openai_chat/final_usage.sse"),
        "/v1/responses" => ("openai_responses/document.json", "openai_responses/completed.sse"),
        "/v1/embeddings" => ("openai_embeddings/document.json", ""),
        "/v1/messages" => {
            ("anthropic_messages/document.json", "anthropic_messages/final_usage.sse")
        }
        _ => ("gemini/document.json", "gemini/usage_in_each_chunk.sse"),
    };
    let folder = Path::new(ROOT).join("../crates/llm/tests/transcripts");
    let read = |file| fs::read(folder.join(file)).unwrap();
    if streams { Answer::events(read(stream)) } else { Answer::json(read(document)) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_vendors_sdks_understand_the_gateway() {
    let model = FakeModel::start(Answer::Chosen(answer)).await;
    let yaml = format!(
        "gateway: {{ upstream: \"http://{}\" }}\n\
         llm: {{ routes: [{{ path: /v1/messages, speaks: anthropic }}, \
         {{ path: '/v1/**', speaks: openai }}, {{ path: '/**', speaks: gemini }}] }}\n\
         clients: {{ identify: [bearer, 'header:x-api-key', 'header:x-goog-api-key'] }}\n\
         defaults: off\nendpoints: {{}}\nlimits:\n  \
         - {{ name: tokens, counts: total_tokens, rate: 60_000/minute, burst: 2000 }}\n  \
         - {{ name: slow, when: {{ header: x-slow }}, counts: total_tokens, rate: 100/day, \
         burst: 100 }}\n",
        model.address()
    );
    let sluice = SluiceOptions::new(built_sluice()).config(yaml).start();
    let mut sdks = Command::new(PYTHON.path());
    sdks.arg("-B").arg(Path::new(ROOT).join("py/model_sdks.py"));
    sdks.arg(format!("http://{}", sluice.http_addr()));
    let output = tokio::task::block_in_place(|| sdks.output()).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}\n{}", sluice.log());
}
