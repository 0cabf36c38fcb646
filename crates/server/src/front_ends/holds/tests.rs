//! Holds over HTTP, without a socket.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use sluice::{
    Counts, MemoryStore, Metering, MicroUnits, Policy, Rate, Recorders, Rule, Tagger, Terms,
};
use sluice_core::{Currency, Prices, Timestamp, TokenPrices};
use sluice_store::ManualClock;

use super::Seals;
use crate::front_ends::fixtures::{Port, PortResponse};

const START: Timestamp = Timestamp::from_unix_micros(1_800_000_000_000_000);

struct Desk {
    port: Port,
    clock: Arc<ManualClock>,
}

impl Desk {
    /// Three thousand tokens a day, and a dollar; ten requests at a time.
    fn new() -> Self {
        let metered = |rate: &str, counts| {
            let metering = Metering { counts, hold_for: Duration::from_secs(60) };
            Terms::from(rate.parse::<Rate>().unwrap()).metering(Some(metering))
        };
        let policy = Policy::builder()
            .default_limit("1/day, burst 10".parse::<Rate>().unwrap())
            .limit(Rule::new("tokens", metered("1/day, burst 3000", Counts::TOTAL_TOKENS)))
            .limit(Rule::new("money", metered("1000000/day", Counts::Money)))
            .build()
            .unwrap();
        let clock = Arc::new(ManualClock::new(START));
        let store = Arc::new(MemoryStore::with_clock(Arc::clone(&clock)));
        let port = Port::recording(policy, store, &Recorders::disabled());
        let dollars = MicroUnits::from_units;
        let prices = Prices::new(Currency::USD)
            .with_model("large", TokenPrices::new(dollars(10), dollars(100)));
        port.events.set_prices(prices);
        Self { port, clock }
    }

    async fn reserve(&self, body: &Value) -> PortResponse {
        self.port.post("/v1/reserve", body).await
    }

    async fn settle(&self, reservation: &str, costs: Value) -> PortResponse {
        let body = json!({ "reservation": reservation, "costs": costs });
        self.port.post("/v1/settle", body).await
    }

    async fn extend(&self, reservation: &str, costs: Value) -> PortResponse {
        let body = json!({ "reservation": reservation, "costs": costs });
        self.port.post("/v1/extend", body).await
    }

    /// What is left of each limit, by name.
    async fn left(&self) -> (u64, u64, u64) {
        let got = self.port.post("/v1/check", json!({ "client": "alice", "cost": 0 })).await;
        let limits = got.body["limits"].as_array().unwrap();
        let left = |name: &str| {
            let limit = limits.iter().find(|limit| limit["name"] == name).unwrap();
            limit["remaining"].as_u64().unwrap()
        };
        (left("default"), left("tokens"), left("money"))
    }
}

fn asking(input: u64, output: u64) -> Value {
    json!({
        "client": "alice", "method": "POST", "path": "/chat", "model": "large",
        "costs": { "input_tokens": input, "output_tokens": output },
    })
}

fn reservation(got: &PortResponse) -> &str {
    got.body["reservation"].as_str().unwrap_or_else(|| panic!("{}", got.body))
}

#[tokio::test]
async fn an_estimate_is_held_and_corrected_once() {
    let desk = Desk::new();
    let held = desk.reserve(&asking(800, 1_000)).await;
    assert_eq!((held.status.as_u16(), &held.body["state"]), (200, &json!("held")), "{}", held.body);
    assert_eq!(held.body["expires_in"], "60s");
    assert_eq!(held.body.get("clamped"), None);
    assert!(held.header("x-ratelimit-remaining").is_some());
    // 800 tokens at 10 and 1,000 at 100 dollars a million are 0.108 dollars.
    assert_eq!(desk.left().await, (9, 1_200, 892_000));
    let used = json!({ "input_tokens": 790, "output_tokens": 311 });
    for state in ["settled", "repeated"] {
        let settled = desk.settle(reservation(&held), used.clone()).await;
        let expected = json!({
            "state": state,
            "charged": { "tokens": 1_101, "money": 39_000 },
            "given_back": { "tokens": 699, "money": 69_000 },
            "overrun": {},
        });
        assert_eq!((settled.status.as_u16(), settled.body), (200, expected));
        assert_eq!(desk.left().await, (9, 1_899, 961_000));
    }
    let other = desk.settle(reservation(&held), json!({ "output_tokens": 1 })).await;
    assert_eq!(other.problem(), Some("urn:sluice:problem:hold-conflict"), "{}", other.body);
    assert_eq!(other.status.as_u16(), 409);
    assert_eq!(desk.left().await, (9, 1_899, 961_000));
}

