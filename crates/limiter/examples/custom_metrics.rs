//! Metrics of a program's own beside those of the limiter: `cargo run -p sluice --example
//! custom_metrics`.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{error::Error, time::Instant};

use sluice::{
    Limiter, Policy, Telemetry,
    telemetry::{CustomKind, CustomMetric},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let telemetry = Telemetry::builder().build()?;
    let recorders = telemetry.recorders();
    let refused = recorders.custom.declare(&[
        CustomMetric::new("exports_total", CustomKind::Counter, &["format", "result"])?
            .with_help("Counts exports, by format and result."),
        CustomMetric::new("export_seconds", CustomKind::Histogram(vec![]), &["format"])?
            .with_help("Shows how long exports take, by format.")
            .with_unit("s"),
        CustomMetric::new("export_queue_depth", CustomKind::Gauge, &[])?
            .with_help("Shows the number of exports that wait."),
    ]);
    assert!(refused.is_empty(), "every name is declared once: {refused:?}");

    let policy = Policy::per_client("60/minute, burst 3".parse()?);
    let limiter = Limiter::builder(policy).recorders(recorders).build();
    for waiting in (0..5).rev() {
        let started = Instant::now();
        let result =
            if limiter.check_key("alice").await?.is_allowed() { "success" } else { "denied" };
        // ... the export itself ...
        let custom = &recorders.custom;
        custom.count("exports_total", &[("format", "csv"), ("result", result)], 1.0)?;
        custom.observe("export_seconds", &[("format", "csv")], started.elapsed().as_secs_f64())?;
        custom.set("export_queue_depth", &[], f64::from(waiting))?;
    }

    // What a route `/metrics` responds with.
    let page = telemetry.prometheus().render()?;
    let shown = ["export", "sluice_decisions_total"];
    for line in page.lines().filter(|line| shown.iter().any(|name| line.starts_with(name))) {
        println!("{line}");
    }
    Ok(())
}
