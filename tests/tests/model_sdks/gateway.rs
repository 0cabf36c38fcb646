//! The gateway that SDKs ask, in front of a vendor that answers with transcripts.

use std::{fs, path::Path};

use sluice_testkit::{Sluice, SluiceOptions, built_sluice};
use sluice_tests::{
    model::{Answer, FakeModel},
    received_request::ReceivedRequest,
};

/// Answers with a transcript of the wire format that the request speaks.
fn answer(request: &ReceivedRequest) -> Answer {
    let path = request.target.split('?').next().unwrap_or_default();
    let says_stream = String::from_utf8_lossy(&request.body).replace(' ', "");
    let streams = says_stream.contains("\"stream\":true") || path.contains("streamGenerate");
    let (document, stream) = match path {
        "/v1/chat/completions" => ("openai_chat/document.json", "openai_chat/final_usage.sse"),
        "/v1/completions" => ("openai_completions/document.json", ""),
        "/v1/responses" => ("openai_responses/document.json", "openai_responses/completed.sse"),
        "/v1/embeddings" => ("openai_embeddings/document.json", ""),
        "/v1/images/generations" => ("openai_images/document.json", ""),
        "/v1/audio/speech" => {
            let fields = "content-type: audio/mpeg\r\n".to_owned();
            return Answer::Whole { status: 200, fields, body: vec![0xff; 100] };
        }
        "/v1/messages" => {
            ("anthropic_messages/document.json", "anthropic_messages/final_usage.sse")
        }
        _ if path.ends_with(":batchEmbedContents") => {
            return Answer::json(r#"{"embeddings":[{"values":[0.1]},{"values":[-0.2]}]}"#);
        }
        _ => ("gemini/document.json", "gemini/usage_in_each_chunk.sse"),
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/llm/tests/transcripts");
    let read = |file| fs::read(folder.join(file)).unwrap();
    if streams { Answer::events(read(stream)) } else { Answer::json(read(document)) }
}

/// Starts both. Requests with `x-slow` have a limit of 100 tokens a day, and those with `x-soon` a
/// limit of one request at this rate.
pub(crate) async fn start(soon: &str) -> (Sluice, FakeModel) {
    let model = FakeModel::start(Answer::Chosen(answer)).await;
    let yaml = format!(
        "gateway: {{ upstream: \"http://{}\" }}\n\
         llm: {{ routes: [{{ path: /v1/messages, speaks: anthropic }}, \
         {{ path: '/v1/**', speaks: openai }}, {{ path: '/**', speaks: gemini }}] }}\n\
         clients: {{ identify: [bearer, 'header:x-api-key', 'header:x-goog-api-key'] }}\n\
         defaults: off\nendpoints: {{}}\nlimits:\n  \
         - {{ name: tokens, counts: total_tokens, rate: 60_000/minute, burst: 60_000 }}\n  \
         - {{ name: slow, when: {{ header: x-slow }}, counts: total_tokens, rate: 100/day, \
         burst: 100 }}\n  \
         - {{ name: soon, when: {{ header: x-soon }}, rate: {soon}, burst: 1 }}\n",
        model.address()
    );
    (SluiceOptions::new(built_sluice()).config(yaml).start(), model)
}
