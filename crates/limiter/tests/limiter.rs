//! The limiter on the memory store, and on stores that are slow or fail.

mod stores;

use std::{sync::Arc, time::Duration};

use sluice::{
    Checked, Client, Cost, Limiter, LimiterError, MemoryStore, Policy, Rate, Request, RequestError,
    Retry, Store, Telemetry,
};
use sluice_core::{Mode, Per, Rule, Terms, Timestamp};
use sluice_store::{ManualClock, StoreErrorKind};
use stores::{Counted, Slow, Unavailable};

fn rate(text: &str) -> Rate {
    text.parse().expect("a rate")
}

/// A default limit of one token a second with this burst, an endpoint with a burst of 2, and an
/// exempt path.
fn policy(burst: u64) -> Policy {
    let builder = Policy::builder()
        .default_limit(rate("60/minute").with_burst(burst).expect("a rate"))
        .endpoint("/narrow", rate("60/minute, burst 2"))
        .exempt("/health");
    builder.build().expect("a valid policy")
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::from_unix_micros(1_800_000_000_000_000)))
}

fn limiter(policy: Policy) -> Limiter {
    Limiter::builder(policy).clock(clock()).build()
}

fn get<'a>(client: &'a str, path: &'a str) -> Request<'a> {
    Request::new(Client::Key(client.as_bytes()), "GET", path)
}

