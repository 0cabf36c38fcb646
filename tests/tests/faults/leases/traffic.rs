//! Clients that send batches of checks to replicas, and note every admission.
//!
//! A client does not know when a token was admitted, only that it was between the sending of its
//! request and the receipt of the response. So a window counts what was both sent and received
//! within it ([`sluice_tests::window_limit`]): all of that was certainly admitted within it. What
//! may have been admitted outside is not counted, so no window is wrongly found too full. A request
//! without a response may have been admitted too; nobody got its tokens, so they count as lost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use sluice_tests::{
    http::{Client, Request, Response},
    window_limit::{Admitted, Excess, now},
};
use tokio::task::JoinSet;

use super::fleet::{LIMITS, LeasedLimit, REPLICAS, Replicas};
use crate::random::Random;

const CLIENTS: usize = 3 * REPLICAS;
/// How many buckets are in use at the same time: one of each limit.
const WIDTH: usize = LIMITS.len();

/// When a bucket is to be emptied: checks in a batch, and the highest cost of them.
const SATURATING: (u64, u64) = (40, 40);
/// When there is less traffic than the limits allow, though more than enough for leases.
const CALM: (u64, u64) = (10, 1);
const CALM_PAUSE: Duration = Duration::from_millis(15);

/// Running clients.
#[derive(Debug)]
pub(crate) struct Traffic {
    shared: Arc<Shared>,
    clients: JoinSet<Seen>,
}

#[derive(Debug)]
struct Shared {
    replicas: Vec<std::net::SocketAddr>,
    /// The number of buckets, and the first of those that are in use.
    buckets: usize,
    first: AtomicUsize,
    is_calm: AtomicBool,
    stopped: AtomicBool,
}

/// What clients saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// By bucket.
    admitted: Vec<Vec<Admitted>>,
    pub(crate) decisions: u64,
    /// Requests without a response, as to a replica that is killed.
    pub(crate) unanswered: u64,
    /// Responses that are no decisions.
    pub(crate) errors: Vec<String>,
}

/// Returns a bucket's limit, and its client.
fn bucket(index: usize) -> (LeasedLimit, String) {
    (LIMITS[index % LIMITS.len()], format!("client-{index}"))
}

// === impl Traffic ===

impl Traffic {
    /// Starts clients that use three of `buckets` at a time, one of each limit.
    pub(crate) fn start(replicas: &Replicas, buckets: usize, random: &mut Random) -> Self {
        let shared = Arc::new(Shared {
            replicas: replicas.all.iter().map(|replica| replica.http_addr()).collect(),
            buckets,
            first: AtomicUsize::new(0),
            is_calm: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        });
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let random = Random::new(random.below(u64::MAX));
            clients.spawn(Arc::clone(&shared).run(number, random));
        }
        Self { shared, clients }
    }

    /// Goes on to the next buckets.
    pub(crate) fn turn(&self) {
        self.shared.first.fetch_add(WIDTH, Ordering::SeqCst);
    }

    /// Sets whether clients ask for less than the limits allow, or for more.
    pub(crate) fn set_calm(&self, is_calm: bool) {
        self.shared.is_calm.store(is_calm, Ordering::SeqCst);
    }

    /// Waits for the last responses. Returns what all clients saw.
    pub(crate) async fn stop(mut self) -> Seen {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let mut all = Seen::of(self.shared.buckets);
        while let Some(seen) = self.clients.join_next().await {
            all.add(seen.expect("no client panics"));
        }
        all
    }
}

// === impl Shared ===

