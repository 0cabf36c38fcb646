//! Every path that is no door's: the request itself is what is decided about.
//!
//! So a limiter without an upstream shows what it does to whoever asks it anything: `curl
//! http://localhost:8000/api/v1/blueprints` is answered 200 or 429, with the header fields and the
//! decision as body, as if the request had been checked on its way to that path. The client is
//! whoever the request's own headers and address say.

use std::net::IpAddr;

use http::request::Parts;
use sluice::Checked;

use sluice_http::Problem;

use crate::engine::Engine;

/// Decides about the request that was sent.
///
/// # Errors
/// When it cannot be decided about.
pub(crate) async fn decide(
    engine: &Engine,
    peer: IpAddr,
    head: &Parts,
) -> Result<Checked, Problem> {
    let identity = engine.identify(&head.headers, peer)?;
    let request = identity.request(head.method.as_str(), head.uri.path());
    Ok(engine.limiter().check(&request).await?)
}