fn of_cost(tokens: u64, request: Request<'_>) -> Request<'_> {
    request.with_cost(Cost::new(tokens).expect("a cost"))
}

fn remaining(checked: &Checked) -> u64 {
    checked.decision.binding().expect("a limit applies").remaining
}

#[tokio::test]
async fn a_client_is_denied_once_its_burst_is_spent_and_no_other_client_is() {
    let limiter = limiter(policy(3));
    for left in [2, 1, 0] {
        assert_eq!(remaining(&limiter.check(&get("alice", "/a")).await.unwrap()), left);
    }
    let denied = limiter.check(&get("alice", "/b")).await.unwrap();
    assert!(denied.decision.is_denied());
    assert_eq!(denied.decision.retry(), Retry::After(Duration::from_secs(1)));
    assert!(limiter.check(&get("bob", "/a")).await.unwrap().decision.is_allowed());
}

#[tokio::test]
async fn a_peek_takes_nothing() {
    let limiter = limiter(policy(3));
    for _ in 0..5 {
        let peeked = limiter.peek(&get("alice", "/a")).await.unwrap();
        assert!(peeked.decision.is_allowed());
        assert_eq!(remaining(&peeked), 3);
    }
}

#[tokio::test]
async fn a_charge_can_go_below_zero_and_can_be_given_back() {
    let limiter = limiter(policy(3));
    let request = get("alice", "/a");
    limiter.charge(&of_cost(5, request)).await.unwrap();
    let denied = limiter.check(&request).await.unwrap();
    assert_eq!(denied.decision.retry(), Retry::After(Duration::from_secs(3)));
    limiter.give_back(&of_cost(4, request)).await.unwrap();
    assert_eq!(remaining(&limiter.peek(&request).await.unwrap()), 2);
}

#[tokio::test]
async fn a_reset_fills_the_bucket() {
    let limiter = limiter(policy(3));
    let request = get("alice", "/a");
    limiter.charge(&of_cost(100, request)).await.unwrap();
    limiter.reset(&request).await.unwrap();
    assert_eq!(remaining(&limiter.peek(&request).await.unwrap()), 3);
}

#[tokio::test]
async fn a_batch_is_one_call_of_the_store_and_keeps_its_order() {
    let store = Arc::new(Counted::over(MemoryStore::with_clock(clock())));
    let limiter = Limiter::builder(policy(2)).store(Arc::clone(&store) as Arc<dyn Store>).build();
    let requests = [
        get("alice", "/a"),
        get("alice", "no path"),
        get("alice", "/health"),
        get("alice", "/a"),
        get("alice", "/a"),
        get("bob", "/narrow"),
    ];
    let results = limiter.check_all(&requests).await;
    let decisions: Vec<_> = results
        .iter()
        .map(|result| {
            result
                .as_ref()
                .map(|checked| (checked.decision.is_allowed(), &**checked.endpoint()))
                .ok()
        })
        .collect();
    let expected = [
        Some((true, "other")),
        None,
        Some((true, "/health")),
        Some((true, "other")),
        Some((false, "other")),
        Some((true, "/narrow")),
    ];
    assert_eq!(decisions, expected);
    assert!(matches!(results[1], Err(LimiterError::Request(RequestError::PathNotAbsolute))));
    assert_eq!(store.calls(), [4]);
}

#[tokio::test]
async fn the_store_is_not_called_for_what_is_not_limited() {
    let store = Arc::new(Counted::over(MemoryStore::new()));
    let limiter = Limiter::builder(policy(2)).store(Arc::clone(&store) as Arc<dyn Store>).build();
    let health = limiter.check(&get("alice", "/health")).await.unwrap();
    assert!(health.decision.is_allowed() && health.decision.binding().is_none());
    assert!(limiter.check(&get("", "/a")).await.is_err());
    assert!(limiter.check_all(&[get("alice", "/health"), get("", "/a")]).await[0].is_ok());
    assert!(limiter.check_all(&[]).await.is_empty());
    assert_eq!(store.calls(), [0_usize; 0]);
}

#[tokio::test]
async fn a_new_policy_keeps_the_buckets() {
    let limiter = limiter(policy(5));
    limiter.check(&of_cost(4, get("alice", "/a"))).await.unwrap();
    limiter.replace_policy(policy(3));
    assert_eq!(limiter.policy().limits()[0].algorithm().capacity(), 3);
    assert_eq!(remaining(&limiter.peek(&get("alice", "/a")).await.unwrap()), 1);
    limiter.replace_policy(policy(50));
    assert_eq!(
        remaining(&limiter.peek(&get("alice", "/a")).await.unwrap()),
        1,
        "a larger burst does not refill the bucket"
    );
}

#[tokio::test]
async fn a_check_in_flight_keeps_the_policy_it_began_with() {
    let store = Arc::new(Slow::over(MemoryStore::with_clock(clock())));
    let limiter = Limiter::builder(policy(5)).store(Arc::clone(&store) as Arc<dyn Store>).build();
    let (checking, request) = (limiter.clone(), get("alice", "/narrow"));
    let in_flight = tokio::spawn(async move { checking.check(&request).await });
    store.arrived().await;
    limiter.replace_policy(Policy::builder().build().unwrap());
    store.let_through(1);
    let checked = in_flight.await.unwrap().unwrap();
    assert_eq!(&**checked.endpoint(), "/narrow");
    assert_eq!(remaining(&checked), 1);
    assert!(limiter.check(&request).await.unwrap().decision.binding().is_none());
}

#[tokio::test]
async fn a_store_that_fails_is_an_error_and_not_a_denial() {
    let telemetry = Telemetry::builder().build().unwrap();
    let limiter = Limiter::builder(policy(5))
        .store(Arc::new(Unavailable))
        .recorders(telemetry.recorders())
        .build();
    let error = limiter.check(&get("alice", "/narrow")).await.unwrap_err();
    assert!(matches!(error, LimiterError::Store(error) if error.kind() == StoreErrorKind::Timeout));
    let text = telemetry.prometheus().render().unwrap();
    assert!(
        text.contains(
            r#"sluice_decisions_total{limit="/narrow",outcome="error",source="store"} 1"#
        ),
        "{text}"
    );
    assert!(text.contains(r#"rate_limit_hits_total{endpoint="/narrow"} 0"#), "{text}");
}

#[tokio::test]
async fn decisions_are_counted_by_limit_and_endpoint() {
    let telemetry = Telemetry::builder().build().unwrap();
    let tried = Terms::from(rate("1/minute")).mode(Mode::Shadow);
    let builder = Policy::builder()
        .default_limit(rate("60/minute, burst 10"))
        .endpoint("/narrow", rate("60/minute, burst 2"))
        .limit(Rule::new("tried", tried).per(Per::Everyone));
    let limiter = Limiter::builder(builder.build().unwrap())
        .clock(clock())
        .recorders(telemetry.recorders())
        .build();
    for _ in 0..5 {
        limiter.check(&get("alice", "/narrow")).await.unwrap();
    }
    limiter.check_all(&[get("alice", "/a"), get("alice", "/b")]).await;
    // None of these is a decision about a request.
    limiter.peek(&get("alice", "/narrow")).await.unwrap();
    limiter.charge(&get("alice", "/a")).await.unwrap();
    limiter.give_back(&get("alice", "/a")).await.unwrap();
    limiter.reset(&get("alice", "/a")).await.unwrap();
    let text = telemetry.prometheus().render().unwrap();
    for line in [
        r#"sluice_decisions_total{limit="/narrow",outcome="allowed",source="store"} 2"#,
        r#"sluice_decisions_total{limit="/narrow",outcome="denied",source="store"} 3"#,
        r#"sluice_decisions_total{limit="default",outcome="allowed",source="store"} 2"#,
        r#"sluice_decisions_total{limit="tried",outcome="shadow_denied",source="store"} 6"#,
        r#"rate_limit_hits_total{endpoint="/narrow"} 3"#,
        r#"rate_limit_hits_total{endpoint="other"} 0"#,
    ] {
        assert!(text.contains(line), "{line} is missing from\n{text}");
    }
}

#[tokio::test]
async fn only_a_check_that_waits_is_timed() {
    let telemetry = Telemetry::builder().build().unwrap();
    let timed = || {
        let text = telemetry.prometheus().render().unwrap();
        let count = text.lines().find_map(|line| {
            line.strip_prefix(r#"sluice_check_duration_seconds_count{source="store"} "#)
                .map(str::to_owned)
        });
        count.unwrap_or_default()
    };
    let immediate = Limiter::builder(policy(5)).recorders(telemetry.recorders()).build();
    immediate.check(&get("alice", "/a")).await.unwrap();
    immediate.check_all(&[get("alice", "/a")]).await;
    assert_eq!(timed(), "0");
    let store = Arc::new(Slow::over(MemoryStore::new()));
    store.let_through(1);
    let slow = Limiter::builder(policy(5)).store(store).recorders(telemetry.recorders()).build();
    slow.check(&get("alice", "/a")).await.unwrap();
    assert_eq!(timed(), "1");
}

#[test]
fn checks_can_move_between_threads() {
    fn assert_send<T: Send>(_: &T) {}
    let limiter = limiter(policy(1));
    let request = get("alice", "/a");
    assert_send(&limiter.check(&request));
    assert_send(&limiter.check_all(std::slice::from_ref(&request)));
}
