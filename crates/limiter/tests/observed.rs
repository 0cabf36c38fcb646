//! An observer sees the decisions about requests that take tokens, and no others.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use sluice::{Client, Decided, Limiter, ObserveDecisions, Policy, Rate, Request, Tier};

#[derive(Debug, Default)]
struct Seen {
    switch: Arc<AtomicBool>,
    lines: Mutex<Vec<String>>,
}

impl ObserveDecisions for Seen {
    fn switch(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.switch)
    }

    fn observe(&self, decided: &Decided<'_>) {
        let Decided { decision, tier, method, endpoint, client, .. } = *decided;
        assert!(client.is_some());
        let outcome = if decision.is_allowed() { "allowed" } else { "denied" };
        let line = format!("{outcome} {method:?} {endpoint:?} {tier:?}");
        self.lines.lock().expect("no test panics here").push(line);
    }
}

impl Seen {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.lines.lock().expect("no test panics here"))
    }
}

fn limiter(seen: &Arc<Seen>) -> Limiter {
    let rate: Rate = "1/day, burst 2".parse().expect("a rate");
    let policy = Policy::builder()
        .default_limit(rate)
        .endpoint("/orders", rate)
        .tier(Tier::new("pro").client("pro"))
        .exempt("/health");
    let policy = policy.build().expect("a valid policy");
    Limiter::builder(policy).observer(seen.clone()).build()
}

fn put<'a>(client: &'a str, path: &'a str) -> Request<'a> {
    Request::new(Client::Key(client.as_bytes()), "PUT", path)
}

#[tokio::test]
async fn while_the_switch_is_off_only_denials_are_seen() {
    let seen = Arc::new(Seen::default());
    let limiter = limiter(&seen);
    for _ in 0..3 {
        let checked = limiter.check(&put("pro", "/orders/7")).await;
        assert!(checked.is_ok());
    }
    assert_eq!(seen.take(), [r#"denied Some("PUT") Some("/orders") Some("pro")"#]);
    let key = limiter.check_key("alice").await;
    assert!(key.is_ok_and(|checked| checked.is_allowed()));
    assert_eq!(seen.take(), [""; 0]);

    seen.switch.store(true, Relaxed);
    let requests = [put("alice", "/"), put("alice", "/"), put("bob", "/health")];
    assert_eq!(limiter.check_all(&requests).await.len(), 3);
    let [allowed, denied] =
        ["allowed", "denied"].map(|outcome| format!(r#"{outcome} Some("PUT") Some("other") None"#));
    assert_eq!(seen.take(), [allowed, denied], "no limit applies to the last one");
    assert!(limiter.check_key("carol").await.is_ok());
    assert_eq!(seen.take(), [r#"allowed None Some("other") None"#]);
}

#[tokio::test]
async fn what_takes_no_tokens_of_a_request_is_not_seen() {
    let seen = Arc::new(Seen::default());
    let limiter = limiter(&seen);
    seen.switch.store(true, Relaxed);
    let request = put("alice", "/");
    assert!(limiter.charge(&request).await.is_ok());
    assert!(limiter.charge(&request).await.is_ok());
    assert!(limiter.peek(&request).await.is_ok_and(|checked| checked.is_denied()));
    assert!(limiter.give_back(&request).await.is_ok());
    assert!(limiter.reset(&request).await.is_ok());
    assert_eq!(seen.take(), [""; 0]);
}
