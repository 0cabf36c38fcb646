//! Callers of either protocol.

use std::net::SocketAddr;

use crate::{envoy::Caller, http_caller::HttpCaller, replica::Door, support::Answer};

/// How many of Envoy's calls share a connection.
const CALLS_PER_CONNECTION: usize = 32;

/// A way to ask, with one request in flight at a time.
pub(crate) enum Asker {
    Http(HttpCaller),
    Envoy(Caller),
}

/// Connects as many as there will be requests in flight.
pub(crate) async fn connect(server: SocketAddr, door: Door, in_flight: usize) -> Vec<Asker> {
    let mut askers = Vec::with_capacity(in_flight);
    let mut shared = None;
    for number in 0..in_flight {
        askers.push(match door {
            Door::Http => Asker::Http(HttpCaller::connect(server).await),
            Door::Envoy => {
                if number % CALLS_PER_CONNECTION == 0 {
                    shared = Some(Caller::connect(server).await);
                }
                Asker::Envoy(shared.clone().unwrap())
            }
        });
    }
    askers
}

impl Asker {
    /// Sends a check for this client.
    pub(crate) async fn ask(&mut self, client: usize) -> Answer {
        match self {
            Self::Http(caller) => caller.ask(client).await,
            Self::Envoy(caller) => caller.ask(client).await,
        }
    }
}