#[tokio::test]
async fn what_does_not_fit_is_denied_whole() {
    let desk = Desk::new();
    assert_eq!(desk.reserve(&asking(1_000, 1_500)).await.status.as_u16(), 200);
    let before = desk.left().await;
    let denied = desk.reserve(&asking(500, 1)).await;
    assert_eq!(denied.status.as_u16(), 429);
    assert_eq!(denied.problem(), Some("urn:sluice:problem:rate-limited"));
    assert!(denied.header("retry-after").is_some());
    assert_eq!(desk.left().await, before, "not even the request was taken");
}

#[tokio::test]
async fn the_same_id_is_the_same_hold() {
    let desk = Desk::new();
    let mut body = asking(100, 100);
    body["id"] = json!("request-7");
    let first = desk.reserve(&body).await;
    assert_eq!(first.body["state"], "held");
    let again = desk.reserve(&body).await;
    assert_eq!((again.status.as_u16(), &again.body["state"]), (200, &json!("repeated")));
    assert_eq!(desk.left().await.1, 2_800);
    // Either text settles it.
    let settled = desk.settle(reservation(&again), json!({ "input_tokens": 5 })).await;
    assert_eq!(settled.body["state"], "settled");
    assert_eq!(desk.left().await.1, 2_995);
    let settled = desk.settle(reservation(&first), json!({ "input_tokens": 5 })).await;
    assert_eq!(settled.body["state"], "repeated");
    for costs in [json!({ "input_tokens": 100, "output_tokens": 100 }), json!({})] {
        body["costs"] = costs;
        let conflict = desk.reserve(&body).await;
        assert_eq!(conflict.problem(), Some("urn:sluice:problem:hold-conflict"));
    }
    body["client"] = json!("bob");
    assert_eq!(desk.reserve(&body).await.body["state"], "held", "ids are the client's own");
}

#[tokio::test]
async fn nothing_used_gives_all_back_and_too_much_is_charged() {
    let desk = Desk::new();
    let held = desk.reserve(&asking(10, 10)).await;
    let settled = desk.settle(reservation(&held), json!({})).await;
    assert_eq!(settled.body["given_back"], json!({ "tokens": 20, "money": 1_100 }));
    assert_eq!(desk.left().await, (9, 3_000, 1_000_000), "the request itself was made");
    let held = desk.reserve(&asking(10, 10)).await;
    let settled = desk.settle(reservation(&held), json!({ "output_tokens": 5_000 })).await;
    assert_eq!(settled.body["overrun"]["tokens"], 4_980);
    let denied = desk.port.post("/v1/check", json!({ "client": "alice" })).await;
    assert_eq!(denied.status.as_u16(), 429, "the bucket is in debt");
}

#[tokio::test]
async fn an_estimate_above_the_burst_holds_the_burst() {
    let desk = Desk::new();
    let held = desk.reserve(&asking(4_000, 0)).await;
    assert_eq!((held.status.as_u16(), &held.body["clamped"]), (200, &json!(["tokens"])));
    assert_eq!(desk.left().await.1, 0);
    let settled = desk.settle(reservation(&held), json!({ "input_tokens": 3_500 })).await;
    assert_eq!(settled.body["overrun"]["tokens"], 500);
}

