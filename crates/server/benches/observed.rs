//! The cost of metrics and traces: `POST /v1/check` through the HTTP port with and without them.
//!
//! Requests are passed to the port without a connection, in one thread, and the memory store
//! decides: a connection takes about half of a request's time in every variant, and would hide half
//! of the difference. "Off" are recorders that record nothing; the fleet's counters work in every
//! variant. Traces go to a collector that does not exist, so their cost is that of creating and
//! dropping spans.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark prints, and fails by panicking"
)]

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, body::Body};
use http::Request;
use sluice::{
    Limiter, Recorders, Telemetry,
    identify::Identifier,
    stats::{StatsCounters, events::Events},
};
use sluice_rls::EnvoyRls;
use sluice_server::{
    admin::AdminRoutes,
    engine::Engine,
    front_ends::{HttpFrontEnds, HttpPort, Seals, Services},
    shutdown::StopFlag,
};
use sluice_telemetry::{Otlp, TRACE_TARGET};
use sluice_testkit::policies;
use tokio::runtime::Runtime;
use tracing::{Dispatch, dispatcher::with_default};
use tracing_subscriber::{Layer, Registry, filter::filter_fn, layer::SubscriberExt};

const REQUESTS: usize = 100_000;
const CLIENTS: usize = 100_000;
const ROUNDS: usize = 5;
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A configuration of telemetry to measure.
struct Variant {
    name: &'static str,
    http: HttpFrontEnds,
    collects: Dispatch,
    /// The flags in the `traceparent` of requests; `None` if no traces are exported.
    sampled: Option<&'static str>,
    /// Has to live as long as it records.
    _telemetry: Telemetry,
    ns: Vec<f64>,
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut variants = [
        Variant::new("metrics off", false, None),
        Variant::new("metrics on", true, None),
        Variant::new("metrics on, no trace sampled", true, Some("00")),
        Variant::new("metrics on, every trace sampled", true, Some("01")),
    ];
    // Variants take turns, so that a slow moment of the machine affects all of them.
    for _ in 0..ROUNDS {
        for variant in &mut variants {
            let took =
                with_default(&variant.collects, || ask(&runtime, &variant.http, variant.sampled));
            variant.ns.push(took);
        }
    }
    println!("{:<34} {:>10} {:>10}", "", "ns", "of off");
    let off = variants[0].middle();
    for variant in &mut variants {
        let ns = variant.middle();
        println!("{:<34} {ns:>10.0} {:>10.2}", variant.name, ns / off);
    }
}

impl Variant {
    fn new(name: &'static str, has_metrics: bool, sampled: Option<&'static str>) -> Self {
        let endpoint = |name: &str| {
            (name == "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").then(|| "http://127.0.0.1:1".to_owned())
        };
        let otlp = sampled.map_or_else(Otlp::default, |_| Otlp::from_variables(endpoint).unwrap());
        let telemetry = Telemetry::builder().otlp(otlp).build().unwrap();
        let recorders =
            if has_metrics { telemetry.recorders().clone() } else { Recorders::disabled() };
        let spans = telemetry
            .trace_layer()
            .map(|spans| spans.with_filter(filter_fn(|made| made.target() == TRACE_TARGET)));
        // Logs are off.
        let collects =
            spans.map_or_else(Dispatch::none, |spans| Registry::default().with(spans).into());
        Self {
            name,
            http: http_port(&recorders),
            collects,
            sampled,
            _telemetry: telemetry,
            ns: Vec::new(),
        }
    }

    fn middle(&mut self) -> f64 {
        self.ns.sort_by(f64::total_cmp);
        self.ns[ROUNDS / 2]
    }
}

fn http_port(recorders: &Recorders) -> HttpFrontEnds {
    let stats = StatsCounters::new(recorders);
    let limiter = Limiter::builder(policies::document()).recorders(recorders).stats(&stats).build();
    let rls = EnvoyRls::new(limiter.clone(), Duration::from_secs(1));
    let seals = Arc::new(Seals::new("sluice", limiter.policy().tagger()));
    let engine = Arc::new(Engine::new(limiter, Identifier::default()));
    HttpFrontEnds::new(HttpPort {
        services: Services { engine, events: Events::new(recorders, &stats), rls, seals },
        admin: AdminRoutes::new(Router::new()),
        stopping: StopFlag::default(),
        gateway: None,
        models: None,
        any_path: true,
        access: sluice_http::access::CallerAccess::default(),
    })
}

/// Returns the nanoseconds per request.
fn ask(runtime: &Runtime, http: &HttpFrontEnds, sampled: Option<&str>) -> f64 {
    let requests: Vec<Request<Body>> =
        (0..REQUESTS).map(|number| request(number, sampled)).collect();
    runtime.block_on(async {
        let started = Instant::now();
        for request in requests {
            let response = http.respond(PEER, request).await;
            assert!(matches!(response.status().as_u16(), 200 | 429), "{response:?}");
        }
        started.elapsed().as_nanos() as f64 / REQUESTS as f64
    })
}

fn request(number: usize, sampled: Option<&str>) -> Request<Body> {
    let body = format!(
        r#"{{"client":"client-{:06}","method":"GET","path":"/api/v1/things"}}"#,
        number * 7_919 % CLIENTS
    );
    let mut request = Request::post("/v1/check").header("content-type", "application/json");
    if let Some(sampled) = sampled {
        request = request
            .header("traceparent", format!("00-{:032x}-{:016x}-{sampled}", number + 1, number + 1));
    }
    request.body(Body::from(body)).unwrap()
}
