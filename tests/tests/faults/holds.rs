//! Reservations and settlements while replicas are killed and answers are lost: the sum of every
//! bucket is right to the token.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use sluice_testkit::RedisServer;
use sluice_tests::{
    fleet::{Fleet, MAX_TIMEOUT},
    http::{Client, Connection, Request, Response},
};
use tokio::task::{JoinSet, block_in_place};

use crate::{random::Random, scale};

/// Of each bucket. Nothing comes back while a test runs.
const BUDGET: u64 = 18_000;
/// How many holds are made, in CI and in each of the five rounds of the long form, and of how many
/// buckets.
const PAIRS: (u64, u64) = (1_500, 200_000);
const BUCKETS: (u64, u64) = (4, 200);
/// Callers that reserve and settle one after the other.
const CALLERS: (u64, u64) = (16, 64);
/// How long a replica lives at most.
const LIFE: Duration = Duration::from_millis(700);

/// What callers have seen.
#[derive(Default)]
struct Seen {
    /// What each bucket was charged, by the answers.
    charged: Vec<AtomicU64>,
    /// Reservations that are still to be made.
    rest: AtomicU64,
    lost: AtomicU64,
    repeated: AtomicU64,
    denied: AtomicU64,
    unsettled: AtomicU64,
}

/// A caller that sends a request until it is answered, each time to another replica.
struct Caller {
    name: u64,
    random: Random,
    replicas: Vec<SocketAddr>,
    connections: Vec<Option<Connection>>,
    seen: Arc<Seen>,
}

impl Caller {
    async fn send(&mut self, path: &str, body: &Value) -> Response {
        let bytes = Request::post(path, body).to_bytes();
        loop {
            let index = usize::try_from(self.random.below(self.replicas.len() as u64)).unwrap();
            let mut connection = match self.connections[index].take() {
                Some(connection) => connection,
                None => match Connection::open(self.replicas[index]).await {
                    Ok(connection) => connection,
                    // Killed a moment ago.
                    Err(_) => {
                        tokio::task::yield_now().await;
                        continue;
                    }
                },
            };
            let is_lost = connection.write(&bytes).await.is_err() || self.random.below(20) == 0;
            let response = if is_lost { None } else { connection.response().await.ok() };
            match response {
                // A replica that has just started does not know yet who else lives.
                Some(response) if response.status == 503 => {}
                Some(response) => {
                    self.connections[index] = Some(connection);
                    assert!(matches!(response.status, 200 | 429), "{path} {body}: {response}");
                    assert_eq!(response.json().get("decided_by"), None, "{response}");
                    if response.json()["state"] == "repeated" {
                        self.seen.repeated.fetch_add(1, Ordering::Relaxed);
                    }
                    return response;
                }
                None => drop(self.seen.lost.fetch_add(1, Ordering::Relaxed)),
            }
        }
    }

    /// Reserves and settles until enough is done.
    async fn work(mut self) {
        let one_less = |rest: u64| rest.checked_sub(1);
        for number in 0.. {
            let rest = &self.seen.rest;
            if rest.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_err() {
                return;
            }
            let bucket = self.random.below(self.seen.charged.len() as u64);
            let id = format!("{} {number}", self.name);
            let charged = self.hold(bucket, &id).await;
            let bucket = usize::try_from(bucket).unwrap();
            self.seen.charged[bucket].fetch_add(charged, Ordering::Relaxed);
        }
    }

    /// Makes one hold, and returns what it came to.
    async fn hold(&mut self, bucket: u64, id: &str) -> u64 {
        let mut held = self.random.below(20);
        let costs = json!({ "input_tokens": held });
        let body = json!({ "client": format!("client-{bucket}"), "id": id, "costs": costs });
        let reserved = self.send("/v1/reserve", &body).await;
        if reserved.status == 429 {
            self.seen.denied.fetch_add(1, Ordering::Relaxed);
            return 0;
        }
        let mut reservation = reserved.json()["reservation"].clone();
        if self.random.below(5) == 0 {
            let more = self.random.below(10);
            let costs = json!({ "output_tokens": more });
            let body = json!({ "reservation": reservation, "costs": costs });
            let extended = self.send("/v1/extend", &body).await;
            if extended.status == 200 {
                held += more;
                reservation = extended.json()["reservation"].clone();
            }
        }
        if self.random.below(20) == 0 {
            self.seen.unsettled.fetch_add(1, Ordering::Relaxed);
            return held;
        }
        let used = self.random.below(20);
        let body = json!({ "reservation": reservation, "costs": { "output_tokens": used } });
        self.send("/v1/settle", &body).await;
        used
    }
}

