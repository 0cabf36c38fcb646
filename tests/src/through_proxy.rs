//! What clients see of an API that a proxy stands in front of: what the API does, whether it was
//! asked about first or not.

use std::{io::ErrorKind, net::SocketAddr};

use serde_json::json;

use crate::{
    echo::{BREAKS_OFF, Echo, FAILS, FIRST_EVENT, HANGS_UP, LAST_EVENT, STALLS, STREAMS},
    http::{Client, Connection, Request},
};

/// An event reaches the client before the API sends the next.
///
/// # Panics
/// When it does not.
pub async fn assert_that_events_arrive_as_they_are_sent(address: SocketAddr, api: &Echo) {
    let mut connection = Connection::open(address).await.expect("the proxy listens");
    connection.write(&Request::get(STREAMS).to_bytes()).await.expect("the proxy listens");
    connection
        .receive_until(FIRST_EVENT.as_bytes())
        .await
        .expect("the first event comes by itself");
    api.send_last_event();
    connection.receive_until(LAST_EVENT.as_bytes()).await.expect("so does the last");
}

/// An API that takes longer than Sluice may is waited for, and asked once.
///
/// # Panics
/// When it is not.
pub async fn assert_that_a_slow_api_is_waited_for(address: SocketAddr, api: &Echo) {
    let before = api.requests();
    let response = Client::of(address).send(&order(STALLS)).await;
    assert_eq!((response.status, &response.json()["target"]), (200, &json!(STALLS)), "{response}");
    assert_eq!(api.requests(), before + 1, "it is asked once");
}

/// What an API says when it fails is what the client hears, and one that breaks down is never taken
/// for a Sluice that is away: it is asked once.
///
/// # Panics
/// When it is not so.
pub async fn assert_that_an_api_that_fails_is_asked_once(address: SocketAddr, api: &Echo) {
    let before = api.requests();
    let failed = Client::of(address).send(&order(FAILS)).await;
    assert_eq!(
        (failed.status, &failed.json()["body"]),
        (500, &json!("{\"item\":\"book\"}")),
        "{failed}"
    );
    assert_eq!(api.requests(), before + 1, "one that fails");

    let hung_up = Client::of(address).send(&order(HANGS_UP)).await;
    assert!(matches!(hung_up.status, 502 | 503), "{hung_up}");
    assert_eq!(api.requests(), before + 2, "one that hangs up");

    let broken = Client::of(address).try_send(&order(BREAKS_OFF)).await;
    let seen = broken.map_err(|error| error.kind());
    assert!(
        matches!(seen, Err(ErrorKind::InvalidData | ErrorKind::ConnectionReset)),
        "half an answer is not a whole one: {seen:?}"
    );
    assert_eq!(api.requests(), before + 3, "one that breaks off");
}

/// With a body, so that nobody thinks it can be sent twice.
fn order(path: &str) -> Request {
    Request::post(path, &json!({ "item": "book" })).header("x-api-key", "alice")
}
