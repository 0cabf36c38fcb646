//! Streams whose events are alike, of which a meter does not read every one in full: they count as
//! the same stream that comes byte by byte, of which it does.

use proptest::prelude::*;
use sluice_llm::{Framing, Meter, Report, Wire};

/// The forms of events: `'` stands for a quote, `%` for a text, `#` for a value, `!` for a kind,
/// and `@` for the end of a line.
const FORMS: [(Wire, &[&str]); 4] = [
    (
        Wire::OpenAiChat,
        &[
            "data: {'n':#,'choices':[{'delta':{'content':'%'}}],'usage':null,'pad':'%'}@@",
            "data: {'n':#,'choices':[{'delta':{'reasoning':'%','content':'%'}}]}@@",
            "data: {'choices':[{'delta':{'tool_calls':[{'function':{'arguments':'%'}}]}}]}@@",
            "data: {'choices':[{'delta':{'content':'%'}}],'error':'%'}@@",
            "data: {'choices':[],'usage':{'prompt_tokens':#,'completion_tokens':7}}@@",
        ],
    ),
    (
        Wire::OpenAiResponses,
        &[
            "event: !@data: {'type':'!','sequence_number':#,'delta':'%','obfuscation':'%'}@@",
            "data: {'type':'!','response':{'usage':{'input_tokens':#,'output_tokens':3}}}@@",
        ],
    ),
    (
        Wire::AnthropicMessages,
        &[
            "event: delta@data: {'type':'!','index':#,'delta':{'text':'%'}}@@",
            "data: {'type':'!',@data: 'delta':{'text':'%'}}@@",
            "data: {'type':'message_start','message':{'usage':{'input_tokens':#}}}@@",
            "data: {'type':'!','usage':{'output_tokens':#}}@@",
        ],
    ),
    (
        Wire::Gemini,
        &[
            "data: {'candidates': [{'content': {'parts': [{'text': '%'}]}, 'index': #}]}@@",
            "data: {'candidates': [{'content': {'parts': [{'text': '%'}]},'finishReason': '!'}], \
             'usageMetadata': {'promptTokenCount': #}}@@",
            "data: [{'candidates': [{'content': {'parts': [{'text': '%'}]}, 'index': #}]}]@@",
        ],
    ),
];

const KINDS: [&str; 5] = ["delta", "message_delta", "message_stop", "response.completed", "error"];
const TEXTS: [&str; 18] = [
    "",
    "a",
    " word",
    "é日本",
    r"\n",
    r#"\"she\""#,
    r"\\",
    r"a\u00e9b",
    r"\ud83d\ude00",
    r"\",
    "\"",
    "\",\"usage\":{\"prompt_tokens\":9},\"x\":\"",
    "\t",
    "\n",
    "\r",
    "\0",
    "\u{7f}",
    "error",
];
const VALUES: [&str; 13] =
    ["0", "1", "12", "123", "9", "-1", "1.5", "1e3", "null", "true", "{}", "\"7\"", ""];

/// An event of one of the forms. Most are of the first one, and most values are simple.
fn event(forms: &'static [&'static str]) -> impl Strategy<Value = String> {
    let form = prop_oneof![4 => Just(0), 1 => 0..forms.len()];
    let text = prop_oneof![3 => 0..4_usize, 1 => 0..TEXTS.len()];
    let value = prop_oneof![5 => 0..5_usize, 1 => 0..VALUES.len()];
    let kind = prop_oneof![5 => Just(0), 1 => 0..KINDS.len()];
    let before = prop_oneof![
        9 => Just(""), 1 => Just(": comment@"), 1 => Just("id: 7@"), 1 => Just("@"),
    ];
    (form, prop::array::uniform2(text), value, kind, before).prop_map(
        move |(form, texts, value, kind, before)| {
            let mut event = before.to_owned() + &forms[form].replace('\'', "\"");
            for text in texts {
                event = event.replacen('%', TEXTS[text], 1);
            }
            event.replace('#', VALUES[value]).replace('!', KINDS[kind])
        },
    )
}

/// The events of a stream.
fn stream() -> impl Strategy<Value = (Wire, Vec<String>)> {
    let end = prop_oneof![4 => Just("\n"), 1 => Just("\r\n"), 1 => Just("\r")];
    (prop::sample::select(FORMS.as_slice()), end).prop_flat_map(|((wire, forms), end)| {
        let event = event(forms).prop_map(move |event| event.replace('@', end));
        prop::collection::vec(event, 0..14).prop_map(move |events| (wire, events))
    })
}

/// What passes of a stream that comes in these pieces, what it used, and what it used if it was cut
/// there.
fn metered<'a>(
    meter: &impl Fn() -> Meter,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<u8>, Report, Report) {
    let (mut whole, mut cut, mut passed) = (meter(), meter(), Vec::new());
    for piece in pieces {
        passed.extend_from_slice(&whole.feed(piece));
        cut.feed(piece);
    }
    let (rest, report) = whole.finish();
    passed.extend(rest);
    (passed, report, cut.abort())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn events_that_are_alike_count_as_those_that_are_read_byte_by_byte(
        (wire, events) in stream(), removes in any::<bool>(), size in 1..700_usize,
        cut in any::<prop::sample::Index>(),
    ) {
        let meter = || {
            let meter = Meter::new(wire, Framing::Sse, 5);
            if removes { meter.without_usage_chunk() } else { meter }
        };
        let stream = events.concat();
        let by_event = metered(&meter, events.iter().map(String::as_bytes));
        prop_assert_eq!(by_event, metered(&meter, stream.as_bytes().chunks(1)));
        for stream in [stream.as_bytes(), &stream.as_bytes()[..cut.index(stream.len() + 1)]] {
            let expected = metered(&meter, stream.chunks(1));
            prop_assert_eq!(&metered(&meter, [stream]), &expected);
            prop_assert_eq!(&metered(&meter, stream.chunks(size)), &expected);
        }
    }
}
