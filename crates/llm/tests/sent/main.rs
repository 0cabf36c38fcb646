//! Requests as the vendors' own libraries send them.
//!
//! The bodies were recorded, with content made up for it, from openai-python 3.57,
//! anthropic-sdk-python 2.14 and python-genai 3.6.

use std::{fs, path::Path};

use sluice_llm::{Estimate, Hold, ModelRequest, Vendor, include_usage};

fn body(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sent");
    fs::read(folder.join(name).with_extension("json")).expect("a recorded body")
}

struct Sent {
    name: &'static str,
    vendor: Vendor,
    path: &'static str,
    model: &'static str,
    stream: bool,
    /// 500 tokens of output stand for a limit that the request does not state.
    estimate: (u64, u64),
}

const fn sent(
    name: &'static str,
    (vendor, path): (Vendor, &'static str),
    model: &'static str,
    stream: bool,
    estimate: (u64, u64),
) -> Sent {
    Sent { name, vendor, path, model, stream, estimate }
}

const CHAT: (Vendor, &str) = (Vendor::OpenAi, "/v1/chat/completions");
const RESPONSES: (Vendor, &str) = (Vendor::OpenAi, "/v1/responses");
const MESSAGES: (Vendor, &str) = (Vendor::Anthropic, "/v1/messages");
const STREAM: (Vendor, &str) =
    (Vendor::Gemini, "/v1beta/models/small-2:streamGenerateContent?alt=sse");

const ALL: [Sent; 14] = [
    sent("openai_chat", CHAT, "small-1", false, (1_725, 600)),
    sent("openai_chat_stream", CHAT, "small-1", true, (13, 64)),
    sent("openai_chat_stream_with_usage", CHAT, "small-1", true, (13, 500)),
    sent("openai_completions", (Vendor::OpenAi, "/v1/completions"), "small-1", false, (7, 120)),
    sent("openai_responses", RESPONSES, "small-1", true, (1_618, 200)),
    sent("openai_responses_text", RESPONSES, "small-1", false, (13, 500)),
    sent("openai_embeddings", (Vendor::OpenAi, "/v1/embeddings"), "vec-1", false, (5, 0)),
    sent("openai_images", (Vendor::OpenAi, "/v1/images/generations"), "pic-1", false, (3, 0)),
    sent("openai_speech", (Vendor::OpenAi, "/v1/audio/speech"), "say-1", false, (5, 0)),
    sent("anthropic_messages", MESSAGES, "small-1", false, (1_683, 400)),
    sent("anthropic_messages_stream", MESSAGES, "small-1", true, (13, 50)),
    sent(
        "gemini",
        (Vendor::Gemini, "/v1/models/small-2:generateContent"),
        "small-2",
        false,
        (1_632, 500),
    ),
    sent("gemini_stream", STREAM, "small-2", true, (13, 500)),
    sent(
        "gemini_embeddings",
        (Vendor::Gemini, "/v1beta/models/vec-2:batchEmbedContents"),
        "vec-2",
        false,
        (21, 0),
    ),
];

#[test]
fn what_the_libraries_send_is_read_right() {
    for sent in ALL {
        let call = sent.vendor.call(sent.path).expect("a call");
        let request = ModelRequest::read(&call, &body(sent.name)).expect(sent.name);
        assert_eq!(request.model(), Some(sent.model), "{}", sent.name);
        assert_eq!(request.streams(), sent.stream, "{}", sent.name);
        let (input, output) = sent.estimate;
        let expected = Estimate { input, output };
        assert_eq!(request.estimate(Hold::Typical, 500), expected, "{}", sent.name);
    }
}

#[test]
fn a_stream_is_asked_for_its_usage() {
    let asked = include_usage(&body("openai_chat_stream")).expect("a body").expect("a new body");
    let text = String::from_utf8(asked.clone()).expect("text");
    assert!(text.starts_with(r#"{"stream_options":{"include_usage":true},"model":"#), "{text}");
    assert!(text.ends_with(&String::from_utf8_lossy(&body("openai_chat_stream"))[1..]), "{text}");
    assert_eq!(include_usage(&asked), Ok(None));
    assert_eq!(include_usage(&body("openai_chat_stream_with_usage")), Ok(None));
}