impl Shared {
    async fn run(self: Arc<Self>, number: usize, mut random: Random) -> Seen {
        let mut clients: Vec<_> = self.replicas.iter().copied().map(Client::of).collect();
        let mut replica = number % clients.len();
        let mut seen = Seen::of(self.buckets);
        while !self.stopped.load(Ordering::SeqCst) {
            let is_calm = self.is_calm.load(Ordering::SeqCst);
            let (most, dearest) = if is_calm { CALM } else { SATURATING };
            let within = usize::try_from(random.below(WIDTH as u64)).expect("it is small");
            let index = (self.first.load(Ordering::SeqCst) + within) % self.buckets;
            let costs: Vec<_> =
                (0..=random.below(most)).map(|_| 1 + random.below(dearest)).collect();
            let request = request(index, &costs);
            let sent = now();
            let response = clients[replica].try_send(&request).await;
            let received = now();
            match response.map(|response| read(&response, &costs)) {
                Ok(Ok(tokens)) => {
                    seen.decisions += costs.len() as u64;
                    seen.admitted[index].push(Admitted { tokens, sent, received });
                }
                Ok(Err(what)) => seen.errors.push(what),
                Err(_) => {
                    seen.unanswered += 1;
                    replica = (replica + 1) % clients.len();
                    tokio::task::yield_now().await;
                }
            }
            if is_calm {
                tokio::time::sleep(CALM_PAUSE).await;
            }
        }
        seen
    }
}

fn request(index: usize, costs: &[u64]) -> Request {
    let (limit, client) = bucket(index);
    let check = |cost| json!({ "client": client, "path": limit.path, "cost": cost });
    let checks: Vec<_> = costs.iter().map(check).collect();
    Request::post("/v1/check/batch", &json!({ "checks": checks }))
}

/// Returns the tokens that a response admitted.
fn read(response: &Response, costs: &[u64]) -> Result<u64, String> {
    let body = response.json();
    let results = body["results"].as_array().map(Vec::as_slice).unwrap_or_default();
    if response.status != 200 || results.len() != costs.len() {
        return Err(response.to_string());
    }
    let tokens = results.iter().zip(costs).map(|(result, cost)| match result["status"].as_u64() {
        Some(200) => Ok(*cost),
        Some(429) => Ok(0),
        _ => Err(Value::to_string(result)),
    });
    tokens.sum()
}

// === impl Seen ===

impl Seen {
    fn of(buckets: usize) -> Self {
        Self { admitted: vec![Vec::new(); buckets], ..Self::default() }
    }

    fn add(&mut self, mut other: Self) {
        for (all, admitted) in self.admitted.iter_mut().zip(&mut other.admitted) {
            all.append(admitted);
        }
        self.decisions += other.decisions;
        self.unanswered += other.unanswered;
        self.errors.append(&mut other.errors);
    }

    /// Counts what is left in every bucket as if it were admitted now, which it could be. So a
    /// token too many is found in the bucket too.
    pub(crate) async fn count_what_is_left(&mut self, replicas: &Replicas) {
        let mut client = Client::of(replicas.all[0].http_addr());
        for (index, admitted) in self.admitted.iter_mut().enumerate() {
            let (limit, name) = bucket(index);
            let look = json!({ "client": name, "path": limit.path, "cost": 0 });
            let sent = now();
            let response = client.post("/v1/check", &look).await;
            let tokens = response.number("x-ratelimit-remaining");
            admitted.push(Admitted { tokens, sent, received: now() });
        }
    }

    /// Returns the tokens that were admitted, by limit.
    pub(crate) fn tokens(&self) -> [u64; LIMITS.len()] {
        let mut sums = [0; LIMITS.len()];
        for (index, admitted) in self.admitted.iter().enumerate() {
            sums[index % LIMITS.len()] += admitted.iter().map(|one| one.tokens).sum::<u64>();
        }
        sums
    }

    /// Returns the window that exceeds its limit most, of all buckets.
    pub(crate) fn worst_excess(&self) -> Option<(String, Excess)> {
        let excesses = self.admitted.iter().enumerate().filter_map(|(index, admitted)| {
            let (limit, client) = bucket(index);
            let excess = limit.window().worst_excess(admitted)?;
            Some((format!("{client} at {}", limit.path), excess))
        });
        excesses.max_by_key(|(_, excess)| excess.tokens())
    }
}
