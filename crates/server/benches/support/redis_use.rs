//! What decisions cost Redis.

use sluice_testkit::RedisServer;

/// What Redis has done since it started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RedisUse {
    /// Seconds of processor time.
    pub(crate) seconds: f64,
    /// Calls of the commands in question.
    pub(crate) calls: f64,
}

impl RedisUse {
    /// Reads what Redis has used, and how often these commands were called. Redis also counts
    /// commands that scripts call, so a list has only what clients send.
    pub(crate) fn of(redis: &RedisServer, sent: &[&str]) -> Self {
        let seconds = |field| redis.info(field).parse::<f64>().unwrap();
        let statistics = redis.command(&["INFO", "commandstats"]).text();
        let calls = statistics.lines().filter_map(|line| {
            let (command, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            let calls = rest.split(',').next()?.parse::<f64>().ok()?;
            sent.contains(&command).then_some(calls)
        });
        Self { seconds: seconds("used_cpu_user") + seconds("used_cpu_sys"), calls: calls.sum() }
    }
}
