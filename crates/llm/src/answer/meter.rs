//! Reads what an answer used, while it passes.

use std::{borrow::Cow, ops::Range};

use sluice_core::TokenUsage;

use super::{
    encoding::Framing,
    event::Reading,
    fields::{self, Field},
    filter::{Filter, Passed},
    metered::{Metered, Report},
    pattern::Pattern,
    sse::{Piece, Sse},
};
use crate::{
    json::Scanner,
    wire::{Vendor, Wire},
};

/// Bytes of text that make a token, in most languages.
const BYTES_PER_TOKEN: u64 = 4;

/// Reads what an answer used, while its body passes in pieces of any size.
///
/// Nothing of the body is delayed, and its size does not matter: a meter takes less than a
/// kilobyte, and up to two for an event, without its text, that it compares the next ones with.
/// Only where a chunk is to be [taken out](Self::without_usage_chunk) it holds back the beginning
/// of an event until it is known to be another one: at most 64 KiB.
///
/// Every piece goes through [`feed`](Self::feed), then [`finish`](Self::finish) says what was used,
/// or [`abort`](Self::abort), where the body did not come to its end.
#[derive(Debug)]
pub struct Meter {
    wire: Wire,
    framing: Framing,
    input_estimate: u64,
    reading: Reading,
    scanner: Scanner<Field>,
    sse: Sse,
    /// The data of an event, as far as it is not JSON.
    done: Word,
    /// The name of an event.
    error: Word,
    data_lines: u64,
    /// No line of the next event has come.
    is_between_events: bool,
    pattern: Pattern,
    filter: Option<Filter>,
}

/// Where an event is in the bytes that are being read, if they have its beginning.
#[derive(Debug, Default)]
struct Whole {
    start: Option<usize>,
    /// Its last piece of data.
    data: Range<usize>,
}

/// A word that is looked for in pieces.
#[derive(Clone, Copy, Debug)]
struct Word {
    word: &'static [u8],
    /// Bytes that agree so far; `None` after one that does not.
    agreed: Option<usize>,
}

impl Meter {
    /// Makes a meter for the body of a successful answer. `input_estimate` is the input that the
    /// request was estimated to have.
    #[must_use]
    pub fn new(wire: Wire, framing: Framing, input_estimate: u64) -> Self {
        Self {
            wire,
            framing,
            input_estimate,
            reading: Reading::new(wire),
            scanner: Scanner::new(fields::of(wire, framing)),
            sse: Sse::default(),
            done: Word::new(b"[DONE]"),
            error: Word::new(b"error"),
            data_lines: 0,
            is_between_events: true,
            pattern: Pattern::default(),
            filter: None,
        }
    }

    /// Takes the chunk out of the stream that comes only because
    /// [`include_usage`](crate::include_usage) was added to the request: an event with usage and
    /// without choices. The body becomes shorter: a `content-length` no longer holds.
    #[must_use]
    pub fn without_usage_chunk(mut self) -> Self {
        if self.wire.reports_usage_when_asked() && self.framing == Framing::Sse {
            self.filter = Some(Filter::default());
        }
        self
    }

