//! What hostile bodies can do: nothing but pass.

use proptest::prelude::*;
use sluice_llm::{Framing, Meter, ModelRequest, Vendor, Wire, include_usage};

const WIRES: [Wire; 9] = [
    Wire::OpenAiChat,
    Wire::OpenAiCompletions,
    Wire::OpenAiResponses,
    Wire::OpenAiEmbeddings,
    Wire::OpenAiImages,
    Wire::OpenAiAudio,
    Wire::AnthropicMessages,
    Wire::Gemini,
    Wire::GeminiEmbeddings,
];

const PATHS: [(Vendor, &str); 9] = [
    (Vendor::OpenAi, "/v1/chat/completions"),
    (Vendor::OpenAi, "/v1/completions"),
    (Vendor::OpenAi, "/v1/responses"),
    (Vendor::OpenAi, "/v1/embeddings"),
    (Vendor::OpenAi, "/v1/images/generations"),
    (Vendor::OpenAi, "/v1/audio/speech"),
    (Vendor::Anthropic, "/v1/messages"),
    (Vendor::Gemini, "/v1beta/models/m:generateContent"),
    (Vendor::Gemini, "/v1beta/models/m:batchEmbedContents"),
];

/// Scraps of answers and requests, and bytes that are none.
fn scraps() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(
        [
            "data: ",
            "data:",
            "event: error",
            "event: message_delta",
            "\n\n",
            "\r\n\r\n",
            "\r",
            "\n",
            ": c",
            "[DONE]",
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"choices\":[]",
            "\"choices\":[{}]",
            "\"choices\":",
            "\"usage\":",
            "{\"prompt_tokens\":3,\"completion_tokens\":4}",
            "null",
            "\"usage\":{\"input_tokens\":-1}",
            "\"type\":\"message_delta\"",
            "\"delta\":\"x\"",
            "\"usageMetadata\":{\"promptTokenCount\":9}",
            "\"error\":{}",
            "\u{feff}",
            "\"\\ud83d",
            "\"messages\":[",
            "\"max_tokens\":",
            "1e300",
            "\"n\":3",
            "\"stream_options\":",
            "\"",
            "\"include_usage\":false",
            "\"contents\":",
            "\"source\":{\"type\":\"base64\"",
            "-",
        ]
        .as_slice(),
    );
    let scrap = prop_oneof![
        6 => words.prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(scrap, 0..40).prop_map(|scraps| scraps.concat())
}

/// The two divide the bytes at the same places, or at none.
fn metered(meter: Meter, bytes: &[u8], size: usize) -> (Vec<u8>, sluice_llm::Report) {
    let (mut meter, mut passed) = (meter, Vec::new());
    for piece in bytes.chunks(size.max(1)) {
        passed.extend_from_slice(&meter.feed(piece));
    }
    let (rest, report) = meter.finish();
    passed.extend(rest);
    (passed, report)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn any_answer_passes_and_any_split_of_it_gives_the_same(
        bytes in scraps(), wire in prop::sample::select(WIRES.as_slice()),
        framing in prop::sample::select([Framing::Json, Framing::Sse].as_slice()),
        removes in any::<bool>(), size in 1..20_usize, input in prop_oneof![Just(0), 0..100_u64],
    ) {
        let meter = || {
            let meter = Meter::new(wire, framing, input);
            if removes { meter.without_usage_chunk() } else { meter }
        };
        let (passed, report) = metered(meter(), &bytes, size);
        let (whole, whole_report) = metered(meter(), &bytes, bytes.len());
        prop_assert_eq!((&passed, report), (&whole, whole_report));
        if report.removed == 0 {
            prop_assert_eq!(&passed, &bytes);
        } else {
            prop_assert!(removes && passed.len() < bytes.len());
        }
        let mut aborted = meter();
        aborted.feed(&bytes);
        let usage = aborted.abort().metered.usage();
        let total = usage.map(|usage| usage.consumed() + usage.generated());
        prop_assert!(total.is_some_and(|total| total > 0), "{:?}", usage);
    }

    #[test]
    fn any_request_is_read_or_refused(
        bytes in scraps(), (vendor, path) in prop::sample::select(PATHS.as_slice()),
    ) {
        let call = vendor.call(path).unwrap();
        if let Ok(request) = ModelRequest::read(&call, &bytes) {
            let estimate = request.estimate(sluice_llm::Hold::Max, u64::MAX);
            prop_assert!(estimate.input <= 1_000_000_000_000);
            prop_assert!(estimate.output <= 1_000_000_000_000);
        }
        if let Ok(Some(edited)) = include_usage(&bytes) {
            prop_assert_eq!(include_usage(&edited), Ok(None));
        }
    }
}

