//! Requests as the vendors' own SDKs send them: `anthropic`, `@google/genai` and `openai`, in
//! Python and in JavaScript.
//!
//! A file has the requests of one SDK, and each line one of them: what it is called, its path, its
//! header fields, its body byte by byte, and the status of the gateway's answer.
//! `UPDATE_SENT=1 cargo xtask e2e` records them; `tests/tests/model_sdks` also sends them.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::value::RawValue;
use sluice_llm::{Estimate, Hold, ModelRequest, Vendor, include_usage};

const SDKS: [(&str, Vendor); 6] = [
    ("anthropic-node", Vendor::Anthropic),
    ("anthropic-python", Vendor::Anthropic),
    ("genai-node", Vendor::Gemini),
    ("genai-python", Vendor::Gemini),
    ("openai-node", Vendor::OpenAi),
    ("openai-python", Vendor::OpenAi),
];

struct Sent {
    call: String,
    path: String,
    body: String,
}

fn sent(sdk: &str) -> Vec<Sent> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sent");
    let text = fs::read_to_string(folder.join(sdk).with_extension("jsonl")).expect("a recording");
    let read = |line: &str| {
        let parts: BTreeMap<&str, &RawValue> = serde_json::from_str(line).expect("a request");
        let text = |name| serde_json::from_str(parts[name].get()).expect("a text");
        Sent { call: text("call"), path: text("path"), body: parts["body"].get().to_owned() }
    };
    text.lines().map(read).collect()
}

/// Returns the model, whether the answer is a stream, and the tokens of input and output. 500
/// tokens of output stand for a limit that the request does not state.
fn expected(sdk: &str, call: &str) -> Option<(&'static str, bool, (u64, u64))> {
    Some(match call {
        "chat" => ("small-1", false, (1_725, 600)),
        "chat_stream" | "messages_stream" => ("small-1", true, (13, 50)),
        "chat_stream_with_usage" => ("small-1", true, (13, 500)),
        "completions" => ("small-1", false, (7, 120)),
        "responses" => ("small-1", false, (13, 500)),
        "responses_stream" => ("small-1", true, (1_618, 200)),
        "embeddings" => ("vec-1", false, (5, 0)),
        "images" => ("pic-1", false, (3, 0)),
        "speech" => ("say-1", false, (5, 0)),
        "messages" => ("small-1", false, (1_688, 400)),
        // A schema counts by its length, and Python writes it with spaces.
        "generate" if sdk == "genai-python" => ("small-2", false, (1_632, 500)),
        "generate" => ("small-2", false, (1_631, 500)),
        "generate_stream" => ("small-2", true, (13, 500)),
        "generate_slow" | "generate_denied" => ("small-2", false, (13, 90)),
        "embed" => ("vec-2", false, (21, 0)),
        "chat_soon" | "chat_waits" | "messages_soon" | "messages_waits" => {
            ("small-1", false, (13, 50))
        }
        "chat_slow" | "chat_denied" | "messages_slow" | "messages_denied" => {
            ("small-1", false, (13, 90))
        }
        "chat_stream_denied" | "messages_stream_denied" => ("small-1", true, (13, 90)),
        _ => return None,
    })
}

#[test]
fn what_the_sdks_send_is_read_right() {
    for (sdk, vendor) in SDKS {
        for Sent { call, path, body } in sent(sdk) {
            let name = format!("{sdk} {call}");
            let called = vendor.call(&path).expect(&name);
            let request = ModelRequest::read(&called, body.as_bytes());
            if call.ends_with("_wrong") {
                let error = request.expect_err(&name);
                assert!(error.field().is_some(), "{name}: {error}");
                continue;
            }
            let request = request.expect(&name);
            let (model, streams, (input, output)) = expected(sdk, &call).expect(&name);
            assert_eq!((request.model(), request.streams()), (Some(model), streams), "{name}");
            let estimate = request.estimate(Hold::Typical, 500);
            assert_eq!(estimate, Estimate { input, output }, "{name}");
        }
    }
}

#[test]
fn a_stream_is_asked_for_its_usage() {
    for sdk in ["openai-node", "openai-python"] {
        let sent = sent(sdk);
        let body = |call: &str| sent.iter().find(|sent| sent.call == call).unwrap().body.as_bytes();
        let plain = body("chat_stream");
        let asked = include_usage(plain).expect("a body").expect("a new body");
        let text = String::from_utf8(asked.clone()).expect("text");
        assert!(text.starts_with(r#"{"stream_options":{"include_usage":true},"model":"#), "{text}");
        assert!(text.as_bytes().ends_with(&plain[1..]), "{text}");
        assert_eq!(include_usage(&asked), Ok(None));
        assert_eq!(include_usage(body("chat_stream_with_usage")), Ok(None));
    }
}
