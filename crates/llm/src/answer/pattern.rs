//! What the events of a stream have in common.

use std::ops::Range;

use super::fields::Field;
use crate::json::{InValue, Node, Scanner};

/// The longest event that a pattern is made of.
const MAX_EVENT: usize = 1_024;
/// The most values of an event that a pattern is made of.
const MAX_VALUES: usize = 32;
/// How often a pattern is made for a stream. One that changes its form more often is read in full.
const MAX_TRIES: u8 = 8;

/// Recognises the events that are like an earlier one but for their text, without reading their
/// JSON again: nearly all events of a stream.
///
/// It is made of an event that says nothing but text, and that came whole. All of it has to come
/// again, except for the contents of strings and numbers at places that do not matter, as far as
/// they were found to vary, such as a sequence number. So what is recognised is always the same
/// document, in which a few values are others.
#[derive(Debug, Default)]
pub(super) struct Pattern {
    /// The event that it is made of; empty before there is one.
    event: Vec<u8>,
    /// The values of the event that vary, in their order.
    varying: Vec<Value>,
    /// Those that may vary, and have not done so yet.
    constant: Vec<Value>,
    /// Whether another event would be a better one.
    is_stale: bool,
    tries: u8,
}

/// A value of the event that may vary.
#[derive(Debug)]
struct Value {
    /// Where its content is in the event.
    at: Range<usize>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A string that is counted. It always varies.
    Text,
    /// A string that does not matter.
    String,
    /// Digits that do not matter.
    Digits,
}

/// An event that was recognised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Repeated {
    /// The length of the event.
    pub(super) length: usize,
    /// Its pieces of text that are not empty.
    pub(super) texts: u64,
    pub(super) text_bytes: u64,
}

impl Pattern {
    /// Returns the event at the beginning of these bytes, which is where an event may begin, if it
    /// is one of the pattern and all of it is there.
    pub(super) fn find(&mut self, bytes: &[u8]) -> Option<Repeated> {
        if self.event.is_empty() {
            return None;
        }
        let (mut rest, mut from) = (bytes, 0);
        let (mut texts, mut text_bytes) = (0, 0);
        for value in &self.varying {
            let Some(content) = rest.strip_prefix(&self.event[from..value.at.start]) else {
                self.differs(from, rest);
                return None;
            };
            let (length, text) = value.kind.content(content)?;
            texts += u64::from(text > 0);
            text_bytes += text;
            rest = &content[length..];
            from = value.at.end;
        }
        let Some(rest) = rest.strip_prefix(&self.event[from..]) else {
            self.differs(from, rest);
            return None;
        };
        Some(Repeated { length: bytes.len() - rest.len(), texts, text_bytes })
    }

    /// The event from one place on is not the same as these bytes.
    #[cold]
    fn differs(&mut self, from: usize, bytes: &[u8]) {
        let pairs = self.event[from..].iter().zip(bytes);
        let same = pairs.take_while(|(left, right)| left == right).count();
        if same == bytes.len() {
            // More has not come yet.
            return;
        }
        let is_there = |value: &Value| (value.at.start..=value.at.end).contains(&(from + same));
        let Some(index) = self.constant.iter().position(is_there) else {
            self.is_stale = true;
            return;
        };
        let value = self.constant.remove(index);
        let place = self.varying.partition_point(|other| other.at.start < value.at.start);
        self.varying.insert(place, value);
    }

    /// Makes a pattern of an event, unless there is one that is as good. The event says nothing but
    /// text, and has its data in one line.
    pub(super) fn learn(&mut self, event: &[u8], data: Range<usize>, root: &'static Node<Field>) {
        let is_wanted = self.event.is_empty() || self.is_stale;
        if !is_wanted || self.tries == MAX_TRIES || event.len() > MAX_EVENT {
            return;
        }
        self.tries += 1;
        let values = values(event, data, root);
        if values.len() > MAX_VALUES {
            return;
        }
        let (varying, constant): (Vec<_>, _) =
            values.into_iter().partition(|value| value.kind == Kind::Text);
        let mut event = event.to_vec();
        // The text itself is of no use, so that none is kept.
        for value in &varying {
            event[value.at.clone()].fill(b' ');
        }
        *self = Self { event, varying, constant, is_stale: false, tries: self.tries };
    }
}

impl Kind {
    /// Returns the length of the content of such a value at the beginning of these bytes, and how
    /// much text it is: none if it is not counted. `None` if it is not whole, or is not as simple.
    fn content(self, bytes: &[u8]) -> Option<(usize, u64)> {
        if self == Self::Digits {
            let length = bytes.iter().position(|byte| !byte.is_ascii_digit())?;
            return (length > 0).then_some((length, 0));
        }
        let (mut length, mut escapes) = (0, 0);
        loop {
            // Most texts are short.
            match bytes.get(length)? {
                b'"' => break,
                // `\u` is some bytes of text, and not one.
                b'\\' if !matches!(bytes.get(length + 1)?, b'u' | ..b' ') => {
                    length += 2;
                    escapes += 1;
                }
                // The end of a line would end the data.
                b'\\' | ..b' ' => return None,
                _ => length += 1,
            }
        }
        let text = if self == Self::Text { length - escapes } else { 0 };
        Some((length, text as u64))
    }
}

/// Returns the values of an event that may vary.
fn values(event: &[u8], data: Range<usize>, root: &'static Node<Field>) -> Vec<Value> {
    let mut scanner = Scanner::new(root);
    let (mut values, mut start) = (Vec::new(), data.start);
    let mut rest = &event[data.clone()];
    while !rest.is_empty() {
        let before = scanner.in_value();
        rest = scanner.step(rest, &mut ());
        let at = data.end - rest.len();
        match (before, scanner.in_value()) {
            (None, Some(_)) => start = at,
            (Some(value), None) => {
                let quote = usize::from(matches!(value, InValue::String(_)));
                values.extend(Value::new(value, start..at - quote, event));
            }
            _ => {}
        }
    }
    values
}

impl Value {
    fn new(value: InValue<Field>, at: Range<usize>, event: &[u8]) -> Option<Self> {
        let kind = match value {
            InValue::String(Some(Field::Text)) => Kind::Text,
            InValue::String(None) => Kind::String,
            InValue::Literal(None) if event[at.clone()].iter().all(u8::is_ascii_digit) => {
                Kind::Digits
            }
            InValue::String(Some(_)) | InValue::Literal(_) => return None,
        };
        Some(Self { at, kind })
    }
}
