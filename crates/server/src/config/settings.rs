//! The settings of a replica: what the configuration says, once read. Every value is valid.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use http::HeaderName;
use ipnet::IpNet;
use sluice_core::OnStoreFailure;

use super::{error::Mistake, secret::Secret, store_url::StoreUrl};

/// Everything that the configuration says.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where replicas listen.
    pub listen: Listen,
    /// Where buckets live.
    pub store: StoreSettings,
    /// How clients are told apart.
    pub clients: ClientSettings,
    /// What is logged, and how.
    pub log: LogSettings,
    /// How long requests in flight may take to finish after a replica was told to stop.
    pub shutdown_grace: Duration,
    /// What is possible but hardly meant. To be logged; nothing else depends on them.
    pub warnings: Vec<Mistake>,
}

/// Where replicas listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The HTTP port: checks, forward-auth, health and metrics.
    pub http: SocketAddr,
    /// The gRPC port; `None` when it is off.
    pub grpc: Option<SocketAddr>,
}

/// Where buckets live, and what happens when that place cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// Which store.
    pub url: StoreUrl,
    /// What every key begins with. Replicas with the same URL and prefix are one fleet.
    pub prefix: String,
    /// How long one decision may wait for the store.
    pub timeout: Duration,
    /// Who answers while the store cannot, for limits that do not say.
    pub on_failure: OnStoreFailure,
    /// Connections that a replica shares among its calls.
    pub connections: u32,
    /// A file with the password, to be read again at each new connection.
    pub password_file: Option<PathBuf>,
}

/// How clients are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSettings {
    /// What to look at, in this order; the first that a request has names the client.
    pub identify: Vec<ClientSource>,
    /// Peers whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How many leading bits of an IPv6 address are one client.
    pub ipv6_prefix: u8,
    /// What keys in the store are hashed with; empty when none was set.
    pub secret: Secret,
    /// The header in which a trusted peer names the client's tier.
    pub tier_header: Option<HeaderName>,
}

/// One thing that can tell clients apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientSource {
    /// The value of a header: an API key.
    Header(HeaderName),
    /// The bearer token in `Authorization`.
    Bearer,
    /// The subject (`sub`) of the bearer token, which is not verified.
    BearerSubject,
    /// The peer's address, or what trusted proxies say it is.
    Address,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// How a line looks.
    pub format: LogFormat,
    /// What is logged: `info`, or `info,sluice_store=debug`, as `tracing` filters are written.
    pub level: String,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}
