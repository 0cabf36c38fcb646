//! What an SDK sends, as a line of text for each request.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::value::RawValue;
use sluice_tests::tap::Exchange;

/// Fields that belong to the connection or to the HTTP client below the SDK, or name versions.
const LEFT_OUT: [&str; 9] = [
    "accept-encoding",
    "accept-language",
    "connection",
    "content-length",
    "host",
    "sec-fetch-mode",
    "user-agent",
    "x-call",
    "x-goog-api-client",
];
const LEFT_OUT_PREFIX: &str = "x-stainless-";

/// A request, and the status of the gateway's answer.
#[derive(Debug)]
pub(crate) struct Sent {
    /// What the request is called. It is unique in its file.
    pub(crate) call: String,
    pub(crate) path: String,
    pub(crate) fields: BTreeMap<String, String>,
    pub(crate) body: String,
    pub(crate) status: u16,
}

/// Returns the name of the SDK, and of the request, as `x-call` has them: `openai-python:chat`.
pub(crate) fn call(exchange: &Exchange) -> (String, String) {
    let fields = exchange.request.fields();
    let name = fields.get("x-call").unwrap().to_str().unwrap();
    let (sdk, call) = name.split_once(':').unwrap();
    (sdk.to_owned(), call.to_owned())
}

/// Returns the file with what an SDK sends.
pub(crate) fn file(sdk: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/llm/tests/sent");
    folder.join(sdk).with_extension("jsonl")
}

/// Reads what an SDK sends.
pub(crate) fn read(sdk: &str) -> Vec<Sent> {
    let text = fs::read_to_string(file(sdk)).unwrap();
    text.lines().map(Sent::read).collect()
}

impl Sent {
    pub(crate) fn of(exchange: &Exchange) -> Self {
        let fields = exchange.request.fields();
        let is_kept = |name: &str| !LEFT_OUT.contains(&name) && !name.starts_with(LEFT_OUT_PREFIX);
        let text = |value: &http::HeaderValue| value.to_str().unwrap().to_owned();
        let kept = fields.iter().filter(|(name, _)| is_kept(name.as_str()));
        Self {
            call: call(exchange).1,
            path: exchange.request.target.clone(),
            fields: kept.map(|(name, value)| (name.to_string(), text(value))).collect(),
            body: String::from_utf8(exchange.request.body.clone()).unwrap(),
            status: exchange.response.as_ref().expect("an answer").status,
        }
    }

    fn read(line: &str) -> Self {
        let parts: BTreeMap<String, Box<RawValue>> = serde_json::from_str(line).unwrap();
        let part = |name: &str| parts[name].get();
        Self {
            call: serde_json::from_str(part("call")).unwrap(),
            path: serde_json::from_str(part("path")).unwrap(),
            fields: serde_json::from_str(part("fields")).unwrap(),
            body: part("body").to_owned(),
            status: serde_json::from_str(part("status")).unwrap(),
        }
    }

    /// Writes the line. The body is in it byte by byte.
    pub(crate) fn line(&self) -> String {
        let Self { call, path, fields, body, status } = self;
        let fields = serde_json::to_string(fields).unwrap();
        assert!(!body.contains('\n') && serde_json::from_str::<&RawValue>(body).is_ok(), "{body}");
        format!(
            "{{\"call\":\"{call}\",\"path\":\"{path}\",\"status\":{status},\
             \"fields\":{fields},\"body\":{body}}}\n"
        )
    }
}
