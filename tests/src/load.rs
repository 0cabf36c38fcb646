//! Hundreds of clients who ask all the time, through every HTTP door, and write down what they were
//! told.
//!
//! Every member has one connection to one replica, sends the next request when it has the answer to
//! the last, and turns to another replica when its own is not [available](Crowd::set_available), as
//! behind a balancer that looks at readiness.

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

/// The most tokens that one check asks for.
pub const MAX_COST: u64 = 5;
const BATCH: usize = 10;

/// What a member asks about: a client and a path, which have one bucket.
#[derive(Clone, Debug)]
pub struct BucketKey {
    /// The client's key.
    pub client: String,
    /// The path.
    pub path: &'static str,
}

/// One check, and its answer.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Which of the subjects it was about.
    pub subject: usize,
    /// The tokens asked for.
    pub cost: u64,
    /// The answer.
    pub allowed: bool,
    /// When the request was sent.
    pub sent: Instant,
    /// When the answer was there.
    pub received: Instant,
}

/// A request without the answer that it should have had.
#[derive(Clone, Debug)]
pub struct Failed {
    /// Which of the replicas was asked.
    pub replica: usize,
    /// What came in place of the answer.
    pub what: String,
    /// The subjects that it was about, and the tokens asked for.
    pub checks: Vec<(usize, u64)>,
}

/// All that the crowd was told.
#[derive(Debug, Default)]
pub struct LoadRecord {
    /// The checks that were answered.
    pub asked: Vec<Asked>,
    /// The requests that were not.
    pub failed: Vec<Failed>,
}

/// Clients at work.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    members: JoinSet<LoadRecord>,
}

#[derive(Debug)]
struct Shared {
    replicas: Vec<Replica>,
    subjects: Vec<BucketKey>,
    stopped: AtomicBool,
}

#[derive(Debug)]
struct Replica {
    address: SocketAddr,
    available: AtomicBool,
}

struct Member {
    shared: Arc<Shared>,
    /// Which replica it turns to first.
    home: usize,
    address: FrontEnd,
    clients: Vec<Client>,
    dice: Dice,
    record: LoadRecord,
}

#[derive(Clone, Copy)]
enum FrontEnd {
    Check,
    AnyPath,
    Batch,
}

// === impl Crowd ===

impl Load {
    /// Sends `members` clients to these replicas. Half of all checks are about the first of the
    /// subjects, the rest about all others alike.
    ///
    /// # Panics
    /// When there are fewer than two subjects, or no replica.
    #[must_use]
    pub fn start(members: usize, replicas: &[SocketAddr], subjects: Vec<BucketKey>) -> Self {
        assert!(
            subjects.len() > 1 && !replicas.is_empty(),
            "a crowd asks somebody about several subjects"
        );
        let replicas = replicas
            .iter()
            .map(|&address| Replica { address, available: AtomicBool::new(true) })
            .collect();
        let shared = Arc::new(Shared { replicas, subjects, stopped: AtomicBool::new(false) });
        let mut load = JoinSet::new();
        for number in 0..members {
            load.spawn(Member::new(number, Arc::clone(&shared)).run());
        }
        Self { shared, members: load }
    }

    /// Says whether members should ask this replica; they do unless said otherwise.
    pub fn set_available(&self, replica: usize, available: bool) {
        self.shared.replicas[replica].available.store(available, Ordering::SeqCst);
    }

    /// Lets every member wait for its last answer, and tells what all of them heard.
    ///
    /// # Panics
    /// When a member did.
    pub async fn stop(mut self) -> LoadRecord {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let mut all = LoadRecord::default();
        while let Some(record) = self.members.join_next().await {
            let mut record = record.expect("no member panics");
            all.asked.append(&mut record.asked);
            all.failed.append(&mut record.failed);
        }
        all
    }
}

// === impl Story ===

impl LoadRecord {
    /// What was admitted of one subject's bucket.
    #[must_use]
    pub fn admitted(&self, subject: usize) -> Vec<Admitted> {
        let admitted = self.asked.iter().filter(|asked| asked.subject == subject && asked.allowed);
        admitted
            .map(|asked| Admitted {
                tokens: asked.cost,
                sent: asked.sent,
                received: asked.received,
            })
            .collect()
    }

