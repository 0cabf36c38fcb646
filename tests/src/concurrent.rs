//! Clients that share keys and send requests at the same time, to any number of addresses.

use std::{collections::BTreeMap, net::SocketAddr};

use tokio::task::JoinSet;

use crate::http::{Client, Request};

/// The responses to all clients of one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Responses with status 200.
    pub allowed: usize,
    /// Responses with status 429.
    pub denied: usize,
}

/// Lets each of `clients` send `turns` requests with every key, and spreads the clients over
/// `addresses`. Returns the responses by key.
///
/// # Panics
/// When a request gets no response, or one whose status is neither 200 nor 429.
pub async fn send_concurrently(
    addresses: &[SocketAddr],
    clients: usize,
    keys: &[&'static str],
    turns: usize,
) -> BTreeMap<&'static str, Counts> {
    let mut tasks = JoinSet::new();
    for number in 0..clients {
        let (mut client, mut keys) =
            (Client::of(addresses[number % addresses.len()]), keys.to_vec());
        let first = number % keys.len();
        keys.rotate_left(first);
        tasks.spawn(async move {
            let mut statuses = Vec::new();
            for key in keys.iter().cycle().take(turns * keys.len()) {
                let response = client.send(&Request::get("/orders").header("x-api-key", key)).await;
                assert!(matches!(response.status, 200 | 429), "{response}");
                statuses.push((*key, response.status));
            }
            statuses
        });
    }
    let mut counts: BTreeMap<_, Counts> = BTreeMap::new();
    for (key, status) in tasks.join_all().await.concat() {
        let counts = counts.entry(key).or_default();
        *(if status == 200 { &mut counts.allowed } else { &mut counts.denied }) += 1;
    }
    counts
}
