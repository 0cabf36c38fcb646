//! Hundreds of clients that send checks through every HTTP front end and record the responses.
//!
//! Each client has one connection to one replica, sends the next request when it has the response
//! to the last one, and uses another replica when its own is not [available](Load::set_available),
//! as behind a load balancer that uses the readiness probe.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    http::{Client, Request, Response},
    window_limit::{Admitted, Instant, now},
};

/// The highest cost of a check.
pub const MAX_COST: u64 = 5;
const BATCH: usize = 10;

/// A client's key and a path, which together have one bucket.
#[derive(Clone, Debug)]
pub struct BucketKey {
    /// The client's key.
    pub client: String,
    /// The path.
    pub path: &'static str,
}

/// One check and its result.
#[derive(Clone, Copy, Debug)]
pub struct CheckResult {
    /// The index of its bucket.
    pub bucket: usize,
    /// Its cost.
    pub cost: u64,
    /// Whether it was allowed.
    pub allowed: bool,
    /// When the request was sent.
    pub sent: Instant,
    /// When the response was received.
    pub received: Instant,
}

/// A request without a valid response.
#[derive(Clone, Debug)]
pub struct FailedRequest {
    /// The index of the replica.
    pub replica: usize,
    /// What happened instead.
    pub what: String,
    /// The buckets and the costs of its checks.
    pub checks: Vec<(usize, u64)>,
}

/// The results of all clients.
#[derive(Debug, Default)]
pub struct LoadRecord {
    /// The checks with a result.
    pub checks: Vec<CheckResult>,
    /// The requests without one.
    pub failed: Vec<FailedRequest>,
}

/// Running clients.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<LoadRecord>,
}

#[derive(Debug)]
struct Shared {
    replicas: Vec<Replica>,
    buckets: Vec<BucketKey>,
    stopped: AtomicBool,
}

#[derive(Debug)]
struct Replica {
    address: SocketAddr,
    available: AtomicBool,
}

struct LoadClient {
    shared: Arc<Shared>,
    /// The replica that it uses while that is available.
    home: usize,
    front_end: FrontEnd,
    clients: Vec<Client>,
    random: Random,
    record: LoadRecord,
}

#[derive(Clone, Copy)]
enum FrontEnd {
    Check,
    AnyPath,
    Batch,
}

// === impl Load ===

impl Load {
    /// Starts `clients` clients of these replicas. Half of all checks use the first of the buckets,
    /// the other half are spread evenly over the rest.
    ///
    /// # Panics
    /// When there are fewer than two buckets, or no replica.
    #[must_use]
    pub fn start(clients: usize, replicas: &[SocketAddr], buckets: Vec<BucketKey>) -> Self {
        assert!(
            buckets.len() > 1 && !replicas.is_empty(),
            "the load needs a replica and two buckets"
        );
        let replicas = replicas
            .iter()
            .map(|&address| Replica { address, available: AtomicBool::new(true) })
            .collect();
        let shared = Arc::new(Shared { replicas, buckets, stopped: AtomicBool::new(false) });
        let mut load = JoinSet::new();
        for number in 0..clients {
            load.spawn(LoadClient::new(number, Arc::clone(&shared)).run());
        }
        Self { shared, clients: load }
    }

    /// Sets whether clients use this replica; they do by default.
    pub fn set_available(&self, replica: usize, available: bool) {
        self.shared.replicas[replica].available.store(available, Ordering::SeqCst);
    }

    /// Waits for the last response to each client, and returns the results of all.
    ///
    /// # Panics
    /// When a client panicked.
    pub async fn stop(mut self) -> LoadRecord {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let mut all = LoadRecord::default();
        while let Some(record) = self.clients.join_next().await {
            let mut record = record.expect("no client panics");
            all.checks.append(&mut record.checks);
            all.failed.append(&mut record.failed);
        }
        all
    }
}

// === impl LoadRecord ===

impl LoadRecord {
    /// Returns what was admitted from one bucket.
    #[must_use]
    pub fn admitted(&self, bucket: usize) -> Vec<Admitted> {
        let admitted =
            self.checks.iter().filter(|checks| checks.bucket == bucket && checks.allowed);
        admitted
            .map(|checks| Admitted {
                tokens: checks.cost,
                sent: checks.sent,
                received: checks.received,
            })
            .collect()
    }

    /// Returns the time, in microseconds, in which one bucket was certainly in use: from the first
    /// response to the last request that was denied. At the end of it the bucket had fewer tokens
    /// than [`MAX_COST`].
    ///
    /// # Panics
    /// When no request was denied, since the bucket's tokens are then unknown.
    #[must_use]
    #[track_caller]
    pub fn time_in_use_us(&self, bucket: usize) -> i128 {
        let checks = || self.checks.iter().filter(move |checks| checks.bucket == bucket);
        let first = checks().map(|checks| checks.received).min();
        let last_denied = checks().filter(|checks| !checks.allowed).map(|checks| checks.sent).max();
        match (first, last_denied) {
            (Some(first), Some(last)) => last - first,
            _ => panic!(
                "nothing was denied: the crowd was too small for this bucket ({} answers in all)",
                self.checks.len()
            ),
        }
    }
}

