//! Clients who all ask at once, through any number of doors, under names that they share.

use std::{collections::BTreeMap, net::SocketAddr};

use tokio::task::JoinSet;

use crate::http::{Client, Request};

/// What the clients of one name were told together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answers of 200.
    pub allowed: usize,
    /// Answers of 429.
    pub denied: usize,
}

/// Lets `clients` ask in the name of every key, `turns` times each, at `doors` in turn; what each
/// key was told.
///
/// # Panics
/// When there is no answer, or another one than 200 and 429.
pub async fn send_concurrently(
    addresses: &[SocketAddr],
    clients: usize,
    keys: &[&'static str],
    turns: usize,
) -> BTreeMap<&'static str, Counts> {
    let mut load = JoinSet::new();
    for member in 0..clients {
        let (mut client, mut keys) =
            (Client::of(addresses[member % addresses.len()]), keys.to_vec());
        let first = member % keys.len();
        keys.rotate_left(first);
        load.spawn(async move {
            let mut statuses = Vec::new();
            for key in keys.iter().cycle().take(turns * keys.len()) {
                let response = client.send(&Request::get("/orders").header("x-api-key", key)).await;
                assert!(matches!(response.status, 200 | 429), "{response}");
                statuses.push((*key, response.status));
            }
            statuses
        });
    }
    let mut told: BTreeMap<_, Counts> = BTreeMap::new();
    for (key, status) in load.join_all().await.concat() {
        let told = told.entry(key).or_default();
        *(if status == 200 { &mut told.allowed } else { &mut told.denied }) += 1;
    }
    told
}
