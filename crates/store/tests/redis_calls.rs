//! How the Redis store calls its script: how often, with how many arguments, and in which formats
//! while several versions share a server.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use sluice_core::{
    Action, Algorithm, Check, Cost, CostsDigest, Guarded, Hold, HoldId, HoldStep, Limit, Mode,
    Part, Rate, Subject, Tag, Tagger, Term,
};
use sluice_store::{
    Formats, RedisSettings, RedisStore, Replica, RoundTrip, Store, StoreError, StoreErrorKind,
};
use sluice_testkit::{RedisServer, Reply};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

fn settings(url: impl Into<String>) -> RedisSettings {
    // A timeout that no call reaches, and one connection, so that one lane sends all.
    RedisSettings::new(url).timeout(Duration::from_secs(60)).connections(1)
}

fn limit(name: &str, rate: &str, burst: u64) -> Arc<Limit> {
    let rate = Rate::new(rate.parse().unwrap(), burst).unwrap();
    Arc::new(Limit::new(name, Algorithm::TokenBucket(rate)).unwrap())
}

fn client(name: &str) -> Tag {
    Tagger::new(b"secret").tag(Subject::Client(name.as_bytes()))
}

fn of(action: Action, limit: &Arc<Limit>, name: &str, cost: u64) -> Check {
    Check::new(action).with(limit, client(name), Cost::new(cost).unwrap())
}

async fn remaining(store: &RedisStore, limit: &Arc<Limit>, name: &str) -> u64 {
    store.decide(&of(Action::Peek, limit, name, 0)).await.unwrap().verdicts()[0].remaining
}

/// Returns how often the server has executed `command`.
fn calls(server: &RedisServer, command: &str) -> usize {
    let stats = server.command(&["INFO", "commandstats"]).text();
    let line = stats.lines().find(|line| line.starts_with(&format!("cmdstat_{command}:")));
    line.map_or(0, |line| line.split(['=', ',']).nth(1).unwrap().parse().unwrap())
}

/// Returns all texts in a reply.
fn text_of(reply: &Reply) -> String {
    match reply {
        Reply::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Reply::Array(replies) => replies.iter().map(text_of).collect::<Vec<_>>().join(" "),
        _ => String::new(),
    }
}

/// Forwards connections to a Redis. When it is armed, it closes the next connection on which the
/// server replies to a script: the script has run, and its caller cannot know.
struct CuttingProxy {
    port: u16,
    armed: Arc<AtomicBool>,
}

impl CuttingProxy {
    async fn before(server: &RedisServer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let armed = Arc::new(AtomicBool::new(false));
        let (target, cut) = (server.port(), Arc::clone(&armed));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", target)).await.unwrap();
                tokio::spawn(forward(client, server, Arc::clone(&cut)));
            }
        });
        Self { port, armed }
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn cut_the_next_reply(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }
}