// === impl LoadClient ===

impl LoadClient {
    fn new(number: usize, shared: Arc<Shared>) -> Self {
        let clients = shared.replicas.iter().map(|replica| Client::of(replica.address)).collect();
        let replicas = shared.replicas.len();
        let front_end = [FrontEnd::Check, FrontEnd::AnyPath, FrontEnd::Check, FrontEnd::Batch]
            [number / replicas % 4];
        Self {
            shared,
            home: number % replicas,
            front_end,
            clients,
            random: Random(number as u64 + 1),
            record: LoadRecord::default(),
        }
    }

    async fn run(mut self) -> LoadRecord {
        while !self.shared.stopped.load(Ordering::SeqCst) {
            match self.available_replica() {
                Some(replica) => self.send_one(replica).await,
                None => tokio::task::yield_now().await,
            }
        }
        self.record
    }

    fn available_replica(&self) -> Option<usize> {
        let replicas = &self.shared.replicas;
        (self.home..self.home + replicas.len())
            .map(|number| number % replicas.len())
            .find(|&number| replicas[number].available.load(Ordering::SeqCst))
    }

    async fn send_one(&mut self, replica: usize) {
        let checks: Vec<(usize, u64)> =
            (0..if matches!(self.front_end, FrontEnd::Batch) { BATCH } else { 1 })
                .map(|_| self.choose())
                .collect();
        let request = self.request(&checks);
        let sent = now();
        let response = self.clients[replica].try_send(&request).await;
        let received = now();
        match response.map_err(|error| error.to_string()).and_then(|response| self.read(&response))
        {
            Ok(responses) if responses.len() == checks.len() => {
                let checks = checks.into_iter().zip(responses);
                self.record.checks.extend(checks.map(|((bucket, cost), allowed)| CheckResult {
                    bucket,
                    cost,
                    allowed,
                    sent,
                    received,
                }));
            }
            Ok(responses) => {
                let what = format!("{} answers to {} checks", responses.len(), checks.len());
                self.record.failed.push(FailedRequest { replica, what, checks });
            }
            Err(what) => self.record.failed.push(FailedRequest { replica, what, checks }),
        }
    }

    /// Chooses a bucket and a cost.
    fn choose(&mut self) -> (usize, u64) {
        let others = self.shared.buckets.len() as u64 - 1;
        let bucket = if self.random.below(2) == 0 { 0 } else { 1 + self.random.below(others) };
        let cost = if matches!(self.front_end, FrontEnd::AnyPath) {
            1
        } else {
            1 + self.random.below(MAX_COST)
        };
        (usize::try_from(bucket).expect("it is an index"), cost)
    }

    fn request(&self, checks: &[(usize, u64)]) -> Request {
        let body = |&(bucket, cost): &(usize, u64)| {
            let BucketKey { client, path } = &self.shared.buckets[bucket];
            json!({ "client": client, "path": path, "cost": cost })
        };
        match self.front_end {
            FrontEnd::Check => Request::post("/v1/check", &body(&checks[0])),
            FrontEnd::Batch => Request::post(
                "/v1/check/batch",
                &json!({ "checks": checks.iter().map(body).collect::<Vec<_>>() }),
            ),
            FrontEnd::AnyPath => {
                let BucketKey { client, path } = &self.shared.buckets[checks[0].0];
                Request::get(path).header("x-api-key", client)
            }
        }
    }

    /// Reads whether each check was allowed.
    fn read(&self, response: &Response) -> Result<Vec<bool>, String> {
        let allowed = |status: Option<u64>| match status {
            Some(200) => Ok(true),
            Some(429) => Ok(false),
            _ => Err(response.to_string()),
        };
        match self.front_end {
            FrontEnd::Check | FrontEnd::AnyPath => Ok(vec![allowed(Some(response.status.into()))?]),
            FrontEnd::Batch if response.status != 200 => Err(response.to_string()),
            FrontEnd::Batch => {
                let body = response.json();
                let results = body["results"].as_array().ok_or_else(|| response.to_string())?;
                results.iter().map(|result: &Value| allowed(result["status"].as_u64())).collect()
            }
        }
    }
}

/// A generator of pseudo-random numbers (xorshift64*), the same in every run.
struct Random(u64);

impl Random {
    /// Returns a number below `limit`.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The lower bits are not random enough after small seeds.
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
    }
}