#[tokio::test]
async fn a_hold_can_grow() {
    let desk = Desk::new();
    let held = desk.reserve(&asking(100, 100)).await;
    let more = json!({ "output_tokens": 300 });
    let grown = desk.extend(reservation(&held), more.clone()).await;
    assert_eq!((grown.status.as_u16(), &grown.body["state"]), (200, &json!("held")));
    assert_eq!(desk.left().await, (9, 2_500, 959_000), "a request is one request");
    assert_eq!(desk.extend(reservation(&held), more).await.body["state"], "repeated");
    assert_eq!(desk.left().await.1, 2_500);
    let other = desk.reserve(&asking(1_000, 0)).await;
    let denied = desk.extend(reservation(&grown), json!({ "input_tokens": 1_501 })).await;
    assert_eq!(denied.status.as_u16(), 429);
    assert_eq!(desk.settle(reservation(&other), json!({})).await.status.as_u16(), 200);
    let settled = desk.settle(reservation(&grown), json!({ "input_tokens": 400 })).await;
    assert_eq!(settled.body["charged"]["tokens"], 400);
    assert_eq!(desk.left().await.1, 2_600);
    let late = desk.extend(reservation(&grown), json!({ "input_tokens": 1 })).await;
    assert_eq!(late.problem(), Some("urn:sluice:problem:hold-conflict"));
}

#[tokio::test]
async fn an_extension_makes_a_hold_last_longer() {
    let desk = Desk::new();
    let held = desk.reserve(&asking(100, 100)).await;
    let mut text = reservation(&held).to_owned();
    for _ in 0..3 {
        desk.clock.advance(Duration::from_secs(100));
        let longer = desk.extend(&text, json!({})).await;
        assert_eq!((longer.status.as_u16(), &longer.body["state"]), (200, &json!("held")));
        text = reservation(&longer).to_owned();
    }
    assert_eq!(desk.left().await.1, 2_800, "nothing more was taken");
    desk.clock.advance(Duration::from_secs(119));
    let settled = desk.settle(&text, json!({ "input_tokens": 5 })).await;
    assert_eq!(
        (&settled.body["state"], &settled.body["given_back"]["tokens"]),
        (&json!("settled"), &json!(195),)
    );
    assert_eq!(desk.left().await.1, 2_995);
    // Whatever was signed before, and whenever it is sent: it gives nothing back again.
    desk.clock.advance(Duration::from_secs(200));
    for text in [reservation(&held), &text] {
        let longer = desk.extend(text, json!({})).await;
        let again = desk.settle(reservation(&longer), json!({})).await;
        assert_eq!(again.body["given_back"], json!({}), "{}", again.body);
    }
    assert_eq!(desk.left().await.1, 2_995);
}

#[tokio::test]
async fn what_is_settled_too_late_stays_charged() {
    let desk = Desk::new();
    let held = desk.reserve(&asking(100, 100)).await;
    desk.clock.advance(Duration::from_secs(121));
    let settled = desk.settle(reservation(&held), json!({ "input_tokens": 5 })).await;
    assert_eq!(settled.body["state"], "late");
    assert_eq!(settled.body["charged"]["tokens"], 200);
    assert_eq!(desk.left().await.1, 2_800);
}