    /// Reads the next bytes of the body, and returns what to pass on of the body. What is borrowed
    /// is a part of these bytes: all of them, unless something is held back or taken out.
    pub fn feed<'a>(&mut self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        if self.framing == Framing::Json {
            self.scanner.feed(bytes, &mut self.reading);
            return Cow::Borrowed(bytes);
        }
        let repeated = self.repeated(bytes);
        if repeated == bytes.len() {
            // A filter holds nothing back between events, and takes out none that says text.
            return Cow::Borrowed(bytes);
        }
        self.read_events(bytes, repeated)
    }

    /// Reads bytes of which those before `at` are repeated events, and returns what to pass on.
    ///
    /// Nearly every call of [`feed`](Self::feed) does without, so it does not make room for this.
    #[inline(never)]
    fn read_events<'a>(&mut self, bytes: &'a [u8], mut at: usize) -> Cow<'a, [u8]> {
        let (mut passed, mut event) = (Passed::of(bytes), Whole::default());
        while at < bytes.len() {
            let (piece, length) = self.sse.next(&bytes[at..]);
            let end = at + length;
            self.read(piece, &bytes[at..end]);
            self.filter(piece, at, end, &mut passed);
            match piece {
                Piece::Field if self.is_between_events => {
                    self.is_between_events = false;
                    event = Whole { start: Some(at), data: at..at };
                }
                Piece::Data => event.data = at..end,
                Piece::End => {
                    if let Whole { start: Some(start), data } = std::mem::take(&mut event) {
                        self.learn(&bytes[start..end], data.start - start..data.end - start);
                    }
                    self.end_event();
                }
                _ => {}
            }
            at = end + self.repeated(&bytes[end..]);
        }
        match &mut self.filter {
            Some(filter) => filter.passed(passed),
            None => Cow::Borrowed(bytes),
        }
    }

    /// Ends the meter of a body that came to its end. Returns the last bytes to pass on, and what
    /// was used.
    #[must_use]
    pub fn finish(self) -> (Vec<u8>, Report) {
        self.end(true)
    }

    /// Ends the meter of a body that did not come to its end: the client left, or the vendor did.
    /// What was held back is the beginning of an event, which no client could read.
    #[must_use]
    pub fn abort(self) -> Report {
        self.end(false).1
    }

    /// Reads the events at the beginning of these bytes that are like one before, up to the first
    /// that is not. Returns the length of them all.
    fn repeated(&mut self, bytes: &[u8]) -> usize {
        let mut length = 0;
        while length < bytes.len() && self.is_between_events && self.sse.is_between_lines() {
            let Some(event) = self.pattern.find(&bytes[length..]) else { break };
            self.reading.repeat(event);
            length += event.length;
            self.sse.skip_event(bytes[length - 1]);
        }
        length
    }

    /// Learns from an event, of which all was read at once, and which has its data there.
    fn learn(&mut self, event: &[u8], data: Range<usize>) {
        let is_text = self.reading.event().is_text() && !self.error.is_whole();
        if is_text && self.data_lines == 1 && self.scanner.has_ended() {
            self.pattern.learn(event, data, fields::of(self.wire, self.framing));
        }
    }

    fn read(&mut self, piece: Piece, run: &[u8]) {
        match piece {
            Piece::DataLine => {
                if self.data_lines > 0 {
                    self.scanner.feed(b"\n", &mut self.reading);
                }
                self.data_lines += 1;
            }
            Piece::Data => {
                self.done.feed(run);
                self.scanner.feed(run, &mut self.reading);
            }
            Piece::EventName => self.error.feed(run),
            Piece::Field | Piece::End | Piece::LineFeed | Piece::Rest => {}
        }
    }

    fn filter(&mut self, piece: Piece, at: usize, end: usize, passed: &mut Passed<'_>) {
        let is_chunk = piece == Piece::End && self.is_usage_chunk();
        let Some(filter) = &mut self.filter else {
            return;
        };
        match piece {
            Piece::LineFeed => filter.line_feed(passed, at),
            Piece::Field => filter.field(passed, at),
            Piece::End => filter.end(passed, end, is_chunk),
            Piece::DataLine | Piece::Data | Piece::EventName | Piece::Rest => {
                let event = self.reading.event();
                let may_be = event.may_be_usage_chunk() && !self.scanner.has_given_up();
                filter.more(passed, end, may_be);
            }
        }
        if piece != Piece::LineFeed && piece != Piece::End && end > at {
            filter.no_line_feed();
        }
    }

    /// Whether the event that was read is the chunk to take out, whole.
    fn is_usage_chunk(&self) -> bool {
        self.scanner.has_ended() && self.reading.event().is_usage_chunk()
    }

    fn end_event(&mut self) {
        self.reading.has_failed |= self.error.is_whole();
        self.reading.end_event(self.done.is_begun_with());
        self.is_between_events = true;
        self.scanner.restart();
        self.done.restart();
        self.error.restart();
        self.data_lines = 0;
    }

    fn end(mut self, came_to_its_end: bool) -> (Vec<u8>, Report) {
        let is_chunk = self.is_usage_chunk();
        self.end_event();
        let (rest, removed) = self.filter.take().unwrap_or_default().rest(is_chunk);
        let report = Report {
            metered: self.metered(came_to_its_end),
            ignored: self.reading.usage.ignored(),
            failed: self.reading.has_failed,
            removed,
        };
        (rest, report)
    }

    fn metered(&self, came_to_its_end: bool) -> Metered {
        let Reading { usage, is_final, has_failed, is_list, .. } = &self.reading;
        let is_document = self.framing == Framing::Json && !is_list;
        // Anthropic reports input at the start of a stream, and output at its end.
        let last_counts = came_to_its_end && !has_failed && self.wire.vendor() != Vendor::Anthropic;
        match usage.reported() {
            Some(reported) if is_document || *is_final || last_counts => {
                Metered::Reported(reported)
            }
            None if came_to_its_end && !has_failed => Metered::Missing,
            _ => Metered::Estimated(self.estimated()),
        }
    }

    /// What was used by an answer that was cut short, from what passed of it.
    fn estimated(&self) -> TokenUsage {
        let Reading { usage, text_bytes, deltas, .. } = &self.reading;
        let generated = text_bytes.div_ceil(BYTES_PER_TOKEN).max(*deltas);
        let least = u64::from(generated == 0);
        usage.at_least(self.input_estimate.max(least), generated)
    }
}

impl Word {
    const fn new(word: &'static [u8]) -> Self {
        Self { word, agreed: Some(0) }
    }

    fn restart(&mut self) {
        self.agreed = Some(0);
    }

    fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let Some(agreed) = self.agreed else {
                return;
            };
            // What follows the word is not looked at.
            let agrees = self.word.get(agreed).is_none_or(|expected| expected == byte);
            self.agreed = agrees.then_some(agreed + 1);
        }
    }

    fn is_whole(self) -> bool {
        self.agreed == Some(self.word.len())
    }

    fn is_begun_with(self) -> bool {
        self.agreed.is_some_and(|agreed| agreed >= self.word.len())
    }
}
