//! Where in an answer its usage stands, and its text.
//!
//! The field names are those of the types `CompletionUsage` and `ResponseUsage` in openai-python,
//! `Usage` and `MessageDeltaUsage` in anthropic-sdk-python, and
//! `GenerateContentResponseUsageMetadata` in googleapis/python-genai.

use super::encoding::Framing;
use crate::{
    json::Node,
    wire::{Vendor, Wire},
};

/// What matters in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// The object with the usage.
    Usage,
    /// A number in it.
    Count(Count),
    /// Generated text: what the model wrote, thought, or passed to a tool.
    Text,
    /// The list of answers, of which a request may ask for several.
    Choices,
    /// One of them.
    Choice,
    /// Why the model stopped.
    Finish,
    /// What kind of event it is.
    Type,
    /// An error.
    Error,
    /// An element of a list that stands for a stream.
    Chunk,
}

/// A number of a usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    Input,
    /// Of the input, what was read from the cache.
    Cached,
    /// Of the input, what was written to the cache.
    Written,
    /// Input that tools add (Gemini).
    ToolInput,
    Output,
    /// Output that is thought.
    Thought,
    Total,
}

impl Count {
    /// How many there are.
    pub(super) const ALL: usize = 7;
}

type Place = Node<Field>;

const fn count(count: Count) -> Place {
    Node::leaf(Field::Count(count))
}

static INPUT: Place = count(Count::Input);
static CACHED: Place = count(Count::Cached);
static WRITTEN: Place = count(Count::Written);
static TOOL_INPUT: Place = count(Count::ToolInput);
static OUTPUT: Place = count(Count::Output);
static THOUGHT: Place = count(Count::Thought);
static TOTAL: Place = count(Count::Total);
static TEXT: Place = Node::leaf(Field::Text);
static TYPE: Place = Node::leaf(Field::Type);
static FINISH: Place = Node::leaf(Field::Finish);
static ERROR: Place = Node::leaf(Field::Error);

static OPENAI_INPUT_DETAILS: Place =
    Node::object(&[("cached_tokens", &CACHED), ("cache_write_tokens", &WRITTEN)]);
static OPENAI_OUTPUT_DETAILS: Place = Node::object(&[("reasoning_tokens", &THOUGHT)]);
/// Chat and the older routes say `prompt` and `completion`, the newer ones `input` and `output`.
static OPENAI_USAGE: Place = Node::object(&[
    ("prompt_tokens", &INPUT),
    ("prompt_tokens_details", &OPENAI_INPUT_DETAILS),
    ("completion_tokens", &OUTPUT),
    ("completion_tokens_details", &OPENAI_OUTPUT_DETAILS),
    ("input_tokens", &INPUT),
    ("input_tokens_details", &OPENAI_INPUT_DETAILS),
    ("output_tokens", &OUTPUT),
    ("output_tokens_details", &OPENAI_OUTPUT_DETAILS),
    ("total_tokens", &TOTAL),
])
.called(Field::Usage);

static FUNCTION: Place = Node::object(&[("name", &TEXT), ("arguments", &TEXT)]);
static TOOL_CALL: Place = Node::object(&[("function", &FUNCTION)]);
static TOOL_CALLS: Place = Node::array(&TOOL_CALL);
/// `reasoning` and `reasoning_content` are what vendors compatible with `OpenAI` add.
static CHAT_MESSAGE: Place = Node::object(&[
    ("content", &TEXT),
    ("refusal", &TEXT),
    ("reasoning", &TEXT),
    ("reasoning_content", &TEXT),
    ("tool_calls", &TOOL_CALLS),
    ("function_call", &FUNCTION),
]);
static CHAT_CHOICE: Place =
    Node::object(&[("delta", &CHAT_MESSAGE), ("message", &CHAT_MESSAGE), ("text", &TEXT)])
        .called(Field::Choice);
static CHAT_CHOICES: Place = Node::array(&CHAT_CHOICE).called(Field::Choices);
static CHAT: Place =
    Node::object(&[("choices", &CHAT_CHOICES), ("usage", &OPENAI_USAGE), ("error", &ERROR)]);

