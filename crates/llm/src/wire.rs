//! The vendors' wire formats, and the paths that speak them.

use std::{fmt, str::FromStr};

use percent_encoding::percent_decode_str;

/// Whose wire formats a route speaks. Many other programs speak the same ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Vendor {
    /// `OpenAI`: chat, responses, and the older and smaller routes beside them.
    OpenAi,
    /// Anthropic: messages.
    Anthropic,
    /// Gemini: `generateContent` and its streaming form, and embeddings.
    Gemini,
}

/// A text that names no [`Vendor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a wire format: write `openai`, `anthropic` or `gemini`")]
pub struct VendorError;

/// A wire format: what requests and answers of a route look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Wire {
    /// `POST .../chat/completions` of `OpenAI`.
    OpenAiChat,
    /// `POST .../completions` of `OpenAI`, the older form without messages.
    OpenAiCompletions,
    /// `POST .../responses` of `OpenAI`.
    OpenAiResponses,
    /// `POST .../embeddings` of `OpenAI`.
    OpenAiEmbeddings,
    /// `POST .../images/...` of `OpenAI`.
    OpenAiImages,
    /// `POST .../audio/...` of `OpenAI`.
    OpenAiAudio,
    /// `POST .../messages` of Anthropic.
    AnthropicMessages,
    /// `POST .../{model}:generateContent` and `:streamGenerateContent` of Gemini.
    Gemini,
    /// `POST .../{model}:embedContent` and `:batchEmbedContents` of Gemini.
    GeminiEmbeddings,
}

/// What the path of a request says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The wire format.
    pub wire: Wire,
    /// What only Gemini has in its paths; other vendors have both in the body.
    pub in_path: Option<InPath>,
}

/// What Gemini's paths say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InPath {
    /// The model's name, without the collection before it.
    pub model: String,
    /// Whether the answer is a stream.
    pub stream: bool,
}

impl Vendor {
    /// All vendors.
    pub const ALL: [Self; 3] = [Self::OpenAi, Self::Anthropic, Self::Gemini];

    /// Returns the name of the vendor in a configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
        }
    }

    /// Returns what a `POST` to this path calls, or `None` where it uses no tokens: models that are
    /// listed, tokens that are counted, batches, files.
    ///
    /// Only the end of the path counts, so that it may be below any prefix, as it is at Azure, at
    /// Vertex and at vendors that are compatible with these. However a path is written that some
    /// server reads as one of these, it is known: in capitals, with encoded characters, with empty
    /// segments. A query is ignored.
    #[must_use]
    pub fn call(self, path: &str) -> Option<Call> {
        let path = path.split('?').next().unwrap_or_default();
        let mut segments = path.rsplit('/').filter(|segment| !segment.is_empty());
        let mut next = || percent_decode_str(segments.next().unwrap_or_default()).decode_utf8();
        let (last, before) = (next().ok()?, next().ok()?);
        let word = |segment: &str| segment.to_ascii_lowercase();
        let wire = match (self, word(&before).as_str(), word(&last).as_str()) {
            (Self::OpenAi, "chat", "completions") => Wire::OpenAiChat,
            (Self::OpenAi, _, "completions") => Wire::OpenAiCompletions,
            (Self::OpenAi, _, "responses") | (Self::OpenAi, "responses", "compact") => {
                Wire::OpenAiResponses
            }
            (Self::OpenAi, _, "embeddings") => Wire::OpenAiEmbeddings,
            (Self::OpenAi, "images", "generations" | "edits" | "variations") => Wire::OpenAiImages,
            (Self::OpenAi, "audio", "speech" | "transcriptions" | "translations") => {
                Wire::OpenAiAudio
            }
            (Self::Anthropic, _, "messages") => Wire::AnthropicMessages,
            (Self::Gemini, _, _) => return gemini(&last),
            _ => return None,
        };
        Some(Call { wire, in_path: None })
    }
}

/// Reads the last segment of a path of Gemini: `{model}:{method}`.
fn gemini(segment: &str) -> Option<Call> {
    let (model, method) = segment.rsplit_once(':')?;
    let (wire, stream) = match method.to_ascii_lowercase().as_str() {
        "generatecontent" => (Wire::Gemini, false),
        "streamgeneratecontent" => (Wire::Gemini, true),
        "embedcontent" | "batchembedcontents" => (Wire::GeminiEmbeddings, false),
        _ => return None,
    };
    Some(Call { wire, in_path: Some(InPath { model: model.to_owned(), stream }) })
}