/// Kills replicas until all is done, and returns how many.
fn kill_replicas(fleet: &Fleet, mut random: Random, is_done: &AtomicBool) -> u64 {
    let mut killed = 0;
    while !is_done.load(Ordering::Relaxed) {
        let life = random.below(u64::try_from(LIFE.as_millis()).unwrap());
        std::thread::sleep(Duration::from_millis(life));
        let replica = usize::try_from(random.below(fleet.replicas.len() as u64)).unwrap();
        fleet.replicas[replica].sigkill();
        fleet.replicas[replica].restart();
        killed += 1;
    }
    killed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_add_up_while_replicas_are_killed_and_answers_are_lost() {
    let config = format!(
        "clients: {{ secret: \"a secret of the fleet\", identify: [header:x-api-key] }}\n\
         defaults: off\nendpoints: {{}}\n\
         limits: [{{ name: tokens, counts: total_tokens, rate: 1/day, burst: {BUDGET} }}]\n"
    );
    for seed in scale::seeds() {
        let mut random = Random::new(seed);
        let fleet = block_in_place(|| Fleet::start(3, RedisServer::start(), MAX_TIMEOUT, &config));
        let fleet = Arc::new(fleet);
        let (buckets, pairs) = (scale::either(BUCKETS), scale::either(PAIRS));
        let seen = Arc::new(Seen {
            charged: (0..buckets).map(|_| AtomicU64::new(0)).collect(),
            rest: AtomicU64::new(pairs),
            ..Seen::default()
        });
        let mut callers = JoinSet::new();
        for name in 0..scale::either(CALLERS) {
            let replicas = fleet.addresses();
            let connections = replicas.iter().map(|_| None).collect();
            let (random, seen) = (Random::new(random.below(u64::MAX)), Arc::clone(&seen));
            callers.spawn(Caller { name, random, replicas, connections, seen }.work());
        }
        let is_done = Arc::new(AtomicBool::new(false));
        let killing = {
            let (fleet, is_done) = (Arc::clone(&fleet), Arc::clone(&is_done));
            let random = Random::new(random.below(u64::MAX));
            tokio::task::spawn_blocking(move || kill_replicas(&fleet, random, &is_done))
        };
        while let Some(done) = callers.join_next().await {
            done.unwrap();
        }
        is_done.store(true, Ordering::Relaxed);
        let killed = killing.await.unwrap();

        let mut client = Client::of(fleet.addresses()[0]);
        let (mut too_few, mut too_many) = (0, 0);
        for (bucket, charged) in seen.charged.iter().enumerate() {
            let look = json!({ "client": format!("client-{bucket}"), "cost": 0 });
            let looked = client.post("/v1/check", &look).await;
            let left = looked.number("x-ratelimit-remaining");
            let expected = BUDGET.saturating_sub(charged.load(Ordering::Relaxed));
            too_few += left.saturating_sub(expected);
            too_many += expected.saturating_sub(left);
        }
        let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
        scale::report_holds(&format!(
            "| {seed} | {pairs} | {buckets} | {killed} | {} | {} | {} | {} | {too_few} | \
             {too_many} |",
            count(&seen.lost),
            count(&seen.repeated),
            count(&seen.denied),
            count(&seen.unsettled),
        ));
        assert_eq!((too_few, too_many), (0, 0), "{seed}: tokens charged too few, and too many");
        assert!(killed > 0 && count(&seen.lost) > 0 && count(&seen.repeated) > 0, "{seed}");
    }
}
