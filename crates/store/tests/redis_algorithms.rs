//! How limits that are no token buckets are kept in Redis, and what its clock means for them.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use sluice_core::{
    Action, Algorithm, Calendar, CalendarUnit, Check, Concurrent, Cost, Decision, Limit, Part,
    Quota, Rate, Subject, Tag, Tagger, Timestamp,
};
use sluice_store::{Formats, RedisSettings, RedisStore, Replica, Store, StoreError};
use sluice_testkit::{RedisOptions, RedisServer, Reply};

fn settings(server: &RedisServer) -> RedisSettings {
    // A timeout that no call reaches, and one connection, so that one lane sends all.
    RedisSettings::new(server.url()).timeout(Duration::from_secs(60)).connections(1)
}

/// Returns a store that writes the newest layouts, since its fleet has announced to read them.
async fn announced(settings: &RedisSettings) -> RedisStore {
    let store = RedisStore::new(settings, ()).unwrap();
    store.announce(&Replica::new("one", "1")).await.unwrap();
    store
}

fn limit(name: &str, algorithm: Algorithm) -> Arc<Limit> {
    Arc::new(Limit::new(name, algorithm).unwrap())
}

fn bucket(rate: &str) -> Algorithm {
    Algorithm::TokenBucket(rate.parse::<Rate>().unwrap())
}

fn quota(tokens: u64, calendar: Calendar) -> Algorithm {
    Algorithm::Quota(Quota::new(tokens, calendar).unwrap())
}

fn at_most(text: &str) -> Algorithm {
    Algorithm::AtMost(text.parse().unwrap())
}

fn slots(slots: u64) -> Algorithm {
    Algorithm::Concurrent(Concurrent::new(slots).unwrap())
}

fn client() -> Tag {
    Tagger::new(b"secret").tag(Subject::Client(b"alice"))
}

fn check(action: Action, limits: &[&Arc<Limit>], cost: u64) -> Check {
    let cost = Cost::new(cost).unwrap();
    limits.iter().fold(Check::new(action), |check, limit| check.with(limit, client(), cost))
}

async fn take(store: &RedisStore, limits: &[&Arc<Limit>], cost: u64) -> Decision {
    store.decide(&check(Action::Take, limits, cost)).await.unwrap()
}

/// Returns the only key of a bucket on the server, and what is stored under it.
fn stored(server: &RedisServer) -> Option<(String, Vec<u8>)> {
    let Reply::Array(keys) = server.command(&["KEYS", "*"]) else { panic!("it lists keys") };
    let is_bucket = |key: &String| !key.ends_with(":fleet") && !key.ends_with(":epoch");
    let mut keys = keys.iter().map(Reply::text).filter(is_bucket);
    let key = keys.next()?;
    assert_eq!(keys.next(), None);
    let Reply::Bulk(state) = server.command(&["GET", &key]) else { panic!("it has a state") };
    Some((key, state))
}

/// Returns a state: its layout, and numbers with their sizes in bytes.
fn state(layout: u8, numbers: &[(u64, usize)]) -> Vec<u8> {
    let bytes = |&(number, size): &(u64, usize)| number.to_be_bytes()[8 - size..].to_vec();
    [vec![layout]].into_iter().chain(numbers.iter().map(bytes)).flatten().collect()
}

fn micros(at: Timestamp) -> u64 {
    at.unix_micros().unsigned_abs()
}

/// Returns what the server's clock shows, in milliseconds.
fn now_ms(server: &RedisServer) -> u64 {
    let time = server.command(&["TIME"]).texts();
    let [seconds, micros] = [0, 1].map(|index| time[index].parse::<u64>().unwrap());
    seconds * 1_000 + micros / 1_000
}

