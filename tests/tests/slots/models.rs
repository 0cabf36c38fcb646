//! Requests to language models: the slot is taken with the estimate.

use serde_json::json;
use sluice_testkit::eventually_async;
use sluice_tests::{
    fleet::memory_replica,
    http::{Client, Connection, Request},
    metrics::Metrics,
    model::{Answer, FakeModel},
};

const FIRST: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"Hello\"}}]}\n\n";
const LAST: &str = "data: {\"choices\":[],\
                    \"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2}}\n\n\
                    data: [DONE]\n\n";

fn chat() -> Request {
    let body = json!({ "model": "small", "max_tokens": 50, "stream": true,
                       "messages": [{ "role": "user", "content": "Hi" }] });
    Request::post("/v1/chat/completions", &body).header("x-api-key", "alice")
}

async fn an_answer_holds_its_slot(limits: &str) {
    let answer = Answer::Stream(vec![FIRST.into(), LAST.into()]);
    let model = FakeModel::start(answer).await;
    let sluice = memory_replica(&format!(
        "gateway: {{ upstream: \"http://{}\", doors: on }}\n\
         llm: {{ routes: [{{ path: '/v1/**', speaks: openai }}] }}\n\
         defaults: off\nendpoints: {{}}\nlimits:\n  \
         - {{ name: chats, concurrent: 1, hold_for: 1s }}\n{limits}",
        model.address()
    ));
    let mut client = Client::of(sluice.http_addr());
    let mut connection = Connection::open(sluice.http_addr()).await.unwrap();
    connection.write(&chat().to_bytes()).await.unwrap();
    assert_eq!(connection.response_head().await.unwrap().status, 200);
    connection.receive_until(FIRST.as_bytes()).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(3_500)).await;
    assert_eq!(client.send(&chat()).await.status, 429, "its slot is renewed");

    model.release(1);
    connection.receive_until(b"[DONE]").await.unwrap();
    eventually_async("its slot is given back", async || {
        let metrics = Metrics::of(&mut client).await;
        metrics.count("sluice_slots_held", &[("limit", "chats")]) == 0
    })
    .await;
    let mut connection = Connection::open(sluice.http_addr()).await.unwrap();
    connection.write(&chat().to_bytes()).await.unwrap();
    assert_eq!(connection.response_head().await.unwrap().status, 200);
    drop(connection);
    eventually_async("the slot of a client that goes is free", async || {
        let mut connection = Connection::open(sluice.http_addr()).await.unwrap();
        connection.write(&chat().to_bytes()).await.unwrap();
        connection.response_head().await.unwrap().status == 200
    })
    .await;
}

#[tokio::test]
async fn an_answer_of_a_model_holds_its_slot_to_the_last_byte() {
    an_answer_holds_its_slot("").await;
}

#[tokio::test]
async fn a_settlement_gives_the_slot_back_together_with_tokens() {
    let tokens = "  - { name: tokens, counts: total_tokens, rate: 100/day, burst: 30000 }\n";
    an_answer_holds_its_slot(tokens).await;
}
