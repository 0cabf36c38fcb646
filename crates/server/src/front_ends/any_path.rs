//! Every path without a front end: the decision is about the request itself.
//!
//! Without an upstream, `curl http://localhost:8000/api/v1/blueprints` gets status 200 or 429 with
//! the rate limit fields and the decision as body, as if the request had been checked on its way to
//! that path. The client is identified by the request's own headers and address.

use std::net::IpAddr;

use http::request::Parts;
use sluice::Checked;
use sluice_core::NormalPath;

use sluice_http::Problem;

use crate::engine::Engine;

/// Decides about the request that was sent, for `path`. The caller sees its end if it is followed.
///
/// # Errors
/// Returns a problem when the request cannot be checked.
pub(crate) async fn decide(
    engine: &Engine,
    peer: IpAddr,
    head: &Parts,
    path: &NormalPath<'_>,
    is_followed: bool,
) -> Result<Checked, Problem> {
    let identity = engine.identify(&head.headers, peer)?;
    let request = engine.request(&identity, head.method.as_str(), path.as_str(), &head.headers);
    let request = if is_followed { request.followed() } else { request };
    Ok(engine.limiter().check_identified(&identity, &request).await?)
}
