//! What is held for a request to a model, settled once.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sluice::{
    Recorders,
    holds::Hold,
    stats::events::{Events, LlmRequest},
};
use sluice_core::{MicroUnits, Prices, TokenUsage, Usage};
use sluice_llm::{Framing, Meter, Metered, Report, Vendor, Wire};
use sluice_telemetry::{ModelRecorder, OTHER};
use tokio::{runtime::Handle, sync::watch};

use super::{
    answer_lengths::AnswerLengths,
    answers::label,
    asked::{Asked, OpenAnswers},
};

/// Opens an [`Account`] for each request, and waits for all of them at the end. Clones are the same
/// ledger.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    events: Arc<Events>,
    lengths: AnswerLengths,
    /// Each open account has a receiver.
    open: Arc<watch::Sender<()>>,
}

/// What is held for one request. It is settled by [`close`](Self::close), or when it is dropped.
#[derive(Debug)]
pub(super) struct Account {
    /// `None` once it is closed.
    open: Option<Open>,
    vendor: Vendor,
    wire: Wire,
    model: Option<Box<str>>,
    /// What was reserved, unless a limit has too small a burst for it.
    estimate: TokenUsage,
    /// What the length of the answer teaches, and whom.
    lesson: Option<(OpenAnswers, AnswerLengths)>,
    prices: Arc<Prices>,
    started: Instant,
    events: Arc<Events>,
}

#[derive(Debug)]
struct Open {
    hold: Hold,
    /// Keeps the ledger waiting.
    ticket: watch::Receiver<()>,
}

/// How a request to a model ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// The vendor did not answer it, or with an error: it used nothing.
    Failed,
    /// Its client left before there was an answer, or no answer came in time. The vendor may have
    /// read it.
    Abandoned,
    /// The answer came to its end.
    Complete(Report),
    /// The answer came to its end, and cannot be read.
    Unreadable,
    /// The vendor broke off the answer.
    Cut(Option<Report>),
    /// The client left in the middle of the answer.
    Left(Option<Report>),
}

/// What a request is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Charge {
    Nothing,
    Tokens(TokenUsage),
    /// What was held.
    Estimate,
}

// === impl Ledger ===

impl Ledger {
    pub(super) fn new(events: Events) -> Self {
        let lengths = AnswerLengths::default();
        Self { events: Arc::new(events), lengths, open: Arc::new(watch::Sender::new(())) }
    }

    pub(super) fn recorders(&self) -> &Recorders {
        self.events.recorders()
    }

    pub(super) fn prices(&self) -> Arc<Prices> {
        self.events.prices()
    }

    pub(super) const fn lengths(&self) -> &AnswerLengths {
        &self.lengths
    }

    pub(super) fn open(
        &self,
        vendor: Vendor,
        asked: &mut Asked,
        prices: Arc<Prices>,
        hold: Hold,
    ) -> Account {
        Account {
            open: Some(Open { hold, ticket: self.open.subscribe() }),
            vendor,
            wire: asked.request.wire(),
            model: asked.request.model().map(Box::from),
            estimate: asked.usage(),
            lesson: asked.open.take().map(|open| (open, self.lengths.clone())),
            prices,
            started: Instant::now(),
            events: Arc::clone(&self.events),
        }
    }

    /// Waits until all accounts are settled, for at most `grace`. Returns how many are left.
    pub(super) async fn finish(&self, grace: Duration) -> usize {
        let _ = tokio::time::timeout(grace, self.open.closed()).await;
        self.open.receiver_count()
    }
}

// === impl Account ===

impl Account {
    /// Makes the meter of an answer.
    pub(super) fn meter(&self, framing: Framing) -> Meter {
        Meter::new(self.wire, framing, self.estimate.consumed())
    }

    /// Records how the request ended, and settles what is held for it. Only the first end counts.
    pub(super) fn close(&mut self, end: End) {
        let Some(open) = self.open.take() else { return };
        self.count(end);
        self.learn(end);
        let charge = self.charge(end);
        self.report(end, charge);
        self.settle(open, charge);
    }

    fn charge(&self, end: End) -> Charge {
        match end {
            End::Failed => Charge::Nothing,
            End::Unreadable | End::Cut(None) | End::Left(None) => Charge::Estimate,
            End::Abandoned => {
                let Report { metered, .. } = self.meter(Framing::Json).abort();
                metered.usage().map_or(Charge::Estimate, Charge::Tokens)
            }
            End::Complete(report) | End::Cut(Some(report)) | End::Left(Some(report)) => {
                report.metered.usage().map_or(Charge::Estimate, Charge::Tokens)
            }
        }
    }

