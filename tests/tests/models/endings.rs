//! However a request ends, what it used is settled: what was seen, never nothing for an answer that
//! began, and nothing for an error.

use std::time::Duration;

use serde_json::json;
use sluice_testkit::{RedisServer, eventually_async};
use sluice_tests::{
    fleet::{Fleet, LONG_TIMEOUT},
    http::{Client, Connection},
    model::{Answer, FakeModel},
};

use crate::setting::{
    BURST, CHAT, GENERATE, MESSAGES, Setting, chat, in_front_of, one_limit, post, post_as,
    settles_to, streamed,
};

/// 40 bytes of text: 10 tokens.
const FIRST: &str = "data: {\"choices\":[{\"delta\":{\"content\":\
                     \"0123456789012345678901234567890123456789\"}}]}\n\n";
const END: &str = "data: {\"choices\":[],\"usage\":\
                   {\"prompt_tokens\":9,\"completion_tokens\":12}}\n\ndata: [DONE]\n\n";
const OPENAI: [(&str, &str); 1] = [("vendor", "openai")];

fn in_two_pieces() -> Answer {
    Answer::Stream(vec![FIRST.into(), END.into()])
}

#[tokio::test]
async fn a_client_that_leaves_pays_for_what_it_saw() {
    let mut setting = Setting::new(in_two_pieces()).await;
    let mut connection = Connection::open(setting.sluice.http_addr()).await.unwrap();
    connection.write(&post(CHAT, &streamed(chat(5_000))).to_bytes()).await.unwrap();
    connection.receive_until(FIRST.as_bytes()).await.unwrap();
    assert_eq!(setting.taken().await, 5_009, "the estimate is held");
    drop(connection);
    setting.settles_to(9 + 10).await;
    assert_eq!(setting.count("sluice_llm_usage_estimated_total", &OPENAI).await, 1);
    eventually_async("the vendor stops", async || setting.model.left() == 1).await;
    let metrics = setting.metrics().await;
    let aborted = r#"llm_requests_total{model="small",operation="chat",status="aborted"} 1"#;
    assert!(metrics.contains(aborted), "{metrics}");
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_pays_for_its_input() {
    let mut setting = Setting::new(Answer::Late(b"{}".to_vec())).await;
    let mut connection = Connection::open(setting.sluice.http_addr()).await.unwrap();
    connection.write(&post(CHAT, &chat(5_000)).to_bytes()).await.unwrap();
    eventually_async("the vendor has it", async || setting.model.requests().len() == 1).await;
    drop(connection);
    setting.settles_to(9).await;
}

#[tokio::test]
async fn a_vendor_that_breaks_off_is_paid_for_what_came() {
    let mut setting = Setting::new(Answer::Broken(FIRST.into())).await;
    let mut connection = Connection::open(setting.sluice.http_addr()).await.unwrap();
    connection.write(&post(CHAT, &streamed(chat(5_000))).to_bytes()).await.unwrap();
    connection.receive_until(FIRST.as_bytes()).await.unwrap();
    assert!(connection.ends().await, "the client sees that it is not complete");
    setting.settles_to(9 + 10).await;
}

#[tokio::test]
async fn an_error_gives_everything_back() {
    let answer = |status, fields: &str| Answer::Whole {
        status,
        fields: format!("content-type: application/json\r\n{fields}"),
        body: br#"{"error":{"message":"theirs"}}"#.to_vec(),
    };
    let mut setting = Setting::new(answer(500, "")).await;
    for path in [CHAT, MESSAGES, GENERATE] {
        let failed = setting.ask(path, &chat(5_000)).await;
        assert_eq!((failed.status, &failed.json()), (500, &json!({"error":{"message":"theirs"}})));
        setting.settles_to(0).await;
    }
    setting.model.answers(answer(429, "retry-after: 7\r\nx-ratelimit-remaining-tokens: 0\r\n"));
    let denied = setting.ask(CHAT, &chat(5_000)).await;
    assert_eq!((denied.status, denied.number("retry-after")), (429, 7), "{denied}");
    assert_eq!(denied.number("x-ratelimit-remaining-tokens"), 0, "theirs: {denied}");
    setting.settles_to(0).await;
    let metrics = setting.metrics().await;
    let failed = r#"llm_requests_total{model="other",operation="chat",status="error"} 4"#;
    assert!(metrics.contains(failed), "{metrics}");
}

#[tokio::test]
async fn a_vendor_that_cannot_be_reached_gives_everything_back() {
    let nothing = sluice_testkit::ReservedPort::new();
    let yaml = format!(
        "gateway: {{ upstream: \"http://127.0.0.1:{}\", doors: on }}\n\
         llm: {{ {} }}\n{}",
        nothing.number(),
        crate::setting::ROUTES,
        one_limit(BURST)
    );
    let sluice = sluice_tests::fleet::memory_replica(&yaml);
    let mut client = Client::of(sluice.http_addr());
    let failed = client.send(&post(CHAT, &chat(5_000))).await;
    assert_eq!((failed.status, &failed.json()["error"]["type"]), (502, &json!("server_error")));
    let failed = client.send(&post(MESSAGES, &chat(5_000))).await;
    assert_eq!((failed.status, &failed.json()["error"]["type"]), (502, &json!("api_error")));
    let failed = client.send(&post(GENERATE, &chat(5_000))).await;
    assert_eq!((failed.status, &failed.json()["error"]["status"]), (502, &json!("UNAVAILABLE")));
    settles_to(&mut client, "alice", 0).await;
}

#[tokio::test]
async fn without_usage_the_estimate_stands() {
    let mut setting = Setting::new(Answer::json(r#"{"choices":[]}"#)).await;
    assert_eq!(setting.ask(CHAT, &chat(50)).await.status, 200);
    eventually_async("it is counted", async || {
        setting.count("sluice_llm_usage_missing_total", &OPENAI).await == 1
    })
    .await;
    setting.settles_to(59).await;
    // A file is no answer that can be read.
    setting.model.answers(Answer::Whole {
        status: 200,
        fields: "content-type: audio/mpeg\r\n".to_owned(),
        body: vec![0xff; 100],
    });
    let speech = json!({ "model": "small", "input": "Hi", "voice": "a" });
    let sound = setting.ask("/v1/audio/speech", &speech).await;
    assert_eq!((sound.status, sound.body.len()), (200, 100));
    setting.settles_to(60).await;
    // More than the burst cannot be held, and is not charged either.
    setting.model.answers(Answer::json(r#"{"choices":[]}"#));
    let mut other = Client::of(setting.sluice.http_addr());
    let whole = other.send(&post_as("bob", CHAT, &chat(2 * BURST))).await;
    assert_eq!(whole.status, 200, "{whole}");
    settles_to(&mut other, "bob", BURST).await;
}

#[tokio::test]
async fn absurd_usage_is_not_believed() {
    let mut setting = Setting::new(Answer::json("")).await;
    let mut taken = 0;
    for (index, (input, output)) in [
        (json!(-5), json!(1e300)),
        (json!(9), json!(1_000_000_000_001_u64)),
        (json!(9), json!(u64::MAX)),
        (json!(9), json!("many")),
        (json!(0.5), json!(1)),
    ]
    .into_iter()
    .enumerate()
    {
        let usage = json!({ "usage": { "prompt_tokens": input, "completion_tokens": output } });
        setting.model.answers(Answer::json(usage.to_string()));
        assert_eq!(setting.ask(CHAT, &chat(50)).await.status, 200);
        taken += 59;
        eventually_async("it is counted", async || {
            setting.count("sluice_llm_usage_ignored_total", &OPENAI).await == index as u64 + 1
        })
        .await;
        setting.settles_to(taken).await;
    }
}

#[tokio::test]
async fn usage_that_goes_down_is_not_believed() {
    let event = |tokens: u64| {
        format!(
            "data: {{\"choices\":[{{\"delta\":{{}}}}],\"usage\":{{\"prompt_tokens\":9,\
                 \"completion_tokens\":{tokens}}}}}\n\n"
        )
    };
    let events = [event(40), event(3), "data: [DONE]\n\n".to_owned()].concat();
    let mut setting = Setting::new(Answer::events(events)).await;
    let mut body = streamed(chat(50));
    body["stream_options"] = json!({ "include_usage": true });
    assert_eq!(setting.ask(CHAT, &body).await.status, 200);
    setting.settles_to(49).await;
    assert_eq!(setting.count("sluice_llm_usage_ignored_total", &OPENAI).await, 1);
}

/// The largest usage that is believed is far above any bucket, and money for it beyond any number.
#[tokio::test]
async fn the_largest_usage_is_a_debt_and_overflows_nothing() {
    let most = 1_000_000_000_000_u64;
    let usage = json!({ "usage": { "prompt_tokens": most, "completion_tokens": most } });
    let costs = format!(
        "{}  - {{ name: money, counts: cost, rate: 1/day, burst: 1000 }}\n\
         costs: {{ currency: USD, llm: {{ small: {{ input_per_1m: 1000000, \
         output_per_1m: 1000000 }} }} }}\n",
        one_limit(BURST)
    );
    let mut setting = Setting::with(Answer::json(usage.to_string()), "", &costs).await;
    assert_eq!(setting.ask(CHAT, &chat(50)).await.status, 200);
    setting.settles_to(BURST).await;
    let denied = setting.ask(CHAT, &chat(50)).await;
    assert_eq!((denied.status, denied.header("x-should-retry")), (429, Some("false")), "{denied}");
    assert_eq!(setting.count("sluice_settlements_total", &[("state", "settled")]).await, 1);
    assert_eq!(setting.count("sluice_settlements_total", &[("state", "failed")]).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_stops_settles_first() {
    let model = FakeModel::start(in_two_pieces()).await;
    let yaml = in_front_of(&model, "", &format!("{}shutdown_delay: 0s\n", one_limit(BURST)));
    let fleet = Fleet::start(2, RedisServer::start(), LONG_TIMEOUT, &yaml);
    let [stops, stays] = <[_; 2]>::try_from(fleet.addresses()).unwrap();
    let mut connection = Connection::open(stops).await.unwrap();
    connection.write(&post(CHAT, &streamed(chat(5_000))).to_bytes()).await.unwrap();
    connection.receive_until(FIRST.as_bytes()).await.unwrap();
    fleet.replicas[0].sigterm();
    model.release(1);
    connection.receive_until(b"[DONE]").await.unwrap();
    let status =
        tokio::task::block_in_place(|| fleet.replicas[0].wait_exit(Duration::from_secs(30)));
    assert!(status.success(), "{status}");
    settles_to(&mut Client::of(stays), "alice", 21).await;
}