async fn forward(mut client: TcpStream, mut server: TcpStream, cut: Arc<AtomicBool>) {
    let (mut request, mut reply) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut is_script = false;
    loop {
        tokio::select! {
            read = client.read(&mut request) => match read {
                Ok(length @ 1..) => {
                    is_script = request[..length].windows(7).any(|text| text == b"EVALSHA");
                    server.write_all(&request[..length]).await.unwrap();
                }
                _ => return,
            },
            read = server.read(&mut reply) => match read {
                Ok(length @ 1..) => {
                    if is_script && cut.swap(false, Ordering::SeqCst) {
                        return;
                    }
                    if client.write_all(&reply[..length]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_given_back_once_although_the_reply_is_lost() {
    let server = RedisServer::start();
    let proxy = CuttingProxy::before(&server).await;
    let store = RedisStore::new(&settings(proxy.url()), ()).unwrap();
    let daily = limit("daily", "1/day", 10);
    store.decide(&of(Action::Take, &daily, "alice", 8)).await.unwrap();
    // The server knows the script from here on, so that its next reply is a decision.
    assert_eq!(remaining(&store, &daily, "alice").await, 2);
    for (action, left) in [(Action::GiveBack, 5), (Action::Reset, 10)] {
        let before = calls(&server, "evalsha");
        proxy.cut_the_next_reply();
        let error = store.decide(&of(action, &daily, "alice", 3)).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unreachable, "{error:?}");
        assert_eq!(calls(&server, "evalsha"), before + 1, "{action:?} is sent once");
        assert_eq!(remaining(&store, &daily, "alice").await, left);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_settled_once_although_the_reply_is_lost() {
    let server = RedisServer::start();
    let proxy = CuttingProxy::before(&server).await;
    let store = RedisStore::new(&settings(proxy.url()), ()).unwrap();
    store.announce(&Replica::new("one", "1")).await.unwrap();
    let daily = limit("daily", "1/day", 100);
    // Two leases of the same size: a second settlement would find the other one.
    let mut term = None;
    while term.is_none() {
        let lend = of(Action::Lend { least: 8 }, &daily, "alice", 10);
        let [one, other] = [store.decide(&lend).await.unwrap(), store.decide(&lend).await.unwrap()];
        let terms = [one, other].map(|lease| Term::at(lease.at()));
        term = (terms[0] == terms[1]).then_some(terms[0]);
    }
    let left = remaining(&store, &daily, "alice").await;
    let before = calls(&server, "evalsha");
    proxy.cut_the_next_reply();
    let settle = of(Action::EndLease { term: term.unwrap(), lent: 10 }, &daily, "alice", 10);
    let error = store.decide(&settle).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unreachable, "{error:?}");
    assert_eq!(calls(&server, "evalsha"), before + 1);
    assert_eq!(remaining(&store, &daily, "alice").await, left + 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_steps_of_a_hold_are_sent_again_after_a_lost_reply_and_made_once() {
    let server = RedisServer::start();
    let proxy = CuttingProxy::before(&server).await;
    let store = RedisStore::new(&settings(proxy.url()), ()).unwrap();
    store.announce(&Replica::new("one", "1")).await.unwrap();
    let daily = limit("daily", "1/day", 100);
    // The server knows the script from here on, so that its next reply is a decision.
    let lend = of(Action::Lend { least: 8 }, &daily, "bob", 10);
    let reserved_at = store.decide(&lend).await.unwrap().at();
    let digest = CostsDigest::from_number;
    let step = |step, held, actual| {
        let hold = Hold::new(HoldId::from_bytes([1; 16]), Duration::from_secs(60), step);
        let [held, actual] = [held, actual].map(|tokens| Cost::new(tokens).unwrap());
        let mut check = Check::of_hold(hold);
        check.push(Part::settling(Arc::clone(&daily), client("alice"), held, actual));
        check
    };
    for (check, left) in [
        (step(HoldStep::Reserve { costs: digest(1) }, 0, 60), 40),
        (step(HoldStep::Extend { from: digest(1), to: digest(2), reserved_at }, 0, 10), 30),
        (step(HoldStep::Settle { actual: digest(3), reserved_at }, 70, 20), 80),
    ] {
        let before = calls(&server, "evalsha");
        proxy.cut_the_next_reply();
        let decision = store.decide(&check).await.unwrap();
        assert_eq!((decision.is_allowed(), decision.guarded()), (true, Some(Guarded::Repeated)));
        assert_eq!(calls(&server, "evalsha"), before + 2);
        assert_eq!(remaining(&store, &daily, "alice").await, left);
    }
}

#[tokio::test]
async fn nothing_is_lent_while_a_replica_is_live_that_could_not_read_the_state() {
    let server = RedisServer::start();
    let store = RedisStore::new(&settings(server.url()), ()).unwrap();
    let replica = Replica::new("new", "2");
    store.announce(&replica).await.unwrap();
    let daily = limit("daily", "1/day", 100);
    let lends = async |store: &RedisStore, name: &str| {
        let lend = of(Action::Lend { least: 8 }, &daily, name, 10);
        store.decide(&lend).await.unwrap().is_allowed()
    };
    assert!(lends(&store, "alice").await);
    assert_eq!(layout(&server, &daily, "alice"), 6);
    let older = settings(server.url()).formats(Formats::BASELINE);
    let older = RedisStore::new(&older, ()).unwrap();
    older.announce(&Replica::new("older", "1")).await.unwrap();
    store.announce(&replica).await.unwrap();
    assert!(!lends(&store, "bob").await);
    assert_eq!(remaining(&store, &daily, "bob").await, 100);
    older.depart(&Replica::new("older", "1")).await.unwrap();
    store.announce(&replica).await.unwrap();
    assert!(lends(&store, "bob").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_takes_tokens_is_sent_again_after_a_lost_reply() {
    let server = RedisServer::start();
    let proxy = CuttingProxy::before(&server).await;
    let store = RedisStore::new(&settings(proxy.url()), ()).unwrap();
    let daily = limit("daily", "1/day", 10);
    store.decide(&of(Action::Take, &daily, "bob", 8)).await.unwrap();
    assert_eq!(remaining(&store, &daily, "bob").await, 2);
    proxy.cut_the_next_reply();
    let batch = [
        of(Action::Take, &daily, "alice", 1),
        of(Action::GiveBack, &daily, "bob", 3),
        of(Action::Charge, &daily, "carol", 1),
        of(Action::Reset, &daily, "dave", 0),
        of(Action::Peek, &daily, "alice", 1),
    ];
    let results = store.decide_all(&batch).await;
    let decided: Vec<bool> = results.iter().map(Result::is_ok).collect();
    assert_eq!(decided, [true, false, true, false, true], "{results:?}");
    // What was sent twice was taken twice: the fleet admits less, never more.
    assert_eq!(results[4].as_ref().unwrap().verdicts()[0].remaining, 8);
    assert_eq!(remaining(&store, &daily, "carol").await, 8);
    assert_eq!(remaining(&store, &daily, "bob").await, 5, "given back once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_given_back_after_the_server_has_closed_an_idle_connection() {
    let server = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let store = RedisStore::new(&settings(server.url()), ()).unwrap();
    let daily = limit("daily", "1/day", 10);
    store.decide(&of(Action::Take, &daily, "alice", 8)).await.unwrap();
    server.restart();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    store.decide(&of(Action::GiveBack, &daily, "alice", 3)).await.unwrap();
    assert_eq!(remaining(&store, &daily, "alice").await, 5);
}

/// How many calls a test has made of the script for one simple check, and of the one for batches.
/// The former reads with GET, the latter with MGET.
struct ScriptCalls<'s> {
    server: &'s RedisServer,
    before: (usize, usize),
}

impl<'s> ScriptCalls<'s> {
    fn count(server: &'s RedisServer) -> Self {
        Self { server, before: (calls(server, "get"), calls(server, "mget")) }
    }

    fn made(&self) -> (usize, usize) {
        let now = Self::count(self.server).before;
        (now.0 - self.before.0, now.1 - self.before.1)
    }
}

#[tokio::test]
async fn a_simple_check_that_is_alone_has_a_script_of_its_own() {
    let server = RedisServer::start();
    let store = RedisStore::new(&settings(server.url()), ()).unwrap();
    // Layouts 1 and 2, admitted and denied.
    for (name, rate) in [("seconds", "1 per 4294s"), ("days", "1/day")] {
        let limit = limit(name, rate, 2);
        let made = ScriptCalls::count(&server);
        let written = calls(&server, "set");
        for left in [1, 0, 0, 0] {
            let decision = store.decide(&of(Action::Take, &limit, "alice", 1)).await.unwrap();
            assert_eq!(decision.verdicts()[0].remaining, left);
        }
        assert_eq!(made.made(), (4, 0), "{limit}");
        assert_eq!(calls(&server, "set"), written + 2, "a denied check writes nothing");
    }

    let simple = limit("simple", "60/minute", 10);
    let shadow = Arc::new((*simple).clone().with_mode(Mode::Shadow));
    // A token a period of no whole ms and more than 2^32 us has no layout of 12 bytes.
    let odd = limit("odd", "1 per 90000000001us", 10);
    let fractional = limit("fractional", "7/hour", 10);
    let two = of(Action::Take, &simple, "alice", 1).with(&odd, client("alice"), Cost::ONE);
    for check in [
        of(Action::Peek, &simple, "alice", 1),
        of(Action::Charge, &simple, "alice", 1),
        of(Action::GiveBack, &simple, "alice", 1),
        of(Action::Reset, &simple, "alice", 1),
        of(Action::Take, &shadow, "alice", 1),
        of(Action::Take, &odd, "alice", 1),
        of(Action::Take, &fractional, "alice", 1),
        two,
    ] {
        let made = ScriptCalls::count(&server);
        store.decide(&check).await.unwrap();
        assert_eq!(made.made(), (0, 1), "{check:?}");
    }
    let made = ScriptCalls::count(&server);
    let batch = ["alice", "bob"].map(|name| of(Action::Take, &simple, name, 1));
    store.decide_all(&batch).await;
    assert_eq!(made.made(), (0, 1));
}

#[tokio::test]
async fn what_is_not_simple_about_a_bucket_is_left_to_the_script_for_batches() {
    let server = RedisServer::start();
    let store = RedisStore::new(&settings(server.url()), ()).unwrap();
    let daily = limit("daily", "1/day", 10);
    let take = |limit: &Arc<Limit>| of(Action::Take, limit, "alice", 1);

    // A debt.
    store.decide(&of(Action::Charge, &daily, "alice", 12)).await.unwrap();
    let made = ScriptCalls::count(&server);
    assert!(store.decide(&take(&daily)).await.unwrap().is_denied());
    assert_eq!(made.made(), (1, 1));

    // Other rates, which the look repairs.
    store.decide(&of(Action::Reset, &daily, "alice", 0)).await.unwrap();
    store.decide(&of(Action::Take, &daily, "alice", 5)).await.unwrap();
    for (rate, left) in [("2/day", 4), ("7/hour", 3), ("60/minute", 2), ("1/day", 1)] {
        let rate = Rate::new(rate.parse().unwrap(), 5).unwrap();
        let is_simple = rate.refill().tokens() == 1;
        let changed = Arc::new(daily.with_algorithm(Algorithm::TokenBucket(rate)));
        let made = ScriptCalls::count(&server);
        let decision = store.decide(&take(&changed)).await.unwrap();
        let remaining = decision.verdicts()[0].remaining;
        assert!(remaining.abs_diff(left) <= 1, "{remaining} tokens left under {changed}");
        assert_eq!(made.made(), (usize::from(is_simple), 1), "{changed}");
        store.decide(&take(&changed)).await.unwrap();
        let again = if is_simple { (2, 1) } else { (0, 2) };
        assert_eq!(made.made(), again, "{changed}: the state is written under this rate");
        store.decide(&of(Action::GiveBack, &changed, "alice", 1)).await.unwrap();
    }

    // A state that no build reads.
    let junk = [&[9][..], &[0; 11]].concat();
    let rest = &client("alice").to_string()[1..];
    let key = server.command(&["KEYS", &format!("sluice:{{??}}{rest}*")]).texts().remove(0);
    server.command(&[b"SET".as_slice(), key.as_bytes(), &junk]);
    let error = store.decide(&take(&daily)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unreadable);
}

/// A runtime runs a task that was just woken before all others, and the first request wakes the
/// lane.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_arrives_together_is_sent_together_although_the_lane_is_free() {
    const CHECKS: usize = 40;
    let server = RedisServer::start();
    let trips = Arc::new(Mutex::new(Vec::new()));
    let observe = {
        let trips = Arc::clone(&trips);
        move |trip: &RoundTrip<'_>| trips.lock().unwrap().push(trip.checks)
    };
    let store = Arc::new(RedisStore::new(&settings(server.url()), observe).unwrap());
    let limit = limit("default", "60/minute", 100);
    store.decide(&of(Action::Take, &limit, "first", 1)).await.unwrap();
    // On the worker, so that it has the requests in its own queue.
    let requests = tokio::spawn(async move {
        let requests = (0..CHECKS).map(|_| {
            let (store, limit) = (Arc::clone(&store), Arc::clone(&limit));
            tokio::spawn(async move {
                store.decide(&of(Action::Take, &limit, "all", 1)).await.unwrap();
            })
        });
        requests.collect::<Vec<_>>()
    });
    for request in requests.await.unwrap() {
        request.await.unwrap();
    }
    assert_eq!(*trips.lock().unwrap(), [1, CHECKS]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_has_more_than_3900_arguments() {
    let server = RedisServer::start();
    let store = RedisStore::new(&settings(server.url()), ()).unwrap();
    server.command(&["CONFIG", "SET", "slowlog-log-slower-than", "0"]);
    server.command(&["CONFIG", "SET", "slowlog-max-len", "10000"]);
    let limits: Vec<_> =
        (0..4_000).map(|number| limit(&format!("limit {number}"), "1/day", 5)).collect();
    let check_of = |parts: usize, name: &str| {
        limits.iter().take(parts).fold(Check::new(Action::Take), |check, limit| {
            check.with(limit, client(name), Cost::ONE)
        })
    };
    let batch: Vec<_> = (0..1_000).map(|number| check_of(8, &number.to_string())).collect();
    for decision in store.decide_all(&batch).await {
        assert!(decision.unwrap().is_allowed());
    }
    let largest = 3_896;
    assert!(store.decide(&check_of(largest, "alice")).await.unwrap().is_allowed());
    // The log shows the first arguments, and counts the others.
    let log = text_of(&server.command(&["SLOWLOG", "GET", "10000"]));
    let more = log.match_indices(" more arguments)").map(|(end, _)| {
        let start = log[..end].rfind('(').unwrap() + 1;
        31 + log[start..end].parse::<usize>().unwrap()
    });
    let most = more.max().unwrap();
    assert_eq!(most, 3_900);

    // The server gets to know the script for one check.
    store.decide(&check_of(1, "carol")).await.unwrap();
    let before = calls(&server, "evalsha");
    for parts in [largest + 1, 4_000] {
        let check = check_of(parts, "bob");
        let error = store.decide(&check).await.unwrap_err();
        assert!(matches!(error, StoreError::TooLarge { .. }), "{error:?}");
        assert!(error.to_string().contains(&parts.to_string()), "{error}");
        let results = store.decide_all(&[check_of(1, "carol"), check]).await;
        assert!(results[0].as_ref().unwrap().is_allowed());
        assert!(matches!(results[1], Err(StoreError::TooLarge { .. })), "{:?}", results[1]);
    }
    assert_eq!(calls(&server, "evalsha"), before + 2, "nothing of a large check is sent");
}

/// Returns the layout of the client's bucket.
fn layout(server: &RedisServer, limit: &Limit, name: &str) -> u8 {
    let rest = &client(name).to_string()[1..];
    let pattern = format!("sluice:{{??}}{rest}{}", limit.key().as_str());
    let key = server.command(&["KEYS", &pattern]).texts().remove(0);
    let Reply::Bulk(state) = server.command(&["GET", &key]) else { panic!("no state at {key}") };
    state[0]
}

#[tokio::test]
async fn a_layout_is_written_once_every_live_replica_reads_it() {
    let server = RedisServer::start();
    let store = RedisStore::new(&settings(server.url()), ()).unwrap();
    let hourly = limit("hourly", "7/hour", 100);
    let written = async || {
        store.decide(&of(Action::Take, &hourly, "alice", 1)).await.unwrap();
        layout(&server, &hourly, "alice")
    };
    assert_eq!(written().await, 3, "before the first announcement is answered");
    let replica = Replica::new("new", "0.2.0");
    store.announce(&replica).await.unwrap();
    assert_eq!(written().await, 5);

    // A build that announces no formats, and one that does.
    for older in ["0.1.0", "0.1.9 keys=2 partitions=64 reads=1-4 writes=1-4"] {
        let peek = of(Action::Peek, &hourly, "clock", 1);
        let now = store.decide(&peek).await.unwrap().at().unix_micros();
        let entry = format!("{now} {now} {older}");
        server.command(&["HSET", "sluice:{mm}:fleet", "old", &entry]);
        let fleet = store.announce(&replica).await.unwrap();
        let version = older.split(' ').next().unwrap();
        let seen = fleet.replicas.iter().find(|live| live.replica.id == "old").unwrap();
        assert_eq!((&*seen.replica.version, seen.formats), (version, Formats::BASELINE));
        assert_eq!(written().await, 3, "while {older} is live");
        server.command(&["HDEL", "sluice:{mm}:fleet", "old"]);
        store.announce(&replica).await.unwrap();
        assert_eq!(written().await, 5, "after {older} has left");
    }
    assert_eq!(remaining(&store, &hourly, "alice").await, 94);
}

#[tokio::test]
async fn two_versions_on_one_server_admit_the_limit_once() {
    let server = RedisServer::start();
    let unreadable = Arc::new(AtomicUsize::new(0));
    let observe = {
        let unreadable = Arc::clone(&unreadable);
        move |round_trip: &RoundTrip<'_>| {
            unreadable.fetch_add(round_trip.unreadable, Ordering::SeqCst);
        }
    };
    let older_build = settings(server.url()).formats(Formats::BASELINE);
    let older = RedisStore::new(&older_build, observe).unwrap();
    let newer = RedisStore::new(&settings(server.url()), ()).unwrap();
    let hourly = limit("hourly", "7/hour", 100);
    older.announce(&Replica::new("older", "1")).await.unwrap();
    newer.announce(&Replica::new("newer", "2")).await.unwrap();
    let mut admitted = 0;
    for number in 0..300 {
        let store = if number % 3 == 0 { &older } else { &newer };
        let decision = store.decide(&of(Action::Take, &hourly, "alice", 1)).await.unwrap();
        admitted += u64::from(decision.is_allowed());
    }
    assert_eq!(admitted, 100);
    assert_eq!(unreadable.load(Ordering::SeqCst), 0);

    // Once the older replica has left, new states are not for it. It says so when it returns.
    older.depart(&Replica::new("older", "1")).await.unwrap();
    newer.announce(&Replica::new("newer", "2")).await.unwrap();
    newer.decide(&of(Action::Take, &hourly, "bob", 1)).await.unwrap();
    let error = older.decide(&of(Action::Take, &hourly, "bob", 1)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unreadable);
    assert_eq!(unreadable.load(Ordering::SeqCst), 1);
}
