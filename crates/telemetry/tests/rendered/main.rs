//! What is recorded is what Prometheus reads: names, kinds, labels and values.

mod bounds;
mod custom;
mod every_metric;
mod exposition;
mod promtool;
mod recorders;

use sluice_telemetry::Telemetry;

use self::exposition::Exposition;

fn telemetry() -> Telemetry {
    Telemetry::builder().build().expect("the set-up is valid")
}

fn scrape(telemetry: &Telemetry) -> Exposition {
    Exposition::parse(&telemetry.prometheus().render().expect("the metrics render"))
}
