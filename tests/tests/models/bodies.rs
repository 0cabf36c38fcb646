//! Bodies that are too long, wrong, or none of the kind that is read.

use serde_json::{Value, json};
use sluice_tests::{
    http::{Connection, Request},
    model::Answer,
};

use crate::setting::{BURST, CHAT, GENERATE, MESSAGES, Setting, chat, one_limit};

const REPORTED: &str = r#"{"usage":{"prompt_tokens":9,"completion_tokens":1}}"#;

fn raw(path: &str, body: impl Into<Vec<u8>>) -> Request {
    Request::new("POST", path)
        .header("content-type", "application/json")
        .header("x-api-key", "alice")
        .body(body)
}

#[tokio::test]
async fn a_wrong_body_is_refused_in_the_vendors_shape_and_costs_nothing() {
    let mut setting = Setting::new(Answer::json(REPORTED)).await;
    let with = |value: &str| format!(r#"{{"model":"m","messages":[],"max_tokens":{value}}}"#);
    let bodies = [
        "nonsense".to_owned(),
        String::new(),
        "[]".to_owned(),
        "[".repeat(10_000),
        with("-1"),
        with("1e300"),
        with("\"many\""),
        with("1.5"),
        with("1,\"max_tokens\":2"),
    ];
    for (index, body) in bodies.iter().enumerate() {
        let refused = setting.client.send(&raw(CHAT, body.as_str())).await;
        let error = &refused.json()["error"];
        assert_eq!((refused.status, &error["type"]), (400, &json!("invalid_request_error")));
        let param = if index < 4 { Value::Null } else { json!("max_tokens") };
        assert_eq!(error["param"], param, "{body:.100}: {refused}");
        let refused = setting.client.send(&raw(MESSAGES, body.as_str())).await;
        assert_eq!(
            (refused.status, &refused.json()["type"]),
            (400, &json!("error")),
            "{body:.100}"
        );
    }
    let of_gemini =
        |value: &str| format!(r#"{{"generationConfig":{{"maxOutputTokens":{value}}}}}"#);
    let gemini =
        ["nonsense".to_owned(), of_gemini("-1"), of_gemini("1e300"), of_gemini("\"many\"")];
    for body in &gemini {
        let refused = setting.client.send(&raw(GENERATE, body.as_str())).await;
        let status = &refused.json()["error"]["status"];
        assert_eq!((refused.status, status), (400, &json!("INVALID_ARGUMENT")), "{refused}");
    }
    let compressed = raw(CHAT, [0x1f, 0x8b]).header("content-encoding", "gzip");
    assert_eq!(setting.client.send(&compressed).await.status, 400);
    assert_eq!((setting.model.requests().len(), setting.taken().await), (0, 0));
    let counts =
        [("openai", bodies.len() + 1), ("anthropic", bodies.len()), ("gemini", gemini.len())];
    for (vendor, count) in counts {
        let labels = [("reason", "bad_request"), ("vendor", vendor)];
        let counted = setting.count("sluice_llm_requests_refused_total", &labels).await;
        assert_eq!(counted, count as u64, "{vendor}");
    }
}

#[tokio::test]
async fn a_longer_body_is_estimated_by_its_length_and_passes_whole() {
    let more = one_limit(BURST);
    let mut setting = Setting::with(Answer::Late(REPORTED.into()), ", body: 64KiB", &more).await;
    let mut long = chat(1);
    long["messages"][0]["content"] = Value::from("0123456789".repeat(8_000));
    let request = raw(CHAT, long.to_string());
    let mut connection = Connection::open(setting.sluice.http_addr()).await.unwrap();
    connection.write(&request.to_bytes()).await.unwrap();
    let held = long.to_string().len() as u64 / 4 + 1 + 1_024;
    setting.settles_to(held).await;
    setting.model.release(1);
    assert_eq!(connection.response().await.unwrap().status, 200);
    assert_eq!(setting.model.requests()[0].body, long.to_string().into_bytes());
    setting.settles_to(10).await;

    // In chunks, nobody knows how long it will be.
    setting.model.answers(Answer::json(REPORTED));
    let head = Request::new("POST", CHAT)
        .header("x-api-key", "alice")
        .header("content-type", "application/json")
        .header("transfer-encoding", "chunked");
    connection.write(&head.to_bytes()).await.unwrap();
    let text = chat(1).to_string();
    let chunk = format!("{:x}\r\n{text}\r\n0\r\n\r\n", text.len());
    connection.write(chunk.as_bytes()).await.unwrap();
    let response = connection.response().await.unwrap();
    assert_eq!(response.status, 200, "{response}");
    let received = setting.model.requests().remove(1);
    assert_eq!(received.body, text.into_bytes(), "it has a length now");
}

#[tokio::test]
async fn a_form_with_a_file_passes_and_counts_what_is_reported() {
    let answer = r#"{"text":"Hi","usage":{"type":"tokens","input_tokens":14,"output_tokens":3}}"#;
    let mut setting = Setting::new(Answer::json(answer)).await;
    let form = "--x\r\ncontent-disposition: form-data; name=file\r\n\r\nsound\r\n--x--\r\n";
    let request = Request::new("POST", "/v1/audio/transcriptions")
        .header("content-type", "multipart/form-data; boundary=x")
        .header("x-api-key", "alice")
        .body(form);
    let response = setting.client.send(&request).await;
    assert_eq!(response.status, 200, "{response}");
    assert_eq!(setting.model.requests()[0].body, form.as_bytes());
    setting.settles_to(17).await;
}

#[tokio::test]
async fn other_requests_below_a_route_pass_as_they_are() {
    let mut setting = Setting::new(Answer::json("{}")).await;
    let models = Request::get("/v1/models").header("x-api-key", "alice");
    assert_eq!(setting.client.send(&models).await.status, 200);
    let counted = setting.ask("/v1/messages/count_tokens", &json!({ "any": "thing" })).await;
    assert_eq!((counted.status, setting.taken().await), (200, 0), "{counted}");
}
