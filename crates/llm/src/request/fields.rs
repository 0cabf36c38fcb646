//! The fields of a request's body that say what it may use.

use crate::wire::Wire;

/// What a field of the body is to an estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The model's name.
    Model,
    /// Whether the answer is a stream.
    Stream,
    /// The most output tokens of an answer.
    Limit,
    /// How many answers there will be.
    Choices,
    /// A list of messages, or a text that stands for one.
    Messages,
    /// A text, or parts of one: instructions.
    Content,
    /// Texts, each of which is answered by itself.
    Prompts,
    /// JSON that the model gets to read in some form: tools, schemas.
    Json,
    /// An object with more fields of these roles.
    More,
    /// A list of such objects.
    Requests,
}

/// Returns the field at the top of a body, and its role. The name that it returns is ours: nothing
/// of a body is kept.
pub(super) fn at_top(wire: Wire, key: &str) -> Option<(&'static str, Role)> {
    let field = match (wire, key) {
        (Wire::Gemini, _) => return of_gemini(key),
        (Wire::GeminiEmbeddings, "content") => ("content", Role::Messages),
        (Wire::GeminiEmbeddings, "requests") => ("requests", Role::Requests),
        (Wire::GeminiEmbeddings, _) => return None,
        (_, "model") => ("model", Role::Model),
        (_, "stream") => ("stream", Role::Stream),
        (Wire::OpenAiChat | Wire::OpenAiCompletions | Wire::AnthropicMessages, "max_tokens") => {
            ("max_tokens", Role::Limit)
        }
        (Wire::OpenAiChat, "max_completion_tokens") => ("max_completion_tokens", Role::Limit),
        (Wire::OpenAiResponses, "max_output_tokens") => ("max_output_tokens", Role::Limit),
        (Wire::OpenAiChat | Wire::OpenAiCompletions | Wire::OpenAiImages, "n") => {
            ("n", Role::Choices)
        }
        (Wire::OpenAiCompletions, "best_of") => ("best_of", Role::Choices),
        (Wire::OpenAiChat | Wire::AnthropicMessages, "messages") => ("messages", Role::Messages),
        (Wire::OpenAiResponses, "input") => ("input", Role::Messages),
        (Wire::OpenAiResponses, "instructions") => ("instructions", Role::Content),
        (Wire::AnthropicMessages, "system") => ("system", Role::Content),
        (Wire::OpenAiCompletions, "prompt") => ("prompt", Role::Prompts),
        (Wire::OpenAiEmbeddings | Wire::OpenAiAudio, "input") => ("input", Role::Prompts),
        (Wire::OpenAiImages, "prompt") => ("prompt", Role::Content),
        (Wire::OpenAiCompletions, "suffix") => ("suffix", Role::Content),
        (Wire::OpenAiAudio, "instructions") => ("instructions", Role::Content),
        (Wire::OpenAiChat | Wire::OpenAiResponses | Wire::AnthropicMessages, "tools") => {
            ("tools", Role::Json)
        }
        (Wire::OpenAiChat, "functions") => ("functions", Role::Json),
        (Wire::OpenAiChat, "response_format") => ("response_format", Role::Json),
        (Wire::OpenAiResponses, "text") => ("text", Role::Json),
        (Wire::AnthropicMessages, "output_config") => ("output_config", Role::Json),
        (Wire::AnthropicMessages, "output_format") => ("output_format", Role::Json),
        _ => return None,
    };
    Some(field)
}

/// The JSON of Protocol Buffers knows each name in two spellings.
fn of_gemini(key: &str) -> Option<(&'static str, Role)> {
    Some(match key {
        "contents" => ("contents", Role::Messages),
        "systemInstruction" | "system_instruction" => ("systemInstruction", Role::Content),
        "tools" => ("tools", Role::Json),
        "generationConfig" | "generation_config" => ("generationConfig", Role::More),
        _ => return None,
    })
}

/// Returns a field within one whose role is [`Role::More`] or [`Role::Requests`].
pub(super) fn below(wire: Wire, key: &str) -> Option<(&'static str, Role)> {
    if wire == Wire::GeminiEmbeddings {
        return (key == "content").then_some(("content", Role::Messages));
    }
    Some(match key {
        "maxOutputTokens" | "max_output_tokens" => {
            ("generationConfig.maxOutputTokens", Role::Limit)
        }
        "candidateCount" | "candidate_count" => ("generationConfig.candidateCount", Role::Choices),
        "responseSchema" | "response_schema" => ("generationConfig.responseSchema", Role::Json),
        "responseJsonSchema" | "response_json_schema" => {
            ("generationConfig.responseJsonSchema", Role::Json)
        }
        _ => return None,
    })
}
