use std::net::{IpAddr, SocketAddr};

use http::Extensions;

/// Says whom a request's connection is from.
///
/// Implemented for `()`, which finds a [`SocketAddr`] or [`IpAddr`] among the request's extensions,
/// and for closures.
pub trait Peer {
    /// The address at the other end of the connection, if that is known.
    fn peer(&self, extensions: &Extensions) -> Option<IpAddr>;
}

impl Peer for () {
    fn peer(&self, extensions: &Extensions) -> Option<IpAddr> {
        extensions.get::<SocketAddr>().map(SocketAddr::ip).or_else(|| extensions.get().copied())
    }
}

impl<F: Fn(&Extensions) -> Option<IpAddr>> Peer for F {
    fn peer(&self, extensions: &Extensions) -> Option<IpAddr> {
        self(extensions)
    }
}