#[tokio::test]
async fn a_reservation_that_is_repeated_gives_nothing_back_twice() {
    for hold_for in ["30s", "60s"] {
        let desk = Desk::new();
        desk.reserve(&asking(1_000, 0)).await;
        let mut body = asking(100, 100);
        (body["id"], body["hold_for"]) = (json!("request-7"), json!("30s"));
        let first = desk.reserve(&body).await;
        desk.clock.advance(Duration::from_secs(10));
        let soon = desk.reserve(&body).await;
        assert_eq!(soon.body["expires_in"], "20s", "{}", soon.body);
        desk.clock.advance(Duration::from_secs(40));
        body["hold_for"] = json!(hold_for);
        let again = desk.reserve(&body).await;
        assert_eq!(again.body["state"], "repeated");
        let settled = desk.settle(reservation(&first), json!({})).await;
        assert_eq!(settled.body["given_back"]["tokens"], 200, "{}", settled.body);
        assert_eq!(desk.left().await.1, 2_000);
        // The record is gone now, and with it what knows that the hold is settled.
        desk.clock.advance(Duration::from_secs(11));
        let replayed = desk.settle(reservation(&again), json!({})).await;
        assert_eq!(replayed.body["charged"]["tokens"], 200, "{}", replayed.body);
        assert_eq!(desk.left().await.1, 2_000);
    }
}

#[tokio::test]
async fn bad_input_gets_an_error_and_takes_nothing() {
    let desk = Desk::new();
    let before = desk.left().await;
    let bodies = [
        ("costs", json!({ "client": "alice" })),
        ("costs.input_tokens", asking(u64::MAX, 0)),
        (
            "costs.input_tokens",
            json!({ "client": "alice", "costs": { "input_tokens": 1, "cached_input_tokens": 2 } }),
        ),
        ("costs.cost", json!({ "client": "alice", "costs": { "cost": -1 } })),
        ("costs.cost", json!({ "client": "alice", "costs": { "cost": 1e300 } })),
        ("costs.output_tokens", json!({ "client": "alice", "costs": { "output_tokens": "many" } })),
        ("costs.output_tokens", json!({ "client": "alice", "costs": { "output_tokens": -1 } })),
        ("costs", json!({ "client": "alice", "model": "unknown", "costs": { "input_tokens": 1 } })),
        ("hold_for", json!({ "client": "alice", "hold_for": "61s", "costs": { "cost": 0 } })),
        ("hold_for", json!({ "client": "alice", "hold_for": "10", "costs": { "cost": 0 } })),
        ("hold_for", json!({ "client": "alice", "hold_for": "1ms", "costs": { "cost": 0 } })),
        ("id", json!({ "client": "alice", "id": "", "costs": { "cost": 0 } })),
        ("model", json!({ "client": "alice", "model": "", "costs": { "cost": 0 } })),
        ("client", json!({ "costs": { "cost": 0 } })),
    ];
    for (field, body) in bodies {
        let got = desk.reserve(&body).await;
        assert_eq!(got.status.as_u16(), 400, "{body}: {}", got.body);
        assert!(got.body["detail"].as_str().unwrap().contains(field), "{field}: {}", got.body);
    }
    assert_eq!(desk.left().await, before);
}

#[tokio::test]
async fn only_reservations_of_this_fleet_are_settled() {
    let desk = Desk::new();
    let held = desk.reserve(&asking(100, 100)).await;
    let text = reservation(&held);
    let (content, signature) = text.split_once('.').unwrap();
    let other = Desk::new();
    let of_other = other.reserve(&asking(100, 100)).await;
    let (_, of_other_key) = reservation(&of_other).split_once('.').unwrap();
    for wrong in [
        "",
        ".",
        content,
        &format!("{content}."),
        &format!("{content}.{of_other_key}"),
        &format!("{content}A.{signature}"),
        &format!("{text} "),
        &"A".repeat(50_000),
    ] {
        for got in [
            desk.settle(wrong, json!({})).await,
            desk.extend(wrong, json!({ "input_tokens": 1 })).await,
        ] {
            assert_eq!(got.status.as_u16(), 404, "{wrong}: {}", got.body);
            assert_eq!(got.problem(), Some("urn:sluice:problem:reservation-unknown"));
        }
    }
    let requests = desk.settle(text, json!({ "requests": 2 })).await;
    assert_eq!(requests.status.as_u16(), 400);
    assert_eq!(desk.left().await.1, 2_800);
    assert_eq!(desk.settle(text, json!({})).await.status.as_u16(), 200);
}

