//! The resources that the process uses, read from the kernel when the metrics are read. A value
//! that cannot be read is omitted.

use opentelemetry::metrics::Meter;
use procfs::{
    ProcResult, boot_time_secs, page_size,
    process::{Process, Stat},
    ticks_per_second,
};

use crate::metric::{Metric, MetricKind};

// The names are those that every Prometheus client library uses.

const CPU: Metric = Metric {
    name: "process_cpu_seconds_total",
    kind: MetricKind::Counter,
    unit: "s",
    labels: &[],
    help: "Counts the CPU time that this process used, in user and in kernel mode.",
    query: "rate(process_cpu_seconds_total[5m])",
};

const RESIDENT_MEMORY: Metric = Metric {
    name: "process_resident_memory_bytes",
    kind: MetricKind::Gauge,
    unit: "By",
    labels: &[],
    help: "Shows the resident memory of this process.",
    query: "max by (instance) (process_resident_memory_bytes)",
};

const OPEN_FDS: Metric = Metric {
    name: "process_open_fds",
    kind: MetricKind::Gauge,
    unit: "{file}",
    labels: &[],
    help: "Shows the number of file descriptors that this process has open, sockets included.",
    query: "max by (instance) (process_open_fds)",
};

const START_TIME: Metric = Metric {
    name: "process_start_time_seconds",
    kind: MetricKind::Gauge,
    unit: "s",
    labels: &[],
    help: "Shows when this process started, in seconds since the Unix epoch.",
    query: "time() - process_start_time_seconds",
};

pub(crate) const METRICS: &[Metric] = &[CPU, RESIDENT_MEMORY, OPEN_FDS, START_TIME];

/// Makes `meter` read the process each time the metrics are read.
pub(super) fn observe(meter: &Meter) {
    CPU.observed_total(meter, |observer| {
        if let Ok(stat) = stat() {
            observer.observe(seconds(stat.utime + stat.stime), &[]);
        }
    });
    RESIDENT_MEMORY.observed(meter, |observer| {
        if let Ok(stat) = stat() {
            observer.observe(stat.rss * page_size(), &[]);
        }
    });
    OPEN_FDS.observed(meter, |observer| {
        if let Some(count) = Process::myself()
            .and_then(|process| process.fd_count())
            .ok()
            .and_then(|count| u64::try_from(count).ok())
        {
            observer.observe(count, &[]);
        }
    });
    START_TIME.observed(meter, |observer| {
        if let Ok(start_time) = start_time() {
            observer.observe(start_time, &[]);
        }
    });
}

fn stat() -> ProcResult<Stat> {
    Process::myself()?.stat()
}

fn start_time() -> ProcResult<u64> {
    Ok(boot_time_secs()? + stat()?.starttime / ticks_per_second())
}

#[expect(clippy::cast_precision_loss, reason = "ticks are far below 2^52")]
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / ticks_per_second() as f64
}
