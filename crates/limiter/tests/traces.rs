//! The spans of decisions in the traces of a program that embeds the limiter.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fmt::Debug,
    sync::{Arc, Mutex},
};

use http::Response;
use http_body_util::Full;
use sluice::{Client, Limiter, RateLimitLayer, Request, identify::Identifier};
use sluice_telemetry::TRACE_TARGET;
use sluice_testkit::policies;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tracing::{
    Instrument, Subscriber,
    field::{Field, Visit},
    instrument::WithSubscriber,
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer, Registry,
    filter::Targets,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

/// Records spans and their fields.
#[derive(Clone, Debug, Default)]
struct RecordedSpans(Arc<Mutex<BTreeMap<u64, Span>>>);

#[derive(Clone, Debug, Default)]
struct Span {
    name: &'static str,
    parent: Option<&'static str>,
    fields: BTreeMap<&'static str, String>,
}

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for RecordedSpans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let parent = context.span(id).unwrap().parent().map(|parent| parent.name());
        let mut span = Span { name: attributes.metadata().name(), parent, ..Span::default() };
        attributes.record(&mut span);
        self.0.lock().unwrap().insert(id.into_u64(), span);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        values.record(self.0.lock().unwrap().get_mut(&id.into_u64()).unwrap());
    }
}

impl Visit for Span {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.fields.insert(field.name(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

impl RecordedSpans {
    /// Returns a subscriber that records spans up to this level.
    fn up_to(&self, level: LevelFilter) -> impl Subscriber + Send + Sync + use<> {
        Registry::default().with(
            self.clone().with_filter(
                Targets::new()
                    .with_target("traces", LevelFilter::INFO)
                    .with_target(TRACE_TARGET, level),
            ),
        )
    }

    fn named(&self, name: &str) -> Vec<Span> {
        self.0.lock().unwrap().values().filter(|span| span.name == name).cloned().collect()
    }
}

fn limiter() -> Limiter {
    Limiter::builder(policies::document()).build()
}

/// Sends one request more than the burst through the layer, each in a span of the program's own, as
/// `tower_http::trace` would create it.
async fn send_through_the_layer() {
    let by_key = Identifier::new(vec!["header:x-api-key".parse().unwrap()]);
    let layer = RateLimitLayer::new(limiter()).identifier(by_key);
    let service = ServiceBuilder::new().layer(layer).service(service_fn(async |_| {
        Ok::<_, Infallible>(Response::new(Full::<bytes::Bytes>::default()))
    }));
    for _ in 0..11 {
        let request = http::Request::get("/orders/7")
            .header("x-api-key", "alice")
            .body(Full::<bytes::Bytes>::default())
            .unwrap();
        service.clone().oneshot(request).instrument(tracing::info_span!("program")).await.unwrap();
    }
}

#[tokio::test]
async fn a_decision_is_a_child_of_the_programs_span() {
    let spans = RecordedSpans::default();
    // Ids of spans are reused once the spans are closed.
    let (kept, counted) = (Arc::new(Mutex::new(Vec::new())), spans.clone());
    let keep = Arc::clone(&kept);
    async move {
        let service = limiter();
        for _ in 0..11 {
            let request = Request::new(Client::Key(b"alice"), "GET", "/orders/7");
            service.check(&request).instrument(tracing::info_span!("program")).await.unwrap();
            keep.lock().unwrap().extend(counted.named("decision"));
            counted.0.lock().unwrap().clear();
        }
    }
    .with_subscriber(spans.up_to(LevelFilter::DEBUG))
    .await;
    let decisions = kept.lock().unwrap().clone();
    assert_eq!(decisions.len(), 11);
    for (decision, outcome) in
        decisions.iter().zip([["allowed"; 10].as_slice(), &["denied"]].concat())
    {
        assert_eq!(decision.parent, Some("program"));
        let values = ["action", "outcome", "source", "limit", "endpoint"]
            .map(|name| decision.fields[&*format!("sluice.{name}")].as_str());
        assert_eq!(values, ["take", outcome, "store", "default", "other"]);
        assert!(
            !format!("{decision:?}").contains("alice")
                && !format!("{decision:?}").contains("/orders")
        );
    }
}

#[tokio::test]
async fn a_decision_of_the_layer_is_a_child_of_the_programs_span_too() {
    let spans = RecordedSpans::default();
    send_through_the_layer().with_subscriber(spans.up_to(LevelFilter::DEBUG)).await;
    let decisions = spans.named("decision");
    assert!(!decisions.is_empty());
    assert!(decisions.iter().all(|decision| decision.parent == Some("program")), "{decisions:?}");
}

#[tokio::test]
async fn at_level_info_no_spans_of_decisions_are_created() {
    let spans = RecordedSpans::default();
    send_through_the_layer().with_subscriber(spans.up_to(LevelFilter::INFO)).await;
    assert!(!spans.named("program").is_empty());
    assert!(spans.named("decision").is_empty());
}

#[tokio::test]
async fn a_batch_is_one_span_with_counts() {
    let spans = RecordedSpans::default();
    async {
        let alice = Request::new(Client::Key(b"alice"), "GET", "/orders");
        let mut requests = vec![alice; 12];
        requests.push(Request::new(Client::Key(b"alice"), "GET", "no-path"));
        assert_eq!(limiter().check_all(&requests).await.len(), 13);
    }
    .with_subscriber(spans.up_to(LevelFilter::DEBUG))
    .await;
    assert!(spans.named("decision").is_empty());
    let values = ["checks", "allowed", "denied", "undecided"]
        .map(|name| spans.named("decisions")[0].fields[&*format!("sluice.{name}")].clone());
    assert_eq!(values, ["13", "10", "2", "1"]);
    assert!(
        !spans.named("decisions")[0].fields.contains_key("otel.status_code"),
        "an invalid path is an error of the client, not of the limiter"
    );
}
