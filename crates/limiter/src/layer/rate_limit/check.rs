use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use http::request::Parts;
use sluice_core::Client;

use super::refusal::Refusal;
use crate::{checked::Checked, identify::Identifier, limiter::Limiter};

/// What is known of a request once it is checked.
pub(super) struct Asked {
    pub(super) head: Parts,
    pub(super) checked: Result<Checked, Refusal>,
}

/// Checks the request with this `head` and hands it back.
pub(super) async fn check(
    limiter: Limiter,
    identifier: Arc<Identifier>,
    peer: Option<IpAddr>,
    head: Parts,
) -> Asked {
    let checked = decide(&limiter, &identifier, peer, &head).await;
    Asked { head, checked }
}

async fn decide(
    limiter: &Limiter,
    identifier: &Identifier,
    peer: Option<IpAddr>,
    head: &Parts,
) -> Result<Checked, Refusal> {
    // A proxy whose own address is unknown is still one to trust when everybody is.
    let identity =
        identifier.identify(&head.headers, peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)))?;
    let mut request = identity.request(head.method.as_str(), head.uri.path());
    if peer.is_none() && identity.address().is_unspecified() {
        // All whose address is unknown would share one bucket, which the first of them empties.
        if matches!(request.client, Client::Address(_)) {
            return Err(Refusal::client_unknown());
        }
        request = request.with_address(None);
    }
    Ok(limiter.check(&request).await?)
}
