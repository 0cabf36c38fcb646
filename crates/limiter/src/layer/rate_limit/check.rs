use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use http::request::Parts;
use sluice_core::Client;

use super::rejection::Rejection;
use crate::{checked::Checked, identify::Identifier, limiter::Limiter};

/// The head of a request, and what came of its check.
pub(super) struct CheckedHead {
    pub(super) head: Parts,
    pub(super) checked: Result<Checked, Rejection>,
}

/// Checks the request with this `head`, and returns the head with the result.
pub(super) async fn check(
    limiter: Limiter,
    identifier: Arc<Identifier>,
    peer: Option<IpAddr>,
    key: Option<Vec<u8>>,
    head: Parts,
) -> CheckedHead {
    let checked = decide(&limiter, &identifier, peer, key.as_deref(), &head).await;
    CheckedHead { head, checked }
}

async fn decide(
    limiter: &Limiter,
    identifier: &Identifier,
    peer: Option<IpAddr>,
    key: Option<&[u8]>,
    head: &Parts,
) -> Result<Checked, Rejection> {
    // Where every address is a trusted proxy, one whose own address is unknown is one too.
    let known_peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let identity = match key {
        Some(_) => identifier.locate(&head.headers, known_peer)?,
        None => identifier.identify(&head.headers, known_peer)?,
    };
    let mut request = identity.request(head.method.as_str(), head.uri.path());
    if let Some(key) = key {
        request.client = Client::Key(key);
    }
    if peer.is_none() && identity.address().is_unspecified() {
        // All clients with an unknown address would share one bucket, which the first one empties.
        if matches!(request.client, Client::Address(_)) {
            return Err(Rejection::client_unknown());
        }
        request = request.with_address(None);
    }
    Ok(limiter.check_identified(&identity, &request.followed()).await?)
}
