//! Measures the cost of a decision for Redis and for the replica, as a ratio to one pipelined
//! script call per decision on the same server.
//!
//! The baseline is what most rate limiters do: a script that reads one bucket, decides and writes
//! it, called once per decision through a multiplexed connection. The CPU time of Redis is read
//! from `INFO`, so the client's speed and core do not matter.
//!
//! With the argument `alone`, measures only checks that are sent one by one.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark prints, and fails by panicking"
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use sluice_core::{Action, Algorithm, Check, Cost, Limit, Rate, Subject, Tag, Tagger};
use sluice_store::{RedisSettings, RedisStore, RoundTrip, Store};
use sluice_testkit::RedisServer;

const BUCKETS: usize = 100_000;
const DECISIONS: usize = 300_000;

/// Returns how many decisions are measured: one after the other, they take longer.
const fn decisions(in_flight: usize) -> usize {
    if in_flight == 1 { DECISIONS / 10 } else { DECISIONS }
}

/// The baseline script: the least that a script can do for a token bucket.
const BASELINE_SCRIPT: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local cost, fill = tonumber(ARGV[1]), tonumber(ARGV[2])
local empty = tonumber(redis.call('GET', KEYS[1]) or 0)
if empty < now - fill then empty = now - fill end
local after, allowed = empty + cost, 0
if after <= now then
  local expiry = string.format('%d', math.ceil((after + fill - now) / 1000))
  redis.call('SET', KEYS[1], string.format('%d', after), 'PX', expiry)
  allowed = 1
end
return { allowed, now, after }";

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    println!(
        "{:<40} {:>10} {:>12} {:>12} {:>12} {:>10} {:>8}",
        "", "in flight", "k/s", "redis us", "client us", "batch", "ratio"
    );
    if std::env::args().any(|argument| argument == "alone") {
        return runtime.block_on(checks_alone());
    }
    for (traffic, pick) in
        [("uniform", uniform as fn(usize) -> usize), ("zipf", zipf), ("one hot bucket", hot)]
    {
        for in_flight in [1, 64, 256] {
            let baseline = runtime.block_on(measure_baseline(in_flight, pick));
            print("a call per decision", traffic, in_flight, &baseline, &baseline);
            let sluice = runtime.block_on(measure_store(in_flight, pick));
            print("sluice", traffic, in_flight, &sluice, &baseline);
        }
    }
    runtime.block_on(checks_alone());
    runtime.block_on(bytes_per_bucket());
}

/// Compares the scripts for a simple check that is alone, which is what a store calls when checks
/// do not meet: with one call in flight, where the round trip itself costs the most, and with many
/// calls at once on one connection, where the script does.
async fn checks_alone() {
    println!();
    let nothing = redis::Script::new("return 1");
    let check = redis::Script::new(include_str!("../../../lua/check.lua"));
    let check_one = redis::Script::new(include_str!("../../../lua/check_one.lua"));
    let (interval, fill) = (rate().refill().micros(), rate().fill().micros);
    let numbers = |numbers: &[u64]| {
        // MessagePack: an array, and every number in 64 bits.
        let count = u32::try_from(numbers.len()).unwrap().to_be_bytes();
        let each = numbers.iter().flat_map(|n| [&[0xcf][..], &n.to_be_bytes()].concat());
        [&[0xdd][..], &count, &each.collect::<Vec<_>>()].concat()
    };
    let limits = numbers(&[1, interval, fill.unsigned_abs(), 0]);
    let plan = [&[0x94][..], &limits, &numbers(&[1, 1, interval]), &[5, 0]].concat();
    let of_one = [interval.to_string(), fill.to_string(), interval.to_string()];
    let of_one: Vec<Vec<u8>> = of_one.map(String::into_bytes).into();
    for (in_flight, traffic) in [(1, "one in flight"), (64, "pipelined")] {
        let empty = measure_script(&nothing, &[], in_flight).await;
        print("no script", traffic, in_flight, &empty, &empty);
        let batch = measure_script(&check, std::slice::from_ref(&plan), in_flight).await;
        print("check.lua", traffic, in_flight, &batch, &batch);
        let one = measure_script(&check_one, &of_one, in_flight).await;
        print("check_one.lua", traffic, in_flight, &one, &batch);
    }
}