/// Fails unless the key expires at this time, rounded up to a millisecond.
fn assert_expires_at(server: &RedisServer, key: &str, micros: u64) {
    let before = now_ms(server);
    let Reply::Integer(left) = server.command(&["PTTL", key]) else { panic!("it has an expiry") };
    let after = now_ms(server);
    let at = micros.div_ceil(1_000);
    let range = at.saturating_sub(after)..=at - before;
    assert!(range.contains(&left.unsigned_abs()), "{left} ms are not in {range:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn states_are_stored_in_a_few_bytes() {
    let server = RedisServer::start();
    let store = announced(&settings(&server)).await;

    let calendar = Calendar::new(CalendarUnit::Month).in_zone("Europe/Rome").unwrap();
    let monthly = limit("monthly", quota(1_000_000, calendar.clone()));
    let taken = take(&store, &[&monthly], 70_000).await;
    let (key, window) = stored(&server).unwrap();
    let end = micros(calendar.window_at(taken.at()).end());
    assert_eq!(window, state(8, &[(end / 1_000_000, 5), (70_000, 6)]));
    // For the case that the clock steps back over the end.
    assert_expires_at(&server, &key, end + 1_000_000);
    store.decide(&check(Action::GiveBack, &[&monthly], 70_000)).await.unwrap();
    assert_eq!(stored(&server), None, "nothing is used");

    let any_minute = limit("any minute", at_most("1000000 per 60s"));
    let taken = take(&store, &[&any_minute], 65_535).await;
    let (key, slices) = stored(&server).unwrap();
    let slice = micros(taken.at()) / 6_000_000;
    let mut numbers = vec![(slice, 5), (65_535, 2)];
    numbers.extend([(0, 2); 10]);
    assert_eq!(slices, state(9, &numbers));
    assert_expires_at(&server, &key, (slice + 11) * 6_000_000);
    let again = take(&store, &[&any_minute], 1).await;
    let wide = stored(&server).unwrap().1;
    // A slice may have begun in between.
    if micros(again.at()) / 6_000_000 == slice {
        let mut numbers = vec![(slice, 5), (65_536, 5)];
        numbers.extend([(0, 5); 10]);
        assert_eq!(wide, state(10, &numbers));
    }
    store.decide(&check(Action::Reset, &[&any_minute], 0)).await.unwrap();
    assert_eq!(stored(&server), None);

    let in_flight = limit("in flight", slots(20));
    let taken = take(&store, &[&in_flight], 2).await;
    let (key, held) = stored(&server).unwrap();
    let term = micros(taken.at()) / 10_000_000;
    assert_eq!(held, state(11, &[(term, 4), (0, 3), (2, 4)]));
    assert_expires_at(&server, &key, (term + 2) * 10_000_000);
    store.decide(&check(Action::GiveBack, &[&in_flight], 2)).await.unwrap();
    assert_eq!(stored(&server), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_follow_the_clock_of_the_server() {
    let server = RedisOptions::new().movable_clock().start();
    let store = announced(&settings(&server)).await;
    let zone = |unit| Calendar::new(unit).in_zone("America/New_York").unwrap();
    let daily = limit("daily", quota(2, zone(CalendarUnit::Day)));
    let monthly = limit("monthly", quota(3, zone(CalendarUnit::Month)));
    let fast = limit("fast", bucket("1000/second, burst 1000"));

    // The store is a month or more behind, then ahead, of what the replica takes for its clock.
    let month = 31 * 86_400 * 1_000_000;
    for step in [0, month, 2 * month, -5 * month] {
        server.step_clock(step);
        let batch = [
            check(Action::Take, &[&fast], 1),
            check(Action::Take, &[&fast, &daily, &monthly], 2),
            check(Action::Take, &[&daily], 1),
            check(Action::Take, &[&monthly, &fast], 1),
        ];
        if step < 0 {
            // What was used in the windows of the future counts in those of now.
            assert!(take(&store, &[&daily], 1).await.is_denied());
            store.decide(&check(Action::Reset, &[&daily, &monthly, &fast], 0)).await.unwrap();
        }
        let decisions = store.decide_all(&batch).await;
        let decisions: Vec<_> = decisions.into_iter().map(Result::unwrap).collect();
        let allowed: Vec<_> = decisions.iter().map(Decision::is_allowed).collect();
        assert_eq!(allowed, [true, true, false, true], "after a step of {step} us");
        let end = zone(CalendarUnit::Day).window_at(decisions[2].at()).end();
        assert_eq!(decisions[2].verdicts()[0].reset_at(decisions[2].at()), Some(end));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_the_quota_passes_in_a_window_while_its_border_is_crossed() {
    let server = RedisServer::start();
    let store = Arc::new(announced(&settings(&server).connections(3)).await);
    let limit = limit("quota", quota(50, Calendar::new(CalendarUnit::Second)));
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (store, limit) = (Arc::clone(&store), Arc::clone(&limit));
            tokio::spawn(async move {
                let mut admitted = Vec::new();
                for _ in 0..150 {
                    let decision = take(&store, &[&limit], 1).await;
                    admitted.extend(decision.is_allowed().then_some(decision.at()));
                    tokio::time::sleep(Duration::from_millis(15)).await;
                }
                admitted
            })
        })
        .collect();
    let mut by_window = std::collections::BTreeMap::<i64, usize>::new();
    for task in tasks {
        for at in task.await.unwrap() {
            *by_window.entry(at.unix_micros() / 1_000_000).or_default() += 1;
        }
    }
    assert!(by_window.len() >= 3, "it lasts more than two seconds: {by_window:?}");
    assert!(by_window.values().all(|&admitted| admitted <= 50), "{by_window:?}");
    let whole: Vec<_> = by_window.values().skip(1).take(by_window.len() - 2).collect();
    assert!(whole.iter().all(|&&admitted| admitted == 50), "{by_window:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_new_is_stored_while_an_older_replica_lives() {
    let server = RedisServer::start();
    let mut older = Formats::CURRENT;
    (older.reads, older.writes) = ((1, 7), (1, 7));
    let old = RedisStore::new(&settings(&server).formats(older), ()).unwrap();
    old.announce(&Replica::new("old", "1")).await.unwrap();
    let store = announced(&settings(&server)).await;
    let fast = limit("fast", bucket("1000/second, burst 1000"));
    for limit in [
        limit("daily", quota(2, Calendar::new(CalendarUnit::Day))),
        limit("any minute", at_most("10 per 60s")),
        limit("in flight", slots(20)),
    ] {
        for action in [Action::Take, Action::Peek, Action::GiveBack, Action::Renew] {
            let error = store.decide(&check(action, &[&fast, &limit], 1)).await.unwrap_err();
            assert!(is_not_known_by_all(&error), "{error}");
        }
    }
    assert!(take(&store, &[&fast], 1).await.is_allowed());
    old.depart(&Replica::new("old", "1")).await.unwrap();
    store.announce(&Replica::new("one", "1")).await.unwrap();
    let daily = limit("daily", quota(2, Calendar::new(CalendarUnit::Day)));
    assert!(take(&store, &[&fast, &daily], 1).await.is_allowed());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_held_apart_while_a_replica_lives_that_does_not_read_it() {
    let server = RedisServer::start();
    let mut older = Formats::CURRENT;
    (older.reads, older.writes) = ((1, 11), (1, 11));
    let old = RedisStore::new(&settings(&server).formats(older), ()).unwrap();
    old.announce(&Replica::new("old", "1")).await.unwrap();
    let store = announced(&settings(&server)).await;
    let daily = quota(2, Calendar::new(CalendarUnit::Day));
    let Algorithm::Quota(releasing) = daily.clone() else { panic!("{daily:?}") };
    let releasing = releasing.releasing(Duration::from_secs(60)).unwrap();
    let releasing = limit("releasing", Algorithm::Quota(releasing));
    let error = store.decide(&check(Action::Take, &[&releasing], 1)).await.unwrap_err();
    assert!(is_not_known_by_all(&error), "{error}");
    assert!(take(&store, &[&limit("daily", daily)], 1).await.is_allowed());
    old.depart(&Replica::new("old", "1")).await.unwrap();
    store.announce(&Replica::new("one", "1")).await.unwrap();
    assert!(take(&store, &[&releasing], 1).await.is_allowed());
}

fn is_not_known_by_all(error: &StoreError) -> bool {
    let what = "does not know limits of this kind";
    matches!(error, StoreError::Unreadable { what: why } if why.contains(what))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_another_algorithm_is_not_touched() {
    let server = RedisServer::start();
    let store = announced(&settings(&server)).await;
    let (daily, hourly) = (
        limit("daily", quota(2, Calendar::new(CalendarUnit::Day))),
        limit("hourly", bucket("1/hour, burst 2")),
    );
    take(&store, &[&daily], 1).await;
    let (key, _) = stored(&server).unwrap();
    server.command(&["DEL", &key]);
    take(&store, &[&hourly], 1).await;
    let (hourly_key, state) = stored(&server).unwrap();
    // Of what is held, the length of a term is 0, which no version writes.
    let no_term = self::state(12, &[(1 << 34, 5), (0, 6), (0, 4), (1, 4), (0, 6), (1, 6)]);
    for foreign in [&state[..], &[11; 12], &[9; 28], &[8; 11], &[7; 19], &no_term, &[99]] {
        server.command(&[b"SET", key.as_bytes(), foreign]);
        for check in
            [check(Action::Take, &[&daily], 1), check(Action::Reset, &[&daily, &hourly], 1)]
        {
            let error = store.decide(&check).await.unwrap_err();
            assert!(matches!(error, StoreError::Unreadable { .. }), "{error}");
        }
        let Reply::Bulk(left) = server.command(&["GET", &key]) else { panic!("it is there") };
        assert_eq!(left, foreign);
    }
    server.command(&["DEL", &key]);
    assert!(take(&store, &[&daily], 1).await.is_allowed());
    let Reply::Bulk(window) = server.command(&["GET", &key]) else { panic!("it is there") };
    server.command(&[b"SET", hourly_key.as_bytes(), &window]);
    let batch = [
        check(Action::Take, &[&hourly], 1),
        check(Action::Take, &[&daily, &hourly], 1),
        check(Action::Take, &[&daily], 1),
    ];
    let decisions = store.decide_all(&batch).await;
    assert!(decisions[0].is_err() && decisions[1].is_err());
    assert!(decisions[2].as_ref().unwrap().is_allowed());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_back_to_a_used_up_limit_is_published() {
    let server = RedisServer::start();
    let store = announced(&settings(&server)).await;
    let part = |limit: &Arc<Limit>| Part::new(Arc::clone(limit), client(), Cost::ONE);
    let published = || -> u64 {
        let stats = server.command(&["INFO", "commandstats"]).text();
        let line = stats.lines().find(|line| line.starts_with("cmdstat_publish:"));
        line.map_or(0, |line| line.split(['=', ',']).nth(1).unwrap().parse().unwrap())
    };
    for (limit, expected) in [
        (limit("yearly", quota(2, Calendar::new(CalendarUnit::Year))), 1),
        (limit("any hour", at_most("2 per 1h")), 1),
        (limit("in flight", slots(2)), 0),
    ] {
        let before = published();
        take(&store, &[&limit], 1).await;
        let mut give_back = Check::new(Action::GiveBack);
        give_back.push(part(&limit));
        store.decide(&give_back).await.unwrap();
        assert_eq!(published(), before, "there was some left of {limit}");
        take(&store, &[&limit], 2).await;
        store.decide(&give_back).await.unwrap();
        assert_eq!(published() - before, expected, "{limit}");
    }
}
