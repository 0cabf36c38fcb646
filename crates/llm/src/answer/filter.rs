//! Takes one chunk out of a stream, and holds back nothing that is not needed to know it.

use std::{borrow::Cow, ops::Range};

/// The most bytes that are held back. An event that is larger passes, whatever it is.
const MAX_HELD: usize = 64 * 1024;

/// Holds back the beginning of an event until it is known whether it is the chunk to take out.
#[derive(Debug, Default)]
pub(super) struct Filter {
    /// The beginning of the event, as far as it came with earlier bytes.
    held: Vec<u8>,
    state: State,
    /// A chunk was taken out whose last byte was a CR: an LF behind it belongs to it.
    ate_cr: bool,
    /// How many chunks were taken out.
    pub(super) removed: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Between events, where only comments and empty lines are.
    #[default]
    Between,
    /// In an event that may be the chunk.
    Holding,
    /// In an event that is another one.
    Passing,
}

/// What passes of some bytes.
#[derive(Debug)]
pub(super) struct Passed<'a> {
    bytes: &'a [u8],
    /// What passes, while it is one run of the bytes.
    run: Range<usize>,
    /// What passes, once it is not.
    copied: Option<Vec<u8>>,
    /// From here on nothing is decided yet.
    from: usize,
}

impl<'a> Passed<'a> {
    pub(super) const fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, run: 0..0, copied: None, from: 0 }
    }

    /// What was not decided passes, up to `end`.
    fn pass_to(&mut self, end: usize) {
        let next = self.from..end;
        self.from = end;
        match &mut self.copied {
            Some(copied) => copied.extend_from_slice(&self.bytes[next]),
            None if next.is_empty() => {}
            None if self.run.is_empty() => self.run = next,
            None if self.run.end == next.start => self.run.end = end,
            None => {
                self.copied = Some([&self.bytes[self.run.clone()], &self.bytes[next]].concat());
            }
        }
    }

    /// What was held back of earlier bytes passes. Nothing of these bytes can have passed before
    /// it.
    fn pass_held(&mut self, held: &mut Vec<u8>) {
        if !held.is_empty() {
            self.copied = Some(std::mem::take(held));
        }
    }

    fn all(self) -> Cow<'a, [u8]> {
        match self.copied {
            Some(copied) => Cow::Owned(copied),
            None => Cow::Borrowed(&self.bytes[self.run]),
        }
    }
}

impl Filter {
    /// A field begins at `at`.
    pub(super) fn field(&mut self, passed: &mut Passed<'_>, at: usize) {
        if self.state == State::Between {
            passed.pass_to(at);
            self.state = State::Holding;
        }
    }

    /// More of the event was read, up to `end`.
    pub(super) fn more(&mut self, passed: &mut Passed<'_>, end: usize, may_be_chunk: bool) {
        let fits = self.held.len() + (end - passed.from) <= MAX_HELD;
        if self.state == State::Holding && !(may_be_chunk && fits) {
            passed.pass_held(&mut self.held);
            self.state = State::Passing;
        }
    }

    /// The event ends at `end`.
    pub(super) fn end(&mut self, passed: &mut Passed<'_>, end: usize, is_chunk: bool) {
        self.ate_cr = false;
        if self.state == State::Holding {
            if is_chunk {
                self.held = Vec::new();
                self.removed += 1;
                self.ate_cr = passed.bytes[end - 1] == b'\r';
                passed.from = end;
            } else {
                passed.pass_held(&mut self.held);
            }
        }
        self.state = State::Between;
    }

    /// The LF of a CR LF stands at `at`. Any other byte ends the chance for it.
    pub(super) fn line_feed(&mut self, passed: &mut Passed<'_>, at: usize) {
        if std::mem::take(&mut self.ate_cr) {
            passed.from = at + 1;
        }
    }

    /// A byte that is not an LF came after a chunk that was taken out.
    pub(super) fn no_line_feed(&mut self) {
        self.ate_cr = false;
    }

    /// Returns what passes, and keeps what is held back.
    pub(super) fn passed<'a>(&mut self, mut passed: Passed<'a>) -> Cow<'a, [u8]> {
        if self.state == State::Holding {
            self.hold(&passed.bytes[passed.from..]);
        } else {
            passed.pass_to(passed.bytes.len());
        }
        passed.all()
    }

    /// Holds more bytes back. They are at most [`MAX_HELD`], and so is their room.
    fn hold(&mut self, bytes: &[u8]) {
        let length = self.held.len() + bytes.len();
        let room = length.next_power_of_two().min(MAX_HELD);
        self.held.reserve_exact(room.saturating_sub(self.held.len()));
        self.held.extend_from_slice(bytes);
    }

    /// Returns what was held back when the stream ended in the middle of an event.
    pub(super) fn rest(mut self, is_chunk: bool) -> (Vec<u8>, u64) {
        if self.state == State::Holding && is_chunk {
            self.held.clear();
            self.removed += 1;
        }
        (self.held, self.removed)
    }
}
