//! What clients see of an API through a proxy that consults Sluice: the same as without the proxy.

use std::{io::ErrorKind, net::SocketAddr};

use serde_json::json;

use crate::{
    echo::{BREAKS_OFF, Echo, FAILS, FIRST_EVENT, HANGS_UP, LAST_EVENT, STALLS, STREAMS},
    http::{Client, Connection, Request},
};

/// Checks that an event reaches the client before the API sends the next one.
///
/// # Panics
/// When it does not.
pub async fn assert_that_events_arrive_as_they_are_sent(address: SocketAddr, api: &Echo) {
    let mut connection = Connection::open(address).await.expect("the proxy listens");
    connection.write(&Request::get(STREAMS).to_bytes()).await.expect("the proxy listens");
    connection
        .receive_until(FIRST_EVENT.as_bytes())
        .await
        .expect("the first event arrives before the second is sent");
    api.send_last_event();
    connection.receive_until(LAST_EVENT.as_bytes()).await.expect("the last event arrives");
}

/// Checks that the proxy waits for an API that takes longer than Sluice may, and sends one request.
///
/// # Panics
/// When it is not.
pub async fn assert_that_a_slow_api_is_waited_for(address: SocketAddr, api: &Echo) {
    let before = api.requests();
    let response = Client::of(address).send(&order(STALLS)).await;
    assert_eq!((response.status, &response.json()["target"]), (200, &json!(STALLS)), "{response}");
    assert_eq!(api.requests(), before + 1, "it gets one request");
}

/// Checks that the client gets the API's own error, and that the proxy does not take a failure of
/// the API for a failure of Sluice: the API gets each request once.
///
/// # Panics
/// When it is not so.
pub async fn assert_that_a_failing_api_gets_each_request_once(address: SocketAddr, api: &Echo) {
    let before = api.requests();
    let failed = Client::of(address).send(&order(FAILS)).await;
    assert_eq!(
        (failed.status, &failed.json()["body"]),
        (500, &json!("{\"item\":\"book\"}")),
        "{failed}"
    );
    assert_eq!(api.requests(), before + 1, "an API that fails");

    let hung_up = Client::of(address).send(&order(HANGS_UP)).await;
    assert!(matches!(hung_up.status, 502 | 503), "{hung_up}");
    assert_eq!(api.requests(), before + 2, "an API that closes the connection");

    let broken = Client::of(address).try_send(&order(BREAKS_OFF)).await;
    let seen = broken.map_err(|error| error.kind());
    assert!(
        matches!(seen, Err(ErrorKind::InvalidData | ErrorKind::ConnectionReset)),
        "an incomplete response is an error: {seen:?}"
    );
    assert_eq!(api.requests(), before + 3, "an API that disconnects in the middle");
}

/// A request with a body, which a proxy must not send twice.
fn order(path: &str) -> Request {
    Request::post(path, &json!({ "item": "book" })).header("x-api-key", "alice")
}