    fn count(&self, end: End) {
        let (recorder, vendor) = (self.recorder(), label(self.vendor));
        let report = match end {
            End::Failed => return,
            End::Abandoned | End::Cut(None) | End::Left(None) => {
                return recorder.usage_estimated(vendor);
            }
            End::Unreadable => return recorder.usage_missing(vendor),
            End::Complete(report) | End::Cut(Some(report)) | End::Left(Some(report)) => report,
        };
        match report.metered {
            Metered::Reported(_) => {}
            Metered::Estimated(_) => recorder.usage_estimated(vendor),
            Metered::Missing => recorder.usage_missing(vendor),
        }
        if report.ignored > 0 {
            recorder.usage_ignored(vendor, report.ignored);
        }
    }

    /// Learns from a whole answer how long such answers are.
    fn learn(&mut self, end: End) {
        let lesson = self.lesson.take();
        let End::Complete(Report { metered: Metered::Reported(usage), failed: false, .. }) = end
        else {
            return;
        };
        if let Some((OpenAnswers { model, count }, lengths)) = lesson {
            lengths.learn(model, usage.generated().div_ceil(count.max(1)));
        }
    }

    /// Reports the request as an application would.
    fn report(&self, end: End, charge: Charge) {
        let status = match end {
            End::Complete(report) if report.failed => "error",
            End::Complete(_) | End::Unreadable => "success",
            End::Failed | End::Cut(_) => "error",
            End::Abandoned | End::Left(_) => "aborted",
        };
        let usage = match charge {
            Charge::Nothing => TokenUsage::default(),
            Charge::Tokens(usage) => usage,
            Charge::Estimate => self.estimate,
        };
        // A client can invent names of models; a vendor has answered to this one.
        let is_answered = !matches!(end, End::Failed | End::Abandoned);
        let model = self.model.as_deref().filter(|model| {
            is_answered || self.prices.of_tokens(model, &TokenUsage::default()).is_some()
        });
        let mut request = LlmRequest::new(model.unwrap_or(OTHER), operation(self.wire), status)
            .with_duration(self.started.elapsed())
            .with_tokens_consumed(usage.consumed())
            .with_tokens_generated(usage.generated())
            .with_cache(usage.cached(), usage.written());
        if self.events.llm_request(&request).is_err() {
            // The model's name is longer than those of events.
            request.model = OTHER;
            let _ = self.events.llm_request(&request);
        }
    }

    /// Settles in a task that outlives the request.
    fn settle(&self, Open { hold, ticket }: Open, charge: Charge) {
        let parts = &hold.reservation().parts;
        let is_clamped = parts.iter().any(|part| part.clamped);
        let usage = match charge {
            Charge::Nothing => Usage::default().with_money(Some(MicroUnits::default())),
            Charge::Tokens(tokens) => priced(&self.prices, self.model.as_deref(), tokens),
            // Less than the estimate is held, and stays so.
            Charge::Estimate if is_clamped => return,
            Charge::Estimate => priced(&self.prices, self.model.as_deref(), self.estimate),
        };
        if !hold.reservation().is_metered() {
            return;
        }
        // At the end of the process there may be no runtime. The hold then stays charged.
        let Ok(runtime) = Handle::try_current() else { return };
        runtime.spawn(async move {
            if let Err(error) = hold.settle(&usage).await {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, "what a model used could not be settled");
            }
            drop(ticket);
        });
    }

    fn recorder(&self) -> &ModelRecorder {
        &self.events.recorders().models
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.close(End::Abandoned);
    }
}

/// Returns the usage of these tokens, with their price if the model has one.
pub(super) fn priced(prices: &Prices, model: Option<&str>, tokens: TokenUsage) -> Usage {
    Usage::of_tokens(tokens).with_money(model.and_then(|model| prices.of_tokens(model, &tokens)))
}

/// Returns the word for what a wire format does, for metrics.
const fn operation(wire: Wire) -> &'static str {
    match wire {
        Wire::OpenAiCompletions => "completion",
        Wire::OpenAiEmbeddings | Wire::GeminiEmbeddings => "embedding",
        Wire::OpenAiImages => "image",
        Wire::OpenAiAudio => "audio",
        _ => "chat",
    }
}
