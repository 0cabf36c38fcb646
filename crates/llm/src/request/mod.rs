//! Requests: what they say, and what they may use.

mod body;
mod error;
mod estimate;
mod fields;
mod include_usage;
mod text;

use crate::wire::{Call, InPath, Wire};

pub use error::RequestError;
pub use estimate::{Estimate, Hold};
pub use include_usage::include_usage;

use text::Input;

/// What a request to a model says about what it may use.
///
/// It holds no text of the request but the model's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRequest {
    wire: Wire,
    model: Option<String>,
    stream: bool,
    output_limit: Option<u64>,
    choices: u64,
    input: Input,
}

impl ModelRequest {
    /// Reads the body of a request.
    ///
    /// Of the body only the fields that matter are read; everything else is skipped. Beside the
    /// model's name nothing is kept, and nothing is copied but strings with escapes, one at a time.
    ///
    /// - A field that decides what the request may use, and is there twice, is an error: parsers
    ///   differ in which one counts.
    /// - `null` is as good as no field.
    /// - A number may be written as `1e3` or `1000.0`. Only Gemini takes it in quotes.
    ///
    /// # Errors
    /// When the body is not a JSON object, or one of those fields has a wrong value.
    pub fn read(call: &Call, body: &[u8]) -> Result<Self, RequestError> {
        let facts = body::read(call.wire, body)?;
        let mut request = Self::unread(call);
        if call.in_path.is_none() {
            request.model = facts.model;
            request.stream = facts.stream;
        }
        request.output_limit = facts.output_limit;
        let prompts = if call.wire == Wire::OpenAiCompletions { facts.input.prompts } else { 1 };
        request.choices = facts.choices.unwrap_or(1).saturating_mul(prompts.max(1));
        request.input = facts.input;
        Ok(request)
    }

    /// Makes what is known of a request whose body is not read: it is too large, or it is no JSON
    /// but a form with a file, as the routes for images and audio take it.
    #[must_use]
    pub fn unread(call: &Call) -> Self {
        let (model, stream) = match &call.in_path {
            Some(InPath { model, stream }) => (Some(model.clone()), *stream),
            None => (None, false),
        };
        let wire = call.wire;
        let input = Input::default();
        Self { wire, model, stream, output_limit: None, choices: 1, input }
    }

    /// Returns how many answers the request asks for without a limit for their length; `None` if it
    /// states one, or no text is generated.
    #[must_use]
    pub fn open_answers(&self) -> Option<u64> {
        let is_open = self.output_limit.is_none() && self.wire.generates_text();
        is_open.then_some(self.choices)
    }

    /// Returns the wire format.
    #[must_use]
    pub const fn wire(&self) -> Wire {
        self.wire
    }

    /// Returns the model's name.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// Whether the answer is to be a stream.
    #[must_use]
    pub const fn streams(&self) -> bool {
        self.stream
    }
}