    /// The time in which one subject's bucket was certainly in use: from the first answer to the
    /// last request that was denied. At its end the bucket held less than [`MAX_COST`].
    ///
    /// # Panics
    /// When nothing was denied, so that nobody can tell how much the bucket held.
    #[must_use]
    #[track_caller]
    pub fn time_in_use_us(&self, subject: usize) -> i128 {
        let asked = || self.asked.iter().filter(move |asked| asked.subject == subject);
        let first = asked().map(|asked| asked.received).min();
        let last_denied = asked().filter(|asked| !asked.allowed).map(|asked| asked.sent).max();
        match (first, last_denied) {
            (Some(first), Some(last)) => last - first,
            _ => panic!(
                "nothing was denied: the crowd was too small for this bucket ({} answers in all)",
                self.asked.len()
            ),
        }
    }
}

// === impl Member ===

impl Member {
    fn new(number: usize, shared: Arc<Shared>) -> Self {
        let clients = shared.replicas.iter().map(|replica| Client::of(replica.address)).collect();
        let replicas = shared.replicas.len();
        let address = [FrontEnd::Check, FrontEnd::AnyPath, FrontEnd::Check, FrontEnd::Batch]
            [number / replicas % 4];
        Self {
            shared,
            home: number % replicas,
            address,
            clients,
            dice: Dice(number as u64 + 1),
            record: LoadRecord::default(),
        }
    }

    async fn run(mut self) -> LoadRecord {
        while !self.shared.stopped.load(Ordering::SeqCst) {
            match self.available_replica() {
                Some(replica) => self.send(replica).await,
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

    async fn send(&mut self, replica: usize) {
        let checks: Vec<(usize, u64)> =
            (0..if matches!(self.address, FrontEnd::Batch) { BATCH } else { 1 })
                .map(|_| self.choose())
                .collect();
        let request = self.request(&checks);
        let sent = now();
        let response = self.clients[replica].try_send(&request).await;
        let received = now();
        match response.map_err(|error| error.to_string()).and_then(|response| self.read(&response))
        {
            Ok(responses) if responses.len() == checks.len() => {
                let asked = checks.into_iter().zip(responses);
                self.record.asked.extend(asked.map(|((subject, cost), allowed)| Asked {
                    subject,
                    cost,
                    allowed,
                    sent,
                    received,
                }));
            }
            Ok(responses) => {
                let what = format!("{} answers to {} checks", responses.len(), checks.len());
                self.record.failed.push(Failed { replica, what, checks });
            }
            Err(what) => self.record.failed.push(Failed { replica, what, checks }),
        }
    }

    /// A subject and a cost.
    fn choose(&mut self) -> (usize, u64) {
        let others = self.shared.subjects.len() as u64 - 1;
        let subject = if self.dice.roll(2) == 0 { 0 } else { 1 + self.dice.roll(others) };
        let cost = if matches!(self.address, FrontEnd::AnyPath) {
            1
        } else {
            1 + self.dice.roll(MAX_COST)
        };
        (usize::try_from(subject).expect("it is an index"), cost)
    }

    fn request(&self, checks: &[(usize, u64)]) -> Request {
        let body = |&(subject, cost): &(usize, u64)| {
            let BucketKey { client, path } = &self.shared.subjects[subject];
            json!({ "client": client, "path": path, "cost": cost })
        };
        match self.address {
            FrontEnd::Check => Request::post("/v1/check", &body(&checks[0])),
            FrontEnd::Batch => Request::post(
                "/v1/check/batch",
                &json!({ "checks": checks.iter().map(body).collect::<Vec<_>>() }),
            ),
            FrontEnd::AnyPath => {
                let BucketKey { client, path } = &self.shared.subjects[checks[0].0];
                Request::get(path).header("x-api-key", client)
            }
        }
    }

    /// Whether each check was allowed.
    fn read(&self, response: &Response) -> Result<Vec<bool>, String> {
        let allowed = |status: Option<u64>| match status {
            Some(200) => Ok(true),
            Some(429) => Ok(false),
            _ => Err(response.to_string()),
        };
        match self.address {
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

/// Numbers that differ enough (xorshift64*), and are the same in every run.
struct Dice(u64);

impl Dice {
    /// A number below `sides`.
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The lower bits of small seeds say little.
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % sides
    }
}
