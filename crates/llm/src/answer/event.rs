//! What an answer says, event by event.

use super::{
    fields::Field,
    pattern::Repeated,
    usage::{Usage, Written},
};
use crate::{
    json::Sink,
    wire::{Vendor, Wire},
};

/// What was read of an answer so far.
#[derive(Debug)]
pub(super) struct Reading {
    wire: Wire,
    pub(super) usage: Usage,
    /// The usage object that is being read.
    report: Written,
    event: Event,
    /// The last event that said anything new said that the answer is complete, and the usage with
    /// it.
    pub(super) is_final: bool,
    /// The end of a stream said what its output was. (Of Anthropic; the start says a number too,
    /// which is that of the first token.)
    is_output_final: bool,
    /// An error came instead of the rest of the answer.
    pub(super) has_failed: bool,
    /// The document is a list of chunks.
    pub(super) is_list: bool,
    pub(super) text_bytes: u64,
    /// Pieces of text: a model that streams sends about a token in each.
    pub(super) deltas: u64,
    /// A text is being read, and was counted.
    in_text: bool,
}

/// What was read of an event so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Event {
    kind: Kind,
    has_choices: bool,
    has_choice: bool,
    /// It has a usage object, whatever that says.
    has_usage: bool,
    /// It has one that was believed.
    has_new_usage: bool,
    /// It has one with a number of the output.
    has_output: bool,
    has_text: bool,
    has_finish: bool,
    has_error: bool,
}

/// The kinds of events that matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Other,
    /// The last one, with the usage.
    Last,
    /// The last one, which usually has no usage.
    Stop,
    Error,
}

impl Kind {
    fn of(vendor: Vendor, name: &[u8]) -> Self {
        match (vendor, name) {
            (_, b"error") => Self::Error,
            (Vendor::Anthropic, b"message_delta") => Self::Last,
            (Vendor::Anthropic, b"message_stop") => Self::Stop,
            (
                Vendor::OpenAi,
                b"response.completed"
                | b"response.incomplete"
                | b"response.failed"
                | b"image_generation.completed"
                | b"image_edit.completed"
                | b"speech.audio.done"
                | b"transcript.text.done",
            ) => Self::Last,
            _ => Self::Other,
        }
    }
}

impl Event {
    /// Whether it is the chunk that only reports usage, which comes when the request asks for it.
    pub(super) fn is_usage_chunk(&self) -> bool {
        self.has_choices && self.has_usage && self.may_be_usage_chunk()
    }

    /// Whether it says nothing of the answer but text.
    pub(super) fn is_text(&self) -> bool {
        let Self { kind, has_usage, has_text, has_finish, has_error, .. } = self;
        *kind == Kind::Other && *has_text && !(*has_usage || *has_finish || *has_error)
    }

    /// Whether nothing was read yet that such a chunk does not have.
    pub(super) fn may_be_usage_chunk(&self) -> bool {
        !self.has_choice && !self.has_error
    }
}

impl Reading {
    pub(super) fn new(wire: Wire) -> Self {
        Self {
            wire,
            usage: Usage::new(wire.vendor()),
            report: Written::default(),
            event: Event::default(),
            is_final: false,
            is_output_final: false,
            has_failed: false,
            is_list: false,
            text_bytes: 0,
            deltas: 0,
            in_text: false,
        }
    }

    pub(super) fn event(&self) -> Event {
        self.event
    }

    /// Takes an event into account that says nothing but text.
    pub(super) fn repeat(&mut self, event: Repeated) {
        self.text_bytes = self.text_bytes.saturating_add(event.text_bytes);
        self.deltas += event.texts;
        self.is_final &= event.texts == 0;
    }

    /// Ends an event: what was read of it counts. `is_done` if it is the mark that ends a stream.
    pub(super) fn end_event(&mut self, is_done: bool) {
        let event = std::mem::take(&mut self.event);
        self.in_text = false;
        self.has_failed |= event.has_error || event.kind == Kind::Error;
        self.is_output_final |= event.kind != Kind::Other && event.has_output;
        let is_final = match event.kind {
            Kind::Last => event.has_new_usage,
            Kind::Stop => self.is_output_final,
            Kind::Error => false,
            Kind::Other => {
                is_done || event.is_usage_chunk() || event.has_finish && event.has_new_usage
            }
        };
        self.is_final = is_final || self.is_final && !event.has_text;
    }
}

impl Sink<Field> for Reading {
    fn open(&mut self, field: Field) {
        match field {
            Field::Usage => {
                self.report = Written::default();
                self.event.has_usage = true;
            }
            Field::Count(_) => self.report.set_absurd(),
            Field::Choices => self.event.has_choices = true,
            Field::Choice => self.event.has_choice = true,
            Field::Error => self.event.has_error = true,
            Field::Chunk => self.is_list = true,
            Field::Text | Field::Finish | Field::Type => {}
        }
    }

    fn close(&mut self, field: Field) {
        match field {
            Field::Usage => {
                self.event.has_output |= self.report.says_output();
                self.event.has_new_usage |= self.usage.update(&self.report);
            }
            Field::Chunk => self.end_event(false),
            _ => {}
        }
    }

    fn text(&mut self, field: Field, bytes: u64) {
        match field {
            Field::Text => {
                self.event.has_text = true;
                self.text_bytes = self.text_bytes.saturating_add(bytes);
                self.deltas += u64::from(!std::mem::replace(&mut self.in_text, true));
            }
            Field::Error => self.event.has_error = true,
            _ => {}
        }
    }

    fn string(&mut self, field: Field, value: &[u8]) {
        match field {
            Field::Text => self.in_text = false,
            Field::Type => self.event.kind = Kind::of(self.wire.vendor(), value),
            Field::Finish => self.event.has_finish = true,
            Field::Count(_) => self.report.set_absurd(),
            _ => {}
        }
    }

    fn literal(&mut self, field: Field, value: &[u8]) {
        if let Field::Count(count) = field {
            self.report.set(count, value);
        }
    }
}
