//! What requests say, and what they may use.

use sluice_llm::{Hold, ModelRequest, RequestError, Vendor};

const CHAT: (Vendor, &str) = (Vendor::OpenAi, "/v1/chat/completions");
const COMPLETIONS: (Vendor, &str) = (Vendor::OpenAi, "/v1/completions");
const RESPONSES: (Vendor, &str) = (Vendor::OpenAi, "/v1/responses");
const EMBEDDINGS: (Vendor, &str) = (Vendor::OpenAi, "/v1/embeddings");
const IMAGES: (Vendor, &str) = (Vendor::OpenAi, "/v1/images/generations");
const MESSAGES: (Vendor, &str) = (Vendor::Anthropic, "/v1/messages");
const GEMINI: (Vendor, &str) = (Vendor::Gemini, "/v1beta/models/small-2:streamGenerateContent");
const GEMINI_EMBEDDINGS: (Vendor, &str) = (Vendor::Gemini, "/v1beta/models/e:batchEmbedContents");

fn read((vendor, path): (Vendor, &str), body: &str) -> Result<ModelRequest, RequestError> {
    ModelRequest::read(&vendor.call(path).expect("a call"), body.as_bytes())
}

/// The tokens of input and output, with 1,000 of output where the request states no limit.
fn estimate(route: (Vendor, &str), body: &str, hold: Hold) -> (u64, u64) {
    let estimate = read(route, body).expect("a request").estimate(hold, 1_000);
    (estimate.input, estimate.output)
}

/// Only the input, as bytes of text: 8 tokens a message and 1,600 an image are in it.
fn input(route: (Vendor, &str), body: &str) -> u64 {
    estimate(route, body, Hold::Max).0
}

fn error(route: (Vendor, &str), body: &str) -> String {
    read(route, body).expect_err("no request").to_string()
}