/// Measures calls of `script` on one bucket each.
async fn measure_script(
    script: &redis::Script,
    arguments: &[Vec<u8>],
    in_flight: usize,
) -> DecisionCost {
    let server = RedisServer::start();
    let client = redis::Client::open(server.url()).unwrap();
    let connection = client.get_multiplexed_async_connection().await.unwrap();
    let (script, arguments) = (Arc::new(script.clone()), Arc::new(arguments.to_vec()));
    measure(&server, in_flight, move |step| {
        let (mut connection, script) = (connection.clone(), Arc::clone(&script));
        let arguments = Arc::clone(&arguments);
        async move {
            let mut call = script.key(format!("sluice:{{mm}}{:011}default", uniform(step)));
            for argument in &*arguments {
                call.arg(argument.as_slice());
            }
            let _: redis::Value = call.invoke_async(&mut connection).await.unwrap();
        }
    })
    .await
}

/// The cost of a decision.
struct DecisionCost {
    per_second: f64,
    redis_us: f64,
    client_us: f64,
    batch: f64,
}

fn print(
    subject: &str,
    traffic: &str,
    in_flight: usize,
    cost: &DecisionCost,
    baseline: &DecisionCost,
) {
    println!(
        "{:<40} {in_flight:>10} {:>12.0} {:>12.2} {:>12.2} {:>10.1} {:>8.2}",
        format!("{subject}, {traffic}").chars().take(40).collect::<String>(),
        cost.per_second / 1_000.0,
        cost.redis_us,
        cost.client_us,
        cost.batch,
        cost.redis_us / baseline.redis_us
    );
}

fn uniform(step: usize) -> usize {
    scramble(step) % BUCKETS
}

/// Picks rank r about as often as 1/r.
fn zipf(step: usize) -> usize {
    let uniform = (scramble(step) % 1_000_000) as f64 / 1_000_000.0;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    // A rank between 0 and BUCKETS.
    let rank = (BUCKETS as f64).powf(uniform) as usize;
    rank.min(BUCKETS - 1)
}

const fn hot(_: usize) -> usize {
    0
}

/// Spreads consecutive numbers evenly: the finaliser of `splitmix64`.
const fn scramble(step: usize) -> usize {
    let mut x = (step as u64).wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    #[allow(clippy::cast_possible_truncation)]
    // On machines with less than 64 bits, the lower half serves as well.
    let scrambled = (x ^ (x >> 31)) as usize;
    scrambled
}

fn rate() -> Rate {
    Rate::new("60/minute".parse().unwrap(), 10).unwrap()
}

fn tags() -> Vec<Tag> {
    let tagger = Tagger::new(b"");
    (0..BUCKETS).map(|number| tagger.tag(Subject::Client(&number.to_le_bytes()))).collect()
}

async fn measure_store(in_flight: usize, pick: fn(usize) -> usize) -> DecisionCost {
    let server = RedisServer::start();
    let round_trips = Arc::new(AtomicUsize::new(0));
    let observe = {
        let round_trips = Arc::clone(&round_trips);
        move |_: &RoundTrip<'_>| {
            round_trips.fetch_add(1, Ordering::Relaxed);
        }
    };
    let settings = RedisSettings::new(server.url()).timeout(Duration::from_secs(5));
    let store = Arc::new(RedisStore::new(&settings, observe).unwrap());
    let limit = Arc::new(Limit::new("default", Algorithm::TokenBucket(rate())).unwrap());
    let tags = Arc::new(tags());
    let mut cost = measure(&server, in_flight, move |step| {
        let check = Check::new(Action::Take).with(&limit, tags[pick(step)], Cost::ONE);
        let store = Arc::clone(&store);
        async move {
            store.decide(&check).await.unwrap();
        }
    })
    .await;
    cost.batch = decisions(in_flight) as f64 / round_trips.load(Ordering::Relaxed) as f64;
    cost
}

