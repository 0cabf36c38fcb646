//! Measures the resident memory of the whole catalogue and the time of a scrape, with some traffic
//! and with every label at its cap.
//!
//! `cargo bench -p sluice-telemetry --bench footprint`

use std::time::{Duration, Instant};

use sluice_telemetry::{LlmRequest, MethodLabel, OutcomeLabel, SourceLabel, Telemetry};

#[expect(clippy::print_stdout, reason = "a benchmark prints its results")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let before = resident_bytes()?;
    let telemetry = Telemetry::builder().build()?;
    let _bound = some_traffic(&telemetry);
    telemetry.prometheus().render()?;
    println!("                     resident       text     series   scrape");
    report("some traffic", before, &telemetry)?;
    let _bound = a_flood(&telemetry);
    report("at the cap", before, &telemetry)?;
    Ok(())
}

/// A service of four endpoints and ten limits.
fn some_traffic(telemetry: &Telemetry) -> impl Sized {
    let endpoints = (0..4)
        .map(|n| telemetry.recorders().http.bind(&format!("/api/v1/{n}")))
        .collect::<Vec<_>>();
    for endpoint in &endpoints {
        for status in [200, 404, 429, 500] {
            endpoint.responded(MethodLabel::Get, status, Duration::from_millis(2));
        }
        endpoint.request_size(MethodLabel::Get, 0);
        endpoint.response_size(MethodLabel::Get, 900);
    }
    let limits = (0..10)
        .map(|n| telemetry.recorders().decisions.bind(&format!("limit-{n}")))
        .collect::<Vec<_>>();
    (endpoints, limits)
}

/// More names than any label keeps.
fn a_flood(telemetry: &Telemetry) -> impl Sized {
    let recorders = telemetry.recorders();
    let endpoints =
        (0..300).map(|n| recorders.http.bind(&format!("/flood/{n}"))).collect::<Vec<_>>();
    for endpoint in &endpoints {
        for method in MethodLabel::ALL {
            for status in [200, 404, 429, 500] {
                endpoint.responded(*method, status, Duration::from_millis(2));
            }
            endpoint.request_size(*method, 0);
            endpoint.response_size(*method, 900);
        }
    }
    let limits =
        (0..600).map(|n| recorders.decisions.bind(&format!("flood-{n}"))).collect::<Vec<_>>();
    for limit in &limits {
        for outcome in OutcomeLabel::ALL {
            limit.record(*outcome, SourceLabel::Store);
        }
    }
    for n in 0..20_000 {
        let (model, operation, status) =
            (format!("m{}", n % 100), format!("o{}", n % 31), format!("s{}", n % 7));
        let duration = Some(Duration::from_millis(2));
        let (model, operation, status) = (model.as_str(), operation.as_str(), status.as_str());
        let request = LlmRequest::new(model, operation, status)
            .with_duration(duration)
            .with_tokens_generated(1)
            .with_tokens_consumed(1);
        recorders.llm.request(&request);
        let name = format!("n{n}");
        recorders.tool.execution(&name, status, duration);
        recorders.deployment.operation(&name, status, duration);
        recorders.blueprint.operation(&name, status);
        recorders.blueprint.set_resources(&name, 1);
    }
    (endpoints, limits)
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its results")]
fn report(
    what: &str,
    before: u64,
    telemetry: &Telemetry,
) -> Result<(), Box<dyn std::error::Error>> {
    let held = resident_bytes()?.saturating_sub(before) / 1024;
    let mut fastest = Duration::MAX;
    let mut text = String::new();
    for _ in 0..10 {
        let start = Instant::now();
        text = telemetry.prometheus().render()?;
        fastest = fastest.min(start.elapsed());
    }
    let lines = text.lines().filter(|line| !line.starts_with('#')).count();
    println!(
        "{what:16} {held:8} KiB {:6} KiB {lines:9} {:7.2} ms",
        text.len() / 1024,
        fastest.as_secs_f64() * 1e3
    );
    Ok(())
}

fn resident_bytes() -> Result<u64, Box<dyn std::error::Error>> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split(' ').nth(1).ok_or("statm has a resident size")?.parse()?;
    Ok(pages * 4096)
}