/// Bytes that are allocated at most at one time.
fn most_allocated(run: impl FnOnce()) -> u64 {
    allocation_counter::measure(run).bytes_max
}

/// The most that is kept of an event, and while another one takes its place.
const PATTERN: u64 = 2 * 2_300;

#[test]
fn a_meter_allocates_nothing_but_what_it_holds_back_and_one_event() {
    let text = |values: usize, length: usize| {
        let values = "\"x\":1,".repeat(values);
        let text = "y".repeat(length);
        format!("data: {{{values}\"delta\":\"{text}\",\"choices\":[{{\"text\":\"\"}}]}}\n\n")
    };
    let events = [
        (0..2_000).map(|number| text(number % 40, number % 1_100)).collect::<String>().into(),
        b"data: ".repeat(20_000),
        vec![b'x'; 1 << 20],
        b"data: {\"a\":[".repeat(20_000),
        b"[{\"a\":\"".repeat(20_000),
        b"\n\ndata: {\"choices\":[]}\n\n".repeat(20_000),
        b"data: {\"choices\":[],\"usage\":{\"x\":\"".repeat(20_000),
    ];
    for bytes in &events {
        for wire in WIRES {
            for framing in [Framing::Json, Framing::Sse] {
                let plain = most_allocated(|| {
                    let mut meter = Meter::new(wire, framing, 1);
                    for piece in bytes.chunks(1_000) {
                        meter.feed(piece);
                    }
                    drop(meter.finish());
                });
                assert!(plain <= PATTERN, "{plain}");
            }
        }
        // What is held back, once more while it grows, and what passes with it.
        let bound = 3 * 64 * 1_024 + PATTERN;
        let holding = most_allocated(|| {
            let mut meter = Meter::new(Wire::OpenAiChat, Framing::Sse, 1).without_usage_chunk();
            for piece in bytes.chunks(1_000) {
                meter.feed(piece);
            }
            drop(meter.finish());
        });
        assert!(holding <= bound, "{holding}");
    }
    assert!(size_of::<Meter>() < 1_024, "{}", size_of::<Meter>());
}

#[test]
fn an_event_larger_than_what_may_be_held_back_passes() {
    let padding = "x".repeat(64 * 1_024);
    let usage = r#""usage":{"prompt_tokens":3,"completion_tokens":4}"#;
    let stream = format!("data: {{\"id\":\"{padding}\",\"choices\":[],{usage}}}\n\n");
    let meter = Meter::new(Wire::OpenAiChat, Framing::Sse, 1).without_usage_chunk();
    let (passed, report) = metered(meter, stream.as_bytes(), 1_000);
    assert_eq!(passed, stream.as_bytes());
    assert_eq!(report.removed, 0);
    assert_eq!(report.metered.usage().unwrap().generated(), 4);
}

#[test]
fn reading_a_large_body_copies_none_of_it() {
    let text = "All the tides of the year. ".repeat(200_000);
    let call = Vendor::OpenAi.call("/v1/chat/completions").unwrap();
    let image = "A".repeat(4 << 20);
    let body = format!(
        r#"{{"messages":[{{"role":"user","content":[{{"type":"text","text":"{text}"}},
            {{"type":"image_url","image_url":{{"url":"data:image/png;base64,{image}"}}}}]}}],
            "tools":[{{"function":{{"description":"{text}"}}}}],"metadata":{{"a":"{text}"}},
            "model":"small-1","n":2,"max_tokens":5}}"#
    );
    let most = most_allocated(|| {
        let request = ModelRequest::read(&call, body.as_bytes()).unwrap();
        assert_eq!(request.model(), Some("small-1"));
    });
    assert!(most < 1_000, "{most}");
}

#[test]
fn deep_nesting_is_refused_or_skipped_and_never_exhausts_the_stack() {
    let call = Vendor::OpenAi.call("/v1/chat/completions").unwrap();
    let deep = "[".repeat(1 << 20) + &"]".repeat(1 << 20);
    let skipped = format!("{{\"metadata\":{deep}}}");
    assert!(ModelRequest::read(&call, skipped.as_bytes()).is_ok());
    let tools = format!("{{\"tools\":{deep}}}");
    assert!(ModelRequest::read(&call, tools.as_bytes()).is_ok());
    let read = format!("{{\"messages\":{deep}}}");
    let error = ModelRequest::read(&call, read.as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "the body is nested too deeply: at most 127 levels");
}
