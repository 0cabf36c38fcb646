//! Server-sent events, in pieces of any size.

use memchr::{memchr2, memchr3};

/// Divides a stream of server-sent events into pieces, as the HTML standard reads it: lines end in
/// CR, LF or both, lines that begin with a colon are comments, and an empty line ends an event.
///
/// It keeps no line: the value of a field passes in pieces, and memory is constant.
#[derive(Debug, Default)]
pub(super) struct Sse {
    state: State,
    /// The last byte was a CR: an LF behind it belongs to the same end of a line.
    after_cr: bool,
    /// Bytes of a byte order mark at the beginning, or 3 once past the beginning.
    mark: u8,
    name: Name,
    field: Field,
}

/// What a piece of a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A line with a field begins here. The piece is empty.
    Field,
    /// The value of a `data` field begins here. The piece is empty.
    DataLine,
    /// A part of the value of a `data` field.
    Data,
    /// A part of the value of an `event` field.
    EventName,
    /// The end of an event: an empty line, but for the LF of a CR LF.
    End,
    /// The LF of a CR LF.
    LineFeed,
    /// Anything else.
    Rest,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    LineStart,
    Name,
    /// After the colon: a space here is not a part of the value.
    Space,
    Value,
    Comment,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Field {
    Data,
    Event,
    #[default]
    Other,
}

/// The beginning of a field's name: enough to know `data` and `event`.
#[derive(Clone, Copy, Debug, Default)]
struct Name {
    bytes: [u8; 6],
    length: usize,
}

const MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

impl Sse {
    /// Whether a line begins with the next byte, whatever it is.
    pub(super) fn is_between_lines(&self) -> bool {
        self.state == State::LineStart && !self.after_cr && usize::from(self.mark) == MARK.len()
    }

    /// Skips a whole event, of which this is the last byte.
    pub(super) fn skip_event(&mut self, last: u8) {
        self.after_cr = last == b'\r';
    }

    /// Returns the first piece of `bytes`, which must not be empty, and its length.
    pub(super) fn next(&mut self, bytes: &[u8]) -> (Piece, usize) {
        let first = bytes[0];
        if usize::from(self.mark) < MARK.len() {
            if first == MARK[usize::from(self.mark)] {
                self.mark += 1;
                return (Piece::Rest, 1);
            }
            self.mark = 3;
        }
        if std::mem::take(&mut self.after_cr) && first == b'\n' {
            return (Piece::LineFeed, 1);
        }
        match self.state {
            State::LineStart => self.line_start(first),
            State::Name => self.name(bytes),
            State::Space => {
                self.state = State::Value;
                (Piece::Rest, usize::from(first == b' '))
            }
            State::Value | State::Comment if is_end(first) => self.line_end(first),
            State::Value => {
                let piece = match self.field {
                    Field::Data => Piece::Data,
                    Field::Event => Piece::EventName,
                    Field::Other => Piece::Rest,
                };
                (piece, line_length(bytes))
            }
            State::Comment => (Piece::Rest, line_length(bytes)),
        }
    }

    fn line_start(&mut self, first: u8) -> (Piece, usize) {
        if is_end(first) {
            self.after_cr = first == b'\r';
            return (Piece::End, 1);
        }
        if first == b':' {
            self.state = State::Comment;
            return (Piece::Rest, 1);
        }
        self.name.length = 0;
        self.state = State::Name;
        (Piece::Field, 0)
    }

    fn name(&mut self, bytes: &[u8]) -> (Piece, usize) {
        let run = memchr3(b':', b'\r', b'\n', bytes).unwrap_or(bytes.len());
        self.name.push(&bytes[..run]);
        if run > 0 {
            return (Piece::Rest, run);
        }
        self.field = self.name.field();
        if bytes[0] == b':' {
            self.state = State::Space;
            let piece = if self.field == Field::Data { Piece::DataLine } else { Piece::Rest };
            return (piece, 1);
        }
        // A field without a colon has an empty value.
        self.line_end(bytes[0])
    }

    fn line_end(&mut self, byte: u8) -> (Piece, usize) {
        self.after_cr = byte == b'\r';
        self.state = State::LineStart;
        (Piece::Rest, 1)
    }
}

impl Name {
    fn push(&mut self, run: &[u8]) {
        for byte in run {
            if let Some(room) = self.bytes.get_mut(self.length) {
                *room = *byte;
                self.length += 1;
            }
        }
    }

    fn field(self) -> Field {
        match self.bytes.get(..self.length) {
            Some(b"data") => Field::Data,
            Some(b"event") => Field::Event,
            _ => Field::Other,
        }
    }
}

fn is_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

/// The bytes before the end of the line.
fn line_length(bytes: &[u8]) -> usize {
    memchr2(b'\r', b'\n', bytes).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The events of a stream: the name and the data lines of each.
    fn events<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<(String, Vec<String>)> {
        let (mut sse, mut events) = (Sse::default(), Vec::new());
        let mut event = (Vec::new(), Vec::<Vec<u8>>::new());
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        for chunk in chunks {
            let mut rest = chunk;
            while !rest.is_empty() {
                let (piece, length) = sse.next(rest);
                let (run, after) = rest.split_at(length);
                rest = after;
                match piece {
                    Piece::DataLine => event.1.push(Vec::new()),
                    Piece::Data => event.1.last_mut().unwrap().extend(run),
                    Piece::EventName => event.0.extend(run),
                    Piece::End => {
                        let (name, data) = std::mem::take(&mut event);
                        if !name.is_empty() || !data.is_empty() {
                            events.push((text(&name), data.iter().map(text).collect()));
                        }
                    }
                    Piece::Field | Piece::LineFeed | Piece::Rest => {}
                }
            }
        }
        events
    }

    fn event(name: &str, data: &[&str]) -> (String, Vec<String>) {
        (name.to_owned(), data.iter().map(|line| (*line).to_owned()).collect())
    }

    const STREAM: &str = "\u{feff}: hello\r\n\r\nevent: a\r\ndata: 1\r\ndata:  2\r\n\r\n\n\r\
                          data:3\r\
                          :c\rdatax: 9\rdat: 9\rid: 7\r\revent:b\n\ndata\ndata:\n\nretry: 5\n\n\
                          data: cut";

    #[test]
    fn lines_end_in_cr_lf_or_both_and_comments_are_skipped() {
        let expected =
            [event("a", &["1", " 2"]), event("", &["3"]), event("b", &[]), event("", &[""])];
        assert_eq!(events([STREAM.as_bytes()]), expected);
    }

    #[test]
    fn any_split_gives_the_same_events() {
        let whole = events([STREAM.as_bytes()]);
        for cut in 0..=STREAM.len() {
            let (left, right) = STREAM.as_bytes().split_at(cut);
            assert_eq!(events([left, right]), whole, "{cut}");
        }
        assert_eq!(events(STREAM.as_bytes().chunks(1)), whole);
    }

    proptest! {
        #[test]
        fn every_piece_but_the_empty_ones_goes_on(
            bytes in prop::collection::vec(prop_oneof![
                any::<u8>(), prop::sample::select(b"data: \r\n\xef\xbb\xbfevnt".as_slice()),
            ], 0..60),
        ) {
            let (mut sse, mut rest, mut steps) = (Sse::default(), bytes.as_slice(), 0);
            while !rest.is_empty() {
                let (_, length) = sse.next(rest);
                rest = &rest[length..];
                steps += 1;
                prop_assert!(steps <= 3 * bytes.len());
            }
        }
    }
}
