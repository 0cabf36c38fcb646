//! What a request may use.

use super::ModelRequest;
use crate::number::MOST;

/// Tokens that a message takes beside its text.
const PER_MESSAGE: u64 = 8;
/// Tokens that an image takes, or anything else that is not text.
const PER_MEDIA: u64 = 1_600;
/// Bytes of text that make a token, in most languages.
const BYTES_PER_TOKEN: u64 = 4;

/// How much of the input to hold until the answer says what was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Hold {
    /// What such a text usually takes: a token for four bytes.
    #[default]
    Typical,
    /// What it can take at most: a token for each byte. The tokens of images and files are still
    /// estimated.
    Max,
}

/// The tokens that a request may use, each at most 10^12.
///
/// What the vendor adds from its own memory is not known here: an earlier response that a request
/// continues, a file, a cached content. It is settled when the answer reports it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Tokens of input: a quarter of the text's bytes, rounded up, or all of them
    /// ([`Hold::Max`]); 8 for each message; 1,600 for each image.
    pub input: u64,
    /// Tokens of output: the largest limit that the request states, for each answer that it asks
    /// for.
    pub output: u64,
}

impl ModelRequest {
    /// Returns the tokens that the request may use. `default_output` stands for the limit of an
    /// answer where the request states none.
    #[must_use]
    pub fn estimate(&self, hold: Hold, default_output: u64) -> Estimate {
        let text = match hold {
            Hold::Typical => self.input.text_bytes.div_ceil(BYTES_PER_TOKEN),
            Hold::Max => self.input.text_bytes,
        };
        let input = text
            .saturating_add(self.input.token_ids)
            .saturating_add(self.input.messages.saturating_mul(PER_MESSAGE))
            .saturating_add(self.input.media.saturating_mul(PER_MEDIA));
        let output = if self.wire.generates_text() {
            self.output_limit.unwrap_or(default_output).saturating_mul(self.choices)
        } else {
            0
        };
        Estimate { input: input.min(MOST), output: output.min(MOST) }
    }
}
