//! What an attacker sends, and a tired engineer.

use serde_json::{Value, json};
use sluice_testkit::{RedisServer, Sluice};
use sluice_tests::{
    fleet::{Fleet, LONG_TIMEOUT, memory_replica},
    http::{Client, Request, Response},
};

use crate::desk::{BUDGET, Desk, estimate, reservation, settlement};

#[track_caller]
fn assert_problem(response: &Response, status: u16, problem: &str) {
    assert_eq!(
        (response.status, response.problem().as_deref()),
        (status, Some(problem)),
        "{response}"
    );
}

/// The body was refused, for a value that is wrong or of the wrong kind.
#[track_caller]
fn assert_refused(response: &Response) {
    let problem = response.problem();
    let known = ["invalid-request", "malformed-body"].map(|kind| Some(kind.to_owned()));
    assert!(response.status == 400 && known.contains(&problem), "{response}");
}

fn started() -> (Sluice, Desk) {
    let sluice = memory_replica(BUDGET);
    let desk = Desk::of(sluice.http_addr());
    (sluice, desk)
}

#[tokio::test]
async fn a_reservation_with_any_other_bit_is_unknown() {
    let (_sluice, mut desk) = started();
    let held = desk.reserve(100).await;
    for cut in [0, 1, held.len() / 2, held.len() - 1] {
        assert_problem(&desk.settle(&held[..cut], 0).await, 404, "reservation-unknown");
    }
    for place in (0..held.len()).step_by(7) {
        for bit in [1, 2, 4, 32] {
            let mut bytes = held.clone().into_bytes();
            bytes[place] ^= bit;
            let Ok(text) = String::from_utf8(bytes) else { continue };
            let settled = desk.settle(&text, 0).await;
            assert_problem(&settled, 404, "reservation-unknown");
        }
    }
    let doubled = held.clone() + &held;
    let padded = format!("{held}==");
    let huge = "A".repeat(900_000) + "." + &"A".repeat(43);
    for text in [doubled, padded, huge, format!("{held}\u{0}"), "ä.ö".to_owned()] {
        assert_problem(&desk.settle(&text, 0).await, 404, "reservation-unknown");
    }
    let too_long = desk.settle(&"A".repeat(1 << 20), 0).await;
    assert_eq!(too_long.status, 413, "{too_long}");
    let refused = desk.refused("unknown_reservation", "settle").await;
    assert!(refused > 100, "{refused}");
    assert_eq!(desk.settled(&held, 40).await, "settled");
    assert_eq!(desk.left().await, 2_960);
}

#[tokio::test]
async fn a_used_reservation_makes_no_tokens() {
    let fleet = Fleet::start(1, RedisServer::start(), LONG_TIMEOUT, BUDGET);
    let mut desk = Desk::of(fleet.addresses()[0]);
    desk.reserve(2_000).await;
    let held = desk.reserve(500).await;
    assert_eq!(desk.settled(&held, 0).await, "settled");
    for _ in 0..50 {
        assert_eq!(desk.settled(&held, 0).await, "repeated");
        assert_problem(&desk.settle(&held, 1).await, 409, "hold-conflict");
        let more = json!({ "reservation": held, "costs": { "output_tokens": 1 } });
        assert_problem(&desk.0.post("/v1/extend", &more).await, 409, "hold-conflict");
    }
    assert_eq!(desk.left().await, 1_000);
    // Nor does a store that lost its memory: its buckets are full already.
    fleet.redis.command(&["FLUSHALL"]);
    let taken = desk.reserve(100).await;
    assert_eq!(desk.settled(&held, 0).await, "late");
    assert_eq!(desk.left().await, 3_000, "at most one hold over");
    for _ in 0..3 {
        assert_eq!(desk.settled(&held, 0).await, "repeated");
    }
    assert_eq!(desk.settled(&taken, 100).await, "settled");
}

#[tokio::test]
async fn amounts_have_bounds() {
    let (_sluice, mut desk) = started();
    let held = desk.reserve(100).await;
    for tokens in [json!(1_000_000_000_001_u64), json!(u64::MAX), json!(-1), json!(1.5), json!("5")]
    {
        let body = json!({ "reservation": held, "costs": { "input_tokens": tokens } });
        assert_refused(&desk.0.post("/v1/settle", &body).await);
    }
    for cost in [json!(-0.01), json!(1e13), json!("1")] {
        let body = json!({ "reservation": held, "costs": { "cost": cost } });
        assert_refused(&desk.0.post("/v1/settle", &body).await);
    }
    let absurd = json!({ "reservation": held, "costs": { "input_tokens": 1e300 } });
    for path in ["/v1/extend", "/v1/settle"] {
        assert_refused(&desk.0.post(path, &absurd).await);
    }
    assert_eq!(desk.left().await, 2_900);
    assert_eq!(desk.refused("bad_request", "settle").await, 9);
    assert_eq!(desk.refused("bad_request", "extend").await, 1);
    // The largest amount is a debt, and nothing overflows.
    assert_eq!(desk.settled(&held, 1_000_000_000_000).await, "settled");
    assert_eq!(desk.left().await, 0);
    let both = json!({
        "client": "bob",
        "costs": { "input_tokens": 1_000_000_000_000_u64, "output_tokens": 1_000_000_000_000_u64 },
    });
    let held = desk.0.post("/v1/reserve", &both).await;
    assert_eq!(held.json()["clamped"], json!(["tokens"]), "{held}");
    let too_much = json!({ "client": "bob", "costs": { "input_tokens": 1_000_000_000_001_u64 } });
    assert_refused(&desk.0.post("/v1/reserve", &too_much).await);
    assert_eq!(desk.refused("bad_request", "reserve").await, 1);
}

