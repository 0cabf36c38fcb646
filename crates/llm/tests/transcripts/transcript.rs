//! The files, and what comes of them.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use sluice_llm::{Framing, Meter, Report, Wire};

/// The input that every request is estimated to have.
pub(crate) const INPUT_ESTIMATE: u64 = 7;

pub(crate) struct Transcript {
    /// The folder and the file.
    pub(crate) name: String,
    pub(crate) wire: Wire,
    pub(crate) framing: Framing,
    pub(crate) body: Vec<u8>,
    /// What passes of it.
    pub(crate) passed: Vec<u8>,
    pub(crate) expected: Value,
}

/// What came of a transcript.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) passed: Vec<u8>,
    pub(crate) report: Report,
}

/// Reads all transcripts.
pub(crate) fn all() -> Vec<Transcript> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let folders = entries(&root).into_iter().filter(|path| path.is_dir());
    let files = folders.flat_map(|folder| entries(&folder));
    files.filter_map(|path| read(&path)).collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    entries.sort();
    entries
}

fn read(path: &Path) -> Option<Transcript> {
    let text = |path: &Path| path.file_name().and_then(OsStr::to_str).expect("a name").to_owned();
    let (file, folder) = (text(path), text(path.parent().expect("a folder")));
    let (case, kind) = file.split_once('.')?;
    let framing = match kind {
        "sse" => Framing::Sse,
        "json" => Framing::Json,
        _ => return None,
    };
    let beside = |kind: &str| path.with_file_name(format!("{case}.{kind}"));
    let body = fs::read(path).expect("a transcript");
    let passed = fs::read(beside("passed.sse")).unwrap_or_else(|_| body.clone());
    let expected = fs::read(beside("expected.json")).expect("what is expected");
    let expected = serde_json::from_slice(&expected).expect("JSON");
    let wire = wire(&folder).expect("the folder is a wire format");
    Some(Transcript { name: format!("{folder}/{file}"), wire, framing, body, passed, expected })
}

fn wire(folder: &str) -> Option<Wire> {
    Some(match folder {
        "openai_chat" => Wire::OpenAiChat,
        "openai_completions" => Wire::OpenAiCompletions,
        "openai_responses" => Wire::OpenAiResponses,
        "openai_embeddings" => Wire::OpenAiEmbeddings,
        "openai_images" => Wire::OpenAiImages,
        "openai_audio" => Wire::OpenAiAudio,
        "anthropic_messages" => Wire::AnthropicMessages,
        "gemini" => Wire::Gemini,
        "gemini_embeddings" => Wire::GeminiEmbeddings,
        _ => return None,
    })
}

impl Transcript {
    /// Makes the meter that a request would have for this answer.
    pub(crate) fn meter(&self) -> Meter {
        let meter = Meter::new(self.wire, self.framing, INPUT_ESTIMATE);
        if self.expected["removes"] == false { meter } else { meter.without_usage_chunk() }
    }

    /// Feeds a meter with pieces of the body, and ends it.
    pub(crate) fn in_pieces<'a>(&'a self, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
        let (mut meter, mut passed) = (self.meter(), Vec::new());
        for piece in pieces {
            passed.extend_from_slice(&meter.feed(piece));
        }
        let (rest, report) = meter.finish();
        passed.extend(rest);
        Outcome { passed, report }
    }

    /// Whether every byte of it passes.
    pub(crate) fn passes_whole(&self) -> bool {
        self.body == self.passed
    }
}