#[tokio::test]
async fn a_changed_secret_accepts_what_was_signed_before() {
    let desk = Desk::new();
    let held = desk.reserve(&asking(1, 1)).await;
    let (old, new) = (Tagger::new(b"old"), Tagger::new(b"new"));
    let (writer, reader) = (Seals::new("a", &old), Seals::new("a", &old));
    let sealed = desk.port.seals.open(reservation(&held)).unwrap();
    let text = writer.seal(&sealed);
    assert_eq!(reader.open(&text), Some(sealed.clone()), "all of it is in the text");
    assert_eq!(Seals::new("b", &old).open(&text), None, "another fleet");
    reader.follow(&new);
    assert!(reader.open(&text).is_some());
    writer.follow(&new);
    assert!(reader.open(&writer.seal(&sealed)).is_some());
    reader.follow(&Tagger::new(b"newer"));
    assert!(reader.open(&text).is_some());
    reader.follow(&Tagger::new(b"newest"));
    assert_eq!(reader.open(&text), None);
}

#[tokio::test]
async fn replicas_without_a_secret_agree_on_a_key() {
    let desk = Desk::new();
    let held = desk.reserve(&asking(1, 1)).await;
    let sealed = desk.port.seals.open(reservation(&held)).unwrap();
    let (one, two) = (Seals::new("a", &Tagger::new(b"")), Seals::new("a", &Tagger::new(b"")));
    let early = two.seal(&sealed);
    assert_eq!(one.open(&early), None, "each has made up a key");
    two.replace_own(&one.own_key().unwrap());
    assert!(one.open(&two.seal(&sealed)).is_some());
    assert!(two.open(&early).is_some(), "what was signed before is still its own");
    two.follow(&Tagger::new(b"secret"));
    assert_eq!(two.own_key(), None);
    let signed = two.seal(&sealed);
    two.follow(&Tagger::new(b""));
    assert!(two.own_key().is_some(), "without a secret, replicas agree again");
    two.replace_own(&one.own_key().unwrap());
    assert!(one.open(&two.seal(&sealed)).is_some());
    assert!(two.open(&signed).is_some(), "what the secret signed stays valid");
}

#[tokio::test]
async fn a_reservation_of_many_limits_is_settled_too() {
    let metering = Some(Metering::new(Counts::TOTAL_TOKENS));
    let rate = "1/day, burst 1000".parse::<Rate>().unwrap();
    let mut policy = Policy::builder();
    for number in 0..500 {
        let name = format!("{number}-{}", "x".repeat(100));
        policy = policy.limit(Rule::new(name, Terms::from(rate).metering(metering)));
    }
    let store = Arc::new(MemoryStore::new());
    let port = Port::recording(policy.build().unwrap(), store, &Recorders::disabled());
    let body = json!({ "client": "alice", "costs": { "input_tokens": 100 } });
    let held = port.post("/v1/reserve", body).await;
    let body = json!({ "reservation": reservation(&held), "costs": { "input_tokens": 40 } });
    let settled = port.post("/v1/settle", body).await;
    assert_eq!(settled.body["state"], "settled", "{}", settled.body);
    assert_eq!(settled.body["charged"].as_object().unwrap().len(), 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_parallel_requests_share_a_budget_for_three() {
    let desk = Desk::new();
    let bodies: Vec<_> = (0..30)
        .map(|_| {
            json!({
                "client": "alice", "costs": { "input_tokens": 1_000, "cost": 0 },
            })
        })
        .collect();
    let desk = Arc::new(desk);
    let asked: Vec<_> = bodies
        .into_iter()
        .map(|body| {
            let desk = Arc::clone(&desk);
            tokio::spawn(async move { desk.reserve(&body).await.status.as_u16() })
        })
        .collect();
    let mut held = 0;
    for asked in asked {
        held += usize::from(asked.await.unwrap() == 200);
    }
    assert_eq!(held, 3);
}
