//! A JSON reader that is fed with pieces.

use memchr::memchr2;

use super::node::Node;

/// The deepest nesting that is read; a document that is deeper is given up.
const MAX_DEPTH: usize = 256;
/// The deepest place that a [`Node`] may describe.
const MAX_NODES: usize = 12;
/// The longest key, number or reported string. A longer key matches none, and a longer value is
/// reported as empty.
const MAX_TOKEN: usize = 64;

/// What a scanner reports about the places of a document that have a name.
pub(crate) trait Sink<F> {
    /// An object or an array begins.
    fn open(&mut self, field: F);
    /// An object or an array ends.
    fn close(&mut self, field: F);
    /// So many more bytes of a string's text, escapes resolved.
    fn text(&mut self, field: F, bytes: u64);
    /// A string ends. It is empty if it is longer than 64 bytes or has escapes.
    fn string(&mut self, field: F, value: &[u8]);
    /// A number, `true`, `false` or `null`. It is empty if it is longer than 64 bytes.
    fn literal(&mut self, field: F, value: &[u8]);
}

/// Ignores what is reported.
impl<F> Sink<F> for () {
    fn open(&mut self, _: F) {}
    fn close(&mut self, _: F) {}
    fn text(&mut self, _: F, _: u64) {}
    fn string(&mut self, _: F, _: &[u8]) {}
    fn literal(&mut self, _: F, _: &[u8]) {}
}

/// The value that a scanner is in the middle of, with the name of its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InValue<F> {
    String(Option<F>),
    Literal(Option<F>),
}

/// Reads one document in pieces of any size, in some 250 bytes of memory.
///
/// It follows the structure strictly, and gives up a document that is not JSON or is nested deeper
/// than 256 levels: from then on it reports nothing. What is between the structure (numbers,
/// escapes) it takes as it comes; who reads a number finds out whether it is one.
#[derive(Debug)]
pub(crate) struct Scanner<F: 'static> {
    root: &'static Node<F>,
    state: State,
    /// Bit `depth % 64` of word `depth / 64` is set if the container at that depth is an object.
    objects: [u64; MAX_DEPTH / 64],
    depth: usize,
    /// The places of the open containers, as far as they matter.
    nodes: [Option<&'static Node<F>>; MAX_NODES],
    /// Whether the string that is being read is a key.
    in_key: bool,
    /// The place of the value that comes next, or is being read.
    next: Option<&'static Node<F>>,
    token: [u8; MAX_TOKEN],
    /// More than [`MAX_TOKEN`] if the token does not fit.
    token_length: usize,
    /// The escape that is being read: its hexadecimal digits and their value.
    escape: (u8, u16),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A value comes next.
    Value,
    /// A value, or the end of an array that is still empty.
    ValueOrEnd,
    /// A key comes next.
    Key,
    /// A key, or the end of an object that is still empty.
    KeyOrEnd,
    Colon,
    /// A comma, or the end of the container.
    CommaOrEnd,
    /// In a string, or in a key.
    InString,
    /// After a backslash in it.
    Escape,
    /// In the four digits after `\u`.
    Unicode,
    InLiteral,
    /// The document has ended; only white space may follow.
    Ended,
    /// It is not JSON, or too deep.
    GivenUp,
}

impl<F: Copy> Scanner<F> {
    pub(crate) const fn new(root: &'static Node<F>) -> Self {
        Self {
            root,
            state: State::Value,
            objects: [0; MAX_DEPTH / 64],
            depth: 0,
            nodes: [None; MAX_NODES],
            in_key: false,
            next: Some(root),
            token: [0; MAX_TOKEN],
            token_length: 0,
            escape: (0, 0),
        }
    }

    /// Forgets the document: the next bytes are those of another one.
    pub(crate) fn restart(&mut self) {
        *self = Self::new(self.root);
    }

    /// Whether the document was given up.
    pub(crate) fn has_given_up(&self) -> bool {
        self.state == State::GivenUp
    }

