//! What comes of each transcript.

use serde_json::{Value, json};
use sluice_llm::{Metered, Report};

use super::transcript::all;

/// What a report says, in the form of the files.
fn told(report: &Report, removes: &Value) -> Value {
    let (outcome, usage) = match report.metered {
        Metered::Reported(usage) => ("reported", Some(usage)),
        Metered::Estimated(usage) => ("estimated", Some(usage)),
        Metered::Missing => ("missing", None),
    };
    let mut told = json!({"outcome": outcome});
    if let Some(usage) = usage {
        told["consumed"] = usage.consumed().into();
        told["cached"] = usage.cached().into();
        told["written"] = usage.written().into();
        told["generated"] = usage.generated().into();
    }
    let counts = [("ignored", report.ignored), ("removed", report.removed)];
    for (name, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        told[name] = count.into();
    }
    if report.failed {
        told["failed"] = true.into();
    }
    if !removes.is_null() {
        told["removes"] = removes.clone();
    }
    told
}

#[test]
fn every_transcript_gives_what_stands_beside_it() {
    let transcripts = all();
    assert!(transcripts.len() > 70, "{} transcripts", transcripts.len());
    for transcript in transcripts {
        let outcome = transcript.in_pieces([transcript.body.as_slice()]);
        let told = told(&outcome.report, &transcript.expected["removes"]);
        assert_eq!(told, transcript.expected, "{}", transcript.name);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(text(&outcome.passed), text(&transcript.passed), "{}", transcript.name);
    }
}
