//! The log of decisions.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

use std::cell::Cell;

use serde_json::{Value, json};
use sluice_testkit::{Sluice, eventually_async};
use sluice_tests::{command::CommandLine, fleet::memory_replica, http::Client};

const LIMITS: &str = "\
log: { format: json }
defaults: { rate: 2/day, burst: 2 }
tiers: { pro: { clients: [key-of-pro] } }
limits: [{ name: trial, rate: 1/day, burst: 1, mode: shadow }]
";

/// Returns the lines about decisions.
fn lines(sluice: &Sluice) -> Vec<Value> {
    let log = sluice.log();
    let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.filter(|line: &Value| line["target"] == "sluice::decisions").collect()
}

fn with(decisions: &str) -> String {
    LIMITS.replace("format: json", &format!("format: json, decisions: {decisions}"))
}

async fn check(client: &mut Client, who: &str) -> u16 {
    let body = json!({ "client": who, "method": "PUT", "path": "/orders" });
    client.post("/v1/check", &body).await.status
}

#[tokio::test]
async fn denials_are_logged_with_who_and_why() {
    let sluice = memory_replica(&with("{}"));
    let mut client = Client::of(sluice.http_addr());
    for expected in [200, 200, 429] {
        assert_eq!(check(&mut client, "key-of-pro").await, expected);
    }
    let lines = lines(&sluice);
    assert_eq!(lines.len(), 2, "{lines:?}");
    let (shadow, denied) = (&lines[0], &lines[1]);
    assert_eq!((&shadow["outcome"], &shadow["limit"]), (&json!("shadow_denied"), &json!("trial")));
    assert_eq!(shadow["shadow"], true);
    for (name, value) in [
        ("level", json!("INFO")),
        ("message", json!("decision")),
        ("outcome", json!("denied")),
        ("limit", json!("default")),
        ("tier", json!("pro")),
        ("method", json!("PUT")),
        ("endpoint", json!("other")),
        ("source", json!("store")),
        ("remaining", json!(0)),
        ("cost", json!(1)),
        ("shadow", json!(false)),
    ] {
        assert_eq!(denied[name], value, "{name}: {denied}");
    }
    assert!(denied["retry_after"].as_u64().unwrap() > 43_000, "{denied}");
    let config = std::fs::read_to_string(sluice.config_path()).unwrap();
    let hash = CommandLine::new(&["hash", "key-of-pro"]).file("sluice.yaml", &config).run();
    assert_eq!(denied["client"], hash.out.trim_end());
    assert!(!sluice.log().contains("key-of-pro"), "{}", sluice.log());
}

#[tokio::test]
async fn a_flood_is_cut_off_and_what_is_left_out_is_counted() {
    let sluice = memory_replica(&with("{ per_second: 3 }"));
    let mut client = Client::of(sluice.http_addr());
    let asked = 600;
    for _ in 0..asked {
        check(&mut client, "alice").await;
    }
    let logged = lines(&sluice).iter().filter(|line| line["message"] == "decision").count();
    assert!((3..asked).contains(&logged), "{logged}");
    // Two are allowed, and one more is denied in shadow mode only; no line follows.
    let denied = asked as u64 - 1;
    eventually_async("the lines that were left out are reported", async || {
        let lines = lines(&sluice);
        let decisions = lines.iter().filter(|line| line["message"] == "decision").count() as u64;
        let left_out: u64 = lines.iter().filter_map(|line| line["left_out"].as_u64()).sum();
        if decisions + left_out == denied {
            Ok(())
        } else {
            Err(format!("{decisions} are logged, and {left_out} are reported as left out"))
        }
    })
    .await;
}

#[tokio::test]
async fn it_is_off_by_default_and_is_switched_while_running() {
    let sluice = memory_replica(LIMITS);
    let mut client = Client::of(sluice.http_addr());
    for _ in 0..4 {
        check(&mut client, "alice").await;
    }
    assert_eq!(lines(&sluice), Vec::<Value>::new());
    let ask_until = async |client: &mut Client, what: &str, wanted: &dyn Fn(&[Value]) -> bool| {
        eventually_async(what, async || {
            check(client, "bob").await;
            if wanted(&lines(&sluice)) { Ok(()) } else { Err("not yet".to_owned()) }
        })
        .await;
    };
    sluice.rewrite_config(&with("{ denied: 0, allowed: 1 }"));
    let newcomers = Cell::new(0);
    eventually_async("allowed decisions are logged", async || {
        newcomers.set(newcomers.get() + 1);
        check(&mut client, &format!("newcomer-{}", newcomers.get())).await;
        let allowed = |line: &Value| line["outcome"] == "allowed";
        if lines(&sluice).iter().any(allowed) { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    assert!(lines(&sluice).iter().all(|line| line["outcome"] == "allowed"));
    sluice.rewrite_config(&with("{ denied: 1 }"));
    let denied = |lines: &[Value]| lines.iter().any(|line| line["outcome"] == "denied");
    ask_until(&mut client, "denials are logged", &denied).await;
    assert!(!sluice.log().contains("needs a restart"), "{}", sluice.log());
}