#[tokio::test]
async fn the_time_of_a_hold_has_bounds() {
    let (_sluice, mut desk) = started();
    for (hold_for, is_good) in [
        ("1s", true),
        ("1h", true),
        ("1h 1ms", false),
        ("999ms", false),
        ("0s", false),
        ("-1s", false),
        ("10", false),
        ("", false),
        ("584942417355y", false),
        ("99999999999999999999s", false),
    ] {
        let mut body = estimate(1);
        body["hold_for"] = json!(hold_for);
        let held = desk.0.post("/v1/reserve", &body).await;
        if is_good {
            assert_eq!(held.status, 200, "{hold_for}: {held}");
        } else {
            assert_refused(&held);
        }
    }
    assert_eq!(desk.left().await, 2_998);
}

#[tokio::test]
async fn any_text_is_an_id_and_a_very_long_one_is_none() {
    let (_sluice, mut desk) = started();
    let mut expected = 3_000;
    let controls: String = (0_u8..128).map(char::from).cycle().take(256).collect();
    for id in [controls.as_str(), "\u{0}", "ä😀", "{mm}", "a\r\nSET x y", " "] {
        for state in ["held", "repeated"] {
            let mut body = estimate(10);
            body["id"] = json!(id);
            let held = desk.0.post("/v1/reserve", &body).await;
            assert_eq!(held.json()["state"], state, "{id:?}: {held}");
        }
        expected -= 10;
    }
    assert_eq!(desk.left().await, expected);
    for id in [json!("x".repeat(257)), json!("ä".repeat(129)), json!(""), json!(7), json!(["a"])] {
        let mut body = estimate(10);
        body["id"] = id;
        assert_refused(&desk.0.post("/v1/reserve", &body).await);
    }
}

#[tokio::test]
async fn ten_thousand_holds_with_one_id_are_one() {
    let (sluice, mut desk) = started();
    let mut body = estimate(10);
    body["id"] = json!("the same");
    let first = desk.0.post("/v1/reserve", &body).await;
    assert_eq!(first.json()["state"], "held");
    let mut connection = sluice_tests::http::Connection::open(sluice.http_addr()).await.unwrap();
    let request = Request::post("/v1/reserve", &body).to_bytes();
    // Pipelined in parts that fit into the buffers of both sides.
    for _ in 0..500 {
        connection.write(&request.repeat(20)).await.unwrap();
        for _ in 0..20 {
            let again = connection.response().await.unwrap();
            assert_eq!((again.status, &again.json()["state"]), (200, &json!("repeated")));
        }
    }
    assert_eq!(desk.left().await, 2_990);
    assert_eq!(desk.settled(&reservation(&first), 4).await, "settled");
    assert_eq!(desk.left().await, 2_996);
}

#[tokio::test]
async fn what_is_none_of_these_requests_is_an_error_with_its_place() {
    let (sluice, mut desk) = started();
    let held = desk.reserve(10).await;
    let bodies: [(&str, Value, u16); 8] = [
        ("/v1/reserve", json!({ "client": "alice", "costs": {}, "cost": 1 }), 400),
        ("/v1/reserve", json!({ "client": "alice", "costs": { "tokens": 1 } }), 400),
        ("/v1/reserve", json!({ "client": "alice", "costs": [] }), 400),
        ("/v1/settle", json!({ "reservation": held }), 400),
        ("/v1/settle", json!({ "costs": {} }), 400),
        ("/v1/settle", json!({ "reservation": null, "costs": {} }), 400),
        ("/v1/settle", json!({ "reservation": held, "costs": {}, "client": "bob" }), 400),
        ("/v1/extend", json!({ "reservation": held, "costs": { "requests": 1 } }), 400),
    ];
    for (path, body, status) in bodies {
        let response = desk.0.post(path, &body).await;
        assert_eq!(response.status, status, "{path} {body}: {response}");
        assert!(response.problem().is_some(), "{path} {body}: {response}");
    }
    let mut client = Client::of(sluice.http_addr());
    for path in ["/v1/reserve", "/v1/extend", "/v1/settle"] {
        let got = client.get(path).await;
        assert_eq!((got.status, got.header("allow")), (405, Some("POST")), "{got}");
        let text = Request::new("POST", path).header("content-type", "text/plain").body("x");
        assert_eq!(client.send(&text).await.status, 415);
        let broken =
            Request::new("POST", path).header("content-type", "application/json").body("{");
        assert_problem(&client.send(&broken).await, 400, "malformed-body");
    }
    assert_eq!(desk.left().await, 2_990);
    let settled = desk.0.post("/v1/settle", &settlement(&held, 10)).await;
    assert_eq!(settled.json()["state"], "settled");
}