#[test]
fn the_model_and_whether_it_streams_are_in_the_body_or_in_the_path() {
    let request = read(CHAT, r#"{"model":"small\u002d1","stream":true}"#).unwrap();
    assert_eq!((request.model(), request.streams()), (Some("small-1"), true));
    let request = read(MESSAGES, r#"{"model":null,"stream":null}"#).unwrap();
    assert_eq!((request.model(), request.streams()), (None, false));
    let request = read(GEMINI, r#"{"model":"other","stream":false}"#).unwrap();
    assert_eq!((request.model(), request.streams()), (Some("small-2"), true));
}

#[test]
fn output_is_the_largest_limit_for_each_answer() {
    let cases = [
        (CHAT, r#"{}"#, 1_000),
        (CHAT, r#"{"max_tokens":50}"#, 50),
        (CHAT, r#"{"max_tokens":1,"max_completion_tokens":10000}"#, 10_000),
        (CHAT, r#"{"max_tokens":50,"n":3}"#, 150),
        (CHAT, r#"{"n":3}"#, 3_000),
        (CHAT, r#"{"max_tokens":null,"n":null}"#, 1_000),
        (CHAT, r#"{"max_tokens":1e3,"n":2.0}"#, 2_000),
        (CHAT, r#"{"max_tokens":0}"#, 0),
        (CHAT, r#"{"max_tokens":1e12,"n":1e12}"#, 1_000_000_000_000),
        (CHAT, r#"{"max_output_tokens":5,"best_of":9}"#, 1_000),
        (COMPLETIONS, r#"{"max_tokens":50,"n":2,"best_of":5}"#, 250),
        (COMPLETIONS, r#"{"max_tokens":50,"n":2,"prompt":["a","b","c"]}"#, 300),
        (COMPLETIONS, r#"{"max_tokens":50,"prompt":[1,2,3]}"#, 50),
        (COMPLETIONS, r#"{"max_tokens":50,"prompt":[[1,2],[3]]}"#, 100),
        (RESPONSES, r#"{"max_output_tokens":50}"#, 50),
        (MESSAGES, r#"{"max_tokens":50,"n":7}"#, 50),
        (GEMINI, r#"{"generationConfig":{"maxOutputTokens":50,"candidateCount":2}}"#, 100),
        (GEMINI, r#"{"generation_config":{"max_output_tokens":"50"}}"#, 50),
        (GEMINI, r#"{"generationConfig":{},"max_tokens":5}"#, 1_000),
        (EMBEDDINGS, r#"{"input":"a"}"#, 0),
        (IMAGES, r#"{"prompt":"a","n":4}"#, 0),
        (GEMINI_EMBEDDINGS, r#"{"requests":[]}"#, 0),
    ];
    for (route, body, output) in cases {
        assert_eq!(estimate(route, body, Hold::Typical).1, output, "{body}");
    }
}

#[test]
fn input_is_a_quarter_of_the_text_or_all_of_it() {
    let body = r#"{"messages":[{"role":"user","content":"123456789"}]}"#;
    assert_eq!(estimate(CHAT, body, Hold::Typical).0, 3 + 8);
    assert_eq!(estimate(CHAT, body, Hold::Max).0, 9 + 8);
}

#[test]
fn text_is_counted_wherever_the_model_reads_it() {
    let cases = [
        (CHAT, r#"{"messages":[]}"#, 0),
        (CHAT, r#"{"messages":[{"role":"user","content":"h\u00e9"},{"content":null}]}"#, 3 + 16),
        (CHAT, r#"{"messages":[{"content":[{"type":"text","text":"abc"},{"text":"d"}]}]}"#, 4 + 8),
        (CHAT, r#"{"messages":[{"tool_calls":[{"x":1}],"name":"bob"}]}"#, 9 + 5 + 8),
        (CHAT, r#"{"tools":[{"a":1}],"functions":null,"response_format":{}}"#, 9 + 2),
        (CHAT, r#"{"metadata":{"a":"text"},"user":"abc"}"#, 0),
        (CHAT, r#"{"messages":[{"content":"a"}],"messages":[{"content":"b"}]}"#, 2 + 16),
        (COMPLETIONS, r#"{"prompt":"abc","suffix":"d"}"#, 4),
        (COMPLETIONS, r#"{"prompt":["abc","d"]}"#, 4),
        (COMPLETIONS, r#"{"prompt":[[11,12],[13]]}"#, 3),
        (RESPONSES, r#"{"input":"abc","instructions":"de","text":{}}"#, 5 + 2 + 8),
        (RESPONSES, r#"{"input":[{"role":"user","content":[{"text":"abc"}]}]}"#, 3 + 8),
        (RESPONSES, r#"{"input":[{"type":"function_call_output","output":"abc"}]}"#, 3 + 8),
        (MESSAGES, r#"{"system":"abc","messages":[{"content":"d"}]}"#, 4 + 8),
        (MESSAGES, r#"{"system":[{"type":"text","text":"abc","cache_control":{"type":"x"}}]}"#, 3),
        (MESSAGES, r#"{"messages":[{"content":[{"type":"tool_result","content":"abc"}]}]}"#, 11),
        (MESSAGES, r#"{"messages":[{"content":[{"type":"tool_use","input":{"k":"abc"}}]}]}"#, 19),
        (GEMINI, r#"{"contents":[{"role":"user","parts":[{"text":"abc"}]}]}"#, 3 + 8),
        (GEMINI, r#"{"systemInstruction":{"parts":[{"text":"abc"}]}}"#, 3),
        (GEMINI, r#"{"contents":"abc"}"#, 3 + 8),
        (GEMINI, r#"{"generationConfig":{"responseSchema":{"a":1}}}"#, 7),
        (GEMINI_EMBEDDINGS, r#"{"requests":[{"content":{"parts":[{"text":"abc"}]}}]}"#, 3 + 8),
        (EMBEDDINGS, r#"{"input":["abc","de"]}"#, 5),
        (EMBEDDINGS, r#"{"input":[7,8,9]}"#, 3),
        (IMAGES, r#"{"prompt":"abc"}"#, 3),
    ];
    for (route, body, tokens) in cases {
        assert_eq!(input(route, body), tokens, "{body}");
    }
}

#[test]
fn an_image_counts_as_one_however_large_and_only_where_it_can_be_one() {
    let cases = [
        (CHAT, r#"{"messages":[{"content":[{"image_url":{"url":"data:AAAA"}}]}]}"#, 1_600 + 8),
        (CHAT, r#"{"messages":[{"content":[{"input_audio":{"data":"AAAA"}}]}]}"#, 1_600 + 8),
        (
            RESPONSES,
            r#"{"input":[{"content":[{"image_url":"data:AAAA","file_id":null},{"file_id":"f"}]}]}"#,
            2 * 1_600 + 8,
        ),
        (
            RESPONSES,
            r#"{"input":[{"output":{"image_url":"data:A"}},{"result":"AAAA"}]}"#,
            2 * 1_600 + 2 * 8,
        ),
        (
            MESSAGES,
            r#"{"messages":[{"content":[{"source":{"data":"AAAA","type":"base64"}}]}]}"#,
            1_600 + 8,
        ),
        (
            MESSAGES,
            r#"{"messages":[{"content":[{"source":{"type":"text","data":"AAAA"}}]}]}"#,
            6 + 8,
        ),
        (
            MESSAGES,
            r#"{"messages":[{"content":[{"content":[{"source":{"type":"url","url":"u"}}]}]}]}"#,
            1_600 + 8,
        ),
        (
            GEMINI,
            r#"{"contents":[{"parts":[{"inlineData":{"data":"A"}},{"inline_data":{}}]}]}"#,
            2 * 1_600 + 8,
        ),
        // Keys of the client's own are text, whatever they are called.
        (
            MESSAGES,
            r#"{"messages":[{"content":[{"input":{"image_url":"AAAA"}}]}]}"#,
            "{'image_url':'AAAA'}".len() as u64 + 8,
        ),
        (CHAT, r#"{"messages":[{"image_url":"AAAA"}]}"#, 6 + 8),
    ];
    for (route, body, tokens) in cases {
        assert_eq!(input(route, body), tokens, "{body}");
    }
}

#[test]
fn a_wrong_field_is_named_with_what_is_right() {
    let count = "write a whole number from 0 to 1000000000000";
    let cases = [
        (CHAT, r#"{"max_tokens":-1}"#, format!("`max_tokens` is negative: {count}")),
        (CHAT, r#"{"max_tokens":1e300}"#, format!("`max_tokens` is too large: {count}")),
        (CHAT, r#"{"max_tokens":"many"}"#, format!("`max_tokens` is not a number: {count}")),
        (CHAT, r#"{"max_tokens":"10"}"#, format!("`max_tokens` is not a number: {count}")),
        (CHAT, r#"{"max_tokens":[1]}"#, format!("`max_tokens` is not a number: {count}")),
        (CHAT, r#"{"max_tokens":true}"#, format!("`max_tokens` is not a number: {count}")),
        (CHAT, r#"{"max_tokens":1.5}"#, format!("`max_tokens` is not whole: {count}")),
        (
            GEMINI,
            r#"{"generationConfig":{"maxOutputTokens":"many"}}"#,
            format!("`generationConfig.maxOutputTokens` is not a number: {count}"),
        ),
        (
            CHAT,
            r#"{"n":0}"#,
            "`n` is too small: write a whole number from 1 to 1000000000000".to_owned(),
        ),
        (CHAT, r#"{"stream":"yes"}"#, "`stream` must be true or false".to_owned()),
        (CHAT, r#"{"model":7}"#, "`model` must be a string of at most 256 bytes".to_owned()),
        (CHAT, r#"{"n":1,"n":2}"#, "`n` is there twice: write it once".to_owned()),
        (
            CHAT,
            r#"{"max_tokens":1,"max\u005ftokens":1}"#,
            "`max_tokens` is there twice: write it once".to_owned(),
        ),
        (CHAT, "[]", "the body is not a JSON object".to_owned()),
        (CHAT, "\"text\"", "the body is not a JSON object".to_owned()),
        (GEMINI, r#"{"generationConfig":7}"#, "the body is not a JSON object".to_owned()),
        (CHAT, "", "the body is empty: send a JSON object".to_owned()),
        (CHAT, " \r\n", "the body is empty: send a JSON object".to_owned()),
        (CHAT, "hello", "the body is not JSON: see line 1, column 1".to_owned()),
        (CHAT, "{\n\"n\":1,}", "the body is not JSON: see line 2, column 7".to_owned()),
        (CHAT, "{} x", "the body is not JSON: see line 1, column 4".to_owned()),
    ];
    for (route, body, message) in cases {
        assert_eq!(error(route, body), message, "{body}");
    }
    let name = "x".repeat(257);
    assert!(read(CHAT, &format!(r#"{{"model":"{}"}}"#, &name[1..])).is_ok());
    assert!(read(CHAT, &format!(r#"{{"model":"{name}"}}"#)).is_err());
    assert_eq!(read(CHAT, r#"{"n":0}"#).unwrap_err().field(), Some("n"));
    let bytes = ModelRequest::read(&CHAT.0.call(CHAT.1).unwrap(), b"{\"messages\":\"\xff\"}");
    assert!(bytes.is_err(), "text that is not UTF-8");
}

#[test]
fn a_body_that_is_not_read_still_has_what_the_path_says() {
    let request = ModelRequest::unread(&GEMINI.0.call(GEMINI.1).unwrap());
    assert_eq!((request.model(), request.streams()), (Some("small-2"), true));
    assert_eq!(request.estimate(Hold::Typical, 300).output, 300);
}
