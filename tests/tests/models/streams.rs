//! Streams pass as they come, and the usage that is asked for them is taken out again.

use serde_json::{Value, json};
use sluice_tests::{http::Connection, model::Answer};

use crate::setting::{CHAT, Setting, chat, post, streamed};

const FIRST: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"Hello\"}}]}\n\n";
const SECOND: &str = "data: {\"choices\":[{\"delta\":{\"content\":\" there\"}}]}\n\n";
const USAGE: &str =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

#[tokio::test]
async fn usage_is_asked_for_and_its_chunk_taken_out() {
    let answer = Answer::events([FIRST, USAGE, DONE].concat());
    let mut setting = Setting::new(answer).await;
    let response = setting.ask(CHAT, &streamed(chat(50))).await;
    assert_eq!(response.text(), [FIRST, DONE].concat());
    assert_eq!(response.header("content-type"), Some("text/event-stream"));
    setting.settles_to(11).await;

    let received = setting.model.requests().remove(0);
    let body: Value = serde_json::from_slice(&received.body).unwrap();
    assert_eq!(body["stream_options"], json!({ "include_usage": true }));
    let head = String::from_utf8_lossy(&received.bytes).to_lowercase();
    assert!(head.contains("\r\naccept-encoding: identity\r\n"), "{head}");
    assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", received.body.len())), "{head}");

    let mut wants_it = streamed(chat(50));
    wants_it["stream_options"] = json!({ "include_usage": true });
    let response = setting.ask(CHAT, &wants_it).await;
    assert_eq!(response.text(), [FIRST, USAGE, DONE].concat());
    let received = setting.model.requests().remove(1);
    assert_eq!(received.body, wants_it.to_string().into_bytes(), "not a byte is changed");
    setting.settles_to(22).await;
}

#[tokio::test]
async fn a_piece_passes_before_the_next_one_comes() {
    let pieces = [FIRST, SECOND, &[USAGE, DONE].concat()].map(|piece| piece.as_bytes().to_vec());
    let mut setting = Setting::new(Answer::Stream(pieces.to_vec())).await;
    let mut connection = Connection::open(setting.sluice.http_addr()).await.unwrap();
    connection.write(&post(CHAT, &streamed(chat(50))).to_bytes()).await.unwrap();
    let head = connection.response_head().await.unwrap();
    assert_eq!(head.status, 200);
    for (piece, next) in [(FIRST, 1), (SECOND, 1)] {
        connection.receive_until(piece.as_bytes()).await.unwrap();
        setting.model.release(next);
    }
    connection.receive_until(DONE.as_bytes()).await.unwrap();
    setting.settles_to(11).await;
}

#[tokio::test]
async fn what_was_held_back_passes_before_the_trailers() {
    let answer = Answer::Whole {
        status: 200,
        fields: "content-type: text/event-stream\r\ntrailer: x-sum\r\n\
                 transfer-encoding: chunked\r\n"
            .to_owned(),
        // The beginning of an event that may be the one to take out.
        body: b"7\r\ndata: {\r\n0\r\nx-sum: 7\r\n\r\n".to_vec(),
    };
    let setting = Setting::new(answer).await;
    let mut connection = Connection::open(setting.sluice.http_addr()).await.unwrap();
    let request = post(CHAT, &streamed(chat(50))).header("te", "trailers");
    connection.write(&request.to_bytes()).await.unwrap();
    assert_eq!(connection.response_head().await.unwrap().status, 200);
    connection.receive_until(b"7\r\ndata: {\r\n").await.unwrap();
    connection.receive_until(b"0\r\nx-sum: 7\r\n\r\n").await.unwrap();
}
