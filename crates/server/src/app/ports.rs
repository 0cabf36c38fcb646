//! The sockets of a replica.

use tokio::net::TcpListener;

/// The sockets that a replica listens on.
#[derive(Debug)]
pub struct Ports {
    /// The HTTP port.
    pub http: TcpListener,
    /// The gRPC port; `None` if it is off.
    pub grpc: Option<TcpListener>,
    /// The port for metrics and monitoring, if they have one of their own.
    pub admin: Option<TcpListener>,
}

// === impl Ports ===

impl From<TcpListener> for Ports {
    /// Creates ports with the HTTP port alone.
    fn from(http: TcpListener) -> Self {
        Self { http, grpc: None, admin: None }
    }
}
