//! Denials as each vendor's SDKs read them, and what remains in each vendor's own words.

use serde_json::{Value, json};
use sluice_tests::{http::Response, model::Answer};

use crate::setting::{CHAT, GENERATE, MESSAGES, Setting, chat, post};

const REPORTED: &str = r#"{"usage":{"prompt_tokens":9,"completion_tokens":1}}"#;

fn a_limit(rate: &str) -> String {
    format!(
        "defaults: {{ rate: 100/minute, burst: 100 }}\nendpoints: {{}}\nlimits:\n  \
         - {{ name: tokens, counts: total_tokens, rate: {rate}, burst: 100 }}\n"
    )
}

/// Takes all but 10 of 100 tokens, and then asks for 50 more.
async fn denied(rate: &str, path: &str) -> Response {
    let answer = Answer::json(r#"{"usage":{"prompt_tokens":9,"completion_tokens":81}}"#);
    let mut setting = Setting::with(answer, "", &a_limit(rate)).await;
    assert_eq!(setting.ask(CHAT, &chat(81)).await.status, 200);
    setting.settles_to(90).await;
    let denied = setting.ask(path, &chat(41)).await;
    assert_eq!(denied.status, 429, "{denied}");
    assert_eq!(setting.model.requests().len(), 1, "a denied request does not reach the vendor");
    assert_eq!(denied.header("content-type"), Some("application/json"));
    denied
}

fn limits(response: &Response, names: &[(&str, &str)]) {
    for (name, value) in names {
        assert_eq!(response.header(name), Some(*value), "{name}: {response}");
    }
}

#[tokio::test]
async fn a_denial_says_when_to_try_again() {
    let openai = denied("60/minute", CHAT).await;
    assert_eq!(openai.json()["error"]["code"], "rate_limit_exceeded", "{openai}");
    // At least 40 of the 50 tokens have to come back.
    let (millis, seconds) = (openai.number("retry-after-ms"), openai.number("retry-after"));
    assert!((20_000..=40_000).contains(&millis), "{openai}");
    assert_eq!(seconds, millis.div_ceil(1_000), "{openai}");
    assert_eq!(openai.header("x-should-retry"), None, "{openai}");
    let [remaining, reset] = ["remaining", "reset"].map(|part| {
        let name = format!("x-ratelimit-{part}-tokens");
        openai.header(&name).unwrap_or_else(|| panic!("{name}: {openai}"))
    });
    assert!(remaining.parse::<u64>().unwrap() >= 10, "{openai}");
    assert!(reset.ends_with('s'), "{openai}");
    limits(&openai, &[("x-ratelimit-limit-tokens", "100"), ("x-ratelimit-limit", "100")]);
}

#[tokio::test]
async fn above_a_minute_no_sdk_is_to_wait() {
    let anthropic = denied("1/day", MESSAGES).await;
    let body: Value = anthropic.json();
    assert_eq!(
        (&body["type"], &body["error"]["type"]),
        (&json!("error"), &json!("rate_limit_error"))
    );
    limits(
        &anthropic,
        &[
            ("x-should-retry", "false"),
            ("anthropic-ratelimit-tokens-limit", "100"),
            ("anthropic-ratelimit-tokens-remaining", "10"),
            ("anthropic-ratelimit-requests-limit", "100"),
        ],
    );
    assert!(anthropic.number("retry-after") > 60, "{anthropic}");
    let gemini = denied("1/day", GENERATE).await;
    assert_eq!(gemini.json()["error"]["status"], "RESOURCE_EXHAUSTED", "{gemini}");
}

#[tokio::test]
async fn an_answer_has_ours_and_the_vendors_fields() {
    let theirs = Answer::Whole {
        status: 200,
        fields: "content-type: application/json\r\nx-ratelimit-remaining-tokens: 777\r\n\
                 anthropic-ratelimit-tokens-remaining: 777\r\n"
            .to_owned(),
        body: REPORTED.into(),
    };
    let mut setting = Setting::with(theirs, "", &a_limit("1/day")).await;
    let openai = setting.ask(CHAT, &chat(41)).await;
    limits(
        &openai,
        &[
            ("x-ratelimit-limit-requests", "100"),
            ("x-ratelimit-limit-tokens", "100"),
            ("x-ratelimit-remaining-tokens", "50"),
        ],
    );
    assert_eq!(openai.header("anthropic-ratelimit-tokens-remaining"), None, "{openai}");
    assert!(openai.header("ratelimit").is_some_and(|field| field.contains("tokens")), "{openai}");
}

#[tokio::test]
async fn a_page_can_read_every_field_of_a_denial() {
    for (path, vendors) in
        [(CHAT, "x-ratelimit-remaining-tokens"), (MESSAGES, "anthropic-ratelimit-tokens-reset")]
    {
        let mut setting = Setting::with(Answer::json(REPORTED), "", &a_limit("1/day")).await;
        assert_eq!(setting.ask(path, &chat(91)).await.status, 200);
        let origin = "https://app.example.org";
        let from_page = post(path, &chat(91)).header("origin", origin);
        let denied = setting.client.send(&from_page).await;
        assert_eq!(denied.status, 429, "{denied}");
        limits(&denied, &[("access-control-allow-origin", origin), ("x-should-retry", "false")]);
        let exposed = denied.header("access-control-expose-headers").unwrap().to_lowercase();
        let exposed: Vec<_> = exposed.split(", ").collect();
        assert!(denied.header(vendors).is_some() && exposed.contains(&vendors), "{denied}");
        for name in denied.headers.keys().map(http::HeaderName::as_str) {
            let is_ours = ["retry", "ratelimit"].iter().any(|part| name.contains(part));
            assert!(!is_ours || exposed.contains(&name), "{name}: {denied}");
        }
    }
}
