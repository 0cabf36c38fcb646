//! Proxies between clients and an API, and those that they ask.

use std::net::SocketAddr;

use serde_json::json;
use sluice_testkit::{Proxy, ReservedPort, Sluice, SluiceOptions, built_sluice};
use sluice_tests::{
    echo::Echo,
    http::{Answer, Client, Request},
};

use crate::example::Example;

/// A path that is never limited, to see that all is up.
pub(crate) const EXEMPT: &str = "/health";

/// A proxy between a client and an API, and the Sluice that it asks.
pub(crate) struct Scene {
    pub(crate) proxy: InPlace,
    pub(crate) sluice: Sluice,
    pub(crate) api: Echo,
}

/// A running proxy.
pub(crate) struct InPlace {
    proxy: Proxy,
    /// Where it asks itself, and no other may listen.
    _inner: ReservedPort,
}

impl Scene {
    /// Starts everything; `file` is the example's, perhaps changed, and `limits` are added to its
    /// `sluice.yaml`.
    pub(crate) async fn start(example: Example, file: &str, limits: &str) -> Self {
        let sluice = SluiceOptions::new(built_sluice()).config(example.sluice(limits)).start();
        let api = Echo::start().await;
        let proxy = InPlace::start(example, file, &[sluice.http_addr()], api.address());
        Self { proxy, sluice, api }
    }

    pub(crate) fn client(&self) -> Client {
        Client::of(self.proxy.addr())
    }
}

impl InPlace {
    /// Starts a proxy with this file between `sluices` and `api`.
    pub(crate) fn start(
        example: Example,
        file: &str,
        sluices: &[SocketAddr],
        api: SocketAddr,
    ) -> Self {
        let (door, inner) = (ReservedPort::new(), ReservedPort::new());
        let file = example.placed(file, &door, &inner, sluices, api);
        let proxy = tokio::task::block_in_place(|| Proxy::start(example.kind, &file, door, EXEMPT));
        Self { proxy, _inner: inner }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.proxy.addr()
    }
}

/// A request of `alice`, with a body.
pub(crate) fn order() -> Request {
    Request::post("/orders?page=2", &json!({ "item": "book" })).header("x-api-key", "alice")
}

#[track_caller]
pub(crate) fn assert_passed(answer: &Answer) {
    assert_eq!(answer.status, 200, "{answer}");
    let asked = answer.json();
    assert_eq!(
        asked,
        json!({ "method": "POST", "target": "/orders?page=2", "body": "{\"item\":\"book\"}" })
    );
}
