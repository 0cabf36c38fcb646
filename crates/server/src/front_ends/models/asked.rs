//! Reads a request to a model, and prepares its body for the vendor.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use http::{
    HeaderMap,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use sluice_config::LlmSettings;
use sluice_core::TokenUsage;
use sluice_http::{
    Problem,
    body::{self, Beginning},
};
use sluice_llm::{Call, Estimate, Hold, ModelRequest, RequestError, Wire, include_usage};

use super::{
    answer_lengths::{AnswerLengths, RoutedModel},
    prefixed::Prefixed,
    route::Route,
};

/// How long a body may take to arrive, which is as long as a long one needs from a telephone.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes that make a token, in most languages.
const BYTES_PER_TOKEN: u64 = 4;

/// What a request asks of a model.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request: ModelRequest,
    pub(super) estimate: Estimate,
    /// The model, if it decides itself how long its answer is.
    pub(super) open: Option<OpenAnswers>,
    /// Whether the body was read, so that the model is known.
    pub(super) is_read: bool,
    /// The body that the vendor gets.
    pub(super) body: Body,
    /// Its length, where it is whole in memory.
    pub(super) length: Option<usize>,
    /// Whether the vendor sends a chunk with the usage that the client has not asked for.
    pub(super) adds_usage_chunk: bool,
}

/// Answers whose request states no limit for their length.
#[derive(Debug)]
pub(super) struct OpenAnswers {
    pub(super) model: RoutedModel,
    /// How many there are.
    pub(super) count: u64,
}

/// A request, and what it may use.
struct Expected {
    request: ModelRequest,
    estimate: Estimate,
    open: Option<OpenAnswers>,
}

/// Why a request cannot be read.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// What it asks for is wrong.
    Request(RequestError),
    /// It is compressed.
    Compressed,
    /// It did not arrive.
    Body(Problem),
}

impl From<RequestError> for Unreadable {
    fn from(error: RequestError) -> Self {
        Self::Request(error)
    }
}

impl Asked {
    /// Reads the request. Where it states no limit for its answers, `lengths` may know better than
    /// the settings.
    pub(super) async fn read(
        route: &Route,
        headers: &HeaderMap,
        body: &mut Body,
        lengths: &AnswerLengths,
    ) -> Result<Self, Unreadable> {
        let Route { settings, call, .. } = route;
        if is_form(call, headers) {
            let expected = Expected::of(route, ModelRequest::unread(call), lengths);
            return Ok(Self::unread(expected, std::mem::take(body)));
        }
        let is_plain = |coding: &[u8]| coding.eq_ignore_ascii_case(b"identity");
        if headers.get_all(CONTENT_ENCODING).iter().any(|coding| !is_plain(coding.as_bytes())) {
            return Err(Unreadable::Compressed);
        }
        let beginning = body::read_beginning(body, settings.body, BODY_TIMEOUT).await;
        let whole = match beginning.map_err(Unreadable::Body)? {
            Beginning::Whole(whole) => whole,
            Beginning::Longer(beginning) => {
                let mut expected = Expected::of(route, ModelRequest::unread(call), lengths);
                let body = Prefixed::join(beginning, std::mem::take(body));
                let bytes = body.size_hint().lower();
                expected.estimate.input = match settings.hold {
                    Hold::Typical => bytes.div_ceil(BYTES_PER_TOKEN),
                    Hold::Max => bytes,
                };
                // What limits its answers is not read.
                expected.open = None;
                return Ok(Self::unread(expected, body));
            }
        };
        let request = ModelRequest::read(call, whole.as_ref())?;
        let Expected { request, estimate, open } = Expected::of(route, request, lengths);
        let asks_for_usage = request.streams() && call.wire.reports_usage_when_asked();
        let edited = if asks_for_usage { include_usage(whole.as_ref())? } else { None };
        let adds_usage_chunk = edited.is_some();
        let bytes = match edited {
            Some(edited) => whole.replaced(edited),
            None => whole,
        }
        .into_bytes();
        let length = Some(bytes.len());
        let body = Body::from(bytes);
        Ok(Self { request, estimate, open, is_read: true, body, length, adds_usage_chunk })
    }

    /// Returns the tokens that it may use.
    pub(super) const fn usage(&self) -> TokenUsage {
        TokenUsage::new(self.estimate.input, self.estimate.output)
    }

    fn unread(expected: Expected, body: Body) -> Self {
        let Expected { request, estimate, open } = expected;
        let (is_read, length, adds_usage_chunk) = (false, None, false);
        Self { request, estimate, open, is_read, body, length, adds_usage_chunk }
    }
}

impl Expected {
    /// Finds what a request without a limit may use: what the configuration says of the model, or
    /// else what its answers had, or else what the configuration says of any.
    fn of(route: &Route, request: ModelRequest, lengths: &AnswerLengths) -> Self {
        let LlmSettings { hold, default_output, models, .. } = &*route.settings;
        let open = request.open_answers().zip(request.model()).map(|(count, model)| {
            let (route, wire) = (route.pattern.clone(), request.wire());
            OpenAnswers { model: RoutedModel { route, wire, model: model.into() }, count }
        });
        let of_model = open.as_ref().and_then(|OpenAnswers { model, .. }| {
            let configured = models.get(&model.model).map(|model| model.default_output);
            configured.or_else(|| lengths.estimate(model))
        });
        let estimate = request.estimate(*hold, of_model.unwrap_or(*default_output));
        Self { request, estimate, open }
    }
}

/// Whether the body is a form with a file, as the routes for images and audio take it.
fn is_form(call: &Call, headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let prefix = b"multipart/";
    matches!(call.wire, Wire::OpenAiImages | Wire::OpenAiAudio)
        && content_type.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}
