//! The rows that are printed.

use crate::load::Run;

/// A row of the closed loop.
pub(crate) struct ClosedRow(String);

impl ClosedRow {
    /// Prints the head of the table, whose second column has this title.
    pub(crate) fn print_head(second: &str) {
        println!(
            "| protocol | {second} | clients | outcome | in flight | k/s | server us | of constant \
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

    /// Makes the row of a run that failed.
    #[allow(dead_code, reason = "each benchmark has the whole module, and not all go on then")]
    pub(crate) fn failed(name: &str, in_flight: usize, problem: &str) -> Self {
        let problem = problem.replace(['|', '\n'], " ");
        Self(format!("| {name} | {in_flight} | {problem} | | | | |"))
    }

    pub(crate) fn print(&self) {
        println!("{}", self.0);
    }
}
