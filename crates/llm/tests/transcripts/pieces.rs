//! Bodies come in pieces of any size: between any two bytes of them may be a pause.

use std::borrow::Cow;

use proptest::prelude::*;

use sluice_llm::{Framing, Meter, Wire};

use super::transcript::{Transcript, all};

#[test]
fn byte_by_byte_comes_the_same() {
    for transcript in all() {
        let whole = transcript.in_pieces([transcript.body.as_slice()]);
        assert_eq!(transcript.in_pieces(transcript.body.chunks(1)), whole, "{}", transcript.name);
    }
}

#[test]
fn any_two_pieces_come_the_same() {
    for transcript in all() {
        let whole = transcript.in_pieces([transcript.body.as_slice()]);
        // Most cuts of a long text are alike.
        let step = transcript.body.len().div_ceil(10_000).pow(3);
        for cut in (0..=transcript.body.len()).step_by(step) {
            let (left, right) = transcript.body.split_at(cut);
            assert_eq!(transcript.in_pieces([left, right]), whole, "{} {cut}", transcript.name);
        }
    }
}

/// The events of a stream, each with its empty line.
fn events(body: &[u8]) -> Vec<&[u8]> {
    let (mut events, mut start) = (Vec::new(), 0);
    for end in 1..=body.len() {
        let event = &body[start..end];
        let ends = [b"\n\n".as_slice(), b"\r\n\r\n", b"\r\r"];
        if end == body.len() || ends.iter().any(|end| event.ends_with(end)) {
            events.push(event);
            start = end;
        }
    }
    events
}

/// A meter knows an event that comes again only if it comes whole, and reads it in full if not.
#[test]
fn events_that_come_again_count_as_byte_by_byte() {
    for transcript in all().iter().filter(|transcript| transcript.framing == Framing::Sse) {
        for times in [1, 3] {
            let events = events(&transcript.body).into_iter();
            let again: Vec<_> =
                events.flat_map(|event| std::iter::repeat_n(event, times)).collect();
            let bytes = again.concat();
            let read_in_full = transcript.in_pieces(bytes.chunks(1));
            let name = format!("{} {times}", transcript.name);
            assert_eq!(transcript.in_pieces([bytes.as_slice()]), read_in_full, "{name}");
            assert_eq!(transcript.in_pieces(again), read_in_full, "{name}");
        }
    }
}

#[test]
fn what_passes_whole_passes_at_once_and_uncopied() {
    for transcript in all() {
        let mut meter = transcript.meter();
        if transcript.passes_whole() {
            let passed = meter.feed(&transcript.body);
            assert!(matches!(passed, Cow::Borrowed(_)), "{}", transcript.name);
            assert_eq!(passed.as_ref(), transcript.body, "{}", transcript.name);
        }
    }
}

/// How many bytes are held back after each byte, up to the chunk that is taken out.
fn held(transcript: &Transcript) -> Vec<usize> {
    let (mut meter, mut passed) = (transcript.meter(), 0);
    let same =
        transcript.body.iter().zip(&transcript.passed).take_while(|(left, right)| left == right);
    let until = same.count() + transcript.body.len() - transcript.passed.len();
    let feed = |(at, byte): (usize, &[u8])| {
        passed += meter.feed(byte).len();
        at + 1 - passed
    };
    transcript.body.chunks(1).enumerate().take(until).map(feed).collect()
}

#[test]
fn only_what_may_be_the_usage_chunk_is_held_back() {
    // In a chunk of these transcripts the first choice begins here.
    let until_a_choice = concat!(
        r#"data: {"id":"chat-1","object":"chat.completion.chunk","created":1800000000,"#,
        r#""model":"small-1","choices":[{"#,
    );
    let transcripts = all();
    let find = |name: &str| transcripts.iter().find(|found| found.name == name).unwrap();
    let others = held(find("openai_chat/no_usage.sse"));
    assert_eq!(*others.iter().max().unwrap(), until_a_choice.len() - 1);
    let with_usage = held(find("openai_chat/final_usage.sse"));
    let (last, before) = with_usage.split_last().unwrap();
    let before = *before.iter().max().unwrap();
    assert!(before > until_a_choice.len());
    assert_eq!(before + 1, *last, "it is held back to its last byte");
    let comments = find("openai_chat/comments.sse");
    let comment = b": upstream is thinking".len();
    assert!(held(comments)[..comment].iter().all(|held| *held == 0), "a comment passes at once");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_pieces_come_the_same(
        which in any::<prop::sample::Index>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        thread_local! {
            static ALL: Vec<Transcript> = all();
        }
        ALL.with(|all| {
            let transcript = &all[which.index(all.len())];
            let length = transcript.body.len();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(length)).collect();
            cuts.extend([0, length]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|ends| &transcript.body[ends[0]..ends[1]]);
            let whole = transcript.in_pieces([transcript.body.as_slice()]);
            prop_assert_eq!(transcript.in_pieces(pieces), whole, "{}", transcript.name);
            Ok(())
        })?;
    }
}

/// An event that passes, or one that is taken out; with any ends of lines.
fn event() -> impl Strategy<Value = (String, bool)> {
    let passes = prop::sample::select(
        [
            ": a comment|",
            "|",
            "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":null}||",
            "data: {\"choices\":[]}||",
            "data: {\"choices\":[],\"usage\":null}||",
            "data: {\"choices\":[{}],\"usage\":{\"prompt_tokens\":1}}||",
            "data: {\"usage\":{\"prompt_tokens\":1}}||",
            "event: x|data: {\"choices\":[],\"error\":{},\"usage\":{}}||",
            "data: {\"choices\":[],\"usage\":{}||",
            "id: 1|data: [DONE]||",
            "data||",
        ]
        .as_slice(),
    );
    let is_taken_out = prop::sample::select(
        [
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":7}}||",
            "data:{ \"usage\" : {\"prompt_tokens\":5}, \"choices\" : [ ] }||",
            "event: x|id: 2|data: {\"choices\":[],|: c|data: \"usage\":{}}||",
        ]
        .as_slice(),
    );
    let text = prop_oneof![
        3 => passes.prop_map(|text| (text, false)),
        1 => is_taken_out.prop_map(|text| (text, true)),
    ];

    let end = prop::sample::select(["\n", "\r\n"].as_slice());
    (text, end).prop_map(|((text, taken_out), end)| (text.replace('|', end), taken_out))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_passes_is_the_stream_without_the_usage_chunks(
        events in prop::collection::vec(event(), 0..12), size in 1..200_usize,
    ) {
        let stream: String = events.iter().map(|(text, _)| text.as_str()).collect();
        let kept = events.iter().filter(|(_, taken_out)| !taken_out);
        let kept: String = kept.map(|(text, _)| text.as_str()).collect();
        let mut meter = Meter::new(Wire::OpenAiChat, Framing::Sse, 1).without_usage_chunk();
        let mut passed = Vec::new();
        for piece in stream.as_bytes().chunks(size) {
            passed.extend_from_slice(&meter.feed(piece));
        }
        let (rest, report) = meter.finish();
        passed.extend(rest);
        prop_assert_eq!(String::from_utf8(passed).unwrap(), kept);
        let taken_out = events.iter().filter(|(_, taken_out)| *taken_out).count();
        prop_assert_eq!(report.removed, taken_out as u64);
    }
}
