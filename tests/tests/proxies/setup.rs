//! Proxies between clients and an API, and the Sluice that they consult.

use std::net::SocketAddr;

use serde_json::json;
use sluice_testkit::{Proxy, ReservedPort, Sluice, SluiceOptions, built_sluice};
use sluice_tests::{
    echo::Echo,
    http::{Client, Request, Response},
};

use crate::example::Example;

/// A path that is never limited: it shows that the proxy and the API are up.
pub(crate) const EXEMPT: &str = "/health";

/// A proxy between a client and an API, and the Sluice that it consults.
pub(crate) struct Setup {
    pub(crate) proxy: RunningProxy,
    pub(crate) sluice: Sluice,
    pub(crate) api: Echo,
}

/// A running proxy.
pub(crate) struct RunningProxy {
    proxy: Proxy,
    /// The port of its internal listener.
    _inner: ReservedPort,
}

impl Setup {
    /// Starts everything, with `file` as the proxy's configuration, and with `limits` added to the
    /// example's `sluice.yaml`.
    pub(crate) async fn start(example: Example, file: &str, limits: &str) -> Self {
        let sluice = SluiceOptions::new(built_sluice())
            .identify_by_key()
            .config(example.sluice(limits))
            .start();
        let api = Echo::start().await;
        let proxy = RunningProxy::start(example, file, &[sluice.http_addr()], api.address());
        Self { proxy, sluice, api }
    }

    pub(crate) fn client(&self) -> Client {
        Client::of(self.proxy.addr())
    }
}

impl RunningProxy {
    /// Starts a proxy with this file in front of `api`.
    pub(crate) fn start(
        example: Example,
        file: &str,
        sluices: &[SocketAddr],
        api: SocketAddr,
    ) -> Self {
        let (address, inner) = (ReservedPort::new(), ReservedPort::new());
        let file = example.with_addresses(file, &address, &inner, sluices, api);
        let proxy =
            tokio::task::block_in_place(|| Proxy::start(example.kind, &file, address, EXEMPT));
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
pub(crate) fn assert_passed(response: &Response) {
    assert_eq!(response.status, 200, "{response}");
    let request = response.json();
    assert_eq!(
        request,
        json!({ "method": "POST", "target": "/orders?page=2", "body": "{\"item\":\"book\"}" })
    );
}