async fn measure_baseline(in_flight: usize, pick: fn(usize) -> usize) -> DecisionCost {
    let server = RedisServer::start();
    let client = redis::Client::open(server.url()).unwrap();
    let connection = client.get_multiplexed_async_connection().await.unwrap();
    let script = Arc::new(redis::Script::new(BASELINE_SCRIPT));
    let keys: Arc<Vec<String>> =
        Arc::new(tags().iter().map(|tag| format!("sluice:{{{tag}}}:default")).collect());
    let (cost, fill) = (rate().span_of(1).micros, rate().fill().micros);
    measure(&server, in_flight, move |step| {
        let (mut connection, script, keys) =
            (connection.clone(), Arc::clone(&script), Arc::clone(&keys));
        async move {
            let mut call = script.prepare_invoke();
            let _: (i64, i64, i64) = call
                .key(&keys[pick(step)])
                .arg(cost)
                .arg(fill)
                .invoke_async(&mut connection)
                .await
                .unwrap();
        }
    })
    .await
}

/// Runs decisions, `in_flight` of them at any time.
async fn measure<F: Future<Output = ()> + Send>(
    server: &RedisServer,
    in_flight: usize,
    decide: impl Fn(usize) -> F + Send + Sync + 'static,
) -> DecisionCost {
    decide(0).await;
    let decide = Arc::new(decide);
    let next = Arc::new(AtomicUsize::new(0));
    let count = decisions(in_flight);
    let (redis_before, client_before, started) =
        (redis_seconds(server), client_seconds(), Instant::now());
    let tasks: Vec<_> = (0..in_flight)
        .map(|_| {
            let (decide, next) = (Arc::clone(&decide), Arc::clone(&next));
            tokio::spawn(async move {
                loop {
                    let step = next.fetch_add(1, Ordering::Relaxed);
                    if step >= count {
                        break;
                    }
                    decide(step).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let elapsed = started.elapsed();
    let each = |seconds: f64| seconds * 1e6 / decisions(in_flight) as f64;
    DecisionCost {
        per_second: decisions(in_flight) as f64 / elapsed.as_secs_f64(),
        redis_us: each(redis_seconds(server) - redis_before),
        client_us: each(client_seconds() - client_before),
        batch: 1.0,
    }
}

/// Returns the CPU seconds that the server has used.
fn redis_seconds(server: &RedisServer) -> f64 {
    ["used_cpu_user", "used_cpu_sys"]
        .iter()
        .map(|field| server.info(field).parse::<f64>().unwrap())
        .sum()
}

/// Returns the CPU seconds that this process has used; Linux counts hundredths.
fn client_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |field: usize| {
        fields.get(field).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(f64::NAN)
    };
    (ticks(11) + ticks(12)) / 100.0
}

/// Prints the bytes per bucket in Redis, including its expiry, for a million buckets.
async fn bytes_per_bucket() {
    const MILLION: usize = 1_000_000;
    println!();
    for rate in ["60/minute", "1/day", "90/minute"] {
        let server = RedisServer::start();
        let settings = RedisSettings::new(server.url()).timeout(Duration::from_secs(5));
        let store = RedisStore::new(&settings, ()).unwrap();
        // A large burst, so that no bucket is full and deleted before all of them are written.
        let rate_value: sluice_core::RefillRate = rate.parse().unwrap();
        let limit = Arc::new(
            Limit::new(
                "/api/v1/conversation/chat-stream",
                Algorithm::TokenBucket(Rate::new(rate_value, 1_000).unwrap()),
            )
            .unwrap(),
        );
        let tagger = Tagger::new(b"");
        let used = || server.info("used_memory").parse::<f64>().unwrap();
        let take = |number: usize| {
            Check::new(Action::Take).with(
                &limit,
                tagger.tag(Subject::Client(&number.to_le_bytes())),
                Cost::new(900).unwrap(),
            )
        };
        store.decide(&take(MILLION)).await.unwrap();
        let before = used();
        for first in (0..MILLION).step_by(1_000) {
            let checks: Vec<_> = (first..first + 1_000).map(take).collect();
            store
                .decide_all(&checks)
                .await
                .into_iter()
                .for_each(|decision| assert!(decision.unwrap().is_allowed()));
        }
        println!(
            "{:.1} bytes per bucket in Redis over a million, at {rate}",
            (used() - before) / MILLION as f64
        );
    }
}