static OUTPUT_PART: Place = Node::object(&[("text", &TEXT), ("refusal", &TEXT)]);
static OUTPUT_PARTS: Place = Node::array(&OUTPUT_PART);
static OUTPUT_ITEM: Place = Node::object(&[
    ("content", &OUTPUT_PARTS),
    ("summary", &OUTPUT_PARTS),
    ("name", &TEXT),
    ("arguments", &TEXT),
]);
static OUTPUT_ITEMS: Place = Node::array(&OUTPUT_ITEM);
/// The answer of the newer routes of `OpenAI`, which is a document of its own.
static OPENAI_DOCUMENT: Place =
    Node::object(&[("output", &OUTPUT_ITEMS), ("usage", &OPENAI_USAGE), ("error", &ERROR)]);

static RESPONSE: Place = Node::object(&[("usage", &OPENAI_USAGE)]);
/// An event of them. The last one repeats all text, which is not counted again.
static OPENAI_EVENT: Place = Node::object(&[
    ("type", &TYPE),
    ("delta", &TEXT),
    ("response", &RESPONSE),
    ("usage", &OPENAI_USAGE),
    ("error", &ERROR),
]);

static ANTHROPIC_USAGE: Place = Node::object(&[
    ("input_tokens", &INPUT),
    ("cache_read_input_tokens", &CACHED),
    ("cache_creation_input_tokens", &WRITTEN),
    ("output_tokens", &OUTPUT),
])
.called(Field::Usage);
static ANTHROPIC_START: Place = Node::object(&[("usage", &ANTHROPIC_USAGE)]);
static ANTHROPIC_DELTA: Place =
    Node::object(&[("text", &TEXT), ("thinking", &TEXT), ("partial_json", &TEXT)]);
static ANTHROPIC_PART: Place = Node::object(&[("text", &TEXT), ("thinking", &TEXT)]);
static ANTHROPIC_PARTS: Place = Node::array(&ANTHROPIC_PART);
/// An event, and the answer that is no stream: its `type` is `message`.
static ANTHROPIC: Place = Node::object(&[
    ("type", &TYPE),
    ("message", &ANTHROPIC_START),
    ("content_block", &ANTHROPIC_PART),
    ("delta", &ANTHROPIC_DELTA),
    ("content", &ANTHROPIC_PARTS),
    ("usage", &ANTHROPIC_USAGE),
    ("error", &ERROR),
]);

static GEMINI_USAGE: Place = Node::object(&[
    ("promptTokenCount", &INPUT),
    ("cachedContentTokenCount", &CACHED),
    ("toolUsePromptTokenCount", &TOOL_INPUT),
    ("candidatesTokenCount", &OUTPUT),
    ("thoughtsTokenCount", &THOUGHT),
    ("totalTokenCount", &TOTAL),
])
.called(Field::Usage);
static GEMINI_FUNCTION: Place = Node::object(&[("name", &TEXT)]);
static GEMINI_PART: Place = Node::object(&[("text", &TEXT), ("functionCall", &GEMINI_FUNCTION)]);
static GEMINI_PARTS: Place = Node::array(&GEMINI_PART);
static GEMINI_CONTENT: Place = Node::object(&[("parts", &GEMINI_PARTS)]);
static GEMINI_CANDIDATE: Place =
    Node::object(&[("content", &GEMINI_CONTENT), ("finishReason", &FINISH)]);
static GEMINI_CANDIDATES: Place = Node::array(&GEMINI_CANDIDATE);
const GEMINI_KEYS: &[(&str, &Place)] =
    &[("candidates", &GEMINI_CANDIDATES), ("usageMetadata", &GEMINI_USAGE), ("error", &ERROR)];
static GEMINI_CHUNK: Place = Node::object(GEMINI_KEYS).called(Field::Chunk);
/// An answer or an event, or the list of chunks that a stream without `alt=sse` is.
static GEMINI: Place = Node { field: None, keys: GEMINI_KEYS, items: Some(&GEMINI_CHUNK) };

/// Returns what to look for in an answer, or in an event of it.
pub(super) const fn of(wire: Wire, framing: Framing) -> &'static Place {
    match (wire, framing) {
        (Wire::OpenAiChat | Wire::OpenAiCompletions, _) => &CHAT,
        (_, Framing::Json) if matches!(wire.vendor(), Vendor::OpenAi) => &OPENAI_DOCUMENT,
        (_, Framing::Sse) if matches!(wire.vendor(), Vendor::OpenAi) => &OPENAI_EVENT,
        (Wire::AnthropicMessages, _) => &ANTHROPIC,
        _ => &GEMINI,
    }
}
