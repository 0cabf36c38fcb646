//! The response that the client gets: the upstream's, without its hop-by-hop fields.

use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version,
    header::{
        CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, SET_COOKIE, TRAILER,
        TRANSFER_ENCODING, UPGRADE,
    },
};
use hyper::body::{Body, Incoming};
use sluice_config::gateway::GatewaySettings;

use crate::{
    error::ForwardError,
    hop_by_hop, location,
    occupied::OccupiedSlots,
    tunnel::Tunnels,
    upgrade,
    upstream_body::{ConnectionInUse, UpstreamBody},
    upstream_request::UpstreamRequest,
};

/// Fields that `Connection` cannot make the gateway remove.
const KEPT: [HeaderName; 5] = [CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, SET_COOKIE, TRAILER];

/// Returns whether the body has no transfer coding but `chunked`, which ends at this connection.
/// The client could not remove another one, of which it would not know.
fn has_known_coding(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let first = codings.next();
    codings.next().is_none()
        && first.is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
}

/// Converts an upstream's response to `request`. Opens a tunnel if it grants an upgrade. What the
/// response or the tunnel consists of keeps the `slots`.
pub(crate) fn forward(
    mut response: Response<Incoming>,
    connection_in_use: ConnectionInUse,
    mut request: UpstreamRequest,
    tunnels: &Tunnels,
    settings: &GatewaySettings,
    slots: OccupiedSlots,
) -> Result<Response<UpstreamBody>, ForwardError> {
    if !has_known_coding(response.headers()) {
        return Err(ForwardError::UnknownCoding);
    }
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
        let body = UpstreamBody::new(body, connection_in_use, upload, settings.idle_timeout, slots);
        return Ok(Response::from_parts(head, body));
    }
    let Some((protocol, client)) = granted else {
        return Err(ForwardError::UnrequestedUpgrade);
    };
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(UPGRADE, protocol);
    let upstream = hyper::upgrade::on(&mut response);
    tunnels.open(client, upstream, connection_in_use, settings.idle_timeout, slots);
    Ok(response.map(|_nothing| UpstreamBody::none()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_chunked_is_a_known_transfer_coding() {
        let is_known = |codings: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for coding in codings {
                headers.append(TRANSFER_ENCODING, HeaderValue::from_static(coding));
            }
            has_known_coding(&headers)
        };
        for codings in [&[][..], &["chunked"], &["Chunked"]] {
            assert!(is_known(codings), "{codings:?}");
        }
        for codings in [&["gzip, chunked"][..], &["gzip"], &["gzip", "chunked"], &["identity"]] {
            assert!(!is_known(codings), "{codings:?}");
        }
    }
}