    /// Whether the document has come to its end.
    pub(crate) fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// The string or literal that the next byte belongs to, or ends.
    pub(crate) fn in_value(&self) -> Option<InValue<F>> {
        match self.state {
            State::InString | State::Escape | State::Unicode if !self.in_key => {
                Some(InValue::String(self.field()))
            }
            State::InLiteral => Some(InValue::Literal(self.field())),
            _ => None,
        }
    }

    /// Reads the next bytes of the document.
    pub(crate) fn feed(&mut self, bytes: &[u8], sink: &mut impl Sink<F>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = self.step(rest, sink);
        }
    }

    /// Reads as many of these bytes as belong together, such as the rest of a string with its
    /// quote. Returns the others.
    ///
    /// A step never passes both the end of a value and the beginning of the next one.
    pub(crate) fn step<'a>(&mut self, bytes: &'a [u8], sink: &mut impl Sink<F>) -> &'a [u8] {
        let Some((&byte, after)) = bytes.split_first() else {
            return bytes;
        };
        match self.state {
            State::GivenUp => &[],
            State::InString => self.string(bytes, sink),
            State::InLiteral => self.literal(bytes, sink),
            State::Escape => {
                self.escaped(byte, sink);
                after
            }
            State::Unicode => {
                self.digit(byte, sink);
                after
            }
            State::Value | State::ValueOrEnd if begins_literal(byte) => {
                self.token_length = 0;
                self.state = State::InLiteral;
                bytes
            }
            _ => {
                self.structure(byte, sink);
                after
            }
        }
    }

    fn structure(&mut self, byte: u8, sink: &mut impl Sink<F>) {
        self.state = match (self.state, byte) {
            (State::Value | State::ValueOrEnd, b'"') => self.begin_string(false),
            (State::Key | State::KeyOrEnd, b'"') => self.begin_string(true),
            (State::Colon, b':') => State::Value,
            (State::CommaOrEnd, b',') if self.in_object() => State::Key,
            (State::CommaOrEnd, b',') => {
                self.next = self.node().and_then(|node| node.items);
                State::Value
            }
            (State::Value | State::ValueOrEnd, b'{' | b'[') => self.open(byte == b'{', sink),
            (State::ValueOrEnd | State::CommaOrEnd, b']') if !self.in_object() => self.close(sink),
            (State::KeyOrEnd | State::CommaOrEnd, b'}') if self.in_object() => self.close(sink),
            (state, byte) if byte.is_ascii_whitespace() => state,
            _ => State::GivenUp,
        };
    }

    fn begin_string(&mut self, is_key: bool) -> State {
        self.in_key = is_key;
        self.token_length = 0;
        State::InString
    }

    fn open(&mut self, object: bool, sink: &mut impl Sink<F>) -> State {
        if self.depth == MAX_DEPTH {
            return State::GivenUp;
        }
        if let Some(field) = self.next.and_then(|node| node.field) {
            sink.open(field);
        }
        let bit = 1 << (self.depth % 64);
        let word = &mut self.objects[self.depth / 64];
        *word = if object { *word | bit } else { *word & !bit };
        if let Some(node) = self.nodes.get_mut(self.depth) {
            *node = self.next;
        }
        self.depth += 1;
        if object {
            State::KeyOrEnd
        } else {
            self.next = self.node().and_then(|node| node.items);
            State::ValueOrEnd
        }
    }

    fn close(&mut self, sink: &mut impl Sink<F>) -> State {
        if let Some(field) = self.node().and_then(|node| node.field) {
            sink.close(field);
        }
        self.depth -= 1;
        self.after_value()
    }

    fn after_value(&self) -> State {
        if self.depth == 0 { State::Ended } else { State::CommaOrEnd }
    }

    fn in_object(&self) -> bool {
        let at = self.depth.wrapping_sub(1);
        self.objects.get(at / 64).is_some_and(|word| word & (1 << (at % 64)) != 0)
    }

    /// The place of the innermost open container.
    fn node(&self) -> Option<&'static Node<F>> {
        self.nodes.get(self.depth.wrapping_sub(1)).copied().flatten()
    }

    fn field(&self) -> Option<F> {
        self.next.and_then(|node| node.field)
    }

    /// Reads as much of a string or key as there is, and returns the rest.
    fn string<'a>(&mut self, bytes: &'a [u8], sink: &mut impl Sink<F>) -> &'a [u8] {
        let special = memchr2(b'"', b'\\', bytes);
        let (run, rest) = bytes.split_at(special.unwrap_or(bytes.len()));
        let field = if self.in_key { None } else { self.field() };
        if let Some(field) = field.filter(|_| !run.is_empty()) {
            sink.text(field, run.len() as u64);
        }
        let Some((&byte, after)) = rest.split_first() else {
            self.keep(run);
            return rest;
        };
        if byte == b'\\' {
            self.token_length = MAX_TOKEN + 1;
            self.state = State::Escape;
        } else if self.in_key {
            self.next = self.node().and_then(|node| node.at_key(self.ended_token(run)));
            self.state = State::Colon;
        } else {
            if let Some(field) = field {
                sink.string(field, self.ended_token(run));
            }
            self.state = self.after_value();
        }
        after
    }

    fn escaped(&mut self, byte: u8, sink: &mut impl Sink<F>) {
        if byte == b'u' {
            self.escape = (0, 0);
            self.state = State::Unicode;
            return;
        }
        self.end_escape(1, sink);
    }

    fn digit(&mut self, byte: u8, sink: &mut impl Sink<F>) {
        let Some(digit) = char::from(byte).to_digit(16).and_then(|digit| u16::try_from(digit).ok())
        else {
            self.state = State::GivenUp;
            return;
        };
        let (digits, value) = self.escape;
        self.escape = (digits + 1, value << 4 | digit);
        if digits + 1 == 4 {
            let bytes = match self.escape.1 {
                0..0x80 => 1,
                // Two surrogates are one character of four bytes.
                0x80..0x800 | 0xd800..0xe000 => 2,
                _ => 3,
            };
            self.end_escape(bytes, sink);
        }
    }

    fn end_escape(&mut self, bytes: u64, sink: &mut impl Sink<F>) {
        self.state = State::InString;
        if let Some(field) = self.field().filter(|_| !self.in_key) {
            sink.text(field, bytes);
        }
    }

    /// Reads as much of a literal as there is, and returns the rest.
    fn literal<'a>(&mut self, bytes: &'a [u8], sink: &mut impl Sink<F>) -> &'a [u8] {
        let end = bytes.iter().position(|byte| !is_in_literal(*byte));
        let (run, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        if rest.is_empty() {
            self.keep(run);
            return rest;
        }
        if let Some(field) = self.field() {
            sink.literal(field, self.ended_token(run));
        }
        self.state = self.after_value();
        rest
    }

    fn keep(&mut self, run: &[u8]) {
        let end = self.token_length.saturating_add(run.len());
        match self.token.get_mut(self.token_length..end) {
            Some(room) => {
                room.copy_from_slice(run);
                self.token_length = end;
            }
            None => self.token_length = MAX_TOKEN + 1,
        }
    }

    /// The key, literal or string that ends with this run, or nothing if it does not fit.
    fn ended_token<'t>(&'t mut self, run: &'t [u8]) -> &'t [u8] {
        if self.token_length == 0 && run.len() <= MAX_TOKEN {
            // Nearly all of them come whole.
            return run;
        }
        self.keep(run);
        self.token.get(..self.token_length).unwrap_or_default()
    }
}

/// Returns whether a literal may begin with this byte.
const fn begins_literal(byte: u8) -> bool {
    matches!(byte, b'-' | b'0'..=b'9' | b't' | b'f' | b'n')
}

/// Returns whether a literal may have this byte.
const fn is_in_literal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.')
}

#[cfg(test)]
mod tests;
