//! Property tests of every front end with a body: each request gets a response, nothing fails, and
//! rejected requests do not reach the store.
//!
//! Bodies are arbitrary bytes, arbitrary JSON with the names that the front end knows, and the
//! examples of `/openapi.json` with changed bytes. The gRPC port gets arbitrary bytes and calls
//! with changed bytes.

use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use http::StatusCode;
use proptest::{prelude::*, sample::Index};
use prost::Message;
use serde_json::{Map, Value};
use sluice::{MemoryStore, Store};
use sluice_core::{Action, Check, Decision, OnStoreFailure, Tagger, Timestamp};
use sluice_store::{ManualClock, StoreError, StoreFuture};
use tonic::Code as Rpc;

use axum::body::Body;
use envoy_types::pb::envoy::{
    extensions::common::ratelimit::v3::{RateLimitDescriptor, rate_limit_descriptor::Entry},
    service::ratelimit::v3::RateLimitRequest,
};
use http::Request;
use sluice_config::RlsSettings;
use sluice_rls::{SHOULD_RATE_LIMIT, json};

use super::{
    FrontEnd,
    check::{Batch, Check as CheckFrontEnd},
    events::EventReports,
    fixtures::{Port, PortResponse, rls_rules},
};
use crate::openapi;
use sluice_testkit::policies;

const RULES: &str = "domain: edge\ndescriptors:\n\
    - { key: api_key, rate_limit: { unit: day, requests_per_unit: 3 } }\n\
    - { key: path, rate_limit: { unlimited: true }, metadata: { a: [1] } }\n\
    - { key: b, value: 'a*', rate_limit: { unit: hour, requests_per_unit: 0 } }\n";

/// Fragments that have broken JSON parsers before.
const FRAGMENTS: [&str; 16] = [
    "null",
    "-0",
    "1e400",
    "0.1",
    "18446744073709551616",
    "\"\\ud800\"",
    "\"\\u0000\"",
    "{}",
    "[]",
    "{\"a\":",
    "[[[[[[[[",
    "\u{feff}",
    "\"",
    "}",
    ",",
    "\n",
];

/// A store that counts its calls and the tokens taken.
#[derive(Debug)]
struct CountingStore {
    store: MemoryStore<ManualClock>,
    calls_to_store: AtomicUsize,
    taken: AtomicU64,
}

impl CountingStore {
    fn new() -> Self {
        // The clock is stopped, so that no tokens return.
        let now = Timestamp::from_unix_micros(1_800_000_000_000_000);
        let store = MemoryStore::with_clock(ManualClock::new(now));
        Self { store, calls_to_store: AtomicUsize::new(0), taken: AtomicU64::new(0) }
    }

    fn counts(&self) -> (usize, u64) {
        (self.calls_to_store.load(Ordering::Relaxed), self.taken.load(Ordering::Relaxed))
    }

    fn count(&self, check: &Check, decision: &Result<Decision, StoreError>) {
        self.calls_to_store.fetch_add(1, Ordering::Relaxed);
        if let Ok(decision) = decision
            && check.action() == Action::Take
            && decision.is_allowed()
        {
            let taken: u64 = decision
                .verdicts()
                .iter()
                .filter(|one| one.admitted)
                .map(|one| one.cost.tokens())
                .sum();
            self.taken.fetch_add(taken, Ordering::Relaxed);
        }
    }
}

impl Store for CountingStore {
    fn decide<'a>(&'a self, check: &'a Check) -> StoreFuture<'a, Result<Decision, StoreError>> {
        StoreFuture::pending(async move {
            let decision = self.store.decide(check).await;
            self.count(check, &decision);
            decision
        })
    }
}

fn rules() -> &'static RlsSettings {
    static READ: LazyLock<RlsSettings> = LazyLock::new(|| rls_rules(RULES));
    &READ
}