impl Wire {
    /// Returns whose wire format it is.
    #[must_use]
    pub const fn vendor(self) -> Vendor {
        match self {
            Self::OpenAiChat
            | Self::OpenAiCompletions
            | Self::OpenAiResponses
            | Self::OpenAiEmbeddings
            | Self::OpenAiImages
            | Self::OpenAiAudio => Vendor::OpenAi,
            Self::AnthropicMessages => Vendor::Anthropic,
            Self::Gemini | Self::GeminiEmbeddings => Vendor::Gemini,
        }
    }

    /// Whether answers are text whose length a request can bound, so that an estimate counts
    /// output. What images and audio use is known only from the answer, and embeddings have none.
    #[must_use]
    pub const fn generates_text(self) -> bool {
        matches!(
            self,
            Self::OpenAiChat
                | Self::OpenAiCompletions
                | Self::OpenAiResponses
                | Self::AnthropicMessages
                | Self::Gemini
        )
    }

    /// Whether a stream reports usage only when the request has `stream_options.include_usage`.
    #[must_use]
    pub const fn reports_usage_when_asked(self) -> bool {
        matches!(self, Self::OpenAiChat | Self::OpenAiCompletions)
    }
}

impl FromStr for Vendor {
    type Err = VendorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|vendor| vendor.as_str() == text).ok_or(VendorError)
    }
}

impl fmt::Display for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vendor_is_read_by_its_name() {
        for vendor in Vendor::ALL {
            assert_eq!(vendor.to_string().parse(), Ok(vendor));
        }
        assert_eq!("OpenAI".parse::<Vendor>(), Err(VendorError));
    }

    #[test]
    fn a_path_below_any_prefix_is_known_by_its_end() {
        let cases = [
            ("/v1/chat/completions", Wire::OpenAiChat),
            ("/openai/deployments/small/chat/completions?api-version=1", Wire::OpenAiChat),
            ("/v1/completions/", Wire::OpenAiCompletions),
            ("/v1/responses", Wire::OpenAiResponses),
            ("/v1/responses/compact", Wire::OpenAiResponses),
            ("/v1/embeddings", Wire::OpenAiEmbeddings),
            ("/v1/images/edits", Wire::OpenAiImages),
            ("/v1/audio/speech", Wire::OpenAiAudio),
            ("/v1/Chat/Completions", Wire::OpenAiChat),
            ("/v1/chat//completions//", Wire::OpenAiChat),
            ("/v1/ch%61t/completions", Wire::OpenAiChat),
        ];
        for (path, wire) in cases {
            assert_eq!(Vendor::OpenAi.call(path), Some(Call { wire, in_path: None }), "{path}");
            assert_eq!(wire.vendor(), Vendor::OpenAi);
        }
        let messages = Vendor::Anthropic.call("/v1/messages").unwrap();
        assert_eq!(messages.wire, Wire::AnthropicMessages);
    }

    #[test]
    fn what_uses_no_tokens_is_no_call() {
        let cases = [
            (Vendor::OpenAi, "/v1/models"),
            (Vendor::OpenAi, "/v1/responses/resp_1/cancel"),
            (Vendor::OpenAi, "/v1/messages"),
            (Vendor::Anthropic, "/v1/messages/count_tokens"),
            (Vendor::Anthropic, "/v1/messages/batches"),
            (Vendor::Anthropic, "/v1/chat/completions"),
            (Vendor::Gemini, "/v1beta/models/small:countTokens"),
            (Vendor::Gemini, "/v1beta/models"),
            (Vendor::OpenAi, ""),
            (Vendor::Gemini, "/%ff:generateContent"),
        ];
        for (vendor, path) in cases {
            assert_eq!(vendor.call(path), None, "{vendor} {path}");
        }
    }

    #[test]
    fn a_path_of_gemini_has_the_model_and_says_whether_it_streams() {
        let call = |path| Vendor::Gemini.call(path).unwrap();
        let plain = call("/v1beta/models/small-2.5:generateContent");
        let in_path = InPath { model: "small-2.5".to_owned(), stream: false };
        assert_eq!(plain, Call { wire: Wire::Gemini, in_path: Some(in_path) });
        for path in [
            "/v1beta/models/small-2.5:streamGenerateContent?alt=sse",
            "/v1/projects/p/locations/l/publishers/google/models/small-2.5:streamGenerateContent",
            "/v1beta/models/small-2.5%3AstreamGenerateContent",
        ] {
            let in_path = InPath { model: "small-2.5".to_owned(), stream: true };
            assert_eq!(call(path).in_path, Some(in_path), "{path}");
        }
        assert_eq!(call("/v1beta/models/e:embedContent").wire, Wire::GeminiEmbeddings);
    }
}
