//! How a server is asked for decisions.

use std::net::SocketAddr;

use crate::support::Answer;

/// A way to ask, with one request in flight at a time.
pub(crate) trait Ask: Send + 'static {
    fn ask(&mut self, client: usize) -> impl Future<Output = Answer> + Send;
}

/// A protocol that a server speaks.
pub(crate) trait Protocol: Copy {
    type Asker: Ask;

    /// Connects as many askers as requests will be in flight.
    async fn connect(self, server: SocketAddr, askers: usize) -> Vec<Self::Asker>;
}