fn port() -> (Port, Arc<CountingStore>) {
    let store = Arc::new(CountingStore::new());
    let port = Port::with(policies::document(), Arc::<CountingStore>::clone(&store));
    port.rls.replace(Some(rules()), OnStoreFailure::Local, &Tagger::new(b""));
    (port, store)
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

// === requests ===

/// A change of a few bytes.
#[derive(Clone, Debug)]
enum Change {
    Set(Index, u8),
    Remove(Index, u8),
    Repeat(Index, u8),
    Insert(Index, &'static str),
}

impl Change {
    fn any() -> impl Strategy<Value = Self> {
        let place = any::<Index>;
        prop_oneof![
            (place(), any::<u8>()).prop_map(|(at, byte)| Self::Set(at, byte)),
            (place(), 1..40_u8).prop_map(|(at, count)| Self::Remove(at, count)),
            (place(), 1..40_u8).prop_map(|(at, count)| Self::Repeat(at, count)),
            (place(), prop::sample::select(&FRAGMENTS[..]))
                .prop_map(|(at, piece)| Self::Insert(at, piece)),
        ]
    }

    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let range = |at: &Index, count: u8, length: usize| {
            let start = at.index(length);
            start..(start + usize::from(count)).min(length)
        };
        match self {
            Self::Set(at, byte) => {
                let place = at.index(bytes.len());
                bytes[place] = *byte;
            }
            Self::Remove(at, count) => drop(bytes.drain(range(at, *count, bytes.len()))),
            Self::Repeat(at, count) => {
                let piece = bytes[range(at, *count, bytes.len())].to_vec();
                bytes.extend(piece);
            }
            Self::Insert(at, piece) => {
                let place = at.index(bytes.len());
                bytes.splice(place..place, piece.bytes());
            }
        }
    }
}

/// Returns one of `valid`, with a few changes or none.
fn changed(valid: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (prop::sample::select(valid), prop::collection::vec(Change::any(), 0..5)).prop_map(
        |(mut bytes, changes)| {
            changes.iter().for_each(|change| change.apply(&mut bytes));
            bytes
        },
    )
}

/// Returns every member name and string in the examples of `path`.
fn words(path: &str) -> Vec<String> {
    fn gather(value: &Value, words: &mut Vec<String>) {
        match value {
            Value::Object(members) => members.iter().for_each(|(name, value)| {
                words.push(name.clone());
                gather(value, words);
            }),
            Value::Array(items) => items.iter().for_each(|item| gather(item, words)),
            Value::String(text) => words.push(text.clone()),
            _ => {}
        }
    }
    let mut words = Vec::new();
    openapi::examples(path).iter().for_each(|(_, example)| gather(example, &mut words));
    words
}

/// Returns JSON with these words where the front end expects them, and elsewhere.
fn any_json(words: Vec<String>) -> impl Strategy<Value = Value> {
    let word = prop::sample::select(words);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0..20_u64).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    let name = prop_oneof![4 => word, 1 => ".{0,6}"];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        let members = prop::collection::vec((name.clone(), inner.clone()), 0..7);
        prop_oneof![
            prop::collection::vec(inner, 0..6).prop_map(Value::from),
            members.prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Returns any body for the front end at `path`.
fn any_body(path: &str) -> impl Strategy<Value = Vec<u8>> {
    let valid = openapi::examples(path).into_iter().map(|(_, example)| match example {
        Value::String(lines) => lines.into_bytes(),
        example => example.to_string().into_bytes(),
    });
    prop_oneof![
        4 => changed(valid.collect()),
        2 => any_json(words(path)).prop_map(|value| value.to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..64),
    ]
}

// === responses ===

/// Sends a body. Returns the response, the number of calls to the store, and the tokens taken.
fn send(path: &str, media_type: &str, body: &[u8]) -> (PortResponse, usize, u64) {
    let (port, store) = port();
    let request = Request::post(path)
        .header("content-type", media_type)
        .body(Body::from(body.to_vec()))
        .unwrap();
    let got = wait(port.send(request));
    let (calls_to_store, taken) = store.counts();
    (got, calls_to_store, taken)
}

/// Asserts what holds for every response with a decision.
fn assert_valid_response(
    got: &PortResponse,
    calls_to_store: usize,
    taken: u64,
) -> Result<(), TestCaseError> {
    prop_assert!(got.status.as_u16() < 500, "{}", got.body);
    match got.status {
        StatusCode::OK => {}
        StatusCode::TOO_MANY_REQUESTS => {
            prop_assert_eq!(taken, 0, "a denial takes nothing: {}", got.body);
        }
        _ => {
            prop_assert!(
                got.problem().is_some_and(|kind| kind.starts_with("urn:sluice:problem:")),
                "{}",
                got.body
            );
            prop_assert_eq!(
                (calls_to_store, taken),
                (0, 0),
                "a rejected request does not reach the store: {}",
                got.body
            );
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_check_is_decided_or_rejected(body in any_body(CheckFrontEnd::PATH)) {
        let (got, calls_to_store, taken) = send(CheckFrontEnd::PATH, "application/json", &body);
        assert_valid_response(&got, calls_to_store, taken)?;
        prop_assert!(calls_to_store <= 1);
    }

    #[test]
    fn any_check_of_a_batch_is_decided_or_rejected_separately(
        body in any_body(Batch::PATH),
        checks in prop::collection::vec(any_json(words(Batch::PATH)), 0..5),
    ) {
        for body in [body, serde_json::json!({ "checks": checks }).to_string().into_bytes()] {
            let (got, calls_to_store, taken) = send(Batch::PATH, "application/json", &body);
            assert_valid_response(&got, calls_to_store, taken)?;
            if got.status == StatusCode::OK {
                let results = got.body["results"].as_array().unwrap();
                let status = |result: &Value| result["status"].as_u64().unwrap();
                let decided =
                    results.iter().filter(|result| [200, 429].contains(&status(result))).count();
                prop_assert!(calls_to_store <= decided, "{} of {}", calls_to_store, got.body);
                let known = results.iter().all(|result| [200, 400, 429].contains(&status(result)));
                prop_assert!(known, "{}", got.body);
            }
        }
    }

    #[test]
    fn any_descriptors_are_decided_or_rejected(body in any_body(json::PATH)) {
        let (got, calls_to_store, taken) = send(json::PATH, "application/json", &body);
        assert_valid_response(&got, calls_to_store, taken)?;
        if [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS].contains(&got.status) {
            let code = if got.status == StatusCode::OK { "OK" } else { "OVER_LIMIT" };
            prop_assert_eq!(&got.body["overallCode"], code);
        }
    }

    #[test]
    fn any_events_are_recorded_or_rejected(
        body in any_body(EventReports::PATH),
        lines in any::<bool>(),
    ) {
        let media_type = if lines { "application/x-ndjson" } else { "application/json" };
        let (got, calls_to_store, _) = send(EventReports::PATH, media_type, &body);
        prop_assert_eq!(calls_to_store, 0, "events are never limited");
        if got.status == StatusCode::ACCEPTED {
            prop_assert!(got.body["accepted"].is_u64(), "{}", got.body);
            for refused in got.body["refused"].as_array().unwrap() {
                prop_assert!(!refused["error"].as_str().unwrap().is_empty(), "{}", got.body);
            }
        } else {
            prop_assert!(got.problem().is_some() && got.status.is_client_error(), "{}", got.body);
        }
    }
}

// === gRPC ===

fn descriptor<const N: usize>(entries: [(&str, &str); N]) -> RateLimitDescriptor {
    let entry = |(key, value): (&str, &str)| Entry { key: key.into(), value: value.into() };
    RateLimitDescriptor { entries: entries.map(entry).into(), ..RateLimitDescriptor::default() }
}

fn encoded(descriptors: impl Into<Vec<RateLimitDescriptor>>) -> Vec<u8> {
    let domain = "edge".to_owned();
    RateLimitRequest { domain, descriptors: descriptors.into(), hits_addend: 0 }.encode_to_vec()
}

/// Calls as Envoy encodes them.
fn calls() -> Vec<Vec<u8>> {
    let key = || descriptor([("api_key", "alice")]);
    vec![
        encoded([key()]),
        encoded([key(), descriptor([("path", "/")]), descriptor([("a", "b"), ("c", "")])]),
        encoded([descriptor([("b", "a1")])]),
    ]
}

/// Sends `message` to the gRPC port with its correct length. Returns the status, the number of
/// calls to the store, and the tokens taken.
fn call(message: &[u8]) -> (Rpc, usize, u64) {
    call_framed(framed(message))
}

/// Returns `message` as gRPC frames it: after a byte for no compression and its length.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    [&[0][..], &length.to_be_bytes(), message].concat()
}

fn call_framed(bytes: Vec<u8>) -> (Rpc, usize, u64) {
    let (port, store) = port();
    let mut request = Request::post(SHOULD_RATE_LIMIT)
        .header("content-type", "application/grpc")
        .body(Body::from(bytes))
        .unwrap();
    let (status, grpc_status) = wait(async {
        let response = port.rls.respond_grpc(&mut request).await;
        let status = response.status();
        let in_head = tonic::Status::from_header_map(response.headers());
        let body = Body::new(response.into_body());
        // A successful call has its status in the trailers.
        let in_trailers = http_body_util::BodyExt::collect(body)
            .await
            .unwrap()
            .trailers()
            .and_then(tonic::Status::from_header_map);
        (status, in_head.or(in_trailers).unwrap())
    });
    assert_eq!(status, StatusCode::OK, "a gRPC call has a status of its own");
    let (calls_to_store, taken) = store.counts();
    (grpc_status.code(), calls_to_store, taken)
}

proptest! {
    #[test]
    fn any_message_over_grpc_is_decided_or_rejected(
        message in prop_oneof![
            2 => changed(calls()),
            1 => prop::collection::vec(any::<u8>(), 0..64),
        ],
    ) {
        let (code, calls_to_store, taken) = call(&message);
        match code {
            Rpc::Ok => {}
            Rpc::InvalidArgument => prop_assert_eq!((calls_to_store, taken), (0, 0)),
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn any_bytes_over_grpc_get_a_response(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..64),
            changed(calls().iter().map(|call| framed(call)).collect()),
        ],
    ) {
        let (code, calls_to_store, taken) = call_framed(bytes);
        if code != Rpc::Ok {
            prop_assert_eq!((calls_to_store, taken), (0, 0), "{:?}", code);
            prop_assert!(code != Rpc::Unknown && code != Rpc::Unavailable, "{:?}", code);
        }
    }
}

#[test]
fn every_valid_body_is_accepted() {
    for path in [CheckFrontEnd::PATH, Batch::PATH, json::PATH, EventReports::PATH] {
        for (media_type, example) in openapi::examples(path) {
            let body = example.as_str().map_or_else(|| example.to_string(), str::to_owned);
            let (got, ..) = send(path, &media_type, body.as_bytes());
            assert!(got.status.is_success(), "{path}: {}", got.body);
        }
    }
    for message in calls() {
        assert_eq!(call(&message).0, Rpc::Ok);
    }
}
