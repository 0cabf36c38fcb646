//! The rows of the open loop.

use crate::load::Run;

/// A row of the open loop.
pub(crate) struct OpenRow(String);

impl OpenRow {
    pub(crate) fn new(name: &str, run: &Run) -> Self {
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| run.latency_us(share));
        let k_per_second = run.per_second / 1_000.0;
        Self(format!("| {name} | {k_per_second:.1} | {p50} | {p99} | {p999} |"))
    }

    pub(crate) fn print(rows: &[Self]) {
        println!(
            "\n| protocol | store | clients | outcome | k/s | p50 us | p99 us | p99.9 us |\n\
             |---|---|---|---|--:|--:|--:|--:|"
        );
        for row in rows {
            println!("{}", row.0);
        }
    }
}
