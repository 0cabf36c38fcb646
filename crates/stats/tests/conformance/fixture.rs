//! A stats store, a way to let time pass, and short constructors for what the properties use.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sluice_core::{Subject, Tag, Tagger, Timestamp};
use sluice_stats::{
    Charged, Deltas, DeploymentChange, DeploymentPhase, EndpointDeltas, FleetStats, Flush,
    GaugeKey, GaugeReport, Gauges, MemoryStats, OpenConnections, RedisStats, RunningChange,
    StatsStore, Total,
    history::{History, HistoryPeriod, Series},
};
use sluice_store::{ManualClock, RedisSettings};
use sluice_testkit::RedisServer;

/// A stats store and its source of time.
pub(crate) struct Fixture {
    pub(crate) store: Arc<dyn StatsStore>,
    time: Time,
}

enum Time {
    Manual(Arc<ManualClock>),
    /// The server's own clock. What the server stores is made older instead.
    Server(Box<RedisServer>),
}

impl Fixture {
    pub(crate) fn memory() -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix_micros(1_800_001_800_000_000)));
        Self {
            store: Arc::new(MemoryStats::with_clock(Arc::clone(&clock))),
            time: Time::Manual(clock),
        }
    }

    pub(crate) fn redis() -> Self {
        let server = RedisServer::start();
        Self { store: Arc::new(connect(&server)), time: Time::Server(Box::new(server)) }
    }

    /// Lets `span` pass, which must be whole slices: stored state cannot be made older by less.
    pub(crate) fn pass(&self, span: Duration) {
        match &self.time {
            Time::Manual(clock) => clock.advance(span),
            Time::Server(server) => make_older(server, span),
        }
    }

    pub(crate) async fn flush(&self, flush: &Flush) -> Gauges {
        self.store.flush(flush).await.unwrap()
    }

    /// Adds `deltas` as the first flush of a new replica.
    pub(crate) async fn add(&self, deltas: Deltas) -> Gauges {
        let replica = format!("replica-{:?}", Instant::now());
        self.flush(&Flush::new(replica.into(), 1, OpenConnections::default(), deltas)).await
    }

    /// The hourly sums, as a process reads them that has just started. A process that has read them
    /// before keeps past days, and would not notice that a server's state was made older.
    pub(crate) async fn read_history(&self) -> History {
        match &self.time {
            Time::Manual(_) => self.store.read_history().await.unwrap(),
            Time::Server(server) => connect(server).read_history().await.unwrap(),
        }
    }

    pub(crate) async fn charge(&self) -> Charged {
        self.store.charge_deployments().await.unwrap()
    }

    pub(crate) async fn read(&self) -> FleetStats {
        self.store.read().await.unwrap()
    }
}

pub(crate) fn connect(server: &RedisServer) -> RedisStats {
    // Long enough for a busy machine: these tests are not about time.
    let settings = RedisSettings::new(server.url()).timeout(Duration::from_secs(5));
    RedisStats::new(&settings).unwrap()
}

/// Makes everything that `server` stores older by `span`, and hourly sums by its whole hours.
fn make_older(server: &RedisServer, span: Duration) {
    const SCRIPT: &str = r"
        local ms, slices, hours = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
        local sums = {}
        local function make_fields_older(key, pattern)
            local all = redis.call('HGETALL', key)
            for i = 1, #all, 2 do
                local first, time, rest = string.match(all[i + 1], pattern)
                redis.call('HSET', key, all[i], string.format('%s%d%s', first, time - ms, rest))
            end
        end
        for _, key in ipairs(redis.call('KEYS', '*:stats:*')) do
            local kind, slice, rest = string.match(key, '^[^:]+:{mm}:stats:(%a+):(%d+)(.*)$')
            if kind == 'day' then
                local all = redis.call('HGETALL', key)
                for i = 1, #all, 2 do
                    local hour, series = string.match(all[i], '^(%d+)( .*)$')
                    sums[#sums + 1] = { hour - hours, series, all[i + 1] }
                end
                redis.call('DEL', key)
            elseif slice then
                local older = string.format('sluice:{mm}:stats:%s:%d%s', kind, slice - slices, rest)
                redis.call('RENAME', key, older)
            elseif string.match(key, ':gauges$') then
                make_fields_older(key, '^(%-?)(%d+)( .*)$')
            elseif string.match(key, ':replicas$') then
                make_fields_older(key, '^(%d+ )(%d+)( .*)$')
            elseif string.match(key, ':priced$') then
                local all = redis.call('HGETALL', key)
                for i = 1, #all, 2 do
                    local stop, since, charged, rest =
                        string.match(all[i + 1], '^(%S+) (%d+) (%d+)( .*)$')
                    if stop ~= '-' then stop = string.format('%d', stop - ms) end
                    local state = string.format('%s %d %d%s', stop, since - ms, charged - ms, rest)
                    redis.call('HSET', key, all[i], state)
                end
            elseif string.match(key, ':running$') or string.match(key, ':finished$')
                or string.match(key, ':deleted$') then
                local all = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
                for i = 1, #all, 2 do redis.call('ZADD', key, all[i + 1] - ms, all[i]) end
            end
        end
        for _, sum in ipairs(sums) do
            local key = string.format('sluice:{mm}:stats:day:%d', math.floor(sum[1] / 24))
            redis.call('HSET', key, string.format('%d%s', sum[1], sum[2]), sum[3])
        end";
    let [slices, hours] = [300, 3_600].map(|length| (span.as_secs() / length).to_string());
    let ms = span.as_millis().to_string();
    server.command(&["EVAL", SCRIPT, "0", &ms, &slices, &hours]);
}

pub(crate) fn client(name: &str) -> Tag {
    Tagger::new(b"stats").tag(Subject::Client(name.as_bytes()))
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
    let endpoint: &mut EndpointDeltas = deltas.endpoints.entry(endpoint.into()).or_default();
    endpoint.requests = clients.len() as u64;
    endpoint.clients = clients;
    deltas
}

pub(crate) fn limited<'a>(clients: impl IntoIterator<Item = (&'a str, u64)>) -> Deltas {
    let mut deltas = Deltas::default();
    deltas.limited = clients.into_iter().map(|(name, denials)| (client(name), denials)).collect();
    deltas
}

pub(crate) fn deployment(id: Option<&str>, phase: DeploymentPhase, at: Instant) -> Deltas {
    let mut deltas = Deltas::default();
    deltas.deployments = vec![DeploymentChange::new(id, phase, at)];
    deltas
}

pub(crate) fn gauge(
    instance: &str,
    label: &str,
    value: impl Into<Option<f64>>,
    at: Instant,
) -> Deltas {
    let mut deltas = Deltas::default();
    deltas.gauges.insert(key(instance, label), GaugeReport::new(value.into(), at));
    deltas
}

/// A deployment that costs by the hour, which was created or deleted.
pub(crate) fn running(changes: impl IntoIterator<Item = RunningChange>) -> Deltas {
    let mut deltas = Deltas::default();
    deltas.running = changes.into_iter().collect();
    deltas
}

/// An amount for a series that was counted at `at`.
pub(crate) fn amount(series: &Series, amount: u64, at: Instant) -> Deltas {
    let mut deltas = Deltas::default();
    deltas.history = vec![HistoryPeriod::new(at, [(series.clone(), amount)].into())];
    deltas
}

pub(crate) fn key(instance: &str, label: &str) -> GaugeKey {
    GaugeKey::new("cache_hit_rate", instance, &[label])
}
