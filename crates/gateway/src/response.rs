//! The response that the client gets: the upstream's, without its hop-by-hop fields.

use http::{
    HeaderName, HeaderValue, Response, StatusCode, Version,
    header::{
        CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, SET_COOKIE, TRAILER, UPGRADE,
    },
};
use hyper::body::{Body, Incoming};
use sluice_config::gateway::GatewaySettings;

use crate::{
    error::ForwardError,
    hop_by_hop, location,
    tunnel::Tunnels,
    upgrade,
    upstream_body::{ConnectionInUse, UpstreamBody},
    upstream_request::UpstreamRequest,
};

/// Fields that `Connection` cannot make the gateway remove.
const KEPT: [HeaderName; 5] = [CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, SET_COOKIE, TRAILER];

/// Converts an upstream's response to `request`. Opens a tunnel if it grants an upgrade.
pub(crate) fn forward(
    mut response: Response<Incoming>,
    connection_in_use: ConnectionInUse,
    mut request: UpstreamRequest,
    tunnels: &Tunnels,
    settings: &GatewaySettings,
) -> Result<Response<UpstreamBody>, ForwardError> {
    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let granted = request
        .take_upgrade()
        .filter(|(asked, _)| switches && upgrade::is_granted(asked, response.headers()));
    hop_by_hop::remove(response.headers_mut(), |name| KEPT.contains(name));
    // hyper would respond in the version of the upstream.
    *response.version_mut() = Version::HTTP_11;
    if !switches {
        let (mut head, body) = response.into_parts();
        let upstream = connection_in_use.in_flight.upstream();
        location::rewrite(&mut head.headers, upstream.url(), request.public_address());
        if body.size_hint().exact().is_none() {
            head.headers.remove(CONTENT_LENGTH);
        }
        let upload = request.upload().cloned();
        let body = UpstreamBody::new(body, connection_in_use, upload, settings.idle_timeout);
        return Ok(Response::from_parts(head, body));
    }
    let Some((protocol, client)) = granted else {
        return Err(ForwardError::UnrequestedUpgrade);
    };
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(UPGRADE, protocol);
    let upstream = hyper::upgrade::on(&mut response);
    tunnels.open(client, upstream, connection_in_use, settings.idle_timeout);
    Ok(response.map(|_nothing| UpstreamBody::none()))
}
