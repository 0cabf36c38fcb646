//! The rows that are printed.

use crate::load::Run;

/// A row of the closed loop.
pub(crate) struct ClosedRow(String);

/// A row of the open loop.
pub(crate) struct OpenRow(String);

impl ClosedRow {
    pub(crate) fn print_head() {
        println!(
            "| protocol | store | clients | outcome | in flight | k/s | server us | of constant \
             | Redis us | Redis calls |\n|---|---|---|---|--:|--:|--:|--:|--:|--:|"
        );
    }

    /// Makes the row of a run; `constant_us` is what the constant server took.
    pub(crate) fn new(name: &str, in_flight: usize, run: &Run, constant_us: f64) -> Self {
        let (of_redis, calls) = run.redis.map_or_else(Default::default, |(us, calls)| {
            (format!("{us:.2}"), format!("{calls:.4}"))
        });
        Self(format!(
            "| {name} | {in_flight} | {:.1} | {:.2} | {:.0} % | {of_redis} | {calls} |",
            run.per_second / 1_000.0,
            run.server_us,
            100.0 * constant_us / run.server_us,
        ))
    }

    pub(crate) fn print(&self) {
        println!("{}", self.0);
    }
}

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
