//! Streams that are cut short at any byte.

use sluice_llm::{Framing, Metered};

use super::transcript::{INPUT_ESTIMATE, Transcript, all};

fn number(transcript: &Transcript, name: &str) -> u64 {
    transcript.expected[name].as_u64().unwrap_or_default()
}

#[test]
fn what_was_seen_is_settled_and_never_nothing() {
    for transcript in all() {
        let mut last = 0;
        for cut in 0..=transcript.body.len().min(6_000) {
            let mut meter = transcript.meter();
            meter.feed(&transcript.body[..cut]);
            let at = format!("{} at {cut}", transcript.name);
            let metered = meter.abort().metered;
            let usage = metered.usage().unwrap_or_else(|| panic!("{at}: nothing is settled"));
            assert!(usage.consumed() + usage.generated() > 0, "{at}");
            let consumed = number(&transcript, "consumed").max(INPUT_ESTIMATE);
            assert!(usage.consumed() <= consumed, "{at}: {usage:?}");
            // A token has a byte at least, and text is quoted.
            let generated = number(&transcript, "generated").max(cut as u64 / 3);
            assert!(usage.generated() <= generated, "{at}: {usage:?}");
            // A report of the usage may be less than what was estimated before it.
            if matches!(metered, Metered::Estimated(_)) {
                assert!(usage.generated() >= last, "{at}: {usage:?} after {last}");
                last = usage.generated();
            }
        }
    }
}

#[test]
fn once_the_stream_has_said_that_it_is_complete_its_usage_counts() {
    for transcript in all() {
        let expected = &transcript.expected;
        if expected["outcome"] != "reported" {
            continue;
        }
        let mut meter = transcript.meter();
        meter.feed(&transcript.body);
        let usage = meter.abort().metered.usage().unwrap();
        // These end without a word that the stream is complete.
        let ends_in_silence = ["no_finish_reason", "usage_in_each_chunk", "goes_down"]
            .iter()
            .any(|name| transcript.name.contains(name));
        if !ends_in_silence {
            assert_eq!(usage.consumed(), number(&transcript, "consumed"), "{}", transcript.name);
            assert_eq!(usage.generated(), number(&transcript, "generated"), "{}", transcript.name);
        }
    }
}

#[test]
fn a_cut_passes_nothing_that_the_whole_does_not() {
    for transcript in all().into_iter().filter(|transcript| !transcript.passes_whole()) {
        for cut in 0..=transcript.body.len() {
            let mut meter = transcript.meter();
            let passed = meter.feed(&transcript.body[..cut]).into_owned();
            assert!(transcript.passed.starts_with(&passed), "{} {cut}", transcript.name);
            let (rest, _) = meter.finish();
            let whole = [passed, rest].concat();
            assert!(whole.len() <= cut, "{} {cut}", transcript.name);
        }
    }
}

#[test]
fn an_answer_that_never_began_costs_what_was_sent() {
    for transcript in all().iter().filter(|transcript| transcript.framing == Framing::Sse) {
        let usage = transcript.meter().abort().metered.usage().unwrap();
        assert_eq!((usage.consumed(), usage.generated()), (INPUT_ESTIMATE, 0));
    }
    let nothing = sluice_llm::Meter::new(sluice_llm::Wire::OpenAiChat, Framing::Sse, 0);
    assert_eq!(nothing.abort().metered.usage().unwrap().consumed(), 1);
}
