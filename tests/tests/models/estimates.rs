//! What is held for a request that does not limit its answer.

use serde_json::{Value, json};
use sluice_tests::{http::Client, model::Answer};

use crate::setting::{BURST, CHAT, GENERATE, RESPONSES, Setting, chat, one_limit, post_as, taken};

/// A request of chat whose estimate is 9 tokens of input.
fn open_chat(model: &str, more: &Value) -> Value {
    let mut body = chat(0);
    body["model"] = json!(model);
    body["max_tokens"] = Value::Null;
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    body
}

/// Sends a request of a client of its own, whose answer reports nothing: the estimate stands.
async fn held(setting: &mut Setting, key: &str, path: &str, body: &Value) -> u64 {
    setting.model.answers(Answer::json("{}"));
    let mut client = Client::of(setting.sluice.http_addr());
    let response = client.send(&post_as(key, path, body)).await;
    assert_eq!(response.status, 200, "{response}");
    taken(&mut client, key).await
}

async fn answers(setting: &mut Setting, count: usize, tokens: u64, body: &Value) {
    let usage = json!({ "usage": { "prompt_tokens": 1, "completion_tokens": tokens } });
    setting.model.answers(Answer::json(usage.to_string()));
    for number in 0..count {
        let mut client = Client::of(setting.sluice.http_addr());
        let request = post_as(&format!("learner-{number}"), CHAT, body);
        assert_eq!(client.send(&request).await.status, 200);
    }
}

#[tokio::test]
async fn the_models_own_default_comes_first() {
    let models = ", models: { small: { default_output: 300 } }, default_output: 700";
    let mut setting = Setting::with(Answer::json("{}"), models, &one_limit(BURST)).await;
    let setting = &mut setting;
    let none = json!({});
    assert_eq!(held(setting, "a", CHAT, &open_chat("small", &none)).await, 9 + 300);
    assert_eq!(held(setting, "b", CHAT, &open_chat("small", &json!({ "n": 3 }))).await, 9 + 900);
    assert_eq!(held(setting, "c", CHAT, &open_chat("large", &none)).await, 9 + 700);
    assert_eq!(held(setting, "d", CHAT, &chat(50)).await, 9 + 50, "the request's own limit");
    let gemini = json!({ "contents": [{ "parts": [{ "text": "Hi" }] }] });
    assert_eq!(held(setting, "e", GENERATE, &gemini).await, 9 + 300, "the model in the path");
    answers(setting, 30, 5_000, &open_chat("small", &none)).await;
    assert_eq!(held(setting, "f", CHAT, &open_chat("small", &none)).await, 9 + 300, "still");
}

#[tokio::test]
async fn what_was_seen_comes_next() {
    let mut setting = Setting::new(Answer::json("{}")).await;
    let setting = &mut setting;
    let (small, none) = (open_chat("small", &json!({})), json!({}));
    // These end where the request says, which teaches nothing.
    answers(setting, 30, 50, &chat(50)).await;
    answers(setting, 19, 5_000, &small).await;
    assert_eq!(held(setting, "a", CHAT, &small).await, 9 + 1_024, "too few");
    answers(setting, 1, 5_000, &small).await;
    assert_eq!(held(setting, "b", CHAT, &small).await, 9 + 5_120, "rounded up");
    assert_eq!(held(setting, "c", CHAT, &open_chat("large", &none)).await, 9 + 1_024);
    let responses = json!({ "model": "small", "input": "Hi" });
    assert_eq!(held(setting, "d", RESPONSES, &responses).await, 9 + 1_024, "another format");
    // Two answers of 4,000 tokens each.
    let pairs = open_chat("pairs", &json!({ "n": 2 }));
    answers(setting, 20, 8_000, &pairs).await;
    assert_eq!(held(setting, "e", CHAT, &pairs).await, 9 + 2 * 4_096);
    // Short ones are 256 tokens at least.
    answers(setting, 20, 3, &open_chat("terse", &none)).await;
    assert_eq!(held(setting, "f", CHAT, &open_chat("terse", &none)).await, 9 + 256);
}

#[tokio::test]
async fn answers_that_do_not_end_teach_nothing() {
    let mut setting = Setting::new(Answer::json("{}")).await;
    let setting = &mut setting;
    let small = open_chat("small", &json!({}));
    answers(setting, 19, 5_000, &small).await;
    let failed = json!({ "usage": { "prompt_tokens": 1, "completion_tokens": 5_000 } });
    setting.model.answers(Answer::Whole {
        status: 500,
        fields: "content-type: application/json\r\n".to_owned(),
        body: failed.to_string().into_bytes(),
    });
    assert_eq!(setting.ask(CHAT, &small).await.status, 500);
    let events = format!("data: {failed}\n\n");
    setting.model.answers(Answer::Broken(events.into_bytes()));
    let broken = setting.client.try_send(&post_as("bob", CHAT, &small)).await;
    assert!(broken.is_err(), "{broken:?}");
    let mut other = Client::of(setting.sluice.http_addr());
    crate::setting::settles_to(&mut other, "bob", 5_009).await;
    assert_eq!(held(setting, "a", CHAT, &small).await, 9 + 1_024);
}
