//! What is recorded is what a Prometheus reads: names, kinds, labels and counts, to the letter and
//! to the unit.

mod bounds;
mod exposition;
mod promtool;
mod reading;
mod recording;

use sluice_telemetry::Telemetry;

use self::exposition::Exposition;

/// A set-up of the test's own.
fn telemetry() -> Telemetry {
    Telemetry::builder().build().expect("the parts are sound")
}

fn scrape(telemetry: &Telemetry) -> Exposition {
    Exposition::parse(&telemetry.prometheus().render().expect("it renders"))
}
