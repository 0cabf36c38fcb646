//! Measures the cost of recording on the path of a request, in nanoseconds, and compares it with
//! bound handles of the `prometheus` crate.
//!
//! Both are measured alternately, several times, and the fastest run counts, because it has the
//! least noise of the machine. `cargo bench -p sluice-telemetry --bench instruments`.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use prometheus::{Histogram, HistogramOpts, IntCounterVec, Opts};
use sluice_telemetry::{MethodLabel, MetricKind, SourceLabel, Telemetry, catalogue};

const TURNS: u32 = 15;
const CALLS: u32 = 2_000_000;

#[expect(clippy::print_stdout, reason = "a benchmark prints its results")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let telemetry = Telemetry::builder().build()?;
    let recorders = telemetry.recorders();
    let checks = &recorders.decisions;
    let decisions = checks.bind("default");
    let endpoint = recorders.http.bind("/api/v1/blueprints");

    let counters =
        IntCounterVec::new(Opts::new("decisions", "decisions"), &["limit", "outcome", "source"])?;
    let counter = counters.with_label_values(&["default", "allowed", "store"]);
    let boundaries =
        boundaries("sluice_check_duration_seconds").ok_or("the catalogue has no check duration")?;
    let histogram = Histogram::with_opts(
        HistogramOpts::new("duration", "duration").buckets(boundaries.to_vec()),
    )?;

    let mut duration = durations();
    let mut best = [f64::INFINITY; 5];
    for _ in 0..TURNS {
        let turn = [
            nanoseconds(|| decisions.allowed(black_box(SourceLabel::Store))),
            nanoseconds(|| counter.inc()),
            nanoseconds(|| checks.check_duration(black_box(SourceLabel::Store), duration())),
            nanoseconds(|| histogram.observe(duration().as_secs_f64())),
            nanoseconds(|| {
                endpoint.responded(black_box(MethodLabel::Get), black_box(200), duration());
            }),
        ];
        for (best, now) in best.iter_mut().zip(turn) {
            *best = best.min(now);
        }
    }

    let [counter, counter_peer, histogram, histogram_peer, request] = best;
    println!("                                 ns/op   prometheus   ratio");
    println!(
        "counter increment, bound        {counter:6.1}       {counter_peer:6.1}  {:6.2}",
        counter / counter_peer
    );
    println!(
        "histogram record, bound         {histogram:6.1}       {histogram_peer:6.1}  {:6.2}",
        histogram / histogram_peer
    );
    println!(
        "HTTP request (both of these)    {request:6.1}       {:6.1}  {:6.2}",
        counter_peer + histogram_peer,
        request / (counter_peer + histogram_peer)
    );
    Ok(())
}

fn nanoseconds(mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..CALLS {
        call();
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
}

/// Returns durations from a few microseconds to a few milliseconds, so that the branch predictor
/// cannot learn one bucket.
fn durations() -> impl FnMut() -> Duration {
    let mut state = 1_u32;
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Duration::from_nanos(u64::from(state >> 10))
    }
}

fn boundaries(name: &str) -> Option<&'static [f64]> {
    catalogue().find(|metric| metric.name == name).and_then(|metric| match metric.kind {
        MetricKind::Histogram(boundaries) => Some(boundaries),
        MetricKind::Counter | MetricKind::Gauge => None,
    })
}
