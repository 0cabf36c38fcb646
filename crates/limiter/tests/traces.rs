//! What a program that embeds the limiter sees of its decisions in its own traces.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fmt::Debug,
    sync::{Arc, Mutex},
};

use http::Response;
use http_body_util::Full;
use sluice::{Client, Limiter, RateLimitLayer, Request};
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

/// Spans as they were made, and what was said of each.
#[derive(Clone, Debug, Default)]
struct Seen(Arc<Mutex<BTreeMap<u64, Span>>>);

#[derive(Clone, Debug, Default)]
struct Span {
    name: &'static str,
    above: Option<&'static str>,
    fields: BTreeMap<&'static str, String>,
}

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Seen {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let above = context.span(id).unwrap().parent().map(|parent| parent.name());
        let mut span = Span { name: attributes.metadata().name(), above, ..Span::default() };
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

impl Seen {
    /// A subscriber that shows spans up to this level.
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

/// Asks through the layer inside of a span of the program's own, as `tower_http::trace` would make
/// it, once more than the burst holds.
async fn ask_through_the_layer() {
    let service = ServiceBuilder::new().layer(RateLimitLayer::new(limiter())).service(service_fn(
        async |_| Ok::<_, Infallible>(Response::new(Full::<bytes::Bytes>::default())),
    ));
    for _ in 0..11 {
        let request = http::Request::get("/orders/7")
            .header("x-api-key", "alice")
            .body(Full::<bytes::Bytes>::default())
            .unwrap();
        service.clone().oneshot(request).instrument(tracing::info_span!("program")).await.unwrap();
    }
}

#[tokio::test]
async fn a_decision_lies_beneath_the_programs_own_span() {
    let seen = Seen::default();
    // Numbers of spans are used again once these are over.
    let (kept, counted) = (Arc::new(Mutex::new(Vec::new())), seen.clone());
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
    .with_subscriber(seen.up_to(LevelFilter::DEBUG))
    .await;
    let decisions = kept.lock().unwrap().clone();
    assert_eq!(decisions.len(), 11);
    for (decision, outcome) in
        decisions.iter().zip([["allowed"; 10].as_slice(), &["denied"]].concat())
    {
        assert_eq!(decision.above, Some("program"));
        let told = ["action", "outcome", "source", "limit", "endpoint"]
            .map(|name| decision.fields[&*format!("sluice.{name}")].as_str());
        assert_eq!(told, ["take", outcome, "store", "default", "other"]);
        assert!(
            !format!("{decision:?}").contains("alice")
                && !format!("{decision:?}").contains("/orders")
        );
    }
}

#[tokio::test]
async fn a_layers_decisions_lie_there_too() {
    let seen = Seen::default();
    ask_through_the_layer().with_subscriber(seen.up_to(LevelFilter::DEBUG)).await;
    let decisions = seen.named("decision");
    assert!(!decisions.is_empty());
    assert!(decisions.iter().all(|decision| decision.above == Some("program")), "{decisions:?}");
}

#[tokio::test]
async fn who_does_not_look_below_info_has_no_decisions_made() {
    let seen = Seen::default();
    ask_through_the_layer().with_subscriber(seen.up_to(LevelFilter::INFO)).await;
    assert!(!seen.named("program").is_empty());
    assert!(seen.named("decision").is_empty());
}

#[tokio::test]
async fn a_batch_is_one_span_that_counts() {
    let seen = Seen::default();
    async {
        let alice = Request::new(Client::Key(b"alice"), "GET", "/orders");
        let mut requests = vec![alice; 12];
        requests.push(Request::new(Client::Key(b"alice"), "GET", "no-path"));
        assert_eq!(limiter().check_all(&requests).await.len(), 13);
    }
    .with_subscriber(seen.up_to(LevelFilter::DEBUG))
    .await;
    assert!(seen.named("decision").is_empty());
    let told = ["checks", "allowed", "denied", "undecided"]
        .map(|name| seen.named("decisions")[0].fields[&*format!("sluice.{name}")].clone());
    assert_eq!(told, ["13", "10", "2", "1"]);
    assert!(
        !seen.named("decisions")[0].fields.contains_key("otel.status_code"),
        "a path that is none is its sender's mistake"
    );
}
