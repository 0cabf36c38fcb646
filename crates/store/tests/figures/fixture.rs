//! A keeper of figures, a way to let time pass, and short words for what the truths say.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sluice_core::{Subject, Tag, Tagger, Timestamp};
use sluice_store::{
    Deltas, DeploymentChange, EndpointDeltas, Figures, FleetFigures, Flush, GaugeKey, GaugeReport,
    Gauges, Held, ManualClock, MemoryFigures, Phase, RedisFigures, RedisSettings, Total,
};
use sluice_testkit::RedisServer;

/// A keeper of figures, and what tells its time.
pub(crate) struct Fixture {
    pub(crate) figures: Arc<dyn Figures>,
    time: Time,
}

enum Time {
    Manual(Arc<ManualClock>),
    /// The server's own: what it holds is made older instead.
    Server(Box<RedisServer>),
}

impl Fixture {
    pub(crate) fn memory() -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix_micros(1_800_000_000_000_000)));
        Self {
            figures: Arc::new(MemoryFigures::with_clock(Arc::clone(&clock))),
            time: Time::Manual(clock),
        }
    }

    pub(crate) fn redis() -> Self {
        let server = RedisServer::start();
        Self { figures: Arc::new(connect(&server)), time: Time::Server(Box::new(server)) }
    }

    /// Lets `span` pass: whole slices, so that it means the same to a clock and to what is made
    /// older.
    pub(crate) fn pass(&self, span: Duration) {
        match &self.time {
            Time::Manual(clock) => clock.advance(span),
            Time::Server(server) => make_older(server, span),
        }
    }

    pub(crate) async fn flush(&self, flush: &Flush) -> Gauges {
        self.figures.flush(flush).await.unwrap()
    }

    /// The first flush of a replica that nobody has heard of.
    pub(crate) async fn tell(&self, deltas: Deltas) -> Gauges {
        let replica = format!("replica-{:?}", Instant::now());
        self.flush(&Flush { replica: replica.into(), number: 1, held: Held::default(), deltas })
            .await
    }

    pub(crate) async fn read(&self) -> FleetFigures {
        self.figures.read().await.unwrap()
    }
}

pub(crate) fn connect(server: &RedisServer) -> RedisFigures {
    // Long enough for a busy machine: what is tested here is not how long anything takes.
    let settings =
        RedisSettings { timeout: Duration::from_secs(5), ..RedisSettings::new(server.url()) };
    RedisFigures::new(&settings).unwrap()
}

/// Makes everything that `server` holds older by `span`.
fn make_older(server: &RedisServer, span: Duration) {
    const SCRIPT: &str = r"
        local ms, slices = tonumber(ARGV[1]), tonumber(ARGV[2])
        for _, key in ipairs(redis.call('KEYS', '*{figures}*')) do
            local kind, slice, rest = string.match(key, '^[^:]+:{figures}:(%a+):(%d+)(.*)$')
            if slice then
                redis.call('RENAME', key, string.format('sluice:{figures}:%s:%d%s', kind, slice - slices, rest))
            elseif string.match(key, ':gauges$') or string.match(key, ':replicas$') then
                local before = string.match(key, ':gauges$') and '^()(%d+)( .*)$' or '^(%d+ )(%d+)( .*)$'
                local all = redis.call('HGETALL', key)
                for i = 1, #all, 2 do
                    local first, said, rest = string.match(all[i + 1], before)
                    if type(first) == 'number' then first = '' end
                    redis.call('HSET', key, all[i], string.format('%s%d%s', first, said - ms, rest))
                end
            elseif string.match(key, ':running$') or string.match(key, ':finished$') then
                local all = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
                for i = 1, #all, 2 do redis.call('ZADD', key, all[i + 1] - ms, all[i]) end
            end
        end";
    let (ms, slices) = (span.as_millis().to_string(), (span.as_secs() / 300).to_string());
    server.command(&["EVAL", SCRIPT, "0", &ms, &slices]);
}

pub(crate) fn client(name: &str) -> Tag {
    Tagger::new(b"figures").tag(Subject::Client(name.as_bytes()))
}

pub(crate) fn total(total: Total, amount: u64) -> Deltas {
    let mut deltas = Deltas::default();
    deltas.totals.add(total, amount);
    deltas
}

/// Requests to `endpoint`, one of each client.
pub(crate) fn requests<'a>(endpoint: &str, clients: impl IntoIterator<Item = &'a str>) -> Deltas {
    let clients: Vec<Tag> = clients.into_iter().map(client).collect();
    let mut deltas = Deltas::default();
    let more = EndpointDeltas { requests: clients.len() as u64, rejected: 0, clients };
    deltas.endpoints.insert(endpoint.into(), more);
    deltas
}

pub(crate) fn limited<'a>(clients: impl IntoIterator<Item = (&'a str, u64)>) -> Deltas {
    Deltas {
        limited: clients.into_iter().map(|(name, times)| (client(name), times)).collect(),
        ..Deltas::default()
    }
}

pub(crate) fn deployment(id: Option<&str>, phase: Phase, at: Instant) -> Deltas {
    Deltas {
        deployments: vec![DeploymentChange { id: id.map(Into::into), phase, at }],
        ..Deltas::default()
    }
}

pub(crate) fn gauge(
    instance: &str,
    label: &str,
    value: impl Into<Option<f64>>,
    at: Instant,
) -> Deltas {
    let mut deltas = Deltas::default();
    deltas.gauges.insert(key(instance, label), GaugeReport { value: value.into(), at });
    deltas
}

pub(crate) fn key(instance: &str, label: &str) -> GaugeKey {
    GaugeKey::new("cache_hit_rate", instance, &[label])
}
