//! No text of a request or an answer, and no key, is in the log or in metrics, whatever the level.

use serde_json::json;
use sluice_tests::{
    http::{Connection, Request},
    model::Answer,
};

use crate::setting::{BURST, CHAT, MESSAGES, Setting, chat, one_limit, streamed};

const KEY: &str = "key-Zm9vYmFyYmF6";
const VENDOR_KEY: &str = "sk-cXV1eHF1dXg";
const PROMPT: &str = "prompt-Y29yZ2U";
const ANSWER: &str = "answer-Z3JhdWx0";
const PARTS: [&str; 4] = [KEY, VENDOR_KEY, PROMPT, ANSWER];

#[tokio::test]
async fn nothing_of_what_is_said_is_logged() {
    let more = format!("{}log: {{ level: trace }}\n", one_limit(BURST));
    let events = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{ANSWER}\"}}}}]}}\n\n");
    let mut setting = Setting::with(Answer::events(events.as_str()), "", &more).await;
    let mut said = streamed(chat(50));
    said["messages"][0]["content"] = json!(PROMPT);
    let bearer = format!("Bearer {VENDOR_KEY}");
    let request = |path: &str, body: String| {
        Request::new("POST", path)
            .header("authorization", &bearer)
            .header("x-api-key", KEY)
            .header("content-type", "application/json")
            .body(body)
    };
    for path in [CHAT, MESSAGES] {
        let response = setting.client.send(&request(path, said.to_string())).await;
        assert_eq!(response.text(), events);
    }
    for body in [
        format!("{{\"messages\":\"{PROMPT}"),
        format!("{{\"max_tokens\":\"{PROMPT}\"}}"),
        format!("{{\"stream_options\":\"{PROMPT}\",\"stream\":true}}"),
    ] {
        let response = setting.client.send(&request(CHAT, body)).await;
        assert_eq!(response.status, 400, "{response}");
        assert!(!response.text().contains(PROMPT), "{response}");
    }
    // The vendor breaks off, and a client leaves.
    setting.model.answers(Answer::Broken(events.clone().into()));
    let mut connection = Connection::open(setting.sluice.http_addr()).await.unwrap();
    connection.write(&request(CHAT, said.to_string()).to_bytes()).await.unwrap();
    assert!(connection.ends().await);
    let metrics = setting.metrics().await;
    let log = setting.sluice.log();
    assert!(log.contains("TRACE") || log.contains("trace"), "the level is in force: {log:.500}");
    for part in PARTS {
        assert!(!log.contains(part), "{part} is in the log");
        assert!(!metrics.contains(part), "{part} is in metrics");
    }
}
